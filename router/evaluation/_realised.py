"""What a way of answering did, question by question; a choice of arms is only one such way."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from calibration.statistics import (
    clustered_mean_interval,
    paired_proportions_interval,
    wilson_interval,
)

from .._outcomes import OutcomeMatrix

__all__ = [
    "EvaluationRow",
    "Realised",
    "comparable_cells",
    "realise",
    "realise_weights",
    "row_of",
]

Floats = NDArray[np.float64]


class Realised(NamedTuple):
    """What one way of answering did on each question.

    Attributes:
        correct: Share of correct answers in [0, 1], shape `(n_questions,)`.
        tokens: Generated tokens, of all calls together, same shape.
        flops: Inference FLOPs, NaN where unknown, same shape.
    """

    correct: Floats
    tokens: Floats
    flops: Floats


@dataclass(frozen=True, slots=True)
class EvaluationRow:
    """One way of answering, judged.

    Attributes:
        name: An arm's name, or what chooses among the arms.
        accuracy: Share of correct answers in [0, 1].
        ci_low: Lower end of its 95% interval: Wilson for single samples of independent
            questions, else a t interval clustered by group.
        ci_high: Upper end.
        mean_tokens: Mean generated tokens.
        mean_flops: Mean inference FLOPs, `None` if unknown.
        n: Questions.
        accuracy_difference: Accuracy minus the reference arm's on the same questions.
        difference_low: Lower end of its paired two-sided 95% interval.
        difference_high: Upper end.
        tokens_saved: Share of the reference arm's tokens not spent; negative if it spends more.
    """

    name: str
    accuracy: float
    ci_low: float
    ci_high: float
    mean_tokens: float
    mean_flops: float | None
    n: int
    accuracy_difference: float
    difference_low: float
    difference_high: float
    tokens_saved: float


def comparable_cells(matrix: OutcomeMatrix) -> NDArray[np.bool_]:
    """Return the cells whose outcome and tokens are both known, shape `(n_questions, n_arms)`."""
    return matrix.is_measured & ~np.isnan(matrix.tokens)


def realise(matrix: OutcomeMatrix, choice: NDArray[np.int64]) -> Realised:
    """Return what the chosen arm of each question did.

    Args:
        matrix: Outcomes.
        choice: Column of the chosen arm, shape `(n_questions,)`.
    """
    rows = np.arange(matrix.n_questions)
    return Realised(
        matrix.correct[rows, choice], matrix.tokens[rows, choice], matrix.flops[rows, choice]
    )


def realise_weights(matrix: OutcomeMatrix, weights: Floats) -> Realised:
    """Return what is to be expected if every question draws its arm with the same probabilities.

    Args:
        matrix: Outcomes without gaps.
        weights: Probability of each arm, shape `(n_arms,)`.
    """
    flops = np.where(weights > 0, weights * matrix.flops, 0.0).sum(axis=1)
    return Realised(matrix.correct @ weights, matrix.tokens @ weights, flops)


def row_of(name: str, ours: Realised, reference: Realised, groups: Sequence[str]) -> EvaluationRow:
    """Return the row of a way of answering beside the reference arm on the same questions.

    Args:
        name: What to call it.
        ours: What it did.
        reference: What the reference arm did on the same questions.
        groups: Group of each question.
    """
    values = ours.correct
    is_single = len(set(groups)) == len(values)
    interval = (
        wilson_interval(int(values.sum()), len(values))
        if is_single and _is_binary(values)
        else clustered_mean_interval(values.tolist(), groups)
    )
    low, high = _paired_ends(values, reference.correct, groups, is_single)
    flops, spent = float(ours.flops.mean()), float(reference.tokens.sum())
    return EvaluationRow(
        name=name,
        accuracy=float(values.mean()),
        ci_low=max(interval.low, 0.0),
        ci_high=min(interval.high, 1.0),
        mean_tokens=float(ours.tokens.mean()),
        mean_flops=None if np.isnan(flops) else flops,
        n=len(values),
        accuracy_difference=float((values - reference.correct).mean()),
        difference_low=max(low, -1.0),
        difference_high=min(high, 1.0),
        tokens_saved=1.0 - float(ours.tokens.sum()) / spent if spent > 0 else 0.0,
    )


def _paired_ends(
    ours: Floats, theirs: Floats, groups: Sequence[str], is_single: bool
) -> tuple[float, float]:
    if is_single and _is_binary(ours) and _is_binary(theirs):
        first, second = ours > 0.5, theirs > 0.5
        table = (first & second, first & ~second, ~first & second, ~first & ~second)
        interval = paired_proportions_interval(*(int(np.count_nonzero(cell)) for cell in table))
    else:
        interval = clustered_mean_interval((ours - theirs).tolist(), groups)
    return interval.low, interval.high


def _is_binary(values: Floats) -> bool:
    return bool(((values == 0.0) | (values == 1.0)).all())
