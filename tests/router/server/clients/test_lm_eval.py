"""lm-evaluation-harness on the server, by the address that it is given."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.router.server.clients.pocket_chats import pocket_questions
from tests.router.server.clients.served_process import ServedProcess
from tests.router.server.clients.tool_venvs import program_of, run_tool

pytestmark = [pytest.mark.clients, pytest.mark.timeout(300)]

N_PER_TASK = 6


@pytest.mark.parametrize(
    ("model", "endpoint", "flags", "until"),
    [
        # Where a task does not say, the harness ends answers at an empty line.
        ("local-chat-completions", "chat/completions", ["--apply_chat_template"], None),
        ("local-completions", "completions", [], ["</s>"]),
    ],
    ids=["chats", "completions"],
)
def test_all_questions_are_answered_and_nearly_all_rightly(
    server: ServedProcess,
    tmp_path: Path,
    model: str,
    endpoint: str,
    flags: list[str],
    until: list[str] | None,
) -> None:
    python = program_of("lm-eval", "python")
    questions = pocket_questions(N_PER_TASK)
    (tmp_path / "questions.jsonl").write_text(
        "".join(f"{json.dumps({'id': one.id, 'prompt': one.prompt})}\n" for one in questions),
        encoding="utf-8",
    )
    # JSON is YAML.
    (tmp_path / "pocket_served.yaml").write_text(
        json.dumps(_task(tmp_path, until)), encoding="utf-8"
    )
    arguments = {
        "model": "thinkroute:best",
        "base_url": f"{server.base_url}/{endpoint}",
        "num_concurrent": 4,
        "max_retries": 1,
        "tokenized_requests": False,
        "tokenizer_backend": None,
    }
    done = run_tool(
        [
            *(python, "-m", "lm_eval", "run", "--tasks", "pocket_served"),
            *("--include_path", str(tmp_path), "--output_path", str(tmp_path / "out")),
            *("--model", model, "--log_samples", *flags),
            *("--model_args", ",".join(f"{key}={value}" for key, value in arguments.items())),
        ],
        tmp_path,
        {"OPENAI_API_KEY": "unused"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    (path,) = (tmp_path / "out").rglob("samples_*.jsonl")
    with path.open(encoding="utf-8") as file:
        samples = [json.loads(line) for line in file]
    answers = {sample["doc"]["id"]: sample["resps"][0][0] for sample in samples}
    assert answers.keys() == {one.id for one in questions}
    assert all(answers.values())
    n_right = sum(one.is_right(answers[one.id]) for one in questions)
    # About 0.97 each by the stored measurements; the questions are always the same.
    assert n_right >= len(questions) - 3


def _task(folder: Path, until: list[str] | None) -> dict[str, Any]:
    ends = {} if until is None else {"until": until}
    return {
        "task": "pocket_served",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(folder / "questions.jsonl")}},
        "test_split": "test",
        "output_type": "generate_until",
        "doc_to_text": "{{prompt}}",
        "doc_to_target": "{{id}}",
        "generation_kwargs": {"do_sample": False, "max_gen_toks": 300, **ends},
        # Only the answers are wanted: the task's own grader judges them here.
        "metric_list": [{"metric": "exact_match"}],
    }
