"""A made-up upstream as a process of its own: constant documents, as fast as Python can give them.

    python -m benchmarks.serving._upstream [--ports N]

It prints one line of JSON with its base URLs. `PUT /behaviour` says how it answers from then on;
the fields are those of `Behaviour`. Faults are drawn for each request by its own seed.
"""

import argparse
import asyncio
import json
import random
import socket
import struct
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, cast

import httptools
import uvloop

__all__ = ["FAULTS", "MODEL", "Behaviour"]

MODEL = "mock"
FAULTS = ("500", "429", "reset", "cut", "hang")
"""A plain 500; 429 with Retry-After; a reset before the head; a cut in the middle of the body;
silence in the middle of the body, then a cut."""
_RETRY_AFTER_S = 1
_HANG_S = 3.0


@dataclass(slots=True)
class Behaviour:
    """How the upstream answers.

    Attributes:
        latency_s: Time before the first byte.
        n_pieces: Pieces of a streamed answer, one token each.
        gap_s: Pause between pieces.
        spread: How far the pace of answers varies, uniformly and as a share of latency and gap.
        fault_share: Share of the requests that fail, in equal parts by each of `FAULTS`.
        echoes: Whether the answer repeats the last word of the prompt, so that it can be told
            from the answer to another one.
    """

    latency_s: float = 0.0
    n_pieces: int = 32
    gap_s: float = 0.0
    spread: float = 0.0
    fault_share: float = 0.0
    echoes: bool = False


class _State:
    """What all connections share."""

    def __init__(self) -> None:
        self.behaviour = Behaviour()
        self.n_asked = 0
        self.faults: dict[str, int] = dict.fromkeys(FAULTS, 0)
        self._rng = random.Random(0)

    def fault(self) -> str:
        """Draw what goes wrong with the next request, "" for nothing."""
        self.n_asked += 1
        if self._rng.random() >= self.behaviour.fault_share:
            return ""
        kind = self._rng.choice(FAULTS)
        self.faults[kind] += 1
        return kind

    def slowness(self) -> float:
        """Draw by what the next answer's latency and gap are multiplied."""
        spread = self.behaviour.spread
        return 1.0 + spread * (2.0 * self._rng.random() - 1.0) if spread else 1.0

    def words(self, prompt: str) -> Callable[[int], str]:
        """Return the piece of each number of an answer."""
        if not self.behaviour.echoes:
            return lambda number: f" tok{number % 10}"
        nonce = prompt.rpartition(" ")[2]
        return lambda number: f" {nonce}.{number}"


class Upstream(asyncio.Protocol):
    """One connection; requests on it are answered one after the other."""

    def __init__(self, state: _State) -> None:
        """Wait for the first request."""
        self._state = state
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
        self._parts: list[bytes] = []
        self._task: asyncio.Task[None] | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._writable.set()
        if self._task is not None:
            self._task.cancel()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.abort()

    def on_message_begin(self) -> None:
        self._url, self._parts = b"", []

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_body(self, body: bytes) -> None:
        self._parts.append(body)

    def on_message_complete(self) -> None:
        body: dict[str, Any] = json.loads(b"".join(self._parts)) if self._parts else {}
        if self._url == b"/behaviour":
            self._state.behaviour = Behaviour(**body)
            self._document({})
        elif self._url == b"/told":
            self._document({"n_asked": self._state.n_asked, "faults": self._state.faults})
        elif self._url.endswith(b"/chat/completions"):
            self._answer(body)
        elif self._url.endswith(b"/models"):
            self._document({"object": "list", "data": [{"id": MODEL, "object": "model"}]})
        else:
            self._document({"error": {"message": "no such path"}}, b"404 Not Found")

    def _answer(self, body: dict[str, Any]) -> None:
        state = self._state
        fault = state.fault()
        messages = cast("list[dict[str, Any]]", body["messages"])
        words = state.words(str(messages[-1].get("content")))
        slowness = state.slowness()
        wait_s = slowness * state.behaviour.latency_s
        if body.get("stream"):
            options = cast("dict[str, Any]", body.get("stream_options") or {})
            tells_usage = bool(options.get("include_usage"))
            self._start(self._stream(fault, words, slowness, tells_usage=tells_usage))
        elif fault:
            self._start(self._broken(fault, words, wait_s))
        elif wait_s:
            loop = asyncio.get_running_loop()
            loop.call_later(wait_s, self._document, _whole(words, state.behaviour.n_pieces))
        else:
            self._document(_whole(words, state.behaviour.n_pieces))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        self._task = asyncio.get_running_loop().create_task(work)

    def _document(self, document: dict[str, Any], status: bytes = b"200 OK") -> None:
        if not self._transport.is_closing():
            raw = json.dumps(document).encode()
            self._transport.write(_head(status, b"content-length: %d" % len(raw)) + raw)

    async def _refused(self, fault: str) -> bool:
        """Fail before the head, where that is the fault; return whether it was."""
        problem = {"error": {"message": f"made-up {fault}", "type": "mock", "code": fault}}
        if fault == "500":
            self._document(problem, b"500 Internal Server Error")
        elif fault == "429":
            raw = json.dumps(problem).encode()
            more = b"retry-after: %d\r\ncontent-length: %d" % (_RETRY_AFTER_S, len(raw))
            self._transport.write(_head(b"429 Too Many Requests", more) + raw)
        elif fault == "reset":
            # No lingering: what follows is a reset instead of an orderly end.
            own = cast("socket.socket", self._transport.get_extra_info("socket"))
            own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._transport.abort()
        else:
            return False
        return True

    async def _broken(self, fault: str, words: Callable[[int], str], wait_s: float) -> None:
        await asyncio.sleep(wait_s)
        if await self._refused(fault):
            return
        raw = json.dumps(_whole(words, self._state.behaviour.n_pieces)).encode()
        head = _head(b"200 OK", b"content-length: %d" % len(raw))
        self._transport.write(head + raw[: len(raw) // 2])
        if fault == "hang":
            await asyncio.sleep(_HANG_S)
        self._transport.close()

    async def _stream(
        self, fault: str, words: Callable[[int], str], slowness: float, *, tells_usage: bool
    ) -> None:
        behaviour = self._state.behaviour
        await asyncio.sleep(slowness * behaviour.latency_s)
        if await self._refused(fault):
            return
        n_pieces = behaviour.n_pieces
        broken_at = n_pieces // 2 if fault else n_pieces
        first = _head(
            b"200 OK", b"content-type: text/event-stream\r\ntransfer-encoding: chunked"
        ) + _event(_piece({"role": "assistant", "content": words(0)}))
        self._transport.write(first)
        for number in range(1, broken_at):
            # A turn of the loop even without a gap: a token is a packet, as with a real server.
            await asyncio.sleep(slowness * behaviour.gap_s)
            await self._writable.wait()
            self._transport.write(_event(_piece({"content": words(number)})))
        if fault:
            if fault == "hang":
                await asyncio.sleep(_HANG_S)
            self._transport.close()
            return
        last = _event(_piece({}, "stop"))
        if tells_usage:
            last += _event({**_piece({}), "choices": [], "usage": _usage(n_pieces)})
        self._transport.write(last + _chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n")


def _head(status: bytes, more: bytes) -> bytes:
    kind = b"" if b"content-type" in more else b"content-type: application/json\r\n"
    return b"HTTP/1.1 " + status + b"\r\n" + kind + more + b"\r\n\r\n"


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _event(document: dict[str, Any]) -> bytes:
    return _chunk(b"data: " + json.dumps(document).encode() + b"\n\n")


def _usage(n_pieces: int) -> dict[str, int]:
    return {"prompt_tokens": 30, "completion_tokens": n_pieces, "total_tokens": 30 + n_pieces}


def _piece(delta: dict[str, str], reason: str | None = None) -> dict[str, Any]:
    return {
        "id": "chatcmpl-mock",
        "object": "chat.completion.chunk",
        "created": 1767312000,
        "model": MODEL,
        "choices": [{"index": 0, "delta": delta, "finish_reason": reason}],
    }


def _whole(words: Callable[[int], str], n_pieces: int) -> dict[str, Any]:
    said = {"role": "assistant", "content": "".join(map(words, range(n_pieces)))}
    return {
        "id": "chatcmpl-mock",
        "object": "chat.completion",
        "created": 1767312000,
        "model": MODEL,
        "choices": [{"index": 0, "message": said, "finish_reason": "stop"}],
        "usage": _usage(n_pieces),
    }


async def _serve(n_ports: int) -> None:
    state = _State()
    loop = asyncio.get_running_loop()
    servers = [
        await loop.create_server(lambda: Upstream(state), "127.0.0.1", 0, backlog=1024)
        for _ in range(n_ports)
    ]
    ports = [server.sockets[0].getsockname()[1] for server in servers]
    print(json.dumps({"urls": [f"http://127.0.0.1:{port}/v1" for port in ports]}), flush=True)
    # It ends with whoever started it.
    await loop.run_in_executor(None, sys.stdin.read)


def main() -> None:
    """Serve until standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ports", type=int, default=1)
    uvloop.run(_serve(parser.parse_args().ports))


if __name__ == "__main__":
    main()
