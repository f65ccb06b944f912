"""Requests of the Responses API as chat requests, and chat completions as Responses."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletionMessageParam
from openai.types.responses import Response
from pydantic import TypeAdapter

from policies import BackendResponseError, InvalidInputError
from router.server.translate import chat_body_of_response, response_of_chat
from tests.router.server.chat_answers import TOOLS, USAGE, Answer, answers, entry

MESSAGES: TypeAdapter[Any] = TypeAdapter(list[ChatCompletionMessageParam])
CALL = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"}
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}


def chat(**fields: Any) -> dict[str, Any]:
    return chat_body_of_response({"model": "m", "input": "?", **fields})


def messages(*items: Any, **fields: Any) -> list[Any]:
    told: Any = chat(input=list(items), **fields)["messages"]
    MESSAGES.validate_python(told)
    return told


def response(answer: Answer, **request: Any) -> dict[str, Any]:
    request = {"model": "asked", "input": "?", **request}
    return response_of_chat(answer.document(), request, response_id="resp_1", created_at=5)


# Requests


def test_a_text_is_the_turn_of_a_user_after_the_instructions() -> None:
    assert chat(instructions="Be brief") == {
        "model": "m",
        "messages": [
            {"role": "system", "content": "Be brief"},
            {"role": "user", "content": "?"},
        ],
    }


def test_messages_keep_their_roles_and_plain_contents() -> None:
    roles = ["system", "developer", "user", "assistant"]
    told = messages(
        *({"role": role, "content": role} for role in roles),
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "?"}]},
    )
    assert told == [
        *({"role": role, "content": role} for role in roles),
        {"role": "user", "content": "?"},
    ]


def test_parts_become_parts_of_the_chat() -> None:
    [turn] = messages(
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "a"},
                {"type": "input_image", "image_url": "data:image/png;base64,AA", "detail": "low"},
                {"type": "input_image", "image_url": "https://x/y.png"},
                {"type": "input_file", "file_data": "data:x;base64,AA", "filename": "a.pdf"},
                {"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}},
                {
                    "type": "input_text",
                    "text": "b",
                    "prompt_cache_breakpoint": {"mode": "explicit"},
                },
            ],
        }
    )
    assert turn["content"] == [
        {"type": "text", "text": "a"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA", "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "https://x/y.png"}},
        {"type": "file", "file": {"file_data": "data:x;base64,AA", "filename": "a.pdf"}},
        {"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}},
        {"type": "text", "text": "b", "prompt_cache_breakpoint": {"mode": "explicit"}},
    ]


def test_calls_in_a_row_are_one_message_and_results_follow() -> None:
    call, other = CALL, CALL | {"call_id": "c2", "name": "g"}
    told = messages(
        {"role": "user", "content": "?"},
        {"type": "reasoning", "id": "rs_1", "summary": []},
        call,
        other,
        {"type": "function_call_output", "call_id": "c2", "output": "2"},
        {
            "type": "function_call_output",
            "call_id": "c1",
            "output": [{"type": "input_text", "text": "1"}],
        },
    )
    function = {"type": "function", "function": {"name": "f", "arguments": "{}"}}
    assert told[1:] == [
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "c1", **function},
                {"id": "c2", "type": "function", "function": {"name": "g", "arguments": "{}"}},
            ],
        },
        {"role": "tool", "tool_call_id": "c2", "content": "2"},
        {"role": "tool", "tool_call_id": "c1", "content": "1"},
    ]


def test_calls_of_two_rounds_stay_two_messages() -> None:
    told = messages(
        CALL,
        {"type": "function_call_output", "call_id": "c1", "output": "1"},
        CALL | {"call_id": "c2"},
        {"type": "function_call_output", "call_id": "c2", "output": "2"},
    )
    assert [turn["role"] for turn in told] == ["assistant", "tool", "assistant", "tool"]


def test_what_is_said_after_a_call_does_not_come_between_it_and_its_result() -> None:
    told = messages(
        {"role": "assistant", "content": "First "},
        CALL,
        {"role": "assistant", "content": "then"},
        {"type": "function_call_output", "call_id": "c1", "output": "1"},
    )
    assert [turn["role"] for turn in told] == ["assistant", "tool"]
    assert told[0]["content"] == "First then"


@given(answer=answers(), is_from_sdk=st.booleans())
def test_the_output_given_back_as_input_is_the_message_of_the_chat(
    answer: Answer, is_from_sdk: bool
) -> None:
    document = response(answer)
    output: list[Any] = document["output"]
    if is_from_sdk:
        output = [item.to_dict() for item in Response.model_validate(document).output]
    results = [
        {"type": "function_call_output", "call_id": call_id, "output": "ok"}
        for call_id, _, _ in answer.calls
    ]
    user = {"role": "user", "content": "and?"}
    told = messages(*output, *results, user)
    expected: dict[str, Any] = {"role": "assistant", "content": answer.text or None}
    if answer.refusal:
        expected["refusal"] = answer.refusal
    if answer.calls:
        expected["tool_calls"] = answer.document()["choices"][0]["message"]["tool_calls"]
    says_something = len(expected) > 2 or bool(answer.text)
    assert told == [
        *([expected] if says_something else []),
        *(
            {"role": "tool", "tool_call_id": call_id, "content": "ok"}
            for call_id, _, _ in answer.calls
        ),
        user,
    ]


def test_parameters_get_the_names_that_the_chat_has_for_them() -> None:
    told = chat(
        max_output_tokens=50,
        temperature=0.5,
        top_p=1,
        seed=-3,
        include=["message.output_text.logprobs", "reasoning.encrypted_content"],
        top_logprobs=2,
        reasoning={"effort": "low", "summary": "auto"},
        text={"verbosity": "low", "format": {"type": "json_object"}},
        stream=True,
        user="u",
        prompt_cache_key="k",
        service_tier="auto",
        thinkroute={"mode": "ift"},
        chat_template_kwargs={"x": 1},
        truncation="disabled",
        store=True,
        metadata={"a": "b"},
        background=False,
        previous_response_id=None,
    )
    assert {key: told[key] for key in sorted(told) if key != "messages"} == {
        "chat_template_kwargs": {"x": 1},
        "logprobs": True,
        "max_completion_tokens": 50,
        "model": "m",
        "prompt_cache_key": "k",
        "reasoning_effort": "low",
        "response_format": {"type": "json_object"},
        "seed": -3,
        "service_tier": "auto",
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 0.5,
        "thinkroute": {"mode": "ift"},
        "top_logprobs": 2,
        "top_p": 1,
        "user": "u",
        "verbosity": "low",
    }


def test_fields_without_effect_leave_the_chat_as_it_is() -> None:
    plain = chat()
    assert plain == chat(
        text={"format": {"type": "text"}},
        top_logprobs=0,
        stream=False,
        tools=[],
        tool_choice="auto",
        parallel_tool_calls=False,
        max_tool_calls=3,
        stream_options={"include_obfuscation": False},
        temperature=None,
    )


def test_a_schema_is_nested_as_the_chat_has_it() -> None:
    form = {"type": "json_schema", "name": "n", "schema": SCHEMA, "strict": True}
    assert chat(text={"format": form | {"description": "d"}})["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "n", "schema": SCHEMA, "description": "d", "strict": True},
    }


def test_tools_are_nested_and_one_can_be_chosen() -> None:
    told = chat(
        tools=[*TOOLS, {"type": "function", "name": "f"}],
        tool_choice={"type": "function", "name": "f"},
        parallel_tool_calls=False,
    )
    weather = {key: value for key, value in TOOLS[0].items() if key != "type"}
    assert told["tools"] == [
        {"type": "function", "function": weather},
        {"type": "function", "function": {"name": "f"}},
    ]
    assert told["tool_choice"] == {"type": "function", "function": {"name": "f"}}
    assert told["parallel_tool_calls"] is False


def test_allowed_tools_are_the_only_ones_that_the_chat_gets() -> None:
    allowed = {"type": "allowed_tools", "mode": "required", "tools": [CALL | {"type": "function"}]}
    told = chat(tools=[*TOOLS, {"type": "function", "name": "f"}], tool_choice=allowed)
    assert told["tools"] == [{"type": "function", "function": {"name": "f"}}]
    assert told["tool_choice"] == "required"


def user(*parts: Any) -> dict[str, Any]:
    return {"input": [{"role": "user", "content": list(parts)}]}


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        # Not supported, with what to do.
        ({"previous_response_id": "resp_1"}, "previous_response_id is not supported (no response"),
        ({"conversation": "conv_1"}, "conversation is not supported (no conversation is stored"),
        ({"context_management": []}, "context_management is not supported (nothing is compacted"),
        ({"moderation": {"model": "x"}}, "moderation is not supported"),
        ({"prompt": {"id": "p"}}, "prompt is not supported (no prompt template is stored"),
        ({"background": True}, "background is true, which is not supported"),
        ({"truncation": "auto"}, "truncation is 'auto', expected disabled (no part of the input"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type is 'web_search', expected function"),
        ({"tools": [{"type": "file_search"}]}, "tools that OpenAI runs are not supported"),
        ({"tools": [{"type": "mcp", "server_label": "x"}]}, "tools[0].type is 'mcp'"),
        ({"tools": [{"type": "custom", "name": "x"}]}, "tools[0].type is 'custom'"),
        ({"tool_choice": {"type": "web_search_preview"}}, "tool_choice.type is 'web_search"),
        ({"include": ["file_search_call.results"]}, "include[0] is 'file_search_call.results'"),
        ({"reasoning": {"mode": "pro"}}, "reasoning.mode is 'pro', expected standard"),
        ({"reasoning": {"context": "all_turns"}}, "reasoning.context is 'all_turns'"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0].type is 'item_reference'"),
        ({"input": [{"type": "web_search_call"}]}, "input[0].type is 'web_search_call', expected"),
        (user({"type": "input_image", "file_id": "f"}), "input[0].content[0].file_id is not"),
        (user({"type": "input_file", "file_id": "f"}), "input[0].content[0].file_id is not"),
        (user({"type": "input_file", "file_url": "https://x"}), "content[0].file_url is not"),
        ({"text": {"format": {"type": "grammar"}}}, "text.format.type is 'grammar', expected"),
        # Fields of the other API.
        ({"messages": []}, "messages is no field of this API (use input)"),
        ({"max_tokens": 5}, "max_tokens is no field of this API (use max_output_tokens)"),
        ({"response_format": {}}, "response_format is no field of this API (use text.format)"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools[0].name is missing"),
        (user({"type": "text", "text": "?"}), "content[0].type is 'text', expected input_text or"),
        # Wrong types, with their path.
        ({"input": 7}, "input is a int, expected a text or a list of items"),
        ({"input": None}, "input is null, expected a text or a list of items"),
        ({"input": []}, "input has no message (send at least one)"),
        ({"input": [{"type": "reasoning", "summary": []}]}, "input has no message"),
        ({"input": [7]}, "input[0] is a int, expected an object"),
        ({"input": [{}]}, "input[0].type is missing, expected a text"),
        ({"input": [{"role": "tool", "content": "?"}]}, "input[0].role is 'tool', expected user"),
        ({"input": [{"role": "user"}]}, "input[0].content is missing, expected a text or a list"),
        (user({"type": "input_text", "text": 5}), "content[0].text is a int, expected a text"),
        (user({"text": "?"}), "input[0].content[0].type is missing, expected a text"),
        (user({"type": "input_image"}), "input[0].content[0].image_url is missing"),
        (
            user({"type": "input_image", "image_url": "u", "detail": "original"}),
            "detail is 'original', expected auto or low or high",
        ),
        (
            {"input": [{"role": "assistant", "content": [{"type": "input_image"}]}]},
            "content[0].type is 'input_image', expected input_text or output_text or refusal",
        ),
        (
            {"input": [{"type": "function_call", "call_id": "c", "name": "f", "arguments": {}}]},
            "input[0].arguments is a dict, expected a text",
        ),
        (
            {"input": [CALL, {"type": "function_call_output", "call_id": "c9", "output": ""}]},
            "input[1].call_id is 'c9', which no function_call before it has",
        ),
        (
            {"input": [CALL, {"type": "function_call_output", "call_id": "c1", "output": 7}]},
            "input[1].output is a int, expected a text or a list of parts",
        ),
        (
            {
                "input": [
                    CALL,
                    {
                        "type": "function_call_output",
                        "call_id": "c1",
                        "output": [{"type": "input_image", "image_url": "u"}],
                    },
                ]
            },
            "output[0].type is 'input_image', expected input_text (a chat takes only text",
        ),
        ({"instructions": ["x"]}, "instructions is a list, expected a text"),
        ({"temperature": "0.5"}, "temperature is a str, expected a number"),
        ({"top_p": float("nan")}, "top_p is nan, expected a finite number"),
        ({"max_output_tokens": 0}, "max_output_tokens is 0, expected at least 1"),
        ({"max_output_tokens": True}, "max_output_tokens is a bool, expected a whole number"),
        ({"top_logprobs": -1}, "top_logprobs is -1, expected at least 0"),
        ({"include": "x"}, "include is a str, expected a list"),
        ({"stream": "yes"}, "stream is a str, expected true or false"),
        ({"store": 1}, "store is a int, expected true or false"),
        ({"metadata": {"a": 1}}, "metadata.a is a int, expected a text"),
        ({"reasoning": "low"}, "reasoning is a str, expected an object"),
        (
            {"text": {"format": {"type": "json_schema", "name": "n"}}},
            "text.format.schema is missing",
        ),
        ({"tools": {}}, "tools is a dict, expected a list"),
        ({"tools": [{"type": "function", "name": "f", "parameters": 1}]}, "tools[0].parameters is"),
        ({"tool_choice": "some"}, "tool_choice is 'some', expected none or auto or required"),
        ({"tool_choice": "required"}, "tool_choice is 'required', but there are no tools"),
        ({"tool_choice": {"type": "function", "name": "f"}}, "tool_choice.name is 'f', which is"),
    ],
)
def test_what_cannot_be_asked_is_told_in_one_line(fields: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        chat(**fields)
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 250


def test_a_body_that_is_no_object_is_told() -> None:
    body: Any = [1]
    with pytest.raises(InvalidInputError, match="the request is a list, expected an object"):
        chat_body_of_response(body)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["type", "role", "content", "text", "name", "call_id", "output", "format", "tools"]
            ),
            inner | st.sampled_from(["message", "input_text", "function_call", "user", "function"]),
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(
    body=st.dictionaries(
        st.sampled_from(
            ["input", "tools", "tool_choice", "text", "reasoning", "include", "metadata", "stream"]
        ),
        _JSON,
        max_size=4,
    )
)
def test_whatever_is_sent_is_translated_or_refused(body: dict[str, Any]) -> None:
    refused, told = "", None
    try:
        told = chat_body_of_response(body)
    except InvalidInputError as error:
        refused = str(error)
    assert "\n" not in refused
    assert bool(refused) == (told is None)
    if told is not None:
        MESSAGES.validate_python(told["messages"])


# Responses


@given(answer=answers())
def test_a_response_is_one_that_the_sdk_knows(answer: Answer) -> None:
    parsed = Response.model_validate(response(answer, tools=TOOLS))
    assert parsed.output_text == answer.text
    calls = [item for item in parsed.output if item.type == "function_call"]
    assert [(c.call_id, c.name, c.arguments) for c in calls] == list(answer.calls)
    thoughts = [item for item in parsed.output if item.type == "reasoning"]
    assert [c.text for t in thoughts for c in t.content or ()] == [answer.thought][
        : bool(answer.thought)
    ]


def test_a_thought_a_text_and_a_call_are_items_in_this_order() -> None:
    assert response(Answer("Hm", "Hi", calls=(("c", "f", "{}"),)))["output"] == [
        {
            "id": "rs_1_0",
            "type": "reasoning",
            "summary": [],
            "content": [{"type": "reasoning_text", "text": "Hm"}],
            "status": "completed",
        },
        {
            "id": "msg_1_1",
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "Hi", "annotations": [], "logprobs": []}],
            "status": "completed",
        },
        {
            "id": "fc_1_2",
            "type": "function_call",
            "call_id": "c",
            "name": "f",
            "arguments": "{}",
            "status": "completed",
        },
    ]


def test_a_refusal_is_a_part_of_the_message() -> None:
    output: Any = response(Answer(refusal="No"))["output"]
    assert len(output) == 1
    assert output[0]["content"] == [{"type": "refusal", "refusal": "No"}]


@pytest.mark.parametrize(
    ("finish_reason", "status", "reason"),
    [
        ("stop", "completed", None),
        ("tool_calls", "completed", None),
        ("length", "incomplete", "max_output_tokens"),
        ("content_filter", "incomplete", "content_filter"),
    ],
)
def test_the_status_tells_how_the_answer_ended(
    finish_reason: str, status: str, reason: str | None
) -> None:
    told: Any = response(Answer(thought="Hm", text="Hi", finish_reason=finish_reason))
    assert told["status"] == status
    assert told["incomplete_details"] == (reason and {"reason": reason})
    assert [item["status"] for item in told["output"]] == ["completed", status]
    assert told["error"] is None


def test_a_server_that_gave_up_makes_a_failed_response() -> None:
    told = Response.model_validate(response(Answer(text="H", finish_reason="abort")))
    assert told.status == "failed"
    assert told.error is not None
    assert told.error.code == "server_error"


def test_tokens_are_counted_under_the_names_of_the_api() -> None:
    assert response(Answer())["usage"] == {
        "input_tokens": 7,
        "input_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 0},
        "output_tokens": 9,
        "output_tokens_details": {"reasoning_tokens": 5},
        "total_tokens": 16,
    }
    sparse = response(Answer(usage={"prompt_tokens": 1, "completion_tokens": 2}))["usage"]
    assert isinstance(sparse, dict)
    assert sparse["total_tokens"] == 3
    assert response(Answer(usage=None))["usage"] is None


def test_the_parameters_of_the_request_are_repeated() -> None:
    given_ones: dict[str, Any] = {
        "instructions": "Be brief",
        "max_output_tokens": 50,
        "metadata": {"a": "b"},
        "parallel_tool_calls": False,
        "reasoning": {"effort": "low"},
        "temperature": 0.5,
        "text": {"format": {"type": "json_object"}, "verbosity": "low"},
        "tool_choice": {"type": "function", "name": "weather"},
        "tools": TOOLS,
        "top_logprobs": 2,
        "user": "u",
    }
    told = response(Answer(text="Hi"), **given_ones, store=True)
    changed = {"reasoning": {"effort": "low", "summary": None}, "store": False, "model": "served"}
    for name, value in (given_ones | changed).items():
        assert told[name] == value


def test_what_was_not_given_is_told_as_the_default() -> None:
    told = response(Answer(text="Hi"), text=None, tools=None, metadata=None)
    assert told["text"] == {"format": {"type": "text"}}
    assert (told["tools"], told["metadata"], told["tool_choice"]) == ([], {}, "auto")
    assert told["temperature"] is None
    assert told["parallel_tool_calls"] is True


def test_logprobs_are_those_of_the_text_alone() -> None:
    answer = Answer("so 4", "4", thought_tokens=(b"so", b" 4"), text_tokens=(b"4",), usage=USAGE)
    output: Any = response(answer)["output"]
    [told] = output[1]["content"][0]["logprobs"]
    assert told == entry(b"4") | {"top_logprobs": [{"token": "x", "logprob": -1.5, "bytes": [120]}]}


def test_a_hidden_thought_does_not_lend_its_logprobs_to_the_text() -> None:
    hidden = Answer("", "4", thought_tokens=(b"4", b"!", b"?"), text_tokens=(b"4",))
    document = hidden.document()
    document["choices"][0]["logprobs"]["content"][3]["logprob"] = -7.0
    told: Any = response_of_chat(document, {}, response_id="resp_1", created_at=5)
    assert [each["logprob"] for each in told["output"][0]["content"][0]["logprobs"]] == [-7.0]


def test_tokens_that_do_not_spell_the_text_are_all_told() -> None:
    answer = Answer("", "é", thought_tokens=(), text_tokens=("\ufffd".encode(), "\ufffd".encode()))
    output: Any = response(answer)["output"]
    assert len(output[0]["content"][0]["logprobs"]) == 3


def test_calls_without_a_name_of_their_own_get_one() -> None:
    told: Any = response(Answer(calls=(("", "f", "{}"), ("", "g", "{}"))))["output"]
    assert [item["call_id"] for item in told] == ["call_1_0", "call_1_1"]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"choices": None}, "choices is null, expected a list"),
        ({"choices": []}, "choices is empty"),
        ({"choices": [{"message": None}]}, r"choices\[0\].message is null, expected an object"),
        ({"choices": [{"message": {"content": 7}}]}, r"message.content is a int, expected a text"),
        (
            {"choices": [{"message": {"tool_calls": [{"function": {}}]}}]},
            r"tool_calls\[0\].function.name is missing",
        ),
        (
            {
                "choices": [
                    {
                        "message": {"content": "a"},
                        "logprobs": {"content": [{"token": "a", "logprob": -1, "bytes": [256]}]},
                    }
                ]
            },
            r"bytes\[0\] is 256, expected at most 255",
        ),
        ({"usage": {"prompt_tokens": 1}}, "usage.completion_tokens is missing"),
        ({"usage": {"prompt_tokens": -1}}, "usage.prompt_tokens is -1, expected at least 0"),
    ],
)
def test_a_document_that_is_no_chat_completion_is_the_servers_doing(
    changes: dict[str, Any], problem: str
) -> None:
    document = Answer(text="Hi").document() | changes
    with pytest.raises(BackendResponseError, match=problem):
        response_of_chat(document, {}, response_id="resp_1", created_at=5)
