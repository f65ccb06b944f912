"""`advisor study`: the controlled experiment, planned, run and measured here."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import _calibrate_options as o
from . import _option_groups as g
from ._output import note, print_json, print_text
from ._study_cells import StudyFilter, study_document
from ._study_design import read_design
from ._study_lab import chosen_lab
from ._study_live import live_students
from ._study_options import NO_LIMITS, POCKET_LAB, WHOLE_GRID, Grid, LabChoice, Limits
from ._study_views import duration, show_plan, show_study

if TYPE_CHECKING:
    from ..study._plan import StudyPlan
    from ..study._run import LabSpec
    from ..study._table import StudyTable

__all__ = ["study"]


@g.with_groups
def study(
    plan: Annotated[
        bool, typer.Option("--plan", help="Print what would be done; the default.")
    ] = False,
    run: Annotated[
        bool, typer.Option("--run", help="Train and measure the students of the plan.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the study; one that is there is gone on with."),
    ] = None,
    workers: Annotated[
        int, typer.Option(help="Students that are trained or asked at a time, one core each.")
    ] = 1,
    lab: LabChoice = POCKET_LAB,
    grid: Grid = WHOLE_GRID,
    limits: Limits = NO_LIMITS,
    dry_run: o.DryRun = False,
    as_json: o.Json = False,
) -> None:
    """Train the same questions by many recipes, and measure what each of them learnt.

    Example: advisor study --sizes pocket-xs --max-hours 0.5

    Example: advisor study --run --sizes pocket-xs --ratios 0,1 --out runs/study

    Students differ in base size, share of reasoning rows, their order, corpus and seed, and in
    nothing else. Limits leave out whole comparisons; those that the advisor is least sure of stay.
    Interrupt it at any time: the same command goes on after the last finished student.
    """
    from ..study._plan import StudyLimits, StudyPlan

    if plan and run:
        raise typer.BadParameter("--plan and --run exclude each other")
    is_run = run and not dry_run
    if is_run and out is None:
        raise typer.BadParameter("--run needs --out, the folder of the study")
    cap = StudyLimits(hours=limits.max_hours, train_flops=limits.max_flops, runs=limits.max_runs)
    place = chosen_lab(lab, out, writes_pairs=is_run)
    design = read_design(grid, sizes=place.sizes, corpora=place.corpora)
    make_lab = place.spec(design)
    built = make_lab()
    for text in place.check(built, design):
        note(f"note: {text}")
    planned = StudyPlan.of(
        *(design, built, place.task_types()),
        workers=workers,
        limits=cap,
        shares_prefixes=place.shares_prefixes,
    )
    if not is_run or out is None:
        if as_json:
            print_json(planned.to_json())
        else:
            show_plan(planned)
        return
    place.check_training()
    _tell(planned)
    _show(planned, _run(planned, make_lab, out), out, as_json=as_json)


def _tell(plan: "StudyPlan") -> None:
    hours = "" if plan.hours is None else f", about {duration(plan.hours)}"
    note(
        f"{plan.runs:,} students, {plan.tokens:,} tokens to train, {plan.n_answers:,} answers to"
        f" measure{hours}"
    )


def _name(out: Path) -> str:
    """Return the name of the study in a folder: the folder's, as a plain word."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", out.resolve().name).lstrip("._-")
    return plain or "study"


def _run(plan: "StudyPlan", make_lab: "LabSpec", out: Path) -> "StudyTable":
    """Train and measure the students of a plan.

    Raises:
        ThinkrouteError: One failed, or the folder cannot be used; finished students are kept.
    """
    from policies import ThinkrouteError

    from ..study._run import run_study

    with live_students(plan.runs) as (show, seen):
        try:
            return run_study(
                plan.design,
                make_lab,
                out,
                name=_name(out),
                workers=plan.workers,
                students=[one.student for one in plan.students],
                on_event=show,
            )
        except (KeyboardInterrupt, ThinkrouteError) as stop:
            what = "interrupted" if isinstance(stop, KeyboardInterrupt) else "stopped"
            if seen.n_finished or seen.failed or what == "interrupted":
                note(
                    f"{what}; {seen.n_finished:,} of {plan.runs:,} students are finished in {out}:"
                    " the same command goes on"
                )
            raise


def _show(plan: "StudyPlan", table: "StudyTable", out: Path, *, as_json: bool) -> None:
    finished = {one.student for one in table.results}
    done = [one for one in plan.students if one.student in finished]
    if as_json:
        document = {
            **study_document(table, table.name, StudyFilter()),
            "out": str(out),
            # What students share was trained once; each cell has the whole of its student.
            "tokens": sum(one.new_tokens for one in done),
            "train_flops": sum(one.new_flops for one in done),
            "train_flops_alone": sum(one.train_flops for one in done),
            "left_out": [one.id for one in plan.left_out],
        }
        print_json(document)
        return
    show_study(table)
    print_text(f"written: {out / 'study.csv'}")
    print_text(f"next: advisor tables show {out}")
