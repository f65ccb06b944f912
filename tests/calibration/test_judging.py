"""A judge over a run: verdicts are kept, asked once, and compared with the rule's outcomes."""

import asyncio
import re
from pathlib import Path

import pytest

from calibration import (
    Arm,
    JudgedRun,
    MeasuredTable,
    ModelFacts,
    Plan,
    Question,
    RunStore,
    Task,
    judge_run,
    run_plan,
    store_path,
)
from policies import (
    BackendError,
    BackendTimeoutError,
    DecodingOptions,
    GenerationRequest,
    build_policy,
)
from policies.backends.fake import FakeAnswer, FakeBackend


@pytest.fixture
def run(tmp_path: Path) -> Path:
    questions = tuple(Question(f"q{n}", f"{n}?", str(n % 2), f"q{n}") for n in range(20))
    arm = Arm(
        FakeBackend(lambda _: FakeAnswer("#### 1")), build_policy("direct"), ModelFacts("fake")
    )
    plan = Plan((Task("ones", "math-oe", questions, "number"),), (arm,), DecodingOptions())
    with RunStore.create(store_path(tmp_path)) as store:
        asyncio.run(run_plan(plan, store))
    return tmp_path


def strict(request: GenerationRequest) -> FakeAnswer:
    """Find an answer right if its question's number ends in 1, whatever the rule says."""
    prompt = request.messages[-1].content
    mark = str(re.search(r"<question-(\w+)>", prompt)).split("<question-")[1].split(">")[0]
    number = prompt.split(f"<question-{mark}>\n")[1].split("?")[0]
    verdict = "correct" if number.endswith("1") else "wrong"
    return FakeAnswer(f"1\nVerdict {mark}: {verdict}")


def judged(run: Path, backend: FakeBackend, limit: int | None = None) -> JudgedRun:
    with RunStore.create(store_path(run)) as store:
        return asyncio.run(judge_run(store, backend, limit=limit))


def test_agreement_with_the_rule_is_reported_and_scores_stay(run: Path) -> None:
    found = judged(run, FakeBackend(strict, model="judge"))
    # The rule finds the ten odd numbers right, the judge 1 and 11.
    assert (found.n_asked, found.n_known, found.n_error) == (20, 0, 0)
    assert found.overall.n == 20
    assert found.overall.observed.estimate == 12 / 20
    assert len(found.overall.rule_only) == 8
    assert found.by_task["ones"] == found.overall
    with RunStore.open(store_path(run)) as store:
        [cell] = MeasuredTable.from_store(store).cells
    assert cell.n_correct == 10


def test_what_is_judged_is_not_asked_again(run: Path) -> None:
    first = judged(run, FakeBackend(strict, model="judge"), limit=7)
    again = FakeBackend(strict, model="judge")
    second = judged(run, again)
    assert (first.n_asked, second.n_asked, second.n_known) == (7, 13, 7)
    assert len(again.calls) == 13
    other = judged(run, FakeBackend(strict, model="other judge"))
    assert (other.n_asked, other.overall.observed) == (20, second.overall.observed)


def test_an_error_is_no_verdict_and_is_asked_again(run: Path) -> None:
    error: BackendError = BackendTimeoutError("slow", backend="fake", model="judge")
    found = judged(run, FakeBackend(strict, model="judge", failures=[error, error]))
    assert (found.n_asked, found.n_error, found.overall.n) == (18, 2, 18)
    assert "slow" in str(found.first_error)
    assert judged(run, FakeBackend(strict, model="judge")).n_asked == 2
