"""Tests and bounds for the mean of bounded values that hold at every sample size.

The test is a gambler's: whoever bets, before each value is turned over, that it will be small
wins on average nothing if the mean is as large as the hypothesis says. Much wealth is therefore
evidence against it, and Ville's inequality turns wealth into a p-value without any assumption on
the distribution but its bounds. The bets adapt to the variance, which is why few discordant
questions need few questions.

Hoeffding-Bentkus and the exact binomial test are here to compare with.
"""

import math
from typing import TYPE_CHECKING, NamedTuple

from policies import InvalidInputError

from .intervals import check_confidence

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "Wealth",
    "bet_against_mean",
    "betting_p_values",
    "betting_upper_bound",
    "binomial_p_values",
    "hoeffding_bentkus_p_values",
    "largest_standing",
]

_MOST_AT_STAKE = 0.9
"""Largest share of the wealth that one value may cost. All of it would let one bad value end the
test; half of it needs twice as many values where nothing bad ever happens. Between .75 and .99 the
power on the cases of `benchmarks/guarantee.py` differs by a few points."""

_NEXT_TARGET = math.log(10)
_N_CELLS = 64


class Wealth(NamedTuple):
    """What bets against a hypothesis have won, as natural logarithms, shape `(n_columns,)`.

    Attributes:
        log_final: After the last value. Its exponential has a mean of at most 1 under the
            hypothesis: an e-value.
        log_peak: The highest on the way, 0 at least. Under the hypothesis the chance that it
            reaches log(1/alpha) is at most alpha.
    """

    log_final: "NDArray[np.float64]"
    log_peak: "NDArray[np.float64]"


def bet_against_mean(
    values: "ArrayLike",
    null_mean: "ArrayLike",
    *,
    low: float,
    high: float,
    alpha: float = 0.05,
    seed: int = 0,
) -> Wealth:
    """Bet against "the mean of a column is at least `null_mean`", column by column.

    The values are turned over in a random order that depends on `seed` and the number of rows
    only, the same for every column. Before value t of n a stake is fixed from the values before
    it, `stake = sqrt(2 (target - wealth) / ((n - t) variance))` in logarithms, and the wealth is
    multiplied by `1 - stake (value - null_mean)`. The target is 1/alpha: the stake is the one
    that reaches it from here in the values that are left if they fall as those so far. Once it is
    reached, ten times as much is the next. The variance is what the values so far would have if rare
    values of `high` were added until their mean is `null_mean`: the mean square around it, plus the
    gap to it times `high - null_mean`. For 0/1 losses that is the binomial variance of the
    hypothesis, and the power is that of the exact binomial test. The first pseudo-value has the
    largest variance the bounds allow (Bhatia and Davis 2000).

    It holds for independent values of one distribution at least, whatever alpha; that only says
    where the bets aim. `n_columns` hypotheses cost n vectorised steps, 0.1 to 0.2 s for 5,000
    values and 80 columns.

    Source: Waudby-Smith and Ramdas, JRSS-B 86 (2024), 1-27 (arXiv 2010.09686), section 4, for the
    martingale; the stakes are those of Voracek and Orabona, STaR-Bets, NeurIPS 2025 (arXiv
    2505.22422), with a variance and a cap of our own.

    Args:
        values: Shape `(n,)` or `(n, n_columns)`, all in [low, high].
        null_mean: Smallest mean under the hypothesis, in (low, high); a number or one a column.
        low: Smallest value possible; fixed before looking at the data.
        high: Largest value possible; fixed before looking at the data.
        alpha: Error rate that the bets aim at, in (0, 1).
        seed: Seed of the order; fixed before looking at the data.

    Raises:
        InvalidInputError: A value is outside of its bounds or not finite, or so is a mean.
    """
    import numpy as np

    check_confidence(1 - alpha)
    columns = _columns(values, low, high)
    n, n_columns = columns.shape
    null = np.broadcast_to(np.asarray(null_mean, dtype=np.float64), (n_columns,))
    if not np.all((low < null) & (null < high)):
        raise InvalidInputError(
            f"null_mean={null_mean!r}: expected means strictly between {low:g} and {high:g}"
        )
    if n == 0:
        return Wealth(np.zeros(n_columns), np.zeros(n_columns))
    order = np.random.default_rng(seed).permutation(n)
    excess = columns[order] - null
    largest = _MOST_AT_STAKE / (high - null)
    # Sums over the values before each row; the first row sees the pseudo-value only.
    squares = np.cumsum(np.vstack([(high - null) * (null - low), excess[:-1] ** 2]), axis=0)
    gaps = -np.cumsum(np.vstack([np.zeros(n_columns), excess[:-1]]), axis=0)
    spread = squares + (high - null) * np.maximum(gaps, 0.0)
    steps = np.arange(n, dtype=np.float64)[:, np.newaxis]
    # stake^2 = pace * (target - wealth)
    pace = 2 * (steps + 1) / ((n - steps) * spread)
    wealth, peak = np.zeros(n_columns), np.zeros(n_columns)
    target = np.full(n_columns, -math.log(alpha))
    for row, speed in zip(excess, pace, strict=True):
        stake = np.minimum(np.sqrt((target - wealth) * speed), largest)
        wealth += np.log1p(-stake * row)
        np.maximum(peak, wealth, out=peak)
        is_there = wealth >= target
        if is_there.any():
            target[is_there] = wealth[is_there] + _NEXT_TARGET
    return Wealth(wealth, peak)


def betting_p_values(
    values: "ArrayLike",
    null_mean: "ArrayLike",
    *,
    low: float,
    high: float,
    alpha: float = 0.05,
    seed: int = 0,
) -> "NDArray[np.float64]":
    """Return p-values of "the mean is at least `null_mean`", shape `(n_columns,)`.

    `1 / peak wealth` of `bet_against_mean`: valid for every bounded distribution and every n, by
    Ville's inequality. Columns may depend on each other in any way.

    Source: see `bet_against_mean`.

    Args:
        values: Shape `(n,)` or `(n, n_columns)`, all in [low, high].
        null_mean: Smallest mean under the hypothesis; a number or one a column.
        low: Smallest value possible.
        high: Largest value possible.
        alpha: Error rate that the bets aim at, in (0, 1).
        seed: Seed of the order.

    Raises:
        InvalidInputError: A value is outside of its bounds or not finite, or so is a mean.

    Example:
        >>> losses = [0.0] * 380 + [1.0] * 10 + [-1.0] * 10
        >>> f"{betting_p_values(losses, 0.05, low=-1, high=1)[0]:.4f}"
        '0.0048'
    """
    import numpy as np

    peak = bet_against_mean(values, null_mean, low=low, high=high, alpha=alpha, seed=seed).log_peak
    return np.exp(-peak)


def betting_upper_bound(
    values: "ArrayLike", *, low: float, high: float, confidence: float = 0.95, seed: int = 0
) -> float:
    """Return an upper confidence bound of a mean, one-sided.

    `largest_standing` for `betting_p_values`.

    Source: see `bet_against_mean`.

    Args:
        values: Shape `(n,)`, all in [low, high].
        low: Smallest value possible.
        high: Largest value possible.
        confidence: Coverage in (0, 1).
        seed: Seed of the order.

    Returns:
        The bound, in (low, high]; `high` without values.

    Raises:
        InvalidInputError: A value is outside of its bounds or not finite.

    Example:
        >>> losses = [0.0] * 380 + [1.0] * 10 + [-1.0] * 10
        >>> f"{betting_upper_bound(losses, low=-1, high=1):.3f}"
        '0.018'
    """
    import numpy as np

    check_confidence(confidence)
    column = _columns(values, low, high)
    if column.shape[1] != 1:
        raise InvalidInputError(f"{column.shape[1]} columns: expected the values of one mean")

    def p_values(means: "NDArray[np.float64]") -> "NDArray[np.float64]":
        table = np.broadcast_to(column, (len(column), len(means)))
        return betting_p_values(table, means, low=low, high=high, alpha=1 - confidence, seed=seed)

    return largest_standing(p_values, low, high, alpha=1 - confidence)


def largest_standing(
    p_values: "Callable[[NDArray[np.float64]], NDArray[np.float64]]",
    low: float,
    high: float,
    *,
    alpha: float,
) -> float:
    """Return the largest parameter that a test does not reject: an upper confidence bound.

    Searched on a grid between `low` and `high`, then on a finer one in the cell found, and rounded
    up to it; the resolution is 1/4096 of the range.

    Args:
        p_values: Maps parameters, shape `(n_columns,)`, to p-values of "it is at least that".
        low: Lower end of the range; never tested.
        high: Upper end of the range; never tested, and returned if nothing is rejected.
        alpha: Error rate, in (0, 1).
    """
    import numpy as np

    for _ in range(2):
        grid = np.linspace(low, high, _N_CELLS + 1)
        standing = np.flatnonzero(p_values(grid[1:-1]) > alpha)
        last = int(standing[-1]) + 1 if len(standing) else 0
        low, high = float(grid[last]), float(grid[last + 1])
    return high


def hoeffding_bentkus_p_values(
    values: "ArrayLike", null_mean: "ArrayLike", *, low: float, high: float
) -> "NDArray[np.float64]":
    """Return Hoeffding-Bentkus p-values of "the mean is at least `null_mean`".

    The smaller of Hoeffding's tail in its Kullback-Leibler form and of e times the binomial tail
    (Bentkus). They know the bounds but not the variance: for losses in [-1, 1] with few
    discordant questions they are far weaker than bets.

    Source: Angelopoulos et al., Learn then Test (arXiv 2110.01052), proposition 2.

    Args:
        values: Shape `(n,)` or `(n, n_columns)`, all in [low, high].
        null_mean: Smallest mean under the hypothesis, in (low, high).
        low: Smallest value possible.
        high: Largest value possible.

    Returns:
        Shape `(n_columns,)`.

    Raises:
        InvalidInputError: A value is outside of its bounds or not finite.

    Example:
        >>> losses = [0.0] * 380 + [1.0] * 10 + [-1.0] * 10
        >>> f"{hoeffding_bentkus_p_values(losses, 0.05, low=-1, high=1)[0]:.2f}"
        '0.46'
    """
    import numpy as np
    from scipy import special

    columns = _columns(values, low, high)
    n = len(columns)
    if n == 0:
        return np.ones(int(columns.shape[1]))
    mean = (columns.mean(axis=0) - low) / (high - low)
    null = (np.asarray(null_mean, dtype=np.float64) - low) / (high - low)
    below = np.minimum(mean, null)
    divergence = special.rel_entr(below, null) + special.rel_entr(1 - below, 1 - null)
    # A tolerance, so that rounding never takes a whole count off the binomial tail.
    count = np.ceil(n * mean - 1e-9)
    tail = math.e * special.bdtr(count, n, null)
    smallest = np.minimum(np.exp(-n * divergence), tail)
    return np.asarray(np.minimum(1.0, smallest), dtype=np.float64)


def binomial_p_values(n_bad: "ArrayLike", n: int, null_mean: "ArrayLike") -> "NDArray[np.float64]":
    """Return exact p-values of "the rate is at least `null_mean`" for 0/1 losses.

    Source: the binomial distribution; inverted it is the Clopper-Pearson bound.

    Args:
        n_bad: Losses among n, one a column.
        n: Trials.
        null_mean: Smallest rate under the hypothesis, in (0, 1).

    Raises:
        InvalidInputError: Not `0 <= n_bad <= n`.

    Example:
        >>> f"{binomial_p_values(0, 59, 0.05):.4f}"
        '0.0485'
    """
    import numpy as np
    from scipy import special

    counts = np.asarray(n_bad, dtype=np.float64)
    if np.any((counts < 0) | (counts > n)):
        raise InvalidInputError(f"{n_bad!r} losses in {n!r} trials: expected 0 <= n_bad <= n")
    return np.asarray(special.bdtr(counts, n, np.asarray(null_mean, dtype=np.float64)))


def _columns(values: "ArrayLike", low: float, high: float) -> "NDArray[np.float64]":
    """Return the values as `(n, n_columns)`.

    Raises:
        InvalidInputError: They are no table, or one is outside of its bounds.
    """
    import numpy as np

    table = np.asarray(values, dtype=np.float64)
    if table.ndim not in (1, 2):
        raise InvalidInputError(f"values of shape {table.shape}: expected one or two axes")
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise InvalidInputError(f"low={low!r}, high={high!r}: expected finite numbers, low < high")
    # Sums and products of exact bounds may be off in the last digits.
    slack = 1e-9 * (high - low)
    if not np.all((table >= low - slack) & (table <= high + slack)):
        raise InvalidInputError(f"a value is not a number in [{low:g}, {high:g}]")
    clipped = np.clip(table, low, high)
    return clipped[:, np.newaxis] if table.ndim == 1 else clipped
