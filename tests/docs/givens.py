"""What the pages of docs/ take for granted: a router, a log, files, a server of embeddings."""

import asyncio
import csv
import json
import shutil
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from calibration import Outcome, OutcomeRecord
from calibration.tasks import load_tasks
from policies import Capability, build_backend
from policies.backends.fake import FakeBackend
from router import FeedbackLog, Router, ThompsonSampling, default_router_path
from tests.docs.accounts import Given, run_advisor
from tests.policies.chat_server import Reply, Server

GOLDEN = Path(__file__).parents[1] / "golden" / "import" / "example__scripted-1b"
EMBEDDINGS = "http://127.0.0.1:8001/v1"


@contextmanager
def nothing(_folder: Path) -> Generator[Given]:
    yield Given()


@contextmanager
def my_router(folder: Path) -> Generator[Given]:
    shutil.copytree(default_router_path(), folder / "my-router")
    models = {arm.model for arm in Router.load(folder / "my-router").arms}
    backends = {model: build_backend("pocket", model) for model in models}
    yield Given({"backends": backends, "prompt": "For Ana: name the pet of Bob."})


@contextmanager
def feedback(folder: Path) -> Generator[Given]:
    """A log of explored decisions, and another router."""
    log = FeedbackLog.open(folder / "feedback.sqlite", store_prompts=True)
    router = Router.load(folder / "routers" / "first").with_feedback(log)
    rng = np.random.default_rng(0)
    (task,) = load_tasks(["pocket-math-oe"], limit=60, seed=5)
    for question in task.questions:
        decision = router.decide(question.prompt, exploration=ThompsonSampling(floor=0.2), rng=rng)
        router.record(decision, bool(rng.random() < 0.7))
    shutil.copytree(folder / "routers" / "first", folder / "routers" / "other")
    decision = router.decide("Compute mod ten, left to right: 7+5*3")
    yield Given({"router": router, "log": log, "decision": decision})
    log.close()


@contextmanager
def benchmark_files(folder: Path) -> Generator[Given]:
    (folder / "benchmarks").mkdir()
    for name in ("gsm8k_test", "math500", "aime24", "aime25"):
        row = {"question": f"{name}: how much is 2 + 3?", "gold": "5"}
        (folder / "benchmarks" / f"{name}.jsonl").write_text(json.dumps(row) + "\n", "utf-8")
    yield Given()


@contextmanager
def fresh_run(folder: Path) -> Generator[Given]:
    done = run_advisor(
        "advisor calibrate --model pocket-m --tasks pocket --limit 10 --seed 2"
        " --policies direct,reasoning@16,reasoning@max --out runs/fresh",
        folder,
    )
    assert done.code == 0, done.err
    yield Given({"records": records("direct", "reasoning@max")})


@contextmanager
def recorded_files(folder: Path) -> Generator[Given]:
    """A log of lm-evaluation-harness beside its results, and a table of two arms."""
    for path in GOLDEN.iterdir():
        name = path.name.replace("pocket_sums", "gsm8k").replace(
            "2026-11-21T12-11-38.965782", "2026-01-31T10-00-00"
        )
        (folder / name).write_text(path.read_text("utf-8").replace("pocket_sums", "gsm8k"), "utf-8")
    with (folder / "long.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(
            [
                "question_id",
                "model",
                "mode",
                "budget_tokens",
                "correct",
                "prompt",
                "task_type",
                "completion_tokens",
            ]
        )
        for one in records("direct", "reasoning@1000", model="qwen2.5-14B"):
            mode, _, budget = one.policy.partition("@")
            row = [one.question_id, one.model, mode, budget, int(one.outcome is Outcome.CORRECT)]
            table.writerow([*row, one.prompt, one.task_type, one.completion_tokens])
    import pyarrow.csv
    import pyarrow.parquet

    parquet: Any = pyarrow.parquet
    parquet.write_table(pyarrow.csv.read_csv(folder / "long.csv"), folder / "long.parquet")
    yield Given()


@contextmanager
def embeddings(folder: Path) -> Generator[Given]:
    """A server of embeddings, outcomes, and a router whose model can see."""
    router = Router.load(folder / "routers" / "first")
    seeing = {
        arm.model: FakeBackend(lambda _request: "3.50", capabilities=frozenset(Capability))
        for arm in router.arms
    }
    server = Server()

    def vectors(_path: str, body: Any) -> Reply:
        rows = [
            {"index": at, "embedding": [float(len(text)), float("Derive" in text), 1.0]}
            for at, text in enumerate(body["input"])
        ]
        return Reply({"object": "list", "model": "my-encoder", "data": rows})

    server.respond = vectors
    given = Given(
        {"records": records("direct", "reasoning@max"), "seeing": router.bind(seeing)},
        {EMBEDDINGS: server.url},
    )
    try:
        yield given
    finally:
        asyncio.run(given.names["embedder"].aclose())
        server.close()


def records(*policies: str, model: str = "m") -> list[OutcomeRecord]:
    """Outcomes of two arms, of which the first does for half of the questions."""
    rng = np.random.default_rng(0)
    made: list[OutcomeRecord] = []
    for number in range(240):
        verb = ("Name", "Derive")[number % 2]
        for policy in policies:
            is_direct = policy == "direct"
            p = 0.3 if is_direct and verb == "Derive" else 0.95
            made.append(
                OutcomeRecord(
                    question_id=str(number),
                    group=str(number),
                    task="mine",
                    task_type="general-oe",
                    prompt=f"{verb} item {number * 7919 % 10007}",
                    model=model,
                    size=None,
                    policy=policy,
                    outcome=Outcome.CORRECT if rng.random() < p else Outcome.WRONG,
                    prompt_tokens=4,
                    completion_tokens=5 if is_direct else 300,
                    flops=None,
                    seconds=None,
                )
            )
    return made


GIVEN: dict[str, Callable[[Path], AbstractContextManager[Given]]] = {
    "docs/explanation/safety.md": my_router,
    "docs/how-to/after-fit.md": feedback,
    "docs/how-to/benchmarks.md": benchmark_files,
    "docs/how-to/evaluate.md": fresh_run,
    "docs/how-to/import.md": recorded_files,
    "docs/how-to/in-your-code.md": embeddings,
}
