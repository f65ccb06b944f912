"""What a stage of training takes where nothing is said: base model, rate, schedule, lengths."""

import math
from typing import NamedTuple

from calibration.published import LearningRates, load_learning_rates
from policies import InvalidInputError, ModelSize

from ._training import check_positive

__all__ = [
    "CONTEXT_TOKENS",
    "LearningRate",
    "Schedule",
    "default_base_model",
    "default_learning_rate",
    "fit_max_length",
    "fit_schedule",
]

CONTEXT_TOKENS = {"Qwen/Qwen2.5": 32_768}
"""Longest sequence of known families of base models, in tokens, by the start of the name.

Source: `max_position_embeddings` of the Qwen2.5 0.5B and 1.5B base models is 32,768; the larger
bases allow 131,072 but were pre-trained to 32,768 (model cards).
"""

_FAMILY = "Qwen2.5"
"""Family of the default base models; the published students of other families are few."""

_LENGTH_STEP = 256
_OUTLIER = 2
"""The longest row decides the maximum length up to this many times the 99th percentile."""


class Schedule(NamedTuple):
    """Warm-up and decay of a run, in optimiser steps."""

    warmup_steps: int
    """Steps of rising learning rate."""
    decay_steps: int
    """Steps of falling learning rate."""
    is_shrunk: bool
    """The run is too short for what was asked, and both were shrunk in proportion."""


def fit_schedule(n_steps: int, warmup_steps: int = 150, decay_steps: int = 300) -> Schedule:
    """Return warm-up and decay that fit into a run, shrunk in proportion where it is short.

    A shrunk schedule takes at most half of the run, so that the peak is held for the other half.

    Args:
        n_steps: Optimiser steps of the run, 1 or more.
        warmup_steps: Warm-up of a long run.
        decay_steps: Decay of a long run.

    Example:
        >>> fit_schedule(9_375)
        Schedule(warmup_steps=150, decay_steps=300, is_shrunk=False)
        >>> fit_schedule(300)
        Schedule(warmup_steps=50, decay_steps=100, is_shrunk=True)
    """
    check_positive("n_steps", n_steps)
    asked = warmup_steps + decay_steps
    if asked <= n_steps:
        return Schedule(warmup_steps, decay_steps, is_shrunk=False)
    share = n_steps / 2 / asked
    return Schedule(int(warmup_steps * share), int(decay_steps * share), is_shrunk=True)


def fit_max_length(
    p99_tokens: int, max_tokens: int, asked: int | None = None, limit: int | None = None
) -> int:
    """Return the longest row in tokens to train with.

    By default no row is too long, unless the longest is more than twice the 99th percentile or
    more than the model takes: memory is needed for the longest row, and one runaway trace should
    not decide it. Rows that are longer than what is returned must be left out, since they would
    lose their answer.

    Args:
        p99_tokens: 99th percentile of the rows, prompt and answer.
        max_tokens: Longest row.
        asked: The user's choice; `None` takes the default, rounded up to a multiple of 256.
        limit: Context length of the base model, where it is known.

    Raises:
        InvalidInputError: `asked` would cut more than one row in a hundred, or the rows do not
            fit into the base model.

    Example:
        >>> fit_max_length(5_000, 6_000)
        6144
        >>> fit_max_length(5_000, 30_000)
        5120
    """
    check_positive("p99_tokens", p99_tokens)
    if limit is not None and p99_tokens > limit:
        raise InvalidInputError(
            f"99 of 100 rows have up to {p99_tokens} tokens, but the base model takes {limit}",
            hint="leave out the longest traces, or choose a base model with a longer context",
            code="rows-too-long",
        )
    if asked is None:
        is_outlier = max_tokens > _OUTLIER * p99_tokens
        needed = p99_tokens if is_outlier else max_tokens
        rounded = math.ceil(needed / _LENGTH_STEP) * _LENGTH_STEP
        return rounded if limit is None else min(rounded, limit)
    if asked < p99_tokens:
        raise InvalidInputError(
            f"max length {asked!r} would cut answers off: 99 of 100 rows have up to "
            f"{p99_tokens} tokens",
            hint=f"use {p99_tokens} or more, or leave it out",
            code="max-length-too-short",
        )
    if limit is not None and asked > limit:
        raise InvalidInputError(
            f"max length {asked!r} is more than the {limit} tokens that the base model takes",
            hint=f"use {limit} or less",
            code="max-length-too-long",
        )
    return asked


class LearningRate(NamedTuple):
    """A peak learning rate and where it comes from."""

    value: float
    """Peak learning rate."""
    basis: str
    """Where it comes from, as text."""


def default_learning_rate(size: ModelSize, reasoning_ratio: float) -> LearningRate:
    """Return the peak learning rate of the published student nearest in size.

    Mixtures take the IFT rate, the lower of the two: the paper does not print theirs.

    Args:
        size: Parameters; nearest on the log scale.
        reasoning_ratio: Share of rows that are reasoning traces, in [0, 1].

    Source: arXiv 2509.22193v2, Table 2 (Qwen2.5 students).
    """
    students = _students()
    nearest = min(students, key=lambda one: abs(math.log(one.n_params / size.n_params)))
    rates = students[nearest]
    is_reasoning = reasoning_ratio == 1.0
    kind = "reasoning" if is_reasoning else "ift"
    basis = f"{rates.source}: {kind} rate of {rates.student} ({rates.id}/{kind})"
    if nearest != size:
        basis += f", the published size nearest to {size}"
    if 0.0 < reasoning_ratio < 1.0:
        basis += "; the paper prints no rate for mixtures, and the ift rate is the lower one"
    return LearningRate(rates.reasoning_lr if is_reasoning else rates.ift_lr, basis)


def default_base_model(size: ModelSize) -> str:
    """Return the Qwen2.5 base of a printed size.

    Raises:
        InvalidInputError: The size was not one of the paper's.

    Source: arXiv 2509.22193v2, section 2.1: the students are Qwen2.5 base models.
    """
    students = _students()
    if size not in students:
        known = ", ".join(str(one) for one in sorted(students))
        raise InvalidInputError(
            f"no default base model for {size}",
            hint=f"name one with --base-model; sizes with a default: {known}",
            code="base-model-needed",
        )
    return f"Qwen/{students[size].student}"


def _students() -> dict[ModelSize, LearningRates]:
    """Return the published students of the default family, by size."""
    return {
        ModelSize.parse(name.removeprefix(f"{_FAMILY}-")): rates
        for name, rates in load_learning_rates().items()
        if name.startswith(f"{_FAMILY}-")
    }
