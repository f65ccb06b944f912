"""Costs of answering, against the exact count, the research table and brute force."""

import csv
import math
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from advisor.cost import (
    Gpus,
    break_even,
    inference_flops,
    network,
    serving_cost,
    total_flops,
)
from calibration.cost import Architecture, Layer, known_architecture, request_flops
from policies import InvalidInputError

TABLE = Path(__file__).resolve().parents[4] / "shared/tables/flops_conventions_qwen25_derived.csv"
COST = st.floats(0, 1e25)


@given(
    size=st.sampled_from(["0.5B", "1.5B", "3B", "7B", "14B", "32B"]),
    prompt=st.integers(1, 30_000),
    answer=st.integers(1, 40_000),
)
def test_a_query_costs_what_calibration_counts(size: str, prompt: int, answer: int) -> None:
    expected = request_flops(known_architecture(f"Qwen2.5-{size}"), prompt, answer)
    assert inference_flops(size, prompt, answer) == pytest.approx(expected, rel=1e-12)


def test_windows_are_kept() -> None:
    layers = tuple(
        Layer(n_heads=4, n_kv_heads=2, head_dim=8, intermediate=64, window=window)
        for window in (None, 16, 64)
    )
    model = Architecture(hidden=32, vocab=100, layers=layers, is_tied=True)
    assert inference_flops(model, 50, 100) == pytest.approx(request_flops(model, 50, 100))


@pytest.mark.skipif(not TABLE.exists(), reason=f"{TABLE} is not there")
def test_a_query_costs_what_the_research_table_says() -> None:
    with TABLE.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 30
    for row in rows:
        prompt, answer = int(row["prompt_tokens"]), int(row["generated_tokens"])
        flops = inference_flops(row["size"], prompt, answer)
        assert flops == pytest.approx(float(row["exact_matmul_causal"]), rel=6e-4)
        two_n = 2 * network(row["size"]).n_params * (prompt + answer)
        assert two_n == pytest.approx(float(row["two_N_total"]), rel=6e-4)


@given(prompt=st.floats(1, 1e4), answer=st.floats(1, 1e5), more=st.floats(0, 1e5))
def test_longer_answers_cost_more(prompt: float, answer: float, more: float) -> None:
    assume(more == 0 or answer + more > answer)
    short, long = (inference_flops("4B", prompt, tokens) for tokens in (answer, answer + more))
    assert short <= long


@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf, 1e12])
def test_impossible_lengths_are_refused(value: float) -> None:
    with pytest.raises(InvalidInputError, match="prompt_tokens"):
        inference_flops("3B", value, 100)
    with pytest.raises(InvalidInputError, match="answer_tokens"):
        inference_flops("3B", 100, value)


def test_a_life_is_training_plus_every_query() -> None:
    life = total_flops(3e19, 6e13, 10_000, days=100)
    assert life.serving_flops_per_day == pytest.approx(6e17)
    assert life.serving_flops == pytest.approx(6e19)
    assert life.flops == pytest.approx(9e19)
    assert life.days_to_training == pytest.approx(50)
    assert total_flops(0, 1e12, 1).flops == pytest.approx(365e12)


@pytest.mark.parametrize(
    "numbers",
    [(-1, 1e12, 10, 365), (1e19, 0, 10, 365), (1e19, 1e12, 0, 365), (1e19, 1e12, 10, math.nan)],
)
def test_an_impossible_life_is_refused(numbers: tuple[float, float, float, float]) -> None:
    with pytest.raises(InvalidInputError):
        total_flops(*numbers)


@given(first=st.tuples(COST, COST), second=st.tuples(COST, COST), days=st.floats(1, 3650))
def test_the_break_even_separates_where_either_option_wins(
    first: tuple[float, float], second: tuple[float, float], days: float
) -> None:
    found = break_even(first, second, days)

    def winner(queries_per_day: float) -> str:
        total = [train + serve * queries_per_day * days for train, serve in (first, second)]
        return "first" if total[0] < total[1] else "second"

    if found.cheaper == "either":
        assert first == second
    elif found.queries_per_day is None:
        index = 0 if found.cheaper == "first" else 1
        options = (first, second)
        assert all(a <= b for a, b in zip(options[index], options[1 - index], strict=True))
    else:
        assume(math.isfinite(found.queries_per_day) and found.queries_per_day > 0)
        for share in (0.5, 2.0):
            queries = found.queries_per_day * share
            total = [train + serve * queries * days for train, serve in (first, second)]
            assume(abs(total[0] - total[1]) > 1e-9 * max(total))
            assert (winner(queries) == found.cheaper) == (share > 1)


def test_reasoning_at_3b_never_pays_off_against_direct_answers_at_14b() -> None:
    # More expensive to train and to serve: traffic does not matter.
    assert break_even((28e18, 6.2e13), (20e18, 2.9e13)).queries_per_day is None
    assert break_even((28e18, 6.2e13), (20e18, 2.9e13)).cheaper == "second"
    assert break_even((1, 1), (1, 1)).cheaper == "either"


@pytest.mark.parametrize("cost", [-1, math.nan, math.inf])
def test_an_impossible_cost_is_refused(cost: float) -> None:
    with pytest.raises(InvalidInputError, match="cost"):
        break_even((cost, 1), (1, 1))


def test_a_day_of_queries_costs_busy_hours_and_at_least_one_copy() -> None:
    gpus = Gpus.parse("2xh100", usd_per_hour=3.0)
    day = serving_cost("3B", 150, 6000, 10_000, gpus)
    twice = serving_cost("3B", 150, 6000, 20_000, gpus)
    assert day.flops_per_day == pytest.approx(10_000 * inference_flops("3B", 150, 6000))
    assert twice.busy_hours_per_day.mid == pytest.approx(2 * day.busy_hours_per_day.mid)
    assert day.usd_per_day is not None
    assert day.usd_per_day.mid == pytest.approx(3 * day.busy_hours_per_day.mid)
    assert day.idle_usd_per_day in {72.0, 144.0}
    # Decode is bound by memory: the hours are far above FLOPs at the peak.
    assert day.busy_hours_per_day.low > 3 * day.flops_per_day / gpus.peak_flops / 3600


def test_serving_is_never_faster_than_the_roofline_of_calibration() -> None:
    from calibration.cost import bound_request

    architecture, gpus = known_architecture("Qwen2.5-3B"), Gpus.parse("h100")
    bound = bound_request(architecture, 150, 2000, gpus.device, batch=256)
    day = serving_cost("3B", 150, 2000, 256, gpus)
    assert day.busy_hours_per_day.high * 0.3 * 3600 == pytest.approx(bound.seconds, rel=0.15)


def test_a_model_that_does_not_fit_is_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"70B takes 140 GB.*use more GPUs"):
        serving_cost("70B", 150, 600, 100, Gpus.parse("h100"))
    assert serving_cost("70B", 150, 600, 100, Gpus.parse("8xh100")).busy_hours_per_day.mid > 0
