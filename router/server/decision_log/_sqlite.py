"""The decision log in an SQLite file, which is a feedback log with one more table."""

import contextlib
import os
import sqlite3
import threading
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

from policies import InvalidInputError, StoreError

from ...feedback._feedback_schema import (
    DECISION_LOG_VERSION,
    SqliteStatements,
    connect,
    version_of,
)

__all__ = ["SqliteDatabase"]


class SqliteDatabase:
    """One connection to the file, behind a lock."""

    def __init__(self, path: Path, *, writable: bool) -> None:
        """Open the file; one opened to write is made (readable by its owner only) or migrated.

        Raises:
            StoreError: The file is damaged, another program's, or cannot be opened.
            ArtifactTooNewError: A newer version wrote it.
        """
        self.place = str(path)
        self._lock = threading.RLock()
        self._begin = "BEGIN IMMEDIATE" if writable else "BEGIN"
        if writable:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                # Side files get the permissions of the main one.
                os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
            except OSError as error:
                raise StoreError(f"{path} cannot be written: {error.strerror}") from error
        elif not path.is_file():
            raise StoreError(
                f"there is no decision log at {path}", hint="name the file that the server writes"
            )
        self._connection = connect(path, writable=writable, version=DECISION_LOG_VERSION)
        self._statements = SqliteStatements(self._connection)
        self.has_served = version_of(self._connection) >= DECISION_LOG_VERSION

    @contextlib.contextmanager
    def transaction(self) -> Generator[None]:
        """Run a transaction.

        Raises:
            StoreError: The file cannot be used.
            InvalidInputError: A value does not fit its column.
        """
        with self._lock:
            try:
                self._connection.execute(self._begin)
                try:
                    yield
                    self._connection.execute("COMMIT")
                except BaseException:
                    # A full disk may have ended the transaction already.
                    if self._connection.in_transaction:
                        self._connection.execute("ROLLBACK")
                    raise
            except (OverflowError, sqlite3.DataError, sqlite3.IntegrityError) as error:
                raise InvalidInputError(
                    f"{self.place} cannot hold a record: {type(error).__name__}",
                    code="unstorable-record",
                ) from error
            except sqlite3.Error as error:
                raise StoreError(f"{self.place} cannot be used: {error}") from error

    def execute(self, sql: str, parameters: Mapping[str, object]) -> list[tuple[Any, ...]]:
        """Run one statement and return its rows."""
        return self._statements.execute(sql, parameters)

    def execute_many(self, sql: str, rows: Sequence[Mapping[str, object]]) -> None:
        """Run an `INSERT ... VALUES (...)` for each row of parameters."""
        self._statements.execute_many(sql, rows)

    def lock(self, name: str) -> None:
        """Do nothing: a transaction that writes has the whole file."""

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()
