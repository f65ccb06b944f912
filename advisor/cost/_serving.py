"""What answering costs, and when a model that is dearer to train pays off by being cheaper."""

import math
from dataclasses import dataclass

from policies import InvalidInputError

from ._generation import generate
from ._gpus import Gpus, default_gpus
from ._numbers import Range, check_number
from ._sizes import Model, network
from ._workload import MAX_TOKENS

__all__ = [
    "BreakEven",
    "Lifetime",
    "ServingCost",
    "break_even",
    "inference_flops",
    "serving_cost",
    "total_flops",
]

MOST_QUERIES = 1e12
"""Queries a day beyond which a number is taken for a mistake: a hundred for everybody alive."""

_MOST_FLOPS = 1e40


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifetime:
    """FLOPs of a model over its life: trained once, then serving.

    Attributes:
        training_flops: FLOPs of training.
        flops_per_query: FLOPs of one query, prompt and answer.
        queries_per_day: Queries a day.
        days: Days in service.
    """

    training_flops: float
    flops_per_query: float
    queries_per_day: float
    days: float

    @property
    def serving_flops_per_day(self) -> float:
        """FLOPs of one day's queries."""
        return self.flops_per_query * self.queries_per_day

    @property
    def serving_flops(self) -> float:
        """FLOPs of all queries."""
        return self.serving_flops_per_day * self.days

    @property
    def flops(self) -> float:
        """FLOPs of training and serving."""
        return self.training_flops + self.serving_flops

    @property
    def days_to_training(self) -> float:
        """Days after which serving has cost as much as training did."""
        return self.training_flops / self.serving_flops_per_day


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingCost:
    """What a day of queries costs on GPUs of one's own.

    Attributes:
        flops_per_query: FLOPs of one query, prompt and answer.
        flops_per_day: FLOPs of a day's queries.
        busy_hours_per_day: Hours of one GPU that is busy with full batches; decode is bound by
            memory, so FLOPs do not tell.
        usd_per_day: US dollars for them, `None` without a price.
        idle_usd_per_day: Dollars a day of one copy of the weights, asked or not: the least that
            rented GPUs cost. `None` without a price.
        gpus: What it runs on, such as `8 x H100-SXM`.
        price_note: Where the price is from; empty without one.
    """

    flops_per_query: float
    flops_per_day: float
    busy_hours_per_day: Range
    usd_per_day: Range | None
    idle_usd_per_day: float | None
    gpus: str
    price_note: str


@dataclass(frozen=True, slots=True)
class BreakEven:
    """Traffic at which two options cost the same over their life.

    Attributes:
        queries_per_day: Above it the option that is cheaper to serve costs less in all; `None`
            where one option is no dearer in both training and serving, so that traffic does not
            matter.
        cheaper: `first` or `second`: the option that wins above the break-even, or at any
            traffic if there is none; `either` where both cost the same.
    """

    queries_per_day: float | None
    cheaper: str


def inference_flops(model: Model, prompt_tokens: float, answer_tokens: float) -> float:
    """Return the FLOPs of one query: prefill of the prompt, then decode of the answer.

    `calibration.cost.request_flops`, continued to mean lengths. Attention is quadratic, so that
    queries whose lengths spread cost more than one of their mean length: a lower bound there.

    Args:
        model: A size, an architecture, or a known model's name.
        prompt_tokens: Mean tokens of the prompt.
        answer_tokens: Mean tokens of the answer, thinking included.

    Raises:
        InvalidInputError: A number is out of range.
        UnknownNameError: No model of that name is known.

    Example:
        >>> f"{inference_flops('3B', 200, 1000):.4e}"
        '7.4878e+12'
    """
    check_number("prompt_tokens", prompt_tokens, at_most=MAX_TOKENS)
    check_number("answer_tokens", answer_tokens, at_most=MAX_TOKENS)
    known = network(model)
    return known.prefill_flops(prompt_tokens) + known.decode_flops(prompt_tokens, answer_tokens)


def total_flops(
    training: float, per_query: float, queries_per_day: float, days: float = 365.0
) -> Lifetime:
    """Return what a model costs over its life.

    Args:
        training: FLOPs of training; 0 for a model that is there already.
        per_query: FLOPs of one query.
        queries_per_day: Queries a day.
        days: Days in service; a year by default, which is an assumption to state.

    Raises:
        InvalidInputError: A number is out of range.
    """
    if training != 0:
        check_number("training FLOPs", training, at_most=_MOST_FLOPS)
    check_number("FLOPs per query", per_query, at_most=_MOST_FLOPS)
    check_number("queries per day", queries_per_day, at_most=MOST_QUERIES)
    check_number("days", days, at_most=100_000)
    return Lifetime(
        training_flops=training,
        flops_per_query=per_query,
        queries_per_day=queries_per_day,
        days=days,
    )


def serving_cost(
    model: Model,
    prompt_tokens: float,
    answer_tokens: float,
    queries_per_day: float,
    gpus: Gpus | None = None,
) -> ServingCost:
    """Return what a day of queries costs: FLOPs, busy GPU-hours, money.

    The hours are those of batches that are always full, so they are the least there can be:
    traffic that comes unevenly, or an answer that must come fast, takes more.

    Args:
        model: A size, an architecture, or a known model's name.
        prompt_tokens: Mean tokens of the prompt.
        answer_tokens: Mean tokens of the answer, thinking included.
        queries_per_day: Queries a day.
        gpus: What serves; 8 H100 by default.

    Raises:
        InvalidInputError: A number is out of range, or the model does not fit the GPUs.
        UnknownNameError: No model of that name is known.
    """
    check_number("queries per day", queries_per_day, at_most=MOST_QUERIES)
    machine = default_gpus() if gpus is None else gpus
    per_query = inference_flops(model, prompt_tokens, answer_tokens)
    work = generate(
        network(model),
        n_prompts=queries_per_day,
        n_answers=1,
        prompt_tokens=prompt_tokens,
        answer_tokens=answer_tokens,
        gpus=machine,
    )
    price = machine.usd_per_hour
    return ServingCost(
        flops_per_query=per_query,
        flops_per_day=per_query * queries_per_day,
        busy_hours_per_day=work.gpu_hours,
        usd_per_day=machine.usd(work.gpu_hours),
        idle_usd_per_day=None if price is None else 24 * work.gpus_per_copy * price,
        gpus=str(machine),
        price_note=machine.price_note,
    )


def break_even(
    first: tuple[float, float], second: tuple[float, float], days: float = 365.0
) -> BreakEven:
    """Return the traffic at which two options cost the same, training and serving together.

    `(T_1 - T_2) / ((q_2 - q_1) days)` of training costs T and costs per query q; any unit will
    do, FLOPs or dollars, if all four have it.

    Args:
        first: Cost of training and of one query.
        second: The same of the other option.
        days: Days in service.

    Raises:
        InvalidInputError: A cost is negative or not finite, or the days are out of range.

    Source: arithmetic.

    Example:
        >>> break_even((20e18, 2.9e13), (28e18, 6.2e13)).cheaper
        'first'
        >>> break_even((10.0, 2.0), (30.0, 1.0), days=10)
        BreakEven(queries_per_day=2.0, cheaper='second')
    """
    check_number("days", days, at_most=100_000)
    for value in (*first, *second):
        if not (math.isfinite(value) and value >= 0):
            raise InvalidInputError(f"cost {value!r}: expected a finite number >= 0")
    more_training, less_serving = first[0] - second[0], second[1] - first[1]
    if more_training == 0 and less_serving == 0:
        return BreakEven(None, "either")
    if more_training <= 0 <= less_serving:
        return BreakEven(None, "first")
    if more_training >= 0 >= less_serving:
        return BreakEven(None, "second")
    cheaper = "first" if less_serving > 0 else "second"
    return BreakEven(more_training / (less_serving * days), cheaper)
