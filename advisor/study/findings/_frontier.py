"""Is IFT on the frontier at matched FLOPs, of training and of inference?"""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

from .._table import StudyTable
from ._finding import (
    Check,
    Column,
    Finding,
    Measure,
    Row,
    claim_check,
    intervals_over,
    one_seed,
    tally,
)
from ._students import (
    IFT,
    REASONING,
    Contrast,
    Group,
    Term,
    accuracy,
    contrast,
    corpora,
    group,
    mean_of,
    task_types,
)

__all__ = ["ift_on_the_frontier"]


class _Axis(NamedTuple):
    name: str
    flops: Callable[[Group, str], float | None]


def _train_flops(one: Group, kind: str) -> float | None:
    del kind
    return _known([result.train_flops for result in one.by_seed.values()])


def _inference_flops(one: Group, kind: str) -> float | None:
    return _known([*mean_of(one, [kind], lambda cell: cell.mean_flops).values()])


def _known(flops: Sequence[float]) -> float | None:
    """Return the mean; `None` where there is none, or where a model's FLOPs are not known (0)."""
    return sum(flops) / len(flops) if flops and min(flops) > 0 else None


_REPORTED = (
    ("multiple choice", "-mc", "IFT is on or near the frontier at every size"),
    (
        *("open-ended", "-oe"),
        "IFT is on or near the frontier below 7B, and reasoning reaches it from there on; sizes of "
        "other families do not map to this one, so all sizes are taken",
    ),
)
"""Kinds of tasks, the end of their task types, and what the paper reports about them."""
_AXES = (_Axis("training", _train_flops), _Axis("inference", _inference_flops))


def ift_on_the_frontier(table: StudyTable) -> Finding:
    """Compare each student of pure reasoning with IFT at the same FLOPs, between two sizes."""
    rows = [
        row
        for corpus in corpora(table)
        for kind in task_types(table)
        for size in table.sizes
        if (row := _row(table, size, corpus, kind)) is not None
    ]
    sentences = [_sentence(axis.name, rows, place) for place, axis in enumerate(_AXES, start=1)]
    return Finding(
        key="frontier",
        question="Is IFT on the frontier at matched FLOPs?",
        verdict=(*sentences, *one_seed(rows))
        if rows
        else ("Not measured: no size has both pure recipes.",),
        method="Each student of pure reasoning against IFT at the same FLOPs: the accuracies of "
        "the two neighbouring sizes of IFT, interpolated linearly over log FLOPs. Where reasoning "
        "costs more than the largest IFT student there is nothing to match it with, and the cell "
        "is empty: no larger IFT student was trained. Training FLOPs are those of the student, "
        "pre-training left out; inference FLOPs are per question, prompt included. "
        + intervals_over(rows),
        label_columns=("corpus", "task type", "size"),
        columns=(
            Column("reasoning", "accuracy"),
            Column("minus IFT at equal training FLOPs", "points"),
            Column("minus IFT at equal inference FLOPs", "points"),
        ),
        rows=tuple(rows),
        checks=tuple(_checks(rows)),
    )


def _row(table: StudyTable, size: str, corpus: str, kind: str) -> Row | None:
    reasoning = group(table, size, corpus, REASONING)
    own = contrast([Term(1.0, reasoning)], [kind])
    students = [group(table, one, corpus, IFT) for one in table.sizes]
    students = [one for one in students if one.by_seed]
    if own is None or not students:
        return None
    matched = [_matched(reasoning, students, kind, axis) for axis in _AXES]
    seeds = [one.n_seeds for one in matched if one is not None]
    measures = [None if one is None else one.measure for one in matched]
    return Row(
        (corpus, kind, size),
        min(seeds, default=own.n_seeds),
        own.n_questions,
        (accuracy(reasoning, [kind]), *measures),
    )


def _matched(
    reasoning: Group, students: Sequence[Group], kind: str, axis: _Axis
) -> Contrast | None:
    """Return reasoning minus IFT at its FLOPs, `None` outside of what IFT students cost."""
    cost = axis.flops(reasoning, kind)
    priced = [(price, one) for one in students if (price := axis.flops(one, kind)) is not None]
    if cost is None:
        return None
    for (low, cheaper), (high, dearer) in pairwise(sorted(priced, key=lambda one: one[0])):
        if low <= cost <= high and low < high:
            share = math.log(cost / low) / math.log(high / low)
            terms = [Term(1.0, reasoning), Term(share - 1.0, cheaper), Term(-share, dearer)]
            return contrast([term for term in terms if term.weight], [kind])
    return None


def _sentence(axis: str, rows: Sequence[Row], place: int) -> str:
    measures = [row.measures[place] for row in rows]
    counts = tally(measures)
    missing = sum(one is None for one in measures)
    if not counts.n:
        return (
            f"At equal {axis} FLOPs nothing can be compared: in none of {missing} cells does the "
            "student of pure reasoning cost as much as something between two sizes of IFT."
        )
    return (
        f"At equal {axis} FLOPs reasoning is ahead of IFT in {counts.n_above} of {counts.n} "
        f"matched cells and behind in {counts.n_below}; {missing} cells have no IFT student to be "
        "matched with."
    )


def _checks(rows: Sequence[Row]) -> list[Check]:
    checks: list[Check] = []
    source = "arXiv 2509.22193v2, sections 4.2 and 7"
    for name, ending, paper in _REPORTED:
        own = [row for row in rows if row.labels[1].endswith(ending)]
        for place, axis in enumerate(_AXES, start=1):
            measures: list[Measure | None] = [row.measures[place] for row in own]
            checks.append(
                claim_check(
                    f"frontier/{name}/{axis.name}",
                    "size-of-reasoning-frontier",
                    about=f"differences from IFT on {name} tasks at equal {axis.name} FLOPs",
                    measures=measures,
                    side="below",
                    paper=paper,
                    source=source,
                )
            )
    return checks
