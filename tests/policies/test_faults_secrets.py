"""A key is sent to its server and shown nowhere else."""

import logging
import traceback
from typing import Any

import pytest

from policies import (
    BackendError,
    InvalidInputError,
)
from policies.backends.openai import OpenAIBackend
from policies.backends.pool import connect
from tests.policies.chat_server import CANARY, Reply, Server, ask, asked, chat


async def test_the_key_is_sent_and_shown_nowhere(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    echo = {"error": {"message": f"Incorrect API key provided: {CANARY}"}}
    server.replies = [
        Reply(echo, status=401),
        Reply(echo, status=500),
        Reply(raw=f"<p>{CANARY}</p>".encode()),
        Reply({"error": f"bad {CANARY}"}),
        Reply(chat(finish=CANARY)),
    ]
    backend = OpenAIBackend("m", server.url, CANARY, max_retries=0)
    shown = [repr(backend), str(backend), str(backend.identity()), str(vars(backend))]
    for _ in server.replies:
        with pytest.raises(BackendError) as caught:
            await backend.generate(asked())
        shown += [repr(caught.value), str(caught.value), str(vars(caught.value))]
        shown += traceback.format_exception(caught.value)
    await backend.aclose()
    assert server.requests[0]["headers"]["authorization"] == f"Bearer {CANARY}"
    assert [text for text in shown if CANARY in text] == []
    assert CANARY not in caplog.text


async def test_the_key_is_in_no_completion_and_no_wire_body(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server.replies = [Reply({}, status=429), Reply(chat())]
    backend = OpenAIBackend("m", server.url, CANARY)
    completion = await backend.generate(asked())
    await backend.aclose()
    assert completion.wire is not None
    assert CANARY not in repr(completion)
    assert CANARY not in caplog.text


@pytest.mark.parametrize("where", ["extra_body", "extra_body_on", "extra_body_off"])
def test_a_key_in_the_body_is_refused_unrepeated(where: str) -> None:
    options: dict[str, Any] = {where: {"user": f"me {CANARY}"}}
    with pytest.raises(InvalidInputError, match="holds the API key") as caught:
        OpenAIBackend("m", "http://127.0.0.1/v1", CANARY, **options)
    assert CANARY not in "".join(traceback.format_exception(caught.value))


async def test_a_pool_shows_no_key(server: Server) -> None:
    other = Server()
    server.replies = other.replies = [Reply({"error": f"bad {CANARY}"}, status=500)]
    pool = connect("m", [server.url, other.url], api_key=CANARY, max_retries=1)
    with pytest.raises(BackendError) as caught:
        await pool.generate(asked())
    await pool.aclose()
    other.close()
    shown = [repr(pool), str(vars(pool)), str(pool.identity()), str(vars(caught.value))]
    shown += traceback.format_exception(caught.value)
    assert [text for text in shown if CANARY in text] == []


async def test_no_redirect_is_followed(server: Server) -> None:
    other = Server()
    other.replies = [Reply(chat())]
    location = {"location": f"{other.url}/chat/completions"}
    with pytest.raises(BackendError):
        await ask(server, Reply({}, status=307, headers=location), api_key=CANARY)
    other.close()
    assert other.requests == []


async def test_no_key_of_the_environment_is_sent_to_a_server_unasked(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("API_KEY", "ADMIN_KEY", "ORG_ID", "PROJECT_ID"):
        monkeypatch.setenv(f"OPENAI_{name}", CANARY)
    await ask(server, chat())
    assert "authorization" not in server.requests[0]["headers"]
    assert CANARY not in str(server.requests)


@pytest.mark.parametrize(
    "url",
    [
        f"http://user:{CANARY}@127.0.0.1/v1",
        f"http://{CANARY}@127.0.0.1/v1",
        f"http://127.0.0.1/v1?key={CANARY}",
        f"http://127.0.0.1/v1#{CANARY}",
        "ftp://127.0.0.1/v1",
        "127.0.0.1:8000/v1",
        "http:///v1",
        "http://127.0.0.1:port/v1",
        "http://127.0.0.1\\@evil.invalid/v1",
        "",
    ],
)
def test_urls_with_credentials_or_without_a_host_are_refused_unrepeated(url: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        OpenAIBackend("m", url)
    assert CANARY not in "".join(traceback.format_exception(caught.value))
