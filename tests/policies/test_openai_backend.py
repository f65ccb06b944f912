"""The `openai` backend against a real HTTP server that answers badly in every way we know."""

import asyncio
import json
import logging
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from policies import (
    BackendConnectionError,
    BackendError,
    BackendRateLimitError,
    BackendRequestError,
    BackendResponseError,
    BackendTimeoutError,
    Capability,
    CapabilityError,
    Completion,
    FinishReason,
    GenerationRequest,
    InvalidInputError,
    Message,
    MissingPrerequisiteError,
    ModelSize,
    UnknownNameError,
    Usage,
    user_message,
)
from policies.backends.openai import OpenAIBackend

CANARY = "sk-canary-5f2c81"
USAGE = {"prompt_tokens": 7, "completion_tokens": 9}


@dataclass
class Reply:
    """What the server does with one request."""

    body: object = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict[str, str])
    raw: bytes | None = None
    delay_s: float = 0.0
    drip_s: float = 0.0
    is_cut: bool = False

    def payload(self) -> bytes:
        return json.dumps(self.body).encode() if self.raw is None else self.raw


class Server:
    """A scripted HTTP server: the last reply is repeated for ever."""

    def __init__(self) -> None:
        self.replies: list[Reply] = []
        self.requests: list[dict[str, Any]] = []
        self.most_in_flight = 0
        self.in_flight = 0
        self.lock = threading.Lock()
        self.stopping = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                outer.answer(self)

            def do_GET(self) -> None:
                outer.answer(self)

            def log_request(self, code: object = "-", size: object = "-") -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http.server_address[1]}/v1"

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        content = handler.rfile.read(int(handler.headers.get("content-length", 0)))
        with self.lock:
            number = len(self.requests)
            self.requests.append(
                {
                    "path": handler.path,
                    "headers": {k.lower(): v for k, v in handler.headers.items()},
                    "body": json.loads(content) if content else None,
                }
            )
            reply = self.replies[min(number, len(self.replies) - 1)]
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
        self.stopping.wait(reply.delay_s)
        payload = reply.payload()
        with self.lock:
            self.in_flight -= 1
        try:
            handler.send_response(reply.status)
            headers = {"content-type": "application/json", **reply.headers}
            for name, value in headers.items():
                handler.send_header(name, value)
            handler.send_header("content-length", str(len(payload) * (2 if reply.is_cut else 1)))
            handler.end_headers()
            for byte in payload if reply.drip_s else b"":
                handler.wfile.write(bytes([byte]))
                handler.wfile.flush()
                if self.stopping.wait(reply.drip_s):
                    return
            if not reply.drip_s:
                handler.wfile.write(payload)
        except OSError:  # The client has given up.
            handler.close_connection = True
        if reply.is_cut:
            handler.close_connection = True

    def close(self) -> None:
        self.stopping.set()
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.close()


def chat(
    content: object = "Answer: 6", finish: object = "stop", usage: object = USAGE, **message: object
) -> dict[str, object]:
    body: dict[str, object] = {
        "id": "chatcmpl-1",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": content, **message},
                "finish_reason": finish,
            }
        ],
    }
    return body if usage is None else {**body, "usage": usage}


async def ask(
    server: Server,
    *replies: Reply | dict[str, object],
    request: GenerationRequest | None = None,
    **options: Any,
) -> Completion:
    server.replies = [r if isinstance(r, Reply) else Reply(r) for r in replies]
    settings: dict[str, Any] = {"max_retries": 0, **options}
    backend = OpenAIBackend("m", server.url, **settings)
    try:
        return await backend.generate(request or asked())
    finally:
        await backend.aclose()


def asked(**changes: Any) -> GenerationRequest:
    fields: dict[str, Any] = {"max_tokens": 50, **changes}
    return GenerationRequest(user_message("7+9?"), **fields)


# What is sent


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


@pytest.mark.parametrize(
    ("dialect", "thinking", "expected"),
    [
        ("vllm", False, {"chat_template_kwargs": {"enable_thinking": False}}),
        ("vllm-deepseek", True, {"chat_template_kwargs": {"thinking": True}}),
        (
            "sglang",
            False,
            {"chat_template_kwargs": {"enable_thinking": False, "thinking": False}},
        ),
        ("llama.cpp", True, {"chat_template_kwargs": {"enable_thinking": True}}),
        ("openai", False, {"reasoning_effort": "none", "max_completion_tokens": 50}),
        ("deepseek", False, {"thinking": {"type": "disabled"}}),
        ("deepseek", True, {"thinking": {"type": "enabled"}}),
        ("dashscope", False, {"enable_thinking": False}),
    ],
)
async def test_each_dialect_switches_thinking_its_own_way(
    server: Server, dialect: str, thinking: bool, expected: dict[str, object]
) -> None:
    await ask(server, chat(), request=asked(thinking=thinking), dialect=dialect)
    body = server.requests[0]["body"]
    assert {key: body.get(key) for key in expected} == expected


@pytest.mark.parametrize(
    ("dialect", "path"),
    [
        ("vllm", ["thinking_token_budget"]),
        ("sglang", ["custom_params", "thinking_budget"]),
        ("llama.cpp", ["thinking_budget_tokens"]),
    ],
)
async def test_hard_budgets_go_where_each_server_reads_them(
    server: Server, dialect: str, path: list[str]
) -> None:
    request = asked(thinking=True, thinking_budget=8)
    await ask(server, chat(), request=request, dialect=dialect)
    value = server.requests[0]["body"]
    for key in path:
        value = value[key]
    assert value == 8


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


async def test_a_continuation_is_refused(server: Server) -> None:
    with pytest.raises(CapabilityError, match="prefix-continuation"):
        await ask(server, chat(), request=asked(continuation=(1, 2)))


async def test_a_conversation_is_sent_in_order(server: Server) -> None:
    messages = (Message("system", "s"), Message("user", "u"), Message("assistant", "a"))
    await ask(server, chat(), request=GenerationRequest(messages, max_tokens=5))
    assert [m["role"] for m in server.requests[0]["body"]["messages"]] == [
        "system", "user", "assistant",
    ]  # fmt: skip


# How answers are read


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({"content": "\n\nAnswer: 6", "reasoning": "\n7+9\n"}, ("7+9", "Answer: 6", True)),
        ({"content": "Answer: 6", "reasoning_content": "7+9"}, ("7+9", "Answer: 6", True)),
        ({"content": "<think>\n7+9\n</think>\n\nAnswer: 6"}, ("7+9", "Answer: 6", True)),
        # The template wrote the start tag into the prompt.
        ({"content": "7+9\n</think>\n\nAnswer: 6"}, ("7+9", "Answer: 6", True)),
        ({"content": "<think>\n7+9"}, ("7+9", "", False)),
        ({"content": None, "reasoning": "7+9"}, ("7+9", "", False)),
        ({"content": "", "reasoning_content": "7+9"}, ("7+9", "", False)),
        # A forced end, and the model's own end tag after it.
        ({"content": "</think>\n\nAnswer: 6", "reasoning": "7+9"}, ("7+9", "Answer: 6", True)),
        # The model thinks anew.
        (
            {"content": "<think>7</think><think>9</think>Answer: 6"},
            ("7\n9", "Answer: 6", True),
        ),
        ({"content": "<think>7</think>\n<think>9"}, ("7\n9", "", False)),
        ({"content": "<think>9</think>A", "reasoning": "7"}, ("7\n9", "A", True)),
        # An answer may speak of the tags.
        (
            {"content": "Use <think> and </think>.", "reasoning": "tags"},
            ("tags", "Use <think> and </think>.", True),
        ),
        ({"content": "Use <think> and </think>."}, (None, "Use <think> and </think>.", True)),
    ],
)
async def test_thought_and_answer_are_told_apart(
    server: Server, message: dict[str, object], expected: tuple[str | None, str, bool]
) -> None:
    completion = await ask(server, chat(**message), request=asked(thinking=True))
    assert (completion.thinking, completion.text, completion.thinking_closed) == expected


async def test_a_thought_cut_by_the_cap_is_never_an_answer(server: Server) -> None:
    cases: list[dict[str, Any]] = [
        {"content": "So 7+9=16, answer: 6"},  # prefilled start tag, no end tag
        {"content": "<think>So 7+9=16, answer: 6"},
        {"content": None, "reasoning": "So 7+9=16, answer: 6"},
    ]
    for message in cases:
        body = chat(finish="length", **message)
        completion = await ask(server, body, request=asked(thinking=True))
        assert completion.finish_reason is FinishReason.LENGTH
        assert not completion.thinking_closed
        assert completion.text == ""
        assert "answer: 6" in (completion.thinking or "")


async def test_a_cut_answer_without_a_thought_stays_an_answer(server: Server) -> None:
    usage = {**USAGE, "completion_tokens_details": {"reasoning_tokens": 0}}
    body = chat("The answer is", finish="length", usage=usage)
    completion = await ask(server, body, request=asked(thinking=True))
    assert (completion.text, completion.thinking) == ("The answer is", None)
    assert completion.thinking_closed


async def test_a_hidden_thought_cut_by_the_cap_is_open(server: Server) -> None:
    usage = {**USAGE, "completion_tokens_details": {"reasoning_tokens": 9}}
    body = chat("", finish="length", usage=usage)
    completion = await ask(server, body, request=asked(thinking=True), dialect="openai")
    assert (completion.text, completion.thinking_closed) == ("", False)
    assert completion.usage.thinking_tokens == 9


async def test_thinking_that_was_switched_off_and_comes_anyway_is_not_in_the_answer(
    server: Server,
) -> None:
    completion = await ask(server, chat("<think>7+9</think>Answer: 6"))
    assert (completion.thinking, completion.text) == ("7+9", "Answer: 6")
    completion = await ask(server, chat("<think>\n\n</think>\n\nAnswer: 6"))
    assert (completion.thinking, completion.text) == (None, "Answer: 6")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("stop", FinishReason.STOP),
        ("length", FinishReason.LENGTH),
        ("repetition", FinishReason.REPETITION),
        ("content_filter", FinishReason.FILTER),
    ],
)
async def test_finish_reasons_are_kept_apart(
    server: Server, value: str, expected: FinishReason
) -> None:
    assert (await ask(server, chat(finish=value))).finish_reason is expected


async def test_usage_is_the_servers(server: Server) -> None:
    usage = {
        "prompt_tokens": 30,
        "completion_tokens": 20,
        "completion_tokens_details": {"reasoning_tokens": 12},
        "prompt_tokens_details": {"cached_tokens": 16},
    }
    completion = await ask(server, chat(usage=usage, reasoning="t"), request=asked(thinking=True))
    assert completion.usage == Usage(30, 20, thinking_tokens=12, cached_tokens=16)


async def test_thinking_tokens_stay_unknown_where_the_server_does_not_count(
    server: Server,
) -> None:
    completion = await ask(server, chat(reasoning="t"), request=asked(thinking=True))
    assert completion.usage.thinking_tokens is None
    usage = {**USAGE, "completion_tokens_details": {"reasoning_tokens": 0}}
    body = chat(reasoning="a long thought", usage=usage)
    completion = await ask(server, body, request=asked(thinking=True))
    assert completion.usage.thinking_tokens is None


def logprobs(*tokens: tuple[str, float]) -> dict[str, object]:
    return {"content": [{"token": token, "logprob": value} for token, value in tokens]}


async def test_evidence_is_of_the_answer_alone(server: Server) -> None:
    body: Any = chat("\n\nA 6", reasoning="hm")
    body["choices"][0]["logprobs"] = logprobs(
        ("<think>", -5.0), ("hm", -6.0), ("</think>", -7.0), ("\n\n", -0.1), ("A", -0.2),
        (" 6", -0.6), ("<|im_end|>", -9.0),
    )  # fmt: skip
    completion = await ask(server, body, request=asked(thinking=True, logprobs=True))
    assert completion.evidence is not None
    assert completion.evidence.mean_logprob == pytest.approx(-0.3)
    assert completion.evidence.min_logprob == -0.6
    assert completion.usage.thinking_tokens == 1


async def test_there_is_no_evidence_where_the_thought_cannot_be_told_from_the_answer(
    server: Server,
) -> None:
    body: Any = chat("A", reasoning="hm")
    body["choices"][0]["logprobs"] = logprobs(("hm", -6.0), ("<end>", -7.0), ("A", -0.2))
    completion = await ask(server, body, request=asked(thinking=True, logprobs=True))
    assert completion.evidence is None


async def test_a_hidden_thought_leaves_the_answers_evidence(server: Server) -> None:
    body: Any = chat("A 6", reasoning="summary")
    body["choices"][0]["logprobs"] = logprobs(("A", -0.2), (" 6", 0.0000001))
    completion = await ask(server, body, request=asked(thinking=True, logprobs=True))
    assert completion.evidence is not None
    assert completion.evidence.mean_logprob == pytest.approx(-0.1)


@pytest.mark.parametrize(
    "value", [None, {"content": None}, {"content": [{"token": "A"}]}, {"content": []}]
)
async def test_missing_logprobs_are_an_error(server: Server, value: object) -> None:
    body: Any = chat()
    body["choices"][0]["logprobs"] = value
    with pytest.raises(BackendResponseError, match="log"):
        await ask(server, body, request=asked(logprobs=True))


async def test_token_ids_are_kept(server: Server) -> None:
    body: Any = chat()
    body["choices"][0]["token_ids"] = [5, 6, 7]
    assert (await ask(server, body)).token_ids == (5, 6, 7)


# What cannot be used


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


# Failures, and how often a request is sent


@pytest.mark.parametrize(
    ("status", "kind", "retryable"),
    [
        (400, BackendRequestError, False),
        (401, BackendRequestError, False),
        (403, BackendRequestError, False),
        (404, BackendRequestError, False),
        (408, BackendTimeoutError, True),
        (409, BackendRequestError, True),
        (422, BackendRequestError, False),
        (429, BackendRateLimitError, True),
        (500, BackendResponseError, True),
        (502, BackendConnectionError, True),
        (503, BackendConnectionError, True),
        (504, BackendTimeoutError, True),
        (302, BackendRequestError, False),
    ],
)
async def test_each_status_has_its_error_and_its_number_of_attempts(
    server: Server, status: int, kind: type[BackendError], retryable: bool
) -> None:
    headers = {"x-request-id": "r-9", "location": "http://127.0.0.1:1/v1"}
    failure = Reply({"error": {"message": "because of this"}}, status=status, headers=headers)
    with pytest.raises(kind, match=r"because of this|no explanation") as caught:
        await ask(server, failure, max_retries=1)
    error = caught.value
    assert (error.status_code, error.request_id, error.retryable) == (status, "r-9", retryable)
    assert error.__cause__ is not None
    n_attempts = 2 if retryable else 1
    assert len(server.requests) == n_attempts
    assert f"attempts made: {n_attempts}" in error.__notes__


@pytest.mark.parametrize("max_retries", [0, 1, 3])
async def test_attempts_do_not_multiply(server: Server, max_retries: int) -> None:
    with pytest.raises(BackendResponseError):
        await ask(server, Reply({}, status=500), max_retries=max_retries)
    assert len(server.requests) == max_retries + 1


async def test_a_passing_failure_is_survived(server: Server) -> None:
    failures = [Reply({}, status=503), Reply(raw=b"<html>")]
    completion = await ask(server, *failures, Reply(chat()), max_retries=3)
    assert completion.text == "Answer: 6"
    assert len(server.requests) == 3


async def test_seconds_are_those_of_the_attempt_that_succeeded(server: Server) -> None:
    slow_failure = Reply({}, status=500, delay_s=0.5)
    started = time.perf_counter()
    completion = await ask(server, slow_failure, Reply(chat(), delay_s=0.1), max_retries=1)
    in_all = time.perf_counter() - started
    assert 0.1 <= completion.seconds <= in_all - 0.6  # less the failure and the pause


async def test_retry_after_is_honoured(server: Server) -> None:
    limit = Reply({}, status=429, headers={"retry-after": "0.6"})
    started = time.perf_counter()
    await ask(server, limit, Reply(chat()), max_retries=1)
    assert time.perf_counter() - started >= 0.6


async def test_without_retry_after_there_is_a_pause_of_our_own(server: Server) -> None:
    started = time.perf_counter()
    await ask(server, Reply({}, status=429), Reply(chat()), max_retries=1)
    assert time.perf_counter() - started >= 0.12


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-4"}, None),
        ({}, None),
    ],
)
async def test_retry_after_is_told(
    server: Server, headers: dict[str, str], seconds: float | None
) -> None:
    with pytest.raises(BackendRateLimitError) as caught:
        await ask(server, Reply({}, status=429, headers=headers))
    assert caught.value.retry_after_s == seconds


@pytest.mark.parametrize(("shift_s", "least", "most"), [(90, 60, 90), (-90, 0, 0)])
async def test_retry_after_may_be_a_date(
    server: Server, shift_s: int, least: float, most: float
) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=shift_s), usegmt=True)
    with pytest.raises(BackendRateLimitError) as caught:
        await ask(server, Reply({}, status=429, headers={"retry-after": date}))
    assert caught.value.retry_after_s is not None
    assert least <= caught.value.retry_after_s <= most


async def test_nobody_waits_for_a_server_that_asks_for_an_hour(server: Server) -> None:
    limit = Reply({}, status=429, headers={"retry-after": "3600"})
    with pytest.raises(BackendRateLimitError):
        await ask(server, limit, max_retries=3)
    assert len(server.requests) == 1


async def test_a_used_up_quota_is_final(server: Server) -> None:
    body = {"error": {"code": "insufficient_quota", "message": "pay first"}}
    with pytest.raises(BackendRateLimitError, match="pay first"):
        await ask(server, Reply(body, status=429), max_retries=3)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "reply", [Reply(chat(), delay_s=30), Reply(chat(), drip_s=0.2)], ids=["hang", "drip"]
)
async def test_a_server_that_takes_too_long_is_a_timeout(server: Server, reply: Reply) -> None:
    with pytest.raises(BackendTimeoutError, match="within 1 s"):
        await ask(server, reply, timeout_s=1.0, max_retries=1)
    assert len(server.requests) == 2


async def test_a_body_cut_in_the_middle_is_a_broken_connection(server: Server) -> None:
    with pytest.raises(BackendConnectionError) as caught:
        await ask(server, Reply(chat(), is_cut=True), max_retries=1)
    assert isinstance(caught.value, ConnectionError)
    assert len(server.requests) == 2


async def test_a_server_that_is_not_there(server: Server) -> None:
    url = server.url
    server.close()
    backend = OpenAIBackend("m", url, max_retries=1)
    with pytest.raises(BackendConnectionError, match="cannot be reached") as caught:
        await backend.generate(asked())
    await backend.aclose()
    assert caught.value.__cause__ is not None
    server.__init__()


async def test_an_unknown_model_shows_what_the_server_says(server: Server) -> None:
    body = {"error": {"message": "The model `m` does not exist. Valid: n.", "code": 404}}
    with pytest.raises(BackendRequestError, match="Valid: n") as caught:
        await ask(server, Reply(body, status=404), max_retries=3)
    assert "/v1" in caught.value.hint
    assert len(server.requests) == 1


async def test_no_more_requests_at_once_than_allowed(server: Server) -> None:
    server.replies = [Reply(chat(), delay_s=0.2)]
    backend = OpenAIBackend("m", server.url, max_concurrency=3)
    await asyncio.gather(*(backend.generate(asked()) for _ in range(12)))
    await backend.aclose()
    assert len(server.requests) == 12
    assert 1 < server.most_in_flight <= 3


def test_one_backend_serves_one_event_loop_after_another(server: Server) -> None:
    server.replies = [Reply(chat(), headers={"connection": "close"})]
    backend = OpenAIBackend("m", server.url)
    for _ in range(2):
        assert asyncio.run(backend.generate(asked())).text == "Answer: 6"


async def test_a_closed_backend_says_so(server: Server) -> None:
    backend = OpenAIBackend("m", server.url)
    await backend.aclose()
    with pytest.raises(BackendError, match="closed"):
        await backend.generate(asked())


async def test_a_missing_library_is_told_at_the_first_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(MissingPrerequisiteError, match="pip install openai"):
        await OpenAIBackend("m", "http://127.0.0.1/v1").generate(asked())


# Secrets


async def test_the_key_is_sent_and_shown_nowhere(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    echo = {"error": {"message": f"Incorrect API key provided: {CANARY}"}}
    server.replies = [
        Reply(echo, status=401),
        Reply(echo, status=500),
        Reply(raw=f"<p>{CANARY}</p>".encode()),
        Reply({"error": f"bad {CANARY}"}),
        Reply(chat(finish=CANARY)),
    ]
    backend = OpenAIBackend("m", server.url, CANARY, max_retries=0)
    shown = [repr(backend), str(backend), str(backend.identity()), str(vars(backend))]
    for _ in server.replies:
        with pytest.raises(BackendError) as caught:
            await backend.generate(asked())
        shown += [repr(caught.value), str(caught.value), str(vars(caught.value))]
        shown += traceback.format_exception(caught.value)
    await backend.aclose()
    assert server.requests[0]["headers"]["authorization"] == f"Bearer {CANARY}"
    assert [text for text in shown if CANARY in text] == []
    assert CANARY not in caplog.text


async def test_no_key_of_the_environment_is_sent_to_a_server_unasked(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("API_KEY", "ADMIN_KEY", "ORG_ID", "PROJECT_ID"):
        monkeypatch.setenv(f"OPENAI_{name}", CANARY)
    await ask(server, chat())
    assert "authorization" not in server.requests[0]["headers"]
    assert CANARY not in str(server.requests)


@pytest.mark.parametrize(
    "url",
    [
        f"http://user:{CANARY}@127.0.0.1/v1",
        f"http://{CANARY}@127.0.0.1/v1",
        f"http://127.0.0.1/v1?key={CANARY}",
        f"http://127.0.0.1/v1#{CANARY}",
        "ftp://127.0.0.1/v1",
        "127.0.0.1:8000/v1",
        "http:///v1",
        "http://127.0.0.1:port/v1",
        "http://127.0.0.1\\@evil.invalid/v1",
        "",
    ],
)
def test_urls_with_credentials_or_without_a_host_are_refused_unrepeated(url: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        OpenAIBackend("m", url)
    assert CANARY not in "".join(traceback.format_exception(caught.value))


# The rest of the interface


def test_identity_tells_model_server_and_dialect() -> None:
    backend = OpenAIBackend("m", "HTTPS://Example.invalid:8443/v1/", dialect="sglang")
    assert backend.identity() == {
        "backend": "openai",
        "model": "m",
        "base_url": "https://example.invalid:8443/v1",
        "dialect": "sglang",
        "wire_version": "1",
    }


async def test_the_server_can_be_asked_what_it_serves(server: Server) -> None:
    models = {"data": [{"id": "m", "root": "org/weights"}, {"id": "other"}]}
    server.replies = [Reply(models), Reply({"version": "0.32.0"})]
    backend = OpenAIBackend("m", server.url)
    before = backend.identity()
    facts = await backend.describe_server()
    await backend.aclose()
    assert facts == {"served_root": "org/weights", "server_version": "0.32.0"}
    assert backend.identity() == {**before, **facts}
    assert [request["path"] for request in server.requests] == ["/v1/models", "/version"]


def test_capabilities_are_those_of_the_dialect() -> None:
    def of(dialect: str) -> frozenset[Capability]:
        return OpenAIBackend("m", "http://127.0.0.1/v1", dialect=dialect).capabilities

    assert Capability.HARD_BUDGET in of("vllm") & of("sglang") & of("llama.cpp")
    assert Capability.HARD_BUDGET not in of("openai") | of("dashscope") | of("deepseek")
    assert Capability.PREFIX_CONTINUATION not in of("vllm")
    assert Capability.THINKING_SWITCH not in of("plain")


def test_the_size_is_parsed_once() -> None:
    backend = OpenAIBackend("m", "http://127.0.0.1/v1", size="8B")
    assert backend.size == ModelSize(8_000_000_000)


def test_an_unknown_dialect_has_close_matches() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'sglang'"):
        OpenAIBackend("m", "http://127.0.0.1/v1", dialect="sglan")


@pytest.mark.parametrize("options", [{"timeout_s": 0}, {"max_retries": -1}, {"max_concurrency": 0}])
def test_numbers_out_of_range_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match=next(iter(options))):
        OpenAIBackend("m", "http://127.0.0.1/v1", **options)
