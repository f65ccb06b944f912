"""What the `openai` backend sends."""

import pytest

from policies import (
    CapabilityError,
    GenerationRequest,
    Message,
)
from tests.policies.chat_server import Server, ask, asked, chat


async def test_the_body_has_the_thinking_switch_and_the_budget(server: Server) -> None:
    await ask(server, chat(), request=asked(thinking=True, thinking_budget=12, seed=3))
    (sent,) = server.requests
    assert sent["path"] == "/v1/chat/completions"
    body = sent["body"]
    assert body["chat_template_kwargs"] == {"enable_thinking": True}
    assert body["thinking_token_budget"] == 12
    assert (body["model"], body["max_tokens"], body["seed"]) == ("m", 50, 3)
    assert body["messages"] == [{"role": "user", "content": "7+9?"}]


async def test_sampling_is_said_aloud_so_that_no_server_default_shapes_it(server: Server) -> None:
    await ask(server, chat(), request=asked(temperature=0.7))
    body = server.requests[0]["body"]
    assert (body["temperature"], body["top_p"], body["top_k"]) == (0.7, 1.0, -1)


@pytest.mark.parametrize("dialect", ["openai", "deepseek", "transformers", "plain"])
async def test_a_budget_is_refused_unsent_where_the_server_takes_none(
    server: Server, dialect: str
) -> None:
    request = asked(thinking=True, thinking_budget=8)
    with pytest.raises(CapabilityError, match="thinking-budget"):
        await ask(server, chat(), request=request, dialect=dialect)
    assert server.requests == []


async def test_a_server_without_a_switch_refuses_thinking_and_gets_no_thinking_field(
    server: Server,
) -> None:
    with pytest.raises(CapabilityError, match="thinking-switch"):
        await ask(server, chat(), request=asked(thinking=True), dialect="plain")
    await ask(server, chat(), dialect="plain")
    assert set(server.requests[0]["body"]) == {
        "model", "messages", "max_tokens", "temperature", "top_p",
    }  # fmt: skip


async def test_a_continuation_is_refused_where_ids_are_not_taken(server: Server) -> None:
    with pytest.raises(CapabilityError, match="prefix-continuation"):
        await ask(server, chat(), request=asked(continuation=(1, 2)), dialect="sglang")
    assert server.requests == []


async def test_a_conversation_is_sent_in_order(server: Server) -> None:
    messages = (Message("system", "s"), Message("user", "u"), Message("assistant", "a"))
    await ask(server, chat(), request=GenerationRequest(messages, max_tokens=5))
    assert [m["role"] for m in server.requests[0]["body"]["messages"]] == [
        "system", "user", "assistant",
    ]  # fmt: skip
