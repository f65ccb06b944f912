"""Accuracy against extra tokens for two arms, and the share of the oracle's headroom."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["CurvePoint", "gain_curve", "headroom_share"]

Floats = NDArray[np.float64]


class CurvePoint(NamedTuple):
    """One point of a curve from the cheap arm everywhere to the dear arm everywhere.

    Attributes:
        extra_share: Share of the dear arm's extra tokens that is spent, in [0, 1].
        accuracy: Accuracy reached.
    """

    extra_share: float
    accuracy: float


def gain_curve(score: Floats, correct: Floats, tokens: Floats) -> list[CurvePoint]:
    """Return the curve of sending questions to the dear arm in descending order of a score.

    Args:
        score: Who goes first, shape `(n_questions,)`; ties keep their order.
        correct: Share correct with the cheap and the dear arm, shape `(n_questions, 2)`.
        tokens: Generated tokens, same shape.
    """
    order = np.argsort(-score, kind="stable")
    gain = (correct[:, 1] - correct[:, 0])[order]
    extra = (tokens[:, 1] - tokens[:, 0])[order]
    spent = np.concatenate([[0.0], np.cumsum(extra)]) / max(extra.sum(), 1e-12)
    accuracy = correct[:, 0].mean() + np.concatenate([[0.0], np.cumsum(gain)]) / len(gain)
    return [CurvePoint(*point) for point in zip(spent.tolist(), accuracy.tolist(), strict=True)]


def headroom_share(score: Floats, correct: Floats, tokens: Floats) -> float:
    """Return how much of the oracle's gain over random mixing a score captures.

    `(area - random) / (oracle - random)` for the areas under accuracy over the share of extra
    tokens. The oracle orders questions by the gain that was measured, so on single samples it is
    inflated by their noise, and the share that can be reached is well below 1. NaN where the
    oracle gains nothing.

    Args:
        score: See `gain_curve`.
        correct: See `gain_curve`.
        tokens: See `gain_curve`.
    """
    random = float(correct.mean())  # the straight line between both arms
    extra = np.maximum(tokens[:, 1] - tokens[:, 0], 1.0)
    oracle = _area(gain_curve((correct[:, 1] - correct[:, 0]) / extra, correct, tokens))
    if oracle - random < 1e-9:
        return float("nan")
    return (_area(gain_curve(score, correct, tokens)) - random) / (oracle - random)


def _area(curve: list[CurvePoint]) -> float:
    points = np.array(curve)
    return float(np.trapezoid(points[:, 1], points[:, 0]))
