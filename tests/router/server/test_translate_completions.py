"""Text completions: their prompts as chats, and the answers as one completion."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types import Completion

from policies import BackendResponseError, InvalidInputError
from router.server.translate import (
    CompletionStream,
    chat_body_of_completion,
    completion_chunk_of,
    completion_of_chats,
)
from tests.router.server.chat_answers import USAGE, Answer, answers, chunk, chunkings


def chats(**fields: Any) -> list[dict[str, Any]]:
    return chat_body_of_completion({"model": "m", "prompt": "?", **fields})


def completion(documents: list[Any], **request: Any) -> dict[str, Any]:
    request = {"model": "asked", "prompt": ["?"] * len(documents), **request}
    return completion_of_chats(documents, request, completion_id="cmpl-1", created=5)


def test_each_prompt_is_a_chat_of_one_turn_with_the_same_parameters() -> None:
    told = chats(
        prompt=["a", "b"],
        max_tokens=5,
        temperature=0.5,
        top_p=1,
        n=2,
        stop=["x"],
        seed=1,
        stream=True,
        stream_options={"include_usage": True},
        presence_penalty=1,
        frequency_penalty=-1.5,
        logit_bias={"5": -100},
        user="u",
        thinkroute={"mode": "ift"},
        top_k=3,
        best_of=2,
        echo=False,
        suffix=None,
        logprobs=None,
    )
    shared = {
        "model": "m",
        "max_tokens": 5,
        "temperature": 0.5,
        "top_p": 1,
        "n": 2,
        "stop": ["x"],
        "seed": 1,
        "stream": True,
        "stream_options": {"include_usage": True},
        "presence_penalty": 1,
        "frequency_penalty": -1.5,
        "logit_bias": {"5": -100},
        "user": "u",
        "thinkroute": {"mode": "ift"},
        "top_k": 3,
    }
    assert told == [
        {**shared, "messages": [{"role": "user", "content": "a"}]},
        {**shared, "messages": [{"role": "user", "content": "b"}]},
    ]


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"prompt": [1, 2]}, "prompt[0] is a token id, or a list of them, expected a text"),
        ({"prompt": [[1, 2]]}, "prompt[0] is a token id, or a list of them, expected a text"),
        ({"prompt": ["a", None]}, "prompt[1] is null, expected a text"),
        ({"prompt": []}, "prompt is empty, expected a text or a list of texts"),
        ({"prompt": None}, "prompt is null, expected a text or a list of texts"),
        ({"prompt": 7}, "prompt is a int, expected a text or a list of texts"),
        ({"suffix": "end"}, "suffix is not supported"),
        ({"echo": True}, "echo is true, which is not supported"),
        ({"echo": 1}, "echo is a int, expected true or false"),
        ({"best_of": 3, "n": 2}, "best_of is 3, more than n = 2, which is not supported"),
        ({"best_of": 1, "n": 2}, "best_of is 1, expected at least 2"),
        ({"logprobs": 0}, "logprobs is not supported"),
        ({"tools": []}, "tools is not supported"),
        ({"messages": []}, "messages is no field of this API (use prompt)"),
        ({"n": 0}, "n is 0, expected at least 1"),
        ({"max_tokens": "5"}, "max_tokens is a str, expected a whole number"),
        ({"temperature": "hot"}, "temperature is a str, expected a number"),
        ({"seed": 0.5}, "seed is a float, expected a whole number"),
        ({"stop": [1]}, "stop[0] is a int, expected a text"),
        ({"stop": 1}, "stop is a int, expected a list"),
        ({"stream": 1}, "stream is a int, expected true or false"),
        ({"stream_options": True}, "stream_options is a bool, expected an object"),
        ({"logit_bias": {"5": "x"}}, "logit_bias.5 is a str, expected a number"),
        ({"user": 5}, "user is a int, expected a text"),
        ({"model": 5}, "model is a int, expected a text"),
    ],
)
def test_what_cannot_be_asked_is_told_in_one_line(fields: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        chats(**fields)
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)


def several(*texts: str, usage: Any = USAGE) -> dict[str, Any]:
    document = Answer(thought="Hm", usage=usage).document()
    first = document["choices"][0]
    document["choices"] = [
        {**first, "index": n, "message": {"role": "assistant", "content": text, "reasoning": "Hm"}}
        for n, text in enumerate(texts)
    ]
    return document


def test_choices_are_numbered_prompt_by_prompt_and_tell_no_thought() -> None:
    told = Completion.model_validate(completion([several("a", "b"), several("c", "d")], n=2))
    assert [(choice.index, choice.text) for choice in told.choices] == [
        (0, "a"),
        (1, "b"),
        (2, "c"),
        (3, "d"),
    ]
    assert told.model == "served"
    assert told.usage is not None
    assert (told.usage.prompt_tokens, told.usage.total_tokens) == (14, 32)
    assert told.usage.completion_tokens_details is not None
    assert told.usage.completion_tokens_details.reasoning_tokens == 10


def test_a_sum_of_tokens_is_only_told_where_all_are_known() -> None:
    assert completion([several("a"), several("b", usage=None)])["usage"] is None
    assert completion([several("a", usage=None)])["usage"] is None


@given(answer=answers().filter(lambda answer: answer.finish_reason != "abort"))
def test_a_completion_is_one_that_the_sdk_knows(answer: Answer) -> None:
    told = Completion.model_validate(completion([answer.document()]))
    [choice] = told.choices
    assert choice.text == answer.text + answer.refusal
    cut = answer.finish_reason in ("length", "content_filter")
    assert choice.finish_reason == (answer.finish_reason if cut else "stop")


def test_what_is_said_of_the_decision_is_passed_along() -> None:
    said = {"arm": "m:cot"}
    document = several("a") | {"thinkroute": said}
    assert completion([document], prompt="?")["thinkroute"] == said
    assert completion([document, several("b")])["thinkroute"] == [said, None]
    assert "thinkroute" not in completion([several("b")])


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"choices": 1}, "choices is a int, expected a list"),
        ({"choices": [{"index": 0}]}, r"choices\[0\].message is missing"),
        ({"usage": {"prompt_tokens": 1}}, "usage.completion_tokens is missing"),
        (
            {"choices": [{"index": 0, "message": {}, "finish_reason": "abort"}]},
            "is 'abort': the model's server gave up",
        ),
    ],
)
def test_a_document_that_is_no_chat_completion_is_the_servers_doing(
    changes: dict[str, Any], problem: str
) -> None:
    with pytest.raises(BackendResponseError, match=problem):
        completion([several("a") | changes])


def test_a_chunk_that_only_thinks_or_counts_has_nothing_to_say() -> None:
    request = {"prompt": "?"}
    for silent in (
        chunk({"role": "assistant", "content": ""}),
        chunk({"reasoning_content": "Hm"}),
        {"id": "chatcmpl-1", "choices": [], "usage": USAGE},
    ):
        assert completion_chunk_of(silent, request) is None


def test_a_chunk_keeps_the_name_of_the_chat_where_none_is_given() -> None:
    told = completion_chunk_of(chunk({"content": "a"}, "tool_calls"), {"prompt": "?"})
    assert told == {
        "id": "chatcmpl-1",
        "object": "text_completion",
        "created": 5,
        "model": "served",
        "choices": [{"index": 0, "text": "a", "logprobs": None, "finish_reason": "stop"}],
        "system_fingerprint": None,
    }


@given(data=st.data())
def test_streams_of_several_prompts_add_up_to_the_completion(data: st.DataObject) -> None:
    """Feed the chats of all prompts interleaved, each in its own order."""
    kinds = answers().filter(lambda answer: answer.finish_reason != "abort")
    drawn = data.draw(st.lists(kinds, min_size=1, max_size=3))
    request = {
        "model": "asked",
        "prompt": ["?"] * len(drawn),
        "stream_options": {"include_usage": True},
    }
    whole: Any = completion_of_chats(
        [answer.document() for answer in drawn], request, completion_id="cmpl-1", created=5
    )
    stream = CompletionStream(request, n_prompts=len(drawn), completion_id="cmpl-1", created=5)
    waiting = [data.draw(chunkings(answer)) for answer in drawn]
    told: list[Any] = []
    while any(waiting):
        turn = data.draw(st.sampled_from([n for n, chunks in enumerate(waiting) if chunks]))
        told += stream.feed(waiting[turn].pop(0), prompt_index=turn)
    told += stream.finish()
    for number, choice in enumerate(whole["choices"]):
        mine = [c for each in told for c in each["choices"] if c["index"] == number]
        assert "".join(c["text"] for c in mine) == choice["text"]
        assert [c["finish_reason"] for c in mine if c["finish_reason"]] == [choice["finish_reason"]]
    assert [each["usage"] for each in told[:-1]] == [None] * (len(told) - 1)
    assert told[-1]["usage"] == whole["usage"]
    assert {each["id"] for each in told} == {"cmpl-1"}


def test_tokens_are_only_told_where_they_were_asked_for() -> None:
    stream = CompletionStream({"prompt": "?"}, n_prompts=1, completion_id="c", created=5)
    [told] = stream.feed(chunk({"content": "a"}, "stop", usage=USAGE))
    assert "usage" not in told
    assert stream.finish() == []


@pytest.fixture
def client() -> Iterator[openai.OpenAI]:
    """Serve two prompts, with two answers each."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["content-length"])))
            bodies: list[Any] = chat_body_of_completion(request)
            asked = [body["messages"][0]["content"] for body in bodies]
            self.send_response(200)
            if not request.get("stream"):
                documents = [several(f"{text}0", f"{text}1") for text in asked]
                told = completion_of_chats(documents, request, completion_id="cmpl-1", created=5)
                self.send_header("content-type", "application/json")
                self.end_headers()
                self.wfile.write(json.dumps(told).encode())
                return
            self.send_header("content-type", "text/event-stream")
            self.end_headers()
            stream = CompletionStream(
                request, n_prompts=len(asked), completion_id="cmpl-1", created=5
            )
            events: list[Any] = []
            for number, text in enumerate(asked):
                for index in range(2):
                    for delta, reason in (
                        ({"reasoning": "Hm"}, None),
                        ({"content": text}, None),
                        ({"content": str(index)}, "stop"),
                    ):
                        each = chunk(delta, reason)
                        each["choices"][0]["index"] = index
                        events += stream.feed(each, prompt_index=number)
                last = {"model": "served", "choices": [], "usage": USAGE}
                events += stream.feed(last, prompt_index=number)
            for event in [*events, *stream.finish()]:
                self.wfile.write(f"data: {json.dumps(event)}\n\n".encode())
            self.wfile.write(b"data: [DONE]\n\n")

        def log_request(self, code: object = "-", size: object = "-") -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{http.server_address[1]}/v1"
    with openai.OpenAI(base_url=url, api_key="none", max_retries=0) as made:
        yield made
    http.shutdown()
    thread.join()
    http.server_close()


def test_the_sdk_reads_a_completion_of_several_prompts(client: openai.OpenAI) -> None:
    told = client.completions.create(model="m", prompt=["a", "b"], n=2)
    assert [choice.text for choice in told.choices] == ["a0", "a1", "b0", "b1"]


def test_the_sdk_reads_a_stream_of_several_prompts(client: openai.OpenAI) -> None:
    texts = [""] * 4
    usage = None
    with client.completions.create(
        model="m", prompt=["a", "b"], n=2, stream=True, stream_options={"include_usage": True}
    ) as stream:
        for each in stream:
            usage = each.usage
            for choice in each.choices:
                texts[choice.index] += choice.text
    assert texts == ["a0", "a1", "b0", "b1"]
    assert usage is not None
    assert usage.total_tokens == 32
