"""Fit how the evidence of a first answer changes what every arm is expected to do."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from policies import InvalidInputError

from .._outcomes import OutcomeMatrix
from ..model._fit import group_folds
from ._cascade import features_of, logit
from ._cascade_parameters import N_FEATURES, CascadeParameters

__all__ = ["MIN_ANSWERS", "fit_cascade"]

MIN_ANSWERS = 100
"""First answers with evidence below which an arm is no first arm."""

_N_SCENARIOS = 15
_MOST_BINS = 8
_MOST_FIRSTS = 6
_LEAST_PER_BIN = 4 * _N_SCENARIOS
_N_FOLDS = 5
_PRIOR = 4.0
_WEIGHT_PRIOR = 1.0
_LEAST_COVERAGE = 0.9
_STANDARD_ERRORS = 2.0
_N_STEPS = 50
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class _First(NamedTuple):
    """What was found out about one first arm."""

    arm: int
    center: Floats
    scale: Floats
    weights: Floats
    changes: Floats
    before: Floats
    gain: float


def fit_cascade(p: Floats, matrix: OutcomeMatrix, *, seed: int = 0) -> CascadeParameters | None:
    """Fit a cascade on recorded evidence; deterministic for a seed.

    For each first arm whose answers recorded evidence, the log-odds of every arm (the first
    itself, by the very answer that was looked at, included) are modelled as a linear function of
    the log-odds before, of the first arm's, and of the standardised evidence and its squares, by
    logistic regression that is shrunk towards leaving the log-odds as they were. An arm remains
    a first arm only if its evidence improves the log loss of its own answers on held-back groups
    by more than two standard errors.

    Args:
        p: Probabilities from a model that was not fitted on the respective question (out of
            fold), shape `(n_questions, n_arms)`.
        matrix: The outcomes, with evidence.
        seed: Decides which groups are held back together.

    Returns:
        `None` if no arm recorded enough evidence, or if no evidence tells anything that `p` does
        not.

    Raises:
        InvalidInputError: `p` does not have the matrix's shape, or is not in [0, 1].

    Source:
        The idea, a cheap answer's score decides whether a dearer model is asked: FrugalGPT,
        arXiv 2305.05176, section 3. Here the decision follows from calibrated probabilities and
        the router's objective instead of a learned threshold.
    """
    if p.shape != matrix.correct.shape or not ((p >= 0.0) & (p <= 1.0)).all():
        raise InvalidInputError(
            f"probabilities of shape {p.shape} do not fit outcomes of shape {matrix.correct.shape}",
            hint="give probabilities in [0, 1] for every question and arm",
        )
    found = [
        one
        for arm in range(len(matrix.arms))
        if (one := _fit_first(arm, logit(p), matrix, seed)) is not None
    ]
    found = sorted(sorted(found, key=lambda one: -one.gain)[:_MOST_FIRSTS], key=lambda one: one.arm)
    if not found:
        return None
    fewest = min(len(one.changes) for one in found)
    n_bins = max(1, min(_MOST_BINS, fewest // _LEAST_PER_BIN))
    scenarios = [_scenarios(one, n_bins) for one in found]
    return CascadeParameters(
        n_arms=len(matrix.arms),
        firsts=tuple(one.arm for one in found),
        center=np.array([one.center for one in found]),
        scale=np.array([one.scale for one in found]),
        weights=np.array([one.weights for one in found]),
        edges=np.array([edges for edges, _ in scenarios]).reshape(len(found), n_bins - 1),
        shifts=np.array([shifts for _, shifts in scenarios]),
        gain=np.array([one.gain for one in found]),
        n_questions=tuple(len(one.changes) for one in found),
    )


def _fit_first(arm: int, before: Floats, matrix: OutcomeMatrix, seed: int) -> _First | None:
    rows = np.flatnonzero(matrix.has_evidence[:, arm])
    own = matrix.evidence_correct[rows, arm]
    if len(rows) < MIN_ANSWERS or np.ptp(own) == 0.0:
        return None
    evidence = matrix.evidence[rows, arm]
    center, scale = _standard(evidence)
    if not scale.any():
        return None
    before = before[rows]
    features = features_of(evidence, center, scale)
    # The kinds that are used must all be there, as they must when the cascade is used.
    told = ~np.isnan(evidence[:, scale > 0.0]).any(axis=1)
    rows, own, before, features = rows[told], own[told], before[told], features[told]
    positions: list[int] = rows.tolist()
    groups = [matrix.groups[row] for row in positions]
    gains = _held_back_gains(_design(before, arm, arm, features), own, groups, seed)
    gain, error = float(gains.mean()), float(gains.std(ddof=1)) / math.sqrt(len(gains))
    if not gain > _STANDARD_ERRORS * error:
        return None
    weights = np.empty((len(matrix.arms), N_FEATURES))
    for other in range(len(matrix.arms)):
        target = own if other == arm else matrix.correct[rows, other]
        known = ~np.isnan(target)
        design = _design(before[known], other, arm, features[known])
        weights[other] = _logistic(design, target[known], is_first=other == arm)
    after = np.stack(
        [_design(before, other, arm, features) @ weights[other] for other in range(len(weights))],
        axis=1,
    )
    return _First(arm, center, scale, weights, after - before, before, gain)


def _standard(evidence: Floats) -> tuple[Floats, Floats]:
    """Return centre and scale of each kind; scale 0 for kinds that are rare or constant."""
    n_kinds = evidence.shape[1]
    center, scale = np.zeros(n_kinds), np.zeros(n_kinds)
    for kind in range(n_kinds):
        known = evidence[~np.isnan(evidence[:, kind]), kind]
        if len(known) >= _LEAST_COVERAGE * len(evidence) and np.ptp(known) > 1e-9:
            center[kind], scale[kind] = known.mean(), known.std()
    return center, scale


def _design(before: Floats, arm: int, first: int, features: Floats) -> Floats:
    """Return the columns of the regression, shape `(n_rows, N_FEATURES)`."""
    own = before[:, arm]
    of_first = np.zeros_like(own) if arm == first else before[:, first]
    return np.column_stack((np.ones_like(own), own, of_first, features))


def _held_back_gains(design: Floats, correct: Floats, groups: list[str], seed: int) -> Floats:
    """Return by how much evidence lowers the log loss of each held-back answer."""
    without = design.copy()
    without[:, 3:] = 0.0
    gains = np.zeros(len(correct))
    everything = np.arange(len(correct))
    for fold in group_folds(groups, _N_FOLDS, np.random.default_rng(seed)):
        rest = np.setdiff1d(everything, fold)
        losses = [
            _losses(
                columns[fold] @ _logistic(columns[rest], correct[rest], is_first=True),
                correct[fold],
            )
            for columns in (without, design)
        ]
        gains[fold] = losses[0] - losses[1]
    return gains


def _losses(log_odds: Floats, correct: Floats) -> Floats:
    return np.logaddexp(0.0, log_odds) - correct * log_odds


def _logistic(design: Floats, correct: Floats, *, is_first: bool) -> Floats:
    """Fit a logistic regression by Newton's method, shrunk towards the log-odds before.

    Source:
        Penalised likelihood with Gaussian priors around (0, 1, 0, 0, ...): standard deviation
        1/2 for intercept and slopes as in the router's own calibration, 1 for the evidence.
    """
    start = np.zeros(design.shape[1])
    start[1] = 1.0
    penalty = np.full(design.shape[1], _WEIGHT_PRIOR)
    penalty[:3] = _PRIOR
    solution = start.copy()
    for _ in range(_N_STEPS):
        p = 1.0 / (1.0 + np.exp(-design @ solution))
        gradient = design.T @ (p - correct) + penalty * (solution - start)
        hessian = (design * (p * (1.0 - p))[:, np.newaxis]).T @ design + np.diag(penalty)
        step = np.linalg.solve(hessian, gradient)
        solution -= np.clip(step, -1.0, 1.0)
        if np.abs(step).max() < 1e-9:
            break
    if is_first:  # A negative slope would turn the ranking around on the word of a few answers.
        solution[1] = max(float(solution[1]), 0.0)
    return solution


def _scenarios(one: _First, n_bins: int) -> tuple[Floats, Floats]:
    """Return bin edges `(n_bins - 1,)` and shifts `(n_bins, _N_SCENARIOS, n_arms)`.

    Within a bin of the first arm's log-odds, questions are sorted by how much the first answer
    moved them and cut into equally many; a scenario is the mean shift of all arms in one part.
    Evidence moves probabilities but not their mean: the scenarios are shifted together until
    that holds, so that a cascade is never chosen because the evidence model is calibrated
    otherwise than the router.
    """
    of_first = one.before[:, one.arm]
    edges = np.quantile(of_first, np.arange(1, n_bins) / n_bins)
    bins = np.searchsorted(edges, of_first, side="left")
    shifts = np.zeros((n_bins, _N_SCENARIOS, one.changes.shape[1]))
    for number in range(n_bins):
        members = np.flatnonzero(bins == number)
        if len(members) < _N_SCENARIOS:  # Ties emptied the bin: its neighbours' rows will do.
            members = np.argsort(np.abs(of_first - edges[min(number, n_bins - 2)]))[:_LEAST_PER_BIN]
        order = members[np.argsort(one.changes[members, one.arm], kind="stable")]
        parts = np.array_split(order, _N_SCENARIOS)
        raw = np.array([one.changes[part].mean(axis=0) for part in parts])
        shifts[number] = _keeping_means(raw, one.before[members])
    return edges, shifts


def _keeping_means(shifts: Floats, before: Floats) -> Floats:
    """Return shifts plus one constant per arm, so that mean probabilities stay as before."""
    wanted = (1.0 / (1.0 + np.exp(-before))).mean(axis=0)
    low, high = np.full(shifts.shape[1], -20.0), np.full(shifts.shape[1], 20.0)
    for _ in range(_N_STEPS):
        middle = (low + high) / 2.0
        moved = before[:, np.newaxis, :] + shifts + middle
        is_below = (1.0 / (1.0 + np.exp(-moved))).mean(axis=(0, 1)) < wanted
        low, high = np.where(is_below, middle, low), np.where(is_below, high, middle)
    return shifts + (low + high) / 2.0
