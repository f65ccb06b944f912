"""The user's own measurements, as `advisor recommend --table` takes them.

Cells may lie in a run folder, in its store, in a file of outcomes that `advisor tables import`
reads, or in a CSV with one row per cell, written by hand or by another tool.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ._cell_file import EXAMPLE, CellFile, header_of

if TYPE_CHECKING:
    from calibration import Cell, MeasuredTable, OutcomeRecord

    from ..study._evidence import StudyEvidence

__all__ = ["GivenTables", "OwnCells", "load_own_cells", "sort_tables"]

_FEW = 100
"""Questions below which the interval of one accuracy is wider than about 20 points."""
_OUTCOME_COLUMNS = frozenset({"question_id", "sample_id"})
_TABLE_FILES = frozenset({"table.csv", "table.json", "timings.csv"})
_MARKS = (b"SQLite format 3\x00", b"PAR1", b"PK\x03\x04", b"{")


class OwnCells(NamedTuple):
    """Cells of one table and what is worth telling about them.

    Attributes:
        cells: The cells.
        notes: Sentences for people: what was made of the table, and what is weak about it.
        records: The answers behind the cells, where a run keeps them, for comparisons question by
            question.
    """

    cells: "tuple[Cell, ...]"
    notes: tuple[str, ...]
    records: "tuple[OutcomeRecord, ...]" = ()


class GivenTables(NamedTuple):
    """What `--table` names.

    Attributes:
        study: The study among it, `None` without one.
        others: Places of cells.
    """

    study: "StudyEvidence | None"
    others: tuple[Path, ...]


def sort_tables(places: "Sequence[Path]") -> GivenTables:
    """Return the study that is among the places of tables, by name or as a folder.

    Raises:
        InvalidInputError: There are two studies.
        ArtifactTooNewError: A newer version wrote the study.
        ArtifactCorruptError: A file of the study is missing, changed or malformed.
    """
    from policies import InvalidInputError

    from ..study._catalog import is_study, load_study

    studies = [place for place in places if is_study(place)]
    if len(studies) > 1:
        raise InvalidInputError(
            f"--table names {len(studies)} studies: {', '.join(map(str, studies))}",
            hint="give one; students of two studies were not asked the same questions",
            code="contradiction",
        )
    others = tuple(place for place in places if place not in studies)
    if not studies:
        return GivenTables(None, others)
    return GivenTables(load_study(studies[0]).evidence(source=str(studies[0])), others)


def load_own_cells(path: Path, *, task_type: str) -> OwnCells:
    """Return the cells of a table.

    Args:
        path: Run folder, run store, file of outcomes, or CSV of cells.
        task_type: Task type of outcomes whose file does not say it; cells of other types are
            returned too.

    Raises:
        ArtifactCorruptError: There is no table, or what a run left cannot be read.
        StoreError: A store cannot be read.
        DataFileError: A file lacks a column, or a row of it makes no cell.
        MissingPrerequisiteError: pyarrow is needed and not installed.
    """
    if path.is_dir() or not path.exists():
        found = _of_folder(path)
    elif path.name in _TABLE_FILES and path.with_name("table.json").exists():
        found = OwnCells(_saved(path).cells, ())
    else:
        found = _of_file(path, task_type)
    few = _tell_few(path, [cell for cell in found.cells if cell.task_type == task_type])
    return OwnCells(found.cells, (*found.notes, *few), found.records)


def _saved(path: Path) -> "MeasuredTable":
    from calibration import MeasuredTable

    return MeasuredTable.load(path)


def _of_folder(path: Path) -> OwnCells:
    from calibration import store_path

    store = store_path(path)
    if path.is_dir() and not (path / "table.json").exists() and store.exists():
        return _of_store(store)._replace(notes=(f"{path} has no table; its store was read",))
    saved = _saved(path).cells
    answers = _of_store(store).records if path.is_dir() and store.exists() else ()
    return OwnCells(saved, (), answers)


def _of_store(path: Path) -> OwnCells:
    from calibration import MeasuredTable, RunStore

    with RunStore.open(path) as store:
        return OwnCells(MeasuredTable.from_store(store).cells, (), tuple(store.records()))


def _of_file(path: Path, task_type: str) -> OwnCells:
    start = _start_of(path)
    if start.startswith(_MARKS[0]):
        return _of_store(path)
    is_csv = not start.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(_MARKS[1:])
    if not is_csv or _OUTCOME_COLUMNS & set(header_of(path)):
        return _of_outcomes(path, task_type)
    return OwnCells(*CellFile(path).read())


def _start_of(path: Path) -> bytes:
    from policies import DataFileError

    try:
        with path.open("rb") as file:
            start = file.read(4096)
    except OSError as error:
        raise DataFileError(
            f"cannot be read: {error.strerror}", path=path, hint="check its permissions"
        ) from error
    if not start.strip():
        raise DataFileError("the file is empty", path=path, hint=f"expected {EXAMPLE}")
    return start


def _of_outcomes(path: Path, task_type: str) -> OwnCells:
    """Return the cells of a file with one row per answer, recipes kept apart."""
    from tempfile import TemporaryDirectory

    from calibration import RunStore, store_path
    from calibration.importers import ImportHints, import_file

    with TemporaryDirectory(prefix="thinkroute-") as folder:
        database = store_path(Path(folder))
        with RunStore.create(database) as store:
            summary = import_file(path, store, ImportHints(task_type=task_type))
        found = _of_store(database)
    notes = [f"{path.name}: {text}" for text in summary.notes]
    notes += [
        f"{path.name}: {one.count:,} rows skipped, {one.reason} (first {one.example})"
        for one in summary.skipped
    ]
    return found._replace(notes=tuple(notes))


def _tell_few(path: Path, cells: "Sequence[Cell]") -> list[str]:
    """Say which cells have too few questions to show anything but large differences."""
    few = [cell for cell in cells if 0 < cell.n < _FEW]
    if not few:
        return []
    worst = min(few, key=lambda cell: cell.n)
    name = f"{worst.recipe or worst.policy} on {worst.task}"
    return [
        f"{path}: {len(few)} of {len(cells)} cells have fewer than {_FEW} questions; the fewest:"
        f" {worst.n} ({name}), 95% interval {100 * worst.ci_low:.1f}-{100 * worst.ci_high:.1f}%:"
        " only large differences can be shown"
    ]
