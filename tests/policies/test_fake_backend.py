"""The fake backend keeps to its script."""

import asyncio
from typing import Any

import pytest
from hypothesis import given as drawn
from hypothesis import strategies as st

from policies import (
    CONTEXT_EXCEEDED,
    BackendConnectionError,
    BackendRequestError,
    FinishReason,
    GenerationRequest,
    user_message,
)
from policies.backends.fake import FakeAnswer, FakeBackend, FakeScript
from tests.policies.thinking_fake import fake


async def test_replies_come_by_prompt_by_order_and_by_function() -> None:
    request = GenerationRequest(user_message("q"), max_tokens=9)
    scripts: list[FakeScript] = [{"q": "a"}, ["a"], lambda r: "a"]
    for script in scripts:
        assert (await FakeBackend(script).generate(request)).text == "a"
    nothing: list[FakeScript] = [{}, []]
    for empty in nothing:
        with pytest.raises(BackendRequestError, match="no reply"):
            await FakeBackend(empty).generate(request)


async def test_failures_come_first_and_calls_are_counted() -> None:
    error = BackendConnectionError("down", backend="fake", model="fake")
    backend = FakeBackend({"q": "a"}, failures=[error, None])
    request = GenerationRequest(user_message("q"), max_tokens=9)
    with pytest.raises(BackendConnectionError):
        await backend.generate(request)
    assert (await backend.generate(request)).text == "a"
    assert backend.calls == [request, request]


async def test_a_stop_ends_the_answer_with_the_token_that_completes_it() -> None:
    backend = FakeBackend({"q": FakeAnswer("one two three", thinking="a b")})
    by_text = await backend.generate(asked(stop=("e t",)))
    (token,) = await backend.encode(" two")
    by_id = await backend.generate(asked(stop_ids=(token,)))
    assert by_text == by_id
    assert (by_text.text, by_text.finish_reason) == ("one two", FinishReason.STOP)
    assert by_text.usage.completion_tokens == len(by_text.token_ids or ()) == 2
    inside = await backend.generate(asked(thinking=True, stop=("a",)))
    assert (inside.thinking, inside.thinking_closed, inside.text) == ("a", False, "")
    assert not inside.is_finished


async def test_a_backend_may_be_told_to_ignore_stops() -> None:
    backend = FakeBackend({"q": "one two three"}, ignores_stop=True)
    assert (await backend.generate(asked(stop=("two",)))).text == "one two three"


async def test_a_context_ends_for_prompt_continuation_and_answer_together() -> None:
    backend = FakeBackend({"q": "one two three"}, context=9)
    given = await backend.encode("one")
    assert (await backend.generate(asked(max_tokens=6, continuation=given))).text
    with pytest.raises(BackendRequestError, match="context of 9") as caught:
        await backend.generate(asked(max_tokens=7, continuation=given))
    assert caught.value.code == CONTEXT_EXCEEDED


@drawn(st.text(max_size=40))
def test_any_text_survives_its_token_ids(text: str) -> None:
    async def back_and_forth() -> str:
        backend = FakeBackend([])
        return await backend.decode(await backend.encode(text))

    assert asyncio.run(back_and_forth()) == text


async def test_concurrent_calls_wait_together() -> None:
    backend = FakeBackend(lambda r: "a", latency_s=0.01)
    request = GenerationRequest(user_message("q"), max_tokens=9)
    completions = await asyncio.gather(*(backend.generate(request) for _ in range(5)))
    assert backend.most_in_flight == 5
    assert {completion.seconds for completion in completions} == {0.01}


async def test_every_budget_can_be_replayed_from_one_trace() -> None:
    backend = fake()
    free = await backend.generate(asked(thinking=True))
    assert free.token_ids is not None
    end = (await backend.generate(asked(thinking=True, thinking_budget=0))).token_ids
    assert end is not None
    for budget in (0, 1, 5, 20):
        native = await backend.generate(asked(thinking=True, thinking_budget=budget))
        prefix = (*free.token_ids[: 1 + budget], end[1])
        replayed = await backend.generate(asked(thinking=True, continuation=prefix))
        assert (replayed.text, replayed.thinking) == (native.text, native.thinking)
        assert native.text == f"After {budget} words I say ten"


def asked(**changes: Any) -> GenerationRequest:
    fields: dict[str, Any] = {"max_tokens": 100, **changes}
    return GenerationRequest(user_message("q"), **fields)
