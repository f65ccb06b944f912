"""`advisor serve` in front of a real vLLM server: modes, budgets, streams, schemas, the log."""

import contextlib
import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from calibration import load_tasks
from router import BackendSpec, default_router
from router.server import Server, ServerSettings
from router.server.decision_log import read_log
from tests.servers.served import listening
from tests.vllm.serving import PYTHON, ROOT, VllmServer, serve_vllm

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(600)]

MODEL = "pocket-m"
PROMPTS = [q.prompt for task in load_tasks(["pocket"], limit=5, seed=11) for q in task.questions]


@pytest.fixture(scope="module")
def vllm(tmp_path_factory: pytest.TempPathFactory) -> Generator[VllmServer]:
    if not PYTHON.exists():
        pytest.skip(f"{PYTHON} is missing: run scripts/make_venv_vllm.sh")
    log = tmp_path_factory.mktemp("vllm") / "server.log"
    with serve_vllm(ROOT / "models" / MODEL, log, model=MODEL) as running:
        yield running


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("log") / "decisions.sqlite"


@pytest.fixture(scope="module")
def url(vllm: VllmServer, log: Path) -> Generator[str]:
    options = {"base_url": vllm.base_url, "dialect": "vllm"}
    settings = ServerSettings(reached={MODEL: BackendSpec("openai", options)}, log=str(log))
    with listening(Server(default_router(), settings)) as address:
        yield address


@pytest.fixture
def client(url: str) -> Generator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="-", max_retries=0) as made:
        yield made


def ask(client: openai.OpenAI, prompt: str, model: str, **more: Any) -> Any:
    given: dict[str, Any] = {"temperature": 0.0, "max_tokens": 300, **more}
    messages: Any = [{"role": "user", "content": prompt}]
    return client.chat.completions.create(model=model, messages=messages, **given)


def test_answers_are_those_of_the_router_on_the_embedded_model(client: openai.OpenAI) -> None:
    router = default_router()
    n_same = 0
    for prompt in PROMPTS:
        answer = ask(client, prompt, "thinkroute")
        # The engine leaves the line breaks after a thought where they are, and so do we.
        n_same += answer.choices[0].message.content.strip() == router.complete(prompt).text
    # The same weights in another runtime: greedy answers part at ties.
    assert n_same >= 0.9 * len(PROMPTS)


@pytest.mark.parametrize(("arm", "most"), [("direct", 0), ("reasoning@8", 8), ("reasoning@16", 16)])
def test_modes_and_budgets_are_kept_by_the_engine(
    client: openai.OpenAI, arm: str, most: int
) -> None:
    for prompt in PROMPTS[:6]:
        answer = ask(client, prompt, f"{MODEL}:{arm}")
        details = answer.usage.completion_tokens_details
        thought = 0 if details is None else details.reasoning_tokens or 0
        assert thought <= most
        message = answer.choices[0].message
        assert message.content
        assert bool(getattr(message, "reasoning_content", None)) == (most > 0)


def test_a_stream_says_what_the_whole_says(client: openai.OpenAI) -> None:
    arm = f"{MODEL}:reasoning@max"
    whole = ask(client, PROMPTS[0], arm).choices[0].message
    options = {"include_usage": True}
    pieces = list(ask(client, PROMPTS[0], arm, stream=True, stream_options=options))
    deltas = [piece.choices[0].delta for piece in pieces if piece.choices]
    assert "".join(delta.content or "" for delta in deltas) == whole.content
    thought = "".join(getattr(delta, "reasoning_content", None) or "" for delta in deltas)
    assert thought == whole.reasoning_content
    assert pieces[-1].usage.completion_tokens > 0
    assert len(pieces) > 5


def test_a_schema_reaches_the_engine_with_the_mode_left_alone(client: openai.OpenAI) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema, "strict": True}}
    raw = client.chat.completions.with_raw_response.create(
        model="thinkroute",
        messages=[{"role": "user", "content": PROMPTS[0]}],
        response_format=wanted,  # type: ignore[arg-type]
        max_tokens=40,
    )
    assert raw.headers["x-thinkroute-arm"] == f"{MODEL}:as-is"
    assert raw.parse().choices[0].finish_reason in ("stop", "length")


def test_several_samples_and_logprobs_pass_through(client: openai.OpenAI) -> None:
    answer = ask(
        client,
        PROMPTS[0],
        f"{MODEL}:direct",
        n=3,
        temperature=1.0,
        seed=5,
        logprobs=True,
        top_logprobs=2,
    )
    assert len(answer.choices) == 3
    assert all(choice.logprobs.content for choice in answer.choices)


def test_the_other_apis_are_answered(client: openai.OpenAI) -> None:
    response = client.responses.create(model="thinkroute:best", input=PROMPTS[0])
    assert response.output_text.strip().startswith("Answer:")
    routed = client.completions.create(model="thinkroute", prompt=PROMPTS[0])
    assert routed.choices[0].text.strip().startswith("Answer:")
    raw = client.completions.create(model=MODEL, prompt=PROMPTS[0], max_tokens=4, temperature=0)
    assert raw.usage is not None
    assert raw.usage.completion_tokens <= 4


def test_what_the_engine_refuses_is_told_in_its_words(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        ask(client, PROMPTS[0], f"{MODEL}:direct", max_tokens=100_000)
    assert "1024" in str(refused.value)


def test_every_request_has_left_its_row(url: str, log: Path) -> None:
    body = {"model": "thinkroute", "messages": [{"role": "user", "content": PROMPTS[0]}]}
    answer = httpx.post(f"{url}/v1/chat/completions", json=body, timeout=60)
    told = answer.headers["x-thinkroute-decision"]
    score = {"decision_id": told, "outcome": "correct"}
    assert httpx.post(f"{url}/v1/feedback", json=score, timeout=60).status_code == 200
    with contextlib.closing(read_log(log)) as opened:
        names = [row.request.decision_id for row in opened.served()]
    assert names.count(told) == 1
    assert len(set(names)) == len(names)
    assert json.loads(httpx.get(f"{url}/readyz").text)["ready"]
