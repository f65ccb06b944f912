"""`concise`: thinking off, the steps written out in few words.

Canonical: `concise` or `concise(answer=N)`.

Source: Renze and Guven, "The Benefits of a Concise Chain of Thought", arXiv 2401.05618: the instruction of chain of thought with "be concise" added.
"""

from .._card import PolicyCard
from ._instructions import STEPS_PARAMETER, Instructed

__all__ = ["INSTRUCTION", "Concise"]

INSTRUCTION = "Think step by step, and be concise. Then give the final answer."
"""What the system message asks for."""


class Concise(Instructed):
    """Ask for short steps before the answer, thinking off."""

    card = PolicyCard(
        name="concise",
        signature="concise[(answer=N)]",
        summary="The steps written out in few words, thinking off.",
        paper="Renze and Guven, arXiv 2401.05618",
        standard=("concise",),
        parameters=(STEPS_PARAMETER,),
    )
    instruction = INSTRUCTION
