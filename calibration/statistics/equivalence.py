"""Showing that two arms do *not* differ: two one-sided tests, and equal distributions."""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from policies import InvalidInputError

from .intervals import Interval, check_confidence
from .paired import paired_difference_interval, paired_proportions_interval

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Equivalence", "PairedCounts", "equivalence_test", "same_distribution"]

_MIN_CLUSTERS = 20


class PairedCounts(NamedTuple):
    """Binary outcomes of two arms on the same questions.

    Attributes:
        n_both: Questions both arms got right.
        n_first_only: Questions only the first got right.
        n_second_only: Questions only the second got right.
        n_neither: Questions neither got right.
    """

    n_both: int
    n_first_only: int
    n_second_only: int
    n_neither: int


@dataclass(frozen=True, slots=True)
class Equivalence:
    """What two one-sided tests found.

    Attributes:
        is_equivalent: Whether the whole interval lies within the margin.
        interval: First minus second; its confidence is `2 c - 1` for tests at level `1 - c`.
        margin: Largest difference that still counts as none, in the unit of the values.
        n: Questions compared.
    """

    is_equivalent: bool
    interval: Interval
    margin: float
    n: int


def equivalence_test(
    differences: PairedCounts | Sequence[float],
    margin: float,
    confidence: float = 0.95,
    *,
    clusters: Sequence[Hashable] | None = None,
    n_resamples: int = 9999,
    seed: int = 0,
) -> Equivalence:
    """Test whether two arms differ by less than a margin on the same questions.

    Two one-sided tests at level `1 - confidence` each: the arms are equivalent if the interval of
    confidence `2 confidence - 1` lies within (-margin, margin). "Not significantly different" is
    no such finding; few questions give it to any two arms.

    Binary outcomes come as `PairedCounts` and take Newcombe's interval, which keeps a width where
    the arms never disagree. Other values come as differences and take the BCa bootstrap; below 20
    questions (or clusters) its intervals are too narrow and nothing is found equivalent.

    Source: Schuirmann, Journal of Pharmacokinetics and Biopharmaceutics 15 (1987), 657-680; the
    intervals are those of `paired_proportions_interval` and `paired_difference_interval`.

    Args:
        differences: Counts, or the first arm's value minus the second's per question, shape
            `(n,)`.
        margin: Largest difference that counts as none, positive, in the unit of the values.
        confidence: 1 minus the level of each one-sided test, in (0.5, 1).
        clusters: What each question belongs to, shape `(n,)`; for differences only.
        n_resamples: Bootstrap samples.
        seed: Seed of the resampling.

    Raises:
        InvalidInputError: The margin is not positive, the confidence not in (0.5, 1), counts are
            given clusters, or the data are unusable.

    Example:
        >>> equivalence_test(PairedCounts(230, 6, 5, 159), margin=0.03).is_equivalent
        True
        >>> equivalence_test(PairedCounts(23, 1, 0, 16), margin=0.03).is_equivalent
        False
    """
    check_confidence(confidence)
    if confidence <= 0.5:
        raise InvalidInputError(f"confidence={confidence!r}: expected more than 0.5")
    if not (margin > 0 and math.isfinite(margin)):
        raise InvalidInputError(f"margin={margin!r}: expected a positive number")
    inner = 2 * confidence - 1
    if isinstance(differences, PairedCounts):
        if clusters is not None:
            raise InvalidInputError(
                "counts do not tell which question is in which cluster",
                hint="give differences of -1, 0 and 1 with their clusters",
            )
        interval = paired_proportions_interval(*differences, inner)
        n, is_enough = sum(differences), True
    else:
        n = len(differences)
        interval = paired_difference_interval(
            differences,
            [0.0] * n,
            clusters=clusters,
            confidence=inner,
            n_resamples=n_resamples,
            seed=seed,
        )
        is_enough = len(set(range(n) if clusters is None else clusters)) >= _MIN_CLUSTERS
    is_within = -margin < interval.low and interval.high < margin
    return Equivalence(is_enough and is_within, interval, margin, n)


def same_distribution(
    first: Sequence[float], second: Sequence[float], *, n_resamples: int = 9999, seed: int = 0
) -> float:
    """Return the p-value of "both samples come from one distribution" (Kolmogorov-Smirnov).

    Without ties it is `scipy.stats.ks_2samp`. Lengths in tokens do tie, which makes that p-value
    too large; then the same statistic is compared with random divisions of all values into two
    samples, which is exact for ties too. Samples must be independent of each other; for answers
    to the same questions, which resemble each other, the p-value errs to the large side.

    Source: Kolmogorov-Smirnov as in scipy; permutation p-value `(1 + hits) / (1 + resamples)`,
    Phipson and Smyth, Statistical Applications in Genetics 9:39 (2010).

    Args:
        first: Values, shape `(n,)`, at least one.
        second: Values, shape `(m,)`, at least one.
        n_resamples: Random divisions; at least 100.
        seed: Seed of the divisions.

    Returns:
        The p-value in (0, 1].

    Raises:
        InvalidInputError: A sample is empty or has a value that is not finite, or `n_resamples`
            is below 100.

    Example:
        >>> same_distribution([3, 5, 5, 8, 9], [3, 5, 5, 8, 9])
        1.0
    """
    import numpy as np

    if n_resamples < 100:
        raise InvalidInputError(f"n_resamples={n_resamples!r}: expected 100 or more")
    if not len(first) or not len(second):
        raise InvalidInputError("both samples need at least one value")
    values = np.concatenate([np.asarray(first, float), np.asarray(second, float)])
    if not np.all(np.isfinite(values)):
        raise InvalidInputError("values must be finite numbers")
    found, index, counts = np.unique(values, return_inverse=True, return_counts=True)
    if len(found) == len(values):
        from scipy import stats

        return float(cast("Any", stats.ks_2samp)(first, second).pvalue)
    n, m = len(first), len(second)
    observed = np.bincount(index[:n], minlength=len(found))
    # Dividing at random draws, value by value, how many of its copies fall to the first sample.
    drawn = np.random.default_rng(seed).multivariate_hypergeometric(
        counts, n, size=n_resamples, method="marginals"
    )
    distances = _distance(drawn, counts, n, m)
    # Equal distances may differ in the last digit.
    hits = int((distances >= _distance(observed, counts, n, m) - 1e-12).sum())
    return (1 + hits) / (1 + n_resamples)


def _distance(
    part: "NDArray[np.int64]", counts: "NDArray[np.int64]", n: int, m: int
) -> "NDArray[np.float64]":
    """Return the largest distance between both samples' distribution functions.

    `part` holds how often the first sample has each value, shape `(..., n_values)`.
    """
    import numpy as np

    # part: (..., n_values) -> (...)
    return np.abs(np.cumsum(part / n - (counts - part) / m, axis=-1)).max(axis=-1)
