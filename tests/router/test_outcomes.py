import random
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration import Outcome, OutcomeRecord
from policies import InvalidInputError
from router import Arm, OutcomeMatrix

BASE = OutcomeRecord(
    question_id="q",
    group="g",
    task="t",
    task_type="math-oe",
    prompt="1+1",
    model="m",
    size=None,
    policy="direct",
    outcome=Outcome.CORRECT,
    prompt_tokens=5,
    completion_tokens=10,
    flops=None,
    seconds=1.0,
)


def test_repeated_samples_are_averaged() -> None:
    matrix = OutcomeMatrix.from_records(
        [BASE, replace(BASE, outcome=Outcome.WRONG, completion_tokens=20)]
    )
    assert matrix.correct.tolist() == [[0.5]]
    assert matrix.tokens.tolist() == [[15.0]]
    assert matrix.n_samples.tolist() == [[2]]


def test_an_error_is_a_gap_and_never_wrong() -> None:
    error = replace(BASE, policy="reasoning@max", outcome=Outcome.ERROR)
    other = replace(error, question_id="r", group="r", outcome=Outcome.CORRECT)
    matrix = OutcomeMatrix.from_records([BASE, error, other])
    assert np.isnan(matrix.correct[0, 1])
    assert matrix.is_complete.tolist() == [False, False]
    assert matrix.n_errors == 1


def test_a_cut_answer_counts_as_not_correct() -> None:
    matrix = OutcomeMatrix.from_records([replace(BASE, outcome=Outcome.CUT)])
    assert matrix.correct.tolist() == [[0.0]]


def test_unknown_flops_stay_unknown() -> None:
    matrix = OutcomeMatrix.from_records([BASE, replace(BASE, question_id="r", flops=8.0)])
    assert np.isnan(matrix.flops[0, 0])
    assert matrix.flops[1, 0] == 8.0


def test_policy_spellings_of_one_arm_are_one_arm() -> None:
    other = replace(BASE, question_id="r", policy=" Direct ")
    assert [arm.name for arm in OutcomeMatrix.from_records([BASE, other]).arms] == ["m:direct"]


def test_arms_go_from_small_and_direct_to_large_and_long() -> None:
    pairs = [("b", 9, "direct"), ("a", 1, "reasoning@max"), ("a", 1, "reasoning@8")]
    pairs.append(("a", 1, "direct"))
    matrix = OutcomeMatrix.from_records(
        replace(BASE, model=model, size=size, policy=policy) for model, size, policy in pairs
    )
    expected = ["a:direct", "a:reasoning@8", "a:reasoning@max", "b:direct"]
    assert [arm.name for arm in matrix.arms] == expected


def test_a_policy_that_is_not_installed_is_described_by_its_name() -> None:
    assert Arm.parse("m", "telepathy@8").mode == "reasoning"
    assert Arm.parse("m", "sc(n=5)/reasoning@32").budget == 32


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": "2+2"},
        {"task_type": "general-oe"},
        {"group": "h"},
        {"size": 7},
        {"completion_tokens": -1},
        {"seconds": float("inf")},
    ],
)
def test_contradictions_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(InvalidInputError):
        OutcomeMatrix.from_records([BASE, replace(BASE, **change)])


def test_errors_alone_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="1 errors"):
        OutcomeMatrix.from_records([replace(BASE, outcome=Outcome.ERROR)])


@settings(max_examples=20, deadline=None)
@given(st.randoms(use_true_random=False))
def test_the_order_of_records_does_not_matter(
    make_records: Callable[..., list[OutcomeRecord]], rng: random.Random
) -> None:
    records = make_records(15) + make_records(15, seed=0)
    records[0] = replace(records[0], seconds=0.1 + 1e-17)
    shuffled = list(records)
    rng.shuffle(shuffled)
    first, second = (OutcomeMatrix.from_records(each) for each in (records, shuffled))
    assert first.digest() == second.digest()
