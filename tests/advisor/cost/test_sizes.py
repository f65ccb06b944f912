"""Sizes without a published architecture: monotone, continuous, and how far off."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from advisor.cost import Workload, inference_flops, memory_per_gpu, network, training_flops
from advisor.cost import _sizes as sizes
from calibration.cost import Architecture, Layer, known_architecture
from policies import InvalidInputError, InvalidSizeError, ModelSize, UnknownNameError

SIZE = st.integers(100_000_000, 100_000_000_000)
FIELDS = [
    "n_params",
    "n_active_params",
    "n_product_params",
    "n_logit_params",
    "residual_values",
    "n_heads",
    "kept_bytes",
    "adapter_params",
    "vocab",
]


@pytest.fixture
def family() -> Iterator[dict[int, str]]:
    """The family of known sizes, put back after a test has taken one out."""
    known = dict(sizes._FAMILY)
    yield sizes._FAMILY
    sizes._FAMILY.clear()
    sizes._FAMILY.update(known)
    sizes._knots.cache_clear()
    sizes._sized.cache_clear()


@given(pair=st.tuples(SIZE, SIZE), ratio=st.floats(0, 1), answer=st.integers(1, 50_000))
def test_a_larger_size_never_costs_less(pair: tuple[int, int], ratio: float, answer: int) -> None:
    small, large = (ModelSize(n) for n in sorted(pair))
    workload = Workload(answer_tokens=answer, trace_ratio=3)
    slack = 1 + 1e-9
    assert training_flops(small, ratio, workload) <= training_flops(large, ratio, workload) * slack
    assert inference_flops(small, 150, answer) <= inference_flops(large, 150, answer) * slack
    low, high = (memory_per_gpu(size, sequence_tokens=answer) for size in (small, large))
    assert low.state.mid <= high.state.mid * slack
    assert low.activations.mid <= high.activations.mid * slack
    for field in FIELDS:
        assert getattr(network(small), field) <= getattr(network(large), field) * slack, field


@pytest.mark.parametrize("name", sizes._FAMILY.values())
def test_costs_do_not_jump_at_a_known_size(name: str) -> None:
    exact = known_architecture(name).n_params
    label = next(n for n, other in sizes._FAMILY.items() if other == name)
    at = training_flops(known_architecture(name), 0.5, Workload())
    for n in (label, exact, min(label, exact) - 1000, max(label, exact) + 1000):
        assert training_flops(ModelSize(n), 0.5, Workload()) == pytest.approx(at, rel=1e-5)


@pytest.mark.parametrize(
    ("label", "ift", "reasoning"),
    [
        (1_500_000_000, 0.02, 0.02),
        (3_000_000_000, 0.04, 0.05),
        (7_000_000_000, 0.02, 0.03),
        (14_000_000_000, 0.06, 0.08),
    ],
)
def test_a_left_out_student_is_predicted_within_the_documented_error(
    family: dict[int, str], label: int, ift: float, reasoning: float
) -> None:
    name = family.pop(label)
    sizes._knots.cache_clear()
    sizes._sized.cache_clear()
    assert network(ModelSize(label)).basis == "interpolated"
    for ratio, error in ((0.0, ift), (1.0, reasoning)):
        guess = training_flops(ModelSize(label), ratio, Workload())
        truth = training_flops(known_architecture(name), ratio, Workload())
        assert abs(guess / truth - 1) < error


@pytest.mark.parametrize("label", [500_000_000, 32_000_000_000])
def test_a_left_out_end_is_extrapolated_within_the_documented_error(
    family: dict[int, str], label: int
) -> None:
    name = family.pop(label)
    sizes._knots.cache_clear()
    sizes._sized.cache_clear()
    assert network(ModelSize(label)).basis == "extrapolated"
    for ratio in (0.0, 1.0):
        guess = training_flops(ModelSize(label), ratio, Workload())
        truth = training_flops(known_architecture(name), ratio, Workload())
        assert abs(guess / truth - 1) < 0.06


@pytest.mark.parametrize("name", ["Qwen3-1.7B", "Qwen3-4B", "Qwen3-8B", "Qwen3-14B", "Qwen3-32B"])
def test_another_family_of_the_same_size_costs_about_as_much(name: str) -> None:
    size = ModelSize(known_architecture(name).n_params)
    for ratio, error in ((0.0, 0.02), (1.0, 0.09)):
        guess, truth = (training_flops(model, ratio, Workload()) for model in (size, name))
        assert abs(guess / truth - 1) < error


def test_a_small_model_of_another_shape_is_off_by_what_the_page_says() -> None:
    size = ModelSize(known_architecture("Qwen3-0.6B").n_params)
    guess, truth = (training_flops(model, 1.0, Workload()) for model in (size, "Qwen3-0.6B"))
    assert guess / truth == pytest.approx(0.78, abs=0.01)


def test_how_a_size_was_come_by_is_told() -> None:
    assert network("3B").detail == "of Qwen2.5-3B"
    assert network("4B").detail == "interpolated between Qwen2.5-3B and Qwen2.5-7B"
    assert network("70B").detail.startswith("extrapolated from Qwen2.5-32B")
    assert network("0.2B").detail.startswith("extrapolated from Qwen2.5-0.5B")
    assert network("Qwen/Qwen3-8B-Base").detail == "of Qwen3-8B-Base"
    assert network(known_architecture("Qwen3-8B")).name == "Qwen3-8B"


def test_an_architecture_of_ones_own_has_its_own_figures() -> None:
    layer = Layer(n_heads=2, n_kv_heads=1, head_dim=8, intermediate=32)
    own = network(Architecture(hidden=16, vocab=100, layers=(layer,) * 2, is_tied=True))
    assert (own.n_params, own.basis) == (6208, "exact")
    assert own.residual_values == 32
    assert network(own) is own


@pytest.mark.parametrize("size", ["0.05B", "99999999", "100.1B", "1T"])
def test_sizes_that_nothing_can_stand_in_for_are_refused(size: str) -> None:
    with pytest.raises(InvalidInputError, match=r"outside 0\.1B-100B.*config\.json"):
        network(size)


def test_text_that_is_no_model_is_refused() -> None:
    with pytest.raises(InvalidSizeError):
        network("3X")
    with pytest.raises(UnknownNameError, match="or give a size"):
        network("gpt-oss-20b")
    with pytest.raises(UnknownNameError):
        network("")
