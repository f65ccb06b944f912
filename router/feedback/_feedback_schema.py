"""The SQLite file of a feedback log: its tables, and how it is opened and told from others.

Version 1 holds decisions and outcomes. Version 2, the server's decision log, holds the served
requests too; what reads version 1 reads version 2.
"""

import re
import sqlite3
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from policies import ArtifactTooNewError, StoreError

__all__ = [
    "DECISION_LOG_VERSION",
    "FEEDBACK_VERSION",
    "SERVED_COLUMNS",
    "SqliteStatements",
    "connect",
    "too_new",
    "version_of",
]

FEEDBACK_VERSION = 1
DECISION_LOG_VERSION = 2
_APPLICATION_ID = 0x54524642  # "TRFB"; tells the file from other SQLite files

SERVED_COLUMNS: Mapping[str, str] = {
    "id": "TEXT NOT NULL UNIQUE",
    "time_s": "REAL NOT NULL",
    "endpoint": "TEXT NOT NULL",
    "asked": "TEXT NOT NULL",
    "arm": "TEXT NOT NULL",
    "status": "INTEGER NOT NULL",
    "seconds": "REAL",
    "caller": "TEXT NOT NULL",
    "conversation": "TEXT NOT NULL",
    "mode": "TEXT NOT NULL",
    "budget": "TEXT",
    "reasons": "TEXT NOT NULL",
    "p": "REAL",
    "expected_tokens": "REAL",
    "expected_flops": "REAL",
    "reference_arm": "TEXT NOT NULL",
    "reference_tokens": "REAL",
    "reference_flops": "REAL",
    "reference_usd": "REAL",
    "max_tokens": "INTEGER",
    "prompt_tokens": "INTEGER",
    "completion_tokens": "INTEGER",
    "thinking_tokens": "INTEGER",
    "cached_tokens": "INTEGER",
    "usd": "REAL",
    "is_streamed": "INTEGER NOT NULL",
    "error": "TEXT NOT NULL",
    "finish_reason": "TEXT NOT NULL",
    "upstream": "TEXT NOT NULL",
    "n_attempts": "INTEGER NOT NULL",
    "decision_s": "REAL",
    "added_s": "REAL",
    "first_token_s": "REAL",
}
"""Columns of `served` in version 2; a later column is a step of its own."""

_STEPS: tuple[tuple[str, ...], ...] = (
    # 0 -> 1
    (
        "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
        """CREATE TABLE router (
    id INTEGER PRIMARY KEY, artifact_id TEXT NOT NULL, arms TEXT NOT NULL, unit TEXT NOT NULL,
    UNIQUE (artifact_id, arms, unit)
)""",
        """CREATE TABLE decision (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, time_s REAL NOT NULL,
    router INTEGER NOT NULL REFERENCES router, arm INTEGER NOT NULL, p TEXT NOT NULL,
    tokens TEXT NOT NULL, cost TEXT NOT NULL, propensities TEXT, posterior TEXT NOT NULL,
    is_hinted INTEGER NOT NULL, features TEXT NOT NULL, prompt_sha256 TEXT,
    prompt_bytes INTEGER, prompt TEXT
)""",
        """CREATE TABLE outcome (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, decision TEXT NOT NULL UNIQUE REFERENCES decision (id),
    time_s REAL NOT NULL, outcome TEXT, score REAL, completion_tokens INTEGER, seconds REAL
)""",
    ),
    # 1 -> 2
    (
        "CREATE TABLE served (\n    seq INTEGER PRIMARY KEY AUTOINCREMENT,\n    "
        + ",\n    ".join(f"{name} {kind}" for name, kind in SERVED_COLUMNS.items())
        + "\n)",
        "CREATE INDEX served_time ON served (time_s)",
        # Of requests without a row in `decision`; the others' outcomes are in `outcome`.
        """CREATE TABLE served_outcome (
    served TEXT PRIMARY KEY REFERENCES served (id), time_s REAL NOT NULL, outcome TEXT, score REAL
)""",
    ),
)


class _Found(NamedTuple):
    version: int
    application: int
    n_tables: int


_EMPTY = _Found(0, 0, 0)


class SqliteStatements:
    """Runs statements on a connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Keep the connection."""
        self._connection = connection

    def execute(self, sql: str, parameters: Mapping[str, object]) -> list[tuple[Any, ...]]:
        """Run one statement and return its rows."""
        return self._connection.execute(sql, parameters).fetchall()

    def execute_many(self, sql: str, rows: Sequence[Mapping[str, object]]) -> None:
        """Insert each row of parameters, many to a statement.

        Python's interpreter is let go and taken back around each step of a statement. A thread
        that writes rows one by one beside a busy one waits for its turn with every row, and keeps
        the other one from its work as often.
        """
        insert = _several(sql)
        fitting = self._connection.getlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER)
        size = _MOST_ROWS
        while size > 1 and size * len(insert.names) > fitting:
            size //= 2
        start = 0
        while start < len(rows):
            while start + size > len(rows):
                size //= 2  # Few sizes, so that their statements stay prepared.
            values = [row[name] for row in rows[start : start + size] for name in insert.names]
            self._connection.execute(insert.of(size), values)
            start += size


_MOST_ROWS = 64
_PARAMETER = re.compile(r":(\w+)")


class _Insert(NamedTuple):
    """An INSERT statement around its row of values, and the names of their parameters."""

    head: str
    row: str
    tail: str
    names: tuple[str, ...]

    def of(self, n_rows: int) -> str:
        """Return the statement for several rows."""
        return self.head + ", ".join([self.row] * n_rows) + self.tail


@cache
def _several(sql: str) -> _Insert:
    """Read a statement `INSERT ... VALUES (...) ...`; the values may hold parentheses."""
    start = sql.index("(", sql.index("VALUES"))
    depth, end = 1, start
    while depth:
        end += 1
        depth += {"(": 1, ")": -1}.get(sql[end], 0)
    row = sql[start : end + 1]
    names = tuple(_PARAMETER.findall(row))
    return _Insert(sql[:start], _PARAMETER.sub("?", row), sql[end + 1 :], names)


_WAL_S = 30.0
"""Longest wait for others who open the same file for the first time."""


def connect(path: Path, *, writable: bool, version: int = FEEDBACK_VERSION) -> sqlite3.Connection:
    """Open the file; one opened to write gets the tables that it lacks.

    Args:
        path: The file.
        writable: Whether to write to it; one opened to read is never changed.
        version: Version whose tables are needed to write.

    Raises:
        StoreError: The file is damaged, or another program's.
        ArtifactTooNewError: A newer version wrote it.
    """
    uri = f"{path.resolve().as_uri()}?mode={'rw' if writable else 'ro'}"
    connection: sqlite3.Connection | None = None
    try:
        connection = sqlite3.connect(
            uri, uri=True, timeout=30, check_same_thread=False, isolation_level=None
        )
        _prepare(path, connection, version if writable else None)
    except BaseException as error:
        if connection is not None:
            connection.close()
        if isinstance(error, sqlite3.Error | UnicodeDecodeError):
            raise StoreError(f"{path} is not a usable feedback log: {error}") from error
        raise
    return connection


def version_of(connection: sqlite3.Connection) -> int:
    """Return the schema version of an open file."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def too_new(place: object, version: int) -> ArtifactTooNewError:
    """Return the error for a log that a newer version wrote."""
    return ArtifactTooNewError(
        f"{place} has schema version {version}; this version reads up to {DECISION_LOG_VERSION}",
        hint='pip install --upgrade "thinkroute"',
    )


def _use_wal(connection: sqlite3.Connection) -> None:
    """Switch to the write-ahead log, as soon as nobody else is opening the file.

    SQLite's own waiting does not cover the switch: it fails at once where another process or
    thread is at it too.
    """
    give_up_s = time.monotonic() + _WAL_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > give_up_s:
                raise
            time.sleep(0.01)
        else:
            return


def _prepare(path: Path, connection: sqlite3.Connection, version: int | None) -> None:
    """Check whose file it is and of which version; create what it lacks, to write to it."""
    found = _identify(path, connection)
    if version is None:
        if found == _EMPTY:
            raise StoreError(f"{path} is not a feedback log of thinkroute")
        return
    connection.execute("PRAGMA foreign_keys=ON")
    connection.execute("PRAGMA synchronous=FULL")
    if found.version >= version:
        return
    if found == _EMPTY:
        _use_wal(connection)
    connection.execute("BEGIN IMMEDIATE")
    # Another process may have been faster.
    found = _identify(path, connection)
    for number, step in enumerate(_STEPS[found.version : version], found.version + 1):
        for statement in step:
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id={_APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version={number}")
    connection.execute("COMMIT")


def _identify(path: Path, connection: sqlite3.Connection) -> _Found:
    """Return version, application and number of tables of the file.

    Raises:
        StoreError: It is another program's file.
        ArtifactTooNewError: A newer version wrote it.
    """
    found = _Found(
        *(
            int(connection.execute(query).fetchone()[0])
            for query in (
                "PRAGMA user_version",
                "PRAGMA application_id",
                "SELECT count(*) FROM sqlite_master",
            )
        )
    )
    if found.application != _APPLICATION_ID and found != _EMPTY:
        raise StoreError(f"{path} is not a feedback log of thinkroute", hint="choose another file")
    if found.version > DECISION_LOG_VERSION:
        raise too_new(path, found.version)
    return found
