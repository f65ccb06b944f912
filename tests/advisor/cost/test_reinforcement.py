"""Signal and cost of group-relative policy optimisation."""

import math
import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from advisor.cost import (
    Gpus,
    generations_for_signal,
    grpo_cost,
    grpo_signal,
    grpo_signal_from_counts,
    inference_flops,
    network,
)
from policies import InvalidInputError

RATE = st.floats(0, 1)
GROUP = st.integers(2, 64)


@pytest.mark.parametrize(("rate", "share"), [(0.01, 0.08), (0.05, 0.34), (0.3, 0.94), (0.95, 0.34)])
def test_the_signal_of_eight_answers_is_the_known_one(rate: float, share: float) -> None:
    assert grpo_signal(rate, 8).share == pytest.approx(share, abs=0.005)


@pytest.mark.parametrize("rate", [0, 1])
def test_questions_that_are_always_or_never_solved_teach_nothing(rate: float) -> None:
    assert grpo_signal(rate, 64).share == 0
    assert generations_for_signal(rate, 0.01) is None


def test_the_signal_is_that_of_simulated_groups() -> None:
    rng = random.Random(4)
    rates = [0.02, 0.2, 0.7, 0.99]
    n_trials = 40_000
    mixed = 0
    for _ in range(n_trials):
        rate = rng.choice(rates)
        right = sum(rng.random() < rate for _ in range(8))
        mixed += 0 < right < 8
    share = grpo_signal(rates, 8).share
    # Four standard errors of a share over the trials.
    assert mixed / n_trials == pytest.approx(share, abs=4 * math.sqrt(0.25 / n_trials))


@given(rates=st.lists(RATE, min_size=1, max_size=20), group=GROUP)
def test_the_mean_rate_only_bounds_the_signal(rates: list[float], group: int) -> None:
    signal = grpo_signal(rates, group)
    assert 0 <= signal.share <= signal.share_at_mean_rate <= 1
    assert signal.mean_pass_rate == pytest.approx(sum(rates) / len(rates))
    assert signal.n_questions == len(rates)


def test_half_solved_and_half_hopeless_looks_like_a_signal_and_is_none() -> None:
    signal = grpo_signal([0.0] * 50 + [1.0] * 50, 8)
    assert signal.share == 0
    assert signal.share_at_mean_rate > 0.99


@given(rate=RATE, groups=st.tuples(GROUP, GROUP))
def test_larger_groups_have_more_signal(rate: float, groups: tuple[int, int]) -> None:
    small, large = sorted(groups)
    assert grpo_signal(rate, small).share <= grpo_signal(rate, large).share + 1e-12


@given(rates=st.lists(RATE, min_size=1, max_size=5), share=RATE)
def test_the_smallest_group_with_enough_signal_is_found(
    rates: Sequence[float], share: float
) -> None:
    group = generations_for_signal(rates, share, at_most=128)
    if group is None:
        assert grpo_signal(rates, 128).share < share
    else:
        assert grpo_signal(rates, group).share >= share
        assert group == 2 or grpo_signal(rates, group - 1).share < share


@pytest.mark.parametrize("group", [2, 4, 7])
@pytest.mark.parametrize("rate", [0.05, 0.5, 0.9])
def test_counts_give_the_signal_without_bias_where_rates_do_not(rate: float, group: int) -> None:
    n_samples = 8
    probabilities = [
        math.comb(n_samples, c) * rate**c * (1 - rate) ** (n_samples - c)
        for c in range(n_samples + 1)
    ]
    expected = sum(
        p * grpo_signal_from_counts([c], n_samples, group).share
        for c, p in enumerate(probabilities)
    )
    assert expected == pytest.approx(grpo_signal(rate, group).share)
    plugged_in = sum(
        p * grpo_signal(c / n_samples, group).share for c, p in enumerate(probabilities)
    )
    assert plugged_in < expected


@given(data=st.data(), n_samples=st.integers(2, 30))
def test_counts_are_bounded_by_their_mean_too(data: st.DataObject, n_samples: int) -> None:
    group = data.draw(st.integers(2, n_samples))
    counts = data.draw(st.lists(st.integers(0, n_samples), min_size=1, max_size=10))
    signal = grpo_signal_from_counts(counts, n_samples, group)
    assert 0 <= signal.share <= signal.share_at_mean_rate <= 1


@pytest.mark.parametrize("rate", [-0.1, 1.1, 25, math.nan, math.inf])
def test_rates_that_are_no_shares_are_refused(rate: float) -> None:
    with pytest.raises(InvalidInputError, match="pass rate"):
        grpo_signal(rate, 8)
    with pytest.raises(InvalidInputError, match="pass rate"):
        grpo_signal([0.5, rate], 8)


@pytest.mark.parametrize("group", [1, 0, -8, 2.5, 10**9])
def test_a_group_of_one_is_no_group(group: int) -> None:
    with pytest.raises(InvalidInputError, match="n_generations"):
        grpo_signal(0.5, group)


def test_counts_that_cannot_be_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="no pass rate"):
        grpo_signal([], 8)
    with pytest.raises(InvalidInputError, match="no question"):
        grpo_signal_from_counts([], 8, 4)
    with pytest.raises(InvalidInputError, match="sample more answers"):
        grpo_signal_from_counts([1], 4, 8)
    with pytest.raises(InvalidInputError, match="right answers"):
        grpo_signal_from_counts([9], 8, 4)


def test_a_run_costs_one_prefill_each_decode_and_the_passes_of_learning() -> None:
    cost = grpo_cost("3B", n_prompts=1000, n_generations=8, prompt_tokens=200, answer_tokens=1000)
    known = network("3B")
    prefill = known.prefill_flops(200)
    decode = inference_flops("3B", 200, 1000) - prefill
    assert cost.rollout_flops == pytest.approx(1000 * (prefill + 8 * decode))
    forward = 2 * known.n_product_params * 1200 + known.attention_flops(1200, 1200**2)
    assert cost.update_flops == pytest.approx(1000 * 8 * 4 * forward)
    assert cost.flops == pytest.approx(cost.rollout_flops + cost.update_flops)


@pytest.mark.parametrize(("old", "reference", "n"), [(0, 0, 6), (1, 0, 8), (0, 1, 8), (1, 1, 10)])
def test_learning_is_6_to_10_n_a_token(old: int, reference: int, n: int) -> None:
    cost = grpo_cost(
        "14B",
        n_prompts=100,
        prompt_tokens=10,
        answer_tokens=100,
        has_old_policy=bool(old),
        has_reference=bool(reference),
    )
    n_tokens = 100 * 8 * 110
    assert cost.update_flops / n_tokens / network("14B").n_product_params == pytest.approx(
        n, rel=0.01
    )
    assert cost.n_passes * 2 == n


@pytest.mark.parametrize("size", ["0.5B", "3B", "14B"])
def test_time_is_mostly_generation_though_flops_are_not(size: str) -> None:
    cost = grpo_cost(size, n_prompts=10_000, answer_tokens=4000)
    assert cost.rollout_share > 0.6
    assert cost.rollout_flops / cost.flops < 0.25
    assert cost.rollout.mfu < 0.1


def test_more_answers_at_a_time_waste_less() -> None:
    few, many = (
        grpo_cost("3B", n_prompts=10_000, answer_tokens=4000, step_answers=n) for n in (8, 1024)
    )
    assert few.flops == many.flops
    assert few.gpu_hours.mid > 2 * many.gpu_hours.mid


def test_money_and_wall_time_follow_from_the_gpus() -> None:
    cost = grpo_cost(
        "3B", n_prompts=1000, answer_tokens=500, gpus=Gpus.parse("4xa100", usd_per_hour=2)
    )
    assert cost.usd is not None
    assert cost.usd.high == pytest.approx(2 * cost.gpu_hours.high)
    assert cost.wall_hours.mid == pytest.approx(cost.gpu_hours.mid / 4)
    assert cost.gpus == "4 x A100-SXM-80GB"


@pytest.mark.parametrize(
    ("field", "value"),
    [("n_prompts", 0), ("answer_tokens", math.nan), ("prompt_tokens", -1), ("step_answers", 0)],
)
def test_impossible_runs_are_refused(field: str, value: float) -> None:
    settings: dict[str, object] = {"n_prompts": 100, "answer_tokens": 500.0, field: value}
    with pytest.raises(InvalidInputError, match=field):
        grpo_cost("3B", **settings)  # pyright: ignore[reportArgumentType]
