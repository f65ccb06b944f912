"""Clients of the soak: what they send, and the judgement on how each request ended."""

import asyncio
import json
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import count
from types import SimpleNamespace
from typing import Any, Literal, cast

import aiohttp

from ._world import prompt_of

__all__ = ["Clients", "End", "Ended"]

End = Literal["whole", "refused", "broken", "left", "unanswered", "bad"]
"""How a request ended: with a complete answer; with a status from 400 and an error document; with
an error event in its stream; by the client's leaving, as planned; without a single byte of an
answer; or in any other way, which is a defect."""
Api = Literal["chat", "completions", "responses"]

_PATHS: Mapping[Api, str] = {
    "chat": "/chat/completions",
    "completions": "/completions",
    "responses": "/responses",
}
_APIS: tuple[Api, ...] = ("chat", "chat", "chat", "chat", "completions", "responses")
_LONGEST_S = 60.0


@dataclass(frozen=True, slots=True)
class Ended:
    """One request that was sent.

    Attributes:
        what: API and way, such as `chat streamed`.
        end: How it ended.
        why: Code of the error, or what is wrong with the answer.
        decision_id: As the headers name it, "" without any.
        seconds: From sending to the end.
    """

    what: str
    end: End
    why: str = ""
    decision_id: str = ""
    seconds: float = 0.0


@dataclass(slots=True)
class Clients:
    """Clients that each send one request after the other until they are told to stop.

    Attributes:
        url: Base URL of the server.
        n_pieces: Pieces of each answer.
        leave_share: Share of the requests whose client leaves in the middle.
        ended: All requests that have ended.
    """

    url: str
    n_pieces: int
    leave_share: float
    ended: list[Ended] = field(default_factory=list[Ended])
    is_stopping: bool = False
    _rng: random.Random = field(default_factory=lambda: random.Random(1))
    _numbers: "count[int]" = field(default_factory=count)

    async def run(self, n_streams: int, n_whole: int) -> None:
        """Run until `is_stopping`, then until the last answer has ended."""
        connector = aiohttp.TCPConnector(limit=0)
        timeout = aiohttp.ClientTimeout(total=None, sock_read=_LONGEST_S)
        async with (
            aiohttp.ClientSession(
                connector=connector, timeout=timeout, trace_configs=[_tracing()]
            ) as session,
            asyncio.TaskGroup() as group,
        ):
            for number in range(n_streams + n_whole):
                group.create_task(self._client(session, is_streamed=number < n_streams))

    async def _client(self, session: aiohttp.ClientSession, *, is_streamed: bool) -> None:
        while not self.is_stopping:
            ended = await self.ask(session, is_streamed=is_streamed)
            self.ended.append(ended)
            if ended.end in {"refused", "unanswered"}:
                await asyncio.sleep(0.1)

    async def ask(self, session: aiohttp.ClientSession, *, is_streamed: bool) -> Ended:
        """Send one request, and return how it ended."""
        rng = self._rng
        api = rng.choice(_APIS)
        nonce = f"n{next(self._numbers)}"
        prompt = f"{prompt_of(rng, rng.choice(('sum', 'who')), rng.randint(1, 6))} {nonce}"
        body: dict[str, Any] = {"model": "thinkroute", "stream": is_streamed}
        if api == "chat":
            body["messages"] = [{"role": "user", "content": prompt}]
        else:
            body["prompt" if api == "completions" else "input"] = prompt
        leaves = rng.random() < self.leave_share
        leaves_after = rng.randrange(1, self.n_pieces) if leaves else None
        is_early = leaves and (not is_streamed or rng.random() < 0.4)
        expected = "".join(f" {nonce}.{number}" for number in range(self.n_pieces))
        what = f"{api} {'streamed' if is_streamed else 'whole'}"
        started = time.perf_counter()

        def ended(end: End, why: str = "", decision_id: str = "") -> Ended:
            return Ended(what, end, why, decision_id, time.perf_counter() - started)

        decision_id, got = "", bytearray()
        has_head = False
        try:
            sent = asyncio.Event()
            asking = session.post(self.url + _PATHS[api], json=body, trace_request_ctx=sent)
            if is_early:
                await _leave(asyncio.ensure_future(asking), sent, rng.uniform(0.01, 0.4))
                return ended("left")
            async with asking as response:
                has_head = True
                decision_id = response.headers.get("x-thinkroute-decision", "")
                async for data in response.content.iter_any():
                    got += data
                    if leaves_after is not None and got.count(b"data:") >= leaves_after:
                        response.close()
                        return ended("left", decision_id=decision_id)
            if response.status >= 400:
                return ended(*_refusal(response.status, bytes(got)), decision_id)
            judge = _STREAMED[api] if is_streamed else _WHOLE[api]
            return ended(*judge(bytes(got), expected), decision_id)
        except TimeoutError:
            return ended("bad", f"silent for {_LONGEST_S:g} s", decision_id)
        except (aiohttp.ClientError, OSError) as error:
            if not has_head and isinstance(error, aiohttp.ClientConnectionError | OSError):
                return ended("unanswered", type(error).__name__)
            return ended("bad", f"{type(error).__name__} after {bytes(got[-120:])!r}", decision_id)


def _tracing() -> aiohttp.TraceConfig:
    """Return what sets the event that a request carries once the request is being sent."""

    async def note(
        _: aiohttp.ClientSession,
        context: SimpleNamespace,
        __: aiohttp.TraceRequestChunkSentParams,
    ) -> None:
        context.trace_request_ctx.set()

    tracing = aiohttp.TraceConfig()
    tracing.on_request_chunk_sent.append(note)
    return tracing


async def _leave(
    asking: "asyncio.Future[aiohttp.ClientResponse]", sent: asyncio.Event, after_s: float
) -> None:
    """Close the connection a while after a request was sent, whatever has come until then."""
    waiting = asyncio.ensure_future(sent.wait())
    await asyncio.wait({asking, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    await asyncio.wait({asking}, timeout=after_s)
    if asking.done():
        asking.result().close()
    else:
        asking.cancel()
        await asyncio.wait({asking})


Judged = tuple[End, str]


def _refusal(status: int, raw: bytes) -> Judged:
    code = _code_of(_parsed(raw))
    return ("refused", f"{status} {code}") if code else ("bad", f"{status} {raw[:200]!r}")


def _code_of(document: Mapping[str, Any]) -> str:
    """Return the code of an error document, "" for what is none."""
    error = document.get("error")
    if not isinstance(error, dict):
        return ""
    fields = cast("dict[str, Any]", error)
    return str(fields.get("code") or "") if fields.get("message") else ""


def _parsed(raw: bytes | str) -> dict[str, Any]:
    try:
        document: Any = json.loads(raw)
    except ValueError:
        return {}
    return cast("dict[str, Any]", document) if isinstance(document, dict) else {}


def _choices(raw: bytes | str) -> list[dict[str, Any]]:
    return cast("list[dict[str, Any]]", _parsed(raw).get("choices") or [])


def _text(choice: Mapping[str, Any], key: str) -> str:
    """Return the text of a choice of a chat, or of a text completion."""
    said = cast("Mapping[str, Any]", choice.get(key) or choice)
    return str(said.get("content") or said.get("text") or "")


def _events(raw: bytes) -> list[str]:
    """Return the data of the events of a stream, comments left out."""
    lines = raw.decode("utf-8", "replace").split("\n")
    return [line.removeprefix("data:").strip() for line in lines if line.startswith("data:")]


def _judge_choices(raw: bytes, expected: str) -> Judged:
    """Judge a stream of chat or text pieces."""
    *events, last = _events(raw) or [""]
    if last != "[DONE]":
        code = _code_of(_parsed(last))
        return ("broken", code) if code else ("bad", f"ends with {raw[-200:]!r}")
    text, reason = "", ""
    for event in events:
        for choice in _choices(event):
            text += _text(choice, "delta")
            reason = choice.get("finish_reason") or reason
    return _compared(text, reason == "stop", expected)


def _judge_response(raw: bytes, expected: str) -> Judged:
    """Judge a stream of the Responses API."""
    last = _parsed((_events(raw) or [""])[-1])
    response = cast("dict[str, Any]", last.get("response") or {})
    if last.get("type") == "response.failed":
        code = _code_of(response)
        return ("broken", code) if code else ("bad", f"fails without a code: {raw[-200:]!r}")
    if last.get("type") != "response.completed":
        return "bad", f"ends with {raw[-200:]!r}"
    return _compared(_said(response), response.get("status") == "completed", expected)


def _whole_chat(raw: bytes, expected: str) -> Judged:
    (choice,) = _choices(raw) or [{}]
    return _compared(_text(choice, "message"), choice.get("finish_reason") == "stop", expected)


def _whole_response(raw: bytes, expected: str) -> Judged:
    document = _parsed(raw)
    return _compared(_said(document), document.get("status") == "completed", expected)


def _said(response: Mapping[str, Any]) -> str:
    return "".join(
        part.get("text", "")
        for item in response.get("output") or ()
        for part in item.get("content") or ()
    )


def _compared(text: str, has_ended: bool, expected: str) -> Judged:
    if text != expected:
        return "bad", f"says {text[:100]!r}, expected {expected[:100]!r}"
    return ("whole", "") if has_ended else ("bad", "no finish_reason")


_STREAMED: Mapping[Api, Callable[[bytes, str], Judged]] = {
    "chat": _judge_choices,
    "completions": _judge_choices,
    "responses": _judge_response,
}
_WHOLE: Mapping[Api, Callable[[bytes, str], Judged]] = {
    "chat": _whole_chat,
    "completions": _whole_chat,
    "responses": _whole_response,
}
