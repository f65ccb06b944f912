"""lm-evaluation-harness and this project on one server, one set of questions and equal requests.

Both get the same questions from the same file and send the same bodies: lm-eval's task is
written here, with the fields that our client says it sends. Both run as their users run them, a
process per measurement, so wall time holds their start too; generated tokens are those that
the server itself has counted. The model is a pocket model: it knows the pocket questions, and it cannot
solve GSM8K, which is here for long prompts only.

What the two report differs where an answer runs out of tokens. We call it `cut` and grade nothing
of it. lm-eval asks no finish reason: what there is of the answer is scored, and a thought that
did not end is an empty answer through the chat endpoint, wrong without telling; from raw text (its
`local-completions`, and its in-process backends) the thought itself is scored, where
the usual extraction, the last number, finds some.
"""

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks._report import Report
from benchmarks._vllm import (
    CONCURRENCY,
    MODEL,
    ROOT,
    backend_to,
    generated_tokens,
    served,
    why_not,
)
from calibration import Outcome, RunStore, Task, load_tasks, store_path
from policies import DecodingOptions, build_policy, user_message

PYTHON = ROOT / ".venv-lm-eval" / "bin" / "python"
GSM8K = ROOT.parent / "shared" / "data" / "benchmarks" / "gsm8k_test.parquet"
QUESTIONS = 100
GSM8K_QUESTIONS = 40
# A byte is at most a token: what is longer may not fit the server's context.
LONGEST_PROMPT = 500
ROUNDS = 2
ANSWER_TOKENS = 32
THINKING_TOKENS = 320
SHORT_TOKENS = 8
# Kernels round differently from batch to batch, and a tie may fall either way.
MOST_DIFFERENT = 0.02

_LAST_NUMBER = "(-?[$0-9.,]{2,})|(-?[0-9]+)"  # `flexible-extract` of lm-eval's gsm8k
_RENDERED = "<|im_start|>user\n{{prompt}}<|im_end|>\n<|im_start|>assistant\n"


@dataclass(frozen=True, slots=True)
class Case:
    """One comparison.

    Attributes:
        name: What it is about.
        policy: Our policy.
        thinking_tokens: Cap on the thought of `reasoning@max`.
        pattern: How lm-eval finds the answer.
        match: Which of the pattern's matches it takes.
        is_raw: Whether lm-eval reads raw text instead of the server's split answer.
        n_rounds: How often both are run, in turns.
    """

    name: str
    policy: str
    thinking_tokens: int
    pattern: str
    match: int = 0
    is_raw: bool = False
    n_rounds: int = 1


@dataclass(frozen=True, slots=True)
class Measured:
    """What one harness has said about one case, and what that took.

    Attributes:
        seconds: Wall time of the process.
        tokens: Tokens that the server generated meanwhile.
        is_correct: By prompt.
        cut: Prompts whose answer ran out of tokens; lm-eval does not tell.
        open: Of those, the ones whose thought did not end.
    """

    seconds: float
    tokens: float
    is_correct: Mapping[str, bool]
    cut: frozenset[str] = frozenset()
    open: frozenset[str] = frozenset()

    @property
    def accuracy(self) -> float:
        return sum(self.is_correct.values()) / len(self.is_correct)


_ANSWER = r"^\s*Answer: (.*?)\s*$"
_POCKET_CASES = (
    Case("direct", "direct", THINKING_TOKENS, _ANSWER, n_rounds=ROUNDS),
    Case("thinking", "reasoning@max", THINKING_TOKENS, _ANSWER, n_rounds=ROUNDS),
    Case("thinking, short cap", "reasoning@max", SHORT_TOKENS, _ANSWER),
    Case("thinking, short cap, raw", "reasoning@max", SHORT_TOKENS, _LAST_NUMBER, -1, is_raw=True),
)
_GSM8K_CASES = (
    Case("direct", "direct", THINKING_TOKENS, _LAST_NUMBER, -1),
    Case("thinking", "reasoning@max", THINKING_TOKENS, _LAST_NUMBER, -1),
)


def run(report: Report) -> None:
    """Run both harnesses on pocket and GSM8K questions, with and without thinking."""
    missing = why_not()
    if not PYTHON.exists():
        missing = f"{PYTHON.parent.parent.name} is missing: run scripts/make_venv_lm_eval.sh"
    if missing is not None:
        report.skip("all", missing)
        return
    (pocket,) = load_tasks(["pocket-math-oe"], limit=QUESTIONS, seed=0)
    with served() as base_url, tempfile.TemporaryDirectory() as folder:
        _compare(
            report,
            replace(pocket, questions=pocket.questions[:1]),
            replace(_POCKET_CASES[0], name="one question"),
            *(base_url, Path(folder)),
        )
        for case in _POCKET_CASES:
            _compare(report, pocket, case, base_url, Path(folder))
        if not GSM8K.exists():
            report.skip("gsm8k", f"there is no {GSM8K.name} in ../shared/data")
            return
        (gsm8k,) = load_tasks(["gsm8k"], limit=None, seed=0, data=[str(GSM8K)])
        for case in _GSM8K_CASES:
            _compare(report, _short(gsm8k), case, base_url, Path(folder))


def _short(task: Task) -> Task:
    short = [q for q in task.questions if len(q.prompt.encode()) <= LONGEST_PROMPT]
    return replace(task, questions=tuple(short[:GSM8K_QUESTIONS]))


def _compare(report: Report, task: Task, case: Case, base_url: str, folder: Path) -> None:
    name = f"{task.name}, {case.name}"
    work = folder / name.replace(", ", "-").replace(" ", "_")
    work.mkdir()
    _write_task(task, case, base_url, work)
    ours: list[Measured] = []
    theirs: list[Measured] = []
    for number in range(case.n_rounds):
        ours.append(_run_ours(case, base_url, work, number))
        theirs.append(_run_theirs(case, base_url, work, number))
    mine, its = ours[0], theirs[0]
    if mine.is_correct.keys() != its.is_correct.keys():
        report.fail(name, "the two have judged different questions")
        return
    report.add(
        f"{name}: wall time",
        median(one.seconds for one in ours),
        "s",
        baseline=("lm-eval", median(one.seconds for one in theirs)),
    )
    report.add(
        f"{name}: generated tokens",
        median(one.tokens for one in ours),
        "tokens",
        baseline=("lm-eval", median(one.tokens for one in theirs)),
    )
    finished = mine.is_correct.keys() - mine.cut
    report.add(
        f"{name}: accuracy",
        mine.accuracy,
        f"of {len(mine.is_correct)}",
        baseline=("lm-eval", its.accuracy),
        note=f"{len(mine.cut)} ran out of tokens, {len(mine.open)} of them inside the thought;"
        f" lm-eval calls {sum(its.is_correct[prompt] for prompt in mine.cut)} of them correct,"
        f" {sum(its.is_correct[prompt] for prompt in mine.open)} inside the thought",
    )
    if finished:
        n_different = sum(mine.is_correct[p] != its.is_correct[p] for p in finished)
        report.add(
            f"{name}: judged differently, of those that ended by themselves",
            n_different / len(finished),
            f"of {len(finished)}",
            at_most=MOST_DIFFERENT,
        )


def _write_task(task: Task, case: Case, base_url: str, work: Path) -> None:
    """Write the questions once, and a task around them for each harness."""
    rows = [{"prompt": q.prompt, "gold": q.gold} for q in task.questions]
    data = work / "questions.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    ours = {"name": "side-by-side", "data": data.name, "grader": task.grader, "instruction": ""}
    lines = [f"{key} = {json.dumps(value)}" for key, value in ours.items()]
    (work / "ours.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    theirs = {
        "task": "side_by_side",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(data)}},
        "test_split": "test",
        "output_type": "generate_until",
        "num_fewshot": 0,
        "doc_to_text": _RENDERED if case.is_raw else "{{prompt}}",
        "doc_to_target": "{{gold}}",
        "generation_kwargs": asyncio.run(_sent(case, base_url)),
        "filter_list": [
            {
                "name": "found",
                "filter": [
                    {
                        "function": "regex",
                        "regex_pattern": case.pattern,
                        "group_select": case.match,
                    },
                    {"function": "take_first"},
                ],
            }
        ],
        "metric_list": [
            {
                "metric": "exact_match",
                "aggregation": "mean",
                "higher_is_better": True,
                "regexes_to_ignore": [",", r"\$", r"\.$"],
            }
        ],
    }
    # JSON is YAML.
    (work / "theirs.yaml").write_text(json.dumps(theirs, indent=2), encoding="utf-8")


async def _sent(case: Case, base_url: str) -> dict[str, Any]:
    """Return the fields of a request as our client says it sends them, for lm-eval to send too."""
    backend = backend_to(base_url)
    options = DecodingOptions(
        max_answer_tokens=ANSWER_TOKENS, max_thinking_tokens=case.thinking_tokens
    )
    answer = await build_policy(case.policy).run(user_message("1+1"), backend, options)
    await backend.aclose()
    if answer.wire is None:
        raise RuntimeError("the client does not tell what it sends")
    left_out = {"model", "chat_template_kwargs"} if case.is_raw else {"model"}
    fields = {key: value for key, value in json.loads(answer.wire).items() if key not in left_out}
    return {**fields, "until": [], "do_sample": False}


def _run_ours(case: Case, base_url: str, work: Path, number: int) -> Measured:
    out = work / f"ours-{number}"
    command = [
        *(sys.executable, "-m", "advisor", "calibrate", "--backend", "openai", "--model", MODEL),
        *("--base-url", base_url, "--tasks", str(work / "ours.toml"), "--policies", case.policy),
        *("--max-answer-tokens", str(ANSWER_TOKENS), "--concurrency", str(CONCURRENCY)),
        *("--max-thinking-tokens", str(case.thinking_tokens), "--out", str(out), "--json"),
    ]
    seconds, tokens = _timed(command, base_url, ROOT)
    with RunStore.open(store_path(out)) as store:
        outcomes = {record.prompt: record.outcome for record in store.records()}
    with sqlite3.connect(store_path(out)) as connection:
        is_open = dict(
            connection.execute(
                "SELECT q.prompt, NOT g.thinking_closed FROM generation g "
                "JOIN question q ON q.id = g.question"
            )
        )
    if Outcome.ERROR in outcomes.values():
        raise RuntimeError(f"{case.name}: some requests of ours failed")
    return Measured(
        seconds,
        tokens,
        {prompt: outcome is Outcome.CORRECT for prompt, outcome in outcomes.items()},
        frozenset(prompt for prompt, outcome in outcomes.items() if outcome is Outcome.CUT),
        frozenset(prompt for prompt, unclosed in is_open.items() if unclosed),
    )


def _run_theirs(case: Case, base_url: str, work: Path, number: int) -> Measured:
    out = work / f"theirs-{number}"
    endpoint = "completions" if case.is_raw else "chat/completions"
    arguments = {
        "model": MODEL,
        "base_url": f"{base_url}/{endpoint}",
        "num_concurrent": CONCURRENCY,
        "max_retries": 1,
        "tokenized_requests": False,
        "tokenizer_backend": None,
    }
    command = [
        *(str(PYTHON), "-m", "lm_eval", "run", "--tasks", "side_by_side"),
        *("--model", "local-completions" if case.is_raw else "local-chat-completions"),
        *("--model_args", ",".join(f"{key}={value}" for key, value in arguments.items())),
        *("--include_path", str(work), "--output_path", str(out), "--log_samples"),
        *(() if case.is_raw else ("--apply_chat_template",)),
    ]
    seconds, tokens = _timed(command, base_url, work)
    (path,) = out.rglob("samples_*.jsonl")
    with path.open(encoding="utf-8") as file:
        samples = [json.loads(line) for line in file]
    return Measured(
        seconds,
        tokens,
        {sample["doc"]["prompt"]: bool(sample["exact_match"]) for sample in samples},
    )


def _timed(command: Sequence[str], base_url: str, cwd: Path) -> tuple[float, float]:
    before = generated_tokens(base_url)
    started = time.perf_counter()
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    seconds = time.perf_counter() - started
    if done.returncode:
        raise RuntimeError(f"{command[2]} ended with {done.returncode}: {done.stderr[-2000:]}")
    return seconds, generated_tokens(base_url) - before
