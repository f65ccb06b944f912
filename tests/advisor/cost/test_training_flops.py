"""Training FLOPs against products that are enumerated one by one, and the paper's arithmetic."""

import math
from dataclasses import replace
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from advisor.cost import (
    MFU,
    Gpus,
    Range,
    Workload,
    network,
    six_nd_flops,
    token_share,
    training_cost,
    training_flops,
)
from calibration.cost import Architecture, Layer
from calibration.cost import training_flops as sequence_flops
from policies import InvalidInputError, ModelSize, UnknownNameError


class Shape(NamedTuple):
    """A model card's numbers, read here once more."""

    vocab: int
    hidden: int
    inner: int
    layers: int
    heads: int
    kv_heads: int
    n_params: int
    is_tied: bool


# The parameter counts were printed by transformers for models on the meta device.
STUDENTS = {
    "0.5B": Shape(151_936, 896, 4864, 24, 14, 2, 494_032_768, True),
    "1.5B": Shape(151_936, 1536, 8960, 28, 12, 2, 1_543_714_304, True),
    "3B": Shape(151_936, 2048, 11_008, 36, 16, 2, 3_085_938_688, True),
    "7B": Shape(152_064, 3584, 18_944, 28, 28, 4, 7_615_616_512, False),
    "14B": Shape(152_064, 5120, 13_824, 48, 40, 8, 14_770_033_664, False),
}
SIZES = [*STUDENTS, "4B", "32B", "70B"]
FLOPS = st.floats(0, 1)
LENGTHS = st.integers(1, 20_000)


def enumerated_flops(shape: Shape, n_tokens: int, *, n_passes: int = 3) -> int:
    """Count a training step product by product: every matrix, then every query-key pair."""
    head = shape.hidden // shape.heads
    key_value = shape.kv_heads * head
    matrices = shape.layers * [
        (shape.hidden, shape.hidden),  # queries
        (shape.hidden, key_value),
        (shape.hidden, key_value),
        (shape.hidden, shape.hidden),  # output of attention
        (shape.hidden, shape.inner),
        (shape.hidden, shape.inner),
        (shape.inner, shape.hidden),
    ]
    matrices.append((shape.hidden, shape.vocab))
    linear = sum(2 * rows * columns for rows, columns in matrices) * n_tokens
    pairs = sum(position for position in range(1, n_tokens + 1))
    scores = mixes = shape.layers * shape.heads * pairs * 2 * head
    return n_passes * linear + 3 * (scores + mixes)


def rows_of(prompt: float, answer: float, **fields: float) -> Workload:
    return replace(Workload(n_rows=1, prompt_tokens=prompt, answer_tokens=answer), **fields)


@pytest.mark.parametrize("size", STUDENTS)
@pytest.mark.parametrize("n_tokens", [1, 7, 1500])
def test_a_row_costs_what_its_products_cost_one_by_one(size: str, n_tokens: int) -> None:
    flops = training_flops(size, 0.0, rows_of(0, n_tokens))
    assert flops == pytest.approx(enumerated_flops(STUDENTS[size], n_tokens), rel=1e-12)


@pytest.mark.parametrize("size", STUDENTS)
def test_a_size_means_the_student_with_its_exact_parameters(size: str) -> None:
    shape = STUDENTS[size]
    assert network(size).n_params == shape.n_params
    assert network(size).basis == "exact"
    assert network(ModelSize(shape.n_params)).n_params == shape.n_params


@given(prompt=st.integers(0, 5000), answer=LENGTHS, size=st.sampled_from(sorted(STUDENTS)))
def test_rows_of_one_length_cost_what_calibration_counts(
    prompt: int, answer: int, size: str
) -> None:
    from calibration.cost import known_architecture

    expected = sequence_flops(known_architecture(f"Qwen2.5-{size}"), prompt, answer)
    assert training_flops(size, 0.0, rows_of(prompt, answer)) == pytest.approx(expected, rel=1e-12)


@given(data=st.data())
def test_measured_lengths_cost_exactly_the_sum_over_the_rows(data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 8))
    columns = [data.draw(st.lists(st.integers(1, 9000), min_size=n, max_size=n)) for _ in range(3)]
    workload = Workload.measured(*columns)
    prompts, direct, traces = columns
    shape = STUDENTS["1.5B"]
    for ratio, answers in ((0.0, direct), (1.0, traces)):
        expected = sum(
            enumerated_flops(shape, p + a) for p, a in zip(prompts, answers, strict=True)
        )
        assert training_flops("1.5B", ratio, workload) == pytest.approx(expected, rel=1e-9)


def test_a_mixture_lies_between_its_two_parts_by_rows() -> None:
    workload = Workload()
    ift, mixed, reasoning = (training_flops("3B", ratio, workload) for ratio in (0, 0.25, 1))
    assert mixed == pytest.approx(0.75 * ift + 0.25 * reasoning)


def test_costs_grow_with_rows_and_epochs_in_proportion() -> None:
    once = training_cost("3B", 0.5, Workload(n_rows=1000))
    often = training_cost("3B", 0.5, Workload(n_rows=3000, n_epochs=2))
    assert often.flops == pytest.approx(6 * once.flops)
    assert often.n_tokens == pytest.approx(6 * once.n_tokens)
    assert often.gpu_hours.mid == pytest.approx(6 * once.gpu_hours.mid)


def test_tokens_are_those_of_the_mixture_formula() -> None:
    # D = S((1 - rho)(p + a) + rho(p + m a)) = 300,000 (0.75 x 750 + 0.25 x 6150)
    assert Workload().n_tokens(0.25) == pytest.approx(300_000 * 2100)
    without_prompt = Workload(prompt_tokens=0)
    for ratio, times in ((0.0, 1.0), (0.25, 3.25), (0.5, 5.5), (1.0, 10.0)):
        assert without_prompt.n_tokens(ratio) / without_prompt.n_tokens(0) == pytest.approx(times)


def test_a_quarter_of_the_rows_is_three_quarters_of_the_tokens() -> None:
    assert token_share(0.25, 10) == pytest.approx(0.769, abs=5e-4)
    assert token_share(0.5, 10) == pytest.approx(0.909, abs=5e-4)
    assert token_share(0.25, 8) == pytest.approx(0.727, abs=5e-4)
    assert (token_share(0, 10), token_share(1, 10)) == (0, 1)


@given(ratio=FLOPS, m=st.floats(0.01, 100))
def test_token_share_is_the_share_of_counted_tokens(ratio: float, m: float) -> None:
    workload = Workload(prompt_tokens=0, trace_ratio=m)
    all_tokens = workload.n_tokens(ratio)
    reasoning = workload.n_rows * ratio * workload.reasoning_tokens
    assert token_share(ratio, m) == pytest.approx(reasoning / all_tokens)


@given(
    size=st.sampled_from(SIZES),
    ratios=st.tuples(FLOPS, FLOPS),
    lora=st.booleans(),
)
def test_more_reasoning_never_costs_less(
    size: str, ratios: tuple[float, float], lora: bool
) -> None:
    low, high = sorted(ratios)
    workload = Workload()
    assert training_flops(size, low, workload, lora=lora) <= training_flops(
        size, high, workload, lora=lora
    ) * (1 + 1e-12)


@pytest.mark.parametrize("size", SIZES)
def test_lora_saves_the_weight_gradients_of_frozen_matrices_alone(size: str) -> None:
    short = rows_of(0, 1)
    full, lora = (training_flops(size, 0.0, short, lora=lora) for lora in (False, True))
    known = network(size)
    pair = known.prefill_pairs[0][1]
    adapters = 6 * 16 * known.active_adapter_params
    assert full == pytest.approx(6 * known.n_product_params + 3 * pair)
    assert lora == pytest.approx(4 * known.n_product_params + 3 * pair + adapters)
    assert 2 / 3 < lora / full < 0.72


def test_lora_saves_little_where_attention_is_most_of_the_work() -> None:
    long = rows_of(0, 100_000)
    full, lora = (training_flops("0.5B", 0.0, long, lora=lora) for lora in (False, True))
    assert lora / full > 0.9


def test_adapters_of_higher_rank_cost_more() -> None:
    workload = Workload()
    low, high = (
        training_flops("3B", 0.5, workload, lora=True, lora_rank=rank) for rank in (8, 128)
    )
    assert low < high < training_flops("3B", 0.5, workload)


def test_adapter_parameters_are_those_of_peft() -> None:
    # Printed by peft for Qwen2.5-0.5B, rank 16, target_modules="all-linear".
    assert 16 * network("0.5B").adapter_params == 8_798_208


@pytest.mark.parametrize(
    ("size", "n_tokens", "ratio"),
    [
        ("0.5B", 6150, 1.27),
        ("14B", 6150, 1.05),
        ("0.5B", 32_000, 2.39),
        ("14B", 32_000, 1.48),
        ("7B", 750, 0.94),
    ],
)
def test_the_shortcut_misses_what_the_documentation_says(
    size: str, n_tokens: int, ratio: float
) -> None:
    workload = rows_of(0, n_tokens)
    exact = training_flops(size, 0.0, workload)
    assert exact / six_nd_flops(size, 0.0, workload) == pytest.approx(ratio, abs=0.005)
    assert six_nd_flops(size, 0.0, workload) == pytest.approx(
        6 * STUDENTS[size].n_params * n_tokens
    )


def test_a_spread_of_lengths_costs_more_than_rows_of_one_length() -> None:
    even = Workload()
    spread = replace(even, reasoning_variation=1.0)
    assert training_flops("0.5B", 1.0, spread) > 1.2 * training_flops("0.5B", 1.0, even)
    assert training_flops("0.5B", 0.0, spread) == training_flops("0.5B", 0.0, even)


def test_a_given_architecture_is_costed_with_its_window_and_its_experts() -> None:
    layer = Layer(
        n_heads=4, n_kv_heads=2, head_dim=8, intermediate=0, window=16,
        n_experts=8, top_k=2, moe_intermediate=24,
    )  # fmt: skip
    architecture = Architecture(hidden=32, vocab=100, layers=(layer,) * 3, is_tied=True)
    flops = training_flops(architecture, 0.0, rows_of(10, 30))
    assert flops == pytest.approx(sequence_flops(architecture, 10, 30))
    assert network(architecture).n_active_params < network(architecture).n_params


def test_money_and_hours_follow_from_peak_share_and_price() -> None:
    gpus = Gpus.parse("4xh100", usd_per_hour=2.0)
    cost = training_cost("3B", 1.0, Workload(), gpus=gpus)
    assert cost.gpu_hours.mid == pytest.approx(cost.flops / (989.5e12 * 0.40 * 3600))
    assert cost.gpu_hours.low == pytest.approx(cost.gpu_hours.mid * 0.8)
    assert cost.gpu_hours.high == pytest.approx(cost.gpu_hours.mid * 1.6)
    assert cost.wall_hours.mid == pytest.approx(cost.gpu_hours.mid / 4)
    assert cost.usd is not None
    assert cost.usd.mid == pytest.approx(2 * cost.gpu_hours.mid)
    assert cost.price_note == "$2 per H100-SXM-hour, as given"
    assert cost.mfu == MFU


def test_a_cost_says_how_it_was_computed() -> None:
    exact = training_cost("3B", 0.25, Workload())
    between = training_cost("4B", 0.25, Workload(), lora=True)
    assert "of Qwen2.5-3B, causal attention included" in exact.formula
    assert f"{exact.over_six_nd:.2f} x 6ND" in exact.formula
    assert "interpolated between Qwen2.5-3B and Qwen2.5-7B" in between.formula
    assert "LoRA" in between.formula
    assert "x 4ND" in between.formula
    assert exact.reasoning_token_share == pytest.approx(token_share(0.25, 10))


def test_the_example_of_the_study_design_is_in_the_right_place() -> None:
    # 3B on 300,000 rows, prompts of 150, answers of 600, m = 8: 6ND gives 4.2e18 and 2.8e19.
    workload = Workload(trace_ratio=8)
    ift, reasoning = (training_cost("3B", ratio, workload) for ratio in (0.0, 1.0))
    assert ift.six_nd_flops == pytest.approx(4.2e18, rel=0.01)
    assert reasoning.six_nd_flops == pytest.approx(2.75e19, rel=0.01)
    assert ift.gpu_hours.mid == pytest.approx(2.9, abs=0.1)
    assert 1 < reasoning.over_six_nd < 1.2


@pytest.mark.parametrize("ratio", [-0.1, 1.1, 25, math.nan, math.inf, True])
def test_a_ratio_that_is_no_share_is_refused(ratio: float) -> None:
    with pytest.raises(InvalidInputError, match="reasoning_ratio") as caught:
        training_flops("3B", ratio, Workload())
    if ratio == 25:
        assert "0.25 for 25%" in str(caught.value)


@pytest.mark.parametrize("m", [0, -1, math.nan, math.inf, 1e9])
def test_a_trace_ratio_that_is_none_is_refused(m: float) -> None:
    with pytest.raises(InvalidInputError, match="trace_ratio"):
        token_share(0.5, m)
    with pytest.raises(InvalidInputError, match="trace_ratio"):
        Workload(trace_ratio=m)


@pytest.mark.parametrize("rank", [0, -1, 2.5, 10**9])
def test_an_impossible_rank_is_refused(rank: int) -> None:
    with pytest.raises(InvalidInputError, match="lora_rank"):
        training_flops("3B", 0.5, Workload(), lora=True, lora_rank=rank)


@pytest.mark.parametrize("mfu", [Range(0, 0.4, 0.5), Range(0.4, 0.9, 1.2), Range(-1, 0.4, 0.5)])
def test_an_impossible_share_of_the_peak_is_refused(mfu: Range) -> None:
    with pytest.raises(InvalidInputError, match="MFU"):
        training_cost("3B", 0.5, Workload(), mfu=mfu)


def test_an_unknown_model_is_told_its_close_ones() -> None:
    with pytest.raises(UnknownNameError, match=r"Qwen2\.5-3B.*or give a size"):
        training_flops("Qwen2.5-3C", 0.5, Workload())
