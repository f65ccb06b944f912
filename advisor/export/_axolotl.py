"""Configurations for axolotl: supervised training, GRPO and DPO."""

import hashlib
import shlex
from pathlib import PurePosixPath

from policies import InvalidInputError

from .._recipe import Method
from ._deepspeed import ZERO3_FILE, zero3_json
from ._layout import Entry, Section, commented_yaml
from ._scheduler import scheduler_entries
from ._training import DpoSettings, GrpoSettings, TrainingRun
from ._yaml import YamlValue

__all__ = ["LIBRARY", "VERSION", "configs", "launch", "requirements"]

LIBRARY = "axolotl"
"""Name of the library on the package index."""

VERSION = "0.19.0"
"""The version that the tests validate and run these configurations with."""

_TITLES = {
    Method.SFT: "Supervised training",
    Method.GRPO: "Reinforcement learning (GRPO)",
    Method.DPO: "Preference training (DPO)",
}


def configs(run: TrainingRun) -> dict[str, str]:
    """Return the configuration of one run, and the DeepSpeed file it names, by file name.

    What the defaults of the library would get wrong is written out: `excess_length_strategy` (rows
    that are too long are dropped, which takes the reasoning rows out of a mixture), the order
    (random), `sample_packing_sequentially` (packing in order still fills early gaps with late
    rows), `eos_token` (the end of an answer is not trained where the chat template ends turns with
    another token than the base model's) and `dataset_prepared_path` (tokenised data are reused
    by the names of the files, not by what is in them, nor by their order).

    Raises:
        InvalidInputError: A step of GRPO has no full group of completions for each GPU.
    """
    header = [
        f"{_TITLES[run.method]}, stage {run.name}. Validated against {LIBRARY}=={VERSION}.",
        f"Start it in this folder: {launch(run)}",
        "Keys that axolotl does not know are ignored without a word, also those of a data set",
        "(`weight`, for one): look a key up before adding it.",
    ]
    sections = [
        Section("Model", _model(run)),
        Section("Data, in training order" if not run.shuffle else "Data, shuffled", _data(run)),
        *_method(run),
        Section("Optimisation", _optimiser(run)),
        Section("Machine", _machine(run)),
        Section("Output", _output(run)),
    ]
    files = {f"{run.name}.yaml": commented_yaml(header, sections)}
    if _is_sharded(run):
        files[ZERO3_FILE] = zero3_json()
    return files


def launch(run: TrainingRun) -> str:
    """Return the shell command that starts a run, to be given in the export folder."""
    # axolotl reports use to its makers unless told not to. The reward lies beside the
    # configuration, where Python looks only when asked to.
    variables = ["AXOLOTL_DO_NOT_TRACK=1", *(["PYTHONPATH=."] if run.grpo is not None else [])]
    train = ["axolotl", "train", f"{run.name}.yaml", "--launcher", "torchrun"]
    return " ".join([*variables, shlex.join([*train, "--", f"--nproc_per_node={run.n_gpus}"])])


def requirements(run: TrainingRun) -> tuple[str, ...]:
    """Return what has to be installed to start a run, as requirements for pip."""
    wanted = {
        "deepspeed": _is_sharded(run),
        "flash-attn": _is_packed(run),
        "vllm": run.grpo is not None,
    }
    extras = ",".join(name for name, is_wanted in wanted.items() if is_wanted)
    return (f"{LIBRARY}[{extras}]=={VERSION}" if extras else f"{LIBRARY}=={VERSION}",)


def _is_packed(run: TrainingRun) -> bool:
    return run.method is Method.SFT and run.packing


def _is_sharded(run: TrainingRun) -> bool:
    # Also on one GPU: DeepSpeed is what keeps float32 weights, see `zero3_json`. Adapters
    # are float32 anyway.
    return not run.is_lora or run.n_gpus > 1


def _model(run: TrainingRun) -> list[Entry]:
    entries = [Entry("base_model", run.base_model)]
    if run.chat_template is None:
        why = "the base model's own; it must write thoughts as they stand"
        entries.append(Entry("chat_template", "tokenizer_default", why))
    else:
        entries += [
            Entry("chat_template", "jinja"),
            Entry("chat_template_jinja", run.chat_template, "writes thoughts as they stand"),
        ]
    if run.end_of_turn is not None:
        why = "ends an answer in the template; with another one, stopping is not learnt"
        entries.append(Entry("special_tokens", {"eos_token": run.end_of_turn}, why))
    if run.is_lora:
        entries += [
            Entry("adapter", "lora"),
            Entry("lora_r", 32),
            Entry("lora_alpha", 32),
            Entry("lora_dropout", 0.0),
            Entry("lora_target_linear", True, "all linear layers"),
        ]
    return entries


def _data(run: TrainingRun) -> list[Entry]:
    fields: dict[Method, dict[str, YamlValue]] = {
        Method.SFT: {"type": "chat_template", "field_messages": "messages"},
        # No `type`: rows go to the trainer as they are, with `prompt` and `solution`.
        Method.GRPO: {},
        Method.DPO: {"type": "chat_template.default", "field_messages": "prompt"},
    }
    rows: list[YamlValue] = [
        {"path": file, "ds_type": "json", "split": "train", **fields[run.method]}
        for file in run.files
    ]
    entries = [Entry("datasets", rows), *_order(run)]
    if run.grpo is None:
        entries += [
            Entry("sequence_len", run.max_length, "tokens of the longest row, or of a pack"),
            Entry("excess_length_strategy", "raise", "the default drops rows that are longer"),
        ]
    if run.method is Method.SFT:
        entries.append(Entry("sample_packing", _is_packed(run)))
        if _is_packed(run) and not run.shuffle:
            why = "the default fills early packs with late rows"
            entries.append(Entry("sample_packing_sequentially", True, why))
    why = "looked up by the names of the files; delete it when you change files or their order"
    entries.append(Entry("dataset_prepared_path", _prepared_path(run), why))
    return entries


def _order(run: TrainingRun) -> list[Entry]:
    if run.shuffle:
        return [Entry("shuffle_merged_datasets", True)]
    return [
        Entry("shuffle_merged_datasets", False, "the files one after the other"),
        Entry("curriculum_sampling", True, "and the rows in their order; the default is random"),
    ]


def _prepared_path(run: TrainingRun) -> str:
    """Return a folder that no other run shares: one that is reused would hide what changed."""
    digest = hashlib.sha256(repr(run).encode()).hexdigest()[:12]
    return f"prepared/{run.name}-{digest}"


def _method(run: TrainingRun) -> list[Section]:
    if run.grpo is not None:
        return [Section("GRPO", _grpo(run, run.grpo))]
    if run.dpo is not None:
        return [Section("DPO", _dpo(run.dpo))]
    return []


def _grpo(run: TrainingRun, grpo: GrpoSettings) -> list[Entry]:
    least = grpo.n_generations * run.n_gpus
    if run.global_batch % least:
        raise InvalidInputError(
            f"run {run.name!r}: axolotl wants a full group of {grpo.n_generations} completions on"
            f" each of {run.n_gpus} GPUs, but a step has {run.global_batch} completions",
            hint=f"use a multiple of {least} completions per step, or fewer GPUs or generations",
            code="batch-not-divisible",
        )
    trainer = [
        Entry("reward_funcs", [f"rewards.{grpo.reward}"], "in rewards.py, beside this file"),
        Entry("num_generations", grpo.n_generations, "completions per prompt"),
        Entry("generation_batch_size", run.global_batch, "completions per step, all GPUs"),
        Entry("max_completion_length", grpo.max_completion_length, "the default is 512"),
        Entry("mask_truncated_completions", True, "being cut off is not a wrong answer"),
        Entry("loss_type", grpo.loss_type),
        Entry("beta", grpo.beta, "0 keeps no reference model"),
        Entry("use_vllm", True),
        Entry("vllm_mode", "colocate", "generate on the GPUs that train"),
    ]
    sampler = [
        Entry("gpu_memory_utilization", 0.3, "the rest is for training"),
        Entry("tensor_parallel_size", 1),
    ]
    return [
        Entry("rl", "grpo"),
        Entry("trl", Section("", trainer)),
        Entry("vllm", Section("", sampler)),
    ]


def _dpo(dpo: DpoSettings) -> list[Entry]:
    return [
        Entry("rl", "dpo"),
        Entry("rl_beta", dpo.beta, "pull towards the start model; an assumption, none is printed"),
    ]


def _optimiser(run: TrainingRun) -> list[Entry]:
    effective = f"x {run.n_gpus} GPU(s) x {run.per_device_batch} above = {run.global_batch} a step"
    return [
        Entry("micro_batch_size", run.per_device_batch),
        Entry("gradient_accumulation_steps", run.gradient_accumulation, effective),
        Entry("num_epochs", run.n_epochs),
        Entry("learning_rate", run.learning_rate),
        Entry("optimizer", "adamw_torch_fused"),
        Entry("warmup_steps", run.warmup_steps),
        *scheduler_entries(run, "lr_scheduler"),
    ]


def _machine(run: TrainingRun) -> list[Entry]:
    if _is_packed(run):
        attention = Entry("attn_implementation", "flash_attention_2", "keeps packed rows apart")
    else:
        attention = Entry("attn_implementation", "sdpa")
    entries = [Entry("bf16", True), attention, Entry("gradient_checkpointing", True)]
    if _is_sharded(run):
        entries.append(Entry("deepspeed", ZERO3_FILE, "ZeRO-3, with float32 master weights"))
    return entries


def _output(run: TrainingRun) -> list[Entry]:
    return [
        Entry("output_dir", str(PurePosixPath(run.output_dir))),
        Entry("seed", run.seed),
        Entry("logging_steps", 5),
        Entry("save_steps", 500),
        Entry("save_total_limit", 1),
    ]
