"""`cot`: thinking off, the steps written out in the answer.

Canonical: `cot` or `cot(answer=N)`.

Source: Kojima et al., "Large Language Models are Zero-Shot Reasoners", arXiv 2205.11916
(the instruction, here ours, stands in for examples with steps: Wei et al.,
arXiv 2201.11903).
"""

from .._card import PolicyCard
from ._instructions import STEPS_PARAMETER, Instructed

__all__ = ["INSTRUCTION", "ChainOfThought"]

INSTRUCTION = "Think step by step, one step per paragraph. Then give the final answer."
"""What the system message asks for."""


class ChainOfThought(Instructed):
    """Ask for the steps before the answer, thinking off."""

    card = PolicyCard(
        name="cot",
        signature="cot[(answer=N)]",
        summary="The steps written out in the answer, thinking off.",
        paper="Kojima et al., arXiv 2205.11916",
        standard=("cot",),
        parameters=(STEPS_PARAMETER,),
    )
    instruction = INSTRUCTION
