"""Quantiles of a sample with intervals that assume no distribution."""

import math
from collections.abc import Sequence

from policies import InvalidInputError

from ..statistics import Interval

__all__ = ["quantile_interval"]


def quantile_interval(
    values: Sequence[float], probability: float, confidence: float = 0.95
) -> Interval:
    """Return a quantile and its interval between two order statistics.

    The number of values below the true quantile is binomial, so the two order statistics whose
    ranks cut at most (1 - c) / 2 off each tail hold the quantile with at least confidence c,
    whatever the distribution of independent values is. Where the sample is too small for a rank
    to exist (the upper end of a 95% quantile below 72 values), that end is infinite, or 0 below.

    Source: H. A. David and H. N. Nagaraja, Order Statistics, 3rd edition, 2003, section 7.1.

    Args:
        values: Finite numbers >= 0, such as seconds; at least one.
        probability: Which quantile, in (0, 1).
        confidence: Nominal coverage in (0, 1).

    Raises:
        InvalidInputError: An argument is out of range.

    Example:
        >>> interval = quantile_interval(list(range(1, 101)), 0.5)
        >>> interval.estimate, interval.low, interval.high
        (50.0, 40.0, 61.0)
    """
    if not values or not all(math.isfinite(value) and value >= 0 for value in values):
        raise InvalidInputError("a quantile needs at least one value, all finite and >= 0")
    if not (0 < probability < 1 and 0 < confidence < 1):
        raise InvalidInputError(
            f"probability={probability!r}, confidence={confidence!r}: expected between 0 and 1"
        )
    from scipy import special

    ordered = sorted(float(value) for value in values)
    n, tail = len(ordered), (1 - confidence) / 2
    # below[k] = P(at most k values lie below the quantile)
    below = [float(special.bdtr(k, n, probability)) for k in range(n)]
    # The low end has rank l where at most l-1 values below has probability <= tail.
    low_rank = sum(1 for chance in below if chance <= tail)
    # The high end has the least rank u with P(at least u values below) <= tail.
    high_rank = next((k + 1 for k in range(n) if 1 - below[k] <= tail), None)
    # Rounding must not move the rank past a whole product such as 0.95 * 20.
    rank = max(1, math.ceil(n * probability - 1e-9))
    return Interval(
        estimate=ordered[rank - 1],
        low=ordered[low_rank - 1] if low_rank else 0.0,
        high=ordered[high_rank - 1] if high_rank is not None else math.inf,
        confidence=confidence,
    )
