"""What fails is sent again when it should be, and never more often."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from policies import (
    BackendConnectionError,
    BackendError,
    BackendRateLimitError,
    BackendResponseError,
    BackendTimeoutError,
)
from router.server.upstreams import (
    Trail,
    UpstreamRefusalError,
)
from tests.router.server.upstreams.conftest import BREAKER, CHAT, RETRY, Connect, ask, chat
from tests.servers.upstream import Fault, UpstreamServer


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504])
async def test_what_may_pass_is_sent_again(
    server: UpstreamServer, connected: Connect, status: int
) -> None:
    server.faults = [Fault(status=status)] * 2
    pool = await connected(server)
    answer = await pool.send(CHAT, chat())
    await answer.read()
    assert answer.n_attempts == len(server.generations()) == 3


@pytest.mark.parametrize(
    "fault",
    [Fault(breaks="reset"), Fault(hangs="before-headers"), Fault(hangs="after-headers")],
    ids=["reset", "silent", "head-only"],
)
async def test_what_fails_before_the_first_byte_is_sent_again(
    server: UpstreamServer, connected: Connect, fault: Fault
) -> None:
    server.faults = [fault] * 2
    pool = await connected(server, silence_s=0.1)
    answer = await pool.send(CHAT, chat())
    assert b"hello" in await answer.read()
    assert answer.n_attempts == 3


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault(status=408), BackendTimeoutError),
        (Fault(status=409), UpstreamRefusalError),
        (Fault(status=429), BackendRateLimitError),
        (Fault(status=500), BackendResponseError),
        (Fault(status=502), BackendConnectionError),
        (Fault(status=503), BackendConnectionError),
        (Fault(status=504), BackendTimeoutError),
        (Fault(breaks="reset"), BackendConnectionError),
        (Fault(hangs="before-headers"), BackendTimeoutError),
    ],
    ids=str,
)
@pytest.mark.parametrize("max_retries", [0, 2])
async def test_attempts_are_counted_and_the_last_error_is_told(
    server: UpstreamServer,
    connected: Connect,
    fault: Fault,
    kind: type[BackendError],
    max_retries: int,
) -> None:
    server.fault = lambda seen: fault
    pool = await connected(server, retry=replace(RETRY, max_retries=max_retries), silence_s=0.05)
    trail = Trail()
    with pytest.raises(kind) as caught:
        await pool.send(CHAT, chat(), model="m", trail=trail)
    assert len(server.generations()) == trail.n_attempts == max_retries + 1
    assert trail.url == server.url
    assert caught.value.model == "m"
    assert caught.value.status_code == (fault.status if fault.status >= 400 else None)
    assert caught.value.__context__ is None
    assert pool.states()[0].in_flight == 0


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 413, 422, 501, 505, 301, 302, 307])
async def test_what_stays_refused_is_sent_once(
    server: UpstreamServer, connected: Connect, status: int
) -> None:
    server.fault = lambda seen: Fault(status=status, headers={"location": "/health"})
    pool = await connected(server)
    with pytest.raises(BackendError) as caught:
        await pool.send(CHAT, chat())
    assert len(server.seen) == 1
    assert caught.value.status_code == status
    assert not caught.value.retryable


async def test_a_quota_that_is_used_up_is_not_asked_for_again(
    server: UpstreamServer, connected: Connect
) -> None:
    document = b'{"error": {"message": "pay", "code": "insufficient_quota"}}'
    server.fault = lambda seen: Fault(status=429, document=document)
    pool = await connected(server)
    with pytest.raises(BackendRateLimitError):
        await pool.send(CHAT, chat())
    assert len(server.generations()) == 1


async def test_a_retry_goes_to_another_server_without_a_pause(
    server: UpstreamServer, other: UpstreamServer, connected: Connect
) -> None:
    server.fault = lambda seen: Fault(status=503)
    pool = await connected(server, other, retry=replace(RETRY, first_wait_s=5.0))
    async with asyncio.timeout(3):
        for _ in range(10):
            answer = await pool.send(CHAT, chat())
            await answer.read()
            assert answer.url == other.url
            assert answer.n_attempts <= 2


async def test_a_retry_prefers_a_busy_server_to_the_one_that_failed(
    server: UpstreamServer, other: UpstreamServer, connected: Connect
) -> None:
    lasting = replace(BREAKER, n_failures=1000, failure_share=1.0)
    pool = await connected(server, other, breaker=lasting)
    server.fault = lambda seen: Fault(status=503)
    # What hangs was sent to the other one in the end.
    other.faults = [Fault(hangs="before-headers")] * 8
    tasks = [asyncio.create_task(ask(pool)) for _ in range(8)]
    await other.until(lambda: other.n_in_flight == 8)
    n_before = len(server.generations())
    for _ in range(2):
        assert await ask(pool) == "hello you"
    assert len(server.generations()) <= n_before + 2
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_server_that_refuses_connections_is_passed_over(
    server: UpstreamServer, other: UpstreamServer, connected: Connect
) -> None:
    pool = await connected(server, other)
    await server.down()
    for _ in range(20):
        assert await ask(pool) == "hello you"
    await other.down()
    with pytest.raises(BackendConnectionError):
        await ask(pool)


@pytest.mark.parametrize("is_stream", [False, True])
async def test_nothing_is_sent_again_after_the_first_byte(
    server: UpstreamServer, connected: Connect, is_stream: bool
) -> None:
    server.faults = [Fault(breaks="cut")]
    pool = await connected(server)
    answer = await pool.send(CHAT, chat("a b c", stream=is_stream))
    chunks = answer.chunks()
    assert await anext(chunks)
    with pytest.raises(BackendConnectionError, match="in the middle") as caught:
        _ = [chunk async for chunk in chunks]
    assert len(server.generations()) == answer.n_attempts == 1
    assert caught.value.__context__ is None
    assert pool.states()[0] == replace(pool.states()[0], in_flight=0, n_failed=1)


async def test_a_whole_answer_that_is_cut_is_sent_for_again(
    server: UpstreamServer, connected: Connect
) -> None:
    server.faults = [Fault(breaks="cut"), Fault(hangs="in-body")]
    pool = await connected(server, silence_s=0.1)
    assert await ask(pool, is_whole=True) == "hello you"
    assert len(server.generations()) == 3


async def test_a_stream_that_falls_silent_ends_with_an_error(
    server: UpstreamServer, connected: Connect
) -> None:
    server.faults = [Fault(hangs="in-body")]
    pool = await connected(server, silence_s=0.1)
    answer = await pool.send(CHAT, chat("a b c", stream=True))
    with pytest.raises(BackendTimeoutError, match=r"no byte came for 0\.1 s"):
        _ = [chunk async for chunk in answer.chunks()]
    await server.until(lambda: server.seen[0].is_cancelled)


async def test_a_drip_that_never_falls_silent_ends_with_the_attempt(
    server: UpstreamServer, connected: Connect
) -> None:
    server.drip_s = 0.05
    pool = await connected(server, timeout_s=0.4, silence_s=0.3)
    answer = await pool.send(CHAT, chat("a " * 100, stream=True))
    with pytest.raises(BackendTimeoutError, match=r"within 0\.4 s"):
        _ = [chunk async for chunk in answer.chunks()]
    await server.until(lambda: server.seen[0].is_cancelled)


async def test_no_attempt_begins_after_the_deadline(
    server: UpstreamServer, connected: Connect
) -> None:
    server.fault = lambda seen: Fault(status=503, wait_s=0.15)
    pool = await connected(server, retry=replace(RETRY, max_retries=100, give_up_s=0.4))
    with pytest.raises(BackendConnectionError):
        await ask(pool)
    assert 2 <= len(server.generations()) <= 3


async def test_all_requests_together_retry_a_fifth(
    server: UpstreamServer, connected: Connect
) -> None:
    server.fault = lambda seen: Fault(status=503)
    lasting = replace(BREAKER, n_failures=10_000, n_recent=10_000, n_least=10_000)
    pool = await connected(server, retry=replace(RETRY, n_free=3), breaker=lasting)
    errors = await asyncio.gather(*(ask(pool) for _ in range(100)), return_exceptions=True)
    assert all(isinstance(error, BackendConnectionError) for error in errors)
    assert len(server.generations()) <= 100 + 23
    assert len(server.generations()) >= 100 + 20


@pytest.mark.parametrize("status", [429, 503])
async def test_a_pause_that_is_asked_for_is_kept(
    server: UpstreamServer, connected: Connect, status: int
) -> None:
    server.faults = [Fault(status=status, headers={"retry-after": "0.3"})]
    pool = await connected(server)
    started = asyncio.get_running_loop().time()
    first = asyncio.create_task(pool.send(CHAT, chat("first"), is_whole=True))
    await server.until(lambda: not server.faults and pool.states()[0].in_flight == 0)
    # It holds for everybody, and is no attempt of those who wait.
    second = await pool.send(CHAT, chat("second"), is_whole=True)
    assert asyncio.get_running_loop().time() - started >= 0.3
    assert second.n_attempts == 1
    assert second.wait_s >= 0.2
    assert (await first).n_attempts == 2


async def test_a_date_is_understood_as_a_pause(server: UpstreamServer, connected: Connect) -> None:
    until = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    server.fault = lambda seen: Fault(status=429, headers={"retry-after": until})
    pool = await connected(server)
    with pytest.raises(BackendRateLimitError) as caught:
        await ask(pool)
    # Longer than a request may take: not waited for, but told.
    assert len(server.generations()) == 1
    assert 80.0 < (caught.value.retry_after_s or 0.0) <= 90.0
    with pytest.raises(BackendRateLimitError) as caught:
        await ask(pool)
    assert len(server.generations()) == 1
    # Those who come later are told the cap.
    assert 50.0 < (caught.value.retry_after_s or 0.0) <= 60.0


async def test_a_server_that_slows_down_leaves_the_work_to_others(
    server: UpstreamServer, other: UpstreamServer, connected: Connect
) -> None:
    server.fault = lambda seen: Fault(status=429, headers={"retry-after": "20"})
    pool = await connected(server, other)
    async with asyncio.timeout(5):
        for _ in range(20):
            assert await ask(pool) == "hello you"
    assert len(server.generations()) <= 1
    assert pool.states()[0].state == "closed"
    assert pool.states()[0].n_failed == 0
