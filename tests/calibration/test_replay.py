"""Budgets from one trace: the answers of separate runs, for the tokens of one."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration import (
    Arm,
    Ceilings,
    MeasuredTable,
    ModelFacts,
    Plan,
    Question,
    RunStore,
    RunSummary,
    Task,
    check_replay,
    describe_model,
    load_tasks,
    run_plan,
    store_path,
)
from calibration._replay import derive, trace_leads
from policies import (
    BackendError,
    BackendTimeoutError,
    Capability,
    Completion,
    DecodingOptions,
    FinishReason,
    GenerationRequest,
    InvalidInputError,
    ThoughtMarkers,
    Usage,
    build_policy,
    user_message,
)
from policies.backends.fake import FakeAnswer, FakeBackend
from policies.backends.pocket import POCKET_OPTIONS, PocketBackend, pocket_model_names

BUDGETS = ("0", "2", "3", "8", "max")
OPTIONS = DecodingOptions(max_answer_tokens=16, max_thinking_tokens=64)
MARKERS = ThoughtMarkers(start=(1,), end=(2,))

needs_pocket = pytest.mark.skipif(
    "pocket-m" not in pocket_model_names(), reason="the model pocket-m is not there"
)


def count_up(request: GenerationRequest) -> FakeAnswer:
    """Think for as many words as the question says; a cut thought gives a wrong answer."""
    n = int(request.messages[-1].content.split()[0])
    thought = " ".join(str(i) for i in range(n))
    return FakeAnswer(f"#### {n}", thinking=thought, when_cut=lambda kept: f"#### -{kept}")


def make_plan(backend: Any, budgets: tuple[str, ...] = BUDGETS, **changes: Any) -> Plan:
    questions = tuple(
        Question(f"q{n}", f"{n} words", str(n), f"q{n}") for n in (1, 2, 3, 4, 7, 8, 9, 12)
    )
    arms = tuple(
        Arm(backend, build_policy(f"reasoning@{budget}"), ModelFacts("fake")) for budget in budgets
    )
    plan = Plan((Task("words", "math-oe", questions, "number"),), arms, OPTIONS)
    return replace(plan, **changes)


def run(plan: Plan, folder: Path, **options: Any) -> RunSummary:
    with RunStore.create(store_path(folder)) as store:
        return asyncio.run(run_plan(plan, store, **options))


def table(folder: Path) -> bytes:
    with RunStore.open(store_path(folder)) as store:
        return MeasuredTable.from_store(store).save(folder).read_bytes()


def ledger(folder: Path) -> dict[str, Any]:
    with RunStore.open(store_path(folder)) as store:
        return dict(store.ledger())


def without_replayed(csv: bytes) -> list[list[str]]:
    rows = [line.split(",") for line in csv.decode().splitlines()]
    column = rows[0].index("n_replayed")
    return [row[:column] + row[column + 1 :] for row in rows]


def test_replayed_cells_are_those_of_separate_runs_for_fewer_tokens(tmp_path: Path) -> None:
    replayed, native = FakeBackend(count_up), FakeBackend(count_up)
    summary = run(make_plan(replayed), tmp_path / "replayed")
    run(make_plan(native), tmp_path / "native", replay=False)
    assert without_replayed(table(tmp_path / "replayed")) == without_replayed(
        table(tmp_path / "native")
    )
    assert summary.n_replayed == 4 * 8
    spent, separate = ledger(tmp_path / "replayed"), ledger(tmp_path / "native")
    assert spent["native_tokens"] == separate["measurement_tokens"] == separate["native_tokens"]
    assert spent["measurement_tokens"] == summary.completion_tokens < spent["native_tokens"] / 2
    # One request per question, and one per budget that its thought exceeds.
    n_cut = sum(n > b for n in (1, 2, 3, 4, 7, 8, 9, 12) for b in (0, 2, 3, 8))
    assert len(replayed.calls) == 8 + n_cut
    assert len(native.calls) == 5 * 8


def test_without_a_hard_budget_every_arm_is_asked_itself(tmp_path: Path) -> None:
    soft = FakeBackend(count_up, capabilities=frozenset(Capability) - {Capability.HARD_BUDGET})
    assert trace_leads(make_plan(soft).arms, OPTIONS) == {}
    assert run(make_plan(soft), tmp_path).n_replayed == 0
    assert len(soft.calls) == 5 * 8


def test_the_largest_budget_leads_and_models_share_no_traces() -> None:
    first, second = FakeBackend(count_up, model="a"), FakeBackend(count_up, model="b")
    arms = [
        Arm(backend, build_policy(policy), ModelFacts(backend.model))
        for backend in (first, second)
        for policy in ("direct", "reasoning@8", "reasoning@2")
    ]
    leads = {name: lead.name for name, lead in trace_leads(arms, OPTIONS).items()}
    assert leads == {"a:reasoning@2": "a:reasoning@8", "b:reasoning@2": "b:reasoning@8"}


def test_a_resumed_run_tells_budgets_from_stored_traces(tmp_path: Path) -> None:
    first = FakeBackend(count_up)
    run(make_plan(first, ("3", "max")), tmp_path / "run")
    again = FakeBackend(count_up)
    summary = run(make_plan(again), tmp_path / "run")
    assert (summary.n_resumed, summary.n_replayed) == (16, 24)
    assert all(call.continuation for call in again.calls)
    run(make_plan(FakeBackend(count_up)), tmp_path / "whole")
    assert table(tmp_path / "run") == table(tmp_path / "whole")


def test_a_trace_that_was_not_kept_is_no_excuse_for_a_guess(tmp_path: Path) -> None:
    run(make_plan(FakeBackend(count_up), ("max",)), tmp_path)
    again = FakeBackend(count_up)
    summary = run(make_plan(again, ("2", "max")), tmp_path)
    assert (summary.n_replayed, len(again.calls)) == (0, 8)
    assert {call.thinking_budget for call in again.calls} == {2}


def test_a_failed_trace_fails_its_budgets_and_all_are_asked_again(tmp_path: Path) -> None:
    failures: list[BackendError | None] = [BackendTimeoutError("slow", backend="f", model="f")]
    summary = run(make_plan(FakeBackend(count_up, failures=failures)), tmp_path, concurrency=1)
    assert (summary.n_error, summary.n_asked) == (5, 40)
    summary = run(make_plan(FakeBackend(count_up)), tmp_path)
    assert (summary.n_resumed, summary.n_error, summary.n_asked) == (35, 0, 5)
    run(make_plan(FakeBackend(count_up)), tmp_path / "whole")
    assert without_replayed(table(tmp_path)) == without_replayed(table(tmp_path / "whole"))


def test_budgets_beyond_a_cut_trace_are_asked_themselves(tmp_path: Path) -> None:
    short = replace(OPTIONS, max_thinking_tokens=2, max_answer_tokens=2)
    replayed, native = FakeBackend(count_up), FakeBackend(count_up)
    run(make_plan(replayed, options=short), tmp_path / "replayed")
    run(make_plan(native, options=short), tmp_path / "native", replay=False)
    assert without_replayed(table(tmp_path / "replayed")) == without_replayed(
        table(tmp_path / "native")
    )


def test_samples_are_continued_with_seeds_of_their_own(tmp_path: Path) -> None:
    backend = FakeBackend(count_up)
    run(make_plan(backend, options=replace(OPTIONS, temperature=0.7), repeats=3), tmp_path)
    seeds = [call.seed for call in backend.calls]
    assert len(set(seeds)) == len(seeds)


THOUGHT = st.lists(st.integers(3, 9), max_size=12)


@given(thought=THOUGHT, answer=THOUGHT, budget=st.integers(0, 14), n_in_prompt=st.integers(0, 2))
def test_a_cut_keeps_exactly_the_budget(
    thought: list[int], answer: list[int], budget: int, n_in_prompt: int
) -> None:
    markers = replace(MARKERS, n_in_prompt=n_in_prompt)
    whole = (1, *thought, 2, *answer)
    assert markers.n_thinking(whole) == len(thought)
    kept = max(0, budget - n_in_prompt)
    cut = markers.cut(whole, budget)
    assert cut == (None if len(thought) <= kept else (1, *thought[:kept], 2))
    open_thought = (1, *thought)
    if len(thought) >= kept:
        assert markers.cut(open_thought, budget) == (1, *thought[:kept], 2)
    else:
        with pytest.raises(InvalidInputError):
            markers.cut(open_thought, budget)


@settings(max_examples=200)
@given(thought=THOUGHT, answer=THOUGHT, budget=st.integers(0, 14), cap=st.integers(1, 40))
def test_what_is_derived_never_exceeds_the_room_of_the_budget(
    thought: list[int], answer: list[int], budget: int, cap: int
) -> None:
    ids = (1, *thought, 2, *answer)
    trace = Completion("", FinishReason.STOP, Usage(5, len(ids) + 1), 0.0, token_ids=ids)
    request = GenerationRequest(
        user_message("?"), max_tokens=cap, thinking=True, thinking_budget=budget
    )
    told = derive(trace, request, MARKERS)
    if isinstance(told, Completion):
        assert told is trace
        assert len(ids) + 1 <= cap
        assert len(thought) <= budget
    elif told is not None:
        assert told.continuation == (1, *thought[:budget], 2)
        assert told.max_tokens + len(told.continuation) == cap
        assert told.thinking_budget is None


def test_a_trace_without_token_ids_tells_nothing() -> None:
    trace = Completion("", FinishReason.STOP, Usage(5, 5), 0.0)
    request = GenerationRequest(user_message("?"), max_tokens=9, thinking=True, thinking_budget=2)
    assert derive(trace, request, MARKERS) is None


class Ignoring(FakeBackend):
    """A server that ignores budgets."""

    async def generate(self, request: GenerationRequest) -> Completion:
        return await super().generate(replace(request, thinking_budget=None))


def test_an_ignored_budget_is_an_error_and_not_a_measurement(tmp_path: Path) -> None:
    plan = make_plan(Ignoring(count_up), ("2",))
    summary = run(plan, tmp_path)
    assert (summary.n_error, summary.n_asked) == (4, 8)
    assert "a thinking budget of 2 gave" in str(summary.first_error)


# Ceilings


@pytest.mark.parametrize("tokens", [1, 360, 450])
def test_a_ceiling_is_never_exceeded_and_the_run_goes_on_later(tmp_path: Path, tokens: int) -> None:
    plan = make_plan(FakeBackend(count_up))
    summary = run(plan, tmp_path, ceilings=Ceilings(tokens=tokens))
    spent = ledger(tmp_path)
    assert spent["measurement_tokens"] + spent["measurement_prompt_tokens"] <= tokens
    assert f"{tokens:,} tokens" in str(summary.stopped_by)
    again = run(plan, tmp_path, ceilings=Ceilings(tokens=tokens))
    assert (again.n_asked, again.stopped_by) == (0, summary.stopped_by)
    assert run(plan, tmp_path).stopped_by is None
    run(make_plan(FakeBackend(count_up)), tmp_path / "whole")
    assert table(tmp_path) == table(tmp_path / "whole")


def test_time_runs_out_before_a_request_is_sent(tmp_path: Path) -> None:
    backend = FakeBackend(count_up, latency_s=0.05)
    summary = run(make_plan(backend), tmp_path, concurrency=1, ceilings=Ceilings(seconds=0.12))
    assert summary.stopped_by == "the ceiling of seconds"
    assert 1 <= len(backend.calls) <= 3


@pytest.mark.parametrize("ceilings", [{"tokens": 0}, {"usd": -1.0}, {"seconds": float("nan")}])
def test_ceilings_that_nothing_fits_under_are_refused(ceilings: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match="ceiling"):
        Ceilings(**ceilings)


# On a real model


@needs_pocket
def test_on_a_real_model_replayed_and_native_tables_are_equal(tmp_path: Path) -> None:
    backend = PocketBackend("pocket-m")
    facts = describe_model(backend)
    arms = tuple(
        Arm(backend, build_policy(f"reasoning@{budget}"), facts)
        for budget in (0, 4, 8, 16, 24, "max")
    )
    plan = Plan(tuple(load_tasks(["pocket"], limit=15, seed=5)), arms, POCKET_OPTIONS)
    run(plan, tmp_path / "replayed")
    run(plan, tmp_path / "native", replay=False)
    assert without_replayed(table(tmp_path / "replayed")) == without_replayed(
        table(tmp_path / "native")
    )
    spent = ledger(tmp_path / "replayed")
    assert spent["measurement_tokens"] < spent["native_tokens"] / 2


@needs_pocket
def test_the_check_passes_on_a_real_model() -> None:
    backend = PocketBackend("pocket-xs")
    facts = describe_model(backend)
    arms = tuple(Arm(backend, build_policy(f"reasoning@{b}"), facts) for b in (4, 8, 16, "max"))
    plan = Plan(tuple(load_tasks(["pocket"], limit=60, seed=6)), arms, POCKET_OPTIONS)
    checks = asyncio.run(check_replay(plan))
    assert [check.arm for check in checks] == ["pocket-xs:reasoning@4", "pocket-xs:reasoning@16"]
    for check in checks:
        assert check.is_passed
        assert (check.accuracy.n, check.n_identical) == (240, 240)


class Forgetful(FakeBackend):
    """A server whose continuations know nothing of what they continue."""

    async def generate(self, request: GenerationRequest) -> Completion:
        completion = await super().generate(request)
        return replace(completion, text="#### 0") if request.continuation else completion


def test_the_check_fails_where_continuations_differ() -> None:
    def always_right(request: GenerationRequest) -> FakeAnswer:
        return FakeAnswer("#### 1", thinking="a b c d e f")

    questions = tuple(Question(f"q{n}", f"{n}?", "1", f"q{n}") for n in range(200))
    task = Task("ones", "math-oe", questions, "number")
    plan = make_plan(Forgetful(always_right), ("2", "max"), tasks=(task,))
    [check] = asyncio.run(check_replay(plan))
    assert not check.is_passed
    assert check.accuracy.interval.low > 0.9


def test_a_check_that_could_show_nothing_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="8 questions are too few"):
        asyncio.run(check_replay(make_plan(FakeBackend(count_up))))
    with pytest.raises(InvalidInputError, match="told from a longer trace"):
        asyncio.run(check_replay(make_plan(FakeBackend(count_up), ("max",))))
