"""What two-stage decisions would have done on questions that their cascade was not fitted on."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._objective import Objective
from .._outcomes import OutcomeMatrix
from ._crossfit import Foresight, Predicted
from ._headline import Walk
from ._realised import Realised
from ._tradeoffs import Sweep

__all__ = ["CascadeSweep", "sweep_cascades"]

_N_TRADEOFFS = 48
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class CascadeSweep(NamedTuple):
    """Two-stage decisions on the evaluated questions.

    Attributes:
        own: At the objective that each fold's router chose.
        walk: At some trade-offs of the router's sweep, from dear to cheap.
    """

    own: Realised
    walk: Walk


def sweep_cascades(
    matrix: OutcomeMatrix,
    rows: Ints,
    expected: Foresight,
    predicted: Predicted,
    *,
    plain: tuple[Realised, Sweep, Walk],
) -> CascadeSweep | None:
    """Return what the cascades did; `None` if no fold has one, or its costs were not recorded.

    A fold without a cascade decides in one stage.

    Args:
        matrix: The evaluated questions, without gaps.
        rows: Their positions among all questions.
        expected: What was expected of them.
        predicted: The cascades, by fold.
        plain: What the router does in one stage: at its own objective, at every trade-off, and
            that as a walk.
    """
    if not predicted.folds:
        return None
    folds = [
        (np.flatnonzero(np.isin(rows, fold)), objective, cascade)
        for fold, objective, cascade in zip(
            predicted.folds, predicted.objectives, predicted.cascades, strict=True
        )
        if cascade is not None
    ]
    own, swept, walk = plain
    true_cost = _true_cost(matrix, predicted.unit)
    if not folds or true_cost is None:
        return None
    points = _some(len(swept.tradeoffs))
    correct, tokens = swept.correct[:, points].copy(), swept.tokens[:, points].copy()
    own_correct, own_tokens = own.correct.copy(), own.tokens.copy()
    for inside, objective, cascade in folds:
        if not len(inside):
            continue
        part, p, cost = matrix.rows(inside), expected.p[inside], expected.cost[inside]
        known = true_cost[inside]
        done = cascade.simulate(p, cost, part, objective, true_cost=known)
        own_correct[inside], own_tokens[inside] = done.correct, done.tokens
        for column, tradeoff in enumerate(swept.tradeoffs[points].tolist()):
            at = Objective.trade(tradeoff, predicted.unit)
            done = cascade.simulate(p, cost, part, at, true_cost=known)
            correct[inside, column], tokens[inside, column] = done.correct, done.tokens
    return CascadeSweep(
        own=Realised(own_correct, own_tokens, np.full(len(rows), np.nan)),
        walk=replace(
            walk,
            names=tuple(f"cascade at {swept.tradeoffs[point]:.3g}" for point in points),
            tradeoffs=tuple(float(swept.tradeoffs[point]) for point in points),
            correct=correct,
            tokens=tokens,
            expected_cost=swept.expected_cost[points],
        ),
    )


def _some(n: int) -> list[int]:
    points: list[int] = np.linspace(0, n - 1, min(n, _N_TRADEOFFS)).astype(np.int64).tolist()
    return points


def _true_cost(matrix: OutcomeMatrix, unit: str) -> Floats | None:
    """Return measured costs, `None` for money and where some were not measured."""
    known = {"tokens": matrix.tokens, "flops": matrix.flops, "seconds": matrix.seconds}
    cost = known.get(unit)
    return None if cost is None or np.isnan(cost).any() else cost
