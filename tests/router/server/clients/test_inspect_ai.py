"""Inspect on the server, by both providers that take a base URL."""

import json
from pathlib import Path

import pytest

from tests.router.server.clients.pocket_chats import pocket_questions
from tests.router.server.clients.served_process import ServedProcess
from tests.router.server.clients.tool_venvs import program_of, run_tool

pytestmark = [pytest.mark.clients, pytest.mark.timeout(300)]

N_PER_TASK = 6
TASK = """
import json
from inspect_ai import Task, task
from inspect_ai.dataset import Sample
from inspect_ai.scorer import includes
from inspect_ai.solver import generate

@task
def pocket():
    with open("questions.json") as file:
        samples = [Sample(**one) for one in json.load(file)]
    return Task(dataset=samples, solver=generate(), scorer=includes())
"""


@pytest.mark.parametrize(
    ("model", "flags"),
    [
        ("openai-api/pocket/thinkroute:best", []),
        ("openai/thinkroute:best", ["--model-base-url"]),
    ],
    ids=["openai-api by chats", "openai by responses"],
)
def test_all_questions_are_answered_with_their_thoughts(
    server: ServedProcess, tmp_path: Path, model: str, flags: list[str]
) -> None:
    program = program_of("inspect", "inspect")
    questions = {one.id: one for one in pocket_questions(N_PER_TASK)}
    (tmp_path / "pocket.py").write_text(TASK, encoding="utf-8")
    (tmp_path / "questions.json").write_text(
        json.dumps(
            [{"id": one.id, "input": one.prompt, "target": one.gold} for one in questions.values()]
        ),
        encoding="utf-8",
    )
    done = run_tool(
        [
            *(program, "eval", "pocket.py", "--model", model),
            *(part for flag in flags for part in (flag, server.base_url)),
            *("--log-dir", "logs", "--log-format", "json", "--display", "none"),
        ],
        tmp_path,
        {
            "POCKET_BASE_URL": server.base_url,
            "POCKET_API_KEY": "unused",
            "OPENAI_API_KEY": "unused",
        },
    )
    assert done.returncode == 0, done.stderr[-2000:]
    (path,) = (tmp_path / "logs").glob("*.json")
    log = json.loads(path.read_text(encoding="utf-8"))
    assert log["status"] == "success", log.get("error")
    answers: dict[str, str] = {}
    n_thoughts = 0
    for sample in log["samples"]:
        assert sample.get("error") is None
        parts = sample["output"]["choices"][0]["message"]["content"]
        texts = [parts] if isinstance(parts, str) else [p["text"] for p in parts if "text" in p]
        answers[sample["id"]] = "".join(texts)
        n_thoughts += any(p["type"] == "reasoning" for p in parts if isinstance(p, dict))
    assert answers.keys() == questions.keys()
    n_right = sum(questions[name].is_right(text) for name, text in answers.items())
    # About 0.97 each by the stored measurements; the questions are always the same.
    assert n_right >= len(questions) - 3
    assert n_thoughts > len(questions) // 2
    (usage,) = log["stats"]["model_usage"].values()
    assert 0 < usage["reasoning_tokens"] < usage["output_tokens"]
