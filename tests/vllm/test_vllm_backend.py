"""The `openai` backend, its contract and its probe against a real vLLM server.

Needs `.venv-vllm` (scripts/make_venv_vllm.sh) and a pocket model as safetensors: the folder that
THINKROUTE_POCKET_DIR names, or `models/pocket-m` of this repository.
"""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from policies import (
    BackendRequestError,
    Capability,
    Completion,
    FinishReason,
    GenerationRequest,
    UnknownNameError,
    user_message,
)
from policies.backends.openai import OpenAIBackend
from policies.backends.probe import probe
from policies.contract import check_backend
from tests.vllm.serving import PYTHON, ROOT, VllmServer, log_tail, serve_vllm

pytestmark = pytest.mark.vllm

BUDGETS = (0, 1, 3, 8, 16)
PROMPTS = [
    "Compute mod ten, left to right: 7+5*3+2*4",
    "Compute mod ten, left to right: 4*8+1*9+3*3",
    "Compute mod ten, left to right: 2+2+2+2+2",
]
NEEDED = frozenset({Capability.THINKING_SWITCH, Capability.HARD_BUDGET})


@pytest.fixture(scope="module")
def model_directory() -> Path:
    named = os.environ.get("THINKROUTE_POCKET_DIR")
    directory = Path(named) if named else ROOT / "models" / "pocket-m"
    if not list(directory.glob("*.safetensors")):
        pytest.skip(f"no safetensors in {directory}")
    if not PYTHON.exists():
        pytest.skip(f"{PYTHON} is missing: run scripts/make_venv_vllm.sh")
    return directory


@pytest.fixture(scope="module")
def server(model_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[VllmServer]:
    log = tmp_path_factory.mktemp("vllm") / "server.log"
    with serve_vllm(model_directory, log) as running:
        yield running


@pytest.fixture
async def backend(server: VllmServer) -> Any:
    connected = OpenAIBackend(server.model, server.base_url, max_retries=0, timeout_s=120)
    yield connected
    await connected.aclose()


async def ask(backend: OpenAIBackend, prompt: str, **changes: Any) -> Completion:
    fields: dict[str, Any] = {"max_tokens": 256, **changes}
    return await backend.generate(GenerationRequest(user_message(prompt), **fields))


async def test_the_backend_keeps_its_contract(backend: OpenAIBackend, server: VllmServer) -> None:
    report = await check_backend(backend, budgets=BUDGETS)
    assert report.failures == (), log_tail(server.log)
    assert report.skipped == ()


async def test_the_probe_finds_everything(backend: OpenAIBackend, model_directory: Path) -> None:
    report = await probe(backend, NEEDED)
    assert report.unsure == ()
    assert report.server["served_root"] == str(model_directory)
    assert backend.identity()["server_version"]


async def test_the_thought_is_split_out(backend: OpenAIBackend) -> None:
    completion = await ask(backend, PROMPTS[0], thinking=True)
    assert completion.thinking
    assert completion.thinking_closed
    assert completion.usage.thinking_tokens
    assert completion.usage.thinking_tokens < completion.usage.completion_tokens
    direct = await ask(backend, PROMPTS[0])
    assert (direct.thinking, direct.usage.thinking_tokens) == (None, 0)


@pytest.mark.parametrize("budget", BUDGETS)
async def test_a_budget_cuts_the_thought_and_changes_nothing_before_it(
    backend: OpenAIBackend, budget: int
) -> None:
    for prompt in PROMPTS:
        free, cut = await asyncio.gather(
            ask(backend, prompt, thinking=True),
            ask(backend, prompt, thinking=True, thinking_budget=budget),
        )
        assert free.usage.thinking_tokens is not None
        n_thinking = min(budget, free.usage.thinking_tokens)
        assert cut.usage.thinking_tokens == n_thinking
        assert free.token_ids is not None
        assert cut.token_ids is not None
        # The first token opens the thought.
        assert cut.token_ids[: 1 + n_thinking] == free.token_ids[: 1 + n_thinking]
        assert cut.thinking_closed


async def test_a_thought_cut_by_the_cap_has_no_answer(backend: OpenAIBackend) -> None:
    completion = await ask(backend, PROMPTS[0], thinking=True, max_tokens=6)
    assert completion.finish_reason is FinishReason.LENGTH
    assert (completion.thinking_closed, completion.text) == (False, "")


async def test_evidence_leaves_the_thought_out(backend: OpenAIBackend) -> None:
    thinking = await ask(backend, PROMPTS[0], thinking=True, logprobs=True)
    assert thinking.evidence is not None
    assert thinking.evidence.min_logprob <= thinking.evidence.mean_logprob <= 0


async def test_a_prompt_beyond_the_context_is_refused_with_the_servers_words(
    backend: OpenAIBackend,
) -> None:
    with pytest.raises(BackendRequestError, match="1024"):
        await ask(backend, PROMPTS[0], max_tokens=4000)


async def test_a_wrong_model_is_told_with_what_is_served(server: VllmServer) -> None:
    stranger = OpenAIBackend("pocke", server.base_url, max_retries=0)
    with pytest.raises(UnknownNameError, match="did you mean 'pocket'"):
        await probe(stranger)
    with pytest.raises(BackendRequestError, match="pocke") as caught:
        await ask(stranger, PROMPTS[0])
    await stranger.aclose()
    assert caught.value.status_code == 404
