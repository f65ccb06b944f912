"""Comparisons of two arms on the same questions."""

import math
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any, cast

from policies import InvalidInputError

from .intervals import (
    Interval,
    as_clustered,
    check_confidence,
    wilson_interval,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["mcnemar_exact", "paired_difference_interval", "paired_proportions_interval"]

_MIN_RESAMPLES = 100
_MAX_BATCH_VALUES = 2_000_000
"""Resampled values held at once: 16 MB."""


def mcnemar_exact(n_first_only: int, n_second_only: int, *, mid_p: bool = False) -> float:
    """Return the two-sided p-value of "both arms are right equally often".

    Only questions that exactly one arm got right tell; under the hypothesis each of them is a
    fair coin.

    Source: McNemar, Psychometrika 12 (1947), 153-157, with the binomial instead of the normal
    distribution; mid-p: Fagerland et al., BMC Medical Research Methodology 13:91 (2013).

    Args:
        n_first_only: Questions that only the first arm got right.
        n_second_only: Questions that only the second arm got right.
        mid_p: Count the observed split half. It is less conservative, and may exceed its level
            slightly.

    Returns:
        The p-value in [0, 1]; 1 without such questions, 0 where a float cannot hold it (all of
        more than a thousand such questions for one arm).

    Raises:
        InvalidInputError: A count is negative.

    Example:
        >>> round(mcnemar_exact(12, 2), 4)
        0.0129
    """
    if min(n_first_only, n_second_only) < 0:
        raise InvalidInputError(
            f"counts {n_first_only!r} and {n_second_only!r}: expected numbers >= 0"
        )
    smaller, n = min(n_first_only, n_second_only), n_first_only + n_second_only
    if n_first_only == n_second_only:
        # The mid-p of an even split is 1 minus half of that split's probability.
        return 1 - 0.5 * math.exp(_log_fair_split(smaller, n)) if mid_p and n else 1.0
    from scipy import special

    tail = 2 * float(special.bdtr(smaller, n, 0.5))
    return tail - math.exp(_log_fair_split(smaller, n)) if mid_p else min(1.0, tail)


def paired_proportions_interval(
    n_both: int, n_first_only: int, n_second_only: int, n_neither: int, confidence: float = 0.95
) -> Interval:
    """Return an interval of the first arm's accuracy minus the second's, for binary outcomes.

    Questions must be independent; if they share documents use `paired_difference_interval`.
    It keeps a width when the arms never disagree.

    Source: Newcombe, Statistics in Medicine 17 (1998), 2635-2650, method 10: Wilson intervals of
    both proportions, combined with a continuity-corrected correlation.

    Args:
        n_both: Questions both arms got right.
        n_first_only: Questions only the first got right.
        n_second_only: Questions only the second got right.
        n_neither: Questions neither got right.
        confidence: Nominal coverage in (0, 1).

    Returns:
        The interval, within [-1, 1]; without questions all of it, around NaN.

    Raises:
        InvalidInputError: A count is negative, or not `0 < confidence < 1`.

    Example:
        >>> low, high = paired_proportions_interval(14, 5, 0, 22)
        >>> f"{low:.3f} {high:.3f}"
        '0.011 0.226'
    """
    counts = (n_both, n_first_only, n_second_only, n_neither)
    if min(counts) < 0:
        raise InvalidInputError(f"counts {counts!r}: expected numbers >= 0")
    check_confidence(confidence)
    n = sum(counts)
    if n == 0:
        return Interval(math.nan, -1.0, 1.0, confidence)
    first = wilson_interval(n_both + n_first_only, n, confidence)
    second = wilson_interval(n_both + n_second_only, n, confidence)
    phi = _correlation(*counts)
    difference = (n_first_only - n_second_only) / n
    below = _combine(first.estimate - first.low, second.high - second.estimate, phi)
    above = _combine(first.high - first.estimate, second.estimate - second.low, phi)
    return Interval(
        difference, max(-1.0, difference - below), min(1.0, difference + above), confidence
    )


def paired_difference_interval(
    first: Sequence[float],
    second: Sequence[float],
    *,
    clusters: Sequence[Hashable] | None = None,
    confidence: float = 0.95,
    n_resamples: int = 9999,
    seed: int = 0,
) -> Interval:
    """Return a bootstrap interval of the mean of `first - second`, question by question.

    For tokens, costs, repeat means, and clustered outcomes. Whole clusters are resampled, and
    the interval is bias-corrected and accelerated (BCa). Equal input and seed give equal output.
    Intervals from fewer than about 20 clusters are too narrow; for binary outcomes of
    independent questions use `paired_proportions_interval`.

    Source: Efron, JASA 82 (1987), 171-185, as `scipy.stats.bootstrap` has it.

    Args:
        first: One value per question, shape `(n,)`.
        second: The other arm's values of the same questions in the same order, shape `(n,)`.
        clusters: What each question belongs to, shape `(n,)`; by default to itself.
        confidence: Nominal coverage in (0, 1).
        n_resamples: Bootstrap samples.
        seed: Seed of the resampling.

    Returns:
        The interval, in the unit of the values; unbounded below two clusters, around NaN without
        values; without width if all clusters have the same mean difference.

    Raises:
        InvalidInputError: Lengths differ, a value is not finite, `n_resamples` is below 100,
            or not `0 < confidence < 1`.

    Example:
        >>> interval = paired_difference_interval([5.0, 7, 9, 8, 6], [4.0, 5, 9, 6, 5])
        >>> interval.estimate, interval.low > 0
        (1.2, True)
    """
    check_confidence(confidence)
    if n_resamples < _MIN_RESAMPLES:
        raise InvalidInputError(f"n_resamples={n_resamples!r}: expected {_MIN_RESAMPLES} or more")
    if len(first) != len(second):
        raise InvalidInputError(f"{len(first)} values against {len(second)}: they must be paired")
    labels = range(len(first)) if clusters is None else clusters
    first_values, index, n_clusters = as_clustered(first, labels)
    second_values, _, _ = as_clustered(second, labels)
    differences = first_values - second_values
    estimate = float(differences.mean()) if differences.size else math.nan
    if n_clusters < 2:
        return Interval(estimate, -math.inf, math.inf, confidence)
    low, high = _bootstrap_ends(differences, index, n_clusters, confidence, n_resamples, seed)
    return Interval(estimate, low, high, confidence)


def _bootstrap_ends(
    differences: "NDArray[np.float64]",
    index: "NDArray[np.intp]",
    n_clusters: int,
    confidence: float,
    n_resamples: int,
    seed: int,
) -> tuple[float, float]:
    import numpy as np
    from scipy import stats

    bootstrap = cast("Any", stats.bootstrap)

    sums = np.bincount(index, weights=differences, minlength=n_clusters)
    sizes = np.bincount(index, minlength=n_clusters).astype(np.float64)
    if np.ptp(sums / sizes) == 0:
        return float(differences.mean()), float(differences.mean())

    def ratio(
        sums: "NDArray[np.float64]", sizes: "NDArray[np.float64]", axis: int = -1
    ) -> "NDArray[np.float64]":
        return np.asarray(sums.sum(axis=axis) / sizes.sum(axis=axis))

    ends = bootstrap(
        (sums, sizes),
        ratio,
        paired=True,
        vectorized=True,
        confidence_level=confidence,
        n_resamples=n_resamples,
        batch=max(1, _MAX_BATCH_VALUES // n_clusters),
        method="BCa",
        # `rng` replaces this name from scipy 1.15 on; change it when that is the oldest we take.
        random_state=np.random.default_rng(seed),
    ).confidence_interval
    return float(ends.low), float(ends.high)


def _correlation(n_both: int, n_first: int, n_second: int, n_neither: int) -> float:
    """Return the phi coefficient, shrunk by n/2 where it is positive."""
    margins = (
        (n_both + n_first) * (n_second + n_neither) * (n_both + n_second) * (n_first + n_neither)
    )
    if margins == 0:
        return 0.0
    agreement = n_both * n_neither - n_first * n_second
    n = n_both + n_first + n_second + n_neither
    if agreement > 0:
        return max(agreement - n / 2, 0) / math.sqrt(margins)
    return agreement / math.sqrt(margins)


def _combine(first: float, second: float, phi: float) -> float:
    return math.sqrt(max(first * first - 2 * phi * first * second + second * second, 0.0))


def _log_fair_split(k: int, n: int) -> float:
    """Return the log probability of k heads in n fair tosses."""
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) - n * math.log(2)
