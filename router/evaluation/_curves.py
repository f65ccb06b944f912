"""Accuracy against tokens: curves of two arms, convex hulls, and the areas under them."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "CurvePoint",
    "GainCurves",
    "average_quality",
    "gain_curve",
    "headroom_share",
    "upper_hull",
    "weighted_gain_curves",
]

Floats = NDArray[np.float64]


class CurvePoint(NamedTuple):
    """One point of a curve from the cheap arm everywhere to the dear arm everywhere.

    Attributes:
        extra_share: Share of the dear arm's extra tokens that is spent, in [0, 1].
        accuracy: Accuracy reached.
    """

    extra_share: float
    accuracy: float


class GainCurves(NamedTuple):
    """Curves from the cheap arm everywhere to the dear arm everywhere, one per row of weights.

    Attributes:
        extra_share: Share of the extra tokens spent, shape `(n_rows, 1 + n_questions)`.
        call_share: Share of the questions sent to the dear arm, same shape.
        accuracy: Accuracy reached, same shape.
    """

    extra_share: Floats
    call_share: Floats
    accuracy: Floats


def weighted_gain_curves(
    score: Floats, correct: Floats, tokens: Floats, weights: Floats
) -> GainCurves:
    """Return the curves of `gain_curve` under several weightings of the questions.

    Args:
        score: Who goes first, shape `(n_questions,)`; ties keep their order.
        correct: Share correct with the cheap and the dear arm, shape `(n_questions, 2)`.
        tokens: Generated tokens, same shape.
        weights: How often each question counts, shape `(n_rows, n_questions)`.
    """
    order = np.argsort(-score, kind="stable")
    ordered = weights[:, order]
    total = ordered.sum(axis=1, keepdims=True)

    def from_zero(values: Floats) -> Floats:
        summed = np.cumsum(ordered * values[order], axis=1)
        return np.concatenate([np.zeros((len(summed), 1)), summed], axis=1)

    spent = from_zero(tokens[:, 1] - tokens[:, 0])
    cheap = (ordered * correct[order, 0]).sum(axis=1, keepdims=True)
    return GainCurves(
        extra_share=spent / np.maximum(spent[:, -1:], 1e-12),
        call_share=from_zero(np.ones(len(order))) / total,
        accuracy=(cheap + from_zero(correct[:, 1] - correct[:, 0])) / total,
    )


def gain_curve(score: Floats, correct: Floats, tokens: Floats) -> list[CurvePoint]:
    """Return the curve of sending questions to the dear arm in descending order of a score.

    Args:
        score: Who goes first, shape `(n_questions,)`; ties keep their order.
        correct: Share correct with the cheap and the dear arm, shape `(n_questions, 2)`.
        tokens: Generated tokens, same shape.
    """
    curves = weighted_gain_curves(score, correct, tokens, np.ones((1, len(score))))
    points = zip(curves.extra_share[0].tolist(), curves.accuracy[0].tolist(), strict=True)
    return [CurvePoint(*point) for point in points]


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


def upper_hull(cost: Floats, quality: Floats) -> list[tuple[float, float]]:
    """Return the non-decreasing upper convex hull of points, in ascending order of cost.

    Any point on it can be had by choosing at random between two of the given ones; those beyond
    the best one are left out.

    Args:
        cost: Mean cost of each point, shape `(n_points,)`.
        quality: Its accuracy, same shape.
    """
    hull: list[tuple[float, float]] = []
    order = np.lexsort((-quality, cost)).tolist()
    costs, qualities = cost.tolist(), quality.tolist()
    for point in order:
        x, y = costs[point], qualities[point]
        if hull and y <= hull[-1][1]:
            continue
        while len(hull) > 1:
            (x0, y0), (x1, y1) = hull[-2], hull[-1]
            if (y1 - y0) * (x - x0) > (y - y0) * (x1 - x0):
                break
            hull.pop()
        hull.append((x, y))
    return hull


def average_quality(cost: Floats, quality: Floats, low: float, high: float) -> float:
    """Return the mean accuracy of the non-decreasing hull over an interval of costs (AIQ).

    The hull goes on flat to the right of its last point and to the left of its first one. NaN
    for an empty interval.

    Source: Hu et al., RouterBench, arXiv 2403.12031, section 3.3 ("Average Improvement in
    Quality"). Its interval is that of the systems compared; here the caller names it.

    Args:
        cost: Mean cost of each point, shape `(n_points,)`.
        quality: Its accuracy, same shape.
        low: Start of the interval.
        high: Its end.
    """
    if not low < high:
        return float("nan")
    corners = np.array(upper_hull(cost, quality), dtype=np.float64)
    x: Floats = corners[:, 0]
    y: Floats = corners[:, 1]
    inside = (x > low) & (x < high)
    at = np.concatenate([np.array([low]), x[inside], np.array([high])])
    return float(np.trapezoid(np.interp(at, x, y), at)) / (high - low)
