"""Configurations for TRL: supervised training, GRPO and DPO."""

import shlex

from .._recipe import Method
from ._layout import Entry, Section, commented_yaml
from ._scheduler import scheduler_entries
from ._training import DpoSettings, GrpoSettings, TrainingRun
from ._yaml import YamlValue

__all__ = ["LIBRARY", "VERSION", "configs", "launch", "requirements"]

LIBRARY = "trl"
"""Name of the library on the package index."""

VERSION = "1.16.0"
"""The version that the tests parse and run these configurations with."""


def configs(run: TrainingRun) -> dict[str, str]:
    """Return the configuration of one run by file name.

    What the defaults of the library would get wrong is written out: `max_length` (1,024 cuts
    thoughts off before their answer), `dtype` (float32), sampling (random), `packing` (its
    best-fit packing sorts rows by length in groups of 1,000, longest first, which undoes an
    order, so an ordered run is never packed).
    """
    header = [
        f"validated against {LIBRARY}=={VERSION}",
        f"start it in this folder: {launch(run)}",
    ]
    sections = [_model(run), _data(run), _method(run), _optimiser(run), _bookkeeping(run)]
    return {f"{run.name}.yaml": commented_yaml(header, sections)}


def launch(run: TrainingRun) -> str:
    """Return the shell command that starts a run, to be given in the export folder.

    The command of the library is used, not `python -m trl.scripts.sft`, because the latter
    ignores keys that it does not know.
    """
    sharding = "single_gpu" if run.n_gpus == 1 else "zero3"
    return shlex.join(
        (
            *("trl", _command(run), "--config", f"{run.name}.yaml"),
            *("--accelerate_config", sharding, "--num_processes", str(run.n_gpus)),
        )
    )


def requirements(run: TrainingRun) -> tuple[str, ...]:
    """Return what has to be installed to start a run, as requirements for pip."""
    extras = ["peft"] * run.is_lora + ["vllm"] * (run.method is Method.GRPO)
    library = f"{LIBRARY}[{','.join(extras)}]" if extras else LIBRARY
    sharding = ["deepspeed"] * (run.n_gpus > 1)
    attention = ["flash-attn"] * _is_packed(run)
    return (f"{library}=={VERSION}", *sharding, *attention)


def _command(run: TrainingRun) -> str:
    return {Method.GRPO: "grpo", Method.DPO: "dpo"}.get(run.method, "sft")


def _is_packed(run: TrainingRun) -> bool:
    return run.method is Method.SFT and run.packing and run.shuffle


def _model(run: TrainingRun) -> Section:
    entries = [
        Entry("model_name_or_path", run.base_model),
        _precision(run),
    ]
    if _is_packed(run):
        why = "only attention of variable length keeps packed rows apart"
        entries.append(Entry("attn_implementation", "flash_attention_2", why))
    if run.is_lora:
        entries += [
            Entry("use_peft", True),
            Entry("lora_r", 32),
            Entry("lora_alpha", 32),
            Entry("lora_dropout", 0.0),
            Entry("lora_target_modules", ["all-linear"]),
        ]
    return Section("Model", entries)


def _precision(run: TrainingRun) -> Entry:
    """Return the number format of the weights; computation is in bfloat16 either way."""
    if run.n_gpus > 1:
        why = "the default is float32; ZeRO keeps float32 weights in its optimiser"
        return Entry("dtype", "bfloat16", why)
    if run.is_lora:
        return Entry("dtype", "bfloat16", "of the frozen weights; adapters are float32")
    why = "bfloat16 weights are too coarse for steps this small without ZeRO's float32 copy"
    return Entry("dtype", "float32", why)


def _data(run: TrainingRun) -> Section:
    # TRL joins the files in this order.
    files: list[YamlValue] = [
        {"path": "json", "data_files": file, "split": "train"} for file in run.files
    ]
    order = "shuffled" if run.shuffle else "in this order"
    entries = [Entry("datasets", files, f"the mixture is in the files, {order}")]
    if run.method is not Method.DPO:
        entries.append(Entry("shuffle_dataset", run.shuffle))
    sampling = "random" if run.shuffle else "sequential"
    if run.method is not Method.GRPO:
        why = "" if run.shuffle else "the default, random, would undo the order"
        entries.append(Entry("train_sampling_strategy", sampling, why))
    return Section("Data", entries)


def _method(run: TrainingRun) -> Section:
    if run.grpo is not None:
        return _grpo(run, run.grpo)
    if run.dpo is not None:
        return _dpo(run, run.dpo)
    entries = [
        Entry("max_length", run.max_length, "longer rows lose their answer; the default is 1024"),
        Entry("packing", _is_packed(run)),
        Entry("assistant_only_loss", True, "prompts are not trained on"),
    ]
    if _is_packed(run):
        entries.append(Entry("packing_strategy", "bfd"))
    if run.chat_template is not None:
        why = "marks answers, keeps thoughts"
        entries.append(Entry("chat_template_path", run.chat_template, why))
    if run.end_of_turn is not None:
        why = "what an answer ends with; base models end documents instead"
        entries.append(Entry("eos_token", run.end_of_turn, why))
    return Section("Supervised training", entries)


def _grpo(run: TrainingRun, grpo: GrpoSettings) -> Section:
    length = grpo.max_completion_length
    entries = [
        Entry("reward_funcs", [f"rewards.{grpo.reward}"], "the function of rewards.py"),
        Entry("num_generations", grpo.n_generations, "completions compared per prompt"),
        Entry("max_completion_length", length, "the default, 512, would cut thoughts"),
        Entry("mask_truncated_completions", True, "a cut thought is not punished"),
        Entry("loss_type", grpo.loss_type),
        Entry("beta", grpo.beta, "0 keeps no reference model in memory"),
        Entry("use_vllm", True),
        Entry("vllm_mode", "colocate", "on the GPUs that train"),
        Entry("vllm_max_model_length", run.max_length, "prompt and completion"),
    ]
    return Section("Group relative policy optimisation", entries)


def _dpo(run: TrainingRun, dpo: DpoSettings) -> Section:
    entries = [
        Entry("beta", dpo.beta, "an assumption: the TOPS paper prints none"),
        Entry("max_length", run.max_length, "longer rows lose their answer; the default is 1024"),
    ]
    return Section("Direct preference optimisation", entries)


def _optimiser(run: TrainingRun) -> Section:
    accumulation = run.gradient_accumulation
    batch = f"{run.per_device_batch} x {accumulation} x {run.n_gpus} GPUs = {run.global_batch}"
    entries = [
        Entry("num_train_epochs", run.n_epochs),
        Entry("per_device_train_batch_size", run.per_device_batch, batch),
        Entry("gradient_accumulation_steps", accumulation),
        Entry("learning_rate", run.learning_rate),
        Entry("optim", "adamw_torch_fused"),
        Entry("warmup_steps", run.warmup_steps),
        *scheduler_entries(run),
        Entry("bf16", True),
        Entry("gradient_checkpointing", True, "memory of activations for a third more compute"),
    ]
    return Section("Optimiser", entries)


def _bookkeeping(run: TrainingRun) -> Section:
    return Section(
        "Bookkeeping",
        [
            Entry("seed", run.seed),
            Entry("logging_steps", 5),
            Entry("save_strategy", "steps"),
            Entry("save_steps", 500),
            Entry("save_total_limit", 1, "a checkpoint holds the optimiser too"),
            Entry("report_to", "none"),
            Entry("output_dir", run.output_dir),
        ],
    )
