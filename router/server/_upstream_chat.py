"""Chats passed on to an OpenAI-compatible server, with nothing changed but the thinking mode."""

import json
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from policies import (
    BackendResponseError,
    DecodingOptions,
    GenerationRequest,
    OneRequestPolicy,
    Policy,
    Usage,
    user_message,
)
from policies.backends.thinking import Dialect, dialect_named, with_thinking

from ._answers import AnswerFacts
from ._documents import read_usage, show_thought, usage_document
from ._local_chat import StopWatch
from .upstreams import Trail, UpstreamAnswer, UpstreamPool

__all__ = ["ServedModel", "Thinking", "UpstreamChat", "thinking_of"]

_OURS = ("thinkroute",)
_DONE = "[DONE]"
# Log-probabilities that JSON has no word for; -9999 is what vLLM says instead.
_JSON = json.JSONDecoder(parse_constant={"-Infinity": -9999.0}.get)


@dataclass(frozen=True, slots=True)
class Thinking:
    """How a plain policy asks for its answer, beyond the conversation.

    Attributes:
        is_on: Whether the model thinks.
        budget: Cap on thinking tokens, `None` for none.
        effort: The provider's word for how much, `None` for none.
    """

    is_on: bool
    budget: int | None = None
    effort: str | None = None


def thinking_of(policy: Policy) -> Thinking | None:
    """Return what a policy comes to where it is a switch alone, `None` where it does more."""
    if not isinstance(policy, OneRequestPolicy):
        return None
    options = DecodingOptions()
    asked = policy.request(user_message("?"), options)
    plain = GenerationRequest(
        messages=user_message("?"),
        max_tokens=asked.max_tokens,
        thinking=asked.thinking,
        thinking_budget=asked.thinking_budget,
        effort=asked.effort,
    )
    has_own_cap = any(name == "answer" for name, _ in policy.spec.params)
    if asked != plain or has_own_cap:
        return None
    return Thinking(asked.thinking, asked.thinking_budget, asked.effort)


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model behind one or more OpenAI-compatible servers.

    Attributes:
        name: The name under which it is served.
        pool: The servers.
        dialect: How they are told to think.
        extra: Fields of every request, as the operator describes the servers.
    """

    name: str
    pool: UpstreamPool
    dialect: Dialect
    extra: Mapping[str, Any]

    @classmethod
    def of(cls, name: str, pool: UpstreamPool, dialect: Dialect) -> "ServedModel":
        """Return a model; what its dialect's row sends by itself for measurements is left out."""
        usual = dialect_named(dialect.name).always
        extra = {key: value for key, value in dialect.always.items() if key not in usual}
        return cls(name, pool, dialect, extra)

    async def chat(
        self,
        body: Mapping[str, Any],
        thinking: Thinking | None,
        *,
        headers: Mapping[str, str],
        trail: Trail,
        shows_thought: bool,
        before: Usage | None = None,
    ) -> "UpstreamChat":
        """Send a chat, and return its answer as soon as the server begins to give it.

        Args:
            body: The client's body.
            thinking: How it is to think; `None` leaves it as the client and the server have it.
            headers: More headers to send.
            trail: Filled with what the request goes through.
            shows_thought: Whether the client is told thoughts.
            before: Tokens of calls that came before.

        Raises:
            BackendError: No server has answered.
        """
        sent = {key: value for key, value in body.items() if key not in _OURS}
        sent |= {"model": self.name, **self.extra}
        stops: tuple[str, ...] = ()
        if thinking is not None and thinking.is_on and sent.get("stop"):
            # Engines look for stops in thoughts too: what a client means for the answer would
            # end the thought.
            given = sent.pop("stop")
            stops = (given,) if isinstance(given, str) else tuple(given)
        if thinking is not None:
            sent.pop("reasoning_effort", None)
            sent = with_thinking(
                sent,
                self.dialect,
                thinking=thinking.is_on,
                budget=thinking.budget,
                effort=thinking.effort,
            )
        if sent.get("stream"):
            options = cast("Mapping[str, Any]", sent.get("stream_options") or {})
            sent["stream_options"] = {**options, "include_usage": True}
        answer = await self.pool.send(
            "/chat/completions",
            json.dumps(sent).encode(),
            headers=headers,
            model=self.name,
            is_whole=not sent.get("stream"),
            trail=trail,
        )
        return UpstreamChat(
            answer,
            self.name,
            shows_thought=shows_thought,
            before=before,
            stops=stops,
            # Those who want to know the tokens have to wait for them.
            n_stoppable=0 if _wants_usage(body) else body.get("n") or 1,
        )


class UpstreamChat:
    """An answer that a server has begun to give."""

    has_begun = True

    def __init__(
        self,
        answer: UpstreamAnswer,
        model: str,
        *,
        shows_thought: bool,
        before: Usage | None,
        stops: tuple[str, ...],
        n_stoppable: int,
    ) -> None:
        """Take the answer over; it is closed when it has been read, or by `aclose`.

        Args:
            answer: What the server has begun to say.
            model: Its model.
            shows_thought: Whether the client is told thoughts.
            before: Tokens of calls that came before.
            stops: Texts at which answers end that the server was not told.
            n_stoppable: How many answers must have been stopped for the server to be left, 0 to
                read to its end whatever happens.
        """
        self.facts = AnswerFacts(
            upstream=answer.url, n_attempts=answer.n_attempts, wait_s=answer.wait_s
        )
        self._answer = answer
        self._model = model
        self._shows_thought = shows_thought
        self._before = before
        self._stops = stops
        self._n_stoppable = n_stoppable
        self._watches: dict[int, StopWatch] = {}

    async def document(self) -> dict[str, Any]:
        """Return the chat completion document.

        Raises:
            BackendError: The server broke off, or answered something else.
        """
        others_s = self.facts.wait_s - self._answer.wait_s
        raw = await self._answer.read()
        self.facts.wait_s = others_s + self._answer.wait_s
        document = self._parsed(raw)
        choices = document.get("choices")
        if not isinstance(choices, list):
            raise self._nonsense("it has no choices")
        self._shape(cast("list[Any]", choices), "message")
        self._note_usage(document)
        return document

    async def chunks(self) -> AsyncGenerator[dict[str, Any]]:
        """Yield the pieces as they come.

        Raises:
            BackendError: The server broke off, or told an error instead of a piece.
        """
        buffer = b""
        others_s = self.facts.wait_s - self._answer.wait_s
        is_done = False
        try:
            async for data in self._answer.chunks():
                buffer += data
                *lines, buffer = buffer.split(b"\n")
                for line in lines:
                    if not line.startswith(b"data:"):
                        continue  # Comments and event names, which keep the connection alive.
                    text = line[5:].strip()
                    if text == _DONE.encode():
                        is_done = True
                        continue
                    if (piece := self._piece(text)) is not None:
                        self.facts.n_pieces += len(piece.get("choices") or ())
                        yield piece
                    n_stopped = sum(watch.is_hit for watch in self._watches.values())
                    if n_stopped and n_stopped == self._n_stoppable:
                        return
        finally:
            # Also of one that nobody waits for any more.
            self.facts.wait_s = others_s + self._answer.wait_s
        if not is_done and not self.facts.finish_reason:
            raise self._nonsense("its stream ended in the middle of the answer")

    async def aclose(self) -> None:
        """Break the connection off where the server has not ended."""
        await self._answer.aclose()

    def _piece(self, raw: bytes) -> dict[str, Any] | None:
        document = self._parsed(raw)
        if (error := document.get("error")) is not None:
            message = cast("Any", error).get("message") if isinstance(error, dict) else error
            raise self._nonsense(f"it broke off with {str(message)[:200]!r}")
        choices = cast("list[Any]", document.get("choices") or [])
        if self._stops and choices:
            document["choices"] = choices = [one for one in choices if not self._has_ended(one)]
            if not choices:
                return None
        self._shape(choices, "delta")
        self._note_usage(document)
        return document

    def _parsed(self, raw: bytes) -> dict[str, Any]:
        try:
            document: Any = _JSON.decode(raw.decode("utf-8", "surrogatepass"))
        except ValueError as error:
            raise self._nonsense("it is no JSON") from error
        if not isinstance(document, dict):
            raise self._nonsense("it is no JSON object")
        return cast("dict[str, Any]", document)

    def _shape(self, choices: list[Any], key: str) -> None:
        """Name thoughts as clients know them, and note why the answer ended; in place."""
        for choice in choices:
            if not isinstance(choice, dict):
                raise self._nonsense("a choice is no object")
            fields = cast("dict[str, Any]", choice)
            if isinstance(said := fields.get(key), dict):
                show_thought(cast("dict[str, Any]", said), is_shown=self._shows_thought)
                if self._stops:
                    self._stop(fields, cast("dict[str, Any]", said), is_whole=key == "message")
            if not self._shows_thought:
                # Those of the thought's tokens are among them.
                fields["logprobs"] = None
                fields.pop("token_ids", None)
            if isinstance(reason := fields.get("finish_reason"), str):
                self.facts.finish_reason = reason

    def _has_ended(self, choice: Any) -> bool:
        """Return whether an answer was stopped in an earlier piece."""
        fields = cast("dict[str, Any]", choice) if isinstance(choice, dict) else {}
        watch = self._watches.get(int(fields.get("index") or 0))
        return watch is not None and watch.is_hit

    def _stop(self, choice: dict[str, Any], said: dict[str, Any], *, is_whole: bool) -> None:
        """End an answer at its first stop, or hold back what may become one; in place."""
        watch = self._watches.setdefault(int(choice.get("index") or 0), StopWatch(self._stops))
        content = said.get("content")
        if isinstance(content, str) and content:
            said["content"] = watch.pass_on(content)
        if (is_whole or choice.get("finish_reason") is not None) and (rest := watch.rest()):
            said["content"] = (said.get("content") or "") + rest
        if watch.is_hit:
            choice["finish_reason"] = "stop"

    def _note_usage(self, document: dict[str, Any]) -> None:
        usage = read_usage(document.get("usage"))
        if usage is None:
            return
        self.facts.usage = usage
        if self._before is not None:
            self.facts.usage = self._before + usage
            document["usage"] = usage_document(self.facts.usage)

    def _nonsense(self, problem: str) -> BackendResponseError:
        return BackendResponseError(
            f"the server's answer cannot be used: {problem}", backend="openai", model=self._model
        )


def _wants_usage(body: Mapping[str, Any]) -> bool:
    options = body.get("stream_options")
    return isinstance(options, dict) and bool(cast("dict[str, Any]", options).get("include_usage"))
