"""Baselines choose on training questions only, and what they say they choose."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from calibration import Outcome, OutcomeRecord
from router import OutcomeMatrix
from router.evaluation._baselines import BASELINES, cheapest_arm, most_accurate_arm, oracle_choice

Records = list[OutcomeRecord]
CHOOSE = {baseline.name: baseline.choose for baseline in BASELINES}


def question(number: int, length: int, right: tuple[bool, bool], **fields: str) -> Records:
    return [
        OutcomeRecord(
            question_id=f"{number:04}",
            group=f"{number:04}",
            task=fields.get("task", "a"),
            task_type=fields.get("task_type", "math-oe"),
            prompt="x" * length,
            model="m",
            size=None,
            policy=policy,
            outcome=Outcome.CORRECT if is_right else Outcome.WRONG,
            prompt_tokens=1,
            completion_tokens=tokens,
            flops=None,
            seconds=0.0,
        )
        for policy, is_right, tokens in zip(
            ("direct", "reasoning@max"), right, (10, 100), strict=True
        )
    ]


def matrix(rows: list[Records]) -> OutcomeMatrix:
    return OutcomeMatrix.from_records(record for row in rows for record in row)


@pytest.fixture
def by_length() -> OutcomeMatrix:
    """Short prompts need no reasoning, long ones do."""
    return matrix([question(n, 1 + n, (n < 60, True)) for n in range(100)])


def test_the_length_rule_learns_where_reasoning_starts_to_pay(by_length: OutcomeMatrix) -> None:
    choice = CHOOSE["length rule"](by_length, by_length, 1, 0.0)
    assert choice.tolist() == [0] * 60 + [1] * 40
    lenient = CHOOSE["length rule"](by_length, by_length, 1, 0.05)
    assert lenient.tolist() == [0] * 65 + [1] * 35


def test_the_length_rule_keeps_the_reference_where_nothing_can_be_saved() -> None:
    train = matrix([question(n, 1 + n, (False, True)) for n in range(30)])
    assert CHOOSE["length rule"](train, train, 1, 0.01).tolist() == [1] * 30


def test_the_length_rule_does_not_split_equal_lengths() -> None:
    train = matrix([question(n, 7, (n < 15, True)) for n in range(30)])
    assert set(CHOOSE["length rule"](train, train, 1, 0.01).tolist()) == {1}


def test_the_fixed_cap_is_the_cheapest_arm_within_the_margin() -> None:
    train = matrix([question(n, 1, (n >= 2, True)) for n in range(100)])
    assert set(CHOOSE["fixed cap"](train, train, 1, 0.01).tolist()) == {1}
    assert set(CHOOSE["fixed cap"](train, train, 1, 0.02).tolist()) == {0}


def test_the_best_arm_per_task_falls_back_to_the_type_and_to_all() -> None:
    easy = [question(n, 1, (True, False), task="easy", task_type="qa") for n in range(5)]
    hard = [question(n + 5, 1, (False, True), task="hard") for n in range(9)]
    train = matrix(easy + hard)
    asked = matrix(
        [
            question(20, 1, (True, True), task="easy", task_type="qa"),
            question(21, 1, (True, True), task="easy-2", task_type="qa"),
            question(22, 1, (True, True), task="hard"),
            question(23, 1, (True, True), task="new", task_type="new"),
        ]
    )
    order = [asked.tasks.index(task) for task in ("easy", "easy-2", "hard", "new")]
    assert CHOOSE["best arm per task"](train, asked, 1, 0.01)[order].tolist() == [0, 0, 1, 1]
    assert CHOOSE["best arm per task type"](train, asked, 1, 0.01)[order].tolist() == [0, 0, 1, 1]


def test_no_baseline_looks_at_the_outcomes_it_is_judged_by(
    make_records: Callable[..., Records],
) -> None:
    records = make_records(120)
    flipped = [
        replace(
            record,
            outcome=Outcome.WRONG if record.outcome == Outcome.CORRECT else Outcome.CORRECT,
            completion_tokens=1000 - (record.completion_tokens or 0),
        )
        for record in records
    ]
    train = OutcomeMatrix.from_records(make_records(200, seed=9))
    for name, choose in CHOOSE.items():
        seen, unseen = (OutcomeMatrix.from_records(rows) for rows in (records, flipped))
        assert (choose(train, seen, 2, 0.01) == choose(train, unseen, 2, 0.01)).all(), name


def test_ties_go_to_the_cheaper_arm() -> None:
    tied = matrix([question(n, 1, (n % 2 == 0, n % 2 == 0)) for n in range(10)])
    assert (most_accurate_arm(tied), cheapest_arm(tied)) == (0, 0)
    assert set(oracle_choice(tied.correct, tied.tokens).tolist()) == {0}
    assert oracle_choice(np.array([[0.0, 1.0]]), np.array([[1.0, 9.0]])).tolist() == [1]
