"""A decision log in a database: the same statements for SQLite and PostgreSQL."""

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from hashlib import blake2b
from typing import Any, Protocol

from policies import InvalidInputError, StoreError

from ...feedback._drift_reference import drift_features
from ...feedback._feedback_schema import SERVED_COLUMNS
from ...feedback._feedback_sql import (
    insert_decisions,
    insert_outcome,
    salt_mark,
    unknown_decision,
)
from ...feedback._logged import LoggedDecision, LoggedOutcome, log_decision, read_outcome
from .._record import ServedRequest
from ._served import ServedRow, columns_of, row_of, storable

__all__ = ["Database", "LogStore", "SqlLogStore"]

_PAGE = 2000

_INSERT = (
    f"INSERT INTO served ({', '.join(SERVED_COLUMNS)}) "  # noqa: S608 - names of our own columns
    f"VALUES ({', '.join(f':{name}' for name in SERVED_COLUMNS)}) ON CONFLICT DO NOTHING"
)
# By pages, so that neither a lock nor a transaction lasts as long as the reader takes. In the
# order of time and not of writing: only that has an index.
_SELECT = f"""
SELECT s.seq, {", ".join(f"s.{name}" for name in SERVED_COLUMNS)}, r.artifact_id,
    COALESCE(o.time_s, f.time_s), COALESCE(o.outcome, f.outcome), COALESCE(o.score, f.score)
FROM served AS s
LEFT JOIN decision AS d ON d.id = s.id LEFT JOIN router AS r ON r.id = d.router
LEFT JOIN outcome AS o ON o.decision = s.id LEFT JOIN served_outcome AS f ON f.served = s.id
WHERE (s.time_s, s.seq) > (:time_s, :seq)
    AND (CAST(:artifact_id AS TEXT) IS NULL OR r.artifact_id = :artifact_id)
    AND (CAST(:caller AS TEXT) IS NULL OR s.caller = :caller)
ORDER BY s.time_s, s.seq LIMIT :page
"""  # noqa: S608 - likewise
_INSERT_OUTCOME = """
INSERT INTO served_outcome (served, time_s, outcome, score)
VALUES (:id, :time_s, :outcome, :score)
ON CONFLICT (served) DO UPDATE
SET time_s = excluded.time_s, outcome = excluded.outcome, score = excluded.score
"""


class LogStore(Protocol):
    """Where the server's decisions are kept. Safe to share among threads."""

    @property
    def place(self) -> str:
        """Where it is, without any password."""
        ...

    def write(self, records: Sequence[ServedRequest]) -> None:
        """Write requests in one transaction; one that is there already is left as it is.

        Raises:
            StoreError: The log cannot be written now; the same records may be written later.
            InvalidInputError: A record can never be stored; none of them is.
        """
        ...

    def record_feedback(
        self, decision_id: str, *, outcome: str | None = None, score: float | None = None
    ) -> None:
        """Write down what a caller thinks of an answer; the last one counts.

        Args:
            decision_id: The request.
            outcome: `correct`, `wrong`, `cut` or `error`; `None` where a score is given.
            score: In [0, 1]; `None` where an outcome is given.

        Raises:
            InvalidInputError: There is no such request (`unknown-decision`), or not exactly one
                of outcome and score is given, or it cannot be used.
            StoreError: The log cannot be written.
        """
        ...

    def served(
        self, since_s: float = 0.0, *, artifact_id: str | None = None, caller: str | None = None
    ) -> Iterator[ServedRow]:
        """Yield the requests in the order in which they arrived.

        Args:
            since_s: Only those that arrived then or later, seconds since 1970.
            artifact_id: Only those that this router decided.
            caller: Only those of this caller.

        Raises:
            StoreError: The log is damaged or cannot be read.
        """
        ...

    def close(self) -> None:
        """Give the log back."""
        ...


class Database(Protocol):
    """A connection to a database that holds the tables; used by one thread at a time."""

    place: str
    has_served: bool

    def transaction(self) -> AbstractContextManager[None]:
        """Return a transaction; errors of the library leave it as `LogStore.write` says."""
        ...

    def execute(self, sql: str, parameters: Mapping[str, object]) -> list[tuple[Any, ...]]:
        """Run one statement inside a transaction and return its rows."""
        ...

    def execute_many(self, sql: str, rows: Sequence[Mapping[str, object]]) -> None:
        """Run an `INSERT ... VALUES (...)` for each row of parameters."""
        ...

    def lock(self, name: str) -> None:
        """Keep other writers off what is named until the transaction ends."""
        ...

    def close(self) -> None:
        """Close the connection."""
        ...


class SqlLogStore:
    """A decision log behind a `Database`; see `LogStore`."""

    def __init__(
        self,
        database: Database,
        *,
        store_prompts: bool = False,
        salt: bytes = b"",
        known_words: Collection[bytes] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Keep the database; use `open_log` and `read_log` instead."""
        self._database = database
        self._store_prompts = store_prompts
        self._salt = salt
        self._known_words = known_words
        self._clock = clock

    @property
    def place(self) -> str:
        """Where it is, without any password."""
        return self._database.place

    def check_salt(self) -> None:
        """Refuse another salt than the one the log was begun with.

        Raises:
            StoreError: It is another one.
        """
        mark = salt_mark(self._salt)
        with self._database.transaction():
            self._database.execute(
                "INSERT INTO meta (key, value) VALUES ('salt', :mark) ON CONFLICT DO NOTHING",
                {"mark": mark},
            )
            ((kept,),) = self._database.execute("SELECT value FROM meta WHERE key = 'salt'", {})
        if kept != mark:
            raise StoreError(
                f"{self.place} was begun with another salt",
                hint="give the same salt in every process, or begin another log",
                code="store-other-salt",
            )

    def write(self, records: Sequence[ServedRequest]) -> None:
        """Write requests in one transaction; see `LogStore.write`."""
        rows: list[dict[str, object]] = []
        entries: list[LoggedDecision] = []
        # In one order everywhere, so that two writers never wait for each other.
        for record in sorted(records, key=lambda record: record.decision_id):
            row = columns_of(record)
            # Keyed like the prompts' hashes: it is one, and would tell a prompt to whoever guesses.
            row["conversation"] = self._keyed(record.conversation)
            rows.append(row)
            if record.decision is not None:
                entries.append(self._entry(record))
        with self._database.transaction():
            insert_decisions(
                self._database, entries, salt=self._salt, store_prompts=self._store_prompts
            )
            self._database.execute_many(_INSERT, rows)

    def record_feedback(
        self, decision_id: str, *, outcome: str | None = None, score: float | None = None
    ) -> None:
        """Write down what a caller thinks of an answer; see `LogStore.record_feedback`."""
        new = _feedback(outcome, score, self._clock())
        database, key = self._database, {"id": storable(decision_id)}
        with database.transaction():
            database.lock(decision_id)
            found = database.execute(
                "SELECT completion_tokens, seconds FROM served WHERE id = :id", key
            )
            if database.execute("SELECT 1 FROM decision WHERE id = :id", key):
                tokens, seconds = found[0] if found else (None, None)
                told = LoggedOutcome(new.time_s, new.outcome, new.score, tokens, seconds)
                insert_outcome(database, decision_id, told, replace=True)
            elif found:
                kind = None if new.outcome is None else str(new.outcome)
                database.execute(
                    _INSERT_OUTCOME,
                    {**key, "time_s": new.time_s, "outcome": kind, "score": new.score},
                )
            else:
                raise unknown_decision(decision_id)

    def served(
        self, since_s: float = 0.0, *, artifact_id: str | None = None, caller: str | None = None
    ) -> Iterator[ServedRow]:
        """Yield the requests in the order in which they arrived; see `LogStore.served`."""
        if not self._database.has_served:
            return
        after: tuple[float, int] = (since_s, -1)
        while True:
            parameters = {
                "time_s": after[0],
                "seq": after[1],
                "artifact_id": artifact_id,
                "caller": caller,
                "page": _PAGE,
            }
            with self._database.transaction():
                rows = self._database.execute(_SELECT, parameters)
            for _, *values in rows:
                yield row_of(values)
            if len(rows) < _PAGE:
                return
            after = (rows[-1][_TIME], rows[-1][0])

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def _keyed(self, name: str) -> str:
        if not name or not self._salt:
            return storable(name)
        key = blake2b(self._salt).digest()
        return blake2b(storable(name).encode(), digest_size=16, key=key).hexdigest()

    def _entry(self, record: ServedRequest) -> LoggedDecision:
        decision = record.decision
        assert decision is not None
        prompt = decision.prompt
        return log_decision(
            decision,
            decision_id=storable(record.decision_id),
            time_s=record.time_s,
            prompt=prompt,
            features=None if prompt is None else drift_features(prompt, self._known_words),
            propensities=decision.propensities,
        )


_TIME = 1 + list(SERVED_COLUMNS).index("time_s")


def _feedback(outcome: str | None, score: float | None, now_s: float) -> LoggedOutcome:
    if outcome is not None and score is None:
        return read_outcome(outcome, time_s=now_s)
    if score is not None and outcome is None:
        return read_outcome(score, time_s=now_s)
    raise InvalidInputError(
        f"outcome={outcome!r} and score={score!r}: expected one of them",
        hint="write correct, wrong, cut or error as the outcome, or a score in [0, 1]",
    )
