"""One stage of training, independent of the library that runs it, with its defaults and guards."""

import math
from dataclasses import dataclass
from typing import NamedTuple

from calibration.published import LearningRates, load_learning_rates
from policies import InvalidInputError, ModelSize

from .._recipe import Method

__all__ = [
    "CONTEXT_TOKENS",
    "DpoSettings",
    "GrpoSettings",
    "LearningRate",
    "Schedule",
    "TrainingRun",
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
_GRPO_LOSSES = ("dapo", "grpo", "dr_grpo", "bnpo")


@dataclass(frozen=True, slots=True, kw_only=True)
class GrpoSettings:
    """Reinforcement learning from a checkable answer, group relative policy optimisation.

    Attributes:
        max_completion_length: Cap on generated tokens; at least the 99th percentile of the traces.
        n_generations: Completions per prompt, 2 or more.
        reward: Name of the reward; `accuracy` compares the final answer with the given one.
        beta: Weight of the divergence from the start model; 0 keeps no reference model.
        loss_type: `dapo`, `grpo`, `dr_grpo` or `bnpo`.

    Source: 8 generations, beta 0 and `dapo` are the defaults of TRL 1.16.
    """

    max_completion_length: int
    n_generations: int = 8
    reward: str = "accuracy"
    beta: float = 0.0
    loss_type: str = "dapo"

    def __post_init__(self) -> None:
        """Refuse groups that carry no signal, and unknown names."""
        if self.n_generations < 2:
            raise InvalidInputError(
                f"{self.n_generations!r} generations per prompt: GRPO compares at least 2"
            )
        if self.max_completion_length < 1:
            raise InvalidInputError(
                f"a completion of {self.max_completion_length!r} tokens: at least 1 is needed"
            )
        if self.reward != "accuracy":
            raise InvalidInputError(f"unknown reward {self.reward!r}: only 'accuracy' is known")
        if self.loss_type not in _GRPO_LOSSES:
            raise InvalidInputError(
                f"unknown loss type {self.loss_type!r}", hint=f"use one of {_GRPO_LOSSES}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class DpoSettings:
    """Direct preference optimisation.

    Attributes:
        beta: Strength of the pull towards the start model, greater than 0. An assumption: the
            TOPS paper (arXiv 2502.18080) prints none; 0.1 is the default of TRL 1.16.
    """

    beta: float = 0.1

    def __post_init__(self) -> None:
        """Refuse a strength that is not positive."""
        if not self.beta > 0:
            raise InvalidInputError(f"beta of DPO is {self.beta!r}, expected more than 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRun:
    """One stage of training: one configuration file, one launch. Immutable.

    Attributes:
        name: Name of the stage and of its configuration, such as `1_sft`.
        method: `SFT`, `GRPO` or `DPO`; TOPS and iterated SFT are SFT on other data.
        base_model: Hub id, path, or the `output_dir` of the stage before.
        files: Training files relative to the export folder, in training order.
        shuffle: True shuffles all rows (mixed and pure recipes); False keeps the order of files.
        max_length: Longest row in tokens, prompt and answer; longer ones would be cut.
        n_rows: Rows of all files.
        learning_rate: Peak learning rate.
        output_dir: Where the trained model goes, relative to the export folder.
        n_epochs: Passes over the rows.
        global_batch: Rows (packs of rows with `packing`, completions with GRPO) per step.
        per_device_batch: Rows per GPU and forward pass; 1 needs no padding.
        n_gpus: GPUs.
        warmup_steps: Steps of rising learning rate.
        decay_steps: Last steps, of falling learning rate; 0 keeps the peak to the end.
        min_lr_ratio: Learning rate at the end as a share of the peak.
        packing: Put several rows into one sequence; with it, a step sees more rows than
            `global_batch`.
        is_lora: Train low-rank adapters instead of all weights.
        seed: Seed of the order of rows and of adapters.
        grpo: What only GRPO has.
        dpo: What only DPO has.
        n_tokens: Tokens of all rows, to count the steps of a packed run; `None` if not known.
        chat_template: Jinja file of the export folder to train with; `None` takes that of the
            base model, which must then mark answers and keep thoughts.
        end_of_turn: Token that ends an answer in `chat_template`; `None` takes the base model's.

    Source: one epoch, global batch 32, warm-up 150, decay 300 to 10%: arXiv 2509.22193v2,
        section 2.1 and appendix C.
    """

    name: str
    method: Method
    base_model: str
    files: tuple[str, ...]
    shuffle: bool
    max_length: int
    n_rows: int
    learning_rate: float
    output_dir: str
    n_epochs: int = 1
    global_batch: int = 32
    per_device_batch: int = 1
    n_gpus: int = 8
    warmup_steps: int = 150
    decay_steps: int = 300
    min_lr_ratio: float = 0.1
    packing: bool = True
    is_lora: bool = False
    seed: int = 0
    grpo: GrpoSettings | None = None
    dpo: DpoSettings | None = None
    n_tokens: int | None = None
    chat_template: str | None = None
    end_of_turn: str | None = None

    def __post_init__(self) -> None:
        """Refuse what no library could run as meant.

        Raises:
            InvalidInputError: A count that is not positive, a batch that does not divide, settings
                of another method, or a schedule longer than the run.
        """
        for field in ("max_length", "n_rows", "n_epochs", "global_batch", "per_device_batch"):
            _positive(field, getattr(self, field))
        _positive("n_gpus", self.n_gpus)
        if not self.files:
            raise InvalidInputError(f"run {self.name!r} has no training files")
        if not self.learning_rate > 0:
            raise InvalidInputError(f"learning rate {self.learning_rate!r}, expected more than 0")
        if not 0 <= self.min_lr_ratio <= 1:
            raise InvalidInputError(f"min_lr_ratio {self.min_lr_ratio!r}, expected 0 to 1")
        self._check_method()
        _ = self.gradient_accumulation
        n_steps = self.n_steps
        if n_steps is not None and self.warmup_steps + self.decay_steps > n_steps:
            raise InvalidInputError(
                f"run {self.name!r} has {n_steps} steps, but warm-up and decay take "
                f"{self.warmup_steps} + {self.decay_steps}",
                hint="shrink them with fit_schedule",
                code="schedule-too-long",
            )

    def _check_method(self) -> None:
        if self.method not in {Method.SFT, Method.GRPO, Method.DPO}:
            raise InvalidInputError(
                f"run {self.name!r} cannot train by {self.method.value!r}",
                hint="a run is sft, grpo or dpo; tops and iter-sft are sft on other data",
            )
        if (self.grpo is not None) != (self.method is Method.GRPO):
            raise InvalidInputError(f"run {self.name!r}: grpo settings go with the method grpo")
        if (self.dpo is not None) != (self.method is Method.DPO):
            raise InvalidInputError(f"run {self.name!r}: dpo settings go with the method dpo")
        if self.grpo is not None and self.global_batch % self.grpo.n_generations:
            raise InvalidInputError(
                f"run {self.name!r}: {self.global_batch} completions per step cannot be split "
                f"into groups of {self.grpo.n_generations}",
                hint="choose a global batch that is a multiple of the generations per prompt",
                code="batch-not-divisible",
            )

    @property
    def gradient_accumulation(self) -> int:
        """Return forward passes per step and GPU: `global_batch / (per_device_batch * n_gpus)`.

        Raises:
            InvalidInputError: The division leaves a remainder.
        """
        at_once = self.per_device_batch * self.n_gpus
        if self.global_batch % at_once:
            raise InvalidInputError(
                f"a global batch of {self.global_batch} cannot be split over {self.n_gpus} GPUs "
                f"with {self.per_device_batch} rows each",
                hint=f"choose a number of GPUs that divides {self.global_batch}",
                code="batch-not-divisible",
            )
        return self.global_batch // at_once

    @property
    def n_steps(self) -> int | None:
        """Return optimiser steps; `None` for a packed run of which the tokens are not known.

        A packed run needs at least tokens / `max_length` sequences; packing by best fit comes
        near that, so this is a lower bound that is nearly reached.
        """
        if self.grpo is not None:
            per_epoch = math.ceil(self.n_rows * self.grpo.n_generations / self.global_batch)
        elif not self.packing:
            per_epoch = math.ceil(self.n_rows / self.global_batch)
        elif self.n_tokens is None:
            return None
        else:
            n_packs = min(self.n_rows, math.ceil(self.n_tokens / self.max_length))
            per_epoch = math.ceil(n_packs / self.global_batch)
        return per_epoch * self.n_epochs


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
    _positive("n_steps", n_steps)
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
    _positive("p99_tokens", p99_tokens)
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


def _positive(field: str, value: int) -> None:
    if value < 1:
        raise InvalidInputError(f"{field} is {value!r}, expected 1 or more")
