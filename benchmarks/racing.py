"""Racing: the share of samples that is enough to rank arms as the full run does.

Every arm answers every question once; the recorded outcomes are then replayed through `Race` in 20
random orders, as if each block had been asked only of the arms that were still active.

The full run's ranking is what a fixed-size analysis of all samples claims: pairs whose exact
McNemar test, adjusted by Holm over the race's pairs, is below 5%. A replay has reached it when it
claims all of these orders; one that never does counts as needing every sample.
"""

import asyncio
import hashlib
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from statistics import mean

from benchmarks._report import Report
from calibration import (
    Arm,
    Outcome,
    Plan,
    Race,
    RaceOutcome,
    RunStore,
    describe_model,
    load_tasks,
    run_plan,
)
from calibration.statistics import holm, mcnemar_exact
from policies import build_policy
from policies.backends.pocket import POCKET_OPTIONS, PocketBackend, pocket_model_names

POLICIES = ("direct", "reasoning@8", "reasoning@16", "reasoning@max")
QUESTIONS = 1500
SEEDS = 20
BLOCK = 25
ALPHA = 0.05
MARGIN = 0.05

Rows = dict[str, dict[str, RaceOutcome]]


@dataclass
class Field:
    """One race's arms, their outcomes, and what all of them together show."""

    arms: tuple[str, ...]
    rows: Rows
    claims: frozenset[tuple[str, str]]
    accuracy: dict[str, float]

    @property
    def n_samples(self) -> int:
        return len(self.rows) * len(self.arms)


@dataclass
class Replay:
    """What one order of the questions led to."""

    n_used: int
    n_reached: int
    n_missed: int
    n_wrong: int


def run(report: Report) -> None:
    """Measure all arms once, then race them per task and model, per task, and over all tasks."""
    with tempfile.TemporaryDirectory() as folder:
        by_task = asyncio.run(_measure(Path(folder) / "run.sqlite"))
    all_rows = {question: row for rows in by_task.values() for question, row in rows.items()}
    arms = sorted(next(iter(all_rows.values())))
    by_model = [[arm for arm in arms if arm.startswith(f"{m}:")] for m in pocket_model_names()]
    fields = [_field(rows, some) for rows in by_task.values() for some in by_model]
    _report(report, "4 policies, per task and model", fields, at_most=0.5)
    _report(report, f"{len(arms)} arms, per task", [_field(r, arms) for r in by_task.values()])
    _report(report, f"{len(arms)} arms, all tasks", [_field(all_rows, arms)])
    _report(
        report,
        f"{len(arms)} arms, all tasks, ties of 5 points",
        [_field(all_rows, arms)],
        margin=MARGIN,
    )
    _report(
        report,
        "4 policies, per task and model, dominated arms stop",
        fields,
        margin=MARGIN,
        stop_dominated=True,
    )


def _report(
    report: Report,
    case: str,
    fields: Sequence[Field],
    *,
    margin: float | None = None,
    stop_dominated: bool = False,
    at_most: float | None = None,
) -> None:
    total = sum(field.n_samples for field in fields)
    replays = [
        [_replay(field, seed, margin, stop_dominated=stop_dominated) for field in fields]
        for seed in range(SEEDS)
    ]
    n_claims = sum(len(field.claims) for field in fields)
    missed = mean(sum(r.n_missed for r in one) for one in replays)
    wrong = sum(r.n_wrong for one in replays for r in one)
    if not stop_dominated:
        report.add(
            f"{case}: until the ranking is the full run's",
            mean(sum(r.n_reached for r in one) for one in replays) / total,
            "of the samples",
            at_most=at_most,
            note=f"{missed:.1f} of its {n_claims} orders not reached on average, counted as 1",
        )
    report.add(
        f"{case}: until the race stops",
        mean(sum(r.n_used for r in one) for one in replays) / total,
        "of the samples",
        note=f"{missed:.1f} of {n_claims} orders not claimed",
    )
    report.add(
        f"{case}: wrong orders",
        wrong,
        f"in {SEEDS} orders of {len(fields)} race(s)",
        # Some claim of a race may be wrong with a probability of 5%.
        at_most=ALPHA * SEEDS * len(fields),
    )


def _replay(field: Field, seed: int, margin: float | None, *, stop_dominated: bool) -> Replay:
    race = Race(field.arms, confidence=1 - ALPHA, tie_margin=margin, stop_dominated=stop_dominated)
    order = sorted(field.rows, key=lambda q: hashlib.sha256(f"{seed}/{q}".encode()).digest())
    n_used, n_reached = 0, field.n_samples
    for start in range(0, len(order), BLOCK):
        active = race.active
        if not active:
            break
        block = {
            q: {arm: field.rows[q][arm] for arm in active} for q in order[start : start + BLOCK]
        }
        n_used += sum(map(len, block.values()))
        race.feed(block)
        if n_reached == field.n_samples and field.claims <= race.ranking:
            n_reached = n_used
    return Replay(
        n_used,
        n_reached,
        len(field.claims - race.ranking),
        sum(field.accuracy[better] <= field.accuracy[worse] for better, worse in race.ranking),
    )


def _field(rows: Rows, arms: Iterable[str]) -> Field:
    names = tuple(arms)
    complete = {
        q: {arm: row[arm] for arm in names} for q, row in rows.items() if set(names) <= set(row)
    }
    pairs = list(combinations(names, 2))
    wins = {
        (one, other): sum(
            row[one].is_correct and not row[other].is_correct for row in complete.values()
        )
        for a, b in pairs
        for one, other in ((a, b), (b, a))
    }
    adjusted = holm([mcnemar_exact(wins[a, b], wins[b, a]) for a, b in pairs])
    claims = frozenset(
        (a, b) if wins[a, b] > wins[b, a] else (b, a)
        for (a, b), p in zip(pairs, adjusted, strict=True)
        if p <= ALPHA
    )
    accuracy = {arm: mean(row[arm].is_correct for row in complete.values()) for arm in names}
    return Field(names, complete, claims, accuracy)


async def _measure(path: Path) -> dict[str, Rows]:
    backends = [PocketBackend(model) for model in pocket_model_names()]
    arms = tuple(
        Arm(backend, build_policy(policy), describe_model(backend))
        for backend in backends
        for policy in POLICIES
    )
    tasks = tuple(load_tasks(["pocket"], limit=QUESTIONS, seed=0))
    with RunStore.create(path) as store:
        await run_plan(Plan(tasks, arms, POCKET_OPTIONS), store)
    for backend in backends:
        await backend.aclose()
    by_task: dict[str, Rows] = defaultdict(lambda: defaultdict(dict))
    with RunStore.open(path) as store:
        for record in store.records():
            if record.outcome is not Outcome.ERROR and record.completion_tokens is not None:
                by_task[record.task][record.question_id][record.arm] = RaceOutcome(
                    record.outcome is Outcome.CORRECT, float(record.completion_tokens)
                )
    return by_task
