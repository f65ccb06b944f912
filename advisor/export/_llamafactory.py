"""Configurations for LLaMA-Factory: supervised training and DPO."""

import json
import math
import posixpath
import re
import shlex
from pathlib import PurePosixPath
from typing import Any

from policies import InvalidInputError

from .._recipe import Method
from ._deepspeed import ZERO3_FILE, zero3_json
from ._layout import Entry, Section, commented_yaml
from ._scheduler import scheduler_entries
from ._training import DpoSettings, TrainingRun

__all__ = ["LIBRARY", "VERSION", "configs", "launch", "requirements"]

LIBRARY = "llamafactory"
"""Name of the library on the package index."""

VERSION = "0.9.5"
"""The version that the tests parse and run these configurations with."""

_TITLES = {Method.SFT: "Supervised training", Method.DPO: "Preference training (DPO)"}
_TEMPLATES = {"<|im_end|>": "chatml"}
"""Its own template that writes what the exported one does, by the end of a turn.

Its templates are programs, so that a Jinja file cannot be given. `chatml` writes thoughts as they
stand; `qwen3` would put an empty thought before each direct answer, into the loss.
"""

_TAGS = {
    "role_tag": "role",
    "content_tag": "content",
    "user_tag": "user",
    "assistant_tag": "assistant",
    "system_tag": "system",
}
_COMMAND = ("llamafactory-cli", "train")
_NAME = re.compile(r"[A-Za-z0-9_-]+")


def configs(run: TrainingRun) -> dict[str, str]:
    """Return the configuration of one run, its data sets and the DeepSpeed file, by file name.

    What the defaults of the library would get wrong is written out: `cutoff_len` (2,048 cuts
    answers off), `disable_shuffling`, `mix_strategy` (`concat` is the only one that keeps exact
    counts), `template` and `enable_thinking` (`false` deletes every thought).

    Rows are packed in shuffled runs only, because packing sorts each thousand rows by length.

    Raises:
        InvalidInputError: The method is GRPO, or the chat template has no counterpart.
    """
    _check(run)
    header = [
        f"{_TITLES[run.method]}, stage {run.name}. Validated against {LIBRARY}=={VERSION}.",
        f"Start it in this folder: {launch(run)}",
    ]
    sections = [
        Section("Model", _model(run)),
        Section("Data, in training order" if not run.shuffle else "Data, shuffled", _data(run)),
        Section("Method", _method(run)),
        Section("Optimisation", _optimiser(run)),
        Section("Machine", _machine(run)),
        Section("Output", _output(run)),
    ]
    files = {
        f"{run.name}.yaml": commented_yaml(header, sections),
        posixpath.join(_data_folder(run), "dataset_info.json"): _dataset_info(run),
    }
    if _is_sharded(run):
        files[ZERO3_FILE] = zero3_json()
    return files


def launch(run: TrainingRun) -> str:
    """Return the shell command that starts a run, to be given in the export folder."""
    # Without FORCE_TORCHRUN a DeepSpeed configuration is refused on one GPU.
    variables = f"FORCE_TORCHRUN=1 NPROC_PER_NODE={run.n_gpus}"
    return f"{variables} {shlex.join([*_COMMAND, f'{run.name}.yaml'])}"


def requirements(run: TrainingRun) -> tuple[str, ...]:
    """Return what has to be installed to start a run, as requirements for pip."""
    return (
        f"{LIBRARY}=={VERSION}",
        *(["deepspeed"] if _is_sharded(run) else []),
        *(["flash-attn"] if _is_packed(run) else []),
    )


def _check(run: TrainingRun) -> None:
    if run.method is Method.GRPO:
        raise InvalidInputError(
            "LLaMA-Factory has no GRPO (its stages are pt, sft, rm, ppo, dpo and kto)",
            hint="export to trl or axolotl, which have",
            code="no-grpo",
        )
    if _is_packed(run) and run.per_device_batch != 1:
        raise InvalidInputError(
            f"{run.per_device_batch} packs per GPU and forward pass: LLaMA-Factory keeps packed"
            " rows apart in one pack at a time only",
            hint="use a batch of 1 per device, and longer packs",
            code="one-pack",
        )
    if run.chat_template is not None and run.end_of_turn not in _TEMPLATES:
        raise InvalidInputError(
            f"LLaMA-Factory has no template that ends turns with {run.end_of_turn!r}",
            hint="its templates are programs; leave the chat template out, and it reads the base"
            " model's own, or export to trl or axolotl",
            code="no-template",
        )


def _is_packed(run: TrainingRun) -> bool:
    return run.method is Method.SFT and run.packing and run.shuffle


def _is_sharded(run: TrainingRun) -> bool:
    return run.n_gpus > 1


def _data_folder(run: TrainingRun) -> str:
    """Return the folder of the first file, which is where the library looks for their list."""
    return posixpath.dirname(run.files[0]) or "."


def _model(run: TrainingRun) -> list[Entry]:
    entries = [Entry("model_name_or_path", run.base_model)]
    if run.chat_template is not None and run.end_of_turn is not None:
        why = "writes thoughts as they stand"
        entries.append(Entry("template", _TEMPLATES[run.end_of_turn], why))
    # Without `template`, it reads that of the base model.
    entries.append(Entry("enable_thinking", None, "`false` would delete every thought"))
    if run.is_lora:
        entries += [
            Entry("finetuning_type", "lora"),
            Entry("lora_rank", 32),
            Entry("lora_alpha", 32),
            Entry("lora_dropout", 0.0),
            Entry("lora_target", "all", "all linear layers"),
        ]
    else:
        entries.append(Entry("finetuning_type", "full"))
    return entries


def _data(run: TrainingRun) -> list[Entry]:
    cutoff = _pack_length(run.max_length) if _is_packed(run) else run.max_length
    order = "one after the other" if len(run.files) > 1 else ""
    entries = [
        Entry("dataset_dir", _data_folder(run), "has dataset_info.json"),
        Entry("dataset", ",".join(_dataset_names(run)), order),
        Entry("mix_strategy", "concat", "interleaving repeats rows or leaves some out"),
        Entry("disable_shuffling", not run.shuffle, "true keeps the order"),
        Entry("cutoff_len", cutoff, "longer rows would lose their answer; the default is 2,048"),
    ]
    if run.method is Method.SFT:
        entries.append(Entry("packing", _is_packed(run)))
    if _is_packed(run):
        entries.append(Entry("neat_packing", True, "keeps packed rows apart"))
    return entries


def _pack_length(max_length: int) -> int:
    """Return the length of packs that rows of up to `max_length` tokens fit into.

    One place is kept back, and a length that is no multiple of 8 is padded to one everywhere but
    in the positions, which stops the run.
    """
    return math.ceil((max_length + 1) / 8) * 8


def _method(run: TrainingRun) -> list[Entry]:
    entries = [Entry("stage", run.method.value), Entry("do_train", True)]
    if run.dpo is not None:
        entries += _dpo(run.dpo)
    return entries


def _dpo(dpo: DpoSettings) -> list[Entry]:
    return [
        Entry("pref_loss", "sigmoid"),
        Entry(
            "pref_beta", dpo.beta, "pull towards the start model; an assumption, none is printed"
        ),
    ]


def _optimiser(run: TrainingRun) -> list[Entry]:
    effective = f"x {run.n_gpus} GPU(s) x {run.per_device_batch} above = {run.global_batch} a step"
    return [
        Entry("per_device_train_batch_size", run.per_device_batch),
        Entry("gradient_accumulation_steps", run.gradient_accumulation, effective),
        Entry("num_train_epochs", run.n_epochs),
        Entry("learning_rate", run.learning_rate),
        Entry("optim", "adamw_torch_fused"),
        Entry("warmup_steps", run.warmup_steps),
        *scheduler_entries(run),
    ]


def _machine(run: TrainingRun) -> list[Entry]:
    entries = [Entry("bf16", True, "weights that train stay in float32")]
    attention = "fa2" if _is_packed(run) else "sdpa"
    entries.append(Entry("flash_attn", attention))
    if _is_sharded(run):
        entries.append(Entry("deepspeed", ZERO3_FILE, "ZeRO-3, with float32 master weights"))
    return entries


def _output(run: TrainingRun) -> list[Entry]:
    return [
        Entry("output_dir", run.output_dir),
        Entry("seed", run.seed),
        Entry("logging_steps", 5),
        Entry("save_steps", 500),
        Entry("save_total_limit", 1),
        Entry("report_to", "none"),
    ]


def _dataset_names(run: TrainingRun) -> list[str]:
    """Return one name per file; a comma or a space in one would split it in the configuration."""
    stems = [PurePosixPath(file).stem for file in run.files]
    if len(set(stems)) == len(stems) and all(_NAME.fullmatch(stem) for stem in stems):
        return stems
    return [f"part_{number}" for number in range(len(stems))]


def _dataset_info(run: TrainingRun) -> str:
    columns = {"messages": "messages"}
    if run.method is Method.DPO:
        columns = {"messages": "prompt", "chosen": "chosen", "rejected": "rejected"}
    info: dict[str, Any] = {
        name: {
            "file_name": posixpath.relpath(file, _data_folder(run)),
            "formatting": "sharegpt",
            "ranking": run.method is Method.DPO,
            "columns": columns,
            "tags": _TAGS,
        }
        for name, file in zip(_dataset_names(run), run.files, strict=True)
    }
    return json.dumps(info, indent=2, ensure_ascii=False) + "\n"
