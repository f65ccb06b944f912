"""One writer per store: an advisory lock beside the file."""

import fcntl
from io import TextIOWrapper
from pathlib import Path

from policies import StoreError

__all__ = ["lock_store"]


def lock_store(path: Path) -> TextIOWrapper:
    """Return the open lock file of a store; closing it releases the store.

    Raises:
        StoreError: Another process holds it, or the place cannot be written.
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
    return lock
