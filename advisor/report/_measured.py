"""What a page shows of a measured table: costs, fronts, budgets, lengths and every cell."""

import math
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from calibration import front_of, pareto_front
from policies import MAX

from ._blocks import Block, Column, Prose, Section, Table
from ._charts import step_chart, xy_chart
from ._points import Axis, Point, Step
from ._pooling import PooledArm, pooled_arms

if TYPE_CHECKING:
    from calibration import Cell, CellLengths

__all__ = ["cell_sections", "length_section"]

ACCURACY = Axis("accuracy", "share")
_FLOPS = Axis("FLOPs per question", "count", is_log=True)
_TOKENS = Axis("generated tokens per question", "count", is_log=True)
_FRONT = "on the front: no other arm is as accurate at the same price or less"


def cell_sections(cells: "Sequence[Cell]") -> list[Section]:
    """Return the sections of cells, a plot for each task type and a table for each task."""
    ordered = sorted(cells, key=lambda cell: (cell.task_type, cell.task, cell.model, cell.policy))
    by_type = {kind: list(part) for kind, part in groupby(ordered, key=lambda cell: cell.task_type)}
    fronts: list[Block] = []
    budgets: list[Block] = []
    for kind, part in by_type.items():
        arms = pooled_arms(part)
        if arms:
            fronts.append(_front_chart(kind, arms, n_tasks=len({cell.task for cell in part})))
            budgets += _budget_charts(kind, arms)
    sections = [
        Section("Accuracy over cost", tuple(fronts) or (_nothing("No cell has an answer."),)),
        Section(
            "Accuracy over the thinking budget",
            tuple(budgets) or (_nothing("Fewer than two budgets of a model were measured."),),
        ),
    ]
    tables = [
        _cell_table(list(part))
        for _, part in groupby(ordered, key=lambda cell: (cell.task_type, cell.task))
    ]
    sections.append(Section("Every cell", tuple(tables) or (_nothing("There is no cell."),)))
    return sections


def length_section(curves: "Iterable[CellLengths]") -> Section:
    """Return how long thoughts are, those of right answers against those of wrong ones."""
    charts: list[Block] = []
    for one in curves:
        kinds = (("right", one.right), ("wrong", one.wrong))
        steps = [Step(name, each.lengths, each.shares, each.n) for name, each in kinds if each]
        if not steps:
            continue
        charts.append(
            step_chart(
                f"{one.task}: {one.model}, {one.policy}",
                _length_words(one),
                steps,
                x=Axis("thinking tokens", "count", is_log=True),
                y=Axis("share of thoughts that end within", "share"),
            )
        )
    if not charts:
        charts.append(_nothing("No answer of an arm that thinks was kept."))
    return Section("How long thoughts are", tuple(charts))


def _length_words(one: "CellLengths") -> str:
    curve = one.curve
    parts = [f"{curve.n:,} thoughts"]
    if curve.n_cut:
        parts.append(f"{curve.n_cut:,} of them cut, so that curves may end below 100%")
    medians = [
        f"half of the {name} ones within {_median(each.lengths, each.shares)} tokens"
        for name, each in (("right", one.right), ("wrong", one.wrong))
        if each is not None
    ]
    return f"{'; '.join([*parts, *medians])}."


def _median(lengths: Sequence[int], shares: Sequence[float]) -> str:
    pairs = zip(lengths, shares, strict=True)
    found = next((length for length, share in pairs if share >= 0.5), None)
    return "more than the cap of" if found is None else f"{found:,}"


def _front_chart(kind: str, arms: "Sequence[PooledArm]", *, n_tasks: int) -> Block:
    by_flops = all(arm.flops is not None for arm in arms)
    cost = _FLOPS if by_flops else _TOKENS
    costs = [_cost(arm, by_flops=by_flops) for arm in arms]
    on_front = front_of(costs, [arm.accuracy for arm in arms])
    points = [
        Point(
            f"{arm.model}:{arm.policy}",
            arm.model,
            price,
            arm.accuracy,
            arm.low,
            arm.high,
            arm.n,
            index in on_front,
            label=arm.policy if index in on_front else "",
        )
        for index, (arm, price) in enumerate(zip(arms, costs, strict=True))
    ]
    best = max(arms, key=lambda arm: arm.accuracy)
    tasks = "1 task" if n_tasks == 1 else f"{n_tasks} tasks together, each by its questions"
    words = (
        f"{len(arms)} arms on {tasks}; {len(on_front)} on the front. The most accurate is "
        f"{best.model}:{best.policy} with {best.accuracy:.3f} [{best.low:.3f}, {best.high:.3f}], "
        f"n = {best.n:,}."
    )
    if not by_flops:
        words += " FLOPs of some arms are not known, so that the cost is in tokens."
    return xy_chart(
        f"{kind}: accuracy over cost",
        words,
        points,
        x=cost,
        y=ACCURACY,
        mark=_FRONT,
        joins="marked",
    )


def _budget_charts(kind: str, arms: "Sequence[PooledArm]") -> list[Block]:
    """Return accuracy over budgets where a model has two or more, in one plot of all models."""
    found: list[tuple[float, str, PooledArm]] = []
    for arm in arms:
        name, _, budget = arm.policy.partition("@")
        if name == "reasoning" and (budget == MAX or budget.isdecimal()):
            found.append((math.inf if budget == MAX else float(budget), budget, arm))
    models = [arm.model for _, _, arm in found]
    found = [one for one in found if models.count(one[2].model) > 1]
    if not found:
        return []
    found.sort(key=lambda one: (one[0], one[2].model))
    points = [
        Point(f"{arm.model}:{arm.policy}", arm.model, name, arm.accuracy, arm.low, arm.high, arm.n)
        for _, name, arm in found
    ]
    words = f"{len(points)} budgets of {len(set(models))} models; max is no cap."
    budget_axis = Axis("cap on thinking tokens", "name")
    return [
        xy_chart(
            f"{kind}: accuracy over the thinking budget",
            words,
            points,
            x=budget_axis,
            y=ACCURACY,
            joins="series",
        )
    ]


def _cost(arm: "PooledArm", *, by_flops: bool) -> float:
    return arm.flops if by_flops and arm.flops is not None else arm.tokens


def _cell_table(cells: "Sequence[Cell]") -> Table:
    on_front = pareto_front(cells)
    first = cells[0]
    columns = (
        Column("arm"),
        Column("accuracy [95%]", is_number=True),
        Column("n", is_number=True, hint="graded answers: right, wrong and cut"),
        Column("cut", is_number=True, hint="ran out of tokens; counted as not right"),
        Column("errors", is_number=True, hint="of infrastructure; not in n"),
        Column("tokens", is_number=True, hint="generated, mean"),
        Column("FLOPs", is_number=True, hint="mean"),
        Column("p50 s", is_number=True, hint="median seconds of those timed"),
        Column("interval", hint="how the interval was made"),
    )
    rows = tuple(_cell_row(cell) for cell in cells)
    caption = f"{first.task} ({first.task_type})"
    return Table(caption, columns, rows, on_front, _FRONT if on_front else "")


def _cell_row(cell: "Cell") -> tuple[str, ...]:
    shown = Axis("", "count").shown
    recipe = f" ({cell.recipe})" if cell.recipe else ""
    accuracy = ""
    if cell.n:
        accuracy = f"{cell.accuracy:.3f} [{cell.ci_low:.3f}, {cell.ci_high:.3f}]"
    return (
        f"{cell.model}:{cell.policy}{recipe}",
        accuracy,
        f"{cell.n:,}",
        f"{cell.n_cut:,}",
        f"{cell.n_error:,}",
        shown(cell.mean_tokens),
        shown(cell.mean_flops),
        "" if cell.p50_seconds is None else f"{cell.p50_seconds:.3g}",
        cell.interval,
    )


def _nothing(text: str) -> Prose:
    return Prose((text,), is_warning=True)
