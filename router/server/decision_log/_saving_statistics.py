"""The statistics of a log's savings, each with its gradient; see `Statistic`.

Columns of the two that are rescaled: tokens used and expected where the reference arm's expectation
is checked, tokens used where that arm answered, tokens used and expected where another one did,
and the number of requests.
"""

import numpy as np

from ._ratios import Floats, Statistic

__all__ = ["log_ratio", "mean_saving", "rescaled_remainder", "rescaled_saving"]


def log_ratio(above: int, below: int) -> Statistic:
    """Return the logarithm of one column's sum over another's, as a statistic."""

    def statistic(sums: Floats) -> tuple[Floats, Floats]:
        gradient = np.zeros_like(sums)
        gradient[..., above] = 1.0 / sums[..., above]
        gradient[..., below] = -1.0 / sums[..., below]
        return np.log(sums[..., above]) - np.log(sums[..., below]), gradient

    return statistic


def mean_saving(sums: Floats) -> tuple[Floats, Floats]:
    """Return the mean saving of used, reference and n."""
    used, reference, n = np.moveaxis(sums, -1, 0)
    mean = (reference - used) / n
    return mean, np.stack([-1.0 / n, 1.0 / n, -mean / n], axis=-1)


def rescaled_remainder(sums: Floats) -> tuple[Floats, Floats]:
    """Return the logarithm of what is left of always reasoning, its expectation corrected.

    Tokens used, over those that the reference arm used where it answered and, where it did not,
    those it was expected to use times the ratio of used to expected ones.
    """
    checked, expected, alone, other, other_expected, _ = np.moveaxis(sums, -1, 0)
    used = other + alone
    ratio = checked / expected
    reference = alone + ratio * other_expected
    gradient = np.zeros_like(sums)
    gradient[..., 0] = -other_expected / expected / reference
    gradient[..., 1] = ratio * other_expected / expected / reference
    gradient[..., 2] = 1.0 / used - 1.0 / reference
    gradient[..., 3] = 1.0 / used
    gradient[..., 4] = -ratio / reference
    return np.log(used) - np.log(reference), gradient


def rescaled_saving(sums: Floats) -> tuple[Floats, Floats]:
    """Return the mean saving, the expectation corrected as in `rescaled_remainder`."""
    checked, expected, _, other, other_expected, n = np.moveaxis(sums, -1, 0)
    ratio = checked / expected
    mean = (ratio * other_expected - other) / n
    gradient = np.zeros_like(sums)
    gradient[..., 0] = other_expected / expected / n
    gradient[..., 1] = -ratio * other_expected / expected / n
    gradient[..., 3] = -1.0 / n
    gradient[..., 4] = ratio / n
    gradient[..., 5] = -mean / n
    return mean, gradient
