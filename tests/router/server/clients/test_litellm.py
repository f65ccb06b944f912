"""LiteLLM on the server, by nothing but its base URL."""

import os
from collections.abc import Iterable
from typing import Any

import pytest

from tests.router.server.clients.pocket_chats import VALUE, asked
from tests.router.server.clients.served_process import ServedProcess

# What its own code makes pydantic say about it; within a call it would be raised as an answer.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*on TypedDict class:UserWarning:pydantic"),
    pytest.mark.filterwarnings("ignore:Accessing the 'model_:DeprecationWarning"),
]
THINKING = "openai/pocket-m:reasoning@max"


@pytest.fixture(scope="module")
def litellm() -> Any:
    """Return the library, which must not fetch its price list."""
    assert os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] == "True"
    return pytest.importorskip("litellm")


@pytest.fixture
def reached(server: ServedProcess) -> dict[str, Any]:
    """Return what tells LiteLLM where the server is."""
    return {"api_base": server.base_url, "api_key": "unused", "max_retries": 0}


def joined(chunks: Iterable[Any], field: str) -> str:
    """Return the text of one field of a stream."""
    return "".join(
        getattr(choice.delta, field, None) or "" for chunk in chunks for choice in chunk.choices
    )


def test_a_completion_has_answer_thought_and_usage(litellm: Any, reached: dict[str, Any]) -> None:
    done = litellm.completion(model=THINKING, messages=asked(), **reached)
    message = done.choices[0].message
    assert message.content == f"Answer: {VALUE}"
    assert "3*8=4" in message.reasoning_content
    assert done.usage.total_tokens == done.usage.prompt_tokens + done.usage.completion_tokens
    assert done.usage.completion_tokens_details.reasoning_tokens > 0


def test_the_router_is_a_model_like_any_other(litellm: Any, reached: dict[str, Any]) -> None:
    done = litellm.completion(model="openai/thinkroute", messages=asked(), **reached)
    assert done.choices[0].message.content.startswith("Answer: ")


async def test_an_asynchronous_completion_says_the_same(
    litellm: Any, reached: dict[str, Any]
) -> None:
    done = await litellm.acompletion(model=THINKING, messages=asked(), **reached)
    assert done.choices[0].message.content == f"Answer: {VALUE}"


def test_a_stream_adds_up(litellm: Any, reached: dict[str, Any]) -> None:
    chunks = list(
        litellm.completion(
            model=THINKING,
            messages=asked(),
            stream=True,
            stream_options={"include_usage": True},
            **reached,
        )
    )
    assert joined(chunks, "content") == f"Answer: {VALUE}"
    assert "3*8=4" in joined(chunks, "reasoning_content")
    assert chunks[-1].usage.completion_tokens > 0


async def test_an_asynchronous_stream_adds_up(litellm: Any, reached: dict[str, Any]) -> None:
    stream = await litellm.acompletion(model=THINKING, messages=asked(), stream=True, **reached)
    chunks = [chunk async for chunk in stream]
    assert joined(chunks, "content") == f"Answer: {VALUE}"


def test_wishes_go_as_extra_body(litellm: Any, reached: dict[str, Any]) -> None:
    done = litellm.completion(
        model="openai/thinkroute",
        messages=asked(),
        extra_body={"thinkroute": {"mode": "ift", "explain": True}},
        **reached,
    )
    assert done.thinkroute["answered_by"] == "pocket-m:direct"


def test_errors_map_to_its_own_exceptions(litellm: Any, reached: dict[str, Any]) -> None:
    with pytest.raises(litellm.NotFoundError, match="no model 'gone'"):
        litellm.completion(model="openai/gone", messages=asked(), **reached)
    with pytest.raises(litellm.BadRequestError, match="temperature"):
        litellm.completion(model=THINKING, messages=asked(), temperature=3, **reached)


def test_a_prompt_beyond_the_context_is_known_as_such(
    litellm: Any, reached: dict[str, Any]
) -> None:
    with pytest.raises(litellm.ContextWindowExceededError):
        litellm.completion(model=THINKING, messages=asked("many words " * 1000), **reached)
