"""What clients and upstreams do wrong, and what it must not cost."""

import contextlib
import json
import time
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest

from policies import ConfigError, Mode
from router import BackendSpec, Conditions, Objective, Router
from router.server import KeySettings, Rules, ServedRequest, Server, ServerSettings
from router.server.decision_log import read_log
from router.server.upstreams import BreakerSettings, RetrySettings
from tests.servers.made_up_chat import MadeUpChat
from tests.servers.served import listening
from tests.servers.upstream import Fault, UpstreamServer, serving

KEY = "sk-team"
BEARER = {"authorization": f"Bearer {KEY}"}
HARD = "Compute, left to right: 1+2*3-4*5+6"


def key(**caps: Any) -> dict[str, KeySettings]:
    digest = sha256(KEY.encode()).hexdigest()
    return {"team": KeySettings.model_validate({"sha256": digest, **caps})}


@contextlib.contextmanager
def served(router: Router, tmp_path: Path, **settings: Any) -> Any:
    """Serve; yield the server, its address and the upstream."""
    with serving(UpstreamServer(MadeUpChat(name="toy"))) as upstream:
        options = {"base_url": upstream.url, "dialect": "vllm"}
        usual: dict[str, Any] = {
            "reached": {"toy": BackendSpec("openai", options)},
            "log": str(tmp_path / "log.sqlite"),
            "retry": RetrySettings(max_retries=0),
            "breaker": BreakerSettings(check_every_s=0, n_failures=100, failure_share=1.0),
        }
        server = Server(router, ServerSettings(**(usual | settings)))
        with listening(server) as url:
            yield server, url, upstream


def rows(tmp_path: Path, n: int) -> list[ServedRequest]:
    deadline = time.monotonic() + 10
    found: list[ServedRequest] = []
    while len(found) < n and time.monotonic() < deadline:
        time.sleep(0.05)
        with contextlib.closing(read_log(tmp_path / "log.sqlite")) as log:
            found = [row.request for row in log.served()]
    assert len(found) == n
    return found


def chat(text: str = HARD, model: str = "thinkroute", **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": text}], **more}


def post(url: str, body: Any, path: str = "/v1/chat/completions", **headers: str) -> httpx.Response:
    return httpx.post(f"{url}{path}", json=body, headers=headers, timeout=30)


def idle(server: Server) -> bool:
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        if server.gate.n_in_flight == 0 and not len(server.working):
            return True
        time.sleep(0.02)
    return False


def leave_early(url: str, body: dict[str, Any]) -> None:
    with httpx.stream(
        "POST", f"{url}/v1/chat/completions", json={**body, "stream": True}, headers=BEARER
    ) as answer:
        next(answer.iter_lines())


def test_who_leaves_before_the_bill_pays_all_the_same(router: Router, tmp_path: Path) -> None:
    with served(router, tmp_path, keys=key(max_tokens=200)) as (server, url, upstream):
        upstream.drip_s = 0.02
        body = chat(model="toy:reasoning@max")
        for _ in range(3):
            with contextlib.suppress(httpx.HTTPError):
                leave_early(url, body)
            assert idle(server)
        upstream.drip_s = 0.0
        assert post(url, body, **BEARER).status_code == 429


def test_texts_that_are_not_counted_are_not_for_keys_with_caps(
    router: Router, tmp_path: Path
) -> None:
    raw = {"model": "toy", "prompt": "def f(", "max_tokens": 50}
    with served(router, tmp_path, keys=key(max_tokens=1000)) as (_, url, upstream):
        assert post(url, raw, "/v1/completions", **BEARER).status_code == 403
        assert not upstream.generations()
    limits = Rules(max_output_tokens=10)
    with served(router, tmp_path, keys=key(), rules=limits) as (_, url, _up):
        assert post(url, raw, "/v1/completions", **BEARER).status_code == 400


def test_many_prompts_are_many_requests_one_after_the_other(router: Router, tmp_path: Path) -> None:
    many = {"model": "thinkroute", "prompt": [HARD] * 8}
    with served(router, tmp_path, keys=key(max_requests=8)) as (_, url, upstream):
        upstream.latency_s = 0.02
        assert post(url, many, "/v1/completions", **BEARER).status_code == 200
        assert upstream.most_in_flight == 1
        assert post(url, many, "/v1/completions", **BEARER).status_code == 429


@pytest.mark.parametrize("usage", [-1, 2**70])
def test_counts_that_cannot_be_true_leak_nothing(
    router: Router, tmp_path: Path, usage: int
) -> None:
    document = {
        "id": "x",
        "object": "chat.completion",
        "created": 1,
        "model": "toy",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "4"}, "finish_reason": "stop"}
        ],
        "usage": {"prompt_tokens": usage, "completion_tokens": usage, "total_tokens": usage},
    }
    with served(router, tmp_path) as (server, url, upstream):
        upstream.faults = [Fault(document=json.dumps(document).encode())]
        post(url, chat())
        assert idle(server)
        assert len(rows(tmp_path, 1)) == 1


@pytest.mark.parametrize("said", ["\ud83d", "ok"])
def test_halves_of_letters_reach_the_client_as_they_came(
    router: Router, tmp_path: Path, said: str
) -> None:
    document = MadeUpChat("toy").chat(chat())
    document["choices"][0]["message"]["content"] = said
    with served(router, tmp_path) as (_, url, upstream):
        upstream.faults = [Fault(document=json.dumps(document).encode())]
        answer = post(url, chat())
        assert answer.status_code == 200
        assert json.loads(answer.content)["choices"][0]["message"]["content"] == said


@pytest.mark.parametrize("raw", ['{"choices": []}', '{"choices": [{}]}', '{"choices": [3]}', "[]"])
def test_an_answer_that_is_none_is_none_in_the_log_too(
    router: Router, tmp_path: Path, raw: str
) -> None:
    with served(router, tmp_path) as (_, url, upstream):
        upstream.faults = [Fault(document=raw.encode())] * 3
        status = post(url, {"model": "thinkroute", "input": HARD}, "/v1/responses").status_code
        assert status == 502
        (row,) = rows(tmp_path, 1)
        assert row.status == 502


def test_caps_that_could_never_bind_are_refused_at_the_start(
    router: Router, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="price"), served(router, tmp_path, keys=key(max_usd=1.0)):
        pass
    wrong = key(max_dear_share=0.5, dear_arms=["toy:reasonign@max"])
    with pytest.raises(ConfigError, match="reasonign"), served(router, tmp_path, keys=wrong):
        pass


def test_tools_are_no_way_around_the_share_of_dear_arms(router: Router, tmp_path: Path) -> None:
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    with served(router, tmp_path, keys=key(max_dear_share=0.0)) as (_, url, upstream):
        assert post(url, chat(tools=tools), **BEARER).status_code == 429
        assert not upstream.generations()


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_numbers_that_no_log_holds_are_refused(router: Router, tmp_path: Path, name: str) -> None:
    with served(router, tmp_path) as (_, url, _up):
        assert post(url, {**chat(), name: 10**30}).status_code == 400
        for raw in (b"1e999", b"-1e999"):
            body = json.dumps(chat()).encode()[:-1] + b', "x": ' + raw + b"}"
            kind = {"content-type": "application/json"}
            answer = httpx.post(f"{url}/v1/chat/completions", content=body, headers=kind)
            assert answer.status_code == 400
        digits = {"x-thinkroute-budget": "9" * 5000}
        assert post(url, chat(), **digits).status_code == 400
        assert len(rows(tmp_path, 4)) == 4


def test_a_slash_too_many_leads_nowhere(router: Router, tmp_path: Path) -> None:
    with served(router, tmp_path, hosts=["evil.example"]) as (_, url, _up):
        answer = post(url, chat(), "/v1/chat/completions/", host="evil.example")
        assert answer.status_code == 404
        assert "location" not in answer.headers


def test_a_stop_ends_the_upstreams_work(router: Router, tmp_path: Path) -> None:
    words = " ".join(f"w{i}" for i in range(40))
    with served(router, tmp_path) as (server, url, upstream):
        upstream.drip_s = 0.02
        body = chat(words, "toy:reasoning@max", stop=["w3"], stream=True)
        answer = post(url, body)
        assert answer.text.rstrip().endswith("[DONE]")
        assert "w5" not in answer.text
        assert idle(server)
        deadline = time.monotonic() + 5
        while not upstream.generations()[-1].is_cancelled:
            assert time.monotonic() < deadline
            time.sleep(0.02)


async def test_a_cap_on_generated_tokens_is_not_used_up_by_what_is_read(router: Router) -> None:
    alone = Conditions(objective=Objective.within(50))
    kept = replace(alone, more_bytes=4000, cached=("toy", Mode.REASONING))
    free = (await router.admit("Who is the boss of Ada?", alone)).decision
    sticky = (await router.admit("Who is the boss of Ada?", kept)).decision
    assert sticky.chosen.tokens <= 50
    assert free.chosen.tokens <= 50


async def test_an_arm_that_was_named_is_not_called_kept(router: Router) -> None:
    named = Conditions(
        among=frozenset({"toy:direct"}), more_bytes=4000, cached=("toy", Mode.REASONING)
    )
    decision = (await router.admit(HARD, named)).decision
    assert "conversation-kept" not in decision.reasons
    assert "arms-restricted" in decision.reasons


def test_clients_cannot_make_the_router_remember_without_end(router: Router) -> None:
    for i in range(1100):
        router.decide("Hi", objective=Objective.on_average(1e9 + i, "flops"))
    assert len(router._decider._resolved) <= 1000
