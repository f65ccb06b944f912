"""Which training rows of a run are reasoning rows: exact shares, nested between ratios."""

import random
from typing import NamedTuple

from ._student import Stage, StudyOrder

__all__ = ["PureStart", "pure_start", "reasoning_rows"]


class PureStart(NamedTuple):
    """The rows of one kind that a run begins with.

    Attributes:
        is_reasoning: Their kind.
        n_rows: How many there are, at least 1.
    """

    is_reasoning: bool
    n_rows: int


def reasoning_rows(stage: Stage, n_rows: int, seed: int) -> list[bool]:
    """Return for each training row whether its answer is a reasoning one.

    The number of reasoning rows is the ratio's, rounded. In a mixture rows are drawn by a rank
    that depends on the seed alone, so the reasoning rows of one ratio are among those of every
    larger one, and two ratios differ in as few rows as they can.

    Args:
        stage: Ratio and order.
        n_rows: Rows of the run.
        seed: The student's.
    """
    n_reasoning = round(stage.ratio * n_rows)
    match stage.order:
        case StudyOrder.IFT_THEN_REASONING:
            return [place >= n_rows - n_reasoning for place in range(n_rows)]
        case StudyOrder.REASONING_THEN_IFT:
            return [place < n_reasoning for place in range(n_rows)]
        case StudyOrder.REASONING_THEN_HYBRID:
            n_direct = n_rows - n_reasoning
            n_pure = n_rows - 2 * n_direct
            hybrid = [rank < n_direct for rank in _ranks(2 * n_direct, seed)]
            return [True] * n_pure + hybrid
        case _:
            return [rank < n_reasoning for rank in _ranks(n_rows, seed)]


def pure_start(rows: list[bool]) -> PureStart:
    """Return the rows of one kind that a run begins with."""
    other = not rows[0]
    return PureStart(rows[0], rows.index(other) if other in rows else len(rows))


def _ranks(n: int, seed: int) -> list[int]:
    ranks = list(range(n))
    random.Random(f"mixture/{seed}").shuffle(ranks)
    return ranks
