"""One stage of training, independent of the library that runs it, with its guards."""

import math
from dataclasses import dataclass

from policies import InvalidInputError

from .._recipe import Method

__all__ = ["DpoSettings", "GrpoSettings", "TrainingRun", "check_positive"]

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
        """Refuse groups that carry no signal, and unknown names.

        Raises:
            InvalidInputError: One of these.
        """
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
        """Refuse a strength that is not positive.

        Raises:
            InvalidInputError: It is not.
        """
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
            check_positive(field, getattr(self, field))
        check_positive("n_gpus", self.n_gpus)
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


def check_positive(field: str, value: int) -> None:
    """Refuse a count below 1.

    Raises:
        InvalidInputError: It is.
    """
    if value < 1:
        raise InvalidInputError(f"{field} is {value!r}, expected 1 or more")
