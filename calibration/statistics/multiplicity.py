"""P-values adjusted for how many were computed: Holm to claim, Benjamini-Hochberg to explore."""

from collections.abc import Sequence
from typing import Any, cast

from policies import InvalidInputError

__all__ = ["benjamini_hochberg", "holm"]


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted by Holm's step-down method, in the order given.

    Claiming whatever stays at or below alpha makes any false claim with a probability of at most
    alpha, however the tests depend on each other.

    Source: Holm, Scandinavian Journal of Statistics 6 (1979), 65-70.

    Args:
        p_values: P-values in [0, 1], one per hypothesis of the family.

    Raises:
        InvalidInputError: A value is outside of [0, 1].

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    _check(p_values)
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = highest
    return adjusted


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted by Benjamini and Hochberg's step-up method, in the order given.

    Of the findings that stay at or below alpha, on average at most a share alpha is false, for
    independent or positively dependent tests.

    Source: Benjamini and Hochberg, JRSS-B 57 (1995), 289-300, as
    `scipy.stats.false_discovery_control` has it.

    Args:
        p_values: P-values in [0, 1], one per hypothesis of the family.

    Raises:
        InvalidInputError: A value is outside of [0, 1].

    Example:
        >>> [round(p, 4) for p in benjamini_hochberg([0.01, 0.04, 0.03])]
        [0.03, 0.04, 0.04]
    """
    _check(p_values)
    if not p_values:
        return []
    from scipy import stats

    adjusted = cast("Any", stats.false_discovery_control)(list(p_values), method="bh")
    return [float(p) for p in adjusted]


def _check(p_values: Sequence[float]) -> None:
    for p in p_values:
        if not 0 <= p <= 1:
            raise InvalidInputError(f"p-value {p!r} is not between 0 and 1")
