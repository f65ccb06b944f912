"""Which arms can be compared: where hardly a question has all of them, some are left out."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from .._outcomes import OutcomeMatrix
from ._realised import comparable_cells

__all__ = ["arms_in_common", "with_arms"]

_MIN_SHARE = 0.5
Bools = NDArray[np.bool_]


def arms_in_common(matrix: OutcomeMatrix, reference: int | None, n_groups: int) -> list[int]:
    """Return the columns to compare: all, unless too few groups have an answer of every arm.

    Then arms are left out one by one, each time the one without which most questions are
    complete, until half of the questions are that the reference was measured on (of all, without
    one), or two arms remain.

    Args:
        matrix: Outcomes with gaps.
        reference: Column that is never left out.
        n_groups: Groups of complete questions that are needed.
    """
    cells = comparable_cells(matrix)
    kept: list[int] = list(range(len(matrix.arms)))
    if _count_groups(matrix.groups, cells[:, kept]) >= n_groups:
        return kept
    measured = len(cells) if reference is None else np.count_nonzero(cells[:, reference])
    while len(kept) > 2:
        # Where no single arm stands in the way, the one that was measured least goes.
        worth = {
            arm: (
                len(_complete(cells[:, [one for one in kept if one != arm]])),
                -np.count_nonzero(cells[:, arm]),
            )
            for arm in kept
            if arm != reference
        }
        gone = max(worth, key=lambda arm: worth[arm])
        kept.remove(gone)
        is_enough = _count_groups(matrix.groups, cells[:, kept]) >= n_groups
        if is_enough and worth[gone][0] >= _MIN_SHARE * measured:
            break
    return kept


def with_arms(matrix: OutcomeMatrix, columns: Sequence[int]) -> OutcomeMatrix:
    """Return the outcomes of some arms; questions that none of them answered are left out."""
    chosen = list(columns)
    cut = replace(
        matrix,
        arms=tuple(matrix.arms[column] for column in chosen),
        correct=matrix.correct[:, chosen],
        prompt_tokens=matrix.prompt_tokens[:, chosen],
        tokens=matrix.tokens[:, chosen],
        flops=matrix.flops[:, chosen],
        seconds=matrix.seconds[:, chosen],
        n_samples=matrix.n_samples[:, chosen],
        evidence=matrix.evidence[:, chosen],
        evidence_correct=matrix.evidence_correct[:, chosen],
    )
    return cut.rows(np.flatnonzero(np.logical_or.reduce(cut.is_measured, axis=1)))


def _count_groups(groups: Sequence[str], cells: Bools) -> int:
    return len({groups[row] for row in _complete(cells)})


def _complete(cells: Bools) -> list[int]:
    """Return the rows in which every cell is known."""
    rows: list[int] = np.flatnonzero(np.logical_and.reduce(cells, axis=1)).tolist()
    return rows
