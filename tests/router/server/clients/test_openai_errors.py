"""Errors as OpenAI's own client raises them: the right class, the code, and a line to act on."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from pydantic import BaseModel

from tests.router.server.clients.pocket_chats import asked
from tests.router.server.clients.served_process import ServedProcess, serving_process


class Answer(BaseModel):
    """What a client may want to be filled in."""

    value: int


REFUSED: dict[str, tuple[dict[str, Any], str | None, str]] = {
    # What is sent, the field that is to blame, and words of the message.
    "no tokens": ({"max_tokens": 0}, "max_tokens", "greater than or equal to 1"),
    "hot": ({"temperature": 3}, "temperature", "less than or equal to 2"),
    "no turns": ({"messages": []}, "messages", "at least 1"),
    "role": ({"messages": [{"role": "boss", "content": "x"}]}, "messages", "role"),
    "effort": ({"reasoning_effort": "huge"}, "reasoning_effort", "'low', 'medium' or 'high'"),
    "unknown wish": ({"thinkroute": {"speed": 1}}, "thinkroute", "speed"),
    "impossible wish": (
        {"model": "pocket-m:direct", "thinkroute": {"mode": "reasoning"}},
        "thinkroute",
        "no arm has mode=reasoning",
    ),
    "format": ({"response_format": {"type": "json_object"}}, "response_format", "response_format"),
    "tools": (
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]},
        "tools",
        "tools",
    ),
    "many": ({"n": 1000}, "n", "128"),
    "part without text": (
        {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
        "messages",
        "text",
    ),
    "part of a number": (
        {"messages": [{"role": "user", "content": [{"type": "text", "text": 5}]}]},
        "messages",
        "text",
    ),
    "part of two types": (
        {"messages": [{"role": "user", "content": [{"type": ["text"], "text": "x"}]}]},
        "messages",
        "type",
    ),
    "image without url": (
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}]},
        "messages",
        "image_url",
    ),
    "bias of a word": ({"logit_bias": {"word": 1}}, "logit_bias", "word"),
    # The model says that, which knows nothing of fields.
    "bias of no token": ({"logit_bias": {"99999999": 1}}, None, "99999999"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_used_is_a_bad_request_that_names_it(
    client: openai.OpenAI, name: str
) -> None:
    fields, param, words = REFUSED[name]
    body = {"model": "thinkroute", "messages": asked(), **fields}
    with pytest.raises(openai.BadRequestError) as told:
        client.post("/chat/completions", body=body, cast_to=object)
    error = told.value
    assert error.param == param
    assert words.removesuffix(" or 'high'") in error.message
    assert error.type == "invalid_request_error"
    assert error.code


def test_an_unknown_model_is_not_found_and_says_where_to_look(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as told:
        client.chat.completions.create(model="gpt-99", messages=asked())
    assert told.value.code == "model_not_found"
    assert told.value.param == "model"
    assert "no model 'gpt-99'" in told.value.message
    assert "/v1/models" in told.value.message
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-99")


def test_a_prompt_beyond_the_context_has_openais_own_code(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="exceed the context of 1024") as told:
        client.chat.completions.create(model="thinkroute", messages=asked("many words " * 1000))
    assert told.value.code == "context_length_exceeded"


PARSED: dict[str, Callable[[openai.OpenAI], object]] = {
    "chat": lambda client: client.chat.completions.parse(
        model="thinkroute", messages=asked(), response_format=Answer
    ),
    "response": lambda client: client.responses.parse(
        model="thinkroute", input="x", text_format=Answer
    ),
}


@pytest.mark.parametrize("name", PARSED)
def test_a_model_that_cannot_fill_in_a_schema_says_so(client: openai.OpenAI, name: str) -> None:
    with pytest.raises(openai.BadRequestError, match="response_format") as told:
        PARSED[name](client)
    assert told.value.code == "unsupported-field"


def test_what_the_server_does_not_have_is_not_found(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="/v1/embeddings"):
        client.embeddings.create(model="thinkroute", input="x")
    with pytest.raises(openai.NotFoundError, match="no decision"):
        client.post(
            "/feedback", body={"decision_id": "nobody", "outcome": "correct"}, cast_to=object
        )


def test_a_body_that_is_too_large_is_refused_with_its_limit(client: openai.OpenAI) -> None:
    with pytest.raises(openai.APIStatusError, match="33,554,432 bytes") as told:
        client.chat.completions.create(model="thinkroute", messages=asked("a" * 33 * 2**20))
    assert told.value.status_code == 413
    assert told.value.code == "body-too-large"


RAW: dict[str, tuple[bytes, dict[str, str], int, str]] = {
    "no json": (b"hello", {}, 400, "no JSON"),
    "no object": (b"[1]", {}, 400, "no JSON object"),
    "deep": (b'{"x":' + b"[" * 100_000, {}, 400, "no JSON"),
    "lone surrogate": (
        rb'{"model":"thinkroute","messages":[{"role":"user","content":"a\ud800"}]}',
        {},
        400,
        "messages",
    ),
    "not a number": (
        b'{"model":"thinkroute","temperature":NaN,"messages":[{"role":"user","content":"x"}]}',
        {},
        400,
        "NaN",
    ),
    "form": (b"x=1", {"content-type": "application/x-www-form-urlencoded"}, 415, "content-type"),
    "gzip": (b"\x1f\x8b\x08\x00", {"content-encoding": "gzip"}, 415, "content-encoding"),
}


@pytest.mark.parametrize("name", RAW)
def test_bodies_that_no_client_should_send_get_a_clear_answer(
    server: ServedProcess, name: str
) -> None:
    body, headers, status, words = RAW[name]
    answer = httpx.post(
        f"{server.base_url}/chat/completions",
        content=body,
        headers={"content-type": "application/json", **headers},
        timeout=60,
    )
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/json")
    assert words in answer.json()["error"]["message"]


@pytest.fixture(scope="module")
def guarded(own_cache: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedProcess]:
    """Run a server that asks for keys: one of an admin, and one that is good for two requests."""
    folder = tmp_path_factory.mktemp("guarded")
    keys: Path = folder / "keys.toml"
    digests = {name: hashlib.sha256(name.encode()).hexdigest() for name in ("boss", "guest")}
    keys.write_text(
        f'[keys.boss]\nsha256 = "{digests["boss"]}"\nis_admin = true\n'
        f'[keys.guest]\nsha256 = "{digests["guest"]}"\nmax_requests = 2\n',
        encoding="utf-8",
    )
    with serving_process(folder, "--keys", str(keys)) as served:
        yield served


def caller(server: ServedProcess, key: str) -> openai.OpenAI:
    """Return a client with a key."""
    return openai.OpenAI(base_url=server.base_url, api_key=key, max_retries=0)


def test_a_wrong_key_is_an_authentication_error(guarded: ServedProcess) -> None:
    with caller(guarded, "stolen-key-42") as client:
        for ask in (
            lambda: client.chat.completions.create(model="thinkroute", messages=asked()),
            lambda: client.models.list(),
        ):
            with pytest.raises(openai.AuthenticationError) as told:
                ask()
            assert told.value.code == "invalid_api_key"
            assert "stolen-key-42" not in str(told.value)


def test_a_key_that_is_used_up_is_a_rate_limit_error_with_the_time_to_wait(
    guarded: ServedProcess,
) -> None:
    with caller(guarded, "guest") as client:
        for _ in range(2):
            client.chat.completions.create(model="thinkroute", messages=asked())
        with pytest.raises(openai.RateLimitError, match="'guest' are used up") as told:
            client.chat.completions.create(model="thinkroute", messages=asked())
    assert int(told.value.response.headers["retry-after"]) >= 1
    assert told.value.code == "caller-cap"
    with caller(guarded, "boss") as other:
        other.chat.completions.create(model="thinkroute", messages=asked())


def test_a_key_without_the_right_is_denied(guarded: ServedProcess) -> None:
    with caller(guarded, "guest") as client, pytest.raises(openai.PermissionDeniedError):
        client.get(f"{guarded.url}/metrics", cast_to=str)
