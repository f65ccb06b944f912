"""Answers that cannot be used are errors, and never completions."""

import pytest

from policies import (
    BackendResponseError,
)
from tests.policies.chat_server import USAGE, Reply, Server, ask, chat


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (chat(usage=None), "no usage"),
        (chat(usage={"prompt_tokens": 3}), "completion_tokens"),
        (chat(usage={"prompt_tokens": None, "completion_tokens": 3}), "prompt_tokens"),
        (chat(usage={"prompt_tokens": 1, "completion_tokens": -3}), "-3"),
        (chat(usage={"prompt_tokens": 1, "completion_tokens": True}), "True"),
        (chat(usage={"prompt_tokens": 1, "completion_tokens": 0}), "completion_tokens is 0"),
        (
            chat(usage={**USAGE, "completion_tokens_details": {"reasoning_tokens": 99}}),
            "99 reasoning tokens of 9",
        ),
        ({"choices": [], "usage": USAGE}, "no choices"),
        ({"usage": USAGE}, "no choices"),
        ({"error": {"message": "out of memory"}}, "out of memory"),
        ([1, 2], "JSON object"),
        ({"choices": [{"finish_reason": "stop"}], "usage": USAGE}, "message"),
        (chat(content=["x"]), "content"),
        (chat(content=""), "empty"),
        (chat(content=None), "empty"),
        (chat(finish=None), "finish_reason"),
        (chat(finish="tool_calls"), "tool_calls"),
        (chat(finish="abort"), "abort"),
    ],
)
async def test_nonsense_is_an_error_and_never_an_answer(
    server: Server, body: object, says: str
) -> None:
    with pytest.raises(BackendResponseError, match=says) as caught:
        await ask(server, Reply(body, headers={"x-request-id": "r-1"}))
    assert caught.value.request_id == "r-1"
    assert (caught.value.backend, caught.value.model) == ("openai", "m")


async def test_a_model_that_ends_its_turn_at_once_has_an_empty_answer(server: Server) -> None:
    usage = {"prompt_tokens": 7, "completion_tokens": 1}
    assert (await ask(server, chat("", usage=usage))).text == ""


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        (b"<html><body>Welcome to the proxy</body></html>", "text/html"),
        (b'{"choices": [', "application/json"),
        (b"", "application/json"),
        (b"\xff\xfe\x00", "application/octet-stream"),
    ],
)
async def test_what_is_no_json_is_tried_again_and_then_an_error(
    server: Server, raw: bytes, kind: str
) -> None:
    page = Reply(raw=raw, headers={"content-type": kind})
    with pytest.raises(BackendResponseError, match="no JSON"):
        await ask(server, page, max_retries=1)
    assert len(server.requests) == 2
