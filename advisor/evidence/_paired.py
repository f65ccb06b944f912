"""The difference of two arms over the questions that both answered."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from ..inference import Z

if TYPE_CHECKING:
    from calibration import OutcomeRecord

__all__ = ["RecordedArm", "paired_gain"]


class RecordedArm(NamedTuple):
    """An arm as its records know it.

    Attributes:
        model: Model that answered.
        policy: Policy it answered with.
        by_task: Accuracy of its cell, by task.
    """

    model: str
    policy: str
    by_task: dict[str, float]


_ROUNDING = 0.005
"""Most that an accuracy in a table may differ from that of its records."""

_FEWEST_CLUSTERS = 20
"""Below this many independent questions a normal interval is too narrow."""


def paired_gain(
    records: Sequence["OutcomeRecord"],
    first: RecordedArm,
    second: RecordedArm,
    tasks: Sequence[str],
) -> tuple[float, float, float] | None:
    """Return the mean difference first - second with a 90% interval, over paired questions.

    Repeats are averaged per question, questions that share a document are one cluster, and tasks
    count equally. Infrastructure errors are left out of both arms. Records name neither recipe nor
    run, so two students that were served under one name cannot be told apart by them: records are
    used only where their share of right answers is that of the arm's cell.

    Args:
        records: Answers of any arms.
        first: The first arm.
        second: The second.
        tasks: Tasks to compare over; each must have answers of both arms.

    Returns:
        Difference, low and high, in [-1, 1]; `None` if some task has fewer than 20 clusters that
        both arms answered, or if the records cannot be these arms'.

    Source: cluster-robust standard error of a mean of paired differences, Miller, "Adding Error
        Bars to Evals", arXiv 2411.00640, sections 3.1 and 4.2, with the factor m / (m - 1) for m
        clusters; one discordant pair is added on each side, Bonett and Price, J. Educ. Behav.
        Stat. 37 (2012) 479-488, so that arms that never disagreed have a width too.
    """
    names = first[:2], second[:2]
    if names[0] == names[1]:
        return None
    scores: dict[tuple[str, tuple[str, str]], dict[str, list[bool]]] = defaultdict(
        lambda: defaultdict(list)
    )
    groups: dict[tuple[str, str], str] = {}
    for record in records:
        arm = (record.model, record.policy)
        if record.task in tasks and arm in names and record.outcome != "error":
            scores[record.task, arm][record.question_id].append(record.outcome == "correct")
            groups[record.task, record.question_id] = record.group
    means: list[float] = []
    centres: list[float] = []
    variance = 0.0
    for task in tasks:
        mine, theirs = scores[task, names[0]], scores[task, names[1]]
        if not (_is_of(mine, first.by_task.get(task)) and _is_of(theirs, second.by_task.get(task))):
            return None
        shared = [question for question in mine if question in theirs]
        gaps = {q: _mean(mine[q]) - _mean(theirs[q]) for q in shared}
        clusters: dict[str, list[float]] = defaultdict(list)
        for question, gap in gaps.items():
            clusters[groups[task, question]].append(gap)
        m = len(clusters)
        if m < _FEWEST_CLUSTERS:
            return None
        n, total = len(gaps), sum(gaps.values())
        centre = total / (n + 2)
        squares = sum((sum(cluster) - centre * len(cluster)) ** 2 for cluster in clusters.values())
        means.append(total / n)
        centres.append(centre)
        variance += (squares + 2.0) * m / (m - 1) / (n + 2) ** 2
    if not means:
        return None
    value, centre = sum(means) / len(means), sum(centres) / len(centres)
    half = Z * math.sqrt(variance) / len(means)
    low, high = min(value, centre - half), max(value, centre + half)
    return round(value, 6), round(max(-1.0, low), 6), round(min(1.0, high), 6)


def _is_of(scores: Mapping[str, Sequence[bool]], accuracy: float | None) -> bool:
    """Return whether the share of right answers is the accuracy of the cell."""
    graded = [score for answers in scores.values() for score in answers]
    return accuracy is not None and bool(graded) and abs(_mean(graded) - accuracy) <= _ROUNDING


def _mean(values: Sequence[bool]) -> float:
    return sum(values) / len(values)
