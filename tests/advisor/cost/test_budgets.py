"""Budgets as people write them, and whether a run keeps them."""

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from advisor.cost import (
    MFU,
    Gpus,
    InferBudget,
    Range,
    TrainBudget,
    Workload,
    grpo_cost,
    tops_cost,
    training_cost,
)
from calibration.cost import Device, known_device_names
from policies import InvalidInputError, ThinkrouteError, UnknownNameError

UNPRICED = Device(
    name="mine",
    peak_flops={"bf16": 1e14},
    bandwidth_bytes_per_s=1e12,
    memory_bytes=48e9,
    source="a test",
)
NO_AMOUNTS = [
    "",
    " ",
    "0",
    "0h",
    "$0",
    "-3e19",
    "-5h",
    "$-5",
    "nan",
    "inf",
    "-inf",
    "infinity h",
    "1e999",
    "five",
    "$",
    "h",
    "flops",
    "--5h",
    "1,5e3h",
    "1_000h",
    "1.2.3h",
    "x" * 5000,
]


@pytest.mark.parametrize(
    ("text", "amount", "kind", "device"),
    [
        ("3e19", 3e19, "flops", None),
        ("3E19", 3e19, "flops", None),
        ("3e19 FLOPs", 3e19, "flops", None),
        ("3e+19flop", 3e19, "flops", None),
        ("30 EFLOPs", 3e19, "flops", None),
        ("0.03 zflops", 3e19, "flops", None),
        ("200h", 200, "gpu-hours", None),
        ("200 hours", 200, "gpu-hours", None),
        ("200 gpu-hours", 200, "gpu-hours", None),
        ("200 GPU hours", 200, "gpu-hours", None),
        ("200 gpuh", 200, "gpu-hours", None),
        ("1,200 h", 1200, "gpu-hours", None),
        ("200 H100-hours", 200, "gpu-hours", "H100-SXM"),
        ("200 h100 h", 200, "gpu-hours", "H100-SXM"),
        ("200 A100-PCIe-80GB-hours", 200, "gpu-hours", "A100-PCIe-80GB"),
        ("$500", 500, "usd", None),
        ("$ 1,500.50", 1500.5, "usd", None),
        ("$2k", 2000, "usd", None),
        ("1.5M usd", 1_500_000, "usd", None),
        ("500 usd", 500, "usd", None),
        ("500$", 500, "usd", None),
        ("500 US dollars", 500, "usd", None),
    ],
)
def test_the_usual_spellings_of_a_training_budget_are_read(
    text: str, amount: float, kind: str, device: str | None
) -> None:
    budget = TrainBudget.parse(text)
    assert budget.amount == pytest.approx(amount)
    assert budget.kind == kind
    assert (budget.device.name if budget.device else None) == device


@given(
    kind=st.sampled_from(["flops", "gpu-hours", "usd"]),
    exponent=st.floats(0, 1),
    device=st.sampled_from([None, *known_device_names()]),
)
def test_a_training_budget_is_read_back_as_it_was(
    kind: str, exponent: float, device: str | None
) -> None:
    low, high = {"flops": (12, 29.9), "gpu-hours": (-1.9, 8.9), "usd": (-1.9, 11.9)}[kind]
    amount = 10 ** (low + exponent * (high - low))
    unit = {"flops": "FLOPs", "gpu-hours": f"{device or 'gpu'}-hours", "usd": "usd"}[kind]
    budget = TrainBudget.parse(f"{amount!r} {unit}")
    assert budget.amount == amount
    assert TrainBudget.parse(str(budget)) == budget


@given(text=st.text(max_size=40) | st.from_regex(r"[$-]?[0-9.,e+]{1,8} ?[a-zA-Z$/ -]{0,12}"))
def test_any_text_is_read_or_refused_on_purpose(text: str) -> None:
    for budget in (TrainBudget, InferBudget):
        try:
            read = budget.parse(text)
        except ThinkrouteError:
            continue
        assert math.isfinite(read.amount)
        assert read.amount > 0
        assert budget.parse(str(read)) == read


@pytest.mark.parametrize("text", NO_AMOUNTS)
@pytest.mark.parametrize("budget", [TrainBudget, InferBudget])
def test_what_is_no_amount_is_refused_with_what_would_be(
    text: str, budget: type[TrainBudget] | type[InferBudget]
) -> None:
    with pytest.raises(InvalidInputError) as caught:
        budget.parse(text)
    message = str(caught.value)
    assert "write" in message
    assert len(message) < 400
    assert repr(text) in message or len(text) > 100


@pytest.mark.parametrize("text", ["500 EUR", "€500", "500 euros", "£20", "3000 CHF", "¥900"])
def test_other_currencies_are_refused_because_no_rate_is_known(text: str) -> None:
    with pytest.raises(InvalidInputError, match=r"not in US dollars.*exchange rates.*\$500"):
        TrainBudget.parse(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("200", r"200h for GPU-hours, or \$200"),
        ("3e19 FLOP/s", "is a speed, not an amount"),
        ("1 pflops per second", "is a speed"),
        ("2 days", r"days x 24 x GPUs"),
        ("30 min", "is not in hours"),
        ("3 weeks", "is not in hours"),
        ("8xh100-hours", "counts hours of one GPU"),
        ("200 8xh100-hours", "counts hours of one GPU"),
        ("200 h100x8 hours", "counts hours of one GPU"),
        ("$500 per month", "not known behind dollars"),
        ("3e19 parsecs", "has no unit known here"),
        ("1e40", r"expected 1e\+12 to 1e\+30"),
        ("$1e20", r"expected 0\.01 to 1e\+12"),
        ("0.001h", r"expected 0\.01 to 1e\+09"),
    ],
)
def test_a_misunderstanding_is_explained(text: str, reason: str) -> None:
    with pytest.raises(InvalidInputError, match=reason):
        TrainBudget.parse(text)


def test_hours_of_an_unknown_gpu_are_told_the_close_ones() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'h100'"):
        TrainBudget.parse("200 h101-hours")


@pytest.mark.parametrize(
    ("text", "amount", "kind"),
    [
        ("1e12", 1e12, "flops"),
        ("1e12 FLOPs", 1e12, "flops"),
        ("2 TFLOPs per query", 2e12, "flops"),
        ("512 tokens", 512, "tokens"),
        ("4k tokens", 4000, "tokens"),
        ("1,000 tokens per answer", 1000, "tokens"),
    ],
)
def test_the_usual_spellings_of_an_inference_budget_are_read(
    text: str, amount: float, kind: str
) -> None:
    assert InferBudget.parse(text) == InferBudget(amount, kind)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("512", "write '512 tokens'"),
        ("$5", "is money, which depends on who serves"),
        ("5 usd", "is money"),
        ("1e12 flop/s", "is a speed"),
        ("200h", "has no unit known here"),
        ("0.5 tokens", "expected 1 to 1e"),
        ("1e12 tokens", "expected 1 to 1e"),
        ("1e30", r"expected 1e\+06 to 1e\+21"),
    ],
)
def test_a_misunderstood_inference_budget_is_explained(text: str, reason: str) -> None:
    with pytest.raises(InvalidInputError, match=reason):
        InferBudget.parse(text)


@given(amount=st.floats(1, 1e8), kind=st.sampled_from(["tokens", "flops"]))
def test_an_inference_budget_is_read_back_as_it_was(amount: float, kind: str) -> None:
    assume(kind == "tokens" or amount >= 1e6)
    budget = InferBudget.parse(f"{amount!r} {kind}")
    assert budget.amount == amount
    assert InferBudget.parse(str(budget)) == budget


def test_an_answer_is_held_against_the_unit_of_the_budget() -> None:
    assert InferBudget.parse("512 tokens").allows(1e30, 512)
    assert not InferBudget.parse("512 tokens").allows(1, 513)
    assert InferBudget.parse("1e12").allows(1e12, 1e9)
    assert not InferBudget.parse("1e12").allows(1.01e12, 1)
    assert InferBudget.parse("1e12").share_used(5e11, 1) == 0.5


def test_a_budget_in_flops_leaves_no_doubt() -> None:
    cost = training_cost("3B", 1.0, Workload())
    assert TrainBudget(cost.flops, "flops").verdict(cost) == "within"
    assert TrainBudget(cost.flops * 0.999, "flops").verdict(cost) == "over"


@pytest.mark.parametrize("kind", ["gpu-hours", "usd"])
def test_a_budget_in_hours_or_money_may_be_kept_for_a_part_of_the_range(kind: str) -> None:
    cost = training_cost("3B", 1.0, Workload())
    used = cost.gpu_hours if kind == "gpu-hours" else cost.usd
    assert used is not None

    def verdict(amount: float) -> str:
        unit = "h" if kind == "gpu-hours" else "usd"
        return TrainBudget.parse(f"{amount!r} {unit}").verdict(cost)

    assert verdict(used.high * 1.001) == "within"
    assert verdict(used.mid) == "uncertain"
    assert verdict(used.low * 0.999) == "over"


def test_hours_of_another_gpu_are_converted_by_their_peaks() -> None:
    a100, h100 = Gpus.parse("8xa100"), Gpus.parse("8xh100")
    budget = TrainBudget.parse("100 H100-hours")
    on_a100 = training_cost("3B", 1.0, Workload(), gpus=a100)
    on_h100 = training_cost("3B", 1.0, Workload(), gpus=h100)
    assert budget.share_used(on_a100, a100).mid == pytest.approx(
        budget.share_used(on_h100, h100).mid
    )


def test_what_a_budget_buys_costs_the_budget() -> None:
    workload = Workload()
    for text in ("3e19", "40h", "40 a100-hours", "$100"):
        budget = TrainBudget.parse(text)
        gpus = Gpus.parse("a100" if "a100" in text else "8xh100")
        bought = budget.flops(gpus)
        for share, flops in zip(
            (MFU.low, MFU.mid, MFU.high), (bought.low, bought.mid, bought.high), strict=True
        ):
            cost = training_cost("3B", 1.0, workload, gpus=gpus, mfu=Range.exactly(share))
            used = budget.share_used(cost, gpus)
            assert used.mid == pytest.approx(cost.flops / flops)


def test_money_without_a_price_is_refused() -> None:
    gpus = Gpus(device=UNPRICED)
    cost = training_cost("0.5B", 0.0, Workload(n_rows=10), gpus=gpus)
    budget = TrainBudget.parse("$500")
    with pytest.raises(InvalidInputError, match="pass --gpu-price"):
        budget.share_used(cost, gpus)
    with pytest.raises(InvalidInputError, match="pass --gpu-price"):
        budget.flops(gpus)


def test_other_runs_than_fine_tuning_are_held_against_a_budget_too() -> None:
    budget = TrainBudget.parse("1h")
    grpo = grpo_cost("3B", n_prompts=10_000, answer_tokens=4000)
    tops = tops_cost("3B", answer_tokens=2000)
    assert budget.verdict(grpo) == budget.verdict(tops) == "over"
    assert budget.share_used(grpo).mid == grpo.gpu_hours.mid


@pytest.mark.parametrize("amount", [0, -1, math.nan, math.inf])
def test_budgets_made_by_hand_are_checked_too(amount: float) -> None:
    with pytest.raises(InvalidInputError, match="training budget in US dollars"):
        TrainBudget(amount, "usd")
    with pytest.raises(InvalidInputError, match="inference budget in tokens"):
        InferBudget(amount, "tokens")
