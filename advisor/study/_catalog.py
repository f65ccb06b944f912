"""The studies that ship with the package, and those of the user."""

from pathlib import Path

from policies import UnknownNameError

from ._table import StudyTable
from ._table_files import MANIFEST

__all__ = ["is_study", "load_study", "shipped_studies"]

_SHIPPED = Path(__file__).parent / "tables"


def shipped_studies() -> tuple[str, ...]:
    """Return the names of the studies that ship with the package, in alphabetical order."""
    return tuple(sorted(path.parent.name for path in _SHIPPED.glob(f"*/{MANIFEST}")))


def is_study(place: str | Path) -> bool:
    """Return whether `load_study` would find files of a study there, whole or not."""
    return str(place) in shipped_studies() or (Path(place) / MANIFEST).is_file()


def load_study(place: str | Path) -> StudyTable:
    """Return a study by the name of a shipped one, or from a folder.

    A folder of that name in the working directory comes before a shipped study.

    Args:
        place: Name or folder.

    Raises:
        UnknownNameError: It is neither; names close ones.
        ArtifactTooNewError: A newer version wrote it.
        ArtifactCorruptError: A file of it is missing, changed or malformed.

    Example:
        >>> load_study("no-such-study")  # doctest: +IGNORE_EXCEPTION_DETAIL
        Traceback (most recent call last):
        UnknownNameError: there is no study 'no-such-study'
    """
    folder = Path(place)
    if (folder / MANIFEST).is_file() or folder.name == MANIFEST:
        return StudyTable.load(folder)
    if str(place) in shipped_studies():
        return StudyTable.load(_SHIPPED / str(place))
    if folder.exists():
        return StudyTable.load(folder)
    raise UnknownNameError("study", str(place), shipped_studies())
