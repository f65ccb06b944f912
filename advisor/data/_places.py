"""Putting a finished folder in its place, so that it survives a crash."""

import os
from pathlib import Path

__all__ = ["put_folder", "sync_path"]


def put_folder(fresh: Path, target: Path, aside: Path) -> None:
    """Rename a finished folder to its place; an older one there goes aside, and back on an error.

    Args:
        fresh: The folder, whose files are on the disk.
        target: Its place, on the same disk.
        aside: Where an older folder goes; whoever calls removes it.

    Raises:
        OSError: It cannot be renamed; what was there before stays.
    """
    if target.exists():
        target.rename(aside)
    try:
        fresh.rename(target)
    except OSError:
        if aside.exists():
            aside.rename(target)
        raise
    sync_path(target.absolute().parent)


def sync_path(path: Path) -> None:
    """Wait until a file or folder is on the disk; Windows cannot open one for that.

    Raises:
        OSError: It cannot be opened, or the disk fails.
    """
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
