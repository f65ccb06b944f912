"""Closed-loop load from a process of its own: keep-alive connections, each waiting for its answer.

    python -m benchmarks.serving._load

Each line of stdin is an `Order`, each line of stdout its `Told`, both as JSON.
"""

import asyncio
import json
import os
import random
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any, cast
from urllib.parse import urlsplit

import httptools
import uvloop

from ._world import prompt_of

__all__ = ["Order", "Told"]

_LONGEST_S = 30.0
_N_BODIES = 2000
_SHOWN = 200


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be sent.

    Attributes:
        url: Base URL of the target.
        model: Model that the bodies name.
        seconds: How long requests are sent; those under way then are waited for.
        concurrency: Connections.
        is_streamed: Whether answers are streamed.
        pause_s: Longest pause of a connection before its next request, uniform from 0. Without
            one, connections behind a constant latency fall into step, and what is measured is a
            queue of their own making.
    """

    url: str
    model: str
    seconds: float
    concurrency: int
    is_streamed: bool = False
    pause_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Told:
    """What came of it.

    Attributes:
        seconds: From the first byte sent to the last one received.
        latencies_s: Of each request, from sending to its last byte.
        first_s: Of each request, from sending to the first byte of the body.
        n_pieces: Streamed pieces with a token.
        n_bad: Answers with another status than 200 or not whole.
        problem: The beginning of one of those.
        cpu_s: Processor time of this process.
    """

    seconds: float
    latencies_s: list[float]
    first_s: list[float]
    n_pieces: int
    n_bad: int
    problem: str
    cpu_s: float


class _Connection(asyncio.Protocol):
    """A connection with one request at a time."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.first = 0.0
        self.status = 0
        self.is_open = True
        self._parser: Any = None
        self._done: asyncio.Future[None] | None = None
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_open = False
        self._end()

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        if not self.parts:
            self.first = time.perf_counter()
        self.parts.append(body)

    def on_message_complete(self) -> None:
        self.status = self._parser.get_status_code()
        self.is_open = self._parser.should_keep_alive()
        self._end()

    async def ask(self, request: bytes) -> None:
        """Send a request, and return when its answer or the connection has ended."""
        self.parts, self.first, self.status = [], 0.0, 0
        self._parser = httptools.HttpResponseParser(self)
        self._done = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        async with asyncio.timeout(_LONGEST_S):
            await self._done

    def close(self) -> None:
        self._transport.close()

    def _end(self) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_result(None)


async def _run(order: Order) -> Told:
    parts = urlsplit(order.url)
    host, port = parts.hostname or "", parts.port or 80
    requests = _requests(order, f"{host}:{port}", parts.path)
    loop = asyncio.get_running_loop()
    rng = random.Random(0)
    latencies_s: list[float] = []
    first_s: list[float] = []
    problems: list[str] = []
    n_pieces = number = 0
    started, cpu_s = time.perf_counter(), time.process_time()
    until = started + order.seconds

    async def connection() -> None:
        nonlocal n_pieces, number
        own: _Connection | None = None
        while time.perf_counter() < until:
            if order.pause_s:
                await asyncio.sleep(rng.uniform(0.0, order.pause_s))
            if own is None or not own.is_open:
                _, own = await loop.create_connection(_Connection, host, port)
            number += 1
            request = requests[number % len(requests)]
            sent = time.perf_counter()
            await own.ask(request)
            ended = time.perf_counter()
            got = b"".join(own.parts)
            n_tokens = got.count(b'"content"')
            is_whole = b"[DONE]" in got[-100:] if order.is_streamed else n_tokens > 0
            if own.status != 200 or not is_whole:
                problems.append(f"status {own.status}: {got[:_SHOWN].decode(errors='replace')}")
                continue
            latencies_s.append(ended - sent)
            first_s.append(own.first - sent)
            n_pieces += n_tokens
        if own is not None:
            own.close()

    async with asyncio.TaskGroup() as group:
        for _ in range(order.concurrency):
            group.create_task(connection())
    return Told(
        seconds=time.perf_counter() - started,
        latencies_s=latencies_s,
        first_s=first_s,
        n_pieces=n_pieces if order.is_streamed else 0,
        n_bad=len(problems),
        problem=problems[0] if problems else "",
        cpu_s=time.process_time() - cpu_s,
    )


def _requests(order: Order, host: str, path: str) -> list[bytes]:
    """Return requests as bytes, no two with the same prompt, so that no cache answers them."""
    rng = random.Random(0)
    found: list[bytes] = []
    for number in range(_N_BODIES):
        prompt = f"{prompt_of(rng, rng.choice(('sum', 'who')), rng.randint(1, 6))} ({number})"
        body: dict[str, Any] = {
            "model": order.model,
            "messages": [{"role": "user", "content": prompt}],
        }
        if order.is_streamed:
            body["stream"] = True
        raw = json.dumps(body).encode()
        head = (
            f"POST {path}/chat/completions HTTP/1.1\r\nhost: {host}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(raw)}\r\n\r\n"
        )
        found.append(head.encode() + raw)
    return found


def main() -> None:
    """Follow orders until standard input ends."""
    for line in sys.stdin:
        told = uvloop.run(_run(Order(**json.loads(line))))
        _write(json.dumps(asdict(told)).encode() + b"\n")


def _write(line: bytes) -> None:
    """Write a whole line to stdout, which a pipe takes in pieces."""
    os.set_blocking(1, True)
    while line:
        line = line[os.write(1, line) :]


if __name__ == "__main__":
    main()
