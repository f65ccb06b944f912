"""Work for clients who stay, leave or say nothing, and for a server that has to stop."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from router.server import _working
from router.server._problems import ClientGoneError, ProblemError
from router.server._working import EventStream, Working


class Client:
    """An ASGI client that leaves when it is told to, and keeps what it was sent."""

    def __init__(self) -> None:
        self.left = asyncio.Event()
        self.got: list[bytes] = []
        self.is_broken = False

    async def receive(self) -> dict[str, Any]:
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        if self.is_broken:
            raise OSError("closed")
        self.got.append(message.get("body", b""))


class Told:
    """What a stream says when it ends."""

    def __init__(self) -> None:
        self.codes: list[str] = []

    async def __call__(self, code: str) -> None:
        self.codes.append(code)


async def stream(
    events: AsyncGenerator[bytes], client: Client, working: Working, comment: bytes = b": on\n\n"
) -> list[str]:
    told = Told()
    response = EventStream(
        events,
        working,
        headers={"x-own": "é"},
        on_broken=lambda problem: f"!{problem.code}".encode(),
        on_end=told,
        comment=comment,
    )
    await response({}, client.receive, client.send)
    return told.codes


async def pieces(*said: bytes, pause_s: float = 0.0) -> AsyncGenerator[bytes]:
    for piece in said:
        await asyncio.sleep(pause_s)
        yield piece


async def test_work_is_done_for_a_client_who_waits() -> None:
    client, working = Client(), Working()

    async def work() -> int:
        await asyncio.sleep(0.03)
        return 7

    assert await working.for_client(client.receive, work()) == 7
    assert not len(working)


async def test_work_ends_when_its_client_leaves_and_the_caller_goes_on() -> None:
    client, working = Client(), Working()
    was_cancelled = False

    async def work() -> None:
        nonlocal was_cancelled
        try:
            await asyncio.sleep(30)
        finally:
            was_cancelled = True

    asyncio.get_running_loop().call_later(0.05, client.left.set)
    with pytest.raises(ClientGoneError):
        await working.for_client(client.receive, work())
    assert was_cancelled
    task = asyncio.current_task()
    assert task is not None
    assert not task.cancelling()
    await asyncio.sleep(0)  # Nothing is left that would be cancelled here.


async def test_work_ends_when_the_server_stops() -> None:
    client, working = Client(), Working()
    asyncio.get_running_loop().call_later(0.02, working.stop)
    with pytest.raises(ProblemError) as stopped:
        await working.for_client(client.receive, asyncio.sleep(30))
    assert (stopped.value.status, stopped.value.code) == (503, "shutting-down")


async def test_whoever_cancels_the_caller_cancels_the_work() -> None:
    client, working = Client(), Working()
    task = asyncio.create_task(working.for_client(client.receive, asyncio.sleep(30)))
    await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not len(working)


async def test_a_silent_stream_says_that_it_is_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_working, "_KEEPALIVE_S", 0.04)
    client = Client()
    assert await stream(pieces(b"a", b"b", pause_s=0.15), client, Working()) == [""]
    said = [piece for piece in client.got if piece]
    assert said[0] == b": on\n\n"
    assert said.index(b"a") < said.index(b": on\n\n", said.index(b"a")) < said.index(b"b")
    assert client.got[-1] == b""
    client = Client()
    await stream(pieces(b"a", pause_s=0.15), client, Working(), comment=b"")
    assert client.got == [b"", b"a", b""]


async def test_a_stream_that_speaks_has_no_comments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_working, "_KEEPALIVE_S", 0.2)
    client = Client()
    await stream(pieces(*[b"x"] * 12, pause_s=0.03), client, Working())
    assert b": on\n\n" not in client.got


async def test_a_stream_whose_client_leaves_is_closed() -> None:
    client, is_closed = Client(), False

    async def endless() -> AsyncGenerator[bytes]:
        nonlocal is_closed
        try:
            while True:
                yield b"x"
                await asyncio.sleep(0.01)
        finally:
            is_closed = True

    asyncio.get_running_loop().call_later(0.05, client.left.set)
    assert await stream(endless(), client, Working()) == ["client-disconnected"]
    assert is_closed


async def test_a_stream_that_nobody_can_be_sent_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client()
    client.is_broken = True
    assert await stream(pieces(b"x"), client, Working()) == ["client-disconnected"]
    # Also where a comment is what cannot be sent: the next piece tells.
    monkeypatch.setattr(_working, "_KEEPALIVE_S", 0.02)
    client = Client()
    asyncio.get_running_loop().call_later(0.03, setattr, client, "is_broken", True)
    assert await stream(pieces(b"x", pause_s=0.1), client, Working()) == ["client-disconnected"]


async def test_a_stream_that_the_server_ends_tells_so() -> None:
    client, working = Client(), Working()
    asyncio.get_running_loop().call_later(0.03, working.stop)
    assert await stream(pieces(b"x", b"y", pause_s=0.02), client, working) == ["shutting-down"]
    assert client.got[-1] == b"!shutting-down"
