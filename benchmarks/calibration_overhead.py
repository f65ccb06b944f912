"""Calibration: what plan, grading and store cost on top of the bare backend."""

import asyncio
import tempfile
import time
from pathlib import Path
from statistics import median

from benchmarks._report import Report
from calibration import Arm, Plan, RunStore, Sample, describe_model, load_tasks, run_plan
from policies import build_policy, user_message
from policies.backends.pocket import POCKET_OPTIONS, PocketBackend, pocket_model_names

MODEL = "pocket-s"
QUESTIONS = 250
ROUNDS = 7


def run(report: Report) -> None:
    """Ask the same requests bare and through `run_plan`, in turns."""
    model = MODEL if MODEL in pocket_model_names() else pocket_model_names()[0]
    bare_s, through_s, n_requests = asyncio.run(_measure(model))
    for name, choose in (("median", median), ("fastest", min)):
        report.add(
            f"{n_requests} requests to {model}, {name} of {ROUNDS}",
            choose(through_s),
            "s",
            baseline=("bare backend", choose(bare_s)),
            at_most=1.05,
            of_ratio=True,
        )


async def _measure(model: str) -> tuple[list[float], list[float], int]:
    backend = PocketBackend(model)
    facts = describe_model(backend)
    arms = tuple(Arm(backend, build_policy(p), facts) for p in ("direct", "reasoning@max"))
    tasks = tuple(load_tasks(["pocket"], limit=QUESTIONS, seed=0))
    plan = Plan(tasks, arms, POCKET_OPTIONS)
    samples = list(plan.samples())
    bare_s: list[float] = []
    through_s: list[float] = []
    await _ask_bare(plan, samples)
    with tempfile.TemporaryDirectory() as folder:
        for number in range(ROUNDS):
            started = time.perf_counter()
            await _ask_bare(plan, samples)
            bare_s.append(time.perf_counter() - started)
            started = time.perf_counter()
            with RunStore.create(Path(folder) / f"{number}.sqlite") as store:
                await run_plan(plan, store)
            through_s.append(time.perf_counter() - started)
    await backend.aclose()
    return bare_s, through_s, len(samples)


async def _ask_bare(plan: Plan, samples: list[Sample]) -> None:
    """Send the plan's requests with as many workers as `run_plan` would use."""
    waiting = iter(samples)

    async def work() -> None:
        for sample in waiting:
            await sample.arm.policy.run(
                user_message(sample.question.prompt), sample.arm.backend, plan.options
            )

    await asyncio.gather(*(work() for _ in range(plan.arms[0].backend.max_concurrency)))
