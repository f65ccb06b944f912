"""Budgets from one trace: what a sweep costs beside separate runs, which must say the same.

Nine budgets of one model are measured twice: all smaller ones told from the trace of the largest
(`run_plan`'s way), and each asked by itself. The sweep is of no use if the answers differ, so
the benchmark fails then: on the embedded model, whose decoding is exact, the two tables must be
equal cell by cell; on a real vLLM server, whose kernels of prefill and decode round differently,
nearly all answers.
"""

import asyncio
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from benchmarks._report import Report
from benchmarks._vllm import CONFIG, MODEL, backend_to, served, why_not
from calibration import (
    Arm,
    Cell,
    MeasuredTable,
    Outcome,
    Plan,
    RunStore,
    describe_model,
    load_tasks,
    run_plan,
)
from policies import Backend, build_policy
from policies.backends.pocket import POCKET_OPTIONS, PocketBackend

BUDGETS = ("0", "8", "16", "24", "32", "48", "64", "96", "max")
QUESTIONS = 100
ROUNDS = 3
SERVED_QUESTIONS = 15
SERVED_ROUNDS = 2
MOST_TOKENS = 0.25
LEAST_IDENTICAL = 0.99

# What an answer was: its outcome and its length, by arm and question.
Answers = dict[tuple[str, str], tuple[Outcome, int | None]]


@dataclass(frozen=True, slots=True)
class Sweep:
    """All budgets, measured once in one way."""

    tokens: int
    prompt_tokens: int
    seconds: float
    cells: tuple[Cell, ...]
    answers: Answers


def run(report: Report) -> None:
    """Sweep on the embedded model, then on a real vLLM server where there is one."""
    native, swept = asyncio.run(_measure(PocketBackend(MODEL), QUESTIONS, ROUNDS))
    _add(report, "pocket", native, swept)
    differing = [a for a, b in zip(native[0].cells, swept[0].cells, strict=True) if a != b]
    n_cells = len(native[0].cells)
    report.add(
        "pocket, cells that differ from the native table", len(differing), "cells", at_most=0
    )
    if differing or not n_cells:
        names = ", ".join(f"{cell.task} {cell.policy}" for cell in differing) or "no cell at all"
        report.fail("pocket, equal tables", names)

    reason = why_not()
    if reason is not None:
        report.skip("vllm", reason)
        return
    with served() as server:
        native, swept = asyncio.run(_measure(backend_to(server), SERVED_QUESTIONS, SERVED_ROUNDS))
    _add(report, "vllm", native, swept)
    identical = _identical(native[0].answers, swept[0].answers)
    # How far two native runs agree tells what rounding alone does.
    again = _identical(native[0].answers, native[1].answers)
    report.add(
        "vllm, answers equal to the native ones (outcome and length)",
        identical,
        "of the answers",
        baseline=("two native runs", again),
        at_least=LEAST_IDENTICAL,
    )
    if identical < LEAST_IDENTICAL:
        report.fail("vllm, equal answers", f"{identical:.4f} of them are")


def _add(report: Report, where: str, native: list[Sweep], swept: list[Sweep]) -> None:
    n_answers = len(native[0].answers)
    case = f"{where}, {len(BUDGETS)} budgets, {n_answers // len(BUDGETS)} questions"
    baseline = f"{len(BUDGETS)} native runs"
    report.add(
        f"{case}: generated tokens",
        swept[0].tokens,
        "tokens",
        baseline=(baseline, native[0].tokens),
        at_most=MOST_TOKENS,
        of_ratio=True,
    )
    report.add(
        f"{case}: prompt tokens",
        swept[0].prompt_tokens,
        "tokens",
        baseline=(baseline, native[0].prompt_tokens),
        note="kept thoughts are sent again, as prompt",
    )
    report.add(
        f"{case}: wall time, median of {len(swept)}",
        median(one.seconds for one in swept),
        "s",
        baseline=(baseline, median(one.seconds for one in native)),
    )


async def _measure(
    backend: Backend, n_questions: int, n_rounds: int
) -> tuple[list[Sweep], list[Sweep]]:
    """Return the native runs and the sweeps, measured in turns."""
    facts = describe_model(backend, config=CONFIG)
    arms = tuple(Arm(backend, build_policy(f"reasoning@{b}"), facts) for b in BUDGETS)
    plan = Plan(tuple(load_tasks(["pocket"], limit=n_questions, seed=0)), arms, POCKET_OPTIONS)
    native: list[Sweep] = []
    swept: list[Sweep] = []
    with tempfile.TemporaryDirectory() as folder:
        # Weights are read, and thought markers found out, before the clock runs.
        tasks = tuple(load_tasks(["pocket"], limit=1, seed=1))
        await _sweep(replace(plan, tasks=tasks), Path(folder) / "warm.sqlite", replay=True)
        for number in range(n_rounds):
            native.append(await _sweep(plan, Path(folder) / f"{number}n.sqlite", replay=False))
            swept.append(await _sweep(plan, Path(folder) / f"{number}s.sqlite", replay=True))
    await backend.aclose()
    return native, swept


async def _sweep(plan: Plan, path: Path, *, replay: bool) -> Sweep:
    started = time.perf_counter()
    with RunStore.create(path) as store:
        summary = await run_plan(plan, store, replay=replay)
    seconds = time.perf_counter() - started
    if summary.n_error or bool(summary.n_replayed) is not replay:
        raise RuntimeError(f"{summary.n_replayed} replayed, {summary.n_error} errors: {summary}")
    with RunStore.open(path) as store:
        ledger = store.ledger()
        table = MeasuredTable.from_store(store)
        answers = {
            (r.arm, r.question_id): (r.outcome, r.completion_tokens) for r in store.records()
        }
    return Sweep(
        int(ledger["measurement_tokens"]),
        int(ledger["measurement_prompt_tokens"]),
        seconds,
        tuple(map(_without_clock, table.cells)),
        answers,
    )


def _without_clock(cell: Cell) -> Cell:
    """Return a cell without what was timed and without how its answers came about."""
    return replace(
        cell, mean_seconds=0.0, p50_seconds=None, p95_seconds=None, n_timed=0, n_replayed=0
    )


def _identical(one: Answers, other: Answers) -> float:
    return sum(other[key] == answer for key, answer in one.items()) / len(one)
