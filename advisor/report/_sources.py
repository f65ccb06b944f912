"""What lies at a path, and the page it makes."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from policies import ConfigError, DecodingOptions, InvalidInputError, ThinkrouteError

from ..study._catalog import is_study
from ._blocks import Facts, Page, Section
from ._measured import cell_sections, length_section

if TYPE_CHECKING:
    from calibration import Cell, OutcomeRecord

__all__ = ["Kind", "Source", "compared_page", "page_of", "source_of"]

Kind = Literal["run", "table", "outcomes", "router", "study"]
Progress = Callable[[int, int], None]
_FEW = 30
"""Answers below which a 95% interval is wider than about 35 points."""


class Source(NamedTuple):
    """Something that a page can be made of.

    Attributes:
        kind: What it is.
        path: Where it lies; of a study also its name.
    """

    kind: Kind
    path: Path


def source_of(path: Path) -> Source:
    """Return what lies at a path.

    Raises:
        ConfigError: There is nothing that a page can be made of.
    """
    from calibration import store_path

    if is_study(str(path)):
        return Source("study", path)
    if not path.exists():
        raise ConfigError(
            f"there is nothing at {path}",
            hint="give a run, a table, a router, a study, or a file of outcomes",
        )
    if path.is_file():
        if path.name in {"table.csv", "table.json"} and path.with_name("table.json").exists():
            return Source("table", path.parent)
        return Source("run" if path.suffix == ".sqlite" else "outcomes", path)
    if store_path(path).exists():
        return Source("run", path)
    if (path / "table.json").exists():
        return Source("table", path)
    if _kind_of_artifact(path) == "router":
        return Source("router", path)
    raise ConfigError(
        f"{path} is no run, table, router or study",
        hint="give the folder that advisor calibrate, fit or study wrote",
    )


def page_of(source: Source, *, evaluates: bool = True, progress: Progress | None = None) -> Page:
    """Return the page of a source.

    Args:
        source: What it is made of.
        evaluates: Whether a router is fitted to the outcomes of a run and judged out of fold.
        progress: Called with the folds that are done and all folds.

    Raises:
        ArtifactError: What lies there is damaged, or of a newer version.
        StoreError: A run cannot be read.
        DataFileError: A file of outcomes cannot be read.
    """
    if source.kind == "study":
        from ._studied import study_page

        return study_page(str(source.path))
    if source.kind == "router":
        from ._routed import router_page

        return router_page(source.path)
    if source.kind == "table":
        return _table_page(source.path)
    page = _run_page(source.path) if source.kind == "run" else _outcomes_page(source.path)
    if not evaluates:
        return page
    try:
        sections = _evaluated(records_of(source), progress)
    except ThinkrouteError as error:
        return _with(page, notes=(f"No router can be judged on these outcomes: {error}",))
    return _with(page, sections=sections)


def compared_page(first: Source, second: Source) -> Page:
    """Return the page of two sources side by side.

    Raises:
        InvalidInputError: They cannot be compared question by question.
        StoreError: A run cannot be read.
        DataFileError: A file of outcomes cannot be read.
    """
    names = (first.path.name, second.path.name)
    if names[0] == names[1]:
        names = (str(first.path), str(second.path))
    if first.kind == second.kind == "router":
        from ._compared_routers import compared_routers

        return compared_routers(names, (first.path, second.path))
    if first.kind == second.kind == "study":
        from ._compared_studies import compared_studies

        return compared_studies(names, (str(first.path), str(second.path)))
    for source in (first, second):
        if source.kind not in ("run", "outcomes"):
            raise InvalidInputError(
                f"{source.path} is a {source.kind}: it keeps no answers that could be paired",
                hint="give two runs, two files of outcomes, two routers or two studies",
            )
    from ._compared import compared_runs

    return compared_runs(names, (records_of(first), records_of(second)))


def records_of(source: Source) -> "Sequence[OutcomeRecord]":
    """Return the outcomes of a run or of a file."""
    from calibration import RunStore, load_outcomes, store_path

    if source.kind == "outcomes":
        return load_outcomes(source.path).records
    with RunStore.open(store_path(source.path)) as store:
        return list(store.records())


def _evaluated(
    records: "Sequence[OutcomeRecord]", progress: Progress | None
) -> tuple[Section, ...]:
    from router import evaluate

    from ._routed import evaluation_sections

    return tuple(evaluation_sections(evaluate(records, progress=progress)))


def _run_page(path: Path) -> Page:
    from calibration import MeasuredTable, RunStore, length_curves, store_path

    with RunStore.open(store_path(path)) as store:
        table = MeasuredTable.from_store(store)
        told: dict[str, Any] = table.provenance.get("options") or {}
        options = DecodingOptions(**told)
        lengths = length_curves(store.thoughts(), options.max_thinking_tokens)
    page = _measured_page(f"Run {path.name}", path, table.cells, table.provenance)
    *first, cells = page.sections
    return replace(page, sections=(*first, length_section(lengths), cells))


def _table_page(path: Path) -> Page:
    from calibration import MeasuredTable

    table = MeasuredTable.load(path)
    return _measured_page(f"Table {path.name}", path, table.cells, table.provenance)


def _outcomes_page(path: Path) -> Page:
    from calibration import aggregate, load_outcomes

    loaded = load_outcomes(path)
    return _measured_page(f"Outcomes {path.name}", path, aggregate(loaded.records), {})


def _measured_page(
    title: str, path: Path, cells: "Sequence[Cell]", provenance: "Mapping[str, Any]"
) -> Page:
    n = sum(cell.n for cell in cells)
    arms = {(cell.model, cell.policy) for cell in cells}
    tasks = {cell.task for cell in cells}
    lead = (
        f"{n:,} graded answers of {_counted(len(arms), 'arm')} on {_counted(len(tasks), 'task')}."
    )
    return Page(
        title,
        (lead,),
        (Section("What was measured", (_facts(cells),)), *cell_sections(cells)),
        tuple(_missing(cells, n, len(arms))),
        (("path", str(path)), *_told(provenance)),
    )


def _missing(cells: "Sequence[Cell]", n: int, n_arms: int) -> list[str]:
    notes: list[str] = []
    if not n:
        notes.append("No answer was graded: there is nothing to compare.")
    elif n_arms == 1:
        notes.append("Only one arm was measured: nothing can be compared with it.")
    n_error = sum(cell.n_error for cell in cells)
    if n_error:
        notes.append(
            f"{_counted(n_error, 'request')} ended in errors of infrastructure; they are in no accuracy."
        )
    few = [cell for cell in cells if 0 < cell.n < _FEW]
    if few:
        notes.append(
            f"{len(few)} of {_counted(len(cells), 'cell')} have fewer than {_FEW} answers: their"
            " intervals are wider than about 35 points."
        )
    return notes


def _facts(cells: "Sequence[Cell]") -> Facts:
    names = {
        "models": dict.fromkeys(cell.model for cell in cells),
        "policies": dict.fromkeys(cell.policy for cell in cells),
        "tasks": dict.fromkeys(f"{cell.task} ({cell.task_type})" for cell in cells),
        "recipes": dict.fromkeys(cell.recipe for cell in cells if cell.recipe),
    }
    return Facts(tuple((kind, ", ".join(found)) for kind, found in names.items() if found))


def _told(provenance: "Mapping[str, Any]") -> list[tuple[str, str]]:
    """Return what a table says in a word each of where it comes from."""
    return [
        (name, str(value))
        for name, value in provenance.items()
        if isinstance(value, str | int | float | bool)
    ]


def _with(page: Page, sections: tuple[Section, ...] = (), notes: tuple[str, ...] = ()) -> Page:
    """Return a page with more before its last section, and more that is missing."""
    *first, last = page.sections
    return replace(page, sections=(*first, *sections, last), notes=(*page.notes, *notes))


def _kind_of_artifact(path: Path) -> str:
    try:
        manifest: Any = json.loads((path / "manifest.json").read_bytes())
        return str(manifest["kind"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _counted(n: int, what: str) -> str:
    return f"{n:,} {what}" if n == 1 else f"{n:,} {what}s"
