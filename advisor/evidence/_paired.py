"""The difference of two arms over the questions that both answered."""

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

from ..inference import Z

if TYPE_CHECKING:
    from calibration import OutcomeRecord

__all__ = ["paired_gain"]

Arm: TypeAlias = tuple[str, str]
"""Model and policy."""

_FEWEST_CLUSTERS = 20
"""Below this many independent questions a normal interval is too narrow."""


def paired_gain(
    records: Sequence["OutcomeRecord"], first: Arm, second: Arm, tasks: Sequence[str]
) -> tuple[float, float, float] | None:
    """Return the mean difference first - second with a 90% interval, over paired questions.

    Repeats are averaged per question, questions that share a document are one cluster, and tasks
    count equally. Infrastructure errors are left out of both arms.

    Args:
        records: Answers of any arms.
        first: Model and policy of the first arm.
        second: Those of the second.
        tasks: Tasks to compare over; each must have answers of both arms.

    Returns:
        Difference, low and high, in [-1, 1]; `None` if some task has fewer than 20 clusters that
        both arms answered.

    Source: cluster-robust standard error of a mean of paired differences, Miller, "Adding Error
        Bars to Evals", arXiv 2411.00640, sections 3.1 and 4.2, with the factor m / (m - 1) for m
        clusters; one discordant pair is added on each side, Bonett and Price, J. Educ. Behav.
        Stat. 37 (2012) 479-488, so that arms that never disagreed have a width too.
    """
    scores: dict[tuple[str, Arm], dict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
    groups: dict[tuple[str, str], str] = {}
    for record in records:
        arm = (record.model, record.policy)
        if record.task in tasks and arm in {first, second} and record.outcome != "error":
            scores[record.task, arm][record.question_id].append(record.outcome == "correct")
            groups[record.task, record.question_id] = record.group
    means: list[float] = []
    centres: list[float] = []
    variance = 0.0
    for task in tasks:
        mine, theirs = scores[task, first], scores[task, second]
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


def _mean(values: Sequence[bool]) -> float:
    return sum(values) / len(values)
