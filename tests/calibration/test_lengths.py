"""Natural lengths of thoughts: read off a run's largest budget, and never beyond its cap."""

import asyncio
from pathlib import Path

import pytest

from calibration import (
    Arm,
    CellLengths,
    ModelFacts,
    Plan,
    Question,
    RunStore,
    Task,
    length_curves,
    run_plan,
    store_path,
)
from policies import DecodingOptions, GenerationRequest, InvalidInputError, build_policy
from policies.backends.fake import FakeAnswer, FakeBackend

N_QUESTIONS = 20


def think_long(request: GenerationRequest) -> FakeAnswer:
    """Think one word more for each question; long thoughts end with a wrong answer."""
    number = int(request.messages[-1].content[:-1])
    thought = " ".join("w" * (number + 1))
    return FakeAnswer(f"#### {int(number < 10)}", thinking=thought)


def measure(folder: Path, *policies: str, cap: int = 64) -> list[CellLengths]:
    backend = FakeBackend(think_long)
    questions = tuple(Question(f"q{n}", f"{n}?", "1", f"q{n}") for n in range(N_QUESTIONS))
    arms = tuple(Arm(backend, build_policy(p), ModelFacts("fake")) for p in policies)
    options = DecodingOptions(max_answer_tokens=4, max_thinking_tokens=cap)
    plan = Plan((Task("words", "math-oe", questions, "number"),), arms, options)
    with RunStore.create(store_path(folder)) as store:
        asyncio.run(run_plan(plan, store))
    with RunStore.open(store_path(folder)) as store:
        return length_curves(store.thoughts(), cap)


def test_the_curve_is_that_of_thoughts_that_nothing_stopped(tmp_path: Path) -> None:
    [found] = measure(tmp_path, "direct", "reasoning@4", "reasoning@max")
    assert (found.task, found.policy) == ("words", "reasoning@max")
    assert (found.curve.n, found.curve.n_cut) == (20, 0)
    assert [found.curve.at(b).estimate for b in (0, 5, 20)] == [0.0, 0.25, 1.0]


def test_wrong_answers_are_kept_apart(tmp_path: Path) -> None:
    [found] = measure(tmp_path, "reasoning@max")
    assert found.right is not None
    assert found.wrong is not None
    assert (found.right.n, found.wrong.n) == (10, 10)
    assert found.right.at(10).estimate == 1.0
    assert found.wrong.at(10).estimate == 0.0


def test_beyond_the_largest_budget_nothing_is_told(tmp_path: Path) -> None:
    [found] = measure(tmp_path, "reasoning@4", "reasoning@8")
    assert (found.policy, found.curve.largest_cap) == ("reasoning@8", 8)
    # A thought of exactly eight words may have been stopped there: it counts as cut.
    assert found.curve.n_cut == 13
    assert found.curve.at(7).estimate == 7 / 20
    with pytest.raises(InvalidInputError, match="where lengths are known"):
        found.curve.at(9)
    assert found.curve.quantile(0.9) is None


def test_a_run_without_thoughts_has_no_curve(tmp_path: Path) -> None:
    assert measure(tmp_path, "direct") == []
