"""Requests reach the right upstream server, and its answers and refusals come back."""

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest

from policies import (
    CONTEXT_EXCEEDED,
    BackendError,
    BackendRateLimitError,
    BackendRequestError,
    BackendResponseError,
    InvalidInputError,
)
from router.server.upstreams import (
    UpstreamPool,
    UpstreamRefusalError,
    UpstreamSettings,
)
from router.server.upstreams import _answer as answer_module
from tests.router.server.upstreams.conftest import CHAT, Connect, ask, chat
from tests.servers.upstream import Fault, UpstreamServer


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
