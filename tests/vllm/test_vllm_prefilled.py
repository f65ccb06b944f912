"""Budgets of a chat template that opens the thought itself: `<think>` and a line break."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from calibration.tasks import load_tasks
from policies import Capability, Completion, GenerationRequest, user_message
from policies.backends.openai import OpenAIBackend
from policies.backends.probe import probe
from tests.vllm.serving import PYTHON, ROOT, VllmServer, serve_vllm

pytestmark = pytest.mark.vllm

EMPTY_THOUGHT = "{{- '<think>\\n\\n</think>\\n\\n' -}}"
BUDGETS = (1, 4, 8, 16, 32)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VllmServer]:
    model = ROOT / "models" / "pocket-m"
    if not PYTHON.exists():
        pytest.skip(f"{PYTHON} is missing: run scripts/make_venv_vllm.sh")
    folder = tmp_path_factory.mktemp("vllm")
    template = (model / "chat_template.jinja").read_text("utf-8")
    assert EMPTY_THOUGHT in template
    opening = f"{EMPTY_THOUGHT}\n{{%- else -%}}\n{{{{- '<think>\\n' -}}}}"
    prefilled = folder / "template.jinja"
    prefilled.write_text(template.replace(EMPTY_THOUGHT, opening), "utf-8")
    flags = ("--chat-template", str(prefilled))
    with serve_vllm(model, folder / "server.log", flags=flags) as running:
        yield running


@pytest.fixture
async def backend(server: VllmServer) -> Any:
    connected = OpenAIBackend(server.model, server.base_url, max_retries=0, timeout_s=120)
    yield connected
    await connected.aclose()


async def ask(backend: OpenAIBackend, prompt: str, **changes: Any) -> Completion:
    fields: dict[str, Any] = {"max_tokens": 300, "thinking": True, **changes}
    return await backend.generate(GenerationRequest(user_message(prompt), **fields))


async def test_the_markers_are_found_in_prompt_and_answer(backend: OpenAIBackend) -> None:
    markers = await backend.thought_markers()
    assert markers.start == ()
    assert markers.n_in_prompt == 1  # the line break
    assert len(markers.end) == 1


async def test_the_probe_finds_everything(backend: OpenAIBackend) -> None:
    needed = {Capability.THINKING_SWITCH, Capability.HARD_BUDGET, Capability.PREFIX_CONTINUATION}
    assert (await probe(backend, needed)).unsure == ()


async def test_every_budget_is_replayed_from_one_trace(backend: OpenAIBackend) -> None:
    markers = await backend.thought_markers()
    tasks = load_tasks(["pocket"], limit=13, seed=7)
    n_same = n_cut = n_all = 0
    for prompt in (question.prompt for task in tasks for question in task.questions):
        free, *natives = await asyncio.gather(
            ask(backend, prompt),
            *(ask(backend, prompt, thinking_budget=budget) for budget in BUDGETS),
        )
        assert free.token_ids is not None
        for budget, native in zip(BUDGETS, natives, strict=True):
            begun = markers.cut(free.token_ids, budget)
            replayed = free
            if begun is not None:
                n_cut += 1
                replayed = await ask(backend, prompt, continuation=begun)
            n_all += 1
            is_same = native.token_ids == (*(begun or ()), *(replayed.token_ids or ()))
            n_same += is_same
            if is_same:
                assert (native.text, native.thinking) == (replayed.text, replayed.thinking)
                # A continuation counts what it was given as prompt.
                n_given = 0 if begun is None else markers.n_thinking(begun)
                assert replayed.usage.thinking_tokens is not None
                assert native.usage.thinking_tokens == n_given + replayed.usage.thinking_tokens
    figure = f"{n_same} of {n_all} equal, {n_cut} of them cut"
    assert n_cut >= n_all // 4
    assert n_same >= 0.99 * n_all, figure
