"""Dead servers are found and left alone; those that are back are used again."""

import asyncio
import json
import logging
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

import pytest

from policies import BackendConnectionError, BackendError, BackendResponseError
from router.server.upstreams import BreakerSettings, RetrySettings, UpstreamPool, UpstreamSettings
from tests.servers.upstream import Fault, UpstreamServer

CHAT = "/chat/completions"
BODY = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hello"}]}).encode()
QUICK = BreakerSettings(
    check_every_s=0.04, recheck_every_s=0.02, check_timeout_s=0.2, open_s=30.0, jitter=0.0
)
UNCHECKED = BreakerSettings(check_every_s=0.0, recheck_every_s=60.0, open_s=0.2, jitter=0.0)
ONCE = RetrySettings(max_retries=0)


@asynccontextmanager
async def started(
    *servers: UpstreamServer, breaker: BreakerSettings, retry: RetrySettings = ONCE
) -> AsyncGenerator[UpstreamPool]:
    pool = UpstreamPool(
        [UpstreamSettings(each.url) for each in servers], retry=retry, breaker=breaker
    )
    await pool.start()
    try:
        yield pool
    finally:
        await pool.aclose()


async def test_a_dead_server_is_known_before_a_client_meets_it() -> None:
    async with (
        UpstreamServer() as dead,
        UpstreamServer() as alive,
        started(dead, alive, breaker=QUICK) as pool,
    ):
        await dead.down()
        await alive.until(lambda: not pool.states()[0].is_up)
        assert pool.states()[0].reason == "a check got no answer"
        assert pool.states()[1].is_up
        for _ in range(10):
            answer = await pool.send(CHAT, BODY)
            await answer.read()
            assert answer.n_attempts == 1


async def test_a_pool_starts_with_its_server_down_and_uses_it_once_it_is_up() -> None:
    async with UpstreamServer() as server:
        await server.down()
        async with started(server, breaker=QUICK) as pool:
            await server.until(lambda: pool.states()[0].state == "open")
            with pytest.raises(BackendConnectionError) as caught:
                await pool.send(CHAT, BODY)
            assert caught.value.code == "no-upstream"
            assert 25.0 < (caught.value.retry_after_s or 0.0) <= 30.0
            await server.up()
            # Long before the 30 s are over.
            await server.until(lambda: pool.states()[0].state == "half-open")
            await (await pool.send(CHAT, BODY)).read()
            assert pool.states()[0].state == "closed"


@pytest.mark.parametrize(
    ("health_status", "is_up"), [(200, True), (404, True), (401, True), (503, False), (500, False)]
)
async def test_what_health_answers_decides(health_status: int, is_up: bool) -> None:
    async with UpstreamServer() as server:
        server.health_status = health_status
        async with started(server, breaker=QUICK) as pool:
            await server.until(lambda: sum(s.path == "/health" for s in server.seen) >= 4)
            assert pool.states()[0].is_up == is_up
            asks_models = any(seen.path == "/v1/models" for seen in server.seen)
            assert asks_models == (health_status in (404, 401))


async def test_answers_outweigh_checks() -> None:
    async with UpstreamServer() as server, AsyncExitStack() as stack:
        server.health_status = 503
        pool = await stack.enter_async_context(started(server, breaker=QUICK))
        for _ in range(30):
            await (await pool.send(CHAT, BODY)).read()
            await asyncio.sleep(0.01)
        assert sum(seen.path == "/health" for seen in server.seen) >= 5
        assert pool.states()[0].state == "closed"


async def test_five_failures_open_and_nothing_is_sent_then() -> None:
    async with UpstreamServer() as server:
        server.fault = lambda seen: Fault(status=503)
        async with started(server, breaker=UNCHECKED) as pool:
            for _ in range(5):
                with pytest.raises(BackendConnectionError) as caught:
                    await pool.send(CHAT, BODY)
                assert caught.value.status_code == 503
            for _ in range(20):
                with pytest.raises(BackendConnectionError) as caught:
                    await pool.send(CHAT, BODY)
                assert caught.value.code == "no-upstream"
                assert 0.0 < (caught.value.retry_after_s or 0.0) <= 0.2
            assert len(server.seen) == 5


async def test_half_open_sends_one_of_many() -> None:
    async with UpstreamServer() as server:
        server.fault = lambda seen: Fault(status=503)
        async with started(server, breaker=UNCHECKED) as pool:
            for _ in range(5):
                with pytest.raises(BackendConnectionError):
                    await pool.send(CHAT, BODY)
            await server.until(lambda: pool.states()[0].state == "half-open")
            server.fault = lambda seen: Fault(status=503, wait_s=0.05)
            outcomes = await asyncio.gather(
                *(pool.send(CHAT, BODY) for _ in range(20)), return_exceptions=True
            )
            assert all(isinstance(outcome, BackendConnectionError) for outcome in outcomes)
            assert len(server.seen) == 6
            assert pool.states()[0].state == "open"


async def test_a_cancelled_trial_leaves_the_trial_to_the_next() -> None:
    async with UpstreamServer() as server:
        server.faults = [*[Fault(status=503)] * 5, Fault(hangs="before-headers")]
        async with started(server, breaker=UNCHECKED) as pool:
            for _ in range(5):
                with pytest.raises(BackendConnectionError):
                    await pool.send(CHAT, BODY)
            await server.until(lambda: pool.states()[0].state == "half-open")
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await pool.send(CHAT, BODY)
            await (await pool.send(CHAT, BODY)).read()
            assert pool.states()[0].state == "closed"


async def test_one_poisoned_request_does_not_take_every_server_down() -> None:
    async with UpstreamServer() as one, UpstreamServer() as two:
        for server in (one, two):
            server.fault = lambda seen: Fault(status=500) if b"poison" in seen.raw else None
        retry = RetrySettings(first_wait_s=0.001, n_free=1000)
        async with started(one, two, breaker=UNCHECKED, retry=retry) as pool:
            for _ in range(4):
                with pytest.raises(BackendResponseError):
                    await pool.send(CHAT, BODY.replace(b"hello", b"poison"))
            # 12 attempts failed, but only the first of each request is held against a server.
            assert len(one.seen) + len(two.seen) == 12
            assert all(state.state == "closed" for state in pool.states())
            assert sum(state.n_failed for state in pool.states()) == 12


async def test_refusals_never_open() -> None:
    async with UpstreamServer() as server, started(server, breaker=UNCHECKED) as pool:
        for status in (400, 401, 404, 422, 429, 501) * 5:
            server.faults = [Fault(status=status)]
            with pytest.raises(BackendError):
                await pool.send(CHAT, BODY)
        assert pool.states()[0].state == "closed"


async def test_opening_and_coming_back_are_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "thinkroute.server")
    async with UpstreamServer() as server:
        server.faults = [Fault(status=503)] * 5
        async with started(server, breaker=replace(UNCHECKED, open_s=0.05)) as pool:
            for _ in range(5):
                with pytest.raises(BackendConnectionError):
                    await pool.send(CHAT, BODY)
            await server.until(lambda: pool.states()[0].state == "half-open")
            for _ in range(3):
                await (await pool.send(CHAT, BODY)).read()
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 2
    assert lines[0].startswith(f"upstream {server.url} is left alone for 0 s: ")
    assert lines[1] == f"upstream {server.url} serves again"
