"""The run store: every sample of a run in one SQLite file, safe against crashes.

Generations and scores are separate tables, so grading again costs no tokens; it replaces the
score. A sample's key is the hash of everything that can change its output; a finished sample is
never asked twice.
Samples reach the disk (`synchronous=FULL`) in groups, by one writer thread.
"""

import contextlib
import dataclasses
import fcntl
import json
import os
import queue
import sqlite3
import threading
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from policies import ArtifactTooNewError, Completion, FinishReason, StoreError, Usage

from ._outcomes import Outcome, OutcomeRecord
from .graders import Grader, judge

__all__ = ["ArmRow", "RunStore", "StoredSample", "aggregate_rows"]

SCHEMA_VERSION = 1

_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE arm (
    id INTEGER PRIMARY KEY, model TEXT NOT NULL, size INTEGER, policy TEXT NOT NULL,
    recipe TEXT NOT NULL, identity TEXT NOT NULL, UNIQUE (model, policy, identity)
);
CREATE TABLE question (
    id TEXT PRIMARY KEY, task TEXT NOT NULL, task_type TEXT NOT NULL, grp TEXT NOT NULL,
    level INTEGER, prompt TEXT NOT NULL, gold TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE generation (
    key TEXT PRIMARY KEY, arm INTEGER NOT NULL REFERENCES arm, question TEXT NOT NULL,
    repeat INTEGER NOT NULL, text TEXT, thinking TEXT, thinking_closed INTEGER,
    finish_reason TEXT, requested_budget TEXT, prompt_tokens INTEGER, completion_tokens INTEGER,
    thinking_tokens INTEGER, cached_tokens INTEGER, mean_logprob REAL, min_logprob REAL,
    flops REAL, seconds REAL, error_code TEXT, error TEXT
) WITHOUT ROWID;
CREATE TABLE score (
    key TEXT PRIMARY KEY, grader TEXT NOT NULL, version INTEGER NOT NULL,
    outcome TEXT NOT NULL, extracted TEXT
) WITHOUT ROWID;
"""
_INSERT_GENERATION = f"INSERT OR REPLACE INTO generation VALUES ({', '.join('?' * 19)})"  # noqa: S608 - constants only
_INSERT_SCORE = "INSERT OR REPLACE INTO score VALUES (?, ?, ?, ?, ?)"
_INSERT_QUESTION = "INSERT OR IGNORE INTO question VALUES (?, ?, ?, ?, ?, ?, ?)"
_GROUP_SIZE = 4096
_OUTCOME_FIELD = [field.name for field in dataclasses.fields(OutcomeRecord)].index("outcome")


@dataclass(frozen=True, slots=True)
class ArmRow:
    """How an arm is written down.

    Attributes:
        model: Model name.
        size: Parameter count, `None` if unknown.
        policy: Canonical policy string.
        recipe: How the model was trained, "" if unknown.
        identity: The backend's identity and the decoding options, JSON.
    """

    model: str
    size: int | None
    policy: str
    recipe: str
    identity: str


@dataclass(frozen=True, slots=True)
class StoredSample:
    """One finished sample on its way to the disk.

    Attributes:
        key: The sample's key.
        arm: Row id given by `RunStore.add_arm`.
        question: Question id.
        repeat: Repeat index.
        requested_budget: Thinking budget asked for: a number, `max`, or `None`.
        completion: The answer, `None` for an error.
        flops: Inference FLOPs, `None` if unknown.
        outcome: What became of it.
        extracted: The answer the grader read.
        grader: Name and version of the grader.
        error: (code, message) for an error.
    """

    key: str
    arm: int
    question: str
    repeat: int
    requested_budget: str | None
    completion: Completion | None
    flops: float | None
    outcome: Outcome
    extracted: str | None
    grader: tuple[str, int]
    error: tuple[str, str] | None = None


class RunStore:
    """One run's samples. Open for writing with `create`, for reading with `open`."""

    def __init__(self, path: Path, *, writable: bool) -> None:
        """Open the store's file; use the class methods instead."""
        self.path = path
        self._connection = _connect(path, writable=writable)
        self._queue: queue.Queue[StoredSample | None] = queue.Queue()
        self._failure: Exception | None = None
        self._writer: threading.Thread | None = None
        self._lock: Any = None

    @classmethod
    def create(cls, path: Path) -> Self:
        """Open a store for writing, creating it if it is not there.

        Raises:
            StoreError: Another process writes to it, or the place cannot be written.
            ArtifactTooNewError: A newer version wrote it.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = path.with_suffix(".lock").open("w")
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                lock.close()
                raise StoreError(
                    f"{path} is being written by another process",
                    hint="wait for it, or write to another folder",
                    code="store-locked",
                ) from error
        except OSError as error:
            raise StoreError(
                f"{path} cannot be written: {error.strerror}", hint="choose another --out folder"
            ) from error
        try:
            store = cls(path, writable=True)
        except BaseException:
            lock.close()
            raise
        store._lock = lock
        # A daemon: a store that nobody closes must not keep the process from ending.
        store._writer = threading.Thread(target=store._write, name="thinkroute-store", daemon=True)
        store._writer.start()
        return store

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open a store for reading, also while another process writes to it.

        Raises:
            StoreError: There is no store, or the file is damaged.
            ArtifactTooNewError: A newer version wrote it.
        """
        if not path.is_file():
            raise StoreError(
                f"there is no run store at {path}", hint="make one with: advisor calibrate --out"
            )
        return cls(path, writable=False)

    def __enter__(self) -> Self:
        """Return the store."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Write what is left and close."""
        self.close()

    def close(self) -> None:
        """Write what is queued and close.

        Raises:
            StoreError: Something could not be written.
        """
        if self._writer is not None:
            self._queue.put(None)
            self._writer.join()
            self._writer = None
        self._connection.close()
        if self._lock is not None:
            self._lock.close()
            self._lock = None
        self._raise_failure()

    def set_meta(self, key: str, value: object) -> None:
        """Write down a fact about the run, as JSON."""
        with self._guarded(), self._connection:
            self._connection.execute(
                "INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, json.dumps(value))
            )

    def get_meta(self, key: str) -> Any:
        """Return a fact about the run, `None` if it was never written."""
        with self._guarded():
            row = self._connection.execute(
                "SELECT value FROM meta WHERE key = ?", (key,)
            ).fetchone()
            return None if row is None else json.loads(row[0])

    def add_arm(self, arm: ArmRow) -> int:
        """Write down an arm once; return its row id.

        Raises:
            StoreError: The store holds answers of a model of this name that was reached or
                asked in another way. Its cells would mix the two.
        """
        values = (arm.model, arm.size, arm.policy, arm.recipe, arm.identity)
        with self._guarded(), self._connection:
            other = self._connection.execute(
                "SELECT 1 FROM arm WHERE model = ? AND identity != ?", (arm.model, arm.identity)
            ).fetchone()
            if other is not None:
                raise StoreError(
                    f"{self.path} holds answers of {arm.model!r} with other weights, versions, "
                    "decoding options or seed",
                    hint="write to another folder",
                    code="store-other-plan",
                )
            self._connection.execute(
                "INSERT OR IGNORE INTO arm (model, size, policy, recipe, identity) "
                "VALUES (?, ?, ?, ?, ?)",
                values,
            )
            row = self._connection.execute(
                "SELECT id FROM arm WHERE model = ? AND policy = ? AND identity = ?",
                (arm.model, arm.policy, arm.identity),
            ).fetchone()
        return int(row[0])

    def add_questions(
        self, rows: Sequence[tuple[str, str, str, str, int | None, str, str]]
    ) -> None:
        """Write down questions: (id, task, task type, group, level, prompt, gold)."""
        with self._guarded(), self._connection:
            self._connection.executemany(_INSERT_QUESTION, rows)

    def finished_keys(self) -> set[str]:
        """Return the keys of samples that need not be asked again; errors are not among them."""
        with self._guarded():
            rows = self._connection.execute("SELECT key FROM generation WHERE error_code IS NULL")
            return {key for (key,) in rows}

    def add(self, sample: StoredSample) -> None:
        """Queue a sample for writing; never blocks on the disk.

        Raises:
            StoreError: An earlier sample could not be written.
        """
        self._raise_failure()
        self._queue.put(sample)

    def records(self) -> Iterator[OutcomeRecord]:
        """Yield every outcome, errors included, in a fixed order, by its score."""
        query = f"""
            SELECT g.question, q.grp, q.task, q.task_type, q.prompt, a.model, a.size, a.policy,
                   s.outcome, coalesce(g.prompt_tokens, 0), coalesce(g.completion_tokens, 0),
                   g.flops, coalesce(g.seconds, 0.0)
            {_JOIN} ORDER BY g.question, g.arm, g.repeat
        """
        with self._guarded():
            for row in self._connection.execute(query):
                fields: list[Any] = list(row)
                fields[_OUTCOME_FIELD] = Outcome(fields[_OUTCOME_FIELD])
                yield OutcomeRecord(*fields)

    def rescore(self, task: str, grader: Grader) -> int:
        """Judge a task's finished answers again, without asking any model; return how many.

        Raises:
            StoreError: The store cannot be written.
        """
        with self._guarded(), self._connection:
            rows = self._connection.execute(
                """
                SELECT g.key, g.text, g.finish_reason, g.thinking_closed, q.gold
                FROM generation g JOIN question q ON q.id = g.question
                WHERE q.task = ? AND g.error_code IS NULL
                """,
                (task,),
            )
            scores: list[tuple[object, ...]] = []
            for key, text, reason, is_closed, gold in rows:
                completion = Completion(
                    text, FinishReason(reason), Usage(0, 0), 0.0, thinking_closed=bool(is_closed)
                )
                outcome, extracted, *_ = judge(completion, gold, grader)
                scores.append(
                    (key, grader.name, grader.version, outcome.value, _storable(extracted))
                )
            self._connection.executemany(_INSERT_SCORE, scores)
        return len(scores)

    def cell_sums(self) -> list[Mapping[str, Any]]:
        """Return counts and sums per (task, arm); see `aggregate_rows`."""
        with self._guarded():
            return aggregate_rows(self._connection)

    def _write(self) -> None:
        """Body of the writer thread: commit samples in groups until told to stop."""
        try:
            with contextlib.closing(_connect(self.path, writable=True)) as connection:
                # Keys are hashes, so a group touches pages all over a large file: keep more of
                # them in memory, and copy them from the log to the file less often.
                connection.execute("PRAGMA cache_size=-65536")
                connection.execute("PRAGMA wal_autocheckpoint=8000")
                stop = False
                while not stop:
                    group, stop = self._take_group()
                    if group:
                        with connection:
                            connection.executemany(
                                _INSERT_GENERATION, [_generation_values(s) for s in group]
                            )
                            connection.executemany(
                                _INSERT_SCORE,
                                [
                                    (s.key, *s.grader, s.outcome.value, _storable(s.extracted))
                                    for s in group
                                ],
                            )
        except Exception as error:  # noqa: BLE001 - raised by the next `add` or by `close`
            self._failure = error

    def _take_group(self) -> tuple[list[StoredSample], bool]:
        first = self._queue.get()
        if first is None:
            return [], True
        group = [first]
        while len(group) < _GROUP_SIZE:
            try:
                sample = self._queue.get_nowait()
            except queue.Empty:
                break
            if sample is None:
                return group, True
            group.append(sample)
        return group, False

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise StoreError(
                f"{self.path} cannot be written: {self._failure}",
                hint="what was written before is safe; free the disk and run again to resume",
            ) from self._failure

    @contextlib.contextmanager
    def _guarded(self) -> Generator[None]:
        try:
            yield
        except (sqlite3.Error, ValueError) as error:  # ValueError: what was read makes no sense.
            raise StoreError(
                f"{self.path} cannot be used: {error}",
                hint="is the disk full or the file damaged? What can be read is kept",
            ) from error


_JOIN = """
    FROM generation g
    JOIN arm a ON a.id = g.arm
    JOIN question q ON q.id = g.question
    JOIN score s ON s.key = g.key
"""


def aggregate_rows(connection: sqlite3.Connection) -> list[Mapping[str, Any]]:
    """Return one row of counts and sums per (task, model, policy), computed inside SQLite."""
    cursor = connection.execute(
        f"""
        SELECT q.task AS task, q.task_type AS task_type, a.model AS model, a.size AS size,
               a.policy AS policy, a.recipe AS recipe,
               sum(s.outcome != 'error') AS n, sum(s.outcome = 'correct') AS n_correct,
               sum(s.outcome = 'cut') AS n_cut, sum(s.outcome = 'error') AS n_error,
               sum(g.prompt_tokens) AS prompt_tokens, sum(g.completion_tokens) AS tokens,
               sum(g.flops) AS flops,
               sum(s.outcome != 'error' AND g.flops IS NULL) AS n_without_flops,
               sum(g.seconds) AS seconds
        {_JOIN} GROUP BY q.task, q.task_type, a.model, a.size, a.policy, a.recipe
        ORDER BY a.size, a.model, q.task, a.policy, q.task_type, a.recipe
        """
    )
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor]


def _generation_values(sample: StoredSample) -> tuple[object, ...]:
    head = (sample.key, sample.arm, sample.question, sample.repeat)
    completion = sample.completion
    if completion is None:
        code, text = sample.error or ("unknown", "")
        empty = (None,) * 4
        return (*head, *empty, sample.requested_budget, *(None,) * 8, code, _storable(text))
    usage, evidence = completion.usage, completion.evidence
    return (
        *head,
        _storable(completion.text),
        _storable(completion.thinking),
        int(completion.thinking_closed),
        completion.finish_reason.value,
        sample.requested_budget,
        usage.prompt_tokens,
        usage.completion_tokens,
        usage.thinking_tokens,
        usage.cached_tokens,
        evidence.mean_logprob if evidence else None,
        evidence.min_logprob if evidence else None,
        sample.flops,
        completion.seconds,
        None,
        None,
    )


def _storable(text: str | None) -> str | None:
    """Return a text that SQLite takes: servers do send halves of surrogate pairs."""
    if text is None or text.isascii():
        return text
    return text.encode("utf-8", "backslashreplace").decode()


def _connect(path: Path, *, writable: bool) -> sqlite3.Connection:
    connection: sqlite3.Connection | None = None
    try:
        if writable:
            connection = sqlite3.connect(path, timeout=30, check_same_thread=False)
        else:
            connection = _connect_to_read(path)
        _prepare(path, connection, writable=writable)
    except BaseException as error:
        if connection is not None:
            connection.close()
        # Python cannot even decode the message if a damaged schema is quoted in it.
        if isinstance(error, sqlite3.Error | UnicodeDecodeError):
            raise StoreError(
                f"{path} is not a usable run store: {error}", hint="choose another --out folder"
            ) from error
        raise
    return connection


def _connect_to_read(path: Path) -> sqlite3.Connection:
    """Open read-only, also in a folder where SQLite may not create its side files."""
    uri = f"{path.resolve().as_uri()}?mode=ro"
    connection = sqlite3.connect(uri, uri=True, timeout=30)
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.OperationalError:
        connection.close()
        has_log = path.with_name(f"{path.name}-wal").exists()
        if has_log or os.access(path.parent, os.W_OK):
            raise
        connection = sqlite3.connect(f"{uri}&immutable=1", uri=True)
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(path: Path, connection: sqlite3.Connection, *, writable: bool) -> None:
    """Check the schema version, and create the tables of a new store."""
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version > SCHEMA_VERSION:
        raise ArtifactTooNewError(
            f"{path} has schema version {version}, this version reads up to {SCHEMA_VERSION}",
            hint="upgrade thinkroute",
        )
    if version == 0:
        n_tables = int(connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])
        if n_tables or not writable:
            raise StoreError(
                f"{path} is not a run store of thinkroute", hint="choose another --out folder"
            )
    if writable:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        if version == 0:
            connection.executescript(
                f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version={SCHEMA_VERSION}; COMMIT;"
            )
