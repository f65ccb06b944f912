"""The plots of a study: accuracy over shares of reasoning rows, orders, stages and FLOPs."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, NamedTuple

from calibration import pareto_front

from ..study import StudyOrder, StudyTable
from ..study.findings import (
    AS_TRAINED,
    Contrast,
    Group,
    Measure,
    Term,
    contrast,
    corpora,
    group,
    tally,
    write_measure,
)
from ._blocks import Block
from ._charts import xy_chart
from ._points import Axis, Point

if TYPE_CHECKING:
    from calibration import Cell

__all__ = [
    "Recipe",
    "cost_charts",
    "order_charts",
    "ratio_charts",
    "recipes_of",
    "stage_charts",
    "task_types",
]

_ACCURACY = Axis("accuracy, as trained", "share")
_SHARE = Axis("share of reasoning rows", "share")
_FRONT = "on the front: no other group is as accurate at the same price or less"
_ORDERS: dict[str, str] = {
    StudyOrder.MIXED: "mixed",
    StudyOrder.IFT_THEN_REASONING: "IFT, then reasoning",
    StudyOrder.REASONING_THEN_IFT: "reasoning, then IFT",
    StudyOrder.REASONING_THEN_HYBRID: "reasoning, then half of each",
}
"""Orders of the rows of one run, as they are written here."""
_TWO_STAGES = "two stages"
_STAGES = (
    ("ift", "IFT alone"),
    (StudyOrder.GENERAL_IFT_MATH_IFT.value, "IFT, IFT"),
    (StudyOrder.GENERAL_IFT_MATH_REASONING.value, "IFT, reasoning"),
    ("reasoning", "reasoning alone"),
    (StudyOrder.GENERAL_REASONING_MATH_IFT.value, "reasoning, IFT"),
    (StudyOrder.GENERAL_REASONING_MATH_REASONING.value, "reasoning, reasoning"),
)
"""Recipes of the first stage alone and of both, as they are written here."""


class Recipe(NamedTuple):
    """What the seeds of one recipe have in common."""

    size: str
    corpus: str
    label: str


def recipes_of(table: StudyTable) -> dict[Recipe, Group]:
    """Return the students of each recipe, in the table's order."""
    students = [one.student for one in table.results]
    keys = dict.fromkeys(Recipe(one.size, one.corpus, one.label) for one in students)
    return {one: group(table, *one) for one in keys}


def task_types(table: StudyTable) -> tuple[str, ...]:
    """Return the task types that were measured, in the table's order."""
    return tuple(dict.fromkeys(cell.task_type for one in table.results for cell in one.cells))


def ratio_charts(table: StudyTable) -> list[Block]:
    """Return accuracy over shares of reasoning rows, a plot per corpus and task type."""
    charts: list[Block] = []
    for corpus in corpora(table):
        for kind in task_types(table):
            points = [
                Point(
                    f"{one.size}, {one.label}",
                    one.size,
                    ratio,
                    *found.measure,
                    n=_pairs(found),
                    variant=_ORDERS[order],
                )
                for order, ratio, one in _one_run(table, corpus)
                if (found := contrast([Term(1.0, one)], [kind])) is not None
            ]
            if points:
                title = f"{kind}: trained on the {corpus} corpus"
                words = _ratio_words(table, corpus, kind)
                charts.append(xy_chart(title, words, points, x=_SHARE, y=_ACCURACY, joins="series"))
    return charts


def order_charts(table: StudyTable) -> list[Block]:
    """Return what orders of rows add to the shuffled one, a plot per corpus and task type."""
    charts: list[Block] = []
    gain = Axis("minus mixed rows, points of accuracy", "points")
    for corpus in corpora(table):
        for kind in task_types(table):
            points: list[Point] = []
            by_order: dict[str, list[Measure]] = {}
            for order, ratio, one in _one_run(table, corpus):
                mixed = group(table, one.size, corpus, f"{StudyOrder.MIXED.value}@{ratio:g}")
                found = contrast([Term(1.0, one), Term(-1.0, mixed)], [kind])
                if order is not StudyOrder.MIXED and found is not None:
                    points.append(_difference(one, ratio, found, _ORDERS[order]))
                    by_order.setdefault(_ORDERS[order], []).append(found.measure)
            if points:
                title = f"{kind}: the order of the same rows, {corpus} corpus"
                words = _order_words(by_order)
                charts.append(xy_chart(title, words, points, x=_SHARE, y=gain, joins="series"))
    return charts


def stage_charts(table: StudyTable) -> list[Block]:
    """Return accuracy after two stages and after the first of them, a plot per task type."""
    two_stage = [one.student for one in table.results if one.student.order.is_two_stage]
    charts: list[Block] = []
    for kind in task_types(table) if two_stage else ():
        points = [
            Point(f"{size}, {label}", size, words, *found.measure, n=_pairs(found))
            for label, words in _STAGES
            for size in table.sizes
            if (found := contrast([Term(1.0, _stage(table, size, label))], [kind])) is not None
        ]
        if points:
            x = Axis("first stage, second stage", "name")
            title = f"{kind}: after a stage on general rows, and a second one on mathematics"
            words = _stage_words(table, kind)
            charts.append(xy_chart(title, words, points, x=x, y=_ACCURACY))
    return charts


def cost_charts(
    table: StudyTable, recipes: Mapping[Recipe, Group], of: Literal["training", "inference"]
) -> list[Block]:
    """Return accuracy over FLOPs with its front, a plot per task type.

    Args:
        table: The study.
        recipes: Its students by recipe.
        of: Which FLOPs: those that training a student takes, pre-training left out; or those of
            an answer, prompt included.
    """
    charts: list[Block] = []
    per = "of one student" if of == "training" else "per question"
    x = Axis(f"{of} FLOPs {per}", "count", is_log=True)
    cells = [
        (Recipe(cell.model, corpus, cell.recipe), cell)
        for corpus in table.corpora
        for cell in table.pooled_cells(corpus=corpus)
        if cell.policy == AS_TRAINED
    ]
    for kind in task_types(table):
        own = [
            # One task, whatever sizes call it, so that the front is over all of them.
            (recipe, replace(cell, task=kind, mean_flops=_cost(recipes[recipe], cell, of)))
            for recipe, cell in cells
            if cell.task_type == kind
        ]
        own.sort(key=lambda one: one[1].size or 0)
        if own:
            charts.append(_cost_chart(f"{kind}: accuracy over {of} FLOPs", own, x))
    return charts


def _cost_chart(title: str, own: "Sequence[tuple[Recipe, Cell]]", x: Axis) -> Block:
    priced = [place for place, (_, cell) in enumerate(own) if cell.mean_flops is not None]
    front = {priced[place] for place in pareto_front([own[place][1] for place in priced])}
    points = [
        Point(
            _name(recipe),
            recipe.size,
            math.nan if cell.mean_flops is None else cell.mean_flops,
            cell.accuracy,
            cell.ci_low,
            cell.ci_high,
            cell.n,
            place in front,
            _kind_of(recipe.label),
        )
        for place, (recipe, cell) in enumerate(own)
    ]
    best = [
        max((point for point in points if point.series == size), key=lambda point: point.y)
        for size in dict.fromkeys(point.series for point in points)
    ]
    words = (
        f"{len(points):,} groups, {len(front):,} of them on the front, by their estimates: an "
        "interval tells how near another one is. The most accurate of each size: "
        + "; ".join(f"{one.name} with {_accuracy(one)}" for one in best)
        + "."
    )
    return xy_chart(title, words, points, x=x, y=_ACCURACY, mark=_FRONT, joins="marked")


def _cost(one: Group, cell: "Cell", of: Literal["training", "inference"]) -> float | None:
    """Return FLOPs, `None` where they are not known, which a study holds as 0."""
    if of == "inference":
        return cell.mean_flops or None
    flops = [result.train_flops for result in one.by_seed.values()]
    return sum(flops) / len(flops) if min(flops) > 0 else None


def _one_run(table: StudyTable, corpus: str) -> Iterator[tuple[StudyOrder, float, Group]]:
    """Yield the students of one run with order and share, along each curve."""
    for size in table.sizes:
        own = [one.student for one in table.select(size=size, corpus=corpus)]
        for order in _ORDERS:
            ratios = sorted({one.ratio for one in own if one.order == order})
            labels = {one.ratio: one.label for one in own if one.order == order}
            for ratio in ratios:
                yield StudyOrder(order), ratio, group(table, size, corpus, labels[ratio])


def _stage(table: StudyTable, size: str, label: str) -> Group:
    found = [one.student for one in table.select(size=size) if one.student.label == label]
    corpus = next((one.corpus for one in found if one.order.is_two_stage), "general")
    return group(table, size, corpus, label)


def _name(recipe: Recipe) -> str:
    """Return a recipe in one line; the name of a two-stage order tells its corpora."""
    is_two_stage = _kind_of(recipe.label) == _TWO_STAGES
    return ", ".join((recipe.size, recipe.label) if is_two_stage else recipe)


def _kind_of(label: str) -> str:
    """Return the kind of a recipe, without its share."""
    order = label.partition("@")[0]
    return _ORDERS.get(order) or {"ift": "IFT", "reasoning": "reasoning"}.get(order, _TWO_STAGES)


def _ratio_words(table: StudyTable, corpus: str, kind: str) -> str:
    gains = [
        (size, contrast(_terms(table, size, corpus, "reasoning", "ift"), [kind]))
        for size in table.sizes
    ]
    return _by_size("Reasoning rows alone minus direct answers (IFT) alone", gains)


def _stage_words(table: StudyTable, kind: str) -> str:
    added = StudyOrder.GENERAL_REASONING_MATH_IFT.value
    changes = [
        (
            size,
            contrast(
                [
                    Term(1.0, _stage(table, size, added)),
                    Term(-1.0, group(table, size, "general", "reasoning")),
                ],
                [kind],
            ),
        )
        for size in table.sizes
    ]
    return _by_size("A stage of direct answers after reasoning, minus stopping before it", changes)


def _terms(table: StudyTable, size: str, corpus: str, first: str, second: str) -> list[Term]:
    groups = (group(table, size, corpus, label) for label in (first, second))
    return [Term(weight, one) for weight, one in zip((1.0, -1.0), groups, strict=True)]


def _by_size(what: str, found: Iterable[tuple[str, Contrast | None]]) -> str:
    known = [(size, one) for size, one in found if one is not None]
    if not known:
        return f"{what}: not measured."
    texts = [
        f"{write_measure(one.measure, 'points')} at {size} (n = {_pairs(one):,})"
        for size, one in known
    ]
    return f"{what}, in points: {', '.join(texts)}."


def _order_words(by_order: Mapping[str, Sequence[Measure]]) -> str:
    sentences: list[str] = []
    for order, differences in by_order.items():
        counts = tally(differences)
        ends = ", which ends in direct answers" if order.endswith(" IFT") else ""
        unclear = counts.n - counts.n_above - counts.n_below
        sentences.append(
            f"{order[0].upper()}{order[1:]}{ends}: ahead of mixed rows in {counts.n_above} of "
            f"{counts.n}, behind in {counts.n_below}, in {unclear} it cannot be told."
        )
    return f"{' '.join(sentences)} Differences are paired by seed and question."


def _difference(one: Group, ratio: float, found: Contrast, order: str) -> Point:
    y, low, high = (None if end is None else 100 * end for end in found.measure)
    name = f"{one.size}, {one.label}"
    return Point(name, one.size, ratio, y or 0.0, low, high, _pairs(found), variant=order)


def _accuracy(point: Point) -> str:
    interval = f" [{point.low:.3f}, {point.high:.3f}]"
    return f"{point.y:.3f}{interval} (n = {point.n:,})"


def _pairs(found: Contrast) -> int:
    """Return the answers behind an accuracy, or the pairs behind a difference."""
    return found.n_seeds * found.n_questions
