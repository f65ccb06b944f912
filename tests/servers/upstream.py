"""An OpenAI-compatible server for tests that fails as told and remembers what it was asked.

In the event loop of a test:

    async with UpstreamServer() as server:
        server.faults = [Fault(status=503)]
        ...

Beside a test that has no event loop, or blocks its own:

    with serving(UpstreamServer()) as server:
        ...
"""

import asyncio
import json
import socket
import struct
import threading
from collections.abc import AsyncIterator, Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from aiohttp import web

from tests.servers.made_up_chat import MadeUpChat

__all__ = ["Fault", "Seen", "UpstreamServer", "serving"]

_POSTS = ("/v1/chat/completions", "/v1/completions")


@dataclass(frozen=True)
class Fault:
    """What the server does instead of answering well.

    Attributes:
        status: HTTP status.
        headers: Further headers.
        document: Body, as it is; what the server would say anyhow if `None`.
        wait_s: How long it waits before it answers.
        hangs: Where it stops and says nothing more, as long as the client waits.
        breaks: How the connection ends: reset instead of an answer, or cut in the middle of the
            body.
    """

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict[str, str])
    document: bytes | None = None
    wait_s: float = 0.0
    hangs: Literal["", "before-headers", "after-headers", "in-body"] = ""
    breaks: Literal["", "reset", "cut"] = ""


@dataclass(eq=False)
class Seen:
    """One request.

    Attributes:
        method: GET or POST.
        path: Its path, the query included.
        headers: Its headers, in lower case.
        raw: Its body.
        is_done: Whether it was answered to the end.
        is_cancelled: Whether the client left before that.
    """

    method: str
    path: str
    headers: dict[str, str]
    raw: bytes
    is_done: bool = False
    is_cancelled: bool = False

    @property
    def body(self) -> Any:
        """The document that was sent, `None` for none."""
        return json.loads(self.raw) if self.raw else None


class UpstreamServer:
    """Serves a made-up model on 127.0.0.1.

    Attributes:
        model: The model; may be exchanged while the server runs.
        faults: What goes wrong with the next generations, one after the other; `None` for one
            that goes well.
        fault: Called with every generation where `faults` is empty.
        latency_s: How long an answer takes to begin.
        drip_s: Pause before each event of a stream.
        health_status: What `/health` answers; 404 as if there were no such endpoint.
        seen: All requests, health checks included.
        n_in_flight: Generations under way.
        most_in_flight: Most generations that ever were.
    """

    def __init__(self, model: MadeUpChat | None = None, *, latency_s: float = 0.0) -> None:
        """Serve nothing yet."""
        self.model = model or MadeUpChat()
        self.faults: list[Fault | None] = []
        self.fault: Callable[[Seen], Fault | None] = lambda seen: None
        self.latency_s = latency_s
        self.drip_s = 0.0
        self.health_status = 200
        self.seen: list[Seen] = []
        self.n_in_flight = self.most_in_flight = 0
        self.port = 0
        self._runner: web.AppRunner | None = None

    @property
    def root(self) -> str:
        """Root of the server."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """Base URL of the API."""
        return f"{self.root}/v1"

    def generations(self) -> list[Seen]:
        """Return the requests for completions."""
        return [seen for seen in self.seen if seen.path in _POSTS]

    async def up(self) -> None:
        """Serve; again on the same port after `down`."""
        app = web.Application(client_max_size=2**28)
        app.router.add_route("*", "/{path:.*}", self._answer)
        # Connections are cut on purpose, which is no news.
        self._runner = web.AppRunner(
            app, handler_cancellation=True, access_log=None, shutdown_timeout=0.01
        )
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True).start()
        self.port = self._runner.addresses[0][1]

    async def down(self) -> None:
        """Stop to serve: connections are refused and those that stand are cut."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def until(self, holds: Callable[[], bool], *, timeout_s: float = 5.0) -> None:
        """Wait until something holds; fails if it never does."""
        async with asyncio.timeout(timeout_s):
            while not holds():  # noqa: ASYNC110 - what is waited for may be anywhere
                await asyncio.sleep(0.002)

    async def __aenter__(self) -> Self:
        """Serve."""
        await self.up()
        return self

    async def __aexit__(self, *error: object) -> None:
        """Stop to serve."""
        await self.down()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        seen = Seen(request.method, request.path_qs, headers, await request.read())
        self.seen.append(seen)
        if seen.path == "/health":
            return web.Response(status=self.health_status)
        if seen.path == "/v1/models":
            return web.json_response(self.model.models())
        if seen.path not in _POSTS:
            return web.json_response({"error": {"message": "no such endpoint"}}, status=404)
        self.n_in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.n_in_flight)
        try:
            response = await self._generate(request, seen)
            seen.is_done = True
        except (asyncio.CancelledError, ConnectionError):
            seen.is_cancelled = True
            raise
        finally:
            self.n_in_flight -= 1
        return response

    async def _generate(self, request: web.Request, seen: Seen) -> web.StreamResponse:
        fault = (self.faults.pop(0) if self.faults else self.fault(seen)) or Fault()
        await asyncio.sleep(self.latency_s + fault.wait_s)
        if fault.hangs == "before-headers":
            await asyncio.Event().wait()
        if fault.breaks == "reset":
            _reset(request)
            return web.Response()
        if fault.document is None and fault.status >= 400:
            document = {"error": {"message": "as told", "type": "fault", "code": fault.status}}
            return web.json_response(document, status=fault.status, headers=fault.headers)
        is_stream = fault.document is None and bool(seen.body.get("stream"))
        pieces = [piece async for piece in self._pieces(seen, fault)] if not is_stream else []
        response = web.StreamResponse(status=fault.status, headers=fault.headers)
        response.headers.setdefault(
            "content-type", "text/event-stream" if is_stream else "application/json"
        )
        if is_stream:
            response.enable_chunked_encoding()
        else:
            response.content_length = sum(map(len, pieces))
        await response.prepare(request)
        if fault.hangs == "after-headers":
            await asyncio.Event().wait()
        n_sent = 0
        async for piece in self._pieces(seen, fault):
            if n_sent and fault.breaks == "cut":
                await asyncio.sleep(0.02)  # Let what was sent arrive as a piece of its own.
                _close(request)
                return response
            if n_sent and fault.hangs == "in-body":
                await asyncio.Event().wait()
            await response.write(piece)
            n_sent += 1
        await response.write_eof()
        return response

    async def _pieces(self, seen: Seen, fault: Fault) -> AsyncIterator[bytes]:
        """Yield what is sent: events one by one, a document in two halves."""
        body, model = seen.body, self.model
        is_chat = seen.path.endswith("/chat/completions")
        if fault.document is None and body.get("stream"):
            for event in model.chat_events(body) if is_chat else model.completion_events(body):
                await asyncio.sleep(self.drip_s)
                yield f"data: {json.dumps(event)}\n\n".encode()
            yield b"data: [DONE]\n\n"
            return
        document = fault.document
        if document is None:
            document = json.dumps(model.chat(body) if is_chat else model.completion(body)).encode()
        half = (len(document) + 1) // 2
        yield document[:half]
        if document[half:]:
            yield document[half:]


@contextmanager
def serving(server: UpstreamServer) -> Generator[UpstreamServer]:
    """Serve from a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(server.up(), loop).result(10)
        yield server
    finally:
        asyncio.run_coroutine_threadsafe(server.down(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def _reset(request: web.Request) -> None:
    transport = request.transport
    if transport is not None:
        own = transport.get_extra_info("socket")
        own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()


def _close(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()
