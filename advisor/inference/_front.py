"""Which options are worth considering: the Pareto front, with its uncertainty."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from ._estimate import Estimate

__all__ = ["Point", "front_probabilities"]

_N_DRAWS = 400
"""Draws per front: the standard error of a probability is at most 2.5 points."""


@dataclass(frozen=True, slots=True)
class Point:
    """An option as the front sees it.

    Attributes:
        accuracy: Its accuracy with an interval.
        costs: Costs, smaller is better, in the same order for every point; `None` where unknown.
    """

    accuracy: Estimate
    costs: tuple[float | None, ...]


def front_probabilities(points: Sequence[Point], *, seed: int = 0) -> list[float | None]:
    """Return each point's probability of not being dominated.

    One point dominates another if it is at least as accurate and costs no more in anything, and
    is better in one of them. Accuracies are drawn independently from normal laws with the width
    of the intervals; costs are taken as known, and a cost that is unknown dominates nothing and
    is dominated in nothing.

    Returns:
        A probability for each point, `None` for those without an accuracy.
    """
    rng = random.Random(seed)
    known = [index for index, point in enumerate(points) if point.accuracy.value is not None]
    cheaper = {
        (a, b): _costs_no_more(points[a].costs, points[b].costs)
        for a in known
        for b in known
        if a != b
    }
    survived = dict.fromkeys(known, 0)
    for _ in range(_N_DRAWS):
        drawn = {
            index: rng.gauss(points[index].accuracy.value or 0.0, points[index].accuracy.sd)
            for index in known
        }
        for index in known:
            survived[index] += not any(
                cheaper[other, index] and drawn[other] > drawn[index]
                for other in known
                if other != index
            )
    return [
        survived[index] / _N_DRAWS if index in survived else None for index in range(len(points))
    ]


def _costs_no_more(a: Sequence[float | None], b: Sequence[float | None]) -> bool:
    for mine, theirs in zip(a, b, strict=True):
        if mine is None or theirs is None or mine > theirs:
            return False
    return True
