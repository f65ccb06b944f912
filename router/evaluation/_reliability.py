"""Are the probabilities right? Reliability tables, and the error that pure noise would show."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration.statistics import clustered_mean_interval

from ._resampling import GroupBootstrap, group_sums

__all__ = [
    "Binned",
    "Reliability",
    "ReliabilityBin",
    "bin_residuals",
    "pooled_residuals",
    "reliability",
    "reliability_tables",
]

_N_BINS = 10
_N_DRAWS = 2000
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Predictions of about the same probability.

    Attributes:
        p: Their mean.
        accuracy: Share of correct answers.
        ci_low: Lower end of its 95% interval, clustered by group.
        ci_high: Upper end.
        n: Predictions.
    """

    p: float
    accuracy: float
    ci_low: float
    ci_high: float
    n: int


@dataclass(frozen=True, slots=True)
class Reliability:
    """How far probabilities of one arm, or of all, are from what happened.

    Attributes:
        arm: The arm, or `all arms`.
        ece: Expected calibration error over bins of equal mass.
        ece_of_noise: What perfectly calibrated probabilities would show on average on as many
            questions, with the spread that was measured in each bin.
        ece_of_noise_high: What they would exceed in one of twenty cases only.
        n: Predictions with an outcome.
        bins: From improbable to probable.
    """

    arm: str
    ece: float
    ece_of_noise: float
    ece_of_noise_high: float
    n: int
    bins: tuple[ReliabilityBin, ...]


@dataclass(frozen=True, slots=True)
class Binned:
    """Residuals of probabilities, summed by bin and group.

    Attributes:
        residuals: Sum of outcome minus probability, shape `(n_groups, n_bins)`.
        counts: Number of predictions, same shape.
        bin_of: Bin of each prediction, shape `(n,)`.
    """

    residuals: Floats
    counts: Floats
    bin_of: Ints

    def ece(self, weights: Floats) -> Floats:
        """Return the expected calibration error under weights of groups, `(n_rows,)`.

        Source: Nixon et al., arXiv 1904.01685, section 3 (bins of equal mass).

        Args:
            weights: Shape `(n_rows, n_groups)`.
        """
        total = np.maximum((weights @ self.counts).sum(axis=1), 1e-12)
        return np.abs(weights @ self.residuals).sum(axis=1) / total

    def noise(self) -> tuple[float, float]:
        """Return mean and 95% quantile of the error if all probabilities were right.

        The mean residual of a bin is then normal around 0 with the variance between groups that
        was measured; simulated with a fixed seed.
        """
        sizes = self.counts.sum(axis=0)
        means = self.residuals.sum(axis=0) / np.maximum(sizes, 1.0)
        spread = ((self.residuals - means * self.counts) ** 2).sum(axis=0)
        draws = np.random.default_rng(0).standard_normal((_N_DRAWS, len(sizes)))
        errors = np.abs(draws * np.sqrt(spread)).sum(axis=1) / max(sizes.sum(), 1.0)
        return float(errors.mean()), float(np.quantile(errors, 0.95))


def bin_residuals(p: Floats, outcome: Floats, index: Ints, n_groups: int) -> Binned:
    """Sort predictions into bins of equal mass; equal predictions share a bin.

    Args:
        p: Probabilities, shape `(n,)`.
        outcome: Share of correct answers, same shape.
        index: Group number of each prediction, same shape.
        n_groups: Number of groups.
    """
    edges = np.quantile(p, np.linspace(0.0, 1.0, _N_BINS + 1)[1:-1]) if len(p) else np.zeros(0)
    bin_of = np.searchsorted(np.unique(edges), p, side="right").astype(np.int64)
    is_in = np.equal.outer(bin_of, np.arange(_N_BINS)).astype(np.float64)
    residuals = is_in * (outcome - p)[:, np.newaxis]
    return Binned(
        residuals=group_sums(residuals, index, n_groups),
        counts=group_sums(is_in, index, n_groups),
        bin_of=bin_of,
    )


def reliability(arm: str, p: Floats, outcome: Floats, index: Ints, n_groups: int) -> Reliability:
    """Return the reliability table of predictions; arguments as in `bin_residuals`."""
    binned = bin_residuals(p, outcome, index, n_groups)
    noise, noise_high = binned.noise()
    return Reliability(
        arm=arm,
        ece=float(binned.ece(np.ones((1, n_groups)))[0]),
        ece_of_noise=noise,
        ece_of_noise_high=noise_high,
        n=len(p),
        bins=tuple(
            _bin(p[members], outcome[members], index[members].tolist())
            for members in (binned.bin_of == number for number in range(_N_BINS))
            if members.any()
        ),
    )


def pooled_residuals(p: Floats, correct: Floats, groups: GroupBootstrap) -> Binned:
    """Return the residuals of all arms together; arguments as in `reliability_tables`."""
    return bin_residuals(*_cells(p, correct, groups), groups.n_groups)


def reliability_tables(
    names: Sequence[str], p: Floats, correct: Floats, groups: GroupBootstrap
) -> tuple[Reliability, ...]:
    """Return the reliability of all arms together, then of each arm.

    Args:
        names: Names of the arms.
        p: Probabilities, shape `(n_questions, n_arms)`.
        correct: Share correct, NaN for gaps, same shape.
        groups: Groups of the questions.
    """
    tables = [reliability("all arms", *_cells(p, correct, groups), groups.n_groups)]
    for arm, name in enumerate(names):
        column = slice(arm, arm + 1)
        cells = _cells(p[:, column], correct[:, column], groups)
        tables.append(reliability(name, *cells, groups.n_groups))
    return tuple(tables)


def _cells(p: Floats, correct: Floats, groups: GroupBootstrap) -> tuple[Floats, Floats, Ints]:
    """Return probability, outcome and group number of every measured cell."""
    known = ~np.isnan(correct)
    index = np.broadcast_to(groups.index[:, np.newaxis], known.shape)
    return p[known], correct[known], index[known]


def _bin(p: Floats, outcome: Floats, groups: Sequence[int]) -> ReliabilityBin:
    interval = clustered_mean_interval(outcome.tolist(), groups)
    return ReliabilityBin(
        p=float(p.mean()),
        accuracy=float(outcome.mean()),
        ci_low=max(interval.low, 0.0),
        ci_high=min(interval.high, 1.0),
        n=len(p),
    )
