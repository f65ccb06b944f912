"""The `llm` command on the server, told of it by its file of extra models."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.router.server.clients.pocket_chats import EXPRESSION, VALUE
from tests.router.server.clients.served_process import ServedProcess
from tests.router.server.clients.tool_venvs import program_of, run_tool

pytestmark = [pytest.mark.clients, pytest.mark.timeout(300)]

Llm = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def llm(server: ServedProcess, tmp_path: Path) -> Llm:
    """Run `llm ARGUMENTS`, which knows the server by each of the three APIs."""
    program = program_of("llm", "llm")
    models = [
        {"model_id": "chat", "model_name": "thinkroute:best"},
        {"model_id": "responses", "model_name": "thinkroute:best", "responses": True},
        {"model_id": "completion", "model_name": "thinkroute:best", "completion": True},
        {"model_id": "gone", "model_name": "gone"},
    ]
    reached = [{**model, "api_base": server.base_url} for model in models]
    # JSON is YAML.
    (tmp_path / "extra-openai-models.yaml").write_text(json.dumps(reached), encoding="utf-8")

    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return run_tool([program, *arguments], tmp_path, {"LLM_USER_PATH": str(tmp_path)})

    return run


@pytest.mark.parametrize("how", [[], ["--no-stream"]], ids=["streamed", "whole"])
@pytest.mark.parametrize("api", ["chat", "responses", "completion"])
def test_it_prints_the_answer(llm: Llm, api: str, how: list[str]) -> None:
    done = llm("-m", api, *how, EXPRESSION)
    assert (done.returncode, done.stdout.strip()) == (0, f"Answer: {VALUE}"), done.stderr


def test_it_prints_thoughts_as_thoughts(llm: Llm) -> None:
    done = llm("-m", "responses", EXPRESSION)  # Of chats, it reads no thoughts.
    assert "3*8=4" in done.stderr
    assert "3*8=4" not in done.stdout


def test_it_sends_options_and_a_system_prompt(llm: Llm) -> None:
    done = llm(
        *("-m", "chat", "-s", "Be short.", "-o", "temperature", "0", "-o", "seed", "1"), EXPRESSION
    )
    assert (done.returncode, done.stdout.strip()) == (0, f"Answer: {VALUE}"), done.stderr


def test_it_goes_on_with_a_conversation_and_knows_what_it_took(llm: Llm) -> None:
    assert llm("-m", "chat", "Hello").returncode == 0
    assert llm("-c", EXPRESSION).returncode == 0
    logged = json.loads(llm("logs", "-n", "2", "--json").stdout)
    assert len({one["conversation_id"] for one in logged}) == 1
    first, second = logged
    assert second["input_tokens"] > first["input_tokens"] > 0
    assert second["output_tokens"] > 0


def test_it_shows_why_a_model_is_refused(llm: Llm) -> None:
    done = llm("-m", "gone", "Hello")
    assert done.returncode == 1
    assert "there is no model 'gone'" in done.stderr
