"""A run over a real vLLM server: what plan, client, grading and store cost on top of bare requests.

The same bodies go to the same server from `run_plan` over our client and from the openai SDK
alone, in turns, with as many requests under way. The bodies are taken from what our client says
it has sent. Wall time swings with whatever else the machine does, so processor time stands
beside it: that of sender and server together is what a machine without idle cores waits for.
"""

import asyncio
import json
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks._report import Report
from benchmarks._vllm import CONCURRENCY, CONFIG, backend_to, served, server_cpu_s, why_not
from calibration import Arm, Plan, RunStore, describe_model, load_tasks, run_plan
from policies import build_policy, user_message
from policies.backends.pocket import POCKET_OPTIONS

POLICIES = ("direct", "reasoning@max")
QUESTIONS = 20
ROUNDS = 15
MOST = 1.05

Body = dict[str, Any]
Sender = Callable[[int], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Round:
    """One way of sending, once.

    Attributes:
        wall_s: Wall time.
        client_s: Processor time of this process.
        server_s: Processor time of the server, `None` if unknown.
    """

    wall_s: float
    client_s: float
    server_s: float | None


def run(report: Report) -> None:
    """Send the same requests in both ways, in turns."""
    reason = why_not()
    if reason is not None:
        report.skip("all", reason)
        return
    with served() as base_url:
        ours, bare, n_requests = asyncio.run(_measure(base_url))
    case = f"{n_requests} requests, {CONCURRENCY} under way"
    ratios = sorted(a.wall_s / b.wall_s for a, b in zip(ours, bare, strict=True))
    report.add(
        f"{case}: wall time, median of {ROUNDS}",
        median(one.wall_s for one in ours),
        "s",
        baseline=("openai SDK", median(one.wall_s for one in bare)),
        at_most=MOST,
        of_ratio=True,
        note=f"median of the paired ratios {median(ratios):.3f} ({ratios[0]:.2f} to"
        f" {ratios[-1]:.2f})",
    )
    report.add(
        f"{case}: wall time, fastest",
        min(one.wall_s for one in ours),
        "s",
        baseline=("openai SDK", min(one.wall_s for one in bare)),
    )
    report.add(
        f"{case}: processor time of the sender",
        1000 * median(one.client_s for one in ours) / n_requests,
        "ms/request",
        baseline=("openai SDK", 1000 * median(one.client_s for one in bare) / n_requests),
    )
    totals = [
        [
            1000 * (one.client_s + one.server_s) / n_requests
            for one in side
            if one.server_s is not None
        ]
        for side in (ours, bare)
    ]
    name = f"{case}: processor time of sender and server"
    if all(totals):
        report.add(
            name,
            median(totals[0]),
            "ms/request",
            baseline=("openai SDK", median(totals[1])),
            at_most=MOST,
            of_ratio=True,
        )
    else:
        report.skip(name, "the server's processor time cannot be read")


async def _measure(base_url: str) -> tuple[list[Round], list[Round], int]:
    """Return our rounds, the bare ones, and the number of requests of each."""
    import httpx
    import openai

    backend = backend_to(base_url)
    facts = describe_model(backend, config=CONFIG)
    arms = tuple(Arm(backend, build_policy(policy), facts) for policy in POLICIES)
    plan = Plan(tuple(load_tasks(["pocket"], limit=QUESTIONS, seed=0)), arms, POCKET_OPTIONS)
    bodies = await _bodies(plan)
    client = openai.AsyncOpenAI(base_url=base_url, api_key="none", max_retries=0, timeout=300)

    async def send_bare(_: int) -> None:
        waiting = iter(bodies)

        async def work() -> None:
            for body in waiting:
                answer = await client.post("/chat/completions", cast_to=httpx.Response, body=body)
                json.loads(answer.content)

        await asyncio.gather(*(work() for _ in range(CONCURRENCY)))

    with tempfile.TemporaryDirectory() as folder:

        async def send_ours(number: int) -> None:
            with RunStore.create(Path(folder) / f"{number}.sqlite") as store:
                summary = await run_plan(plan, store)
            if summary.n_error or summary.n_asked != len(bodies):
                raise RuntimeError(f"not every request was answered: {summary}")

        ours: list[Round] = []
        bare: list[Round] = []
        # The first round fills the server's prefix cache.
        await send_bare(-1)
        await send_ours(-1)
        for number in range(ROUNDS):
            sides = [(ours, send_ours), (bare, send_bare)]
            for rounds, send in sides if number % 2 else reversed(sides):
                rounds.append(await _timed(send, number, base_url))
    await client.close()
    await backend.aclose()
    return ours, bare, len(bodies)


async def _timed(send: Sender, number: int, base_url: str) -> Round:
    server_s = server_cpu_s(base_url)
    started, client_s = time.perf_counter(), time.process_time()
    await send(number)
    wall_s, client_s = time.perf_counter() - started, time.process_time() - client_s
    after_s = server_cpu_s(base_url)
    if server_s is None or after_s is None:
        return Round(wall_s, client_s, None)
    return Round(wall_s, client_s, after_s - server_s)


async def _bodies(plan: Plan) -> list[Body]:
    """Return what `run_plan` sends for each sample, in its order."""
    fields: dict[str, Body] = {}
    for arm in plan.arms:
        question = plan.tasks[0].questions[0]
        answer = await arm.policy.run(user_message(question.prompt), arm.backend, plan.options)
        if answer.wire is None:
            raise RuntimeError(f"{arm.name} does not tell what it sends")
        fields[arm.name] = json.loads(answer.wire)
    return [
        {**fields[s.arm.name], "messages": [{"role": "user", "content": s.question.prompt}]}
        for s in plan.samples()
    ]
