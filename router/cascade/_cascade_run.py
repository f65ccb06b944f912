"""Run a two-stage decision: ask, look at the answer's evidence, ask another arm if it is doubtful."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from policies import Completion, Evidence, FinishReason

from .._objective import Objective
from ._cascade import Cascade

__all__ = ["CascadeRun", "evidence_of", "run_cascade"]

Floats = NDArray[np.float64]


class CascadeRun(NamedTuple):
    """What became of a two-stage decision.

    Attributes:
        completion: The final answer; its usage and seconds are those of all calls together.
        arm: Position of the arm that gave it.
        calls: Each call's arm and completion, in the order in which they were made.
    """

    completion: Completion
    arm: int
    calls: tuple[tuple[int, Completion], ...]


async def run_cascade(
    cascade: Cascade,
    first: int,
    p: Floats,
    cost: Floats,
    objective: Objective,
    ask: Callable[[int], Awaitable[Completion]],
) -> CascadeRun:
    """Ask the first arm, and the one that its evidence calls for, if any.

    Args:
        cascade: What evidence means.
        first: The arm that `Cascade.plan` says to ask first.
        p: Probabilities of all arms for this prompt, shape `(n_arms,)`.
        cost: Expected costs, same shape.
        objective: The rule.
        ask: Asks an arm by its position.

    Raises:
        BackendError: A model could not be asked; also the second one, since nobody would know
            that a doubtful answer was given instead.
    """
    answer = await ask(first)
    second = cascade.escalate(
        p, cost, first, evidence_of(answer), objective, n_tokens=answer.usage.completion_tokens
    )
    if second == first:
        return CascadeRun(answer, first, ((first, answer),))
    better = await ask(second)
    whole = replace(
        better, usage=answer.usage + better.usage, seconds=answer.seconds + better.seconds
    )
    return CascadeRun(whole, second, ((first, answer), (second, better)))


def evidence_of(answer: Completion) -> Evidence | None:
    """Return what an answer says about itself; `None` if there is no finished answer at all."""
    is_whole = answer.finish_reason is FinishReason.STOP and answer.thinking_closed
    if not is_whole or not answer.text.strip():
        return None
    return answer.evidence or Evidence()
