"""The server with models in this process: pocket's real weights, policies of many calls, two models."""

import concurrent.futures
import contextlib
import json
import logging
import time
from collections.abc import Generator
from dataclasses import replace
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest

from calibration import load_tasks
from router import BackendSpec, Price, Router, default_router
from router.server import KeySettings, Rules, Server, ServerSettings
from router.server.decision_log import read_log
from router.server.upstreams import BreakerSettings, RetrySettings
from tests.router.conftest import CREATED, draw_records
from tests.servers.made_up_chat import MadeUpChat
from tests.servers.served import listening
from tests.servers.upstream import Fault, UpstreamServer, serving

pytest.importorskip("onnxruntime_genai", reason="the pocket models need the extra pocket")

CANARY = "sk-canary-90aa"
PROMPTS = [q.prompt for task in load_tasks(["pocket"], limit=40, seed=3) for q in task.questions]


@pytest.fixture(scope="module")
def url() -> Generator[str]:
    with listening(Server(default_router(), ServerSettings())) as address:
        yield address


def post(url: str, body: dict[str, Any], **headers: str) -> httpx.Response:
    return httpx.post(f"{url}/v1/chat/completions", json=body, headers=headers, timeout=60)


def chat(text: str, model: str = "thinkroute", **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": text}], **more}


def streamed(url: str, body: dict[str, Any]) -> tuple[list[Any], httpx.Headers]:
    path = f"{url}/v1/chat/completions"
    with httpx.stream("POST", path, json={**body, "stream": True}, timeout=60) as response:
        lines = [line[6:] for line in response.iter_lines() if line.startswith("data: ")]
        assert lines[-1] == "[DONE]"
        return [json.loads(line) for line in lines[:-1]], response.headers


def test_answers_and_bills_are_those_of_the_router(url: str) -> None:
    router = default_router()
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(post, [url] * 40, map(chat, PROMPTS[::4])))
    for prompt, answer in zip(PROMPTS[::4], answers, strict=True):
        alone = router.complete(prompt)
        document = answer.json()
        assert document["choices"][0]["message"]["content"] == alone.text
        assert answer.headers["x-thinkroute-arm"] == alone.decision.arm.name
        assert document["usage"]["completion_tokens"] == alone.usage.completion_tokens


def test_a_first_answer_is_looked_at_and_both_calls_are_billed(url: str) -> None:
    router = default_router()
    looked = [prompt for prompt in PROMPTS if router.decide(prompt).escalation is not None]
    assert looked
    for prompt in looked:
        alone = router.complete(prompt)
        pieces, headers = streamed(url, chat(prompt, stream_options={"include_usage": True}))
        text = "".join(
            piece["choices"][0]["delta"].get("content") or ""
            for piece in pieces
            if piece["choices"]
        )
        assert text == alone.text
        assert headers["x-thinkroute-arm"] == alone.decision.arm.name
        assert pieces[-1]["usage"]["completion_tokens"] == alone.usage.completion_tokens


def test_what_a_first_answer_took_is_not_told_as_saved(url: str) -> None:
    explained = {"explain": True}
    n_escalated = 0
    for prompt in PROMPTS[::4]:
        answer = post(url, chat(prompt, "thinkroute:best", thinkroute=explained))
        why, arm = answer.json()["thinkroute"], answer.headers["x-thinkroute-arm"]
        tokens = {one["arm"]: one["tokens"] for one in why["candidates"]}
        most = tokens["pocket-m:reasoning@max"] - tokens[arm]
        told = int(answer.headers["x-thinkroute-saved-tokens"])
        if "escalated" in why["reasons"]:
            n_escalated += 1
            assert told <= most - 1
        else:
            assert told == pytest.approx(most, abs=0.5)
    assert n_escalated


@pytest.mark.parametrize("arm", ["direct", "reasoning@8", "reasoning@max"])
def test_a_stream_says_what_the_whole_says(url: str, arm: str) -> None:
    most = 0
    for prompt in PROMPTS[::20]:
        whole = post(url, chat(prompt, f"pocket-m:{arm}")).json()["choices"][0]
        pieces, _ = streamed(url, chat(prompt, f"pocket-m:{arm}"))
        choices = [piece["choices"][0] for piece in pieces]
        for key in ("content", "reasoning_content"):
            said = "".join(choice["delta"].get(key) or "" for choice in choices)
            assert said == whole["message"].get(key, "")
        assert choices[-1]["finish_reason"] == whole["finish_reason"]
        most = max(most, len(pieces))
    assert arm != "reasoning@max" or most > 5


def test_stops_end_an_answer_before_them_also_in_a_stream(url: str) -> None:
    body = chat(PROMPTS[0], "pocket-m:direct", stop=["swer", ":"], n=2)
    whole = post(url, body).json()["choices"]
    assert [choice["message"]["content"] for choice in whole] == ["An", "An"]
    pieces, _ = streamed(url, body)
    for index in range(2):
        own = [one["choices"][0] for one in pieces if one["choices"][0]["index"] == index]
        assert "".join(choice["delta"].get("content") or "" for choice in own) == "An"


@pytest.mark.parametrize("stop", ["\n\n", "=", "So", "zzz"])
def test_stops_are_the_answers_and_leave_the_thought_whole(url: str, stop: str) -> None:
    usual = post(url, chat(PROMPTS[0], "pocket-m:reasoning@max")).json()["choices"][0]
    body = chat(PROMPTS[0], "pocket-m:reasoning@max", stop=stop)
    assert post(url, body).json()["choices"][0] == usual
    pieces, _ = streamed(url, {**body, "stop": [stop, ":"]})
    deltas = [one["choices"][0]["delta"] for one in pieces]
    assert "".join(delta.get("content") or "" for delta in deltas) == "Answer"
    thought = "".join(delta.get("reasoning_content") or "" for delta in deltas)
    assert thought == usual["message"]["reasoning_content"]


@pytest.mark.parametrize(
    ("turn", "said"),
    [
        ({"content": "a\ud800"}, "messages[0].content holds half of a surrogate pair"),
        ({"content": [{"type": "text"}]}, "messages[0].content[0].text is missing"),
        ({"content": [{"type": "text", "text": 5}]}, "messages[0].content[0].text is no text"),
        ({"content": [{"type": "image_url", "image_url": "x"}]}, "image_url.url is missing"),
        ({"content": [{"type": ["text"], "text": "x"}]}, "messages can be honoured only by"),
    ],
)
def test_turns_that_cannot_be_read_are_told_by_their_place(
    url: str, turn: dict[str, Any], said: str
) -> None:
    body = json.dumps({"model": "thinkroute", "messages": [{"role": "user", **turn}]})
    headers = {"content-type": "application/json"}
    answer = httpx.post(f"{url}/v1/chat/completions", content=body, headers=headers)
    assert answer.status_code == 400
    assert said in answer.json()["error"]["message"]


def test_an_assistant_turn_without_words_is_no_obstacle(url: str) -> None:
    turns = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": None},
        {"role": "user", "content": PROMPTS[0]},
    ]
    assert post(url, {"model": "thinkroute", "messages": turns}).status_code == 200


def test_a_stream_that_fails_before_its_first_token_has_a_status(url: str) -> None:
    long = chat("word " * 2000, "pocket-m:direct", stream=True)
    answer = post(url, long)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "context_length_exceeded"


def test_what_is_no_token_of_the_model_is_the_clients_mistake(url: str) -> None:
    assert post(url, chat("Hi", "pocket-m:direct", logit_bias={"99999999": 1})).status_code == 400
    assert post(url, chat("Hi", "pocket-m:direct", logit_bias={"word": 1})).status_code == 400
    assert post(url, chat("Hi", "pocket-m:direct", temperature=5e-324)).status_code == 200


def test_a_cap_of_the_clients_ends_the_answer(url: str) -> None:
    answer = post(url, chat(PROMPTS[0], "pocket-m:direct", max_tokens=2)).json()
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["completion_tokens"] == 2


@pytest.mark.parametrize(
    "more",
    [
        {"tools": [{"type": "function", "function": {"name": "f"}}]},
        {"response_format": {"type": "json_object"}},
        {"logprobs": True},
        {"presence_penalty": 1.0},
        {"unheard_of": 1},
    ],
)
def test_what_a_model_in_this_process_cannot_do_is_refused_by_name(
    url: str, more: dict[str, Any]
) -> None:
    answer = post(url, chat(PROMPTS[0], **more))
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == next(iter(more))


@pytest.mark.parametrize(
    "more",
    [
        {"tools": [], "tool_choice": "auto", "response_format": {"type": "text"}},
        {"presence_penalty": 0, "logprobs": False, "user": "u", "metadata": {}, "logit_bias": None},
    ],
)
def test_what_asks_for_nothing_is_no_obstacle(url: str, more: dict[str, Any]) -> None:
    assert post(url, chat(PROMPTS[0], **more)).status_code == 200


def keys(**caps: Any) -> dict[str, KeySettings]:
    digest = sha256(CANARY.encode()).hexdigest()
    return {"team": KeySettings.model_validate({"sha256": digest, **caps})}


BEARER = {"authorization": f"Bearer {CANARY}"}
ADMIN = {"authorization": "Bearer admins-own"}


@cache
def router_of_two() -> Router:
    records = draw_records(300)
    others = [
        replace(one, model="spare", question_id=f"s{one.question_id}", group=f"s{one.group}")
        for one in draw_records(300, seed=1)
    ]
    prices = {"toy": Price(0.001, 0.01), "spare": Price(0.001, 0.01)}
    return Router.fit([*records, *others], created=CREATED, prices=prices)


@contextlib.contextmanager
def two_models(
    tmp_path: Path, *, own: dict[str, KeySettings] | None = None, rules: Rules | None = None
) -> Generator[tuple[str, UpstreamServer, UpstreamServer]]:
    """Serve two models, each behind a server of its own; `toy` is the better one."""
    with serving(UpstreamServer(MadeUpChat("toy"))) as first:  # noqa: SIM117
        with serving(UpstreamServer(MadeUpChat("spare"))) as second:
            reached = {
                name: BackendSpec("openai", {"base_url": server.url, "dialect": "vllm"})
                for name, server in (("toy", first), ("spare", second))
            }
            settings = ServerSettings(
                reached=reached,
                keys=own or {},
                log=str(tmp_path / "log.sqlite"),
                rules=rules or Rules(),
                retry=RetrySettings(max_retries=0),
                breaker=BreakerSettings(check_every_s=0),
            )
            with listening(Server(router_of_two(), settings)) as address:
                yield address, first, second


def test_another_model_answers_where_the_chosen_one_fails(tmp_path: Path) -> None:
    with two_models(tmp_path) as (url, first, second):
        first.fault = second.fault = lambda seen: None
        usual = post(url, chat("Who is the boss of Ada?")).headers["x-thinkroute-arm"]
        chosen, other = (first, "spare") if usual.startswith("toy") else (second, "toy")
        chosen.fault = lambda seen: Fault(status=500)
        explained = chat("Who is the boss of Ada?", thinkroute={"explain": True})
        answer = post(url, explained)
        assert answer.status_code == 200
        assert answer.headers["x-thinkroute-arm"].startswith(other)
        assert "arm-unavailable" in answer.headers["x-thinkroute-reasons"]
        # A model by name has no stand-in.
        assert post(url, chat("Hi", usual)).status_code == 502
        first.fault = second.fault = lambda seen: Fault(status=500)
        assert post(url, chat("Hi")).status_code == 502


def test_without_fallback_the_failure_is_told(tmp_path: Path) -> None:
    with two_models(tmp_path, rules=Rules(falls_back=False)) as (url, first, second):
        first.fault = second.fault = lambda seen: Fault(status=500)
        assert post(url, chat("Hi")).status_code == 502
        assert len(first.generations()) + len(second.generations()) == 1


def test_a_key_is_asked_for_and_appears_nowhere(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    admin = KeySettings(sha256=sha256(b"admins-own").hexdigest(), is_admin=True)
    with two_models(tmp_path, own={**keys(), "admin": admin}) as (url, first, _):
        assert post(url, chat("Hi")).status_code == 401
        assert httpx.get(f"{url}/v1/models").status_code == 401
        assert httpx.get(f"{url}/").status_code == 401
        assert httpx.get(f"{url}/metrics", headers=BEARER).status_code == 403
        assert httpx.get(f"{url}/readyz").status_code == 200
        answer = post(url, chat("Hi"), **BEARER)
        assert answer.status_code == 200
        assert post(url, chat("Hi", "nope"), **BEARER).status_code == 404
        counted = httpx.get(f"{url}/metrics", headers=ADMIN).text
        assert 'thinkroute_errors_total{code="invalid_api_key"} 1.0' in counted
        told = [answer.text, str(answer.headers), counted]
        for seen in first.seen:
            told += [str(seen.headers), seen.raw.decode()]
    with contextlib.closing(read_log(tmp_path / "log.sqlite")) as log:
        callers = [row.request.caller for row in log.served()]
    assert callers == ["team", "team"]  # Whoever has no key does not fill the log.
    told += [caplog.text, *capsys.readouterr()]
    assert CANARY not in "".join(told)
    assert CANARY.encode() not in (tmp_path / "log.sqlite").read_bytes()


def test_a_keys_requests_tokens_money_and_dear_arms_are_capped(tmp_path: Path) -> None:
    hard = "Compute, left to right: 1+2*3-4*5+6"
    with two_models(tmp_path, own=keys(max_requests=2)) as (url, *_):
        statuses = [post(url, chat(hard), **BEARER).status_code for _ in range(3)]
        assert statuses == [200, 200, 429]
    with two_models(tmp_path, own=keys(max_tokens=20)) as (url, *_):
        answers = [post(url, chat(hard), **BEARER) for _ in range(12)]
        assert answers[0].status_code == 200
        assert answers[-1].status_code == 429
        assert int(answers[-1].headers["retry-after"]) >= 1
    with two_models(tmp_path, own=keys(max_usd=0.05)) as (url, *_):
        answers = [post(url, chat(hard), **BEARER) for _ in range(4)]
        assert answers[-1].json()["error"]["code"] == "caller-cap"
    with two_models(tmp_path, own=keys(max_dear_share=0.25)) as (url, *_):
        arms = [post(url, chat(hard), **BEARER).headers["x-thinkroute-arm"] for _ in range(12)]
        assert sum("reasoning" in arm for arm in arms) <= 3


def test_what_calls_cost_is_in_the_log(tmp_path: Path) -> None:
    with two_models(tmp_path) as (url, *_):
        usage = post(url, chat("Who is the boss of Ada?")).json()["usage"]
    with contextlib.closing(read_log(tmp_path / "log.sqlite")) as log:
        (row,) = log.served()
    expected = 0.001 * usage["prompt_tokens"] + 0.01 * usage["completion_tokens"]
    assert row.request.usd == pytest.approx(expected)


def test_methods_of_many_calls_are_billed_whole_and_kept_alive(tmp_path: Path) -> None:
    records = [
        replace(record, policy="sc(n=3)/reasoning@max") if "max" in record.policy else record
        for record in draw_records(200)
    ]
    router = Router.fit(records, created=CREATED)
    with serving(UpstreamServer(MadeUpChat("toy"))) as upstream:
        options = {"base_url": upstream.url, "dialect": "vllm"}
        settings = ServerSettings(reached={"toy": BackendSpec("openai", options)})
        with listening(Server(router, settings)) as url:
            body = chat("Answer: 4", "toy:sc(n=3)/reasoning@max", temperature=0.5)
            answer = post(url, body)
            assert answer.status_code == 200, answer.text
            n_asked = len(upstream.generations())
            assert n_asked >= 2
            single = MadeUpChat("toy").chat(upstream.generations()[0].body)["usage"]
            total = answer.json()["usage"]["completion_tokens"]
            assert total == n_asked * single["completion_tokens"]
            upstream.latency_s = 2.5
            started = time.monotonic()
            with httpx.stream(
                "POST", f"{url}/v1/chat/completions", json={**body, "stream": True}, timeout=60
            ) as response:
                # Headers come before the vote is in.
                assert time.monotonic() - started < 2.4
                text = response.read().decode()
            assert text.rstrip().endswith("[DONE]")
            # What only a plain arm can give is refused by name.
            refused = post(url, {**body, "logprobs": True})
            assert refused.status_code == 400
            assert post(url, chat("Hi", logprobs=True)).headers["x-thinkroute-arm"] in (
                "toy:direct",
                "toy:reasoning@64",
            )
