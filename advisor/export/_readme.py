"""What an export folder says about itself, for people."""

import shlex
from collections.abc import Sequence

from .._recipe import Method
from ..cost import Range, TrainingCost
from ._costs import describe_memory, stage_memory
from ._request import DataFile, Export, ExportRequest
from ._training import TrainingRun

__all__ = ["write_readme"]

_ANSWER_ROOM = 512


def write_readme(
    request: ExportRequest,
    export: Export,
    costs: Sequence[TrainingCost | None],
    requirements: Sequence[str],
) -> str:
    """Return the README of an export folder, in Markdown.

    Args:
        request: What was exported.
        export: What was written.
        costs: Cost of each stage, `None` where it cannot be told.
        requirements: What has to be installed, as requirements for pip.
    """
    sections = [
        _opening(request),
        _data(export),
        _stages(request, export, costs),
        _launch(export, requirements),
        _checks(export),
        _measuring(request, export),
        _notes(export),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _opening(request: ExportRequest) -> str:
    recipe = request.recipe
    return (
        f"# {recipe.size} for {request.task_type}: {_label(request)}\n\n"
        f"Written by `advisor export --to {request.library}`.\n\n"
        f"**Why:** {request.why}"
    )


def _label(request: ExportRequest) -> str:
    recipe = request.recipe
    method = recipe.method
    return recipe.label if method is Method.SFT else f"{method.value}"


def _data(export: Export) -> str:
    rows = [
        f"| {file.name} | {file.kind} | {file.n_rows:,} | {file.n_prompt_tokens:,} |"
        f" {file.n_answer_tokens:,} | {file.p99_tokens:,} | {file.max_tokens:,} |"
        for file in export.files
    ]
    counted = f"Tokens were counted with {export.counter_name}."
    if not export.is_exact:
        counted = (
            "Tokens were counted approximately, lengths on the long side; `--tokenizer` counts"
            " exactly."
        )
    lines = [
        "## Data",
        "",
        "| file | rows are | rows | prompt tokens | answer tokens | p99 of rows | longest |",
        "|---|---|---|---|---|---|---|",
        *rows,
        "",
        counted,
    ]
    if export.reasoning_ratio is not None and export.reasoning_token_share is not None:
        lines.append(
            f"Reasoning is {export.reasoning_ratio:.1%} of the rows and"
            f" **{export.reasoning_token_share:.1%} of the tokens that are trained on**."
        )
    if len(export.files) > 1:
        lines.append(
            "No prompt is in two files of a mixture. The order of the files is that of training."
        )
    return "\n".join(lines)


def _stages(request: ExportRequest, export: Export, costs: Sequence[TrainingCost | None]) -> str:
    lines = ["## Training"]
    for run, cost in zip(export.runs, costs, strict=True):
        about = [f"**{run.name}**: {_describe(run)}"]
        if cost is not None:
            about.append(
                f"It costs {cost.flops:.2g} FLOPs: {_range(cost.gpu_hours)} GPU-hours,"
                f" {_range(cost.wall_hours)} hours on {cost.gpus}, at 50%, 40% and 25% of the peak"
                f"{_usd(cost)}. Computed as {cost.formula}."
            )
        elif run.grpo is not None:
            about.append("Its cost is not stated: it depends on how much the model writes.")
        about.append(describe_memory(stage_memory(request, run)))
        lines += ["", *(line for line in about if line)]
    return "\n".join(lines)


def _describe(run: TrainingRun) -> str:
    if run.grpo is not None:
        prompts = run.global_batch // run.grpo.n_generations
        unit = f"{prompts} prompts x {run.grpo.n_generations} completions"
    else:
        unit = f"{run.global_batch} {'packs of rows' if run.packing else 'rows'}"
    shape = f"constant after {run.warmup_steps} steps of warm-up"
    if run.decay_steps:
        shape = (
            f"{run.warmup_steps} steps of warm-up, then constant, the last {run.decay_steps} steps"
            f" down to {run.min_lr_ratio:.0%}"
        )
    what = "adapters (LoRA)" if run.is_lora else "all weights"
    return (
        f"{run.method.value} of {what} of `{run.base_model}`, {run.n_steps:,} steps of {unit},"
        f" {_count(run.n_epochs, 'epoch')}, learning rate {run.learning_rate:g} ({shape}), rows of up to"
        f" {run.max_length:,} tokens, {_count(run.n_gpus, 'GPU')}."
    )


def _count(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}s"


def _range(values: Range) -> str:
    return f"{values.low:.3g}, {values.mid:.3g} or {values.high:.3g}"


def _usd(cost: TrainingCost) -> str:
    if cost.usd is None:
        return ""
    digits = 0 if cost.usd.low >= 10 else 2
    low, high = f"{cost.usd.low:,.{digits}f}", f"{cost.usd.high:,.{digits}f}"
    return f", {low} to {high} USD ({cost.price_note})"


def _launch(export: Export, requirements: Sequence[str]) -> str:
    install = shlex.join(("pip", "install", *requirements))
    lines = [
        "## Start it",
        "",
        "```",
        install,
        "bash launch.sh",
        "```",
        "",
        f"`launch.sh` runs, in this folder (tested with {export.library} {export.library_version}):",
        "",
        "```",
        *export.commands,
        "```",
    ]
    return "\n".join(lines)


def _checks(export: Export) -> str:
    run = export.runs[0]
    lines = ["## Look at it after 20 steps", ""]
    if run.warmup_steps:
        step = min(20, run.warmup_steps)
        lines.append(
            f"- The learning rate of step {step} is about {_rate(run, step):.2g}. The full rate at"
            " step 1 means that the warm-up was not read."
        )
    lines += _token_check(run, {file.name: file for file in export.files})
    if run.grpo is not None:
        lines.append(
            "- `frac_reward_zero_std` is the share of prompts whose completions all got the same"
            " reward; they teach nothing. Above 0.8, choose prompts that the model gets right"
            " between 5% and 95% of the time."
        )
        lines.append(
            "- `completions/clipped_ratio` is the share of completions that were cut off. Above"
            " 0.1, raise `max_completion_length`."
        )
    else:
        lines.append("- The loss falls and is no NaN.")
    lines += [
        "- Seconds per step times steps is the real duration. If it is more than twice the"
        " estimate above, look at the GPUs' use before going on.",
        "- Memory: the longest row decides. If it does not fit, use more GPUs before shortening"
        " rows: a shorter maximum length cuts answers off.",
    ]
    return "\n".join(lines)


def _rate(run: TrainingRun, step: int) -> float:
    """Return the learning rate of a step of the warm-up.

    Source: `get_wsd_schedule` of transformers rises from `min_lr_ratio`, not from 0.
    """
    start = run.min_lr_ratio if run.decay_steps else 0.0
    return run.learning_rate * (start + (1.0 - start) * step / run.warmup_steps)


def _token_check(run: TrainingRun, files: dict[str, DataFile]) -> list[str]:
    """Return what the token counter should show: a jump in an ordered run, none in another."""
    if run.grpo is not None or run.packing:
        return []
    sizes = [
        (files[name].n_prompt_tokens + files[name].n_answer_tokens) / files[name].n_rows
        for name in run.files
    ]
    if run.shuffle or len(sizes) < 2:
        n_tokens = sum(
            mean * files[name].n_rows for mean, name in zip(sizes, run.files, strict=True)
        )
        per_step = n_tokens / run.n_rows * run.global_batch
        return [f"- A step reads about {per_step:,.0f} tokens (chat marks not counted)."]
    first = files[run.files[0]].n_rows / run.global_batch
    before, after = (size * run.global_batch for size in sizes[:2])
    return [
        f"- A step reads about {before:,.0f} tokens, and {after:,.0f} from step {first:,.0f} on,"
        " where the reasoning rows begin. Without that jump the order was lost."
    ]


def _measuring(request: ExportRequest, export: Export) -> str:
    run = export.runs[-1]
    model = f"{export.folder}/{run.output_dir}"
    label = _label(request) if request.then is None else f"{_label(request)}+{request.then}"
    parts = (
        *("advisor", "calibrate", "--backend", "vllm", "--model", model),
        *("--config", f"{model}/config.json"),
        *("--backend-option", f"max_model_len={run.max_length + _ANSWER_ROOM}"),
        *("--tasks", "QUESTIONS.jsonl", "--task-type", request.task_type),
        *("--policies", "direct", "--max-answer-tokens", str(run.max_length)),
        *("--size", str(request.size), "--recipe", label, "--out", f"runs/{label}"),
    )
    advice = (
        *("advisor", "recommend", "--size", str(request.size), "--task", request.task_type),
        *("--table", f"runs/{label}"),
    )
    return "\n".join(
        (
            "## Measure the result",
            "",
            "On questions that are not in the training data:",
            "",
            "```",
            shlex.join(parts),
            shlex.join(advice),
            "```",
            "",
            "`direct` leaves it to the model whether it thinks; the table tells how many tokens it"
            " thought for. Measure the base model and a pure recipe on the same questions too:"
            " only a paired comparison says what the recipe gained.",
        )
    )


def _notes(export: Export) -> str:
    if not export.notes:
        return ""
    return "\n".join(("## Notes", "", *(f"- {note}" for note in export.notes)))
