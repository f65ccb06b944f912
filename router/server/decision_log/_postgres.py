"""The decision log in a PostgreSQL database, shared by several servers; needs psycopg 3."""

import contextlib
import re
import threading
from collections.abc import Generator, Mapping, Sequence
from functools import lru_cache
from types import ModuleType
from typing import TYPE_CHECKING, Any

from policies import InvalidInputError, MissingPrerequisiteError, StoreError

from ...feedback._feedback_schema import DECISION_LOG_VERSION, SERVED_COLUMNS, too_new
from ._postgres_url import PostgresUrl

if TYPE_CHECKING:
    import psycopg

__all__ = ["PostgresDatabase"]

_LOCK = 0x5452464200000001  # a number of our own among the database's advisory locks

# A server that has vanished without a word is noticed in these times; a URL may say otherwise.
_PATIENCE = {
    "connect_timeout": "10",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "20000",
    "application_name": "thinkroute",
}
_STATEMENT_TIMEOUT = "30s"

_TYPES = {"TEXT": "text", "REAL": "double precision", "INTEGER": "bigint"}
_SEQ = "seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY"


def _served_columns() -> str:
    parts: list[str] = []
    for name, kind in SERVED_COLUMNS.items():
        affinity, _, rest = kind.partition(" ")
        parts.append(f"{name} {'jsonb' if name == 'reasons' else _TYPES[affinity]} {rest}")
    return ", ".join(parts)


_TABLES = (
    """CREATE TABLE router (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, artifact_id text NOT NULL,
    arms jsonb NOT NULL, unit text NOT NULL, UNIQUE (artifact_id, arms, unit)
)""",
    f"""CREATE TABLE decision (
    {_SEQ}, id text NOT NULL UNIQUE, time_s double precision NOT NULL,
    router bigint NOT NULL REFERENCES router, arm integer NOT NULL, p jsonb NOT NULL,
    tokens jsonb NOT NULL, cost jsonb NOT NULL, propensities jsonb, posterior jsonb NOT NULL,
    is_hinted smallint NOT NULL, features jsonb NOT NULL, prompt_sha256 text,
    prompt_bytes bigint, prompt text
)""",
    f"""CREATE TABLE outcome (
    {_SEQ}, decision text NOT NULL UNIQUE REFERENCES decision (id),
    time_s double precision NOT NULL, outcome text, score double precision,
    completion_tokens bigint, seconds double precision
)""",
    f"CREATE TABLE served ({_SEQ}, {_served_columns()})",
    """CREATE TABLE served_outcome (
    served text PRIMARY KEY REFERENCES served (id), time_s double precision NOT NULL,
    outcome text, score double precision
)""",
    "CREATE INDEX decision_time ON decision (time_s)",
    "CREATE INDEX served_time ON served (time_s, seq)",
)


_HAS_TABLES = """
SELECT 1 FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = 'thinkroute' AND c.relname = 'meta'
"""


class PostgresDatabase:
    """One connection to the schema `thinkroute` of a database, behind a lock."""

    has_served = True

    def __init__(self, url: PostgresUrl, *, writable: bool) -> None:
        """Connect; the tables are created where they are missing and the log is to be written.

        Raises:
            StoreError: The database cannot be reached or used; nothing of a password is told.
            ArtifactTooNewError: A newer version made the tables.
            MissingPrerequisiteError: psycopg is not installed.
        """
        self.place = url.place
        self._url = url
        self._lock = threading.RLock()
        self._psycopg = _load()
        with self._told():
            self._connection: psycopg.Connection[tuple[Any, ...]] = self._psycopg.connect(
                **{**_PATIENCE, **url.parameters},
                autocommit=True,
                # A pooler between us may give each transaction another server process.
                prepare_threshold=None,
            )
        try:
            self._prepare(writable=writable)
        except BaseException:
            self._connection.close()
            raise

    @contextlib.contextmanager
    def transaction(self) -> Generator[None]:
        """Run a transaction.

        Raises:
            StoreError: The database cannot be reached or used.
            InvalidInputError: A value does not fit its column.
        """
        with self._lock, self._told(), self._connection.transaction():
            # For this transaction only: no pooler carries it over to somebody else's.
            self._connection.execute(
                "SELECT set_config('search_path', 'thinkroute', true),"
                " set_config('statement_timeout', %s, true)",
                (_STATEMENT_TIMEOUT,),
            )
            yield

    def execute(self, sql: str, parameters: Mapping[str, object]) -> list[tuple[Any, ...]]:
        """Run one statement and return its rows."""
        cursor = self._connection.execute(_translated(sql), _storable(parameters))
        return [] if cursor.description is None else cursor.fetchall()

    def execute_many(self, sql: str, rows: Sequence[Mapping[str, object]]) -> None:
        """Run one statement for each row of parameters, without waiting after each."""
        with self._connection.cursor() as cursor:
            cursor.executemany(_translated(sql), [_storable(row) for row in rows])

    def lock(self, name: str) -> None:
        """Keep other writers off what is named until the transaction ends."""
        self.execute("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))", {"name": name})

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _prepare(self, *, writable: bool) -> None:
        from psycopg.types.string import TextLoader

        # What reads the rows of SQLite parses JSON by itself.
        self._connection.adapters.register_loader("jsonb", TextLoader)
        with self.transaction():
            version = self._version()
        if version is None:
            if not writable:
                raise StoreError(
                    f"there is no decision log in {self.place}",
                    hint="name the database that the server writes to",
                )
            with self.transaction():
                # Several servers may start at once.
                self.execute("SELECT pg_advisory_xact_lock(:key)", {"key": _LOCK})
                version = self._version()
                if version is None:
                    version = self._create()
        if version > DECISION_LOG_VERSION:
            raise too_new(self.place, version)

    def _version(self) -> int | None:
        """Return the version of the tables; `None` where there are none."""
        # Not `to_regclass`: what it remembers of names may be older than the lock just taken.
        if not self.execute(_HAS_TABLES, {}):
            return None
        found = self.execute("SELECT value FROM thinkroute.meta WHERE key = 'version'", {})
        return int(found[0][0]) if found else None

    def _create(self) -> int:
        self.execute("CREATE SCHEMA IF NOT EXISTS thinkroute", {})
        self.execute("CREATE TABLE meta (key text PRIMARY KEY, value text NOT NULL)", {})
        for table in _TABLES:
            self.execute(table, {})
        self.execute(
            "INSERT INTO meta VALUES ('version', :version)", {"version": str(DECISION_LOG_VERSION)}
        )
        return DECISION_LOG_VERSION

    @contextlib.contextmanager
    def _told(self) -> Generator[None]:
        """Turn errors of the library into ours, which repeat neither passwords nor values."""
        library = self._psycopg
        try:
            yield
        except (library.DataError, library.IntegrityError, OverflowError) as error:
            # Their texts quote the value.
            raise InvalidInputError(
                f"{self.place} cannot hold a record: {type(error).__name__}",
                code="unstorable-record",
            ) from None
        except library.Error as error:
            raise StoreError(
                f"{self.place} cannot be used: {self._url.scrub(str(error))}",
                code="store-unavailable",
            ) from None


@lru_cache(maxsize=64)
def _translated(sql: str) -> bytes:
    """Return a statement with its parameters as psycopg writes them."""
    return re.sub(r"(?<!:):([a-z_]\w*)", r"%(\1)s", sql).encode()


def _storable(parameters: Mapping[str, object]) -> dict[str, object]:
    """Return parameters whose texts hold no NUL, which PostgreSQL has no place for."""
    return {
        name: value.replace("\0", "\ufffd") if isinstance(value, str) else value
        for name, value in parameters.items()
    }


def _load() -> ModuleType:
    try:
        import psycopg
    except ImportError as error:
        raise MissingPrerequisiteError.extra("serve", "psycopg") from error
    return psycopg
