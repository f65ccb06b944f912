"""Arms over several tasks together."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from calibration import Cell

__all__ = ["PooledArm", "pooled_arms"]


class PooledArm(NamedTuple):
    """Cells of one arm on several tasks.

    Attributes:
        model: Its model.
        policy: Its policy.
        accuracy: Share of right answers, over all tasks by their numbers of answers.
        low: Lower end of its 95% interval.
        high: Upper end.
        n: Graded answers.
        tokens: Mean generated tokens; NaN if some are unknown.
        flops: Mean FLOPs; `None` if some are unknown.
    """

    model: str
    policy: str
    accuracy: float
    low: float
    high: float
    n: int
    tokens: float
    flops: float | None


def pooled_arms(cells: "Sequence[Cell]") -> "list[PooledArm]":
    """Return one row for each arm, over tasks by their numbers of answers.

    Source:
        Intervals of weighted sums from those of their parts: MOVER, Zou and Donner, Statistics in
        Medicine 27 (2008), equation 5; the tasks' questions are independent.
    """
    rows: list[PooledArm] = []
    by_arm: dict[tuple[str, str], list[Cell]] = {}
    for cell in cells:
        if cell.n:
            by_arm.setdefault((cell.model, cell.policy), []).append(cell)
    for (model, policy), part in by_arm.items():
        n = sum(cell.n for cell in part)
        weights = [cell.n / n for cell in part]
        pairs = list(zip(weights, part, strict=True))
        accuracy = sum(w * cell.accuracy for w, cell in pairs)
        below = math.hypot(*(w * (cell.accuracy - cell.ci_low) for w, cell in pairs))
        above = math.hypot(*(w * (cell.ci_high - cell.accuracy) for w, cell in pairs))
        flops = [cell.mean_flops for cell in part]
        rows.append(
            PooledArm(
                model,
                policy,
                accuracy,
                accuracy - below,
                accuracy + above,
                n,
                sum(w * cell.mean_tokens for w, cell in pairs),
                None
                if any(one is None for one in flops)
                else sum(w * (one or 0.0) for w, one in zip(weights, flops, strict=True)),
            )
        )
    return rows
