"""What `advisor study` prints: the plan, and the measured table."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from ._output import (
    format_flops,
    print_table,
    print_text,
    table,
)

if TYPE_CHECKING:
    from ..study._plan import PlannedStudent, StudyPlan
    from ..study._results import StudentResult, StudyCell
    from ..study._table import StudyTable

__all__ = ["duration", "show_plan", "show_study"]

_SHOWN = 3
"""Students that are named as the first ones, and groups that are named as left out."""


def show_plan(plan: "StudyPlan") -> None:
    """Print what a study will train, what that costs, and what limits leave out."""
    design = plan.design
    grid = (
        (len(design.sizes), "sizes"),
        (len(design.ratios), "ratios"),
        (len(design.orders), "orders"),
        (len(design.corpora), "corpora"),
        (len(design.seeds), "seeds"),
    )
    print_text(" x ".join(_counted(n, name) for n, name in grid) + f", {design.n_rows:,} rows")
    groups: dict[tuple[str, str], list[PlannedStudent]] = {}
    for one in plan.students:
        groups.setdefault((one.student.size, one.student.corpus), []).append(one)
    order = list(design.sizes)
    print_table(
        table(
            "to train",
            (
                "size",
                "corpus",
                "runs",
                "seeds",
                "tokens",
                "FLOPs",
                "unshared",
                "hours",
                "measuring",
            ),
            [
                (
                    *key,
                    str(len(group)),
                    str(len({one.student.seed for one in group})),
                    f"{sum(one.new_tokens for one in group):,}",
                    format_flops(sum(one.new_flops for one in group)),
                    format_flops(sum(one.train_flops for one in group)),
                    _hours(_sum(one.train_seconds for one in group)),
                    _hours(_sum(one.measure_seconds for one in group)),
                )
                for key, group in sorted(groups.items(), key=lambda item: order.index(item[0][0]))
            ],
        )
    )
    shared = 1.0 - plan.train_flops / plan.train_flops_alone if plan.train_flops_alone else 0.0
    print_text(
        f"to spend: {_counted(plan.runs, 'runs')}, {plan.tokens:,} tokens,"
        f" {format_flops(plan.train_flops)} training FLOPs"
        + (f"; {shared:.0%} are saved by what students share" if shared >= 0.005 else "")
    )
    print_text(
        f"to measure: {plan.n_answers:,} answers ({_counted(len(plan.task_types), 'task types')} x"
        f" {_counted(len(design.policies), 'policies')} x {design.n_questions:,} questions each)"
    )
    if plan.hours is None:
        print_text("time: not known here in advance")
    else:
        print_text(f"time: about {duration(plan.hours)} with {_counted(plan.workers, 'workers')}")
    _show_left_out(plan)
    first = ", ".join(one.student.id for one in plan.students[:_SHOWN])
    print_text(f"most worth knowing: {first}{', ...' if plan.runs > _SHOWN else ''}")


def _show_left_out(plan: "StudyPlan") -> None:
    if not plan.left_out:
        return
    seeds: dict[tuple[str, str], set[int]] = {}
    for one in plan.left_out:
        seeds.setdefault((one.size, one.corpus), set()).add(one.seed)
    named = [
        f"{size} {corpus} (seed {', '.join(map(str, sorted(found)))})"
        for (size, corpus), found in seeds.items()
    ]
    more = f" and {len(named) - _SHOWN} more" if len(named) > _SHOWN else ""
    print_text(
        f"left out by the limits: {_counted(len(plan.left_out), 'runs')},"
        f" some or all of {'; '.join(named[:_SHOWN])}{more}"
    )


def show_study(study: "StudyTable") -> None:
    """Print accuracy per recipe and task type, one table per policy, seeds taken together."""
    if not study.results:
        print_text("no student is done yet")
        return
    groups: dict[tuple[str, str, str], list[StudentResult]] = {}
    for one in study.results:
        student = one.student
        groups.setdefault((student.size, student.corpus, student.label), []).append(one)
    task_types = list(dict.fromkeys(cell.task_type for one in study.results for cell in one.cells))
    for policy in study.design.policies:
        print_table(
            table(
                f"{study.name}, asked by {policy}: accuracy [95%]",
                ("size", "corpus", "recipe", "seeds", "FLOPs", *task_types, "tokens", "thinks"),
                [
                    (
                        *key,
                        str(len(group)),
                        format_flops(group[0].train_flops),
                        *(_accuracy(_cells(group, policy, name)) for name in task_types),
                        *_lengths([c for name in task_types for c in _cells(group, policy, name)]),
                    )
                    for key, group in groups.items()
                ],
            )
        )


def _cells(group: Sequence["StudentResult"], policy: str, task_type: str) -> "list[StudyCell]":
    return [
        cell
        for one in group
        for cell in one.cells
        if cell.policy == policy and cell.task_type == task_type
    ]


def _accuracy(cells: Sequence["StudyCell"]) -> str:
    """Return accuracy with its interval over questions, and over seeds if there are several."""
    from calibration.statistics import crossed_proportion

    if not cells:
        return "-"
    if len(cells) == 1:
        return _interval(cells[0].accuracy, cells[0].ci_low, cells[0].ci_high)
    found = crossed_proportion([[int(bit) for bit in cell.correct] for cell in cells])
    return _interval(found.estimate, found.low, found.high)


def _interval(value: float, low: float, high: float) -> str:
    """Return an accuracy with its interval, short enough for several in a row."""
    return f"{value:.3f} [{low:.2f}, {high:.2f}]"


def _lengths(cells: Sequence["StudyCell"]) -> tuple[str, str]:
    """Return mean tokens and the share of answers with a thought, over cells of equal weight."""
    if not cells:
        return "-", "-"
    tokens = sum(cell.mean_tokens for cell in cells) / len(cells)
    share = sum(cell.think_share for cell in cells) / len(cells)
    return f"{tokens:.1f}", f"{share:.0%}"


def _sum(values: Iterable[float | None]) -> float | None:
    """Return the sum of seconds, `None` if some are not known."""
    total = 0.0
    for value in values:
        if value is None:
            return None
        total += value
    return total


def _hours(seconds: float | None) -> str:
    """Return seconds in hours, `<0.01` where they are less than that."""
    if seconds is None:
        return "-"
    return "<0.01" if 0 < seconds < 36 else f"{seconds / 3600:.3g}"


def duration(hours: float) -> str:
    """Return hours in words, short ones in minutes."""
    if hours >= 1:
        return f"{hours:.1f} hours"
    return _counted(max(1, round(hours * 60)), "minutes")


_SINGULAR = {"corpora": "corpus", "policies": "policy"}


def _counted(n: int, plural: str) -> str:
    return f"{n:,} {plural if n != 1 else _SINGULAR.get(plural, plural[:-1])}"
