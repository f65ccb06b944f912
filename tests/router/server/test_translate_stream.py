"""Streamed Responses: their events, and that they come to the same as the answer in one piece."""

import json
import threading
from collections.abc import Iterable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.responses import ResponseStreamEvent
from pydantic import BaseModel, TypeAdapter

from policies import BackendResponseError
from router.server.translate import ResponseStream, chat_body_of_response, response_of_chat
from tests.router.server.chat_answers import TOOLS, USAGE, Answer, answers, chunk, chunkings

REQUEST: dict[str, Any] = {"model": "asked", "input": "?", "tools": TOOLS, "stream": True}
EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


def streamed(chunks: Iterable[dict[str, Any]], request: Any = REQUEST) -> list[dict[str, Any]]:
    stream = ResponseStream(request, response_id="resp_1", created_at=5)
    events: list[Any] = []
    for each in chunks:
        events += stream.feed(each)
    return events + stream.finish()


def unstreamed(answer: Answer, request: Any = REQUEST) -> dict[str, Any]:
    document = answer.document()
    return response_of_chat(document, request, response_id="resp_1", created_at=5)


def told(events: list[dict[str, Any]], *types: str) -> list[dict[str, Any]]:
    return [event for event in events if event["type"] in types]


def pieces_of(
    answer: Answer, *deltas: dict[str, Any], finish_reason: str = "stop"
) -> list[dict[str, Any]]:
    return [*map(chunk, deltas), chunk({}, finish_reason), {"choices": [], "usage": answer.usage}]


@given(data=st.data(), answer=answers())
def test_any_chunking_ends_in_the_response_of_the_answer_in_one_piece(
    data: st.DataObject, answer: Answer
) -> None:
    events = streamed(data.draw(chunkings(answer)))
    assert events[-1]["response"] == unstreamed(answer)
    assert events[-1]["type"] == f"response.{unstreamed(answer)['status']}"


@given(data=st.data(), answer=answers())
def test_every_event_is_one_that_the_sdk_knows_and_they_are_numbered(
    data: st.DataObject, answer: Answer
) -> None:
    events = streamed(data.draw(chunkings(answer)))
    for event in events:
        EVENT.validate_python(event)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert [event["type"] for event in events[:2]] == ["response.created", "response.in_progress"]


@given(data=st.data(), answer=answers())
def test_items_and_parts_are_told_in_order_and_add_up(data: st.DataObject, answer: Answer) -> None:
    """Keep the book that a strict client keeps."""
    items: list[dict[str, Any]] = []
    is_done: list[bool] = []
    deltas: dict[tuple[int, int], str] = {}
    logprobs: dict[tuple[int, int], list[Any]] = {}
    events = streamed(data.draw(chunkings(answer)))
    for event in events[2:-1]:
        kind, number = event["type"], event["output_index"]
        place = number, event.get("content_index", 0)
        if kind == "response.output_item.added":
            assert number == len(items)
            assert event["item"]["status"] == "in_progress"
            items.append(event["item"])
            is_done.append(False)
            continue
        assert not is_done[number]
        if kind == "response.output_item.done":
            assert event["item"]["id"] == items[number]["id"]
            items[number], is_done[number] = event["item"], True
            continue
        assert event["item_id"] == items[number]["id"]
        if kind == "response.content_part.added":
            assert place[1] == len(items[number]["content"])
            items[number]["content"].append(event["part"])
        elif kind == "response.content_part.done":
            assert event["part"]["type"] == items[number]["content"][place[1]]["type"]
            if event["part"]["type"] == "output_text":
                assert event["part"]["logprobs"] == logprobs[place]
        elif kind.endswith(".delta"):
            deltas[place] = deltas.get(place, "") + event["delta"]
            logprobs.setdefault(place, []).extend(event.get("logprobs", []))
        else:
            text = event.get("text", event.get("refusal", event.get("arguments")))
            assert text == deltas.get(place, "")
    assert all(is_done)
    assert items == events[-1]["response"]["output"]


def test_each_kind_of_item_has_its_events() -> None:
    events = streamed(
        pieces_of(
            Answer(),
            {"reasoning": "Hm"},
            {"content": "Hi"},
            {"tool_calls": [{"index": 0, "id": "c", "function": {"name": "weather"}}]},
            {"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]},
        )
    )
    assert [event["type"].removeprefix("response.") for event in events] == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "reasoning_text.delta",
        "reasoning_text.done",
        "content_part.done",
        "output_item.done",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
        "completed",
    ]
    assert events[-1]["response"]["usage"]["output_tokens_details"] == {"reasoning_tokens": 5}
    assert events[0]["response"]["output"] == []


def test_calls_that_are_written_at_the_same_time_stay_apart() -> None:
    def call(index: int, arguments: str, **head: Any) -> dict[str, Any]:
        name = {"name": "weather"} if head else {}
        function = {"arguments": arguments, **name}
        return {"tool_calls": [{"index": index, **head, "function": function}]}

    events = streamed(
        pieces_of(
            Answer(),
            call(0, '{"town":', id="a"),
            call(1, "{", id="b"),
            call(0, '"Bonn"}'),
            call(1, "}"),
        )
    )
    done = told(events, "response.function_call_arguments.done")
    assert [event["arguments"] for event in done] == ['{"town":"Bonn"}', "{}"]


def test_a_call_ends_as_soon_as_another_begins_and_it_is_whole() -> None:
    stream = ResponseStream(REQUEST, response_id="resp_1", created_at=5)
    function = {"name": "weather", "arguments": "{}"}
    stream.feed(chunk({"tool_calls": [{"index": 0, "id": "a", "function": function}]}))
    events = stream.feed(chunk({"tool_calls": [{"index": 1, "id": "b", "function": function}]}))
    assert events[0]["type"] == "response.function_call_arguments.done"
    with pytest.raises(BackendResponseError, match="goes on although they were complete"):
        stream.feed(chunk({"tool_calls": [{"index": 0, "function": {"arguments": "x"}}]}))


def test_what_comes_late_becomes_an_item_of_its_own() -> None:
    events = streamed(
        pieces_of(
            Answer(), {"reasoning": "Hm"}, {"content": "So"}, {"reasoning": "No"}, {"content": "!"}
        )
    )
    output: list[Any] = events[-1]["response"]["output"]
    texts = [(item["type"], item["content"][0]["text"]) for item in output]
    assert texts == [("reasoning", "Hm"), ("message", "So"), ("reasoning", "No"), ("message", "!")]
    assert len({item["id"] for item in output}) == 4


def test_only_the_last_item_is_incomplete_where_the_answer_was_cut() -> None:
    events = streamed(
        pieces_of(Answer(), {"reasoning": "Hm"}, {"content": "So"}, finish_reason="length")
    )
    response: Any = events[-1]["response"]
    assert [item["status"] for item in response["output"]] == ["completed", "incomplete"]
    assert response["incomplete_details"] == {"reason": "max_output_tokens"}


@pytest.mark.parametrize("n_chunks", [0, 1, 2])
def test_a_stream_that_breaks_off_fails_with_what_it_had(n_chunks: int) -> None:
    events = streamed([chunk({"content": "Hi"})] * n_chunks)
    assert [event["type"] for event in events[:2]] == ["response.created", "response.in_progress"]
    response: Any = events[-1]["response"]
    assert events[-1]["type"] == "response.failed"
    assert response["error"]["code"] == "server_error"
    assert "broke off" in response["error"]["message"]
    assert [item["status"] for item in response["output"]] == ["incomplete"] * min(n_chunks, 1)
    EVENT.validate_python(events[-1])


@pytest.mark.parametrize(
    ("code", "api_code"),
    [
        ("backend-rate-limit", "rate_limit_exceeded"),
        ("context-exceeded", "invalid_prompt"),
        ("backend-timeout", "server_error"),
        ("rate_limit_exceeded", "rate_limit_exceeded"),
    ],
)
def test_a_failure_is_told_by_a_code_of_the_api(code: str, api_code: str) -> None:
    stream = ResponseStream(REQUEST, response_id="resp_1", created_at=5)
    stream.feed(chunk({"content": "Hi"}))
    event: Any = EVENT.validate_python(stream.fail(code, "too slow")[-1])
    assert (event.response.error.code, event.response.error.message) == (api_code, "too slow")


def test_nothing_follows_the_end() -> None:
    stream = ResponseStream(REQUEST, response_id="resp_1", created_at=5)
    stream.feed(chunk({"content": "Hi"}, "stop"))
    assert stream.finish()
    assert stream.finish() == stream.fail("x", "y") == stream.feed(chunk({"content": "!"})) == []


@pytest.mark.parametrize(
    ("broken", "problem"),
    [
        ({"choices": {}}, "choices is a dict, expected a list"),
        ({"choices": [7]}, r"choices\[0\] is a int, expected an object"),
        (chunk({"content": 7}), r"choices\[0\].delta.content is a int, expected a text"),
        (chunk({"tool_calls": [{"index": 0, "function": {}}]}), "name is missing, expected a text"),
        (chunk({"tool_calls": [{"id": "c"}]}), "index is missing, expected a whole number"),
        (chunk({}, usage={"prompt_tokens": "7"}), "usage.prompt_tokens is a str"),
        (chunk({"content": "Hi"}, tokens=[]) | {"model": 3}, "model is a int"),
    ],
)
def test_a_chunk_that_is_none_is_told_and_the_response_can_still_fail(
    broken: dict[str, Any], problem: str
) -> None:
    stream = ResponseStream(REQUEST, response_id="resp_1", created_at=5)
    with pytest.raises(BackendResponseError, match=problem):
        stream.feed(broken)
    types = [event["type"] for event in stream.fail("backend-nonsense", "broken")]
    assert types == ["response.created", "response.in_progress", "response.failed"]


def test_other_choices_and_unknown_fields_change_nothing() -> None:
    other = chunk({"content": "No"})
    other["choices"][0]["index"] = 1
    events = streamed([chunk({"content": "Hi", "new": 1}), other, chunk({}, "stop", extra=2)])
    assert [event["delta"] for event in told(events, "response.output_text.delta")] == ["Hi"]


def test_what_is_said_of_the_decision_is_in_the_last_response() -> None:
    events = streamed([chunk({"content": "Hi"}), chunk({}, "stop", thinkroute={"arm": "m:cot"})])
    assert events[-1]["response"]["thinkroute"] == {"arm": "m:cot"}


class Scripted:
    """A server that translates: it answers each chat with the same answer, whole or in chunks."""

    def __init__(self, answer: Answer, chunks: list[dict[str, Any]]) -> None:
        self.chats: list[dict[str, Any]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                request = json.loads(self.rfile.read(int(self.headers["content-length"])))
                outer.chats.append(chat_body_of_response(request))
                self.send_response(200)
                if request.get("stream"):
                    self.send_header("content-type", "text/event-stream")
                    self.end_headers()
                    for event in streamed(chunks, request):
                        line = f"event: {event['type']}\ndata: {json.dumps(event)}\n\n"
                        self.wfile.write(line.encode())
                else:
                    self.send_header("content-type", "application/json")
                    self.end_headers()
                    self.wfile.write(json.dumps(unstreamed(answer, request)).encode())

            def log_request(self, code: object = "-", size: object = "-") -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()
        url = f"http://127.0.0.1:{self.http.server_address[1]}/v1"
        self.client = openai.OpenAI(base_url=url, api_key="none", max_retries=0)

    def close(self) -> None:
        self.client.close()
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()


class Total(BaseModel):
    total: int


FULL = Answer(
    thought="Hm, 7+9",
    text='{"total": 16}',
    calls=(("call_a", "weather", '{"town": "Köln"}'), ("call_b", "weather", "{}")),
    finish_reason="tool_calls",
    usage=USAGE,
)
CHUNKS = [
    chunk({"role": "assistant", "content": ""}),
    chunk({"reasoning_content": "Hm, "}),
    chunk({"reasoning_content": "7+9"}),
    chunk({"content": '{"total"'}),
    chunk({"content": ": 16}"}),
    chunk({"tool_calls": [{"index": 0, "id": "call_a", "function": {"name": "weather"}}]}),
    chunk({"tool_calls": [{"index": 0, "function": {"arguments": '{"town": '}}]}),
    chunk({"tool_calls": [{"index": 0, "function": {"arguments": '"Köln"}'}}]}),
    chunk(
        {"tool_calls": [{"index": 1, "id": "call_b", "function": {"name": "weather"}}]},
    ),
    chunk({"tool_calls": [{"index": 1, "function": {"arguments": "{}"}}]}),
    chunk({}, "tool_calls"),
    {"id": "chatcmpl-1", "model": "served", "choices": [], "usage": USAGE},
]


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    server = Scripted(FULL, CHUNKS)
    yield server
    server.close()


def test_the_sdk_reads_a_response(scripted: Scripted) -> None:
    response = scripted.client.responses.create(model="m", input="7+9?", instructions="Be brief")
    assert response.output_text == '{"total": 16}'
    assert [item.type for item in response.output] == [
        "reasoning",
        "message",
        "function_call",
        "function_call",
    ]
    assert response.usage is not None
    assert response.usage.input_tokens_details.cached_tokens == 3
    assert scripted.chats == [
        {
            "model": "m",
            "messages": [
                {"role": "system", "content": "Be brief"},
                {"role": "user", "content": "7+9?"},
            ],
        }
    ]


def test_the_sdk_reads_a_stream_of_events(scripted: Scripted) -> None:
    with scripted.client.responses.create(model="m", input="7+9?", stream=True) as stream:
        events: list[Any] = list(stream)
    assert "".join(e.delta for e in events if e.type == "response.output_text.delta") == FULL.text
    assert events[-1].response.status == "completed"
    assert scripted.chats[0]["stream_options"] == {"include_usage": True}


def test_the_sdk_accumulates_a_stream_to_the_response_in_one_piece(scripted: Scripted) -> None:
    with scripted.client.responses.stream(model="m", input="7+9?", text_format=Total) as stream:
        snapshots = [e.snapshot for e in stream if e.type == "response.output_text.delta"]
        final = stream.get_final_response()
    assert snapshots == ['{"total"', '{"total": 16}']
    assert final.output_parsed == Total(total=16)
    whole = scripted.client.responses.parse(model="m", input="7+9?", text_format=Total)
    assert _unparsed(final.to_dict(warnings=False)) == _unparsed(whole.to_dict(warnings=False))


def _unparsed(value: Any) -> Any:
    """Return a document without what the client has made of it."""
    if isinstance(value, list):
        return [_unparsed(each) for each in value]
    if isinstance(value, dict):
        return {k: _unparsed(v) for k, v in value.items() if not k.startswith("parsed")}
    return value


def test_the_sdk_parses_an_answer_into_a_model(scripted: Scripted) -> None:
    parsed = scripted.client.responses.parse(model="m", input="7+9?", text_format=Total)
    assert parsed.output_parsed == Total(total=16)
    form = scripted.chats[0]["response_format"]
    assert form["type"] == "json_schema"
    assert form["json_schema"]["name"] == "Total"
    assert form["json_schema"]["strict"] is True
    assert form["json_schema"]["schema"]["required"] == ["total"]


def test_the_sdk_parses_the_arguments_of_calls(scripted: Scripted) -> None:
    class Weather(BaseModel):
        town: str = "Bonn"

    tool = openai.pydantic_function_tool(Weather, name="weather")
    flat: Any = {"type": "function", **tool["function"]}
    with scripted.client.responses.stream(model="m", input="?", tools=[flat]) as stream:
        final = stream.get_final_response()
    calls = [item for item in final.output if item.type == "function_call"]
    assert [call.parsed_arguments for call in calls] == [{"town": "Köln"}, {}]
    assert scripted.chats[0]["tools"] == [tool]
