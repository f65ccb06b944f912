"""The training set: moments of its lengths, and what is refused."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from advisor.cost import Range, Workload
from policies import InvalidInputError

COUNTS = st.lists(st.integers(0, 30_000), min_size=1, max_size=20)


@given(data=st.data())
def test_measured_lengths_keep_mean_and_mean_square(data: st.DataObject) -> None:
    direct = data.draw(COUNTS.filter(any))
    n = len(direct)
    same = st.lists(st.integers(0, 30_000), min_size=n, max_size=n)
    prompts = data.draw(same)
    traces = data.draw(same.filter(lambda column: sum(column) >= 0.001 * sum(direct)))
    workload = Workload.measured(prompts, direct, traces)
    for row, answers in ((workload.ift_row, direct), (workload.reasoning_row, traces)):
        lengths = [p + a for p, a in zip(prompts, answers, strict=True)]
        assert row.mean_tokens == pytest.approx(sum(lengths) / n)
        assert row.mean_square == pytest.approx(sum(t * t for t in lengths) / n)


def test_measured_rows_may_stand_for_more_rows() -> None:
    workload = Workload.measured([10, 20], [5, 7], [50, 70], n_rows=1000, n_epochs=3)
    assert (workload.n_rows, workload.n_epochs, workload.trace_ratio) == (1000, 3, 10)


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        (([], [], []), "at least 1"),
        (([1], [1, 2], [1, 2]), "as many of each"),
        (([1], [-1], [5]), "negative"),
        (([1, 1], [0, 0], [5, 5]), "every direct answer is empty"),
    ],
)
def test_columns_that_are_no_pairs_are_refused(columns: list[list[int]], reason: str) -> None:
    with pytest.raises(InvalidInputError, match=reason):
        Workload.measured(*columns)


@pytest.mark.parametrize("field", ["n_rows", "prompt_tokens", "answer_tokens", "n_epochs"])
@pytest.mark.parametrize("value", [-1, math.nan, math.inf, 1e30, True, "300"])
def test_numbers_that_are_no_amounts_are_refused(field: str, value: float) -> None:
    with pytest.raises(InvalidInputError, match=f"{field}=.*expected"):
        replace(Workload(), **{field: value})


@pytest.mark.parametrize("field", ["n_rows", "answer_tokens", "trace_ratio", "n_epochs"])
def test_nothing_is_no_amount_either(field: str) -> None:
    with pytest.raises(InvalidInputError, match=field):
        replace(Workload(), **{field: 0})


def test_rows_may_have_no_prompt() -> None:
    assert Workload(prompt_tokens=0).ift_row.mean_tokens == 600


@pytest.mark.parametrize("value", [-0.5, math.nan, 1000])
def test_an_impossible_spread_is_refused(value: float) -> None:
    with pytest.raises(InvalidInputError, match="reasoning_variation"):
        Workload(reasoning_variation=value)


def test_an_endless_integer_is_refused_in_one_short_line() -> None:
    with pytest.raises(InvalidInputError, match="n_rows") as caught:
        Workload(n_rows=10**5000)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("values", [(2, 1, 3), (1, 3, 2), (math.nan, 1, 2), (1, math.nan, 2)])
def test_a_range_out_of_order_is_refused(values: tuple[float, float, float]) -> None:
    with pytest.raises(InvalidInputError, match="low <= mid <= high"):
        Range(*values)


def test_ranges_add_and_scale() -> None:
    total = Range(1, 2, 3).plus(Range.exactly(1)).scaled(2)
    assert total == Range(4, 6, 8)
    assert Range(1, 2, 3).map(lambda value: value * value) == Range(1, 4, 9)
