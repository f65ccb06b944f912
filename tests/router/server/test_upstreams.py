"""Requests reach upstream servers, and are sent again when they should be."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from policies import (
    CONTEXT_EXCEEDED,
    BackendConnectionError,
    BackendError,
    BackendRateLimitError,
    BackendRequestError,
    BackendResponseError,
    BackendTimeoutError,
    InvalidInputError,
)
from router.server.upstreams import (
    BreakerSettings,
    RetrySettings,
    Trail,
    UpstreamPool,
    UpstreamRefusalError,
    UpstreamSettings,
)
from router.server.upstreams import _answer as answer_module
from tests.servers.upstream import Fault, UpstreamServer

CHAT = "/chat/completions"
RETRY = RetrySettings(first_wait_s=0.01, longest_wait_s=0.02, n_free=100)
# No checks, so that nothing but the requests of the test reaches the server.
BREAKER = BreakerSettings(check_every_s=0.0, recheck_every_s=60.0)

Connect = Callable[..., Any]


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as opened:
        yield opened


@pytest.fixture
async def server(stack: AsyncExitStack) -> UpstreamServer:
    return await stack.enter_async_context(UpstreamServer())


@pytest.fixture
async def other(stack: AsyncExitStack) -> UpstreamServer:
    return await stack.enter_async_context(UpstreamServer())


@pytest.fixture
def connected(stack: AsyncExitStack) -> Connect:
    async def connect(
        *servers: UpstreamServer,
        retry: RetrySettings = RETRY,
        breaker: BreakerSettings = BREAKER,
        **settings: Any,
    ) -> UpstreamPool:
        each = [UpstreamSettings(one.url, **settings) for one in servers]
        pool = UpstreamPool(each, retry=retry, breaker=breaker, rng=random.Random(0))
        await pool.start()
        stack.push_async_callback(pool.aclose)
        return pool

    return connect


def chat(said: str = "hello you", **fields: Any) -> bytes:
    messages = [{"role": "user", "content": said}]
    return json.dumps({"model": "m", "messages": messages, **fields}).encode()


async def ask(pool: UpstreamPool, said: str = "hello you", **options: Any) -> str:
    async with await pool.send(CHAT, chat(said), **options) as answer:
        return json.loads(await answer.read())["choices"][0]["message"]["content"]


async def test_a_request_arrives_as_it_was_sent(server: UpstreamServer, connected: Connect) -> None:
    pool = await connected(server)
    body = chat("one two", temperature=0.5)
    sent = {"x-request-id": "r1", "Authorization": "Bearer client", "Host": "evil.invalid"}
    answer = await pool.send(CHAT, body, headers=sent, model="m")
    assert (answer.status, answer.url, answer.n_attempts) == (200, server.url, 1)
    assert answer.headers["content-type"] == "application/json"
    assert json.loads(await answer.read())["choices"][0]["message"]["content"] == "one two"
    [seen] = server.seen
    assert (seen.method, seen.path, seen.raw) == ("POST", "/v1/chat/completions", body)
    assert seen.headers["content-type"] == "application/json"
    assert seen.headers["x-request-id"] == "r1"
    assert seen.headers["host"] == f"127.0.0.1:{server.port}"
    assert "authorization" not in seen.headers
    assert 0.0 < answer.wait_s < 5.0


async def test_the_key_is_sent_as_bearer(server: UpstreamServer, connected: Connect) -> None:
    from pydantic import SecretStr

    pool = await connected(server, key=SecretStr("k1"))
    await ask(pool, headers={"authorization": "Bearer client", "x-api-key": "client"})
    assert server.seen[0].headers["authorization"] == "Bearer k1"
    assert "x-api-key" not in server.seen[0].headers


async def test_a_large_body_arrives_whole(server: UpstreamServer, connected: Connect) -> None:
    pool = await connected(server)
    said = "x" * (5 * 2**20)
    assert await ask(pool, said) == said


async def test_a_list_of_models_is_got(server: UpstreamServer, connected: Connect) -> None:
    pool = await connected(server)
    answer = await pool.get("/models")
    assert json.loads(await answer.read())["data"][0]["id"] == "m"


async def test_events_arrive_as_they_are_sent(server: UpstreamServer, connected: Connect) -> None:
    server.drip_s = 0.03
    pool = await connected(server)
    body = chat("a b c", stream=True, stream_options={"include_usage": True})
    answer = await pool.send(CHAT, body)
    chunks = [chunk async for chunk in answer.chunks()]
    assert len(chunks) >= 5
    assert chunks[-1].endswith(b"data: [DONE]\n\n")
    assert b'"completion_tokens": 3' in b"".join(chunks)
    assert answer.wait_s >= 0.03 * 5
    assert pool.states()[0].in_flight == 0


async def test_a_whole_answer_can_be_read_in_chunks(
    server: UpstreamServer, connected: Connect
) -> None:
    pool = await connected(server)
    answer = await pool.send(CHAT, chat(), is_whole=True)
    assert pool.states()[0].in_flight == 0
    assert b"hello you" in b"".join([chunk async for chunk in answer.chunks()])


async def test_an_answer_without_a_body_is_empty(
    server: UpstreamServer, connected: Connect
) -> None:
    server.faults = [Fault(document=b""), Fault(document=b"")]
    pool = await connected(server)
    assert await (await pool.send(CHAT, chat())).read() == b""
    assert await (await pool.send(CHAT, chat(), is_whole=True)).read() == b""
    assert pool.states()[0].in_flight == 0


async def test_compressed_answers_are_decoded(server: UpstreamServer, connected: Connect) -> None:
    import gzip

    packed = Fault(document=gzip.compress(b"x" * 9999), headers={"content-encoding": "gzip"})
    broken = Fault(document=b"no gzip at all", headers={"content-encoding": "gzip"})
    server.faults = [packed, broken, broken, broken]
    pool = await connected(server)
    assert await (await pool.send(CHAT, chat())).read() == b"x" * 9999
    with pytest.raises(BackendError):
        await pool.send(CHAT, chat(), is_whole=True)
    assert pool.states()[0].in_flight == 0


@pytest.mark.parametrize("is_whole", [False, True])
async def test_an_answer_that_is_too_long_is_not_kept(
    server: UpstreamServer, connected: Connect, monkeypatch: pytest.MonkeyPatch, is_whole: bool
) -> None:
    monkeypatch.setattr(answer_module, "MOST_BYTES", 2**20)
    server.faults = [Fault(document=b"x" * 2**21)]
    pool = await connected(server)
    with pytest.raises(BackendResponseError, match="longer than 1 MiB"):
        await (await pool.send(CHAT, chat(), is_whole=is_whole)).read()
    assert len(server.generations()) == 1
    assert pool.states()[0] == replace(pool.states()[0], in_flight=0, state="closed", n_failed=0)


# Which server is asked


async def test_the_server_with_least_to_do_is_asked(
    server: UpstreamServer, other: UpstreamServer, connected: Connect
) -> None:
    server.latency_s, other.latency_s = 0.04, 0.004
    pool = await connected(server, other)
    turns = asyncio.Semaphore(8)

    async def one() -> None:
        async with turns:
            await ask(pool)

    await asyncio.gather(*(one() for _ in range(200)))
    n_slow, n_fast = len(server.generations()), len(other.generations())
    # Ten times as fast, with equally many under way: about ten times as many. The fast one's
    # own overhead, on a busy machine, takes some of that away.
    assert n_fast > 2 * n_slow
    assert server.most_in_flight <= 5
    assert other.most_in_flight <= 5


async def test_equal_servers_share_alike(
    server: UpstreamServer, other: UpstreamServer, connected: Connect
) -> None:
    pool = await connected(server, other)
    for _ in range(100):
        await ask(pool)
    # Binomial with n=100, p=1/2: outside of 25 to 75 once in 10 million.
    assert 25 <= len(server.generations()) <= 75


async def test_a_full_pool_refuses_at_once(server: UpstreamServer, connected: Connect) -> None:
    server.faults = [Fault(hangs="before-headers")] * 2
    pool = await connected(server, max_in_flight=2)
    tasks = [asyncio.create_task(ask(pool)) for _ in range(2)]
    await server.until(lambda: server.n_in_flight == 2)
    with pytest.raises(BackendRateLimitError) as caught:
        await ask(pool)
    assert (caught.value.code, caught.value.retry_after_s) == ("upstreams-busy", 1.0)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert await ask(pool) == "hello you"


# Retries


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


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 413, 422, 501, 505, 302, 307, 304])
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
    received: list[bytes] = []
    with pytest.raises(BackendConnectionError, match="in the middle") as caught:
        async for chunk in answer.chunks():
            received.append(chunk)
    assert received
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
    with pytest.raises(BackendTimeoutError, match="no byte came for 0.1 s"):
        _ = [chunk async for chunk in answer.chunks()]
    await server.until(lambda: server.seen[0].is_cancelled)


async def test_a_drip_that_never_falls_silent_ends_with_the_attempt(
    server: UpstreamServer, connected: Connect
) -> None:
    server.drip_s = 0.05
    pool = await connected(server, timeout_s=0.4, silence_s=0.3)
    answer = await pool.send(CHAT, chat("a " * 100, stream=True))
    with pytest.raises(BackendTimeoutError, match="within 0.4 s"):
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


# Pauses that servers ask for


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


# Cancellation


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


# Errors of the client, and errors of ours


async def test_a_refusal_hands_on_the_servers_document(
    server: UpstreamServer, connected: Connect
) -> None:
    document = b'{"error": {"message": "temperature is -1", "code": "bad"}}'
    server.faults = [Fault(status=400, document=document, headers={"x-request-id": "r7"})]
    pool = await connected(server)
    with pytest.raises(UpstreamRefusalError) as caught:
        await ask(pool)
    assert caught.value.document == document
    assert (caught.value.status_code, caught.value.request_id) == (400, "r7")
    # The message may be logged, and the document may hold the prompt.
    assert "temperature" not in str(caught.value)
    assert pool.states()[0].n_failed == 0


async def test_a_prompt_that_is_too_long_has_its_own_code(
    server: UpstreamServer, connected: Connect
) -> None:
    document = b'{"error": {"message": "maximum context length is 8192 tokens"}}'
    server.faults = [Fault(status=400, document=document)]
    pool = await connected(server)
    with pytest.raises(UpstreamRefusalError) as caught:
        await ask(pool)
    assert caught.value.code == CONTEXT_EXCEEDED


@pytest.mark.parametrize("status", [401, 402, 403, 407])
async def test_a_key_that_is_refused_is_not_the_clients_fault(
    server: UpstreamServer, connected: Connect, status: int
) -> None:
    server.faults = [Fault(status=status)]
    pool = await connected(server)
    with pytest.raises(BackendRequestError, match="denies us access") as caught:
        await ask(pool)
    assert not isinstance(caught.value, UpstreamRefusalError)
    assert caught.value.code == "upstream-denied"


async def test_no_redirect_is_followed(
    server: UpstreamServer, other: UpstreamServer, connected: Connect
) -> None:
    server.fault = lambda seen: Fault(status=307, headers={"location": f"{other.url}{CHAT}"})
    pool = await connected(server)
    with pytest.raises(BackendResponseError, match="redirects are not followed"):
        await ask(pool)
    assert other.seen == []


async def test_no_proxy_of_the_environment_is_used(
    server: UpstreamServer,
    other: UpstreamServer,
    connected: Connect,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, other.root)
    pool = await connected(server)
    assert await ask(pool) == "hello you"
    assert other.seen == []


@pytest.mark.parametrize(
    "path", ["", "chat", "/a/../b", "/a?b=c", "/a#b", "//evil.invalid", "/a\\b", "/a b", "/é"]
)
async def test_paths_that_could_lead_elsewhere_are_refused(
    server: UpstreamServer, connected: Connect, path: str
) -> None:
    pool = await connected(server)
    with pytest.raises(InvalidInputError, match="path"):
        await pool.send(path, b"{}")
    assert server.seen == []


@pytest.mark.parametrize("headers", [{"x": "a\r\nb: c"}, {"x\n": "a"}, {"x y": "a"}, {"": "a"}])
async def test_headers_that_would_break_http_are_refused(
    server: UpstreamServer, connected: Connect, headers: dict[str, str]
) -> None:
    pool = await connected(server)
    with pytest.raises(InvalidInputError, match="header"):
        await pool.send(CHAT, chat(), headers=headers)
    assert server.seen == []


@pytest.mark.parametrize(
    "changes",
    [{"connect_s": 0.0}, {"timeout_s": float("inf")}, {"silence_s": -1.0}, {"max_in_flight": 0}],
)
def test_settings_that_make_no_sense_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match=f"{next(iter(changes))} is"):
        UpstreamSettings("http://127.0.0.1/v1", **changes)


def test_a_pool_needs_each_server_once() -> None:
    one = UpstreamSettings("http://127.0.0.1/v1")
    for settings in ([], [one, UpstreamSettings("http://127.0.0.1/v1/")]):
        with pytest.raises(InvalidInputError, match="each once"):
            UpstreamPool(settings)


# Many at once, with faults


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
