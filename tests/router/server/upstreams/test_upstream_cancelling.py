"""Whoever leaves takes the server's work along, and nothing is left behind."""

import asyncio
import random
from dataclasses import replace

import pytest

from policies import (
    BackendError,
)
from router.server.upstreams import (
    Trail,
)
from tests.router.server.upstreams.conftest import BREAKER, CHAT, Connect, ask, chat
from tests.servers.upstream import Fault, UpstreamServer


@pytest.mark.parametrize(
    "fault",
    [Fault(hangs="before-headers"), Fault(hangs="after-headers"), Fault(hangs="in-body")],
    ids=["before-headers", "after-headers", "in-body"],
)
async def test_a_cancelled_caller_disconnects_the_server_at_once(
    server: UpstreamServer, connected: Connect, fault: Fault
) -> None:
    server.faults = [fault]
    pool = await connected(server)
    trail = Trail()
    task = asyncio.create_task(pool.send(CHAT, chat(), is_whole=True, trail=trail))
    await server.until(lambda: server.n_in_flight == 1)
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await server.until(lambda: server.seen[0].is_cancelled, timeout_s=1.0)
    state = pool.states()[0]
    assert (state.in_flight, state.n_failed, state.state) == (0, 0, "closed")
    assert trail.n_attempts == 1
    assert trail.wait_s >= 0.05
    assert await ask(pool) == "hello you"


async def test_closing_a_stream_early_disconnects_the_server(
    server: UpstreamServer, connected: Connect
) -> None:
    server.drip_s = 0.02
    pool = await connected(server)
    async with await pool.send(CHAT, chat("a " * 500, stream=True)) as answer:
        async for _ in answer.chunks():
            break
    await server.until(lambda: server.seen[0].is_cancelled, timeout_s=1.0)
    assert pool.states()[0] == replace(pool.states()[0], in_flight=0, n_failed=0)


async def test_cancelling_the_reader_of_a_stream_disconnects_the_server(
    server: UpstreamServer, connected: Connect
) -> None:
    server.faults = [Fault(hangs="in-body")]
    pool = await connected(server)
    answer = await pool.send(CHAT, chat("a b c", stream=True))

    async def drain() -> None:
        async for _ in answer.chunks():
            pass

    task = asyncio.create_task(drain())
    await asyncio.sleep(0.05)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await server.until(lambda: server.seen[0].is_cancelled, timeout_s=1.0)
    await answer.aclose()
    assert pool.states()[0] == replace(pool.states()[0], in_flight=0, n_failed=0)


async def test_closing_the_pool_disconnects_and_ends_what_is_under_way(
    server: UpstreamServer, connected: Connect
) -> None:
    server.faults = [Fault(hangs="before-headers")]
    pool = await connected(server)
    task = asyncio.create_task(ask(pool))
    await server.until(lambda: server.n_in_flight == 1)
    await pool.aclose()
    with pytest.raises(BackendError):
        await task
    await server.until(lambda: server.seen[0].is_cancelled, timeout_s=1.0)
    with pytest.raises(BackendError, match="not started, or closed"):
        await ask(pool)
    await pool.aclose()


async def test_no_connection_is_left_behind_after_faults(
    server: UpstreamServer, other: UpstreamServer, connected: Connect
) -> None:
    import os

    kinds = [
        Fault(status=500),
        Fault(status=429),
        Fault(breaks="reset"),
        Fault(breaks="cut"),
        Fault(hangs="before-headers"),
        Fault(hangs="in-body"),
        Fault(status=400),
    ]
    rng = random.Random(7)
    lasting = replace(BREAKER, n_failures=1000, failure_share=1.0)
    for one in (server, other):
        one.fault = lambda seen: rng.choice(kinds) if rng.random() < 0.1 else None
    pool = await connected(server, other, silence_s=0.1, breaker=lasting)
    turns = asyncio.Semaphore(16)
    outcomes: list[str] = []

    async def one_request(place: int) -> None:
        is_stream = place % 2 == 0
        async with turns:
            try:
                async with await pool.send(CHAT, chat("a b c", stream=is_stream)) as answer:
                    if place % 10 == 0:
                        outcomes.append("left")
                        return
                    await answer.read()
                outcomes.append("ok")
            except BackendError as error:
                outcomes.append(error.code)

    async def run(n: int) -> int:
        await asyncio.gather(*(one_request(place) for place in range(n)))
        await server.until(lambda: server.n_in_flight + other.n_in_flight == 0)
        return len(os.listdir("/proc/self/fd"))

    before = await run(100)
    after = await run(500)
    # At most one connection per request under way, of which both ends are in this process.
    assert after <= before + 2 * 16
    assert outcomes.count("ok") > 450
    assert [state.in_flight for state in pool.states()] == [0, 0]
    await pool.aclose()
    await server.down()
    await other.down()
    await asyncio.sleep(0.05)
    assert len(os.listdir("/proc/self/fd")) <= before - 2
