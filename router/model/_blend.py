"""Choice among learners: which of them, and with what weights, tell the arms apart best."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ._routing_error import COMMON_WEIGHT, mean_and_error, routing_errors, split_errors

__all__ = ["Contender", "choose_blend"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Another blend must be better by so many standard errors of the difference.
_NEEDED_ERRORS = 1.0
_PULL_TO_EQUAL = 0.5


class Contender(NamedTuple):
    """One blend in the cross-validation.

    Attributes:
        learners: What it is made of.
        loss: Mean routing error out of fold.
        se: Standard error of its difference from the chosen one, over groups; 0 for that one.
        weights: Weight of each learner, fitted on all folds.
        is_chosen: Whether it is the one that is used.
    """

    learners: tuple[str, ...]
    loss: float
    se: float
    weights: dict[str, float]
    is_chosen: bool


def choose_blend(
    predictions: Mapping[str, Floats],
    blends: Sequence[tuple[str, ...]],
    correct: Floats,
    folds: Sequence[Ints],
    groups: Sequence[str],
) -> tuple[list[Contender], Floats]:
    """Choose among blends by nested cross-validation.

    Each blend's weights (not negative, of sum 1) are fitted on the other folds' out-of-fold
    predictions. The first blend is used unless another's error is lower by a standard error of
    the difference: an average of several learners is hardly ever far off, while the best of many
    looks better than it is.

    Args:
        predictions: Out-of-fold p of each learner, shape `(n_questions, n_arms)`.
        blends: Learners of each blend, the one to prefer first.
        correct: Share correct, NaN where not measured, same shape.
        folds: Questions of each fold.
        groups: Group of each question.

    Returns:
        All contenders, and the chosen one's p, out of fold in the weights too.
    """
    everything = np.arange(len(correct))
    of_group = np.unique(np.array(groups, dtype=object), return_inverse=True)[1]
    errors: list[Floats] = []
    blended: list[Floats] = []
    for blend in blends:
        parts = [predictions[name] for name in blend]
        mixed = np.empty_like(parts[0])
        for fold in folds:
            others = np.setdiff1d(everything, fold)
            weights = _weights([part[others] for part in parts], correct[others])
            mixed[fold] = _mix([part[fold] for part in parts], weights)
        errors.append(routing_errors(mixed, correct))
        blended.append(mixed)
    chosen = 0
    for index in range(1, len(blends)):
        gain, se = mean_and_error(errors[0] - errors[index], of_group)
        if gain > _NEEDED_ERRORS * se and errors[index].mean() < errors[chosen].mean():
            chosen = index
    contenders = [
        Contender(
            learners=blend,
            loss=float(errors[index].mean()),
            se=0.0
            if index == chosen
            else mean_and_error(errors[index] - errors[chosen], of_group)[1],
            weights=dict(
                zip(
                    blend,
                    _weights([predictions[name] for name in blend], correct).tolist(),
                    strict=True,
                )
            ),
            is_chosen=index == chosen,
        )
        for index, blend in enumerate(blends)
    ]
    return contenders, blended[chosen]


def _weights(parts: Sequence[Floats], correct: Floats) -> Floats:
    """Return weights that minimise the summed routing errors, not negative, of sum 1."""
    if len(parts) == 1:
        return np.ones(1)
    columns: list[Floats] = []
    # With weights of sum 1 the blend's error is the blend of the errors.
    for part in parts:
        between, common = split_errors(part, correct)
        columns.append(np.concatenate([between.ravel(), np.sqrt(COMMON_WEIGHT) * common]))
    stacked = np.stack(columns, axis=1)
    # A heavy row that says "the sum is 1", as NNLS knows no equality.
    heavy = 100.0 * np.sqrt((stacked * stacked).sum() + 1e-12)
    optimize: Any = import_module("scipy.optimize")
    gram = stacked.T @ stacked
    # Learners' errors are alike, so their differences are noisy: weights start from equal ones.
    n = len(parts)
    pull = _PULL_TO_EQUAL * np.trace(gram) / n / np.sqrt(max(len(correct), 1))
    system = gram + heavy**2 + (pull + 1e-9 * heavy**2) * np.eye(n)
    root = np.asarray(np.linalg.cholesky(system), dtype=np.float64)
    target = np.asarray(np.linalg.solve(root, np.full(n, heavy**2 + pull / n)), dtype=np.float64)
    weights = np.asarray(optimize.nnls(root.T, target)[0])
    return weights / weights.sum()


def _mix(parts: Sequence[Floats], weights: Floats) -> Floats:
    mixed = np.zeros_like(parts[0])
    for part, weight in zip(parts, weights.tolist(), strict=True):
        mixed += weight * part
    return mixed
