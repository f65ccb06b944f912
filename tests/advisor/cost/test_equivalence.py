"""Options that cost the same."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from advisor.cost import Workload, break_even_trace_ratio, equal_cost_size, training_flops
from policies import InvalidInputError, ModelSize


@pytest.mark.parametrize("m", [5, 10, 20])
def test_reasoning_at_3b_costs_as_much_as_direct_answers_at_more_than_n_times_m(m: float) -> None:
    workload = Workload(prompt_tokens=0, trace_ratio=m)
    size = equal_cost_size(training_flops("3B", 1.0, workload), 0.0, workload)
    assert size is not None
    # 15B, 31B and 62B by tokens alone; attention over the traces makes it more.
    assert 1.05 < size.n_params / (3.086e9 * m) < 1.35


@given(n_params=st.integers(110_000_000, 90_000_000_000), ratio=st.floats(0, 1))
def test_the_size_found_is_the_largest_that_costs_no_more(n_params: int, ratio: float) -> None:
    workload = Workload()
    flops = training_flops(ModelSize(n_params), ratio, workload)
    size = equal_cost_size(flops * 1.0001, ratio, workload)
    assert size is not None
    assert training_flops(size, ratio, workload) <= flops * 1.0001
    assert size.n_params >= 0.998 * n_params


def test_a_budget_outside_all_sizes_is_told_apart() -> None:
    assert equal_cost_size(1e12, 0.0, Workload()) is None
    assert equal_cost_size(1e30, 0.0, Workload()) == ModelSize(100_000_000_000)


def test_at_the_break_even_both_cost_the_same() -> None:
    workload = Workload()
    m = break_even_trace_ratio(("3B", 1.0), ("14B", 0.0), workload)
    assert m is not None
    # By tokens alone, with prompts of no length, it is 14.77B / 3.09B = 4.8.
    assert 4 < m < 6
    rows = replace(workload, trace_ratio=m)
    assert training_flops("3B", 1.0, rows) == pytest.approx(
        training_flops("14B", 0.0, rows), rel=1e-3
    )


def test_there_is_no_break_even_where_one_option_always_costs_more() -> None:
    assert break_even_trace_ratio(("14B", 1.0), ("3B", 0.0), Workload()) is None
    assert break_even_trace_ratio(("0.5B", 0.25), ("0.5B", 1.0), Workload()) is None


def test_direct_answers_have_no_traces_to_lengthen() -> None:
    with pytest.raises(InvalidInputError, match="only above 0"):
        break_even_trace_ratio(("3B", 0.0), ("14B", 0.0), Workload())


@pytest.mark.parametrize("flops", [0, -1, float("nan"), float("inf")])
def test_impossible_flops_are_refused(flops: float) -> None:
    with pytest.raises(InvalidInputError, match="FLOPs"):
        equal_cost_size(flops, 0.0, Workload())
