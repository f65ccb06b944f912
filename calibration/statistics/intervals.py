"""Intervals for one proportion and for one mean: Wilson to show, Clopper-Pearson to guarantee."""

import math
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

from policies import InvalidInputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "Interval",
    "clopper_pearson_interval",
    "clustered_mean_interval",
    "clustered_stderr",
    "wilson_interval",
]


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with a two-sided confidence interval; unpacks as `low, high`.

    Attributes:
        estimate: The point estimate; NaN without data.
        low: Lower end.
        high: Upper end.
        confidence: Nominal coverage in (0, 1).
    """

    estimate: float
    low: float
    high: float
    confidence: float = 0.95

    def __iter__(self) -> Iterator[float]:
        """Yield `low` and `high`."""
        yield self.low
        yield self.high

    @property
    def width(self) -> float:
        """`high - low`, in the unit of the estimate."""
        return self.high - self.low


def wilson_interval(k: float, n: float, confidence: float = 0.95) -> Interval:
    """Return the Wilson score interval of a proportion; the one to show.

    Its coverage is near the nominal one on average, below it for some proportions; see
    `clopper_pearson_interval` for one that never is.

    Source: E. B. Wilson, JASA 22 (1927), 209-212; recommended by Brown, Cai and DasGupta,
    Statistical Science 16 (2001), 101-133.

    Args:
        k: Successes.
        n: Trials; 0 gives the interval (0, 1) around NaN.
        confidence: Nominal coverage in (0, 1).

    Raises:
        InvalidInputError: Not `0 <= k <= n`, or not `0 < confidence < 1`.

    Example:
        >>> low, high = wilson_interval(45, 50)
        >>> f"{low:.3f} {high:.3f}"
        '0.786 0.957'
    """
    _check_counts(k, n)
    z = normal_quantile(confidence)
    if n == 0:
        return Interval(math.nan, 0.0, 1.0, confidence)
    p = k / n
    center = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    # At the ends the bound is exact; elsewhere rounding must not push it past the estimate.
    low = 0.0 if k == 0 else min(p, center - half)
    high = 1.0 if k == n else max(p, center + half)
    return Interval(p, low, high, confidence)


def clopper_pearson_interval(k: int, n: int, confidence: float = 0.95) -> Interval:
    """Return the exact binomial interval of a proportion; the one to guarantee with.

    It covers at least `confidence` for every proportion and n. A one-sided bound of confidence
    c is the end of the two-sided interval of confidence 2c - 1.

    Source: C. J. Clopper and E. S. Pearson, Biometrika 26 (1934), 404-413.

    Args:
        k: Successes.
        n: Trials; 0 gives the interval (0, 1) around NaN.
        confidence: Coverage in (0, 1).

    Raises:
        InvalidInputError: Not `0 <= k <= n`, or not `0 < confidence < 1`.

    Example:
        >>> low, high = clopper_pearson_interval(0, 59, confidence=0.90)
        >>> f"{high:.3f}"
        '0.050'
    """
    _check_counts(k, n)
    check_confidence(confidence)
    if n == 0:
        return Interval(math.nan, 0.0, 1.0, confidence)
    # scipy.special takes a third of the time to import that scipy.stats takes.
    from scipy import special

    tail = (1 - confidence) / 2
    low = 0.0 if k == 0 else float(special.betaincinv(k, n - k + 1, tail))
    high = 1.0 if k == n else float(special.betainccinv(k + 1, n - k, tail))
    return Interval(k / n, low, high, confidence)


def clustered_stderr(values: Sequence[float], clusters: Sequence[Hashable]) -> float:
    """Return the cluster-robust standard error of a mean.

    `sqrt(C / (C - 1) * sum over clusters of (sum of residuals)^2) / n` for C clusters and n
    values. With one cluster per value it is the usual standard error.

    Source: Miller, arXiv 2411.00640, section 2.2, with the small-sample factor C / (C - 1) that
    Inspect applies.

    Args:
        values: Scores or costs, shape `(n,)`.
        clusters: What each value belongs to, shape `(n,)`: the question for repeated answers,
            the document for questions that share one.

    Returns:
        The standard error, in the unit of the values; infinite below two clusters.

    Raises:
        InvalidInputError: Lengths differ, or a value is not finite.
    """
    data, index, n_clusters = as_clustered(values, clusters)
    return _stderr(data, index, n_clusters)


def clustered_mean_interval(
    values: Sequence[float], clusters: Sequence[Hashable], confidence: float = 0.95
) -> Interval:
    """Return a t interval of a mean whose values come in clusters.

    Repeated answers to one question are no new questions: a standard error over all answers
    covers 31-52% instead of 95% (30 questions, 10 repeats). The t distribution has one degree of
    freedom less than there are clusters.

    Source: Miller, arXiv 2411.00640, section 2.2; see `clustered_stderr`.

    Args:
        values: Scores or costs, shape `(n,)`.
        clusters: What each value belongs to, shape `(n,)`.
        confidence: Nominal coverage in (0, 1).

    Returns:
        The interval; unbounded below two clusters, around NaN without values. If all cluster
        sums agree it has no width: for few binary values use an interval for proportions.

    Raises:
        InvalidInputError: Lengths differ, a value is not finite, or not `0 < confidence < 1`.

    Example:
        >>> interval = clustered_mean_interval([1, 1, 0, 1, 0, 0], ["a", "a", "b", "b", "c", "c"])
        >>> f"{interval.estimate:.2f} {interval.low:.2f} {interval.high:.2f}"
        '0.50 -0.74 1.74'
    """
    check_confidence(confidence)
    data, index, n_clusters = as_clustered(values, clusters)
    estimate = float(data.mean()) if data.size else math.nan
    if n_clusters < 2:
        return Interval(estimate, -math.inf, math.inf, confidence)
    from scipy import special

    quantile = float(special.stdtrit(n_clusters - 1, 0.5 + confidence / 2))
    half = quantile * _stderr(data, index, n_clusters)
    return Interval(estimate, estimate - half, estimate + half, confidence)


def normal_quantile(confidence: float) -> float:
    """Return how many standard deviations hold `confidence` of a normal distribution.

    Raises:
        InvalidInputError: Not `0 < confidence < 1`.
    """
    check_confidence(confidence)
    return NormalDist().inv_cdf(0.5 + confidence / 2)


def check_confidence(confidence: float) -> None:
    """Refuse a confidence outside (0, 1).

    Raises:
        InvalidInputError: It is.
    """
    if not 0 < confidence < 1:
        raise InvalidInputError(
            f"confidence={confidence!r} is not between 0 and 1", hint="write 0.95 for 95%"
        )


def as_clustered(
    values: Sequence[float], clusters: Sequence[Hashable]
) -> "tuple[NDArray[np.float64], NDArray[np.intp], int]":
    """Return values, the number of each one's cluster, and how many clusters there are.

    Raises:
        InvalidInputError: Lengths differ, or a value is not finite.
    """
    import numpy as np

    if len(values) != len(clusters):
        raise InvalidInputError(f"{len(values)} values for {len(clusters)} cluster labels")
    data = np.asarray(values, dtype=np.float64)
    if data.ndim != 1 or not np.all(np.isfinite(data)):
        raise InvalidInputError("values must be a flat sequence of finite numbers")
    numbers: dict[Hashable, int] = {}
    index = np.array([numbers.setdefault(c, len(numbers)) for c in clusters], dtype=np.intp)
    return data, index, len(numbers)


def _stderr(data: "NDArray[np.float64]", index: "NDArray[np.intp]", n_clusters: int) -> float:
    import numpy as np

    if n_clusters < 2:
        return math.inf
    sums = np.bincount(index, weights=data - data.mean(), minlength=n_clusters)
    return float(np.sqrt((sums @ sums) * n_clusters / (n_clusters - 1))) / len(data)


def _check_counts(k: float, n: float) -> None:
    if not 0 <= k <= n:
        raise InvalidInputError(f"{k!r} successes in {n!r} trials: expected 0 <= k <= n")
