"""The difference of two arms over shared questions: coverage, clusters, few questions."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from advisor.evidence import RecordedArm, paired_gain
from calibration import Outcome, OutcomeRecord

FIRST, SECOND = ("own-reasoning", "reasoning@max"), ("own-ift", "direct")
LEVEL = 0.90


def record(
    question: str, arm: tuple[str, str], outcome: Outcome, group: str = "", task: str = "task"
) -> OutcomeRecord:
    return OutcomeRecord(
        question_id=question,
        group=group or question,
        task=task,
        task_type="math-oe",
        prompt="",
        model=arm[0],
        size=None,
        policy=arm[1],
        outcome=outcome,
        prompt_tokens=1,
        completion_tokens=1,
        flops=None,
        seconds=None,
    )


def records(
    first: Sequence[bool], second: Sequence[bool], per_group: int = 1, task: str = "task"
) -> list[OutcomeRecord]:
    """Return the answers of both arms to as many questions, documents holding `per_group`."""
    made: list[OutcomeRecord] = []
    for number, answers in enumerate(zip(first, second, strict=True)):
        for arm, is_right in zip((FIRST, SECOND), answers, strict=True):
            question, group = f"{task}-{number}", f"{task}-document-{number // per_group}"
            made.append(
                record(question, arm, Outcome.CORRECT if is_right else Outcome.WRONG, group, task)
            )
    return made


def recorded(answers: Sequence[OutcomeRecord], arm: tuple[str, str]) -> RecordedArm:
    """Return an arm with the accuracies that its own records give."""
    graded: dict[str, list[bool]] = {}
    for one in answers:
        if (one.model, one.policy) == arm and one.outcome is not Outcome.ERROR:
            graded.setdefault(one.task, []).append(one.outcome is Outcome.CORRECT)
    return RecordedArm(*arm, {task: sum(right) / len(right) for task, right in graded.items()})


def paired(
    answers: Sequence[OutcomeRecord], tasks: Sequence[str] = ("task",)
) -> tuple[float, ...] | None:
    return paired_gain(answers, recorded(answers, FIRST), recorded(answers, SECOND), tasks)


def gain(answers: Sequence[OutcomeRecord], tasks: Sequence[str] = ("task",)) -> tuple[float, ...]:
    found = paired(answers, tasks)
    assert found is not None
    return found


def simulated(
    n: int, discordance: float, difference: float, n_draws: int, seed: int
) -> list[tuple[float, ...]]:
    """Return intervals for independent questions with a known difference."""
    rng = np.random.default_rng(seed)
    better, worse = (discordance + difference) / 2, (discordance - difference) / 2
    found: list[tuple[float, ...]] = []
    for _ in range(n_draws):
        kind = rng.choice(3, size=n, p=[better, worse, 1 - discordance])
        found.append(gain(records((kind != 1).tolist(), (kind != 0).tolist())))
    return found


@pytest.mark.parametrize("n", [20, 30, 100])
@pytest.mark.parametrize(("discordance", "difference"), [(0.15, 0.0), (0.3, 0.0), (0.1, 0.08)])
def test_interval_covers_with_few_questions(n: int, discordance: float, difference: float) -> None:
    intervals = simulated(n, discordance, difference, 400, seed=n)
    covered = np.mean([low <= difference <= high for _, low, high in intervals])
    # 0.03 is two standard errors of 400 draws.
    assert covered >= LEVEL - 0.03


@pytest.mark.parametrize("n", [20, 200])
def test_equal_arms_are_seldom_told_apart(n: int) -> None:
    intervals = simulated(n, 0.3, 0.0, 300, seed=n + 1)
    shown = np.mean([low > 0 or high < 0 for _, low, high in intervals])
    # 10% is the level; 0.035 is two standard errors of 300 draws.
    assert shown <= 0.135


def test_arms_that_never_disagreed_keep_a_width() -> None:
    value, low, high = gain(records([True] * 25, [True] * 25))
    assert value == 0
    assert low <= -0.05
    assert high >= 0.05


def test_interval_is_the_normal_one_where_there_are_many_questions() -> None:
    rng = np.random.default_rng(3)
    first, second = rng.random(3000) < 0.6, rng.random(3000) < 0.5
    value, low, high = gain(records(first.tolist(), second.tolist()))
    gaps = first.astype(float) - second
    half = 1.645 * gaps.std(ddof=1) / math.sqrt(3000)
    assert value == pytest.approx(gaps.mean(), abs=1e-6)
    assert (low, high) == pytest.approx((gaps.mean() - half, gaps.mean() + half), abs=0.001)


def test_questions_about_one_document_widen_the_interval() -> None:
    """Answers that agree within a document are worth one question each document."""
    first = [number // 10 % 2 == 0 for number in range(400)]
    second = [False] * 400
    alone = gain(records(first, second))
    shared = gain(records(first, second, per_group=10))
    assert shared[0] == alone[0]
    assert (shared[2] - shared[1]) / (alone[2] - alone[1]) == pytest.approx(math.sqrt(10), rel=0.1)


def test_clustered_interval_covers() -> None:
    rng = np.random.default_rng(5)
    covered: list[bool] = []
    for _ in range(300):
        documents = rng.beta(2, 2, 40)  # each with its own chance that the first arm is right
        chance = documents.repeat(5)
        answers = records((rng.random(200) < chance).tolist(), (rng.random(200) < 0.4).tolist(), 5)
        _, low, high = gain(answers)
        covered.append(low <= 0.1 <= high)
    assert np.mean(covered) >= LEVEL - 0.035


def test_tasks_count_equally_whatever_their_number_of_questions() -> None:
    answers = [
        *records([True] * 40, [False] * 40, task="a"),
        *records([True, False] * 200, [True, False] * 200, task="b"),
    ]
    assert gain(answers, ["a", "b"])[0] == pytest.approx(0.5)


def test_infrastructure_errors_count_for_neither_arm() -> None:
    answers = records([True] * 30, [False] * 30)
    broken = [
        *(record(f"lost-{number}", FIRST, Outcome.ERROR) for number in range(10)),
        *(record(f"lost-{number}", SECOND, Outcome.CORRECT) for number in range(10)),
    ]
    assert gain([*answers, *broken]) == gain(answers)


def test_fewer_than_twenty_documents_give_no_interval() -> None:
    answers = records([True] * 190, [False] * 190, per_group=10)
    assert paired(answers) is None
    assert paired([]) is None


def test_records_of_other_students_under_the_same_name_are_not_used() -> None:
    answers = records([True] * 30 + [False] * 10, [False] * 40)
    # The cell is of one student, the records of two that were served under one name.
    first = RecordedArm(*FIRST, {"task": 0.4})
    second = recorded(answers, SECOND)
    assert paired_gain(answers, first, second, ["task"]) is None
    same = recorded(answers, FIRST)
    assert paired_gain(answers, same, same, ["task"]) is None


@given(
    outcomes=st.lists(st.tuples(st.booleans(), st.booleans()), min_size=20, max_size=80),
    per_group=st.integers(1, 2),
)
def test_interval_holds_its_value_and_turns_around_with_the_arms(
    outcomes: list[tuple[bool, bool]], per_group: int
) -> None:
    if len(outcomes) < 40:
        per_group = 1
    answers = records([one for one, _ in outcomes], [two for _, two in outcomes], per_group)
    value, low, high = gain(answers)
    assert -1 <= low <= value <= high <= 1
    mirrored = paired_gain(answers, recorded(answers, SECOND), recorded(answers, FIRST), ["task"])
    assert mirrored == pytest.approx((-value, -high, -low), abs=2e-6)
    assert gain(answers[::-1]) == pytest.approx((value, low, high), abs=2e-6)
