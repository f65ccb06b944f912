"""The error that matters for routing: how the arms of a question differ, above all."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["COMMON_WEIGHT", "mean_and_error", "routing_errors", "split_errors"]

COMMON_WEIGHT = 0.5
"""What is common to all arms decides nothing between them, but thresholds on p need it too."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def routing_errors(p: Floats, correct: Floats) -> Floats:
    """Return the squared error of each question, its part common to all arms counted half.

    Args:
        p: Predicted p, shape `(n_questions, n_arms)`.
        correct: Share correct, NaN where not measured, same shape.
    """
    between, common = split_errors(p, correct)
    return (between * between).sum(axis=1) + COMMON_WEIGHT * common * common


def split_errors(p: Floats, values: Floats) -> tuple[Floats, Floats]:
    """Return errors around a question's mean error, and the mean error; 0 for gaps."""
    known = ~np.isnan(values)
    errors = np.where(known, values - p, 0.0)
    counts = np.maximum(known.sum(axis=1), 1)
    common = errors.sum(axis=1) / counts
    return np.where(known, errors - common[:, np.newaxis], 0.0), common


def mean_and_error(values: Floats, of_group: Ints) -> tuple[float, float]:
    """Return the mean over questions and its standard error over groups.

    Args:
        values: One per question, shape `(n_questions,)`.
        of_group: Group of each question, counted from 0.
    """
    mean = float(values.mean())
    totals = np.bincount(of_group, values - mean)
    return mean, float(np.sqrt((totals * totals).sum()) / len(values))
