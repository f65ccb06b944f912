"""A folder of files that appears whole or not at all."""

import contextlib
import re
import tempfile
from collections.abc import Generator
from pathlib import Path, PurePosixPath

from policies import InvalidInputError, StoreError

from ._places import put_folder, sync_path

__all__ = ["fresh_folder"]

_OURS = re.compile(r"\d\d_(?:ift|reasoning|mixed)\.jsonl")


@contextlib.contextmanager
def fresh_folder(folder: Path, subfolder: str, *, force: bool) -> Generator[Path]:
    """Give an empty folder that becomes `folder / subfolder` when the block ends without an error.

    On an error nothing of it is left, nor of folders created for it, and what was there before
    stays.

    Raises:
        InvalidInputError: `subfolder` is no plain relative path.
        StoreError: The place cannot be written, is full, or holds something that is not replaced.
    """
    parts = PurePosixPath(subfolder).parts
    if not parts or subfolder.startswith("/") or "\\" in subfolder or ".." in parts:
        raise InvalidInputError(
            f"the subfolder {subfolder!r} leads out of the folder", hint="give a name such as 'mix'"
        )
    target = Path(folder).joinpath(*parts)
    _check_replaceable(target, force=force)
    with _clear_errors(target), contextlib.ExitStack() as stack:
        undo = stack.enter_context(contextlib.ExitStack())
        for missing in _missing(target.parent):
            missing.mkdir()
            undo.callback(_remove_empty, missing)
        room = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=target.parent, prefix=".")))
        fresh = room / "fresh"
        fresh.mkdir()
        yield fresh
        sync_path(fresh)
        put_folder(fresh, target, room / "old")
        undo.pop_all()


def _check_replaceable(target: Path, *, force: bool) -> None:
    with _clear_errors(target):
        if not target.exists() and not target.is_symlink():
            return
        if not target.is_dir() or target.is_symlink():
            raise StoreError(f"{target} is no folder", hint="choose another folder")
        names = sorted(entry.name for entry in target.iterdir())
    foreign = [name for name in names if not _OURS.fullmatch(name)]
    if foreign:
        raise StoreError(
            f"{target} holds {foreign[0]!r} and is not replaced", hint="choose another folder"
        )
    if names and not force:
        raise StoreError(
            f"{target} already holds a mixture: {', '.join(names)}",
            hint="choose another folder, or force its replacement",
        )


def _missing(folder: Path) -> list[Path]:
    """Return the folders that have to be made, outermost first."""
    missing: list[Path] = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    return missing[::-1]


def _remove_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()


@contextlib.contextmanager
def _clear_errors(target: Path) -> Generator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"{target} cannot be written: {error.strerror or error}", hint="choose another folder"
        ) from error
