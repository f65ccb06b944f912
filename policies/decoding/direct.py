"""`direct`: thinking off, the answer alone."""

from collections.abc import Sequence

from .._backend import Backend, Capability, GenerationRequest
from .._messages import Completion, Message
from .._policy import DecodingOptions
from .._spec import PolicySpec
from .._vocabulary import Mode
from ._parameters import refuse_parameters

__all__ = ["Direct"]


class Direct:
    """Ask for the answer without a thought (the model's instruction-tuned mode)."""

    mode = Mode.IFT
    needs: frozenset[Capability] = frozenset()

    def __init__(self) -> None:
        """Take no parameters."""
        self.spec = PolicySpec("direct")

    @classmethod
    def from_spec(cls, spec: PolicySpec) -> "Direct":
        """Build from a spec.

        Raises:
            InvalidPolicyError: The spec has a budget or parameters.
        """
        refuse_parameters(spec, takes_budget=False)
        return cls()

    def max_tokens(self, options: DecodingOptions) -> int:
        """Return `options.max_answer_tokens`."""
        return options.max_answer_tokens

    def request(self, messages: Sequence[Message], options: DecodingOptions) -> GenerationRequest:
        """Return the request that `run` sends."""
        return GenerationRequest(
            messages=tuple(messages),
            max_tokens=self.max_tokens(options),
            temperature=options.temperature,
            top_p=options.top_p,
            seed=options.seed,
            logprobs=options.logprobs,
        )

    async def run(
        self, messages: Sequence[Message], backend: Backend, options: DecodingOptions
    ) -> Completion:
        """Return the direct answer, at most `options.max_answer_tokens` long."""
        return await backend.generate(self.request(messages, options))
