"""From an address to an open decision log."""

import time
from collections.abc import Callable, Collection
from pathlib import Path

from policies import InvalidInputError

from ._postgres import PostgresDatabase
from ._postgres_url import parse_postgres_url
from ._sqlite import SqliteDatabase
from ._store import Database, LogStore, SqlLogStore

__all__ = ["open_log", "read_log"]


def open_log(
    url_or_path: str | Path,
    *,
    store_prompts: bool = False,
    salt: bytes = b"",
    known_words: Collection[bytes] | None = None,
    clock: Callable[[], float] = time.time,
) -> LogStore:
    """Open a decision log to write to, creating it where there is none.

    Prompts are not stored unless asked for: only their hash and length, next to the decision.

    Args:
        url_or_path: A file or `sqlite:///file` for SQLite, which `advisor drift` reads too;
            `postgresql://user@host/database` for PostgreSQL, with the password in PGPASSWORD, in
            `~/.pgpass` or in the URL.
        store_prompts: Whether the texts are kept.
        salt: Secret that keys the hashes; must be the same in every process that writes.
        known_words: The router's vocabulary, for what `advisor drift` watches.
        clock: What tells the time of feedback, seconds since 1970.

    Raises:
        InvalidInputError: The URL cannot be used.
        StoreError: The log cannot be reached, is damaged, is another program's, or was begun with
            another salt.
        ArtifactTooNewError: A newer version wrote it.
        MissingPrerequisiteError: psycopg is not installed.
    """
    database = _connect(url_or_path, writable=True)
    store = SqlLogStore(
        database, store_prompts=store_prompts, salt=salt, known_words=known_words, clock=clock
    )
    try:
        store.check_salt()
    except BaseException:
        store.close()
        raise
    return store


def read_log(url_or_path: str | Path) -> LogStore:
    """Open a decision log to read, also while others write to it; see `open_log`.

    Raises:
        InvalidInputError: The URL cannot be used.
        StoreError: There is no log, or it cannot be read.
        ArtifactTooNewError: A newer version wrote it.
        MissingPrerequisiteError: psycopg is not installed.
    """
    return SqlLogStore(_connect(url_or_path, writable=False))


def _connect(url_or_path: str | Path, *, writable: bool) -> Database:
    text = str(url_or_path)
    scheme, separator, rest = text.partition("://")
    if isinstance(url_or_path, Path) or not separator:
        return SqliteDatabase(Path(url_or_path), writable=writable)
    if scheme in {"postgresql", "postgres"}:
        return PostgresDatabase(parse_postgres_url(text), writable=writable)
    if scheme == "sqlite" and rest.startswith("/") and len(rest) > 1:
        return SqliteDatabase(Path(rest[1:]), writable=writable)
    raise InvalidInputError(
        "the address of the decision log cannot be used"
        if scheme in {"sqlite", ""}
        else f"a decision log cannot be kept in {scheme!r}",
        hint="write a path, sqlite:///FILE or postgresql://USER@HOST/DATABASE",
        code="invalid-log-url",
    )
