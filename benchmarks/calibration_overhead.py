"""Calibration: what plan, grading and store cost on top of the bare backend.

Without budgets the bare side is the policies alone; with budgets told from one trace it is the
bare requests of the same kind: the whole thoughts and the continuations of the cut ones.
"""

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import TypeVar

from benchmarks._report import Report
from calibration import Arm, Plan, RunStore, Sample, describe_model, load_tasks, run_plan
from policies import (
    Completion,
    GenerationRequest,
    OneRequestPolicy,
    ThoughtMarkers,
    build_policy,
    user_message,
)
from policies.backends.pocket import POCKET_OPTIONS, PocketBackend, pocket_model_names

MODEL = "pocket-s"
QUESTIONS = 250
ROUNDS = 7
REPLAY_QUESTIONS = 100
BUDGETS = (8, 16, 32, 64)
MOST = 1.05

Rounds = list[tuple[float, float]]
_T = TypeVar("_T")


def run(report: Report) -> None:
    """Ask the same requests bare and through `run_plan`, in turns."""
    model = MODEL if MODEL in pocket_model_names() else pocket_model_names()[0]
    through, bare, n_requests = asyncio.run(_measure(model))
    _add(report, f"{n_requests} requests to {model}", through, bare)
    through, bare, n_requests = asyncio.run(_measure_replay(model))
    _add(report, f"{len(BUDGETS) + 1} budgets from {n_requests} requests", through, bare)


def _add(report: Report, case: str, through: Rounds, bare: Rounds) -> None:
    """Report wall time, and processor time, which other processes disturb less."""
    for name, choose in (("median", median), ("fastest", min)):
        for what, i in (("wall", 0), ("processor", 1)):
            report.add(
                f"{case}, {what} time, {name} of {len(bare)}",
                choose(one[i] for one in through),
                "s",
                baseline=("bare backend", choose(one[i] for one in bare)),
                at_most=MOST,
                of_ratio=True,
            )


async def _measure(model: str) -> tuple[Rounds, Rounds, int]:
    backend = PocketBackend(model)
    plan = _plan(backend, ("direct", "reasoning@max"), QUESTIONS)
    samples = list(plan.samples())

    async def ask_bare() -> None:
        async def ask(sample: Sample) -> None:
            prompt = user_message(sample.question.prompt)
            await sample.arm.policy.run(prompt, sample.arm.backend, plan.options)

        await _side_by_side(samples, ask, backend.max_concurrency)

    through, bare = await _in_turns(plan, ask_bare)
    await backend.aclose()
    return through, bare, len(samples)


async def _measure_replay(model: str) -> tuple[Rounds, Rounds, int]:
    backend = PocketBackend(model)
    policies = (*(f"reasoning@{budget}" for budget in BUDGETS), "reasoning@max")
    plan = _plan(backend, policies, REPLAY_QUESTIONS)
    markers = await backend.thought_markers()
    wholes = [
        (sample.arm.policy.request(user_message(sample.question.prompt), plan.options))
        for sample in plan.samples()
        if sample.arm.policy.spec.budget == "max"
        and isinstance(sample.arm.policy, OneRequestPolicy)
    ]
    n_requests = 0

    async def ask_bare() -> None:
        nonlocal n_requests
        n_requests = len(wholes)
        cut: list[GenerationRequest] = []

        async def ask_whole(request: GenerationRequest) -> None:
            cut.extend(_continuations(request, await backend.generate(request), markers))

        async def ask_rest(request: GenerationRequest) -> None:
            await backend.generate(request)

        # One after the other fills the batches better than mixing the two, as `run_plan` does.
        await _side_by_side(wholes, ask_whole, backend.max_concurrency)
        await _side_by_side(cut, ask_rest, backend.max_concurrency)
        n_requests += len(cut)

    through, bare = await _in_turns(plan, ask_bare)
    await backend.aclose()
    return through, bare, n_requests


def _continuations(
    request: GenerationRequest, whole: Completion, markers: ThoughtMarkers
) -> list[GenerationRequest]:
    prefixes = [markers.cut(whole.token_ids or (), budget) for budget in BUDGETS]
    return [
        replace(request, continuation=prefix, max_tokens=POCKET_OPTIONS.max_answer_tokens)
        for prefix in prefixes
        if prefix is not None
    ]


def _plan(backend: PocketBackend, policies: Sequence[str], n_questions: int) -> Plan:
    facts = describe_model(backend)
    arms = tuple(Arm(backend, build_policy(policy), facts) for policy in policies)
    return Plan(tuple(load_tasks(["pocket"], limit=n_questions, seed=0)), arms, POCKET_OPTIONS)


async def _in_turns(plan: Plan, ask_bare: Callable[[], Awaitable[None]]) -> tuple[Rounds, Rounds]:
    """Return wall and processor seconds of `run_plan` and of the bare requests."""
    through: Rounds = []
    bare: Rounds = []
    await ask_bare()
    with tempfile.TemporaryDirectory() as folder:
        for number in range(ROUNDS):

            async def ask_through(path: Path = Path(folder) / f"{number}.sqlite") -> None:
                with RunStore.create(path) as store:
                    await run_plan(plan, store)

            sides = [(through, ask_through), (bare, ask_bare)]
            for rounds, ask in sides if number % 2 else reversed(sides):
                started, cpu = time.perf_counter(), time.process_time()
                await ask()
                rounds.append((time.perf_counter() - started, time.process_time() - cpu))
    return through, bare


async def _side_by_side(
    items: Sequence[_T], ask: Callable[[_T], Awaitable[None]], n_workers: int
) -> None:
    """Do the items with as many workers as `run_plan` would use."""
    waiting = iter(items)

    async def work() -> None:
        for item in waiting:
            await ask(item)

    await asyncio.gather(*(work() for _ in range(n_workers)))
