"""The default trade-off: as cheap as possible without losing accuracy."""

import numpy as np
from numpy.typing import NDArray

from ._decision import choose
from ._objective import CostUnit, Objective

__all__ = ["MAX_LOSS", "candidate_tradeoffs", "select_tradeoff"]

MAX_LOSS = 0.01
"""Accuracy the default objective may lose against the best fixed arm: one point."""

_MIN_QUESTIONS = 20
Floats = NDArray[np.float64]


def candidate_tradeoffs(cost: Floats) -> Floats:
    """Return 0 and trade-offs from negligible to prohibitive for costs of this size, ascending.

    Args:
        cost: Expected costs, shape `(n_questions, n_arms)`.
    """
    spread = float(np.ptp(cost, axis=1).mean()) if cost.size else 0.0
    if spread <= 0.0:
        return np.zeros(1)
    return np.concatenate([[0.0], np.geomspace(1e-4, 10.0, 81) / spread])


def select_tradeoff(
    p_correct: Floats, cost: Floats, correct: Floats, true_cost: Floats, unit: CostUnit
) -> Objective:
    """Return the trade-off that is cheapest while losing at most `MAX_LOSS` accuracy.

    The loss is against the most accurate fixed arm on the given questions, which must not be the
    ones the model was fitted on. It must stay within the limit twice, as measured and as the
    calibrated probabilities predict: the measured loss alone is noisy, and the cheapest trade-off
    is where its noise flatters most. Both are point estimates and no guarantee. With fewer than
    20 questions on which every arm was measured, cost only breaks ties.

    Args:
        p_correct: Predicted probabilities, shape `(n_questions, n_arms)`.
        cost: Predicted costs, same shape.
        correct: Measured share of correct answers, NaN for gaps, same shape.
        true_cost: Measured costs, same shape.
        unit: Unit of the costs.
    """
    complete = ~(np.isnan(correct) | np.isnan(true_cost)).any(axis=1)
    best = Objective.trade(0.0, unit)
    if np.count_nonzero(complete) < _MIN_QUESTIONS:
        return best
    p_correct, cost = p_correct[complete], cost[complete]
    correct, true_cost = correct[complete], true_cost[complete]
    reference = int(correct.mean(axis=0).argmax())
    rows = np.arange(len(correct))
    lowest = np.inf
    for tradeoff in candidate_tradeoffs(cost):
        objective = Objective.trade(float(tradeoff), unit)
        choice, _ = choose(p_correct, cost, objective)
        spent = true_cost[rows, choice].mean()
        losses = [
            (values[:, reference] - values[rows, choice]).mean() for values in (correct, p_correct)
        ]
        if max(losses) <= MAX_LOSS + 1e-12 and spent < lowest:
            best, lowest = objective, spent
    return best
