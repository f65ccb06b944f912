"""A router at every trade-off from free to prohibitive, and what it did there."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._decision import choose
from .._objective import CostUnit, Objective
from .._outcomes import OutcomeMatrix
from .._selection import candidate_tradeoffs
from ._crossfit import Foresight
from ._evaluation_result import CurveRow
from ._resampling import GroupBootstrap, group_sums

__all__ = ["Sweep", "critical_tradeoffs", "curve_rows", "sweep"]

_N_CRITICAL = 60
Floats = NDArray[np.float64]


class Sweep(NamedTuple):
    """What was chosen at each trade-off, from dear to cheap.

    Attributes:
        tradeoffs: Ascending, shape `(n_points,)`.
        correct: Share correct of the chosen arms, shape `(n_questions, n_points)`.
        tokens: Their tokens, same shape.
        expected_cost: Expected mean cost of the chosen arms, shape `(n_points,)`.
        choice: The chosen arms, shape `(n_questions, n_points)`.
    """

    tradeoffs: Floats
    correct: Floats
    tokens: Floats
    expected_cost: Floats
    choice: NDArray[np.int64]


def sweep(matrix: OutcomeMatrix, expected: Foresight, unit: CostUnit) -> Sweep:
    """Return what a router with these expectations did at each trade-off.

    Args:
        matrix: Outcomes without gaps.
        expected: Expectations for the same questions.
        unit: Unit of the expected costs.
    """
    critical = critical_tradeoffs(expected.p, expected.cost, _N_CRITICAL)
    tradeoffs = np.unique(np.concatenate([candidate_tradeoffs(expected.cost), critical]))
    choices = [
        choose(expected.p, expected.cost, Objective.trade(tradeoff, unit))[0]
        for tradeoff in tradeoffs.tolist()
    ]
    choice = np.stack(choices, axis=1)
    rows = np.arange(matrix.n_questions)[:, np.newaxis]
    return Sweep(
        tradeoffs=tradeoffs,
        correct=matrix.correct[rows, choice],
        tokens=matrix.tokens[rows, choice],
        expected_cost=expected.cost[rows, choice].mean(axis=0),
        choice=choice,
    )


def curve_rows(swept: Sweep, groups: GroupBootstrap) -> tuple[CurveRow, ...]:
    """Return accuracy, with t intervals clustered by group, and tokens at each trade-off.

    Args:
        swept: What the router did.
        groups: Groups of its questions, at least 2.
    """
    from scipy import special

    accuracy = swept.correct.mean(axis=0)
    residuals = group_sums(swept.correct - accuracy, groups.index, groups.n_groups)
    variance = (residuals**2).sum(axis=0) * groups.n_groups / (groups.n_groups - 1)
    quantile = float(special.stdtrit(groups.n_groups - 1, 0.975))
    half = quantile * np.sqrt(variance) / len(swept.correct)
    columns = (
        swept.tradeoffs,
        accuracy,
        np.maximum(accuracy - half, 0.0),
        np.minimum(accuracy + half, 1.0),
        swept.tokens.mean(axis=0),
    )
    rows: list[list[float]] = np.stack(columns, axis=1).tolist()
    return tuple(CurveRow(*row) for row in rows)


def critical_tradeoffs(quality: Floats, cost: Floats, n_points: int) -> Floats:
    """Return trade-offs at which choices change, at equal shares of the questions.

    Args:
        quality: What is traded, shape `(n_questions, n_arms)`.
        cost: For what, same shape.
        n_points: How many are wanted.
    """
    n_arms = quality.shape[1]
    found: list[Floats] = []
    for first in range(n_arms):
        for second in range(first + 1, n_arms):
            gain: Floats = quality[:, second] - quality[:, first]
            extra: Floats = cost[:, second] - cost[:, first]
            is_trade = gain * extra > 0
            found.append(gain[is_trade] / extra[is_trade])
    ratios = np.concatenate(found) if found else np.zeros(0)
    if len(ratios) == 0:
        return np.zeros(0)
    return np.quantile(ratios, (np.arange(n_points) + 0.5) / n_points)
