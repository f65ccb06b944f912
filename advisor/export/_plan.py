"""From a recipe and its training files to the stages of training."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, cast

from calibration.published import load_tops_stages
from policies import InvalidInputError

from .._recipe import Method, Order
from ._chat_template import CHAT_TEMPLATE_FILE, CHATML_END
from ._defaults import (
    CONTEXT_TOKENS,
    LearningRate,
    default_base_model,
    default_learning_rate,
    fit_max_length,
    fit_schedule,
)
from ._request import DataFile, ExportRequest
from ._rows import PromptRows
from ._training import DpoSettings, GrpoSettings, TrainingRun

__all__ = ["StagePlan", "base_model_of", "context_tokens", "plan_grpo", "plan_stage"]

_LORA_FACTOR = 10.0
"""How much higher the learning rate of adapters is than that of all weights.

Source: the ratio that the Tinker cookbook's `get_lr` uses, after "LoRA Without Regret"
(Thinking Machines Lab, 2025).
"""

_BATCH = 32
"""Rows per step. Source: arXiv 2509.22193v2, section 2.1."""
_GRPO_PROMPTS = 32
_GRPO_LEARNING_RATE = 1e-6
_GRPO_WARMUP = 10


_TOPS_STAGES = {
    Method.TOPS: "self-improvement",
    Method.ITER_SFT: "iter-sft",
    Method.DPO: "iter-dpo",
}
"""Published stages with hyper-parameters of their own, by method."""


class _Fixed(NamedTuple):
    """Hyper-parameters of a stage."""

    learning_rate: LearningRate
    global_batch: int
    n_epochs: int


class StagePlan(NamedTuple):
    """A stage and what to know about it."""

    run: TrainingRun
    """The stage."""
    notes: tuple[str, ...]
    """What was assumed or shrunk, a sentence each."""


def base_model_of(request: ExportRequest) -> str:
    """Return the base model: as given, local paths in full, else the Qwen2.5 base of the size.

    Raises:
        InvalidInputError: None is given and the size has no default, or an adapter would be
            trained on an adapter.
    """
    given = request.base_model
    if given is None:
        return default_base_model(request.size)
    path = Path(given).expanduser()
    if not path.is_dir():
        return given
    if (path / "adapter_config.json").exists():
        raise InvalidInputError(
            f"base model {given!r} is an adapter, not a model",
            hint="merge it into its model first",
            code="base-model-is-adapter",
        )
    return str(path.resolve())


def context_tokens(base_model: str) -> int | None:
    """Return the longest sequence a base model takes, in tokens; `None` if that is not known."""
    folder = Path(base_model)
    if (folder / "config.json").is_file():
        return _config_context(folder / "config.json")
    return next((n for start, n in CONTEXT_TOKENS.items() if base_model.startswith(start)), None)


def _config_context(path: Path) -> int | None:
    try:
        config: object = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidInputError(f"{path} is no model configuration: {error}") from error
    if not isinstance(config, dict):
        raise InvalidInputError(f"{path} is no model configuration: expected a JSON object")
    found = cast("dict[str, object]", config).get("max_position_embeddings")
    return found if isinstance(found, int) and found > 0 else None


def plan_stage(
    request: ExportRequest,
    stage: tuple[str, str],
    files: Sequence[DataFile],
    *,
    ratio: float,
    max_length: int,
) -> StagePlan:
    """Return one stage of supervised training or DPO.

    Args:
        request: What is exported.
        stage: Its name, and what it starts from.
        files: Training files in order.
        ratio: Share of rows that are reasoning, for the learning rate.
        max_length: Longest row in tokens; no row of the files is longer.

    Raises:
        InvalidInputError: The batch cannot be divided over the GPUs.
    """
    name, base_model = stage
    method = request.recipe.method
    fixed = _hyper_parameters(request, ratio)
    rate = fixed.learning_rate
    is_ordered = request.recipe.order is Order.IFT_THEN_REASONING
    n_rows = sum(file.n_rows for file in files)
    is_packed = request.packing and not is_ordered and method is not Method.DPO
    draft = TrainingRun(
        name=name,
        method=method if method is Method.DPO else Method.SFT,
        base_model=base_model,
        files=tuple(file.name for file in files),
        shuffle=not is_ordered,
        max_length=max_length,
        n_rows=n_rows,
        n_tokens=sum(file.n_prompt_tokens + file.n_answer_tokens for file in files),
        learning_rate=rate.value,
        output_dir=f"out/{name}",
        n_epochs=fixed.n_epochs,
        global_batch=fixed.global_batch,
        n_gpus=request.n_gpus,
        warmup_steps=0,
        decay_steps=0,
        packing=is_packed,
        is_lora=request.is_lora,
        seed=request.seed,
        dpo=DpoSettings() if method is Method.DPO else None,
        chat_template=None if method is Method.DPO else CHAT_TEMPLATE_FILE,
        end_of_turn=_end_of_turn(request),
    )
    planned, notes = _with_schedule(draft)
    return StagePlan(planned, (f"learning rate {rate.value:g}: {rate.basis}", *notes))


def plan_grpo(request: ExportRequest, stage: tuple[str, str], prompts: PromptRows) -> StagePlan:
    """Return a stage of GRPO.

    Args:
        request: What is exported.
        stage: Its name, and what it starts from.
        prompts: The prompts with their answers.
    """
    name, base_model = stage
    longest_prompt = prompts.file.max_tokens
    n_generations = request.n_generations
    limit = context_tokens(base_model)
    p99 = prompts.p99_completion_tokens or request.max_length or 1
    # A maximum length that was asked for is one of rows of supervised training.
    asked_length = request.max_length if request.recipe.method is Method.GRPO else None
    room = None if limit is None else limit - longest_prompt
    completion = fit_max_length(p99, p99, asked_length, room)
    # A whole number of groups on each GPU, as some trainers ask for.
    per_round = n_generations * request.n_gpus
    global_batch = per_round * max(1, round(_GRPO_PROMPTS * n_generations / per_round))
    settings = GrpoSettings(max_completion_length=completion, n_generations=n_generations)
    is_alone = request.recipe.method is Method.GRPO
    asked = request.learning_rate if is_alone else None
    rate = asked or _GRPO_LEARNING_RATE * (_LORA_FACTOR if request.is_lora else 1.0)
    draft = TrainingRun(
        name=name,
        method=Method.GRPO,
        base_model=base_model,
        files=(prompts.file.name,),
        shuffle=True,
        max_length=completion + longest_prompt,
        n_rows=prompts.file.n_rows,
        learning_rate=rate,
        output_dir=f"out/{name}",
        global_batch=global_batch,
        n_gpus=request.n_gpus,
        warmup_steps=0,
        decay_steps=0,
        packing=False,
        is_lora=request.is_lora,
        seed=request.seed,
        grpo=settings,
    )
    n_steps = draft.n_steps or 1
    run = replace(draft, warmup_steps=min(_GRPO_WARMUP, n_steps // 10))
    return StagePlan(
        run,
        (
            f"GRPO: learning rate {rate:g}, constant after {run.warmup_steps} steps, and"
            f" {global_batch // n_generations} prompts a step are assumptions (the rate is the"
            " default of TRL); no published table covers them",
        ),
    )


def _hyper_parameters(request: ExportRequest, ratio: float) -> _Fixed:
    """Return learning rate, batch and epochs: as given, else as published for the method."""
    key = _TOPS_STAGES.get(request.recipe.method)
    found = _Fixed(default_learning_rate(request.size, ratio), _BATCH, 1)
    if key is not None:
        stage = next(one for one in load_tops_stages() if one.key == key)
        if stage.learning_rate is None or stage.global_batch is None or stage.n_epochs is None:
            raise InvalidInputError(f"{stage.id} prints no hyper-parameters")
        rate = LearningRate(stage.learning_rate, f"{stage.source}: {stage.model} ({stage.id})")
        found = _Fixed(rate, stage.global_batch, stage.n_epochs)
    if request.learning_rate is not None:
        return found._replace(learning_rate=LearningRate(request.learning_rate, "given"))
    if request.is_lora:
        value, basis = found.learning_rate
        why = f"{_LORA_FACTOR:g} times the rate for all weights, as usual for adapters; {basis}"
        return found._replace(learning_rate=LearningRate(value * _LORA_FACTOR, why))
    return found


def _end_of_turn(request: ExportRequest) -> str | None:
    is_own = request.chat_template is None and request.recipe.method is not Method.DPO
    return CHATML_END if is_own else None


def _with_schedule(draft: TrainingRun) -> tuple[TrainingRun, tuple[str, ...]]:
    n_steps = draft.n_steps
    if n_steps is None:
        raise InvalidInputError(f"the steps of the packed run {draft.name!r} are not known")
    found = fit_schedule(n_steps)
    run = replace(draft, warmup_steps=found.warmup_steps, decay_steps=found.decay_steps)
    notes: list[str] = []
    if found.is_shrunk:
        notes.append(
            f"{draft.name} has only {n_steps} steps: warm-up and decay were shrunk from 150 and"
            f" 300 to {found.warmup_steps} and {found.decay_steps}"
        )
    if draft.packing:
        rows = draft.n_rows / max(n_steps, 1) * draft.n_epochs
        notes.append(
            f"packing puts about {rows:.0f} rows into a step, not 32 as published: fewer, larger"
            " steps at the same learning rate"
        )
    return run, tuple(notes)
