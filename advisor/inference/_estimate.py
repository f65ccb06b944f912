"""A value with an interval, what it stands on, and arithmetic on such values."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

__all__ = [
    "CONFIDENCE_LEVEL",
    "NO_ESTIMATE",
    "Basis",
    "Estimate",
    "EvidenceRef",
    "Z",
    "around",
    "difference",
    "mean_estimate",
    "weakest",
    "wilson",
]

Basis: TypeAlias = Literal["measured", "interpolated", "transferred", "rule"]

CONFIDENCE_LEVEL = 0.90
"""Level of every interval of the advisor."""

Z = 1.6448536269514722
"""Normal quantile of a two-sided 90% interval."""

_ORDER: tuple[Basis, ...] = ("measured", "interpolated", "transferred", "rule")
"""From the strongest to the weakest."""


@dataclass(frozen=True, slots=True)
class EvidenceRef:
    """One figure that something rests on.

    Attributes:
        id: Id of the cell.
        source: The paper, or `measured` for the user's own cells.
        cell: Where in it, in words: a table cell, or task, model and policy.
        recipe: Recipe label of the figure, such as `ift`.
        value: Accuracy in [0, 1] as printed or measured.
        n: Questions it was measured on; `None` where the source prints none.
    """

    id: str
    source: str
    cell: str
    recipe: str
    value: float
    n: int | None = None


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with a 90% interval.

    Attributes:
        value: Accuracy in [0, 1] or a difference in [-1, 1]; `None` if nothing supports one.
        low: Lower end; `None` if there is no value.
        high: Upper end.
        basis: What it stands on.
        refs: The figures it was computed from.
    """

    value: float | None
    low: float | None
    high: float | None
    basis: Basis
    refs: tuple[EvidenceRef, ...] = ()

    def is_above(self, bound: float) -> bool:
        """Return whether the whole interval lies above `bound`; false without a value."""
        return self.low is not None and self.low > bound

    def is_below(self, bound: float) -> bool:
        """Return whether the whole interval lies below `bound`; false without a value."""
        return self.high is not None and self.high < bound

    @property
    def sd(self) -> float:
        """Return the standard deviation of a normal law with an interval of this width.

        Raises:
            ValueError: There is no value.
        """
        if self.low is None or self.high is None:
            raise ValueError("an estimate without a value has no standard deviation")
        return (self.high - self.low) / (2.0 * Z)


NO_ESTIMATE = Estimate(None, None, None, "rule")


def around(
    value: float,
    half: float,
    basis: Basis,
    refs: tuple[EvidenceRef, ...],
    *,
    lowest: float = 0.0,
) -> Estimate:
    """Return the estimate value +- half, kept within [lowest, 1]."""
    low, high = max(lowest, value - half), min(1.0, value + half)
    return Estimate(round(value, 6), round(low, 6), round(high, 6), basis, refs)


def wilson(p: float, n: float) -> tuple[float, float]:
    """Return the 90% Wilson interval of a proportion `p` of `n` independent answers.

    Source: Wilson, JASA 22 (1927) 209-212.
    """
    centre = (p + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z * math.sqrt(p * (1 - p) / n + Z**2 / (4 * n * n)) / (1 + Z**2 / n)
    return max(0.0, min(p, centre - half)), min(1.0, max(p, centre + half))


def difference(a: Estimate, b: Estimate) -> Estimate:
    """Return a - b with an interval for two independent estimates.

    Square-and-add of the two intervals. Questions asked of both would narrow it; without the
    pairs this is the wide, safe side. The basis is the weaker of the two.

    Source: Newcombe, Statistics in Medicine 17 (1998) 873-890, method 10.
    """
    if a.value is None or a.low is None or a.high is None:
        return NO_ESTIMATE
    if b.value is None or b.low is None or b.high is None:
        return NO_ESTIMATE
    value = a.value - b.value
    low = value - math.hypot(a.value - a.low, b.high - b.value)
    high = value + math.hypot(a.high - a.value, b.value - b.low)
    return Estimate(
        round(value, 6),
        round(max(-1.0, low), 6),
        round(min(1.0, high), 6),
        weakest(a.basis, b.basis),
        tuple(dict.fromkeys((*b.refs, *a.refs))),
    )


def mean_estimate(estimates: Sequence[Estimate]) -> Estimate:
    """Return the unweighted mean of accuracies of different tasks.

    Source: intervals by square-and-add, Zou and Donner, Statistics in Medicine 27 (2008)
        1693-1702.
    """
    known = [
        (estimate.value, estimate.low, estimate.high)
        for estimate in estimates
        if estimate.value is not None and estimate.low is not None and estimate.high is not None
    ]
    if not known:
        return NO_ESTIMATE
    n = len(known)
    mean = sum(value for value, _, _ in known) / n
    down = math.hypot(*(value - low for value, low, _ in known)) / n
    up = math.hypot(*(high - value for value, _, high in known)) / n
    refs = tuple(ref for estimate in estimates for ref in estimate.refs)
    bases: list[Basis] = [one.basis for one in estimates if one.value is not None]
    basis = weakest(*bases)
    return Estimate(round(mean, 6), round(mean - down, 6), round(mean + up, 6), basis, refs)


def weakest(*bases: Basis) -> Basis:
    """Return the weakest of some bases."""
    return max(bases, key=_ORDER.index)
