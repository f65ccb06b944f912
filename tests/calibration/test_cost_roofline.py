"""Bytes, bounds and fits against closed forms, simulation and figures worked out elsewhere."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration.cost import (
    Architecture,
    Device,
    Layer,
    MeasuredStep,
    Step,
    bound_request,
    bound_step,
    decode_flops,
    decode_step,
    distinct_experts,
    fit_roofline,
    known_architecture,
    known_device,
    known_device_names,
    kv_bytes_per_token,
    kv_cache_bytes,
    load_devices,
    prefill_flops,
    prefill_step,
    weight_bytes,
)
from policies import DataFileError, InvalidInputError, UnknownNameError

H200 = known_device("H200-SXM")
SLOW = Device(
    name="slow",
    peak_flops={"bf16": 1e9},
    bandwidth_bytes_per_s=1e8,
    memory_bytes=1e9,
    source="made up",
)
DENSE = Layer(n_heads=4, n_kv_heads=2, head_dim=8, intermediate=32)
SPARSE = Layer(
    n_heads=4,
    n_kv_heads=2,
    head_dim=8,
    intermediate=0,
    window=5,
    n_experts=6,
    top_k=2,
    moe_intermediate=8,
    has_expert_bias=True,
    n_other_params=7,
)
TINY = Architecture(hidden=16, vocab=100, layers=(DENSE, SPARSE), is_tied=False, n_other_params=16)


@pytest.mark.parametrize(("batch", "n"), [(1, 8), (16, 82), (64, 126)])
def test_distinct_experts_are_those_worked_out_for_the_design(batch: int, n: int) -> None:
    assert round(distinct_experts(128, 8, batch)) == n


@given(st.integers(1, 64), st.data(), st.integers(0, 200))
def test_distinct_experts_grow_with_the_batch_up_to_all(
    n_experts: int, data: st.DataObject, n_tokens: int
) -> None:
    top_k = data.draw(st.integers(1, n_experts))
    now = distinct_experts(n_experts, top_k, n_tokens)
    assert 0 <= now <= distinct_experts(n_experts, top_k, n_tokens + 1) <= n_experts
    assert distinct_experts(n_experts, top_k, 1) == pytest.approx(top_k)
    assert distinct_experts(n_experts, n_experts, max(n_tokens, 1)) == n_experts


def test_distinct_experts_equal_the_mean_of_random_routing() -> None:
    rng = np.random.default_rng(3)
    counts = [
        len({expert for _ in range(12) for expert in rng.choice(20, size=3, replace=False)})
        for _ in range(4000)
    ]
    # Standard error of the mean is about 0.02.
    assert np.mean(counts) == pytest.approx(distinct_experts(20, 3, 12), abs=0.1)


def test_weight_bytes_of_one_token_are_its_active_parameters() -> None:
    looked_up = TINY.vocab * TINY.hidden  # the embedding is looked up, not read
    assert weight_bytes(TINY, 1) == pytest.approx(2 * (TINY.n_active_params - looked_up))
    assert weight_bytes(TINY, 10**6, 1.0) == pytest.approx(TINY.n_params - looked_up)


def test_cache_bytes_stop_growing_at_the_window() -> None:
    one = 2 * 2 * 8 * 2
    assert [kv_cache_bytes(TINY, n) for n in (0, 1, 5, 6, 100)] == [
        0,
        2 * one,
        10 * one,
        11 * one,
        105 * one,
    ]
    qwen = known_architecture("Qwen3-8B")
    assert kv_cache_bytes(qwen, 1000) == 1000 * kv_bytes_per_token(qwen)


@pytest.mark.parametrize(("name", "share"), [("Qwen3-8B", 0.71), ("Qwen3-0.6B", 0.96)])
def test_share_of_the_cache_is_the_one_worked_out_for_the_design(name: str, share: float) -> None:
    step = decode_step(known_architecture(name), 4096, batch=64)
    assert step.kv_bytes / step.n_bytes == pytest.approx(share, abs=0.01)


@pytest.mark.parametrize("batch", [1, 4, 16, 64, 256])
@pytest.mark.parametrize("name", ["Qwen3-0.6B", "Qwen3-8B", "Qwen3-30B-A3B"])
def test_decode_at_four_thousand_tokens_is_bound_by_memory_on_h200(name: str, batch: int) -> None:
    step = decode_step(known_architecture(name), 4096, batch=batch)
    assert bound_step(step, H200).limit == "memory"


def test_a_long_prefill_is_bound_by_compute() -> None:
    architecture = known_architecture("Qwen3-8B")
    step = prefill_step(architecture, 4096)
    assert step.flops == prefill_flops(architecture, 4096)
    assert bound_step(step, H200).limit == "compute"
    assert bound_step(step, H200).seconds == step.flops / 989.5e12
    assert bound_step(step, H200, "fp8").compute_s == step.flops / 1979e12


def test_a_step_has_the_flops_of_the_exact_formula() -> None:
    step = decode_step(TINY, 9, batch=3)
    assert step.flops == 3 * decode_flops(TINY, 8, 2)
    assert step.kv_bytes == 3 * kv_cache_bytes(TINY, 9)
    cached = prefill_step(TINY, 9, 4, batch=2)
    assert cached.flops == 2 * prefill_flops(TINY, 9, 4)
    assert cached.weight_bytes == weight_bytes(TINY, 10)


@given(st.integers(1, 30), st.integers(0, 20), st.integers(1, 9))
def test_a_request_is_bound_by_the_sum_of_its_steps(
    prompt: int, completion: int, batch: int
) -> None:
    steps = [prefill_step(TINY, prompt, batch=batch)]
    steps += [
        decode_step(TINY, context, batch=batch)
        for context in range(prompt + 1, prompt + completion)
    ]
    bounds = [bound_step(step, SLOW) for step in steps]
    whole = bound_request(TINY, prompt, completion, SLOW, batch=batch)
    assert whole.seconds == pytest.approx(sum(bound.seconds for bound in bounds))
    assert whole.compute_s == pytest.approx(sum(bound.compute_s for bound in bounds))
    assert whole.memory_s == pytest.approx(sum(bound.memory_s for bound in bounds))
    assert whole.seconds >= max(whole.compute_s, whole.memory_s) * (1 - 1e-12)


@given(st.integers(1, 500), st.integers(0, 100), st.integers(1, 40), st.integers(1, 40))
def test_a_bound_grows_with_tokens_and_batch(
    prompt: int, completion: int, batch: int, more: int
) -> None:
    def seconds(prompt: int, completion: int, batch: int) -> float:
        return bound_request(TINY, prompt, completion, SLOW, batch=batch).seconds

    base = seconds(prompt, completion, batch)
    assert base > 0
    assert base <= seconds(prompt + more, completion, batch)
    assert base <= seconds(prompt, completion + more, batch)
    assert base <= seconds(prompt, completion, batch + more) * (1 + 1e-12)
    # A batch is never dearer than its requests one after the other.
    assert seconds(prompt, completion, 2 * batch) <= 2 * base * (1 + 1e-12)


CALLS: list[Callable[[], object]] = [
    lambda: distinct_experts(4, 5, 1),
    lambda: distinct_experts(4, 2, -1),
    lambda: weight_bytes(TINY, 0),
    lambda: weight_bytes(TINY, 1, float("nan")),
    lambda: kv_cache_bytes(TINY, -1),
    lambda: kv_cache_bytes(TINY, 1, 0),
    lambda: prefill_step(TINY, 0),
    lambda: prefill_step(TINY, 5, 6),
    lambda: decode_step(TINY, 0),
    lambda: decode_step(TINY, 5, batch=0),
    lambda: bound_request(TINY, 5, -1, H200),
    lambda: Step(-1, 1, 1),
    lambda: Step(float("inf"), 1, 1),
    lambda: bound_step(Step(1, 1, 1), known_device("A100-SXM-80GB"), "fp8"),
]


@pytest.mark.parametrize("call", CALLS)
def test_impossible_arguments_are_refused(call: Callable[[], object]) -> None:
    with pytest.raises(InvalidInputError):
        call()


def measured(
    n: int, *, noise: float = 0.0, seed: int = 0, limit: str = "both"
) -> list[MeasuredStep]:
    """Simulate steps of an engine that reaches 55% and 80% and adds 40 microseconds."""
    rng = np.random.default_rng(seed)
    architecture = known_architecture("Qwen3-8B")
    points: list[MeasuredStep] = []
    for index in range(n):
        if limit == "memory" or (limit == "both" and index % 2):
            step = decode_step(
                architecture, int(rng.integers(100, 9000)), batch=int(rng.integers(1, 64))
            )
        else:
            step = prefill_step(architecture, int(rng.integers(1500, 9000)))
        bound = bound_step(step, H200)
        seconds = max(bound.compute_s / 0.55, bound.memory_s / 0.8) + 4e-5
        points.append(MeasuredStep(step, seconds * float(np.exp(rng.normal(0, noise)))))
    return points


def test_a_fit_finds_the_constants_that_made_the_points() -> None:
    fit = fit_roofline(measured(30), H200)
    assert fit.efficiency_compute == pytest.approx(0.55, rel=1e-3)
    assert fit.efficiency_bandwidth == pytest.approx(0.8, rel=1e-3)
    # The overhead is a hundredth of the shortest step, so the fit tells it less exactly.
    assert fit.overhead_s == pytest.approx(4e-5, rel=0.1)
    assert fit.n_points == 30
    assert fit.n_compute_bound == 15
    assert fit.held_out_max < 1e-3


def test_the_held_out_error_is_the_noise_of_the_points() -> None:
    fit = fit_roofline(measured(200, noise=0.05), H200)
    # The median of |N(0, 0.05)| is 0.034.
    assert fit.held_out_median == pytest.approx(0.034, abs=0.01)
    assert fit.held_out_median < fit.held_out_max < 0.25
    assert fit.efficiency_compute == pytest.approx(0.55, rel=0.03)
    new = measured(50, seed=9)
    errors = [abs(fit.predict(point.step) / point.seconds - 1) for point in new]
    assert np.median(errors) < 0.03
    assert fit == fit_roofline(measured(200, noise=0.05), H200)


@given(st.integers(1, 9000), st.integers(1, 64))
def test_no_prediction_undercuts_the_bound(context: int, batch: int) -> None:
    step = decode_step(known_architecture("Qwen3-8B"), context, batch=batch)
    assert FIT.predict(step) >= bound_step(step, H200).seconds


FIT = fit_roofline(measured(20, noise=0.02), H200)


def test_fewer_than_twenty_points_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="19 measured steps") as caught:
        fit_roofline(measured(19), H200)
    assert caught.value.code == "too-few-points"
    assert "bound" in caught.value.hint


@pytest.mark.parametrize(("limit", "missing"), [("memory", "compute"), ("compute", "memory")])
def test_points_on_one_side_of_the_roof_are_refused(limit: str, missing: str) -> None:
    with pytest.raises(InvalidInputError, match=f"0 of 30 steps are bound by {missing}") as caught:
        fit_roofline(measured(30, limit=limit), H200)
    assert caught.value.code == "one-sided-points"


def test_a_step_faster_than_its_bound_is_refused() -> None:
    points = measured(30)
    points[3] = MeasuredStep(points[3].step, points[3].seconds / 2)
    with pytest.raises(InvalidInputError, match="below the bound") as caught:
        fit_roofline(points, H200)
    assert caught.value.code == "below-bound"
    points[3] = MeasuredStep(points[3].step, float("nan"))
    with pytest.raises(InvalidInputError, match="took nan"):
        fit_roofline(points, H200)


def test_shipped_devices_have_sources_and_sane_rows() -> None:
    assert len(known_device_names()) == len(set(known_device_names())) == 8
    for name in known_device_names():
        device = known_device(name.lower())
        assert device.source
        assert 1e14 < device.peak("bf16") < 1e16
        assert 1e11 < device.bandwidth_bytes_per_s < 1e13
        if "fp8" in device.peak_flops:
            assert device.peak("fp8") == pytest.approx(2 * device.peak("bf16"), rel=0.02)
    with pytest.raises(UnknownNameError, match="did you mean 'H100-SXM'"):
        known_device("H100-SMX")


ROW = """
[devices.mine]
name = "my card"
peak_flops = { bf16 = 1e14 }
bandwidth_bytes_per_s = 1e12
memory_bytes = 48e9
source = "measured by us"
"""


def test_devices_of_ones_own_are_read_from_toml(tmp_path: Path) -> None:
    path = tmp_path / "devices.toml"
    path.write_text(ROW)
    assert load_devices(path)["mine"].peak("bf16") == 1e14


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("source", "sauce", "devices.mine.source"),
        ("1e12", "-1", "bandwidth_bytes_per_s"),
        ("1e14", "inf", "peak_flops"),
        ("bf16", "bf61", "peak_flops"),
        ("[devices.mine]", "[device.mine]", "devices"),
        ("[devices.mine]", "[devices.mine", "cannot be read"),
    ],
)
def test_broken_device_files_are_refused(old: str, new: str, named: str, tmp_path: Path) -> None:
    path = tmp_path / "devices.toml"
    path.write_text(ROW.replace(old, new, 1))
    with pytest.raises(DataFileError, match=named):
        load_devices(path)
