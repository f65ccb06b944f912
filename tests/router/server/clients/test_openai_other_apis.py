"""OpenAI's own client on `/v1/responses` and the legacy `/v1/completions`."""

import openai
import pytest
from openai.types.responses import (
    Response,
    ResponseOutputMessage,
    ResponseReasoningItem,
    ResponseTextDeltaEvent,
)

from tests.router.server.clients.pocket_chats import EXPRESSION, VALUE, asked

THINKING = "pocket-m:reasoning@max"


def thought_in(response: Response) -> str:
    """Return the text of the reasoning items of a response."""
    return "".join(
        part.text
        for item in response.output
        if isinstance(item, ResponseReasoningItem)
        for part in item.content or ()
    )


def test_a_response_has_answer_thought_and_usage(client: openai.OpenAI) -> None:
    done = client.responses.create(model=THINKING, input=EXPRESSION)
    assert done.status == "completed"
    assert done.output_text == f"Answer: {VALUE}"
    assert "3*8=4" in thought_in(done)
    assert [type(item) for item in done.output] == [ResponseReasoningItem, ResponseOutputMessage]
    assert done.usage is not None
    assert 0 < done.usage.output_tokens_details.reasoning_tokens < done.usage.output_tokens
    assert done.usage.total_tokens == done.usage.input_tokens + done.usage.output_tokens


def test_a_response_says_what_the_chat_says(client: openai.OpenAI) -> None:
    chat = client.chat.completions.create(
        model=THINKING, messages=[{"role": "system", "content": "Be short."}, *asked()]
    )
    response = client.responses.create(
        model=THINKING,
        instructions="Be short.",
        input=[{"role": "user", "content": [{"type": "input_text", "text": EXPRESSION}]}],
    )
    assert response.output_text == chat.choices[0].message.content
    assert response.usage is not None
    assert chat.usage is not None
    assert response.usage.input_tokens == chat.usage.prompt_tokens


def test_output_of_a_response_goes_back_as_input(client: openai.OpenAI) -> None:
    first = client.responses.create(model=THINKING, input=EXPRESSION)
    history = [item.model_dump(exclude_none=True) for item in first.output]
    second = client.responses.create(
        model=THINKING,
        input=[
            {"role": "user", "content": EXPRESSION},
            *history,  # pyright: ignore[reportArgumentType] - dumped by the client itself
            {"role": "user", "content": EXPRESSION},
        ],
    )
    assert second.output_text.startswith("Answer: ")


def test_an_asked_effort_of_none_answers_without_a_thought(client: openai.OpenAI) -> None:
    raw = client.responses.with_raw_response.create(
        model="thinkroute", input=EXPRESSION, reasoning={"effort": "none"}
    )
    assert raw.headers["x-thinkroute-arm"] == "pocket-m:direct"
    done = raw.parse()
    assert thought_in(done) == ""
    assert [type(item) for item in done.output] == [ResponseOutputMessage]


def test_a_response_that_was_cut_is_incomplete(client: openai.OpenAI) -> None:
    done = client.responses.create(model=THINKING, input=EXPRESSION, max_output_tokens=3)
    assert done.status == "incomplete"
    assert done.incomplete_details is not None
    assert done.incomplete_details.reason == "max_output_tokens"


def test_streamed_events_of_a_response_are_numbered_and_add_up(client: openai.OpenAI) -> None:
    events = list(client.responses.create(model=THINKING, input=EXPRESSION, stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert [events[0].type, events[-1].type] == ["response.created", "response.completed"]
    text = "".join(one.delta for one in events if isinstance(one, ResponseTextDeltaEvent))
    last = events[-1]
    assert last.type == "response.completed"
    assert text == last.response.output_text == f"Answer: {VALUE}"


def test_the_clients_stream_helper_assembles_the_response(client: openai.OpenAI) -> None:
    with client.responses.stream(model=THINKING, input=EXPRESSION) as stream:
        kinds = [event.type for event in stream]
        done = stream.get_final_response()
    assert done.output_text == f"Answer: {VALUE}"
    assert "3*8=4" in thought_in(done)
    for kind in ("response.output_item", "response.content_part"):
        assert kinds.count(f"{kind}.added") == kinds.count(f"{kind}.done") == 2


async def test_an_asynchronous_response_streams_too(async_client: openai.AsyncOpenAI) -> None:
    async with async_client.responses.stream(model=THINKING, input=EXPRESSION) as stream:
        done = await stream.get_final_response()
    assert done.output_text == f"Answer: {VALUE}"


@pytest.mark.parametrize(
    "fields",
    [{"previous_response_id": "resp_1"}, {"background": True}, {"conversation": "conv_1"}],
    ids=lambda fields: next(iter(fields)),
)
def test_what_needs_stored_responses_is_refused_by_name(
    client: openai.OpenAI, fields: dict[str, object]
) -> None:
    (name,) = fields
    with pytest.raises(openai.BadRequestError, match=name):
        client.responses.create(model=THINKING, input="x", extra_body=fields)


def test_a_legacy_completion_answers_a_prompt(client: openai.OpenAI) -> None:
    done = client.completions.create(model=THINKING, prompt=EXPRESSION)
    assert [choice.text for choice in done.choices] == [f"Answer: {VALUE}"]
    assert done.choices[0].finish_reason == "stop"
    assert done.object == "text_completion"
    assert done.usage is not None


def test_a_legacy_completion_answers_several_prompts_in_their_order(client: openai.OpenAI) -> None:
    prompts = [EXPRESSION, "Left to right, mod ten: 3*8"]
    done = client.completions.create(model=THINKING, prompt=prompts, n=2)
    assert [(choice.index, choice.text) for choice in done.choices] == [
        (0, f"Answer: {VALUE}"),
        (1, f"Answer: {VALUE}"),
        (2, "Answer: 4"),
        (3, "Answer: 4"),
    ]


def test_a_legacy_completion_streams(client: openai.OpenAI) -> None:
    pieces = list(
        client.completions.create(
            model=THINKING,
            prompt=[EXPRESSION, "Left to right, mod ten: 3*8"],
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    texts = {
        index: "".join(
            choice.text for piece in pieces for choice in piece.choices if choice.index == index
        )
        for index in (0, 1)
    }
    assert texts == {0: f"Answer: {VALUE}", 1: "Answer: 4"}
    assert pieces[-1].usage is not None


@pytest.mark.parametrize(
    "fields", [{"echo": True}, {"best_of": 3}, {"suffix": "x"}, {"logprobs": 1}], ids=str
)
def test_what_a_legacy_completion_cannot_have_is_refused_by_name(
    client: openai.OpenAI, fields: dict[str, object]
) -> None:
    (name,) = fields
    with pytest.raises(openai.BadRequestError, match=name):
        client.completions.create(model=THINKING, prompt="x", extra_body=fields)
