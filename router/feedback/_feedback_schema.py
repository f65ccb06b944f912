"""The SQLite file of a feedback log: its tables, and how it is opened and told from others."""

import sqlite3
from pathlib import Path

from policies import ArtifactTooNewError, StoreError

__all__ = ["SCHEMA_VERSION", "connect"]

SCHEMA_VERSION = 1
_APPLICATION_ID = 0x54524642  # "TRFB"; tells the file from other SQLite files

_TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE router (
    id INTEGER PRIMARY KEY, artifact_id TEXT NOT NULL, arms TEXT NOT NULL, unit TEXT NOT NULL,
    UNIQUE (artifact_id, arms, unit)
);
CREATE TABLE decision (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, time_s REAL NOT NULL,
    router INTEGER NOT NULL REFERENCES router, arm INTEGER NOT NULL, p TEXT NOT NULL,
    tokens TEXT NOT NULL, cost TEXT NOT NULL, propensities TEXT, posterior TEXT NOT NULL,
    is_hinted INTEGER NOT NULL, features TEXT NOT NULL, prompt_sha256 TEXT,
    prompt_bytes INTEGER, prompt TEXT
);
CREATE TABLE outcome (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, decision TEXT NOT NULL UNIQUE REFERENCES decision (id),
    time_s REAL NOT NULL, outcome TEXT, score REAL, completion_tokens INTEGER, seconds REAL
);
"""
_EMPTY = (0, 0, 0)


def connect(path: Path, *, writable: bool) -> sqlite3.Connection:
    """Open the file; the tables of an empty one are created if it is opened to write.

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
        _prepare(path, connection, writable=writable)
    except BaseException as error:
        if connection is not None:
            connection.close()
        if isinstance(error, sqlite3.Error | UnicodeDecodeError):
            raise StoreError(f"{path} is not a usable feedback log: {error}") from error
        raise
    return connection


def _prepare(path: Path, connection: sqlite3.Connection, *, writable: bool) -> None:
    """Check whose file it is and of which version; create the tables of an empty one."""
    found = _identify(path, connection)
    if not writable:
        if found == _EMPTY:
            raise StoreError(f"{path} is not a feedback log of thinkroute")
        return
    connection.execute("PRAGMA foreign_keys=ON")
    connection.execute("PRAGMA synchronous=FULL")
    if found != _EMPTY:
        return
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("BEGIN IMMEDIATE")
    # Another process may have been faster.
    if _identify(path, connection) == _EMPTY:
        for statement in _TABLES.split(";\n")[:-1]:
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id={_APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
    connection.execute("COMMIT")


def _identify(path: Path, connection: sqlite3.Connection) -> tuple[int, int, int]:
    """Return version, application and number of tables of the file.

    Raises:
        StoreError: It is another program's file.
        ArtifactTooNewError: A newer version wrote it.
    """
    version, application, n_tables = (
        int(connection.execute(query).fetchone()[0])
        for query in (
            "PRAGMA user_version",
            "PRAGMA application_id",
            "SELECT count(*) FROM sqlite_master",
        )
    )
    if application != _APPLICATION_ID and (version, application, n_tables) != _EMPTY:
        raise StoreError(f"{path} is not a feedback log of thinkroute", hint="choose another file")
    if version > SCHEMA_VERSION:
        raise ArtifactTooNewError(
            f"{path} has schema version {version}; this version reads up to {SCHEMA_VERSION}",
            hint='pip install --upgrade "thinkroute"',
        )
    return version, application, n_tables
