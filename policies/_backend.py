"""How a model is reached: the request, what a backend can do, and its protocol."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, runtime_checkable

from ._errors import CapabilityError, InvalidInputError
from ._messages import Completion, Message

__all__ = ["MAX_TEMPERATURE", "Backend", "Capability", "GenerationRequest", "require"]

MAX_TEMPERATURE = 2.0
"""What OpenAI-compatible servers accept."""


class Capability(StrEnum):
    """Something a backend may or may not be able to do.

    Attributes:
        THINKING_SWITCH: Thinking can be turned on and off per request.
        HARD_BUDGET: A thinking budget is enforced by the decoder: tokens before it are sampled
            as without a budget, then the end of the thought is forced.
        PREFIX_CONTINUATION: Generation can continue from given token ids of an answer.
        LOGPROBS: Log-probabilities of the generated tokens are returned.
        SAMPLES: Temperature sampling with a seed per request.
        LOGIT_BIAS: Logits can be shifted per token.
    """

    THINKING_SWITCH = "thinking-switch"
    HARD_BUDGET = "hard-budget"
    PREFIX_CONTINUATION = "prefix-continuation"
    LOGPROBS = "logprobs"
    SAMPLES = "samples"
    LOGIT_BIAS = "logit-bias"


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One request for one completion; everything that changes the output is in here.

    Attributes:
        messages: The conversation, at least one message.
        thinking: Whether the model is asked to think first.
        thinking_budget: Cap on thinking tokens, `None` for no cap; needs `thinking`.
        max_tokens: Cap on all generated tokens together, positive.
        temperature: 0 is greedy decoding.
        top_p: Nucleus mass in (0, 1].
        seed: Seed of this request's sampling; `None` leaves it to the backend.
        logprobs: Whether `Completion.evidence` is wanted.
        continuation: Token ids the answer already begins with; the thought's budget counts them.
        logit_bias: Amount added to the logits of token ids.
    """

    messages: tuple[Message, ...]
    max_tokens: int
    thinking: bool = False
    thinking_budget: int | None = None
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    logprobs: bool = False
    continuation: tuple[int, ...] = ()
    logit_bias: Mapping[int, float] | None = None

    def __post_init__(self) -> None:
        """Refuse values that no backend could honour."""
        problems = [
            text
            for is_bad, text in (
                (not self.messages, "messages is empty"),
                (self.max_tokens < 1, f"max_tokens is {self.max_tokens}, expected >= 1"),
                (
                    self.thinking_budget is not None and self.thinking_budget < 0,
                    f"thinking_budget is {self.thinking_budget}, expected >= 0 or None",
                ),
                (
                    self.thinking_budget is not None and not self.thinking,
                    "thinking_budget is set although thinking is off",
                ),
                (
                    not 0.0 <= self.temperature <= MAX_TEMPERATURE,
                    f"temperature is {self.temperature}, expected 0 to {MAX_TEMPERATURE}",
                ),
                (not 0.0 < self.top_p <= 1.0, f"top_p is {self.top_p}, expected (0, 1]"),
            )
            if is_bad
        ]
        if problems:
            raise InvalidInputError("; ".join(problems), code="invalid-request")

    def needs(self) -> frozenset[Capability]:
        """Return the capabilities without which this request cannot be honoured."""
        wanted = (
            (self.thinking_budget is not None, Capability.HARD_BUDGET),
            (bool(self.continuation), Capability.PREFIX_CONTINUATION),
            (self.logprobs, Capability.LOGPROBS),
            (self.temperature > 0, Capability.SAMPLES),
            (bool(self.logit_bias), Capability.LOGIT_BIAS),
        )
        return frozenset(capability for is_needed, capability in wanted if is_needed)


@runtime_checkable
class Backend(Protocol):
    """A model that can be asked.

    Implementations are safe to call from many tasks of one event loop at once; a backend that
    batches gathers concurrent calls by itself. `check_backend` in `policies.contract` tests
    an implementation.
    """

    @property
    def name(self) -> str:
        """Kind of backend, such as `pocket` or `openai`."""
        ...

    @property
    def model(self) -> str:
        """Name of the model as users write it."""
        ...

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What this backend can do for this model."""
        ...

    @property
    def max_concurrency(self) -> int:
        """How many calls at once are useful."""
        ...

    def identity(self) -> Mapping[str, str]:
        """Return everything besides the request that changes the output.

        Model revision, weights or template hash, backend version: the run store keys samples
        by it, so two models behind one name never share an answer. No secrets.
        """
        ...

    async def generate(self, request: GenerationRequest) -> Completion:
        """Return one completion.

        Raises:
            BackendError: The model could not be asked or its answer could not be used.
        """
        ...

    async def aclose(self) -> None:
        """Release the model or the connections; the backend is not used afterwards."""
        ...


def require(backend: Backend, needed: frozenset[Capability]) -> None:
    """Check that `backend` has the needed capabilities.

    Raises:
        CapabilityError: It lacks at least one; all missing ones are named.
    """
    missing = needed - backend.capabilities
    if missing:
        raise CapabilityError(
            f"backend {backend.name!r} cannot do {', '.join(sorted(missing))}",
            backend=backend.name,
            model=backend.model,
            hint="choose another policy or another backend",
        )
