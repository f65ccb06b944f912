"""A second source for the advisor's inference: plain numpy, from the published figures alone.

It shares no line with the product. Everything here is in probabilities (accuracies in [0, 1],
differences in [-1, 1]); a table has the axes corpus, task family, arm (direct, reasoning), size.
"""

import csv
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]

CORPORA = ("general-purpose", "math-centric")
FAMILIES = ("General-OE", "General-MC", "Math-OE", "Math-MC")
ARMS = ("ift_acc", "reasoning_acc")
SIZES = ("0.5B", "1.5B", "3B", "7B", "14B")
IFT, REASONING = 0, 1
INTERIOR = slice(1, 4)
N_PARAMS: Floats = np.array(
    [494_032_768, 1_543_714_304, 3_085_938_688, 7_615_616_512, 14_770_033_664.0]
)
"""Parameters of Qwen2.5 by size; with the round names one more sign is wrong."""
LOG_SIZES: Floats = np.log(N_PARAMS)

MEASURED_NOISE = 0.025
"""Standard error of one measured accuracy in the noisy experiments."""


@cache
def published() -> Floats:
    """Return the printed accuracies, shape (2 corpora, 4 families, 2 arms, 5 sizes)."""
    folder = Path(__file__).resolve().parents[3] / "calibration" / "published"
    (path,) = folder.rglob("scale_or_reason_table1.csv")
    accuracy = np.full((2, 4, 2, 5), np.nan)
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            where = CORPORA.index(row["training_corpus"]), FAMILIES.index(row["task_family"])
            for arm, column in enumerate(ARMS):
                accuracy[(*where, arm, SIZES.index(row["student_size"]))] = float(row[column]) / 100
    assert not np.isnan(accuracy).any()
    accuracy.setflags(write=False)
    return accuracy


def logit(p: Floats) -> Floats:
    return np.log(p / (1 - p))


def expit(z: Floats) -> Floats:
    return 1 / (1 + np.exp(-z))


def gain(accuracy: Floats) -> Floats:
    """Return reasoning minus direct; the arm axis (the last but one) goes."""
    return accuracy[..., REASONING, :] - accuracy[..., IFT, :]


# ------------------------------------------------------------------ leave one size out


def interpolate(known: Floats, values: Floats, at: float) -> Floats:
    """Return the values at a log size: linear between neighbours, else through the nearest two."""
    right = int(np.clip(np.searchsorted(known, at), 1, len(known) - 1))
    weight = (at - known[right - 1]) / (known[right] - known[right - 1])
    return (1 - weight) * values[..., right - 1] + weight * values[..., right]


def leave_one_size_out(accuracy: Floats, log_sizes: Floats = LOG_SIZES) -> Floats:
    """Return each accuracy as the other sizes predict it, on the logit scale; same shape."""
    predicted = np.empty_like(accuracy)
    for left_out in range(len(log_sizes)):
        rest = np.delete(np.arange(len(log_sizes)), left_out)
        z = interpolate(log_sizes[rest], logit(accuracy[..., rest]), float(log_sizes[left_out]))
        predicted[..., left_out] = expit(z)
    return predicted


def conformal_quantile(errors: Iterable[float], level: float = 0.9) -> float:
    """Return the ceil((n + 1) level)-th smallest error, infinite where there are too few."""
    ordered = sorted(errors)
    rank = math.ceil((len(ordered) + 1) * level - 1e-12)
    return ordered[rank - 1] if rank <= len(ordered) else math.inf


class Conformal(NamedTuple):
    """How intervals do whose quantile never saw what they are judged on."""

    coverage: float
    half_width: float
    n_decided: int
    n_right: int
    n: int


def judge(
    predicted: Floats,
    true: Floats,
    units: NDArray[np.int64],
    level: float = 0.9,
    mask: NDArray[np.bool_] | None = None,
) -> Conformal:
    """Leave out all predictions of one unit, take the quantile of the rest, and judge the unit."""
    use = np.ones(true.shape, dtype=bool) if mask is None else mask
    covered: list[bool] = []
    widths: list[float] = []
    decided = right = 0
    for unit in np.unique(units):
        inside = use & (units == unit)
        half = conformal_quantile(abs(predicted - true)[use & (units != unit)], level)
        for guess, truth in zip(predicted[inside], true[inside], strict=True):
            covered.append(bool(abs(guess - truth) <= half))
            widths.append(half)
            decided += bool(abs(guess) > half)
            right += bool(abs(guess) > half and np.sign(guess) == np.sign(truth))
    return Conformal(float(np.mean(covered)), float(np.mean(widths)), decided, right, len(covered))


def leave_pair_out(accuracy: Floats) -> Conformal:
    """Judge interpolated gains of the inner sizes; a unit is one corpus with one task family."""
    true = gain(accuracy)[..., INTERIOR]
    predicted = gain(leave_one_size_out(accuracy))[..., INTERIOR]
    units = np.arange(8).reshape(2, 4, 1).repeat(3, axis=2)
    return judge(predicted, true, units)


# ------------------------------------------------------------------ another corpus


def mean_offset_weight(n_cells: int, tau2: float = 0.15, s2: float = 0.05) -> float:
    return n_cells * tau2 / (n_cells * tau2 + s2)


def logit_variance(p: Floats, stderr: float | Floats) -> Floats:
    """Return the delta-method variance of logit(p)."""
    return (stderr / (p * (1 - p))) ** 2


def carried_by_mean_offset(
    prior: Floats, measured: Floats, at: Sequence[int], stderr: float = 0.0
) -> Floats:
    """Return accuracies at all sizes: the prior moved by the shrunken mean logit offset.

    Args:
        prior: The published corpus, shape (..., 5).
        measured: The user's accuracies at the sizes `at`, shape (..., len(at)).
        at: Indices of sizes.
        stderr: Standard error of each measured accuracy.
    """
    s2 = 0.05 + logit_variance(measured, stderr).mean(axis=-1, keepdims=True)
    tau2, n = 0.15, len(at)
    offset = (logit(measured) - logit(prior[..., list(at)])).mean(axis=-1, keepdims=True)
    return expit(logit(prior) + n * tau2 / (n * tau2 + s2) * offset)


def carried_by_kriging(
    prior: Floats,
    measured: Floats,
    at: Sequence[int],
    stderr: float = 0.0,
    *,
    tau2: float = 0.15,
    length: float = 3.0,
    nugget: float = 0.0,
) -> Floats:
    """Return accuracies at all sizes: the offset is a Gaussian process in log size.

    Covariance tau2 exp(-|difference of log sizes| / length), noise = sampling variance.
    """
    where = LOG_SIZES[list(at)]
    between = np.exp(-abs(where[:, None] - where[None]) / length) * tau2
    towards = np.exp(-abs(LOG_SIZES[:, None] - where[None]) / length) * tau2
    offset = logit(measured) - logit(prior[..., list(at)])
    noise = logit_variance(measured, stderr) + nugget
    matrix = between + noise[..., None] * np.eye(len(at))
    weights = np.linalg.solve(matrix, offset[..., None])[..., 0]
    return expit(logit(prior) + np.einsum("ts,...s->...t", towards, weights))


Carry = Callable[[Floats, Floats, Sequence[int], float], Floats]


def transferred(
    carry: Carry, at: Sequence[int], stderr: float = 0.0, rng: np.random.Generator | None = None
) -> Floats:
    """Return gains (2 users' corpora, 4 families, 5 sizes) predicted from the other corpus.

    The user measures both arms at the sizes `at`; with `rng` the measurements are noisy.
    """
    accuracy = published()
    gains = np.empty((2, 4, 5))
    for own in (0, 1):
        measured = accuracy[own][..., list(at)]
        if rng is not None:
            measured = np.clip(measured + rng.normal(0, stderr, measured.shape), 0.01, 0.99)
        gains[own] = gain(carry(accuracy[1 - own], measured, at, stderr))
    return gains


def prior_alone() -> Floats:
    """Return the gains of the other corpus, shape (2, 4, 5)."""
    return gain(published())[::-1]


def right_signs(predicted: Floats) -> Floats:
    """Return the share of right signs by target size, shape (5,)."""
    return (np.sign(predicted) == np.sign(gain(published()))).mean(axis=(0, 1))


# ------------------------------------------------------------------ decisions


def regret(chooses_reasoning: NDArray[np.bool_], gains: Floats) -> Floats:
    """Return what the choice loses against the better arm."""
    return np.where(chooses_reasoning, np.maximum(-gains, 0), np.maximum(gains, 0))


@dataclass(frozen=True)
class Point:
    """An option: what it costs and what it gives."""

    name: str
    cost: float
    value: float


def front(points: Sequence[Point]) -> list[str]:
    """Return who is beaten by nobody that is as cheap and as good, and better in one."""
    return [
        p.name
        for p in sorted(points, key=lambda p: p.cost)
        if not any(
            q.cost <= p.cost and q.value >= p.value and (q.cost, q.value) != (p.cost, p.value)
            for q in points
        )
    ]


def training_front(corpus: int, family: int, trace_ratio: float) -> list[str]:
    """Return the front where training costs N for direct answers and N times m for traces."""
    accuracy = published()[corpus, family]
    return front(
        [
            Point(f"{'IR'[arm]}{size}", N_PARAMS[s] * (trace_ratio if arm else 1), accuracy[arm, s])
            for arm in (IFT, REASONING)
            for s, size in enumerate(SIZES)
        ]
    )


def expected_regret(mean: float, sd: float) -> float:
    """Return what choosing by the sign of the mean loses on average, for a normal gain."""
    if sd == 0:
        return 0.0
    z = abs(mean) / sd
    return float(sd * (stats.norm.pdf(z) - z * stats.norm.sf(z)))


def evsi(mean: float, sd: float, stderr: float, correlation: float = 1.0) -> float:
    """Return how much a measurement is expected to improve the better of two actions.

    Args:
        mean: Of the gain.
        sd: Of the gain, before measuring.
        stderr: Of the measurement.
        correlation: Between the gain and what is measured (1: the gain itself).
    """
    return expected_regret(mean, correlation * sd**2 / math.hypot(sd, stderr))


def questions_needed(effect: float, discordance: float = 0.3) -> int:
    """Return the sample size of a paired comparison, one-sided 5%, power 80%."""
    z = stats.norm.ppf(0.95) + stats.norm.ppf(0.80)
    return math.ceil(z**2 * (discordance - effect**2) / effect**2)


def logit_normal_interval(p: float, stderr: float, level: float = 0.9) -> tuple[float, float]:
    """Return the interval of a normal on the logit scale, mapped back."""
    half = stats.norm.ppf(0.5 + level / 2) * stderr
    low, high = expit(logit(np.array(p)) + np.array([-half, half]))
    return float(low), float(high)


def family_stderr(accuracies: Sequence[float], n_questions: Sequence[int]) -> float:
    """Return the standard error of the unweighted mean of benchmarks, one answer per question."""
    p, n = np.array(accuracies), np.array(n_questions)
    return float(np.sqrt((p * (1 - p) / n).sum()) / len(p))


def variance_components(offsets: Floats) -> tuple[float, float]:
    """Return (tau2 about zero, s2) of series, shape (series, sizes), by moments."""
    n = offsets.shape[1]
    s2 = float(offsets.var(axis=1, ddof=1).mean())
    return float((offsets.mean(axis=1) ** 2).mean()) - s2 / n, s2
