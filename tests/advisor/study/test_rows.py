"""Which rows of a run are reasoning rows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from advisor.study._rows import pure_start, reasoning_rows
from advisor.study._student import Stage, Student, StudyOrder
from policies import InvalidInputError

RATIOS = st.sampled_from([0.25, 0.5, 0.75])
ONE_STAGE = [order for order in StudyOrder if not order.is_two_stage]
HYBRID = StudyOrder.REASONING_THEN_HYBRID


@given(st.integers(32, 500), st.floats(0, 1), st.sampled_from(ONE_STAGE), st.integers())
def test_the_share_of_reasoning_rows_is_the_ratio_rounded(
    n_rows: int, ratio: float, order: StudyOrder, seed: int
) -> None:
    if order is HYBRID and ratio <= 0.5:
        return
    rows = reasoning_rows(Stage("math", ratio, order), n_rows, seed)
    assert len(rows) == n_rows
    assert sum(rows) == round(ratio * n_rows)


@given(st.integers(0, 1000))
def test_reasoning_rows_of_a_mixture_are_among_those_of_every_larger_ratio(seed: int) -> None:
    small, large = (
        reasoning_rows(Stage("math", ratio, StudyOrder.MIXED), 200, seed) for ratio in (0.25, 0.75)
    )
    assert all(more for less, more in zip(small, large, strict=True) if less)
    assert small != sorted(small)


def test_sequential_rows_are_direct_first_and_reasoning_first_the_other_way_round() -> None:
    first, last = (
        reasoning_rows(Stage("math", 0.25, order), 8, 1)
        for order in (StudyOrder.IFT_THEN_REASONING, StudyOrder.REASONING_THEN_IFT)
    )
    assert first == [False] * 6 + [True] * 2
    assert last == [True] * 2 + [False] * 6


def test_a_hybrid_part_is_half_direct_and_comes_after_pure_reasoning() -> None:
    rows = reasoning_rows(Stage("math", 0.75, HYBRID), 400, 1)
    assert all(rows[:200])
    assert sum(rows[200:]) == 100
    assert set(rows[200:220]) == {True, False}


@given(RATIOS, st.sampled_from(ONE_STAGE), st.integers(0, 50))
def test_the_pure_start_ends_where_the_other_kind_begins(
    ratio: float, order: StudyOrder, seed: int
) -> None:
    if order is HYBRID and ratio <= 0.5:
        return
    rows = reasoning_rows(Stage("math", ratio, order), 64, seed)
    kind, n = pure_start(rows)
    assert rows[:n] == [kind] * n
    assert rows[n] is not kind


def test_all_rows_of_a_pure_recipe_are_its_start() -> None:
    rows = reasoning_rows(Stage("math", 1.0, StudyOrder.MIXED), 40, 1)
    assert pure_start(rows) == (True, 40)


def test_stages_of_a_two_stage_student_are_pure_and_make_its_ratio() -> None:
    order = StudyOrder.GENERAL_IFT_MATH_REASONING
    student = Student("pocket-xs", "general_then_math", 0.5, order, 1)
    assert student.stages == (
        Stage("general", 0.0, StudyOrder.MIXED),
        Stage("math", 1.0, StudyOrder.MIXED),
    )
    assert student.id == "pocket-xs.general_then_math.general_ift_then_math_reasoning.seed1"


@pytest.mark.parametrize(
    ("corpus", "ratio", "order"),
    [
        ("math", 1.5, StudyOrder.MIXED),
        ("math", 0.0, StudyOrder.IFT_THEN_REASONING),
        ("math", 0.5, HYBRID),
        ("math", 0.5, StudyOrder.GENERAL_IFT_MATH_REASONING),
        ("general_then_math", 1.0, StudyOrder.GENERAL_IFT_MATH_REASONING),
    ],
)
def test_recipes_that_contradict_themselves_are_refused(
    corpus: str, ratio: float, order: StudyOrder
) -> None:
    with pytest.raises(InvalidInputError, match="is no recipe"):
        Student("pocket-xs", corpus, ratio, order, 1)
