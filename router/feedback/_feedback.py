"""The feedback log: every decision and what became of it, in one SQLite file.

Prompts are not stored unless asked for: only their hash and length. Every call is one
transaction that is on the disk when it returns (`synchronous=FULL`, write-ahead log), so a crash
loses nothing that was acknowledged; several threads and processes may write at once. One call
takes as long as the disk takes to flush: call it after the answer, never before.
"""

import contextlib
import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from calibration import Outcome
from policies import StoreError

from .._decision import Decision
from ._feedback_schema import SqliteStatements, connect
from ._feedback_sql import insert_decisions, insert_outcome, salt_mark
from ._logged import (
    LoggedDecision,
    LoggedOutcome,
    check_logged,
    decision_from_row,
    log_decision,
    read_outcome,
)

__all__ = ["FeedbackLog"]

_SELECT = """
SELECT d.id, d.time_s, r.artifact_id, r.arms, r.unit, d.arm, d.p, d.tokens, d.cost,
       d.propensities, d.posterior, d.is_hinted, d.features, d.prompt_sha256, d.prompt_bytes,
       d.prompt, o.time_s AS outcome_time_s, o.outcome, o.score, o.completion_tokens, o.seconds
FROM decision AS d JOIN router AS r ON r.id = d.router LEFT JOIN outcome AS o ON o.decision = d.id
WHERE (:artifact_id IS NULL OR r.artifact_id = :artifact_id) AND d.time_s >= :since_s
"""
_IN_ORDER_OF_DECISIONS = _SELECT + "ORDER BY d.seq"
_IN_ORDER_OF_OUTCOMES = _SELECT + "AND o.seq IS NOT NULL ORDER BY o.seq"


class FeedbackLog:
    """A log of decisions and outcomes. Open it with `open` to write, with `read` to read.

    Safe to share among threads; a forked child opens the file anew.
    """

    def __init__(
        self,
        path: Path,
        *,
        writable: bool,
        store_prompts: bool = False,
        salt: bytes = b"",
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Open the file; use the class methods instead."""
        self.path = path
        self._writable = writable
        self._store_prompts = store_prompts
        self._salt = salt
        self._clock = clock
        self._lock = threading.RLock()
        self._process = os.getpid()
        self._connection = connect(path, writable=writable)
        if writable:
            self._check_salt()

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        store_prompts: bool = False,
        salt: bytes = b"",
        clock: Callable[[], float] = time.time,
    ) -> Self:
        """Open a log to write to, creating it (readable by its owner only) if it is not there.

        Args:
            path: The file.
            store_prompts: Whether the texts are kept; only then can routers be fitted from the
                log or evaluated on it. By default their hash and length are.
            salt: Secret that keys the hashes; must be the same in every process that writes.
            clock: What tells the time, seconds since 1970.

        Raises:
            StoreError: The file is damaged, no feedback log, hashed with another salt, or cannot
                be written.
            ArtifactTooNewError: A newer version wrote it.
        """
        place = Path(path)
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            # Side files get the permissions of the main one.
            os.close(os.open(place, os.O_CREAT | os.O_RDWR, 0o600))
        except OSError as error:
            raise StoreError(f"{place} cannot be written: {error.strerror}") from error
        return cls(place, writable=True, store_prompts=store_prompts, salt=salt, clock=clock)

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Open a log to read, also while others write to it.

        Raises:
            StoreError: There is no log, or the file is damaged or no feedback log.
            ArtifactTooNewError: A newer version wrote it.
        """
        place = Path(path)
        if not place.is_file():
            raise StoreError(
                f"there is no feedback log at {place}",
                hint="write one with router.record(decision, outcome)",
            )
        return cls(place, writable=False)

    def __enter__(self) -> Self:
        """Return the log."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the log."""
        self.close()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def record(
        self,
        decision: Decision,
        outcome: Outcome | str | bool | float | None = None,
        *,
        prompt: str | None = None,
        features: Mapping[str, float] | None = None,
        propensities: Sequence[float] | None = None,
        decision_id: str | None = None,
        completion_tokens: int | None = None,
        seconds: float | None = None,
    ) -> str:
        """Write down a decision and, where it is known already, what became of it.

        Writing a decision again changes nothing; so it may come with its outcome later.

        Args:
            decision: What the router said.
            outcome: `correct`, `wrong`, `cut` or `error`, True or False, or a score in [0, 1];
                `None` if it is not known yet, see `record_outcome`.
            prompt: The prompt; its hash and length are kept, itself only if prompts are stored.
            features: Numbers for the drift monitor, see `drift_features`.
            propensities: Probability with which each candidate would have been chosen, in their
                order; `None` for a deterministic choice.
            decision_id: Name of the decision; a fresh one if `None`.
            completion_tokens: Tokens that were generated.
            seconds: Wall seconds that it took.

        Returns:
            The decision's id.

        Raises:
            InvalidInputError: A value cannot be used, or the decision has another outcome already.
            StoreError: The log cannot be written.
        """
        now = self._clock()
        known = None
        if outcome is not None:
            known = read_outcome(
                outcome, time_s=now, completion_tokens=completion_tokens, seconds=seconds
            )
        entry = log_decision(
            decision,
            decision_id=decision_id or secrets.token_hex(16),
            time_s=now,
            prompt=prompt,
            features=features,
            propensities=propensities,
        )
        with self._transaction():
            self._insert(entry)
            if known is not None:
                self._insert_outcome(entry.decision_id, known, replace=False)
        return entry.decision_id

    def record_many(self, entries: Iterable[LoggedDecision]) -> None:
        """Write down decisions, with their outcomes where they have one: all or none of them.

        Raises:
            InvalidInputError: A decision's values do not fit each other, or it has another
                outcome already.
            StoreError: The log cannot be written.
        """
        with self._transaction():
            for entry in entries:
                check_logged(entry)
                self._insert(entry)
                if entry.outcome is not None:
                    self._insert_outcome(entry.decision_id, entry.outcome, replace=False)

    def record_outcome(
        self,
        decision_id: str,
        outcome: Outcome | str | bool | float,
        *,
        completion_tokens: int | None = None,
        seconds: float | None = None,
        replace: bool = False,
    ) -> None:
        """Write down what became of a decision that was logged before.

        Telling the same outcome again changes nothing.

        Args:
            decision_id: The decision.
            outcome: See `record`.
            completion_tokens: Tokens that were generated.
            seconds: Wall seconds that it took.
            replace: Whether an outcome told before is replaced by another one.

        Raises:
            InvalidInputError: There is no such decision, it has another outcome, or a value
                cannot be used.
            StoreError: The log cannot be written.
        """
        known = read_outcome(
            outcome, time_s=self._clock(), completion_tokens=completion_tokens, seconds=seconds
        )
        with self._transaction():
            self._insert_outcome(decision_id, known, replace=replace)

    def decisions(
        self, *, artifact_id: str | None = None, since_s: float = 0.0
    ) -> Iterator[LoggedDecision]:
        """Yield the decisions in the order in which they were logged.

        Args:
            artifact_id: Only those of this router.
            since_s: Only those logged at this time or later, seconds since 1970.

        Raises:
            StoreError: The file is damaged.
        """
        return self._read(_IN_ORDER_OF_DECISIONS, artifact_id, since_s)

    def with_outcomes(
        self, *, artifact_id: str | None = None, since_s: float = 0.0
    ) -> Iterator[LoggedDecision]:
        """Yield the decisions that have an outcome, in the order in which outcomes arrived.

        Raises:
            StoreError: The file is damaged.
        """
        return self._read(_IN_ORDER_OF_OUTCOMES, artifact_id, since_s)

    def artifact_ids(self) -> dict[str, int]:
        """Return the routers that decided, with their numbers of decisions, latest first.

        Raises:
            StoreError: The file is damaged.
        """
        with self._lock, self._guarded():
            rows = self._ready().execute(
                "SELECT r.artifact_id, count(*) FROM decision AS d JOIN router AS r"
                " ON r.id = d.router GROUP BY r.artifact_id ORDER BY max(d.seq) DESC"
            )
            return dict(rows)

    def _insert(self, entry: LoggedDecision) -> None:
        insert_decisions(
            SqliteStatements(self._connection),
            [entry],
            salt=self._salt,
            store_prompts=self._store_prompts,
        )

    def _insert_outcome(self, decision_id: str, new: LoggedOutcome, *, replace: bool) -> None:
        insert_outcome(SqliteStatements(self._connection), decision_id, new, replace=replace)

    def _read(
        self, query: str, artifact_id: str | None, since_s: float
    ) -> Iterator[LoggedDecision]:
        with self._lock, self._guarded():
            cursor = self._ready().cursor()
            cursor.row_factory = sqlite3.Row
            cursor.execute(query, {"artifact_id": artifact_id, "since_s": since_s})
        while True:
            with self._lock, self._guarded():
                rows: list[Any] = cursor.fetchmany(1000)
            if not rows:
                return
            yield from map(decision_from_row, rows)

    @contextlib.contextmanager
    def _transaction(self) -> Generator[None]:
        if not self._writable:
            raise StoreError(f"{self.path} was opened to read", hint="use FeedbackLog.open")
        with self._lock, self._guarded():
            connection = self._ready()
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    @contextlib.contextmanager
    def _guarded(self) -> Generator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise StoreError(f"{self.path} cannot be used: {error}") from error

    def _ready(self) -> sqlite3.Connection:
        """Return the connection; a forked child must not use its parent's."""
        if self._process != os.getpid():
            self._process = os.getpid()
            self._connection = connect(self.path, writable=self._writable)
        return self._connection

    def _check_salt(self) -> None:
        """Refuse another salt than the one the log was begun with: hashes would not compare."""
        mark = salt_mark(self._salt)
        with self._transaction():
            self._connection.execute("INSERT OR IGNORE INTO meta VALUES ('salt', ?)", (mark,))
            (kept,) = self._connection.execute(
                "SELECT value FROM meta WHERE key = 'salt'"
            ).fetchone()
        if kept != mark:
            self.close()
            raise StoreError(
                f"{self.path} was begun with another salt",
                hint="give the same salt in every process, or begin another file",
                code="store-other-salt",
            )
