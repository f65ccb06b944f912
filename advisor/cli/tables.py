"""`advisor tables`: published tables and the tables of your own runs."""

from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ._arms import split
from ._output import (
    cells_json,
    cells_table,
    format_interval,
    note,
    print_json,
    print_table,
    print_text,
    table,
)
from ._published_views import (
    cell_document,
    entry_document,
    grades_text,
    print_cell,
    print_published,
    table_document,
)
from ._runs import load_run
from ._study_cells import (
    StudyFilter,
    find_pooled,
    print_pooled,
    print_study,
    study_document,
)
from ._study_cells import entry_document as study_entry
from .tables_import import import_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from calibration import Cell, CellLengths
    from calibration.statistics import LengthCurve

    from ..study._table import StudyTable

__all__ = ["tables"]

tables = typer.Typer(
    no_args_is_help=True, help="List and show published tables and those of your own runs."
)

_AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@tables.command("ls")
def list_tables(
    runs: Annotated[
        Path, typer.Option(help="Folder in which measured tables are looked for.")
    ] = Path("runs"),
    as_json: _AsJson = False,
) -> None:
    """List the shipped published tables and studies, and what was measured under a folder.

    Example: advisor tables ls --runs runs
    """
    from calibration.published import load_published, published_tables
    from policies import ArtifactError

    from ..study._catalog import load_study, shipped_studies

    published = [load_published(entry.name) for entry in published_tables()]
    measured = sorted(str(path.parent) for path in runs.rglob("table.json"))
    folders = sorted(str(path.parent) for path in runs.rglob("study.json"))
    studies: list[tuple[str, StudyTable]] = []
    damaged: list[dict[str, str]] = []
    for name in (*shipped_studies(), *folders):
        try:
            studies.append((name, load_study(name)))
        except ArtifactError as error:  # One of them hides none of the others.
            damaged.append({"name": name, "kind": "study", "error": error.message})
    for one in damaged:
        note(f"note: {one['name']} cannot be read: {one['error']}")
    if as_json:
        entries = [
            *(entry_document(loaded) for loaded in published),
            *(study_entry(study, name) for name, study in studies),
            *damaged,
            *({"name": name, "kind": "measured"} for name in measured),
        ]
        print_json({"tables": entries})
        return
    rows = [
        (
            loaded.entry.name,
            "published",
            grades_text(loaded),
            str(loaded.entry.n_cells),
            loaded.entry.source,
        )
        for loaded in published
    ]
    for name, study in studies:
        entry = study_entry(study, name)
        trained = f"{entry['runs']} students: {', '.join(entry['sizes'])}"
        rows.append((name, "study", "measured", str(entry["n_cells"]), trained))
    rows += [(one["name"], "study", "unreadable", "-", "-") for one in damaged]
    rows += [(name, "measured", "-", "-", "-") for name in measured]
    print_table(table("tables", ("name", "kind", "grade", "n", "source"), rows))


@tables.command("show")
def show_table(
    name: Annotated[
        str,
        typer.Argument(
            help="A published table's or a study's name, the id of a figure, or a run's or a"
            " study's folder."
        ),
    ],
    size: Annotated[str | None, typer.Option(help="Of a study: only this size.")] = None,
    corpus: Annotated[str | None, typer.Option(help="Of a study: only this corpus.")] = None,
    ratio: Annotated[
        float | None, typer.Option(help="Of a study: only this share of reasoning rows.")
    ] = None,
    order: Annotated[
        str | None, typer.Option(help="Of a study: only this order, such as mixed.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Of a study: only this seed, seeds not pooled.")
    ] = None,
    task: Annotated[str | None, typer.Option(help="Of a study: only this task type.")] = None,
    policy: Annotated[
        str | None, typer.Option(help="Of a study: only this policy, such as reasoning@max.")
    ] = None,
    plot: Annotated[
        bool,
        typer.Option(
            "--plot",
            help="Of a run: also draw, per task, accuracy over FLOPs (or tokens) and over budgets,"
            " in plain characters as wide as COLUMNS.",
        ),
    ] = False,
    as_json: _AsJson = False,
) -> None:
    """Show one table, study or figure, with its interval or its source and grade.

    Example: advisor tables show 2509.22193v2/T1/general/math-oe/3B/ift

    Figures are cited by such ids; `advisor tables show NAME` prints those of a table.
    `advisor tables show RUN --plot` draws your own.
    """
    from calibration.published import find_cell, is_cell_id, load_published, published_tables
    from policies import DataFileError, UnknownNameError

    from ..study._catalog import is_study, shipped_studies

    wanted = StudyFilter(size, corpus, ratio, order, seed, task, policy)
    path = Path(name)
    is_published = name in {entry.name for entry in published_tables()}
    is_run = path.exists() and not (is_published and not (path / "table.json").exists())
    if plot:
        _check_plot(name, is_run and not is_study(name), as_json)
    if is_study(name):
        _show_study(name, wanted, as_json)
        return
    _refuse_filters(name, wanted)
    studied = find_pooled(name)
    if studied is not None:
        if as_json:
            print_json(studied.to_json())
        else:
            print_pooled(studied)
        return
    if is_run:
        _show_measured(path, as_json, plot)
    elif is_cell_id(name):
        found = find_cell(name)
        if as_json:
            print_json(cell_document(found))
        else:
            print_cell(found)
    elif len(path.parts) > 1:  # Published tables have plain names.
        raise DataFileError(
            "no such run folder", path=path, hint="advisor tables ls --runs FOLDER lists them"
        )
    else:
        known = [entry.name for entry in published_tables()]
        if name not in known:
            raise UnknownNameError("table", name, [*shipped_studies(), *known])
        loaded = load_published(name)
        if as_json:
            print_json(table_document(loaded))
        else:
            print_published(loaded)


def _show_study(name: str, wanted: StudyFilter, as_json: bool) -> None:
    from ..study._catalog import load_study

    study = load_study(name)
    wanted.check(study)
    if as_json:
        print_json(study_document(study, name, wanted))
    else:
        print_study(study, name, wanted)


def _refuse_filters(name: str, wanted: StudyFilter) -> None:
    """Refuse filters of studies for what is none.

    Raises:
        InvalidInputError: One was given.
    """
    from policies import InvalidInputError

    given = [field for field, value in wanted._asdict().items() if value is not None]
    if given:
        option = "--task" if given[0] == "task_type" else f"--{given[0]}"
        raise InvalidInputError(
            f"{option} chooses cells of a study, but {name!r} is none",
            hint="advisor tables ls lists the studies",
            code="contradiction",
        )


def _check_plot(name: str, is_run: bool, as_json: bool) -> None:
    """Refuse to draw what is no run, or into a JSON document.

    Raises:
        InvalidInputError: It cannot be drawn.
    """
    from policies import InvalidInputError

    if as_json:
        raise InvalidInputError(
            "--plot and --json exclude each other", hint="leave one out", code="contradiction"
        )
    if not is_run:
        raise InvalidInputError(
            f"--plot draws the cells of a run, but {name!r} is none",
            hint="give a folder that advisor calibrate or advisor tables import wrote",
            code="contradiction",
        )


def _show_measured(path: Path, as_json: bool, plot: bool) -> None:
    from calibration import MeasuredTable

    measured = MeasuredTable.load(path)
    cells = cells_json(measured.cells)
    if as_json:
        provenance = dict(measured.provenance)
        document = {"name": str(path), "kind": "measured", "cells": cells, "provenance": provenance}
        print_json(document)
    else:
        print_table(cells_table(str(path), _told_apart(measured.cells)))
        if plot:
            from ._plots import cells_plots

            print_text("\n".join(cells_plots(measured.cells)))


def _told_apart(cells: "Sequence[Cell]") -> "list[Cell]":
    """Return cells with their type or recipe in the task's name where only these differ."""
    rows = Counter((cell.model, cell.task, cell.policy) for cell in cells)
    return [
        replace(
            cell, task=f"{cell.task} ({', '.join(filter(None, (cell.task_type, cell.recipe)))})"
        )
        if rows[cell.model, cell.task, cell.policy] > 1
        else cell
        for cell in cells
    ]


tables.command("import")(import_table)


@tables.command("lengths")
def show_lengths(
    run: Annotated[Path, typer.Argument(help="A run folder with reasoning arms.")],
    budgets: Annotated[
        str, typer.Option(help="Budgets at which to show the share of thoughts that have ended.")
    ] = "64,512,4096,16384",
    as_json: _AsJson = False,
) -> None:
    """Show which share of thoughts ends by itself within a budget, right and wrong ones apart.

    Example: advisor tables lengths runs/first --budgets 8,16,32,64

    Beyond the largest budget that was measured nothing is known, and nothing is shown.
    """
    from calibration import RunStore, length_curves, store_path
    from policies import InvalidInputError

    wanted = [int(part) for part in split(budgets) if part.isdecimal()]
    if not wanted or len(wanted) < len(split(budgets)):
        raise InvalidInputError(f"--budgets {budgets!r}: expected whole numbers, such as 64,256")
    options = load_run(run).options
    with RunStore.open(store_path(run)) as store:
        curves = length_curves(store.thoughts(), options.max_thinking_tokens)
    if as_json:
        print_json({"run": str(run), "lengths": [_lengths_json(one, wanted) for one in curves]})
        return
    if not curves:
        note(f"{run} has no thought of known length: measure an arm such as reasoning@512 natively")
        return
    rows = [
        (
            *(one.model, one.task, one.policy, str(one.curve.n), str(one.curve.n_cut)),
            *(_quantile(part) for part in (one.curve, one.right, one.wrong)),
            *(_share_at(one.curve, budget) for budget in wanted),
        )
        for one in curves
    ]
    heads = ("model", "task", "policy", "n", "cut", "median", "right", "wrong")
    print_table(table("thinking tokens", (*heads, *(f"<= {b}" for b in wanted)), rows))


def _quantile(curve: "LengthCurve | None") -> str:
    median = None if curve is None else curve.quantile(0.5)
    return "-" if median is None else f"{median.estimate:.0f}"


def _share_at(curve: "LengthCurve", budget: int) -> str:
    if budget > curve.largest_cap:
        return "-"
    found = curve.at(budget)
    return format_interval(found.estimate, found.low, found.high)


def _lengths_json(one: "CellLengths", budgets: list[int]) -> dict[str, object]:
    curve = one.curve
    return {
        "task": one.task,
        "model": one.model,
        "policy": one.policy,
        "n": curve.n,
        "n_cut": curve.n_cut,
        "largest_cap": curve.largest_cap,
        "median": _median_json(curve),
        "median_right": _median_json(one.right),
        "median_wrong": _median_json(one.wrong),
        "shares": [
            {"budget": budget, **asdict(curve.at(budget))}
            for budget in budgets
            if budget <= curve.largest_cap
        ],
    }


def _median_json(curve: "LengthCurve | None") -> dict[str, object] | None:
    median = None if curve is None else curve.quantile(0.5)
    return None if median is None else asdict(median)


@tables.command("repair")
def repair_table(
    run: Annotated[Path, typer.Argument(help="A run folder with a damaged run.sqlite.")],
    as_json: _AsJson = False,
) -> None:
    """Save what can be trusted of a damaged run; the same advisor calibrate asks the rest again.

    Example: advisor tables repair runs/first

    The damaged file is kept beside the new one.
    """
    from calibration import repair_store, store_path

    repair = repair_store(store_path(run))
    if as_json:
        original = None if repair.original is None else str(repair.original)
        print_json({"run": str(run), **asdict(repair), "original": original})
        return
    if repair.original is None:
        print_text(f"nothing is damaged: {repair.n_saved:,} samples, left as they are")
        return
    print_text(
        f"saved {repair.n_saved:,} samples; {repair.n_damaged:,} were damaged, and at "
        f"{repair.n_gaps:,} places nothing could be read"
    )
    print_text(f"the damaged file: {repair.original}")


@tables.command("rebuild")
def rebuild_table(
    run: Annotated[Path, typer.Argument(help="A run folder with run.sqlite.")],
    as_json: _AsJson = False,
) -> None:
    """Aggregate a run's store again and write its table anew.

    Example: advisor tables rebuild runs/first
    """
    from calibration import MeasuredTable, RunStore, store_path

    with RunStore.open(store_path(run)) as store:
        measured = MeasuredTable.from_store(store)
    path = measured.save(run if run.is_dir() else run.parent)
    if as_json:
        print_json({"table": str(path), "cells": cells_json(measured.cells)})
    else:
        print_table(cells_table(str(run), measured.cells))
        note(f"written: {path}")
