"""The default trade-off: as cheap as possible without losing accuracy."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ._decision import choose
from ._objective import CostUnit, Objective
from .model._routing_error import mean_and_error

__all__ = [
    "MAX_LOSS",
    "candidate_tradeoffs",
    "select_tradeoff",
    "tradeoff_losing",
    "tradeoff_within",
]

MAX_LOSS = 0.01
"""Accuracy the default objective may lose against the best fixed arm: one point."""

_MIN_QUESTIONS = 20
# Of costs: below, nothing is left to trade, and its inverse would overflow.
_LEAST_SPREAD = 1e-90
# Of many trade-offs the cheapest that passes is the one that noise flattered most.
_CAUTION = 1.0
Floats = NDArray[np.float64]


def candidate_tradeoffs(cost: Floats) -> Floats:
    """Return 0 and trade-offs from negligible to prohibitive for costs of this size, ascending.

    Args:
        cost: Expected costs, shape `(n_questions, n_arms)`.
    """
    spread = float(np.ptp(cost, axis=1).mean()) if cost.size else 0.0
    if spread <= _LEAST_SPREAD:
        return np.zeros(1)
    return np.concatenate([[0.0], np.geomspace(1e-4, 10.0, 81) / spread])


def tradeoff_within(p_correct: Floats, cost: Floats, max_mean_cost: float) -> float | None:
    """Return the smallest trade-off at which the mean expected cost is within a limit.

    Args:
        p_correct: Predicted probabilities, shape `(n_questions, n_arms)`.
        cost: Predicted costs, same shape.
        max_mean_cost: The limit.

    Returns:
        The trade-off, `None` where even the cheapest arms cost more.
    """
    rows = np.arange(len(cost))
    for tradeoff in candidate_tradeoffs(cost).tolist():
        choice, _ = choose(p_correct, cost, Objective.trade(tradeoff))
        if cost[rows, choice].mean() <= max_mean_cost:
            return tradeoff
    return None


def tradeoff_losing(p_correct: Floats, cost: Floats, max_loss: float) -> float:
    """Return the cheapest trade-off whose choices are expected to lose little accuracy.

    Args:
        p_correct: Predicted probabilities, shape `(n_questions, n_arms)`.
        cost: Predicted costs, same shape.
        max_loss: Expected accuracy that may be lost, over all questions, against choosing the
            arm most likely to be right each time.
    """
    rows = np.arange(len(cost))
    best = float(p_correct.max(axis=1).mean())
    cheapest, lowest = 0.0, np.inf
    for tradeoff in candidate_tradeoffs(cost).tolist():
        choice, _ = choose(p_correct, cost, Objective.trade(tradeoff))
        loss, spent = best - p_correct[rows, choice].mean(), cost[rows, choice].mean()
        if loss <= max_loss + 1e-12 and spent < lowest:
            cheapest, lowest = tradeoff, float(spent)
    return cheapest


def select_tradeoff(
    p_correct: Floats,
    cost: Floats,
    correct: Floats,
    true_cost: Floats,
    unit: CostUnit,
    groups: Sequence[str],
) -> Objective:
    """Return the trade-off that is cheapest while losing at most `MAX_LOSS` accuracy.

    The loss is against the most accurate fixed arm on the given questions, which must not be the
    ones the model was fitted on. It must stay within the limit twice, as measured (with a
    standard error added) and as the calibrated probabilities predict: the measured loss is noisy,
    and the cheapest trade-off is where its noise flatters most. This is no guarantee. With fewer than
    20 questions on which every arm was measured, cost only breaks ties.

    Args:
        p_correct: Predicted probabilities, shape `(n_questions, n_arms)`.
        cost: Predicted costs, same shape.
        correct: Measured share of correct answers, NaN for gaps, same shape.
        true_cost: Measured costs, same shape.
        unit: Unit of the costs.
        groups: Group of each question.
    """
    of_group = np.unique(np.array(groups, dtype=object), return_inverse=True)[1]
    complete = ~(np.isnan(correct) | np.isnan(true_cost)).any(axis=1)
    best = Objective.trade(0.0, unit)
    if np.count_nonzero(complete) < _MIN_QUESTIONS:
        return best
    of_group = of_group[complete]
    p_correct, cost = p_correct[complete], cost[complete]
    correct, true_cost = correct[complete], true_cost[complete]
    reference = int(correct.mean(axis=0).argmax())
    rows = np.arange(len(correct))
    lowest = np.inf
    for tradeoff in candidate_tradeoffs(cost):
        objective = Objective.trade(float(tradeoff), unit)
        choice, _ = choose(p_correct, cost, objective)
        spent = true_cost[rows, choice].mean()
        measured, error = mean_and_error(correct[:, reference] - correct[rows, choice], of_group)
        expected = (p_correct[:, reference] - p_correct[rows, choice]).mean()
        loss = max(measured + _CAUTION * error, expected)
        if loss <= MAX_LOSS + 1e-12 and spent < lowest:
            best, lowest = objective, spent
    return best
