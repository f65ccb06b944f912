"""Two runs side by side, question by question."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from calibration import Outcome, compare_arms
from calibration.statistics import holm

from ._blocks import Block, Column, Page, Prose, Section, Table
from ._charts import dot_chart
from ._points import Axis, Point

if TYPE_CHECKING:
    from calibration import ArmComparison, ComparisonRow, CostDifference, OutcomeRecord

__all__ = ["compared_runs"]

_N_RESAMPLES = 1999
_LEVEL = 0.05
_LED = 3


class _Arm(NamedTuple):
    """An arm that both runs have measured, and how it differs."""

    name: str
    found: "ArmComparison"
    p: float


def compared_runs(
    names: tuple[str, str], runs: "tuple[Sequence[OutcomeRecord], Sequence[OutcomeRecord]]"
) -> Page:
    """Return the page of two runs, the first minus the second.

    Arms are compared on the questions that both runs have asked; p-values are adjusted over the
    arms by Holm. Where each run has one model, and another one, policies are paired.

    Args:
        names: What the runs are called.
        runs: Their outcomes.
    """
    models = [sorted({record.model for record in records}) for records in runs]
    has_own_models = models[0] != models[1] and all(len(each) == 1 for each in models)
    per_arm = [_by_arm(records, by_policy=has_own_models) for records in runs]
    both = [arm for arm in per_arm[0] if arm in per_arm[1]]
    found = {arm: _compared(arm, per_arm[0][arm], per_arm[1][arm]) for arm in both}
    paired = {arm: one for arm, one in found.items() if one is not None}
    adjusted = holm([one.overall.p_value for one in paired.values()])
    arms = [
        _Arm(_name(arm), one, p) for (arm, one), p in zip(paired.items(), adjusted, strict=True)
    ]
    notes = [
        f"Only {name} has measured {_few(list(map(_name, alone)))}."
        for name, alone in (
            (names[0], [arm for arm in per_arm[0] if arm not in per_arm[1]]),
            (names[1], [arm for arm in per_arm[1] if arm not in per_arm[0]]),
        )
        if alone
    ]
    n_apart = len(both) - len(paired)
    if n_apart:
        notes.append(
            f"{n_apart} arms have no question that both runs answered: they cannot be paired."
        )
    if not arms:
        notes.append("No arm was asked the same question in both: nothing can be compared.")
    if has_own_models:
        notes.append(
            f"The models differ: {names[0]} measured {models[0][0]}, {names[1]} {models[1][0]};"
            " arms are paired by their policies."
        )
    head = f"{names[0]} against {names[1]}"
    sections = (
        Section("Differences", tuple(_difference_blocks(names, arms))),
        Section("Per task", tuple(_task_tables(names, arms))),
    )
    return Page(
        head,
        _lead(arms),
        sections if arms else (),
        tuple(notes),
        (("first", names[0]), ("second", names[1])),
    )


def _by_arm(
    records: "Iterable[OutcomeRecord]", *, by_policy: bool
) -> "dict[tuple[str, str], list[OutcomeRecord]]":
    """Return the records of each model and policy, the model "" where policies are paired."""
    arms: dict[tuple[str, str], list[OutcomeRecord]] = {}
    for record in records:
        model = "" if by_policy else record.model
        arms.setdefault((model, record.policy), []).append(record)
    return arms


def _name(arm: tuple[str, str]) -> str:
    return ":".join(filter(None, arm))


def _few(names: Sequence[str], most: int = 4) -> str:
    more = f" and {len(names) - most} more arms" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _compared(
    arm: tuple[str, str], first: "Sequence[OutcomeRecord]", second: "Sequence[OutcomeRecord]"
) -> "ArmComparison | None":
    """Return the comparison of one arm in two runs, `None` where no answers can be paired."""
    answered = [
        {(one.task, one.question_id) for one in run if one.outcome is not Outcome.ERROR}
        for run in (first, second)
    ]
    if not answered[0] & answered[1]:
        return None
    # Under names of their own the same arm of two runs is two arms.
    pair = [replace(one, model="first") for one in first]
    pair += [replace(one, model="second") for one in second]
    policy = arm[1]
    return compare_arms(pair, f"first:{policy}", f"second:{policy}", n_resamples=_N_RESAMPLES)


def _lead(arms: Sequence[_Arm]) -> tuple[str, ...]:
    if not arms:
        return ()
    n = sum(arm.found.overall.n for arm in arms)
    rows = [arm.found.overall for arm in arms]
    if all(
        row.difference == 0 and not row.n_first_better and not row.n_second_better for row in rows
    ):
        return (f"No difference: all {n:,} paired answers of {len(arms)} arms came out alike.",)
    told = [arm for arm in arms if arm.p < _LEVEL]
    if not told:
        return (
            f"{n:,} paired answers of {len(arms)} arms: no difference in accuracy can be told from"
            " chance (5%, adjusted over the arms).",
        )
    told.sort(key=lambda arm: -abs(arm.found.overall.difference))
    lines = [
        f"{arm.name}: {arm.found.overall.difference:+.3f} "
        f"[{arm.found.overall.ci_low:+.3f}, {arm.found.overall.ci_high:+.3f}] of accuracy, "
        f"n = {arm.found.overall.n:,}, p {_p(arm.p)} after Holm."
        for arm in told[:_LED]
    ]
    head = f"{len(told)} of {len(arms)} arms differ in accuracy (5%, adjusted over the arms)"
    head += "; the largest differences:" if len(told) > _LED else ":"
    return (head, *lines)


def _difference_blocks(names: tuple[str, str], arms: Sequence[_Arm]) -> list[Block]:
    if not arms:
        return [Prose(("There is nothing to compare.",), is_warning=True)]
    points = [
        Point(
            arm.name,
            "difference",
            arm.name,
            arm.found.overall.difference,
            arm.found.overall.ci_low,
            arm.found.overall.ci_high,
            arm.found.overall.n,
            arm.p < _LEVEL,
        )
        for arm in arms
    ]
    chart = dot_chart(
        f"Accuracy, {names[0]} minus {names[1]}",
        f"{len(arms)} arms, each on the questions that both asked, with 95% intervals.",
        points,
        x=Axis("arm", "name"),
        y=Axis("difference of accuracy", "number"),
        mark="told from chance at 5% after Holm's adjustment over the arms",
    )
    return [
        chart,
        _table("All tasks together", [(arm.name, arm.found.overall, arm.p) for arm in arms]),
    ]


def _task_tables(names: tuple[str, str], arms: Sequence[_Arm]) -> list[Block]:
    by_task: dict[str, list[tuple[str, ComparisonRow, float]]] = {}
    for arm in arms:
        for row in arm.found.tasks:
            if row.n:
                by_task.setdefault(row.task, []).append((arm.name, row, row.p_holm))
    return [_table(task, rows) for task, rows in sorted(by_task.items())]


def _table(caption: str, rows: "Sequence[tuple[str, ComparisonRow, float]]") -> Table:
    columns = (
        Column("arm"),
        Column("n", is_number=True, hint="questions that both asked"),
        Column("first", is_number=True, hint="accuracy"),
        Column("second", is_number=True, hint="accuracy"),
        Column("difference [95%]", is_number=True, hint="first minus second, paired"),
        Column("only first right", is_number=True),
        Column("only second right", is_number=True),
        Column("p (Holm)", is_number=True),
        Column("tokens [95%]", is_number=True, hint="first minus second, per question"),
        Column("left out", is_number=True, hint="asked in one alone, or ended in an error"),
    )
    marked = frozenset(i for i, (_, _, p) in enumerate(rows) if p < _LEVEL)
    cells = tuple(
        (
            name,
            f"{row.n:,}",
            f"{row.first_accuracy:.3f}",
            f"{row.second_accuracy:.3f}",
            f"{row.difference:+.3f} [{row.ci_low:+.3f}, {row.ci_high:+.3f}]",
            f"{row.n_first_better:,}",
            f"{row.n_second_better:,}",
            _p(p).removeprefix("= "),
            _cost(row.tokens),
            f"{row.n_unpaired + row.n_error:,}",
        )
        for name, row, p in rows
    )
    return Table(caption, columns, cells, marked, "told from chance at 5%" if marked else "")


def _cost(cost: "CostDifference | None") -> str:
    if cost is None:
        return ""
    if cost.ci_low is None or cost.ci_high is None:
        return f"{cost.difference:+.1f}"
    return f"{cost.difference:+.1f} [{cost.ci_low:+.1f}, {cost.ci_high:+.1f}]"


def _p(value: float) -> str:
    """Return a p-value behind a sign; one that a double cannot hold is below what it can."""
    return f"= {value:.2g}" if value >= 1e-300 else "< 1e-300"
