"""What axolotl's defaults would get wrong is written out, and what it cannot run is refused."""

import json
from dataclasses import replace
from typing import Any

import pytest
import yaml

from advisor import Method
from advisor.export import DpoSettings, GrpoSettings, TrainingRun
from advisor.export import _axolotl as axolotl
from policies import InvalidInputError

ORDERED = TrainingRun(
    name="1_sft",
    method=Method.SFT,
    base_model="Qwen/Qwen2.5-3B",
    files=("mix/00_ift.jsonl", "mix/01_reasoning.jsonl"),
    shuffle=False,
    max_length=16_384,
    n_rows=300_000,
    learning_rate=5e-6,
    output_dir="out/1_sft",
    chat_template="chat_template.jinja",
    end_of_turn="<|im_end|>",
)
GRPO = replace(
    ORDERED,
    name="2_grpo",
    method=Method.GRPO,
    files=("mix/grpo.jsonl",),
    shuffle=True,
    packing=False,
    global_batch=256,
    grpo=GrpoSettings(max_completion_length=4_096),
)
DPO = replace(ORDERED, method=Method.DPO, shuffle=True, packing=False, dpo=DpoSettings())


def config(run: TrainingRun) -> dict[str, Any]:
    return yaml.safe_load(axolotl.configs(run)[f"{run.name}.yaml"])


def test_files_are_trained_on_in_their_order() -> None:
    """The default draws rows at random."""
    found = config(ORDERED)
    assert [part["path"] for part in found["datasets"]] == list(ORDERED.files)
    assert found["curriculum_sampling"] is True
    assert found["shuffle_merged_datasets"] is False


def test_packing_keeps_the_order() -> None:
    """The default packer puts late rows into what is left of early packs."""
    assert config(ORDERED)["sample_packing_sequentially"] is True
    assert "sample_packing_sequentially" not in config(replace(ORDERED, packing=False))


def test_mixed_runs_are_shuffled() -> None:
    found = config(replace(ORDERED, shuffle=True))
    assert found["shuffle_merged_datasets"] is True
    assert not {"curriculum_sampling", "sample_packing_sequentially"} & set(found)


@pytest.mark.parametrize("run", [ORDERED, DPO], ids=["sft", "dpo"])
def test_a_row_that_is_too_long_stops_the_run(run: TrainingRun) -> None:
    """The default drops it, which took half of a mixture, the reasoning half, away."""
    found = config(run)
    assert found["excess_length_strategy"] == "raise"
    assert found["sequence_len"] == run.max_length


def test_the_end_of_an_answer_is_trained() -> None:
    """The Qwen2.5 bases end text with another token than their chat template ends turns with.

    The library trains the end of an answer only where both are the same.
    """
    assert config(ORDERED)["special_tokens"] == {"eos_token": "<|im_end|>"}
    assert "special_tokens" not in config(replace(ORDERED, end_of_turn=None))


def test_the_exported_chat_template_is_used() -> None:
    """Templates of models that reason take thoughts out of answers."""
    found = config(ORDERED)
    assert (found["chat_template"], found["chat_template_jinja"]) == (
        "jinja",
        "chat_template.jinja",
    )
    assert config(replace(ORDERED, chat_template=None))["chat_template"] == "tokenizer_default"


def test_runs_that_differ_do_not_share_tokenised_data() -> None:
    """Tokenised data are looked up by the names of the files, whatever their order or content."""
    runs = [
        ORDERED,
        replace(ORDERED, files=tuple(reversed(ORDERED.files))),
        replace(ORDERED, shuffle=True),
        replace(ORDERED, seed=1),
        replace(ORDERED, n_rows=299_999),
    ]
    assert len({config(run)["dataset_prepared_path"] for run in runs}) == len(runs)
    assert config(ORDERED) == config(replace(ORDERED))


def test_weights_are_kept_in_float32() -> None:
    """`bf16: true` alone trains bfloat16 weights, which steps of 5e-6 hardly move."""
    for run in (ORDERED, replace(ORDERED, n_gpus=1), replace(ORDERED, is_lora=True)):
        zero3 = json.loads(axolotl.configs(run)[config(run)["deepspeed"]])
        assert zero3["zero_optimization"]["stage"] == 3
        assert zero3["bf16"] == {"enabled": "auto"}


def test_adapters_on_one_gpu_need_no_deepspeed() -> None:
    run = replace(ORDERED, is_lora=True, n_gpus=1)
    assert set(axolotl.configs(run)) == {"1_sft.yaml"}
    assert config(run)["adapter"] == "lora"
    assert "deepspeed" not in config(run)
    assert axolotl.requirements(run) == ("axolotl[flash-attn]==0.19.0",)


def test_a_saved_model_has_its_weights() -> None:
    zero3 = json.loads(axolotl.configs(ORDERED)["ds_z3.json"])
    assert zero3["zero_optimization"]["stage3_gather_16bit_weights_on_model_save"] is True


def test_batches_multiply_to_the_global_batch() -> None:
    found = config(replace(ORDERED, per_device_batch=2))
    assert found["micro_batch_size"] * found["gradient_accumulation_steps"] * 8 == 32


def test_a_schedule_without_decay_is_constant() -> None:
    found = config(replace(ORDERED, decay_steps=0))
    assert found["lr_scheduler"] == "constant_with_warmup"
    assert "lr_scheduler_kwargs" not in found


def test_reinforcement_counts_completions_over_all_gpus() -> None:
    found = config(GRPO)
    assert found["rl"] == "grpo"
    assert found["trl"]["generation_batch_size"] == GRPO.global_batch
    assert found["trl"]["max_completion_length"] == 4_096
    assert found["trl"]["reward_funcs"] == ["rewards.accuracy"]
    assert "PYTHONPATH=. " in axolotl.launch(GRPO)


@pytest.mark.parametrize("global_batch", [32, 96])
def test_a_gpu_without_a_full_group_is_refused(global_batch: int) -> None:
    with pytest.raises(InvalidInputError, match="multiple of 64") as caught:
        axolotl.configs(replace(GRPO, global_batch=global_batch))
    assert caught.value.code == "batch-not-divisible"


def test_reinforcement_and_preferences_are_not_packed() -> None:
    """`sample_packing` is refused with `rl`."""
    for run in (GRPO, DPO, replace(DPO, packing=True)):
        assert "sample_packing" not in config(run)
        assert config(run)["attn_implementation"] == "sdpa"


def test_preferences_keep_their_strength() -> None:
    found = config(replace(DPO, dpo=DpoSettings(beta=0.25)))
    assert (found["rl"], found["rl_beta"]) == ("dpo", 0.25)


def test_the_header_names_the_tested_version_and_the_command() -> None:
    text = axolotl.configs(ORDERED)["1_sft.yaml"]
    assert "Validated against axolotl==0.19.0" in text.splitlines()[0]
    assert axolotl.launch(ORDERED) in text.splitlines()[1]


def test_a_run_with_a_strange_name_is_quoted_for_the_shell() -> None:
    run = replace(ORDERED, name="my run; rm -rf")
    assert "'my run; rm -rf.yaml'" in axolotl.launch(run)


def test_use_is_not_reported_to_the_makers() -> None:
    assert axolotl.launch(ORDERED).startswith("AXOLOTL_DO_NOT_TRACK=1 ")


@pytest.mark.parametrize(
    ("run", "extras"),
    [
        (ORDERED, "deepspeed,flash-attn"),
        (replace(ORDERED, packing=False), "deepspeed"),
        (GRPO, "deepspeed,vllm"),
    ],
    ids=["packed", "plain", "grpo"],
)
def test_what_to_install_fits_the_run(run: TrainingRun, extras: str) -> None:
    assert axolotl.requirements(run) == (f"axolotl[{extras}]==0.19.0",)
