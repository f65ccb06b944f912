"""`advisor tables`: published tables and the tables of your own runs."""

from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ._arms import split
from ._output import (
    cell_json,
    cells_table,
    format_interval,
    format_share,
    note,
    print_json,
    print_table,
    print_text,
    table,
)
from ._runs import load_run
from .tables_import import import_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from calibration import Cell, CellLengths
    from calibration.statistics import LengthCurve

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
    """List the shipped published tables and the measured ones under a folder.

    Example: advisor tables ls --runs runs
    """
    from calibration.published import load_published_table, published_table_names

    published = [
        {"name": name, "kind": "published", "n_cells": len(load_published_table(name).rows)}
        for name in published_table_names()
    ]
    measured = [
        {"name": str(path.parent), "kind": "measured"} for path in sorted(runs.rglob("table.json"))
    ]
    if as_json:
        print_json({"tables": [*published, *measured]})
        return
    rows = [(str(entry["name"]), str(entry["kind"])) for entry in [*published, *measured]]
    print_table(table("tables", ("name", "kind"), rows))


@tables.command("show")
def show_table(
    name: Annotated[str, typer.Argument(help="A published table's name or a run folder.")],
    as_json: _AsJson = False,
) -> None:
    """Show one table, every cell with its interval or its source.

    Example: advisor tables show scale_or_reason_table1
    """
    from calibration import MeasuredTable
    from calibration.published import load_published_table
    from policies import DataFileError

    path = Path(name)
    if path.exists():
        measured = MeasuredTable.load(path)
        cells = [cell_json(cell) for cell in measured.cells]
        if as_json:
            provenance = dict(measured.provenance)
            print_json({"name": name, "kind": "measured", "cells": cells, "provenance": provenance})
        else:
            print_table(cells_table(name, _told_apart(measured.cells)))
        return
    if len(path.parts) > 1:  # Published tables have plain names.
        raise DataFileError(
            "no such run folder", path=path, hint="advisor tables ls --runs FOLDER lists them"
        )
    published = load_published_table(name)
    if as_json:
        rows = [row.to_json() for row in published.rows]
        print_json({"name": name, "kind": "published", "cells": rows, "source": published.source})
        return
    print_table(
        table(
            name,
            ("corpus", "task type", "size", "recipe", "accuracy"),
            [
                (row.corpus, row.task_type, str(row.size), row.recipe, format_share(row.accuracy))
                for row in published.rows
            ],
        )
    )
    print_text(f"source: {published.source}")


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
        print_json({"table": str(path), "cells": [cell_json(cell) for cell in measured.cells]})
    else:
        print_table(cells_table(str(run), measured.cells))
        note(f"written: {path}")
