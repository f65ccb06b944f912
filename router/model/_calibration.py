"""From raw p to p that holds: an affine map, Platt's sigmoid or isotonic steps."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ._routing_error import mean_and_error, routing_errors

__all__ = ["Calibration", "Method", "fit_calibration", "soft_clip"]

Method = Literal["affine", "sigmoid", "isotonic"]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_EDGE = 1e-4
_SOFT_EDGE = 0.05
# Standard deviation 1/2 of a Gaussian prior on each parameter.
_PRIOR_WEIGHT = 4.0
# Isotonic steps follow noise below this.
_MIN_ISOTONIC = 1000
_MIN_STEP = 25


@dataclass(frozen=True, slots=True)
class Calibration:
    """A map from raw to calibrated p.

    Attributes:
        method: `affine`: `intercept of the arm + gain_slope * (p - mean p of the arms) + slope *
            mean p of the arms`, which keeps the differences between arms linear; `sigmoid`:
            `sigmoid(slope * logit p + intercept of the arm)`; `isotonic`: ascending steps.
        slope: See `method`, not negative.
        intercepts: Of each arm, shape `(n_arms,)`.
        gain_slope: See `method`, not negative.
        knots: Raw and calibrated p of each arm's isotonic steps, ascending in both; linear in
            between. Empty for the other methods.
    """

    method: Method
    slope: float
    intercepts: Floats
    gain_slope: float = 1.0
    knots: tuple[tuple[Floats, Floats], ...] = ()

    @classmethod
    def identity(cls, n_arms: int) -> "Calibration":
        """Return the map that changes nothing."""
        return cls("affine", 1.0, np.zeros(n_arms))

    def apply(self, p: Floats) -> Floats:
        """Return calibrated p in (0, 1), same shape `(n, n_arms)` as the raw p."""
        if self.method == "affine":
            common = p.sum(axis=1, keepdims=True) / p.shape[1]
            gains = self.gain_slope * (p - common)
            return soft_clip(gains + self.slope * common + self.intercepts)
        if self.method == "isotonic":
            columns = [np.interp(p[:, arm], *knots) for arm, knots in enumerate(self.knots)]
            return np.stack(columns, axis=1).clip(_EDGE, 1.0 - _EDGE)
        raw = p.clip(1e-9, 1.0 - 1e-9)
        logits = self.slope * np.log(raw / (1.0 - raw)) + self.intercepts
        # exp would overflow further out; no map that was fitted comes near.
        return 1.0 / (1.0 + np.exp(-np.maximum(logits, -700.0)))


def soft_clip(p: Floats) -> Floats:
    """Return p within (0, 1): beyond 0.05 from an end it is bent, so that its order is kept."""
    if p.size and p.min() >= _SOFT_EDGE and p.max() <= 1.0 - _SOFT_EDGE:
        return p
    low = _SOFT_EDGE * np.exp(np.minimum(p - _SOFT_EDGE, 0.0) / _SOFT_EDGE)
    high = 1.0 - _SOFT_EDGE * np.exp(np.minimum(1.0 - _SOFT_EDGE - p, 0.0) / _SOFT_EDGE)
    bent = np.where(p < _SOFT_EDGE, low, np.where(p > 1.0 - _SOFT_EDGE, high, p))
    return bent.clip(_EDGE, 1.0 - _EDGE)


def fit_calibration(
    p: Floats, correct: Floats, folds: list[Ints], groups: Sequence[str]
) -> tuple[Calibration, Floats]:
    """Fit every method that there are outcomes enough for, and keep the best.

    A method must be better than no calibration by a standard error of the routing error, on folds
    that it was not fitted on: what is blended by least squares is nearly calibrated already, and
    the noise of a correction moves decisions.

    Args:
        p: Raw p, out of fold, shape `(n_questions, n_arms)`.
        correct: Share correct, NaN where not measured, same shape.
        folds: Questions of each fold, at least two.
        groups: Group of each question.

    Returns:
        The calibration, and calibrated p of every question from the other folds.
    """
    everything = np.arange(len(p))
    of_group = np.unique(np.array(groups, dtype=object), return_inverse=True)[1]
    n_least = int(np.count_nonzero(~np.isnan(correct), axis=0).min())
    best = Calibration.identity(p.shape[1])
    best_p = best.apply(p)
    plain = routing_errors(best_p, correct)
    lowest = float(plain.mean())
    for fitter in [_fit_affine, _fit_sigmoid] + [_fit_isotonic] * (n_least >= _MIN_ISOTONIC):
        calibrated = np.empty_like(p)
        for fold in folds:
            others = np.setdiff1d(everything, fold)
            calibrated[fold] = fitter(p[others], correct[others]).apply(p[fold])
        errors = routing_errors(calibrated, correct)
        gain, se = mean_and_error(plain - errors, of_group)
        if gain > se and errors.mean() < lowest:
            best, best_p, lowest = fitter(p, correct), calibrated, float(errors.mean())
    return best, best_p


def _fit_affine(p: Floats, correct: Floats) -> Calibration:
    """Fit by least squares, pulled to the identity by a prior worth a few outcomes."""
    n_arms = p.shape[1]
    rows, arms = np.nonzero(~np.isnan(correct))
    common = p.mean(axis=1)
    design = np.zeros((len(rows), 2 + n_arms))
    design[:, 0] = common[rows] - common.mean()
    design[:, 1] = p[rows, arms] - common[rows]
    design[np.arange(len(rows)), 2 + arms] = 1.0
    start = np.ones(2 + n_arms)
    start[2:] = common.mean()
    prior = np.ones(2 + n_arms)
    prior[2:] = _PRIOR_WEIGHT
    gram = design.T @ design + np.diag(prior)
    step = _solve(gram, design.T @ (correct[rows, arms] - design @ start))
    solution = start + step
    slope, gain_slope = max(float(solution[0]), 0.0), max(float(solution[1]), 0.0)
    intercepts = solution[2:] - slope * common.mean()
    return Calibration("affine", slope, intercepts, gain_slope)


def _fit_sigmoid(p: Floats, correct: Floats) -> Calibration:
    """Fit `sigmoid(slope * logit p + intercept of the arm)` by Newton's method.

    Source:
        Platt (1999), with Gaussian priors (slope around 1, intercepts around 0, standard
        deviation 1/2) in the place of his smoothed targets.
    """
    rows, arms = np.nonzero(~np.isnan(correct))
    raw = p[rows, arms].clip(1e-9, 1.0 - 1e-9)
    scores, targets = np.log(raw / (1.0 - raw)), correct[rows, arms]
    n_arms = p.shape[1]
    start = np.zeros(1 + n_arms)
    start[0] = 1.0
    solution = start.copy()
    for _ in range(50):
        fitted = 1.0 / (1.0 + np.exp(-solution[0] * scores - solution[1 + arms]))
        errors, weights = fitted - targets, fitted * (1.0 - fitted)
        gradient = np.concatenate([[errors @ scores], np.bincount(arms, errors, n_arms)])
        gradient += _PRIOR_WEIGHT * (solution - start)
        # The arms' block is diagonal.
        hessian = np.diag(
            np.concatenate([[weights @ (scores * scores)], np.bincount(arms, weights, n_arms)])
        )
        hessian[0, 1:] = hessian[1:, 0] = np.bincount(arms, weights * scores, n_arms)
        step = _solve(hessian + _PRIOR_WEIGHT * np.eye(1 + n_arms), gradient)
        solution = solution - np.clip(step, -1.0, 1.0)
        if np.abs(step).max() < 1e-9:
            break
    # A negative slope would turn the ranking around on the word of a few questions.
    return Calibration("sigmoid", max(float(solution[0]), 0.0), solution[1:])


def _fit_isotonic(p: Floats, correct: Floats) -> Calibration:
    """Fit steps by pooling adjacent violators, each of at least 25 outcomes, per arm.

    Source:
        Zadrozny and Elkan (KDD 2002). Steps are joined by lines between their mean scores, and
        their rates are smoothed by one outcome at each end, so that none is 0 or 1.
    """
    optimize: Any = import_module("scipy.optimize")
    knots: list[tuple[Floats, Floats]] = []
    n_arms = p.shape[1]
    for arm in range(n_arms):
        known = np.flatnonzero(~np.isnan(correct[:, arm]))
        order = known[np.argsort(p[known, arm], kind="stable")]
        bins = np.array_split(order, max(len(order) // _MIN_STEP, 1))
        sizes = np.array([len(part) for part in bins], dtype=np.float64)
        scores = np.array([p[part, arm].mean() for part in bins])
        rates = np.array([(correct[part, arm].sum() + 0.5) / (len(part) + 1.0) for part in bins])
        steps: Floats = optimize.isotonic_regression(rates, weights=sizes).x
        starts = np.flatnonzero(np.diff(steps, prepend=-np.inf) > 0)
        weights = np.add.reduceat(sizes, starts)
        centres = np.add.reduceat(scores * sizes, starts) / weights
        knots.append((centres, steps[starts]))
    return replace(Calibration.identity(n_arms), method="isotonic", knots=tuple(knots))


def _solve(matrix: Floats, right: Floats) -> Floats:
    return np.asarray(np.linalg.solve(matrix, right), dtype=np.float64)
