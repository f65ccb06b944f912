"""Chats answered by policies on backends: models in this process, and all methods of many calls."""

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from secrets import token_hex
from typing import Any, cast

from policies import (
    Attachment,
    Backend,
    Capability,
    Completion,
    DecodingOptions,
    Delta,
    FinishReason,
    GenerationRequest,
    InvalidInputError,
    Message,
    OneRequestPolicy,
    Policy,
    Role,
    Streams,
    Usage,
    require,
)

from ._answers import AnswerFacts
from ._documents import chunk, document_of, finish_reason_of, usage_document
from ._problems import ProblemError

__all__ = ["LocalChat", "LocalRequest", "Needs", "StopWatch", "needs_of"]

_ANY = frozenset({"model", "messages", "stream", "stream_options", "n", "thinkroute"})
_SAMPLING = frozenset({"temperature", "top_p", "seed", "max_tokens", "max_completion_tokens"})
_ONE_REQUEST = frozenset({"stop", "logit_bias"})
# They change no answer, only who pays, what is remembered and what is reported.
_WITHOUT_EFFECT = frozenset(
    {
        *("user", "metadata", "store", "service_tier", "prompt_cache_key", "safety_identifier"),
        *("parallel_tool_calls", "reasoning_effort", "prompt_cache_retention"),
    }
)
_NEUTRAL: Mapping[str, tuple[object, ...]] = {
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
    "verbosity": ("medium",),
}
_ROLES: Mapping[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
}


@dataclass(frozen=True, slots=True)
class Needs:
    """What a body asks for that not every way of answering can give.

    Attributes:
        one_request: A field that needs a policy of a single request, "" for none.
        upstream: A field that only the model's own server can honour, "" for none.
    """

    one_request: str = ""
    upstream: str = ""


def needs_of(body: Mapping[str, Any]) -> Needs:
    """Return what answering a body needs."""
    one_request = upstream = ""
    for name, value in body.items():
        if value is None or name in _ANY or name in _SAMPLING or name in _WITHOUT_EFFECT:
            continue
        if name in _NEUTRAL and value in _NEUTRAL[name]:
            continue
        if name in _ONE_REQUEST:
            one_request = one_request or name
        else:
            upstream = upstream or name
    if (body.get("n") or 1) > 1:
        one_request = one_request or "n"
    turns = cast("list[Mapping[str, Any]]", body["messages"])
    if not all(_is_plain_turn(turn) for turn in turns):
        upstream = upstream or "messages"
    return Needs(one_request, upstream)


def _is_plain_turn(turn: Mapping[str, Any]) -> bool:
    content = turn.get("content")
    if turn.get("role") not in _ROLES or turn.get("tool_calls"):
        return False
    if not isinstance(content, list):
        return True
    parts = cast("list[Mapping[str, Any]]", content)
    return all(part.get("type") in ("text", "image_url", "file") for part in parts)


@dataclass(frozen=True, slots=True)
class LocalRequest:
    """A chat, as policies understand it.

    Attributes:
        messages: The conversation.
        options: How to decode.
        stop: Texts at which the answer ends.
        logit_bias: Amount added to the logits of token ids.
        cap: Most tokens to generate, thoughts included; `None` for the options' own caps.
        n: How many answers.
    """

    messages: tuple[Message, ...]
    options: DecodingOptions
    stop: tuple[str, ...] = ()
    logit_bias: Mapping[int, float] | None = None
    cap: int | None = None
    n: int = 1

    @classmethod
    def read(cls, body: Mapping[str, Any], usual: DecodingOptions) -> "LocalRequest":
        """Read a body that asks for nothing else.

        Args:
            body: The client's body, checked.
            usual: How to decode where the body does not say: as was measured.

        Raises:
            ProblemError: A turn cannot be read.
            InvalidInputError: A value is out of range.
        """
        cap = body.get("max_completion_tokens") or body.get("max_tokens")
        given = {
            name: body[name]
            for name in ("temperature", "top_p", "seed")
            if body.get(name) is not None
        }
        if cap is not None:
            # Of each call, where a method makes several.
            given["max_answer_tokens"] = min(cap, usual.max_answer_tokens)
            given["max_thinking_tokens"] = min(cap, usual.max_thinking_tokens)
        stop = body.get("stop") or ()
        bias = cast("Mapping[str, float] | None", body.get("logit_bias") or None)
        return cls(
            messages=tuple(_message(turn, place) for place, turn in enumerate(body["messages"])),
            options=replace(usual, **given),
            stop=(stop,) if isinstance(stop, str) else tuple(stop),
            logit_bias=None if bias is None else {int(token): by for token, by in bias.items()},
            cap=cap,
            n=body.get("n") or 1,
        )

    def of(self, policy: OneRequestPolicy) -> GenerationRequest:
        """Return the one request of a policy, with what the client asks for besides.

        Stops are the answer's: where the model thinks first they would end the thought, so that
        they are looked for here.
        """
        request = policy.request(self.messages, self.options)
        most = request.max_tokens if self.cap is None else min(request.max_tokens, self.cap)
        stop = () if request.thinking else self.stop
        return replace(request, max_tokens=most, stop=stop, logit_bias=self.logit_bias)


def _message(turn: Mapping[str, Any], place: int) -> Message:
    path = f"messages[{place}].content"
    content = turn.get("content")
    role = _ROLES[turn["role"]]
    if not isinstance(content, list):
        return Message(role, _checked(content or "", path))
    texts: list[str] = []
    attachments: list[Attachment] = []
    for number, part in enumerate(cast("list[Mapping[str, Any]]", content)):
        kind, where = part["type"], f"{path}[{number}]"
        if kind == "text":
            texts.append(_checked(part.get("text"), f"{where}.text"))
            continue
        key = "url" if kind == "image_url" else "file_data"
        inner: Any = part.get(kind)
        fields = cast("Mapping[str, Any]", inner if isinstance(inner, dict) else {})
        url = _checked(fields.get(key), f"{where}.{kind}.{key}")
        name = _checked(fields.get("filename") or "", f"{where}.{kind}.filename")
        attachments.append(Attachment("image" if kind == "image_url" else "file", url, name))
    return Message(role, "\n".join(texts), tuple(attachments))


def _checked(text: object, path: str) -> str:
    problem = "" if isinstance(text, str) else "is missing" if text is None else "is no text"
    try:
        str(text).encode()
    except UnicodeEncodeError:
        problem = "holds half of a surrogate pair, which no model reads"
    if problem:
        raise ProblemError(400, "invalid-request", f"{path} {problem}", param="messages")
    return str(text)


class LocalChat:
    """An answer by a policy on a backend, or one that is known already."""

    has_begun = False

    def __init__(
        self,
        request: LocalRequest,
        policy: Policy,
        backend: Backend,
        *,
        shows_thought: bool = True,
        before: Usage | None = None,
        known: Completion | None = None,
    ) -> None:
        """Prepare; nothing is asked yet.

        Args:
            request: The chat.
            policy: How to answer it.
            backend: The model.
            shows_thought: Whether the client is told thoughts.
            before: Tokens of calls that came before this answer.
            known: The answer, where it was had already; its usage counts, `before` not.

        Raises:
            CapabilityError: The backend lacks what the policy or the request needs.
        """
        self.facts = AnswerFacts(n_attempts=0)
        self._request = request
        self._policy = policy
        self._backend = backend
        self._shows_thought = shows_thought
        self._before = None if known is not None else before
        self._known = known
        self._id = f"chatcmpl-{token_hex(12)}"
        self._created = int(time.time())
        needed = policy.needs
        if any(turn.attachments for turn in request.messages):
            needed |= {Capability.ATTACHMENTS}
        require(backend, needed)

    async def document(self) -> dict[str, Any]:
        """Return the chat completion document.

        Raises:
            BackendError: The model could not be asked.
        """
        started = time.perf_counter()
        try:
            completions = await self._complete()
        finally:
            self.facts.wait_s += time.perf_counter() - started
        document = document_of(
            completions,
            answer_id=self._id,
            created=self._created,
            model=self._backend.model,
            shows_thought=self._shows_thought,
        )
        self.facts.finish_reason = document["choices"][0]["finish_reason"]
        self._note(completions)
        if self._before is not None:
            document["usage"] = usage_document(cast("Usage", self.facts.usage))
        return document

    async def chunks(self) -> AsyncGenerator[dict[str, Any]]:
        """Yield the pieces as they are generated.

        Raises:
            BackendError: The model failed on the way.
        """
        completions: list[Completion] = []
        for index in range(self._request.n):
            # It goes out with the first piece: until then a failure is told as one.
            role: dict[str, Any] = {"role": "assistant", "content": ""}
            last: Completion | None = None
            waited = time.perf_counter()
            async with aclosing(self._pieces()) as pieces:
                async for piece in pieces:
                    self.facts.wait_s += time.perf_counter() - waited
                    if isinstance(piece, Completion):
                        last = piece
                    elif delta := self._delta(piece):
                        self.facts.n_pieces += 1
                        yield self._chunk(role | delta, index)
                        role = {}
                    waited = time.perf_counter()
            if last is None:
                raise InvalidInputError("the model's stream ended without an answer")
            completions.append(last)
            self.facts.finish_reason = finish_reason_of(last)
            yield self._chunk(role, index, finish_reason=self.facts.finish_reason)
        self._note(completions)
        yield chunk(self._id, self._created, self._backend.model, None, usage=self.facts.usage)

    async def aclose(self) -> None:
        """Do nothing: whoever cancels the reading stops the model."""

    async def _complete(self) -> list[Completion]:
        if self._known is not None:
            return [self._known]
        if self._request.n == 1:
            return [await self._once()]
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._once()) for _ in range(self._request.n)]
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None
        return [task.result() for task in tasks]

    async def _once(self) -> Completion:
        self.facts.n_attempts += 1
        if not isinstance(self._policy, OneRequestPolicy):
            return await self._policy.run(
                self._request.messages, self._backend, self._request.options
            )
        completion = await self._backend.generate(self._request.of(self._policy))
        return _stopped(completion, self._request.stop)

    async def _pieces(self) -> AsyncGenerator[Delta | Completion]:
        """Yield what is generated, piece by piece where policy and backend can."""
        streams = isinstance(self._policy, OneRequestPolicy) and isinstance(self._backend, Streams)
        if self._known is not None or not streams:
            completion = self._known or await self._once()
            yield Delta(thinking=completion.thinking or "", text=completion.text)
            yield completion
            return
        self.facts.n_attempts += 1
        request = self._request.of(cast("OneRequestPolicy", self._policy))
        held = StopWatch(self._request.stop)
        async with aclosing(cast("Streams", self._backend).stream(request)) as pieces:
            async for piece in pieces:
                if isinstance(piece, Delta):
                    yield Delta(piece.thinking, held.pass_on(piece.text))
                    continue
                whole = _stopped(piece, self._request.stop)
                if rest := whole.text[held.n_passed :]:
                    yield Delta(text=rest)
                yield whole

    def _note(self, completions: list[Completion]) -> None:
        usage = completions[0].usage
        for other in completions[1:]:
            usage += Usage(0, other.usage.completion_tokens, other.usage.thinking_tokens)
        self.facts.usage = usage if self._before is None else self._before + usage

    def _delta(self, piece: Delta) -> dict[str, Any]:
        delta: dict[str, Any] = {}
        if piece.thinking and self._shows_thought:
            delta["reasoning_content"] = piece.thinking
        if piece.text:
            delta["content"] = piece.text
        return delta

    def _chunk(
        self, delta: Mapping[str, Any], index: int, finish_reason: str | None = None
    ) -> dict[str, Any]:
        return chunk(
            self._id,
            self._created,
            self._backend.model,
            delta,
            index=index,
            finish_reason=finish_reason,
        )


class StopWatch:
    """Passes on a text that comes in pieces, up to the first stop, which is not shown."""

    def __init__(self, stops: tuple[str, ...]) -> None:
        """Start with nothing."""
        self._stops = stops
        # What may yet turn out to be the beginning of a stop.
        self._n_held = max(map(len, stops), default=1) - 1
        self._text = ""
        self.n_passed = 0
        self.is_hit = False

    def pass_on(self, piece: str) -> str:
        """Return what of the text may be shown now."""
        if self.is_hit:
            return ""
        self._text += piece
        end = _end_of(self._text, self._stops)
        self.is_hit = end < len(self._text)
        if not self.is_hit:
            end = max(len(self._text) - self._n_held, self.n_passed)
        passed, self.n_passed = self._text[self.n_passed : end], end
        return passed

    def rest(self) -> str:
        """Return what was held back, once nothing more comes."""
        return "" if self.is_hit else self._text[self.n_passed :]


def _end_of(text: str, stops: tuple[str, ...]) -> int:
    return min((text.find(stop) for stop in stops if stop in text), default=len(text))


def _stopped(completion: Completion, stops: tuple[str, ...]) -> Completion:
    """Return a completion whose text ends before the first stop."""
    end = _end_of(completion.text, stops)
    if end == len(completion.text):
        return completion
    return replace(completion, text=completion.text[:end], finish_reason=FinishReason.STOP)
