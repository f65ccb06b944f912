"""Servers that fail in every way we know, and how often they are asked."""

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from policies import (
    BackendConnectionError,
    BackendError,
    BackendRateLimitError,
    BackendRequestError,
    BackendResponseError,
    BackendTimeoutError,
    MissingPrerequisiteError,
)
from policies.backends.openai import OpenAIBackend
from tests.policies.chat_server import Reply, Server, ask, asked, chat


@pytest.mark.parametrize(
    ("status", "kind", "retryable"),
    [
        (400, BackendRequestError, False),
        (401, BackendRequestError, False),
        (403, BackendRequestError, False),
        (404, BackendRequestError, False),
        (408, BackendTimeoutError, True),
        (409, BackendRequestError, True),
        (422, BackendRequestError, False),
        (429, BackendRateLimitError, True),
        (500, BackendResponseError, True),
        (502, BackendConnectionError, True),
        (503, BackendConnectionError, True),
        (504, BackendTimeoutError, True),
        (302, BackendRequestError, False),
    ],
)
async def test_each_status_has_its_error_and_its_number_of_attempts(
    server: Server, status: int, kind: type[BackendError], retryable: bool
) -> None:
    headers = {"x-request-id": "r-9", "location": "http://127.0.0.1:1/v1"}
    failure = Reply({"error": {"message": "because of this"}}, status=status, headers=headers)
    with pytest.raises(kind, match=r"because of this|no explanation") as caught:
        await ask(server, failure, max_retries=1)
    error = caught.value
    assert (error.status_code, error.request_id, error.retryable) == (status, "r-9", retryable)
    assert error.__cause__ is not None
    n_attempts = 2 if retryable else 1
    assert len(server.requests) == n_attempts
    assert f"attempts made: {n_attempts}" in error.__notes__


@pytest.mark.parametrize("max_retries", [0, 1, 3])
async def test_attempts_do_not_multiply(server: Server, max_retries: int) -> None:
    with pytest.raises(BackendResponseError):
        await ask(server, Reply({}, status=500), max_retries=max_retries)
    assert len(server.requests) == max_retries + 1


async def test_a_passing_failure_is_survived(server: Server) -> None:
    failures = [Reply({}, status=503), Reply(raw=b"<html>")]
    completion = await ask(server, *failures, Reply(chat()), max_retries=3)
    assert completion.text == "Answer: 6"
    assert len(server.requests) == 3


async def test_seconds_are_those_of_the_attempt_that_succeeded(server: Server) -> None:
    slow_failure = Reply({}, status=500, delay_s=0.5)
    started = time.perf_counter()
    completion = await ask(server, slow_failure, Reply(chat(), delay_s=0.1), max_retries=1)
    in_all = time.perf_counter() - started
    assert 0.1 <= completion.seconds <= in_all - 0.6  # less the failure and the pause


async def test_retry_after_is_honoured(server: Server) -> None:
    limit = Reply({}, status=429, headers={"retry-after": "0.6"})
    started = time.perf_counter()
    await ask(server, limit, Reply(chat()), max_retries=1)
    assert time.perf_counter() - started >= 0.6


async def test_without_retry_after_there_is_a_pause_of_our_own(server: Server) -> None:
    started = time.perf_counter()
    await ask(server, Reply({}, status=429), Reply(chat()), max_retries=1)
    assert time.perf_counter() - started >= 0.12


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-4"}, None),
        ({}, None),
    ],
)
async def test_retry_after_is_told(
    server: Server, headers: dict[str, str], seconds: float | None
) -> None:
    with pytest.raises(BackendRateLimitError) as caught:
        await ask(server, Reply({}, status=429, headers=headers))
    assert caught.value.retry_after_s == seconds


@pytest.mark.parametrize(("shift_s", "least", "most"), [(90, 60, 90), (-90, 0, 0)])
async def test_retry_after_may_be_a_date(
    server: Server, shift_s: int, least: float, most: float
) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=shift_s), usegmt=True)
    with pytest.raises(BackendRateLimitError) as caught:
        await ask(server, Reply({}, status=429, headers={"retry-after": date}))
    assert caught.value.retry_after_s is not None
    assert least <= caught.value.retry_after_s <= most


async def test_nobody_waits_for_a_server_that_asks_for_an_hour(server: Server) -> None:
    limit = Reply({}, status=429, headers={"retry-after": "3600"})
    with pytest.raises(BackendRateLimitError):
        await ask(server, limit, max_retries=3)
    assert len(server.requests) == 1


async def test_a_used_up_quota_is_final(server: Server) -> None:
    body = {"error": {"code": "insufficient_quota", "message": "pay first"}}
    with pytest.raises(BackendRateLimitError, match="pay first"):
        await ask(server, Reply(body, status=429), max_retries=3)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "reply", [Reply(chat(), delay_s=30), Reply(chat(), drip_s=0.2)], ids=["hang", "drip"]
)
async def test_a_server_that_takes_too_long_is_a_timeout(server: Server, reply: Reply) -> None:
    with pytest.raises(BackendTimeoutError, match="within 1 s"):
        await ask(server, reply, timeout_s=1.0, max_retries=1)
    assert len(server.requests) == 2


async def test_a_body_cut_in_the_middle_is_a_broken_connection(server: Server) -> None:
    with pytest.raises(BackendConnectionError) as caught:
        await ask(server, Reply(chat(), is_cut=True), max_retries=1)
    assert isinstance(caught.value, ConnectionError)
    assert len(server.requests) == 2


async def test_a_server_that_is_not_there(server: Server) -> None:
    url = server.url
    server.close()
    backend = OpenAIBackend("m", url, max_retries=1)
    with pytest.raises(BackendConnectionError, match="cannot be reached") as caught:
        await backend.generate(asked())
    await backend.aclose()
    assert caught.value.__cause__ is not None
    server.__init__()


Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def raw_server(handle: Handler) -> AsyncGenerator[str]:
    """Serve on sockets; what is handled has ended when the block does."""
    handlers: list[asyncio.Task[None] | None] = []

    async def handled(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handlers.append(asyncio.current_task())
        with contextlib.suppress(asyncio.IncompleteReadError):
            await handle(reader, writer)
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(handled, "127.0.0.1", 0) as listening:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1"
        await asyncio.gather(*filter(None, handlers))


async def test_a_connection_that_is_closed_without_a_word_is_named() -> None:
    async def hang_up(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")

    async with raw_server(hang_up) as url:
        backend = OpenAIBackend("m", url, max_retries=0)
        with pytest.raises(BackendConnectionError, match=r"cannot be reached: \w+"):
            await backend.generate(asked())
        await backend.aclose()


async def test_an_idle_connection_is_left_before_usual_servers_close_it() -> None:
    n_connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal n_connections
        n_connections += 1
        body = json.dumps(chat()).encode()
        head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}"
        while True:
            asking = (await reader.readuntil(b"\r\n\r\n")).lower().decode()
            await reader.readexactly(int(asking.split("content-length: ")[1].split("\r\n")[0]))
            writer.write(head.encode() + b"\r\n\r\n" + body)

    async with raw_server(serve) as url:
        backend = OpenAIBackend("m", url, max_retries=0)
        for pause_s, n_expected in ((0.0, 1), (0.0, 1), (4.5, 2)):
            await asyncio.sleep(pause_s)
            await backend.generate(asked())
            assert n_connections == n_expected
        await backend.aclose()


async def test_an_unknown_model_shows_what_the_server_says(server: Server) -> None:
    body = {"error": {"message": "The model `m` does not exist. Valid: n.", "code": 404}}
    with pytest.raises(BackendRequestError, match="Valid: n") as caught:
        await ask(server, Reply(body, status=404), max_retries=3)
    assert "/v1" in caught.value.hint
    assert len(server.requests) == 1


async def test_no_more_requests_at_once_than_allowed(server: Server) -> None:
    server.replies = [Reply(chat(), delay_s=0.2)]
    backend = OpenAIBackend("m", server.url, max_concurrency=3)
    await asyncio.gather(*(backend.generate(asked()) for _ in range(12)))
    await backend.aclose()
    assert len(server.requests) == 12
    assert 1 < server.most_in_flight <= 3


def test_one_backend_serves_one_event_loop_after_another(server: Server) -> None:
    server.replies = [Reply(chat(), headers={"connection": "close"})]
    backend = OpenAIBackend("m", server.url)
    for _ in range(2):
        assert asyncio.run(backend.generate(asked())).text == "Answer: 6"


async def test_a_closed_backend_says_so(server: Server) -> None:
    backend = OpenAIBackend("m", server.url)
    await backend.aclose()
    with pytest.raises(BackendError, match="closed"):
        await backend.generate(asked())


async def test_a_missing_library_is_told_at_the_first_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(MissingPrerequisiteError, match="pip install openai"):
        await OpenAIBackend("m", "http://127.0.0.1/v1").generate(asked())
