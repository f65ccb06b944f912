"""A router in front of an OpenAI-compatible server, asked over HTTP."""

import contextlib
import json
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from router import BackendSpec, FeedbackLog, Router
from router.server import GateLimits, Rules, ServedRequest, Server, ServerSettings
from router.server.decision_log import read_log
from router.server.upstreams import BreakerSettings, RetrySettings
from tests.servers.made_up_chat import MadeUpChat
from tests.servers.served import listening
from tests.servers.upstream import Fault, UpstreamServer, serving

QUICK = RetrySettings(max_retries=1, first_wait_s=0.001, longest_wait_s=0.01, n_free=1000)
EASY, HARD = "Who is the friend of Ada?", "Compute, left to right: 1+2*3-4*5+6"
Start = Callable[..., str]


@pytest.fixture
def upstream() -> Generator[UpstreamServer]:
    with serving(UpstreamServer(MadeUpChat(name="toy"))) as server:
        yield server


@pytest.fixture
def start(
    router: Router, upstream: UpstreamServer, tmp_path: Path
) -> Generator[Callable[..., str]]:
    """Start servers in front of the upstream; they stop with the test."""
    with contextlib.ExitStack() as stack:

        def begin(*urls: str, rules: Rules | None = None, **settings: Any) -> str:
            options = {"base_url": list(urls) or [upstream.url], "dialect": "vllm"}
            usual: dict[str, Any] = {
                "reached": {"toy": BackendSpec("openai", options)},
                "log": str(tmp_path / "log.sqlite"),
                "rules": rules or Rules(),
                "retry": QUICK,
                "breaker": BreakerSettings(check_every_s=0),
            }
            server = Server(router, ServerSettings(**(usual | settings)))
            return stack.enter_context(listening(server))

        yield begin


@pytest.fixture
def rows(tmp_path: Path) -> Callable[[int], list[ServedRequest]]:
    """Return the rows of the log, once there are as many as asked for."""

    def read(n: int) -> list[ServedRequest]:
        deadline = time.monotonic() + 10
        found: list[ServedRequest] = []
        while len(found) < n and time.monotonic() < deadline:
            time.sleep(0.05)
            with contextlib.closing(read_log(tmp_path / "log.sqlite")) as log:
                found = [row.request for row in log.served()]
        assert len(found) == n
        return found

    return read


def chat(text: str = HARD, model: str = "thinkroute", **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": text}], **more}


def post(url: str, body: dict[str, Any], path: str = "/v1/chat/completions", **headers: str) -> Any:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.post(f"{url}{path}", json=body, headers=named, timeout=30)


def events(url: str, body: dict[str, Any]) -> Iterator[Any]:
    with httpx.stream("POST", f"{url}/v1/chat/completions", json=body, timeout=30) as response:
        assert response.status_code == 200, response.read()
        for line in response.iter_lines():
            if line.startswith("data: "):
                yield "[DONE]" if line == "data: [DONE]" else json.loads(line[6:])


def test_the_mode_and_the_budget_of_the_arm_reach_the_server(
    start: Start, upstream: UpstreamServer
) -> None:
    url = start()
    for arm, thinks, budget in (
        ("direct", False, None),
        ("reasoning@64", True, 64),
        ("reasoning@max", True, None),
    ):
        answer = post(url, chat(model=f"toy:{arm}"))
        assert answer.headers["x-thinkroute-arm"] == f"toy:{arm}"
        sent = upstream.generations()[-1].body
        assert sent["chat_template_kwargs"] == {"enable_thinking": thinks}
        assert sent.get("thinking_token_budget") == budget
        assert sent["model"] == "toy"
        message = answer.json()["choices"][0]["message"]
        assert ("reasoning_content" in message) == thinks
        assert "reasoning" not in message


def test_the_router_decides_by_the_question(start: Start, router: Router) -> None:
    url = start()
    for text in (EASY, HARD):
        answer = post(url, chat(text))
        decision = router.decide(text)
        assert answer.headers["x-thinkroute-arm"] == decision.arm.name
        assert float(answer.headers["x-thinkroute-p"]) == pytest.approx(decision.chosen.p, abs=1e-3)


def test_everything_else_of_a_request_passes_through_untouched(
    start: Start, upstream: UpstreamServer
) -> None:
    extra = {
        "temperature": 0.3,
        "top_k": 17,
        "n": 2,
        "logprobs": True,
        "top_logprobs": 3,
        "seed": 7,
        "presence_penalty": 0.5,
        "chat_template_kwargs": {"documents": ["a"]},
        "metadata": {"x": "y"},
        "unheard_of": [1, {"a": None}],
    }
    parts = [
        {"type": "text", "text": HARD},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
    ]
    body = {"model": "thinkroute", "messages": [{"role": "user", "content": parts}], **extra}
    assert post(start(), body).status_code == 200
    sent = upstream.generations()[-1].body
    kwargs = sent.pop("chat_template_kwargs")
    assert kwargs.pop("documents") == ["a"]
    assert set(kwargs) == {"enable_thinking"}
    del extra["chat_template_kwargs"]
    assert {name: sent[name] for name in extra} == extra
    assert sent["messages"] == body["messages"]


@pytest.mark.parametrize("stream", [False, True])
def test_stops_end_the_answer_and_are_kept_from_the_thought(
    start: Start, upstream: UpstreamServer, stream: bool
) -> None:
    url = start()
    usual = post(url, chat("one two three four", "toy:reasoning@max")).json()["choices"][0]
    assert usual["message"]["content"].count(" ") >= 3
    stop = usual["message"]["content"].split()[2]
    body = chat("one two three four", "toy:reasoning@max", stop=[stop])
    if stream:
        choices = [
            one["choices"][0] for one in events(url, {**body, "stream": True}) if one != "[DONE]"
        ]
        content = "".join(choice["delta"].get("content") or "" for choice in choices)
        finish = choices[-1]["finish_reason"]
    else:
        (choice,) = post(url, body).json()["choices"]
        content, finish = choice["message"]["content"], choice["finish_reason"]
        assert choice["message"]["reasoning_content"] == usual["message"]["reasoning_content"]
    assert content == usual["message"]["content"].partition(stop)[0]
    assert finish == "stop"
    assert "stop" not in upstream.generations()[-1].body
    post(url, {**body, "model": "toy:direct"})
    assert upstream.generations()[-1].body["stop"] == [stop]


def test_numbers_that_json_does_not_have_and_packed_bodies_are_refused(start: Start) -> None:
    import gzip

    url = f"{start()}/v1/chat/completions"
    kind = {"content-type": "application/json"}
    body = json.dumps(chat()).encode()
    for wrong in (b"NaN", b"Infinity", b"-Infinity"):
        raw = body[:-1] + b', "x": ' + wrong + b"}"
        answer = httpx.post(url, content=raw, headers=kind)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid-json")
    packed = httpx.post(
        url, content=gzip.compress(body), headers=kind | {"content-encoding": "gzip"}
    )
    assert packed.status_code == 415


TOOLS = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}]
SCHEMA = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}


@pytest.mark.parametrize("wish", [{"tools": TOOLS}, {"response_format": SCHEMA}])
@pytest.mark.parametrize("structured", ["as-is", "direct", "reasoning"])
def test_tools_and_schemas_follow_the_stated_rule(
    start: Start, upstream: UpstreamServer, structured: Any, wish: dict[str, Any]
) -> None:
    answer = post(start(rules=Rules(structured=structured)), chat(**wish))
    assert answer.status_code == 200
    sent = upstream.generations()[-1].body
    assert {name: sent[name] for name in wish} == wish
    if structured == "as-is":
        assert "chat_template_kwargs" not in sent
        assert answer.headers["x-thinkroute-arm"] == "toy:as-is"
        assert "x-thinkroute-p" not in answer.headers
    else:
        thinks = structured == "reasoning"
        assert sent["chat_template_kwargs"] == {"enable_thinking": thinks}
    if "tools" in wish:
        (call,) = answer.json()["choices"][0]["message"]["tool_calls"]
        assert call["function"]["name"] == "add"


def test_results_of_tools_are_passed_on_in_the_same_mode(
    start: Start, upstream: UpstreamServer
) -> None:
    turns = [
        {"role": "user", "content": "add 1 and 2"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "c", "type": "function", "function": {"name": "add", "arguments": "{}"}}
            ],
        },
        {"role": "tool", "tool_call_id": "c", "content": "3"},
    ]
    answer = post(start(), {"model": "thinkroute", "messages": turns})
    assert answer.headers["x-thinkroute-arm"] == "toy:as-is"
    assert upstream.generations()[-1].body["messages"] == turns


def test_a_stream_comes_piece_by_piece_and_adds_up(start: Start, upstream: UpstreamServer) -> None:
    url = start()
    upstream.drip_s = 0.03
    times: list[float] = []
    pieces: list[Any] = []
    for event in events(url, chat(model="toy:reasoning@max", stream=True)):
        times.append(time.monotonic())
        pieces.append(event)
    upstream.drip_s = 0.0
    assert pieces[-1] == "[DONE]"
    assert times[-1] - times[0] > 0.1, "all pieces came at once"
    deltas = [piece["choices"][0]["delta"] for piece in pieces[:-1]]
    whole = post(url, chat(model="toy:reasoning@max")).json()["choices"][0]["message"]
    for key in ("content", "reasoning_content"):
        assert "".join(delta.get(key) or "" for delta in deltas) == whole[key]
    assert not any("reasoning" in delta for delta in deltas)


@pytest.mark.parametrize("wants", [True, False])
def test_usage_is_told_in_a_stream_to_those_who_want_it(
    start: Start, rows: Callable[[int], list[ServedRequest]], wants: bool
) -> None:
    body = chat(stream=True, stream_options={"include_usage": wants})
    told = [one for one in events(start(), body) if isinstance(one, dict) and one.get("usage")]
    assert len(told) == wants
    (row,) = rows(1)
    assert row.usage is not None
    assert row.usage.completion_tokens > 0


def test_thoughts_can_be_hidden(start: Start) -> None:
    url = start(rules=Rules(shows_thought=False))
    whole = post(url, chat(model="toy:reasoning@max")).json()
    assert "reasoning_content" not in whole["choices"][0]["message"]
    for event in events(url, chat(model="toy:reasoning@max", stream=True)):
        assert "reasoning" not in json.dumps(event)


def test_why_is_told_on_request(start: Start) -> None:
    url = start()
    answer = post(url, chat(thinkroute={"explain": True}))
    told = answer.json()["thinkroute"]
    assert told["decision_id"] == answer.headers["x-thinkroute-decision"]
    assert {one["arm"] for one in told["candidates"]} >= {"toy:direct", "toy:reasoning@max"}
    assert answer.headers["x-thinkroute-reasons"].split(",") == told["reasons"]
    last = [
        *events(
            url,
            chat(stream=True, thinkroute={"explain": True}, stream_options={"include_usage": True}),
        )
    ]
    assert any(isinstance(one, dict) and "thinkroute" in one for one in last)


def test_every_request_leaves_one_row_without_its_text(
    start: Start, rows: Callable[[int], list[ServedRequest]], tmp_path: Path, router: Router
) -> None:
    url = start()
    post(url, chat("Who is the boss of Canary?"))
    list(events(url, chat("Who is the boss of Canary?", stream=True)))
    post(url, chat(model="nope"))
    whole, streamed, refused = rows(3)
    for row in (whole, streamed):
        assert row.status == 200
        assert row.arm == router.decide("Who is the boss of Canary?").arm.name
        assert row.reference_arm == "toy:reasoning@max"
        assert row.n_attempts == 1
        assert row.added_s < row.seconds
    assert (whole.is_streamed, streamed.is_streamed) == (False, True)
    assert streamed.first_token_s is not None
    assert (refused.status, refused.error, refused.arm) == (404, "model_not_found", "")
    assert b"Canary" not in (tmp_path / "log.sqlite").read_bytes()


def test_feedback_reaches_the_log_that_drift_reads(start: Start, tmp_path: Path) -> None:
    url = start()
    told = [post(url, chat(text)).headers["x-thinkroute-decision"] for text in (EASY, HARD)]
    for name, value in zip(told, ({"outcome": "wrong"}, {"score": 0.25}), strict=True):
        assert post(url, {"decision_id": name, **value}, "/v1/feedback").status_code == 200
    with FeedbackLog.read(tmp_path / "log.sqlite") as log:
        outcomes = {one.decision_id: one.outcome for one in log.with_outcomes()}
    assert str(getattr(outcomes[told[0]], "outcome", None)) == "wrong"
    assert getattr(outcomes[told[1]], "score", None) == 0.25


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"decision_id": "x", "outcome": "correct"}, 404),
        ({"decision_id": "x"}, 400),
        ({"decision_id": "x", "score": 2}, 400),
        ({"decision_id": "x", "outcome": "good"}, 400),
        ({"outcome": "correct"}, 400),
    ],
)
def test_feedback_that_cannot_be_used_is_refused(
    start: Start, body: dict[str, Any], status: int
) -> None:
    answer = post(start(), body, "/v1/feedback")
    assert answer.status_code == status
    assert answer.json()["error"]["message"]


def test_a_conversation_keeps_its_mode_where_switching_does_not_pay(
    start: Start, upstream: UpstreamServer
) -> None:
    url = start()
    free = start(rules=Rules(is_sticky=False), log=None)
    history = [{"role": "user", "content": HARD + " " + "and explain. " * 400}]
    first = post(url, {"model": "toy:direct", "messages": history})
    assert first.headers["x-thinkroute-arm"] == "toy:direct"
    history += [{"role": "assistant", "content": "12"}, {"role": "user", "content": HARD}]
    later = {"model": "thinkroute", "messages": history, "thinkroute": {"explain": True}}
    assert post(free, later).headers["x-thinkroute-arm"] != "toy:direct"
    # An arm by name is no decision to hold on to, one of the router is.
    assert post(url, later).headers["x-thinkroute-arm"] == "toy:direct"


def test_a_switch_that_pays_is_made(start: Start) -> None:
    url = start()
    history = [{"role": "user", "content": EASY}]
    assert post(url, {"model": "toy:direct", "messages": history}).status_code == 200
    history += [{"role": "assistant", "content": "Ben"}, {"role": "user", "content": HARD}]
    answer = post(url, {"model": "thinkroute:best", "messages": history})
    assert answer.headers["x-thinkroute-arm"] != "toy:direct"


def test_a_failing_upstream_is_asked_again_and_then_told(
    start: Start, upstream: UpstreamServer, rows: Callable[[int], list[ServedRequest]]
) -> None:
    url = start()
    upstream.faults = [Fault(status=503)]
    assert post(url, chat()).status_code == 200
    upstream.faults = [Fault(status=500), Fault(status=500)]
    failed = post(url, chat())
    assert failed.status_code == 502
    assert failed.json()["error"]["code"]
    good, bad = rows(2)
    assert (good.n_attempts, bad.n_attempts) == (2, 2)
    assert (good.error, bad.error) == ("", "backend-nonsense")
    assert bad.arm == good.arm
    assert bad.added_s < bad.seconds


def test_the_clients_own_mistakes_are_told_in_the_servers_words(
    start: Start, upstream: UpstreamServer
) -> None:
    url = start()
    said = {"error": {"message": "max_tokens is too large", "type": "BadRequestError", "code": 400}}
    upstream.faults = [Fault(status=400, document=json.dumps(said).encode())]
    answer = post(url, chat())
    assert answer.status_code == 400
    assert answer.json() == said
    assert len(upstream.generations()) == 1


def test_our_key_that_is_refused_is_not_the_clients_affair(
    start: Start, upstream: UpstreamServer
) -> None:
    upstream.faults = [Fault(status=401)]
    answer = post(start(), chat())
    assert answer.status_code == 502


def test_a_limit_of_the_upstream_is_told_with_its_pause(
    start: Start, upstream: UpstreamServer
) -> None:
    upstream.fault = lambda seen: Fault(status=429, headers={"retry-after": "7"})
    answer = post(start(), chat())
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) >= 1


@pytest.mark.parametrize("breaks", ["cut", "reset"])
def test_a_stream_that_breaks_ends_in_an_error_and_no_done(
    start: Start, upstream: UpstreamServer, rows: Callable[[int], list[ServedRequest]], breaks: Any
) -> None:
    url = start(retry=RetrySettings(max_retries=0))
    upstream.faults = [Fault(breaks=breaks)]
    if breaks == "reset":
        answer = post(url, chat(stream=True))
        assert answer.status_code in (502, 503)
        assert answer.json()["error"]
    else:
        *_, last = events(url, chat(stream=True))
        assert "error" in last
    (row,) = rows(1)
    assert row.error


def test_a_client_that_leaves_stops_the_upstream(
    start: Start, upstream: UpstreamServer, rows: Callable[[int], list[ServedRequest]]
) -> None:
    url = start()
    upstream.latency_s = 30.0
    for stream in (False, True):
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{url}/v1/chat/completions", json=chat(stream=stream), timeout=0.5)
    upstream.latency_s, upstream.drip_s = 0.0, 0.2
    for event in events(url, chat(stream=True)):
        assert event
        break
    found = rows(3)
    assert [row.error for row in found] == ["client-disconnected"] * 3
    deadline = time.monotonic() + 5
    while not all(one.is_cancelled for one in upstream.generations()):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_load_goes_to_the_server_that_has_least_of_it(
    start: Start, upstream: UpstreamServer
) -> None:
    with serving(UpstreamServer(MadeUpChat(name="toy"))) as second:
        url = start(upstream.url, second.url)
        for _ in range(12):
            assert post(url, chat()).status_code == 200
        assert len(upstream.generations()) + len(second.generations()) == 12
        assert min(len(upstream.generations()), len(second.generations())) >= 1


def test_readiness_follows_the_upstreams(start: Start, upstream: UpstreamServer) -> None:
    url = start(
        breaker=BreakerSettings(n_failures=1, open_s=60), retry=RetrySettings(max_retries=0)
    )
    assert httpx.get(f"{url}/readyz").status_code == 200
    upstream.fault = lambda seen: Fault(status=500)
    upstream.health_status = 500
    post(url, chat())
    assert httpx.get(f"{url}/readyz").status_code == 503
    assert httpx.get(f"{url}/healthz").status_code == 200
    refused = post(url, chat())
    assert refused.status_code == 503
    assert int(refused.headers["retry-after"]) >= 1


def test_too_many_at_once_are_told_to_come_again(start: Start, upstream: UpstreamServer) -> None:
    import concurrent.futures

    url = start(gate=GateLimits(max_in_flight=2, max_waiting=1))
    upstream.latency_s = 0.3
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(post, [url] * 8, [chat()] * 8))
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses.count(200) >= 3
    assert statuses[-1] == 429
    assert upstream.most_in_flight <= 2
    assert all("retry-after" in answer.headers for answer in answers if answer.status_code == 429)


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (chat(max_tokens=9999), 400, "max_tokens is 9999, 1000 are allowed"),
        (chat("x" * 3000), 413, "3,000 bytes of text, 2,000 are allowed"),
        (chat(messages=[]), 400, "messages"),
        (chat(messages=[{"role": "robot", "content": "x"}]), 400, "messages[0].role"),
        (chat(temperature="hot"), 400, "temperature"),
        (chat(thinkroute={"budget": "some"}), 400, "budget"),
        ({"messages": []}, 400, "model"),
    ],
)
def test_bad_requests_get_one_clear_line(
    start: Start, upstream: UpstreamServer, body: dict[str, Any], status: int, said: str
) -> None:
    answer = post(start(rules=Rules(max_output_tokens=1000, max_prompt_bytes=2000)), body)
    assert answer.status_code == status
    message = answer.json()["error"]["message"]
    assert said in message
    assert "\n" not in message
    assert not upstream.generations()


def test_bodies_that_are_no_requests_are_refused_before_they_are_read(start: Start) -> None:
    url = f"{start(max_body_bytes=1000)}/v1/chat/completions"
    json_type = {"content-type": "application/json"}
    assert httpx.post(url, content=b"x" * 2000, headers=json_type).status_code == 413
    assert httpx.post(url, content=iter([b"x" * 600] * 3), headers=json_type).status_code == 413
    assert httpx.post(url, content=b"{}", headers={"content-type": "text/plain"}).status_code == 415
    assert httpx.post(url, content=b"{", headers=json_type).status_code == 400
    assert httpx.post(url, content=b"[]", headers=json_type).status_code == 400
    assert httpx.post(url, content=b'{"a":' * 100_000, headers=json_type).status_code == 413
    assert httpx.get(url).status_code == 405
    assert httpx.get(url.replace("chat", "chit")).json()["error"]["code"] == "not-found"


def test_pages_of_other_sites_do_not_reach_it(start: Start) -> None:
    url = start()
    for path in ("/healthz", "/v1/models", "/"):
        assert httpx.get(f"{url}{path}", headers={"host": "evil.example"}).status_code == 421
    answer = httpx.options(
        f"{url}/v1/chat/completions",
        headers={"origin": "https://evil.example", "access-control-request-method": "POST"},
    )
    assert "access-control-allow-origin" not in answer.headers
    named = start(hosts=["router.example"], log=None)
    assert httpx.get(f"{named}/healthz", headers={"host": "router.example"}).status_code == 200


def test_completions_of_a_models_own_name_are_passed_on_as_they_are(
    start: Start, upstream: UpstreamServer
) -> None:
    body = {"model": "toy", "prompt": "def f(", "suffix": ")", "echo": True, "max_tokens": 3}
    answer = post(start(), body, "/v1/completions")
    assert answer.status_code == 200
    assert answer.headers["x-thinkroute-arm"] == "toy:raw"
    seen = upstream.generations()[-1]
    assert (seen.path, seen.body) == ("/v1/completions", body)


def test_prompts_that_were_answered_before_one_failed_are_logged_with_their_tokens(
    start: Start, upstream: UpstreamServer, rows: Callable[[int], list[ServedRequest]]
) -> None:
    upstream.fault = lambda seen: Fault(status=500 if HARD in seen.raw.decode() else 200)
    url = start(retry=RetrySettings(max_retries=0))
    answer = post(url, {"model": "thinkroute", "prompt": [EASY, HARD]}, "/v1/completions")
    assert answer.status_code == 502
    found = rows(2)
    assert {row.status for row in found} == {502}
    assert {row.error for row in found} == {answer.json()["error"]["code"]}
    assert sorted(row.usage is not None for row in found) == [False, True]


def test_completions_of_the_router_are_questions(start: Start, upstream: UpstreamServer) -> None:
    answer = post(start(), {"model": "thinkroute", "prompt": [EASY, HARD]}, "/v1/completions")
    assert [choice["index"] for choice in answer.json()["choices"]] == [0, 1]
    assert {seen.path for seen in upstream.generations()} == {"/v1/chat/completions"}


def test_responses_are_answered_and_streamed(start: Start) -> None:
    url = start()
    whole = post(url, {"model": "toy:reasoning@max", "input": HARD}, "/v1/responses").json()
    assert [item["type"] for item in whole["output"]] == ["reasoning", "message"]
    with httpx.stream(
        "POST",
        f"{url}/v1/responses",
        json={"model": "toy:reasoning@max", "input": HARD, "stream": True},
    ) as response:
        told = [json.loads(line[6:]) for line in response.iter_lines() if line.startswith("data: ")]
    assert told[0]["type"] == "response.created"
    assert told[-1]["type"] == "response.completed"
    text = [item["content"][0]["text"] for item in whole["output"]]
    assert [item["content"][0]["text"] for item in told[-1]["response"]["output"]] == text
