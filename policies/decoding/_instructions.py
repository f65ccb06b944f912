"""Instructions put before a conversation without losing the user's own."""

from collections.abc import Sequence
from typing import ClassVar, Self

from .._backend import Backend, Capability, GenerationRequest
from .._card import Parameter, PolicyCard
from .._messages import Completion, Message
from .._policy import DecodingOptions
from .._spec import PolicySpec
from .._vocabulary import Mode
from .direct import Direct

__all__ = ["STEPS_PARAMETER", "Instructed", "with_instruction"]

STEPS_PARAMETER = Parameter(
    "answer", int, "cap on tokens of steps and answer; 0 for the run's own", default=0, least=0
)
"""Parameter `answer` of the policies that write their steps into it."""


def with_instruction(
    messages: Sequence[Message], instruction: str, shots: Sequence[Message] = ()
) -> tuple[Message, ...]:
    """Return the conversation with an instruction in its system message, then worked examples.

    A system message that is there already comes first and keeps its text, since servers and
    templates take one only.

    Args:
        messages: The conversation.
        instruction: What the model shall do, for the whole conversation.
        shots: Example turns that go before the user's first.
    """
    own = [message for message in messages if message.role == "system"]
    rest = [message for message in messages if message.role != "system"]
    text = "\n\n".join([*(message.content for message in own), instruction])
    return (Message("system", text), *shots, *rest)


class Instructed:
    """Ask directly with an instruction in the system message, thinking off.

    What `cot` and `concise` have in common: only the instruction tells them apart.
    """

    card: ClassVar[PolicyCard]
    instruction: ClassVar[str]
    mode = Mode.IFT
    needs: frozenset[Capability] = frozenset()

    def __init__(self, *, answer: int = 0) -> None:
        """Keep the cap on tokens of steps and answer; 0 takes the options' own."""
        self.spec = self.card.spec(answer=answer)
        self._direct = Direct(answer=answer)

    @classmethod
    def from_spec(cls, spec: PolicySpec) -> Self:
        """Build from a spec.

        Raises:
            InvalidPolicyError: The spec has a budget or unknown parameters.
        """
        return cls(answer=cls.card.read(spec).integer("answer"))

    def max_tokens(self, options: DecodingOptions) -> int:
        """Return the cap on tokens of steps and answer together."""
        return self._direct.max_tokens(options)

    def request(self, messages: Sequence[Message], options: DecodingOptions) -> GenerationRequest:
        """Return the request that `run` sends."""
        return self._direct.request(with_instruction(messages, self.instruction), options)

    async def run(
        self, messages: Sequence[Message], backend: Backend, options: DecodingOptions
    ) -> Completion:
        """Return the steps and the answer."""
        return await backend.generate(self.request(messages, options))
