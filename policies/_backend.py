"""How a model is reached: the request, what a backend can do, and its protocol."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, runtime_checkable

from ._errors import CapabilityError, InvalidInputError
from ._messages import Completion, Message

__all__ = [
    "MAX_TEMPERATURE",
    "Backend",
    "Capability",
    "Delta",
    "GenerationRequest",
    "Streams",
    "SwitchPenalty",
    "TellsThoughtMarkers",
    "ThoughtMarkers",
    "Tokenizes",
    "require",
]

MAX_TEMPERATURE = 2.0
"""What OpenAI-compatible servers accept."""


class Capability(StrEnum):
    """Something a backend may or may not be able to do.

    Attributes:
        THINKING_SWITCH: Thinking can be turned on and off per request.
        THINKING_BUDGET: A thinking budget in tokens can be asked for. Alone it is a hint: the
            model or the provider decides how far it is kept, so each budget is a treatment of
            its own.
        HARD_BUDGET: The decoder enforces the budget: tokens before it are sampled as without
            one, then the end of the thought is forced. One trace then tells every smaller
            budget. Goes with THINKING_BUDGET.
        PREFIX_CONTINUATION: Generation can continue from given token ids of an answer, and the
            backend turns text into ids (`Tokenizes`).
        LOGPROBS: Log-probabilities of the generated tokens are returned.
        SAMPLES: Temperature sampling with a seed per request.
        LOGIT_BIAS: Logits can be shifted per token.
        ATTACHMENTS: Images and files of a turn are handed to the model.
        STOP: Generation can end at given texts or token ids, which stay in the answer.
        EFFORT: A word such as `low` tells the model or the provider how much to think.
        SWITCH_PENALTY: Logits of the words that begin another line of thought can be lowered
            for a while after each such beginning (`SwitchPenalty`), exactly.
    """

    THINKING_SWITCH = "thinking-switch"
    THINKING_BUDGET = "thinking-budget"
    HARD_BUDGET = "hard-budget"
    PREFIX_CONTINUATION = "prefix-continuation"
    LOGPROBS = "logprobs"
    SAMPLES = "samples"
    LOGIT_BIAS = "logit-bias"
    ATTACHMENTS = "attachments"
    STOP = "stop"
    EFFORT = "effort"
    SWITCH_PENALTY = "switch-penalty"


@dataclass(frozen=True, slots=True)
class SwitchPenalty:
    """Lower the logits of words that begin another line of thought, for a while.

    Inside the thought (in the whole answer of a model that does not think) the first token of
    each word loses `amount` as long as fewer than `window` tokens were generated since the
    thought, or the latest of these words, began. A word counts as written as given and with a
    space before it.

    Source: Wang et al., "Thoughts Are All Over the Place", arXiv 2501.18585, section 4.

    Attributes:
        words: Such as `Alternatively`; at least one.
        amount: What is subtracted from a logit, above 0 (alpha).
        window: Tokens, 1 or more (beta).
    """

    words: tuple[str, ...]
    amount: float
    window: int

    def __post_init__(self) -> None:
        """Refuse what penalises nothing."""
        if not self.words or not all(self.words) or not self.amount > 0 or self.window < 1:
            raise InvalidInputError(
                f"a switch penalty of {self.amount} for {self.window} tokens on"
                f" {len(self.words)} words, expected all of them above 0",
                code="invalid-request",
            )


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
        stop: Texts at which generation ends: with the token that completes the first of them,
            in thought or answer. It stays in the answer, and `finish_reason` is `STOP`.
        stop_ids: Token ids that end it likewise.
        effort: How much to think, as the provider calls it; needs `thinking`.
        switch_penalty: Words that are made less likely for a while.
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
    stop: tuple[str, ...] = ()
    stop_ids: tuple[int, ...] = ()
    effort: str | None = None
    switch_penalty: SwitchPenalty | None = None

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
                (not all(self.stop), "a stop text is empty"),
                (
                    self.effort is not None and not self.thinking,
                    f"effort is {self.effort!r} although thinking is off",
                ),
            )
            if is_bad
        ]
        if problems:
            raise InvalidInputError("; ".join(problems), code="invalid-request")

    def needs(self) -> frozenset[Capability]:
        """Return the capabilities without which this request cannot be honoured."""
        wanted = (
            (self.thinking_budget is not None, Capability.THINKING_BUDGET),
            (bool(self.continuation), Capability.PREFIX_CONTINUATION),
            (self.logprobs, Capability.LOGPROBS),
            (self.temperature > 0, Capability.SAMPLES),
            (bool(self.logit_bias), Capability.LOGIT_BIAS),
            (any(turn.attachments for turn in self.messages), Capability.ATTACHMENTS),
            (bool(self.stop or self.stop_ids), Capability.STOP),
            (self.effort is not None, Capability.EFFORT),
            (self.switch_penalty is not None, Capability.SWITCH_PENALTY),
        )
        return frozenset(capability for is_needed, capability in wanted if is_needed)


@dataclass(frozen=True, slots=True)
class ThoughtMarkers:
    r"""How a thought lies in the token ids of an answer.

    Attributes:
        start: Ids that open the thought in the answer; empty if the prompt opens it.
        end: Ids that the decoder forces at the budget; a thought that ends by itself ends with
            the last of them.
        n_in_prompt: Thinking tokens that the prompt already holds after its start marker (the
            line break of `<think>\n`); the decoder counts them against the budget.
    """

    start: tuple[int, ...]
    end: tuple[int, ...]
    n_in_prompt: int = 0

    def n_thinking(self, token_ids: Sequence[int]) -> int:
        """Return how many of an answer's tokens lie inside its thought, markers left out."""
        return self._thought_end(token_ids) - self._thought_start(token_ids)

    def is_closed(self, token_ids: Sequence[int]) -> bool:
        """Return whether the thought has ended."""
        return self._thought_end(token_ids) < len(token_ids)

    def cut(self, token_ids: Sequence[int], budget: int) -> tuple[int, ...] | None:
        """Return the beginning of an answer whose thought is cut at `budget` and closed there.

        Args:
            token_ids: A generated answer; its thought may be closed or not.
            budget: Thinking tokens as the decoder counts them, 0 or more.

        Returns:
            Start marker, the first thinking tokens and the forced end; `None` if the thought is
            closed and no longer than the budget, so that the answer is the budget's own.

        Raises:
            InvalidInputError: The thought is open and shorter than the budget: nothing in it
                tells how it would have gone on.
        """
        kept = max(0, budget - self.n_in_prompt)
        n_thinking = self.n_thinking(token_ids)
        if n_thinking <= kept and self.is_closed(token_ids):
            return None
        if n_thinking < kept:
            raise InvalidInputError(
                f"a thought cut after {n_thinking} tokens does not tell the budget {budget}"
            )
        head = token_ids[: self._thought_start(token_ids) + kept]
        return (*head, *self.end)

    def _thought_start(self, token_ids: Sequence[int]) -> int:
        n = len(self.start)
        return n if n and tuple(token_ids[:n]) == self.start else 0

    def _thought_end(self, token_ids: Sequence[int]) -> int:
        begin = self._thought_start(token_ids)
        if self.start and not begin:
            return 0  # The model did not think.
        last = self.end[-1]
        return next(
            (i for i in range(begin, len(token_ids)) if token_ids[i] == last), len(token_ids)
        )


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


@runtime_checkable
class TellsThoughtMarkers(Protocol):
    """A backend with PREFIX_CONTINUATION whose thoughts can be cut by token ids."""

    async def thought_markers(self) -> ThoughtMarkers:
        """Return the markers of this model's thoughts.

        Raises:
            BackendError: They cannot be found out, or the server forces another text.
        """
        ...


@runtime_checkable
class Tokenizes(Protocol):
    """A backend that turns text into its model's token ids and back.

    Every backend with PREFIX_CONTINUATION does.
    """

    async def encode(self, text: str) -> tuple[int, ...]:
        """Return the ids of a text, without any that a tokenizer adds at its ends.

        Raises:
            BackendError: The model's tokenizer cannot be reached.
        """
        ...

    async def decode(self, token_ids: Sequence[int]) -> str:
        """Return the text of token ids, special tokens such as thought markers included.

        Raises:
            BackendError: The model's tokenizer cannot be reached.
        """
        ...


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of an answer as it is generated.

    Attributes:
        thinking: More of the thought, which goes before `text`; may be empty.
        text: More of the answer; may be empty.
    """

    thinking: str = ""
    text: str = ""


@runtime_checkable
class Streams(Protocol):
    """A backend that hands out an answer while it is generated."""

    def stream(self, request: GenerationRequest) -> AsyncGenerator[Delta | Completion]:
        """Yield the answer piece by piece, last of all the completion of `generate`.

        The pieces come as tokens come, and add up to the completion's `thinking` (nothing for
        `None`) and `text`; no piece ends within a character. Nothing is asked before the first
        piece is. A consumer that leaves early, by `aclose()` or because it is cancelled, ends
        the generation and disturbs no other; `contextlib.aclosing` sees to it.

        Raises:
            BackendError: As `generate`; possibly after some pieces.
        """
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
