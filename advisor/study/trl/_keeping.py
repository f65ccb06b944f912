"""Folders of finished runs: whole or not there, shared between students, written down."""

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from policies import ThinkrouteError

from .._student import Stage, Student
from ._process import disk_error

__all__ = ["RECORD", "clear_errors", "link", "locked", "read_record", "shared_folder"]

RECORD = "training.json"
"""What a finished folder says about the runs that made it; written last."""


def shared_folder(work: Path, student: Student, stage: Stage) -> Path:
    """Return the folder of a run that several students have in common."""
    pure = replace(student, corpus=stage.corpus, ratio=stage.ratio, order=stage.order)
    return work / "stages" / pure.id


def read_record(folder: Path) -> list[dict[str, Any]]:
    """Return the runs that made a finished folder, first to last."""
    found: object = json.loads((folder / RECORD).read_text("utf-8"))
    return cast("dict[str, list[dict[str, Any]]]", found)["runs"]


def link(source: Path, target: Path) -> None:
    """Make a folder appear that shares the files of another; on other disks they are copied."""
    room = target.with_name(f".{target.name}.part")
    shutil.rmtree(room, ignore_errors=True)
    try:
        room.mkdir(parents=True)
        for path in source.iterdir():
            try:
                os.link(path, room / path.name)
            except OSError:
                shutil.copy2(path, room / path.name)
        room.rename(target)
    finally:
        shutil.rmtree(room, ignore_errors=True)


@contextlib.contextmanager
def locked(folder: Path) -> Generator[None]:
    """Let one process at a time train a shared run; the others wait for it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def clear_errors(folder: Path) -> Generator[None]:
    """Tell what the disk refuses as one clear error."""
    try:
        yield
    except OSError as error:
        if isinstance(error, ThinkrouteError):
            raise
        raise disk_error(folder, error.strerror or str(error)) from error
