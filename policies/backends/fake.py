"""Backend `fake`: scripted answers, for tests and documentation; no model, no network.

A token is a word with the white space before it. Everything is deterministic: the same script
and the same requests give the same completions.
"""

import asyncio
import contextlib
import re
import zlib
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from .._backend import Capability, Delta, GenerationRequest, ThoughtMarkers, require
from .._errors import BackendError, BackendRequestError
from .._messages import Completion, Evidence, FinishReason, Usage
from ._limits import check_context

__all__ = ["FakeAnswer", "FakeBackend", "FakeScript", "Reply"]

_TOKEN = re.compile(r"\s*\S+|\s+$")
_MARKED = re.compile(r"</?think>|\s*(?:(?!</?think>)\S)+|\s+")
_START, _END, _END_OF_TURN = "<think>", "</think>", ""
_SPECIAL_IDS = {_END_OF_TURN: 0, _START: 1, _END: 2}


@dataclass(frozen=True, slots=True)
class FakeAnswer:
    """What the model has to say to one prompt.

    Attributes:
        text: The answer after the whole thought.
        thinking: The thought; `None` for a model that does not think here.
        direct: The answer with thinking off; `text` if `None`.
        when_cut: The answer after a cut thought, or a function of the number of thinking
            tokens that were left; `text` if `None`.
        samples: What sampling may give in place of `text`, chosen by the request's seed.
        logprob: Log-probability of every answer token.
        margin: Gap between the two most likely tokens at every place of the answer.
        finish_reason: Why the model stops, unless the token cap comes first.
    """

    text: str
    thinking: str | None = None
    direct: str | None = None
    when_cut: str | Callable[[int], str] | None = None
    samples: tuple[str, ...] = ()
    logprob: float = -0.1
    margin: float | None = None
    finish_reason: FinishReason = FinishReason.STOP


Reply: TypeAlias = FakeAnswer | str | BackendError
"""One scripted reply: an answer, its bare text, or the error to raise."""

FakeScript: TypeAlias = Mapping[str, Reply] | Sequence[Reply] | Callable[[GenerationRequest], Reply]
"""Replies by prompt (the last message's content), in the order of calls, or by a function."""


class FakeBackend:
    """A model that says what a script tells it to.

    Budgets cut the thought exactly; `max_tokens` cuts everything. A continuation is honoured
    word for word, so budgets can be replayed from one trace.

    Attributes:
        calls: Every request so far, in the order of arrival; failed ones too.
        most_in_flight: The most requests that were under way at once.
        n_abandoned: Streams whose consumer left before the completion.

    Example:
        >>> import asyncio
        >>> from policies import GenerationRequest, user_message
        >>> backend = FakeBackend({"2+3?": FakeAnswer("5", thinking="2 and 3 make 5", direct="6")})
        >>> request = GenerationRequest(user_message("2+3?"), max_tokens=9)
        >>> asyncio.run(backend.generate(request)).text
        '6'
    """

    name = "fake"

    def __init__(
        self,
        script: FakeScript,
        *,
        model: str = "fake",
        latency_s: float = 0.0,
        token_s: float = 0.0,
        failures: Sequence[BackendError | None] = (),
        capabilities: frozenset[Capability] = frozenset(Capability)
        - {Capability.LOGIT_BIAS, Capability.ATTACHMENTS, Capability.SWITCH_PENALTY},
        max_concurrency: int = 64,
        context: int | None = None,
        ignores_stop: bool = False,
    ) -> None:
        """Take a script.

        Args:
            script: The replies.
            model: Name of the model.
            latency_s: Pause before every reply, which is also its `seconds`.
            token_s: Pause before every token of a stream besides.
            failures: Errors of the first calls, `None` where a call shall succeed.
            capabilities: What the backend claims and does; anything else is refused.
            max_concurrency: How many calls at once it says are useful.
            context: Most tokens of prompt, continuation and `max_tokens` together; `None` for
                no end.
            ignores_stop: Whether it talks on at stops although it claims to know them, as
                broken servers do.
        """
        self.model = model
        self.capabilities = capabilities
        self.max_concurrency = max_concurrency
        self.calls: list[GenerationRequest] = []
        self.most_in_flight = 0
        self.n_abandoned = 0
        self._script = script
        self._latency_s = latency_s
        self._token_s = token_s
        self._failures = list(failures)
        self._context = context
        self._ignores_stop = ignores_stop
        self._in_flight = 0
        self._words = {token_id: word for word, token_id in _SPECIAL_IDS.items()}

    def identity(self) -> Mapping[str, str]:
        """Return backend and model."""
        return {"backend": self.name, "model": self.model}

    async def generate(self, request: GenerationRequest) -> Completion:
        """Return the scripted completion.

        Raises:
            CapabilityError: The request needs something outside `capabilities`.
            BackendRequestError: The script has nothing for it, or it does not fit the context.
            BackendError: The script says so.
        """
        needed = request.needs()
        if request.thinking:
            needed |= {Capability.THINKING_SWITCH}
        n_call = len(self.calls)
        self.calls.append(request)
        require(self, needed)
        check_context(
            _n_prompt(request),
            request.max_tokens,
            self._context,
            backend=self.name,
            model=self.model,
        )
        with self._under_way():
            await asyncio.sleep(self._latency_s)
        failure = self._failures[n_call] if n_call < len(self._failures) else None
        reply = failure or self._reply(request, n_call)
        if isinstance(reply, BackendError):
            raise reply
        answer = FakeAnswer(reply) if isinstance(reply, str) else reply
        return self._completion(answer, request)

    async def stream(self, request: GenerationRequest) -> AsyncGenerator[Delta | Completion]:
        """Yield the scripted completion word by word, last of all itself; see `Streams`.

        Raises:
            BackendError: As `generate`.
        """
        try:
            completion = await self.generate(request)
            words = [Delta(thinking=word) for word in _tokens(completion.thinking or "")]
            words += [Delta(text=word) for word in _tokens(completion.text)]
            with self._under_way():
                for word in words:
                    await asyncio.sleep(self._token_s)
                    yield word
        except (GeneratorExit, asyncio.CancelledError):
            self.n_abandoned += 1
            raise
        yield completion

    async def thought_markers(self) -> ThoughtMarkers:
        """Return the markers of scripted thoughts.

        Raises:
            CapabilityError: PREFIX_CONTINUATION is not among `capabilities`.
        """
        require(self, frozenset({Capability.PREFIX_CONTINUATION}))
        return ThoughtMarkers(start=(_SPECIAL_IDS[_START],), end=(_SPECIAL_IDS[_END],))

    async def encode(self, text: str) -> tuple[int, ...]:
        """Return the ids of a text's words and markers."""
        return tuple(self._id(word) for word in _MARKED.findall(text))

    async def decode(self, token_ids: Sequence[int]) -> str:
        """Return the text of ids that this backend has given."""
        return "".join(self._words.get(token, "?") for token in token_ids)

    async def aclose(self) -> None:
        """Do nothing."""

    @contextlib.contextmanager
    def _under_way(self) -> Generator[None]:
        self._in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self._in_flight)
        try:
            yield
        finally:
            self._in_flight -= 1

    def _reply(self, request: GenerationRequest, n_call: int) -> Reply:
        if callable(self._script):
            return self._script(request)
        prompt = request.messages[-1].content
        if isinstance(self._script, Mapping):
            if prompt in self._script:
                return self._script[prompt]
            missing = f"the prompt {prompt!r}"
        else:
            if n_call < len(self._script):
                return self._script[n_call]
            missing = f"call number {n_call + 1}"
        raise BackendRequestError(
            f"the script has no reply for {missing}", backend=self.name, model=self.model
        )

    def _completion(self, answer: FakeAnswer, request: GenerationRequest) -> Completion:
        given = tuple(self._words.get(token, "?") for token in request.continuation)
        stream = _stream(answer, request, given)[len(given) :]
        finish_reason = answer.finish_reason
        stopped = self._n_until_stop(stream, request)
        ends_turn = len(stream) < request.max_tokens and stopped is None
        if stopped is not None and stopped <= request.max_tokens:
            stream, finish_reason = stream[:stopped], FinishReason.STOP
        elif not ends_turn:
            stream, finish_reason = stream[: request.max_tokens], FinishReason.LENGTH
        spoken = [*given, *stream]
        n_thinking, start = _locate_answer(spoken)
        has_thought = bool(spoken) and spoken[0] == _START
        return Completion(
            text="".join(spoken[start:]),
            finish_reason=finish_reason,
            usage=Usage(
                prompt_tokens=_n_prompt(request),
                completion_tokens=len(stream) + ends_turn,
                thinking_tokens=n_thinking - _locate_answer(given)[0],
            ),
            seconds=self._latency_s,
            thinking="".join(spoken[1 : n_thinking + 1]) if has_thought else None,
            thinking_closed=start <= len(spoken),
            token_ids=tuple(self._id(word) for word in stream),
            evidence=Evidence(answer.logprob, answer.logprob, answer.margin)
            if request.logprobs and start < len(spoken)
            else None,
        )

    def _n_until_stop(self, stream: Sequence[str], request: GenerationRequest) -> int | None:
        """Return after how many tokens a stop text or id ends the answer, `None` if none does."""
        if self._ignores_stop:
            return None
        said = ""
        for place, word in enumerate(stream):
            said += word
            is_stopped = any(text in said for text in request.stop)
            if is_stopped or self._id(word) in request.stop_ids:
                return place + 1
        return None

    def _id(self, word: str) -> int:
        token_id = _SPECIAL_IDS.get(word)
        if token_id is None:
            token_id = len(_SPECIAL_IDS) + zlib.crc32(word.encode())
        self._words[token_id] = word
        return token_id


def _n_prompt(request: GenerationRequest) -> int:
    return sum(1 + len(_tokens(turn.content)) for turn in request.messages) + len(
        request.continuation
    )


def _tokens(text: str) -> list[str]:
    return _TOKEN.findall(text)


def _stream(answer: FakeAnswer, request: GenerationRequest, given: tuple[str, ...]) -> list[str]:
    """Return all tokens that the model would speak, given ones included, without any cap."""
    if not request.thinking:
        return _tokens(answer.text if answer.direct is None else answer.direct)
    if answer.thinking is None:
        return _tokens(_sampled(answer, request))
    thought = _tokens(answer.thinking)
    kept = thought if request.thinking_budget is None else thought[: request.thinking_budget]
    if _END in given:
        kept = list(given[1 : given.index(_END)])
    if kept == thought:
        text = _sampled(answer, request)
    elif callable(answer.when_cut):
        text = answer.when_cut(len(kept))
    else:
        text = answer.text if answer.when_cut is None else answer.when_cut
    return [_START, *kept, _END, *_tokens(text)]


def _sampled(answer: FakeAnswer, request: GenerationRequest) -> str:
    if request.temperature == 0 or not answer.samples:
        return answer.text
    return answer.samples[zlib.crc32(str(request.seed).encode()) % len(answer.samples)]


def _locate_answer(spoken: Sequence[str]) -> tuple[int, int]:
    """Return the tokens inside the thought and the index of the answer's first token."""
    if not spoken or spoken[0] != _START:
        return 0, 0
    if _END in spoken:
        end = spoken.index(_END)
        return end - 1, end + 1
    return len(spoken) - 1, len(spoken) + 1
