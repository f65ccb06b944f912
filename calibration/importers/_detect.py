"""The formats by name, and which of them a file is."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from policies import DataFileError, UnknownNameError

from .._outcomes import ImportedOutcome
from . import inspect, lm_eval, long, wide
from ._head import FileHead, look_at
from ._record import FileNote, ImportHints, SkippedRow

__all__ = ["AUTO", "FORMATS", "Format", "detect_format", "read_outcomes", "read_with_notes"]

AUTO = "auto"


class Format(NamedTuple):
    """One format of recorded outcomes.

    Attributes:
        missing: Returns what a file lacks to be of the format, nothing if it is.
        read: Yields a file's outcomes, the rows that give none, and what was made of the file.
    """

    missing: Callable[[FileHead, ImportHints], list[str]]
    read: Callable[[Path, FileHead, ImportHints], Iterator[ImportedOutcome | SkippedRow | FileNote]]


FORMATS: Mapping[str, Format] = {
    "inspect": Format(inspect.missing, inspect.read),
    "lm-eval": Format(lm_eval.missing, lm_eval.read),
    "wide": Format(wide.missing, wide.read),
    "long": Format(long.missing, long.read),
}
"""Every format, the most particular ones first."""

_NO_HINTS = ImportHints()


def detect_format(path: Path, hints: ImportHints = _NO_HINTS, *, wanted: str = AUTO) -> str:
    """Return the name of a file's format, told from its content.

    Args:
        path: The file.
        hints: A model or a policy that is given need not be in the file.
        wanted: A format's name to check only that one.

    Raises:
        DataFileError: It is none of the formats; the message says what each one misses.
        UnknownNameError: There is no format of the wanted name.
        MissingPrerequisiteError: It is a Parquet file and pyarrow is not installed.
    """
    return _detect(path, hints, wanted)[0]


def read_outcomes(
    path: Path, hints: ImportHints = _NO_HINTS, *, wanted: str = AUTO
) -> Iterator[ImportedOutcome | SkippedRow]:
    """Yield a file's outcomes and the rows that give none, in bounded memory.

    Args:
        path: The file.
        hints: What it does not say of itself.
        wanted: A format's name; `auto` tells it from the content.

    Raises:
        DataFileError: The file is of no format, or damaged; the message names file and row.
        UnknownNameError: There is no such format or metric.
        MissingPrerequisiteError: pyarrow is needed and not installed.
    """
    for row in read_with_notes(path, hints, wanted=wanted):
        if not isinstance(row, FileNote):
            yield row


def read_with_notes(
    path: Path, hints: ImportHints = _NO_HINTS, *, wanted: str = AUTO
) -> Iterator[ImportedOutcome | SkippedRow | FileNote]:
    """Yield what `read_outcomes` does, and notes on what was made of the file as a whole."""
    name, head = _detect(path, hints, wanted)
    yield from FORMATS[name].read(path, head, hints)


def _detect(path: Path, hints: ImportHints, wanted: str) -> tuple[str, FileHead]:
    if wanted not in {AUTO, *FORMATS}:
        raise UnknownNameError("format", wanted, [AUTO, *FORMATS])
    head = look_at(path)
    tried = FORMATS if wanted == AUTO else [wanted]
    lacks = {name: FORMATS[name].missing(head, hints) for name in tried}
    found = next((name for name, problems in lacks.items() if not problems), None)
    if found is None:
        # What misses least was probably meant.
        ordered = sorted(lacks.items(), key=lambda item: len(item[1]))
        told = "; ".join(f"{name} misses {', '.join(problems)}" for name, problems in ordered)
        shown = ", ".join(head.names[:12]) or "nothing"
        raise DataFileError(
            f"no format fits: {told}",
            path=path,
            hint=f"the file is {head.kind} and has: {shown}",
        )
    return found, head
