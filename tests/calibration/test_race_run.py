"""Races over real runs: lock-step blocks, arms that stop, and decisions that survive a crash."""

import asyncio
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from calibration import (
    Arm,
    Ceilings,
    MeasuredTable,
    ModelFacts,
    Outcome,
    Plan,
    Question,
    RaceSettings,
    RunStore,
    RunSummary,
    Task,
    run_race,
    store_path,
)
from calibration.statistics import anytime_proportion_interval
from policies import (
    BackendError,
    BackendTimeoutError,
    DecodingOptions,
    GenerationRequest,
    InvalidInputError,
    build_policy,
)
from policies.backends.fake import FakeAnswer, FakeBackend

OPTIONS = DecodingOptions(max_answer_tokens=16, max_thinking_tokens=64)
SETTINGS = RaceSettings(block_questions=20)


def make_task(n: int = 400, name: str = "words", *, groups: int | None = None) -> Task:
    questions = tuple(
        Question(f"{name}{i}", f"{i} of {name}", "1", f"g{i % groups if groups else i}")
        for i in range(n)
    )
    return Task(name, "math-oe", questions, "number")


def think(request: GenerationRequest) -> FakeAnswer:
    """Reason rightly, be right directly half of the time, and never with a cut thought."""
    number = int(request.messages[-1].content.split()[0])
    is_lucky = random.Random(number).random() < 0.5
    return FakeAnswer(
        "#### 1", thinking="a b c d e f", direct=f"#### {int(is_lucky)}", when_cut="#### 0"
    )


def make_plan(backend: FakeBackend, **changes: Any) -> Plan:
    policies = ("direct", "reasoning@2", "reasoning@max")
    arms = tuple(Arm(backend, build_policy(p), ModelFacts("fake")) for p in policies)
    return replace(Plan((make_task(),), arms, OPTIONS), **changes)


def race(plan: Plan, folder: Path, settings: RaceSettings = SETTINGS, **options: Any) -> RunSummary:
    with RunStore.create(store_path(folder)) as store:
        return asyncio.run(run_race(plan, store, settings, **options))


def found(folder: Path) -> dict[str, Any]:
    with RunStore.open(store_path(folder)) as store:
        return store.get_meta("races")


def test_decided_arms_are_asked_no_further_questions(tmp_path: Path) -> None:
    backend = FakeBackend(think)
    summary = race(make_plan(backend), tmp_path)
    words = found(tmp_path)["words"]["fake"]
    assert words["is_over"]
    assert words["ranking"] == [
        ["fake:direct", "fake:reasoning@2"],
        ["fake:reasoning@max", "fake:direct"],
        ["fake:reasoning@max", "fake:reasoning@2"],
    ]
    assert summary.n_asked == summary.n_total == words["n_outcomes"] < 400
    assert words["n_outcomes"] == sum(arm["n"] for arm in words["arms"])


def test_cells_of_a_race_carry_the_anytime_interval(tmp_path: Path) -> None:
    race(make_plan(FakeBackend(think)), tmp_path)
    with RunStore.open(store_path(tmp_path)) as store:
        cells = MeasuredTable.from_store(store).cells
    for cell in cells:
        interval = anytime_proportion_interval(cell.n_correct, cell.n, 0.95)
        assert (cell.interval, cell.ci_low, cell.ci_high) == ("anytime", *interval)


def test_an_interrupted_race_ends_with_the_decisions_of_a_whole_one(tmp_path: Path) -> None:
    race(make_plan(FakeBackend(think)), tmp_path / "whole")
    cut = make_plan(FakeBackend(think))
    for tokens in (3000, 9000):
        race(cut, tmp_path / "cut", ceilings=Ceilings(tokens=tokens))
    summary = race(cut, tmp_path / "cut")
    assert summary.n_resumed > 0
    assert found(tmp_path / "cut") == found(tmp_path / "whole")
    tables: list[bytes] = []
    for name in ("cut", "whole"):
        with RunStore.open(store_path(tmp_path / name)) as store:
            tables.append(MeasuredTable.from_store(store).save(tmp_path).read_bytes())
    assert tables[0] == tables[1]


def test_every_task_is_a_race_of_its_own(tmp_path: Path) -> None:
    tasks = (make_task(60, "few"), make_task(300, "many"))
    race(make_plan(FakeBackend(think), tasks=tasks), tmp_path)
    races = found(tmp_path)
    assert set(races) == {"few", "many"}
    assert all(arm["n"] <= 60 for arm in races["few"]["fake"]["arms"])


def test_a_precise_arm_stops_at_the_half_width(tmp_path: Path) -> None:
    race(make_plan(FakeBackend(think)), tmp_path, replace(SETTINGS, target_halfwidth=0.12))
    direct, _, best = found(tmp_path)["words"]["fake"]["arms"]
    assert direct["stop_reason"] == best["stop_reason"] == "precise"
    interval = direct["accuracy"]
    assert (interval["high"] - interval["low"]) / 2 <= 0.12
    assert best["n"] < direct["n"] < 400


def test_errors_leave_a_question_out_of_the_race_and_are_asked_again(tmp_path: Path) -> None:
    error = BackendTimeoutError("slow", backend="fake", model="fake")
    failures: list[BackendError | None] = [error if n % 7 == 0 else None for n in range(50)]
    summary = race(make_plan(FakeBackend(think, failures=failures)), tmp_path)
    assert summary.n_error > 0
    with RunStore.open(store_path(tmp_path)) as store:
        assert sum(r.outcome is Outcome.ERROR for r in store.records()) == summary.n_error
    assert sum(arm["n"] for arm in found(tmp_path)["words"]["fake"]["arms"]) < summary.n_asked
    assert race(make_plan(FakeBackend(think)), tmp_path).n_error == 0


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"repeats": 2, "options": replace(OPTIONS, temperature=1.0)}, "once"),
        ({"tasks": (make_task(40, groups=5),)}, "share documents"),
    ],
)
def test_what_breaks_independence_is_refused(
    tmp_path: Path, changes: dict[str, Any], problem: str
) -> None:
    with pytest.raises(InvalidInputError, match=problem):
        race(make_plan(FakeBackend(think), **changes), tmp_path)
