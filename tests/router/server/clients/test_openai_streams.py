"""OpenAI's own client on streamed chats: their pieces, their end, and clients that leave."""

import asyncio
import time
from collections.abc import Iterable

import openai
import pytest
from openai.types.chat import ChatCompletionChunk

from tests.router.server.clients.pocket_chats import ENDLESS, VALUE, asked
from tests.router.server.clients.served_process import ServedProcess, wait_until

THINKING = "pocket-m:reasoning@max"
# Each of these answers takes the pocket model at least 100 ms, all of them well over ten seconds.
LONG_N = 128
GONE = 499
FREED_WITHIN_S = 10.0


def joined(chunks: Iterable[ChatCompletionChunk], field: str, index: int = 0) -> str:
    """Return the text of one field of one choice."""
    return "".join(
        getattr(choice.delta, field, None) or ""
        for chunk in chunks
        for choice in chunk.choices
        if choice.index == index
    )


def test_a_streamed_chat_says_what_the_whole_one_says(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model=THINKING, messages=asked())
    chunks = list(
        client.chat.completions.create(
            model=THINKING,
            messages=asked(),
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    message = whole.choices[0].message
    assert joined(chunks, "content") == message.content == f"Answer: {VALUE}"
    assert joined(chunks, "reasoning_content") == (message.model_extra or {})["reasoning_content"]
    assert chunks[0].choices[0].delta.role == "assistant"
    ends = [choice.finish_reason for chunk in chunks for choice in chunk.choices]
    assert ends[-1] == "stop"
    assert set(ends[:-1]) == {None}
    assert len({chunk.id for chunk in chunks}) == 1
    *others, last = chunks
    assert last.choices == []
    assert last.usage == whole.usage
    assert all(chunk.usage is None for chunk in others)


def test_thoughts_come_before_the_answer(client: openai.OpenAI) -> None:
    kinds = [
        kind
        for chunk in client.chat.completions.create(model=THINKING, messages=asked(), stream=True)
        for choice in chunk.choices
        for kind in ("reasoning_content", "content")
        if getattr(choice.delta, kind, None)
    ]
    assert set(kinds) == {"reasoning_content", "content"}
    assert kinds == sorted(kinds, reverse=True)


def test_usage_is_left_out_unless_asked_for(client: openai.OpenAI) -> None:
    chunks = list(client.chat.completions.create(model="thinkroute", messages=asked(), stream=True))
    assert all(chunk.usage is None for chunk in chunks)
    assert all(chunk.choices for chunk in chunks)


async def test_an_asynchronous_stream_reads_the_same(async_client: openai.AsyncOpenAI) -> None:
    stream = await async_client.chat.completions.create(
        model=THINKING, messages=asked(), stream=True
    )
    chunks = [chunk async for chunk in stream]
    assert joined(chunks, "content") == f"Answer: {VALUE}"


def test_several_streamed_answers_are_told_apart(client: openai.OpenAI) -> None:
    chunks = list(
        client.chat.completions.create(model=THINKING, messages=asked(), n=3, stream=True)
    )
    assert [joined(chunks, "content", index) for index in range(4)] == [f"Answer: {VALUE}"] * 3 + [
        ""
    ]


def test_a_stop_text_is_never_shown_in_part(client: openai.OpenAI) -> None:
    chunks = list(
        client.chat.completions.create(model=THINKING, messages=asked(), stop="swer:", stream=True)
    )
    assert joined(chunks, "content") == "An"


def test_the_clients_stream_helper_assembles_the_completion(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(
        model=THINKING, messages=asked(), stream_options={"include_usage": True}
    ) as stream:
        kinds = {event.type for event in stream}
        done = stream.get_final_completion()
    assert {"chunk", "content.delta", "content.done"} <= kinds
    assert done.choices[0].message.content == f"Answer: {VALUE}"
    assert "3*8=4" in (done.choices[0].message.model_extra or {})["reasoning_content"]
    assert done.usage is not None
    assert done.usage.completion_tokens > 0


def test_headers_of_a_stream_come_before_its_first_piece(client: openai.OpenAI) -> None:
    with client.chat.completions.with_streaming_response.create(
        model=THINKING, messages=asked(), stream=True
    ) as response:
        assert response.headers["x-thinkroute-arm"] == THINKING
        assert response.headers["content-type"].startswith("text/event-stream")
        lines = list(response.iter_lines())
    assert lines[-2:] == ["data: [DONE]", ""]


def test_the_first_piece_explains_when_asked(client: openai.OpenAI) -> None:
    chunks = list(
        client.chat.completions.create(
            model="thinkroute",
            messages=asked(),
            stream=True,
            extra_body={"thinkroute": {"explain": True}},
        )
    )
    told = (chunks[0].model_extra or {})["thinkroute"]
    assert told["answered_by"].startswith("pocket-m:")


def test_errors_of_streams_are_raised_before_the_first_piece(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as told:
        client.chat.completions.create(
            model=THINKING, messages=asked("many words " * 1000), stream=True
        )
    assert told.value.code == "context_length_exceeded"


def test_a_client_that_leaves_in_the_middle_frees_the_server(
    client: openai.OpenAI, server: ServedProcess
) -> None:
    n_gone = server.n_ended(GONE)
    stream = client.chat.completions.create(
        model=THINKING, messages=asked(), stream=True, n=LONG_N, logit_bias=ENDLESS
    )
    for _ in zip(range(5), stream, strict=False):
        pass
    assert server.n_in_flight() == 1
    stream.close()
    wait_until(
        lambda: server.n_in_flight() == 0, within_s=FREED_WITHIN_S, what="the request has ended"
    )
    wait_until(lambda: server.n_ended(GONE) == n_gone + 1, within_s=5, what="it counts as left")
    _answers_at_once(client)


async def test_a_cancelled_task_frees_the_server(
    async_client: openai.AsyncOpenAI, server: ServedProcess
) -> None:
    n_gone = server.n_ended(GONE)
    task = asyncio.create_task(
        async_client.chat.completions.create(
            model=THINKING, messages=asked(), n=LONG_N, logit_bias=ENDLESS
        )
    )
    await asyncio.to_thread(
        wait_until, lambda: server.n_in_flight() == 1, within_s=10, what="it is under way"
    )
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.to_thread(
        wait_until,
        lambda: server.n_in_flight() == 0 and server.n_ended(GONE) == n_gone + 1,
        within_s=FREED_WITHIN_S,
        what="the request has ended",
    )


def test_a_timeout_of_the_client_is_its_own_error_and_frees_the_server(
    client: openai.OpenAI, server: ServedProcess
) -> None:
    hasty = client.with_options(timeout=0.5)
    with pytest.raises(openai.APITimeoutError):
        hasty.chat.completions.create(
            model=THINKING, messages=asked(), n=LONG_N, logit_bias=ENDLESS
        )
    wait_until(
        lambda: server.n_in_flight() == 0, within_s=FREED_WITHIN_S, what="the request has ended"
    )
    _answers_at_once(client)


def _answers_at_once(client: openai.OpenAI) -> None:
    """Check that the model does not go on with what nobody waits for."""
    started = time.monotonic()
    done = client.chat.completions.create(model=THINKING, messages=asked())
    assert done.choices[0].message.content == f"Answer: {VALUE}"
    assert time.monotonic() - started < FREED_WITHIN_S
