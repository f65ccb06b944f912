"""Costs of a teacher's answers and of self-improvement on the shortest correct ones."""

import math

import pytest

from advisor.cost import (
    Gpus,
    Workload,
    inference_flops,
    network,
    teacher_cost,
    tops_cost,
    training_flops,
)
from policies import InvalidInputError


def test_a_teacher_costs_2n_a_token_written_and_read() -> None:
    workload = Workload(n_rows=1000)
    cost = teacher_cost(workload, 0.25)
    assert cost.n_tokens == pytest.approx(1000 * (0.75 * 600 + 0.25 * 6000))
    assert cost.n_prompt_tokens == pytest.approx(1000 * 150)
    assert cost.flops == pytest.approx(2 * 22e9 * (cost.n_tokens + cost.n_prompt_tokens))
    assert cost.usd is None


def test_a_teacher_at_a_price_costs_its_tokens() -> None:
    cost = teacher_cost(
        Workload(n_rows=1000),
        1.0,
        usd_per_million_tokens=4.0,
        usd_per_million_prompt_tokens=1.0,
    )
    assert cost.usd == pytest.approx(6.0 * 4 + 0.15 * 1)
    free_prompts = teacher_cost(Workload(n_rows=1000), 1.0, usd_per_million_tokens=4.0)
    assert free_prompts.usd == pytest.approx(6.0 * 4)


def test_a_teacher_writes_once_whatever_the_epochs() -> None:
    once, often = (teacher_cost(Workload(n_epochs=n), 0.5) for n in (1, 5))
    assert once.n_tokens == often.n_tokens


@pytest.mark.parametrize("price", [0, -1, math.nan])
def test_an_impossible_price_is_refused(price: float) -> None:
    with pytest.raises(InvalidInputError, match="price of a million tokens"):
        teacher_cost(Workload(), 0.5, usd_per_million_tokens=price)


def test_a_price_of_prompts_alone_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="prompt tokens alone"):
        teacher_cost(Workload(), 0.5, usd_per_million_prompt_tokens=1.0)


def test_a_teacher_without_parameters_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="n_active_params"):
        teacher_cost(Workload(), 0.5, n_active_params=0)


def test_tops_is_every_effort_decoded_and_one_fine_tuning() -> None:
    cost = tops_cost("3B", n_prompts=1000, answer_tokens=2000, kept_answer_tokens=1200)
    prefill = network("3B").prefill_flops(150)
    decode = inference_flops("3B", 150, 2000) - prefill
    assert cost.generation.flops == pytest.approx(1000 * (prefill + 3 * decode))
    rows = Workload(n_rows=500, answer_tokens=1200, trace_ratio=1, n_epochs=2)
    assert cost.training.flops == pytest.approx(training_flops("3B", 1.0, rows))
    assert cost.flops == pytest.approx(cost.generation.flops + cost.training.flops)
    assert cost.gpu_hours.mid == pytest.approx(
        cost.generation.gpu_hours.mid + cost.training.gpu_hours.mid
    )
    assert cost.n_rows == 500


def test_the_defaults_are_those_of_the_paper() -> None:
    cost = tops_cost("32B", answer_tokens=3000)
    assert cost.n_rows == pytest.approx(26_000, rel=0.05)
    assert cost.generation.n_tokens == 50_000 * 3 * 3000
    assert cost.generation.gpus_per_copy > 1  # 65 GB of weights leave one GPU no room to batch


def test_tops_on_gpus_with_a_price_has_one() -> None:
    cost = tops_cost("3B", answer_tokens=2000, gpus=Gpus.parse("2xh200", usd_per_hour=4))
    assert cost.usd is not None
    assert cost.usd.mid == pytest.approx(4 * cost.gpu_hours.mid)
    assert cost.wall_hours.mid == pytest.approx(cost.gpu_hours.mid / 2)
    assert cost.gpus == "2 x H200-SXM"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("n_prompts", 0),
        ("n_efforts", 0),
        ("kept_share", 0),
        ("kept_share", 1.5),
        ("answer_tokens", math.inf),
        ("kept_answer_tokens", -1),
    ],
)
def test_an_impossible_run_is_refused(field: str, value: float) -> None:
    settings: dict[str, object] = {"answer_tokens": 500.0, field: value}
    with pytest.raises(InvalidInputError, match=field):
        tops_cost("3B", **settings)  # pyright: ignore[reportArgumentType]
