"""Configurations for TRL: each of its traps has its guard."""

from typing import Any

import pytest
import yaml

from advisor import Method
from advisor.export import DpoSettings, GrpoSettings, TrainingRun, fit_max_length, fit_schedule
from advisor.export import _trl as trl
from policies import InvalidInputError


def run(**more: Any) -> TrainingRun:
    asked: dict[str, Any] = {
        "name": "1_sft",
        "method": Method.SFT,
        "base_model": "Qwen/Qwen2.5-3B",
        "files": ("mix/00_ift.jsonl", "mix/01_reasoning.jsonl"),
        "shuffle": False,
        "max_length": 16_384,
        "n_rows": 300_000,
        "learning_rate": 5e-6,
        "output_dir": "out/1_sft",
        "packing": False,
        **more,
    }
    return TrainingRun(**asked)


def config(made: TrainingRun) -> dict[str, Any]:
    ((name, text),) = trl.configs(made).items()
    assert name == f"{made.name}.yaml"
    return yaml.safe_load(text)


def test_an_ordered_run_reads_its_files_one_after_the_other() -> None:
    values = config(run())
    assert [one["data_files"] for one in values["datasets"]] == list(run().files)
    assert values["shuffle_dataset"] is False
    assert values["train_sampling_strategy"] == "sequential"


def test_an_ordered_run_is_never_packed() -> None:
    # Best-fit packing sorts each thousand rows by length: reasoning would come first.
    assert config(run(packing=True, n_tokens=10**9))["packing"] is False


def test_a_shuffled_run_is_shuffled_and_may_be_packed() -> None:
    values = config(run(shuffle=True, packing=True, n_tokens=10**9))
    assert values["shuffle_dataset"] is True
    assert values["train_sampling_strategy"] == "random"
    assert values["packing"] is True
    # Packed rows see each other without attention of variable length.
    assert values["attn_implementation"] == "flash_attention_2"


def test_ratios_are_in_the_files_not_in_the_configuration() -> None:
    # `fraction` takes the first rows of each file: the same prompts twice.
    assert all("fraction" not in one for one in config(run())["datasets"])


def test_the_maximum_length_is_written_out() -> None:
    assert config(run())["max_length"] == 16_384


def test_only_answers_are_trained_on_with_the_exported_template() -> None:
    values = config(run(chat_template="chat_template.jinja", end_of_turn="<|im_end|>"))
    assert values["assistant_only_loss"] is True
    assert values["chat_template_path"] == "chat_template.jinja"
    assert values["eos_token"] == "<|im_end|>"


def test_weights_keep_a_float32_copy_where_steps_are_small() -> None:
    assert config(run(n_gpus=8))["dtype"] == "bfloat16"  # ZeRO has the copy
    assert config(run(n_gpus=1))["dtype"] == "float32"
    assert config(run(n_gpus=1, is_lora=True))["dtype"] == "bfloat16"
    assert all(config(run(n_gpus=n))["bf16"] is True for n in (1, 8))


def test_the_schedule_is_that_of_the_paper() -> None:
    values = config(run())
    assert values["lr_scheduler_type"] == "warmup_stable_decay"
    assert values["lr_scheduler_kwargs"] == {"num_decay_steps": 300, "min_lr_ratio": 0.1}
    assert values["warmup_steps"] == 150
    assert "warmup_ratio" not in values  # transformers 5 has no such key


def test_numbers_stay_numbers_in_yaml_1_1() -> None:
    # `5e-06` without a point is a text there.
    rates = [1e-6, 5e-7, 3e-6, 2e-5, 0.001]
    found = [config(run(learning_rate=rate))["learning_rate"] for rate in rates]
    assert found == rates


@pytest.mark.parametrize(("n_gpus", "accumulation"), [(1, 32), (8, 4), (32, 1)])
def test_a_step_has_32_rows_on_any_number_of_gpus(n_gpus: int, accumulation: int) -> None:
    made = run(n_gpus=n_gpus)
    values = config(made)
    assert values["gradient_accumulation_steps"] == accumulation
    per_step = values["per_device_train_batch_size"] * accumulation * n_gpus
    assert per_step == made.global_batch == 32
    assert f"--num_processes {n_gpus}" in trl.launch(made)


def test_the_command_is_the_one_that_refuses_unknown_keys() -> None:
    assert trl.launch(run()).startswith("trl sft --config 1_sft.yaml ")
    assert "zero3" in trl.launch(run(n_gpus=8))
    assert "single_gpu" in trl.launch(run(n_gpus=1))


def test_adapters_train_all_linear_layers() -> None:
    values = config(run(is_lora=True))
    assert values["use_peft"] is True
    assert values["lora_target_modules"] == ["all-linear"]
    assert "peft" in trl.requirements(run(is_lora=True))[0]
    assert "use_peft" not in config(run())


def test_grpo_may_write_as_long_as_the_traces() -> None:
    made = run(
        name="2_grpo",
        method=Method.GRPO,
        grpo=GrpoSettings(max_completion_length=8192),
        shuffle=True,
        global_batch=256,
        warmup_steps=10,
        decay_steps=0,
    )
    values = config(made)
    assert values["max_completion_length"] == 8192  # the default is 512
    assert values["reward_funcs"] == ["rewards.accuracy"]
    assert values["num_generations"] == 8
    assert values["lr_scheduler_type"] == "constant_with_warmup"
    assert trl.launch(made).startswith("trl grpo ")


def test_dpo_has_the_strength_that_the_readme_calls_assumed() -> None:
    made = run(name="1_dpo", method=Method.DPO, dpo=DpoSettings(), shuffle=True)
    assert config(made)["beta"] == 0.1
    assert trl.launch(made).startswith("trl dpo ")


def test_a_schedule_longer_than_the_run_is_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"4 steps.*150 \+ 300"):
        run(n_rows=128)


@pytest.mark.parametrize("n_steps", [1, 2, 3, 10, 449, 450, 10_000])
def test_a_schedule_always_fits(n_steps: int) -> None:
    found = fit_schedule(n_steps)
    assert found.warmup_steps + found.decay_steps <= n_steps
    assert found.is_shrunk == (n_steps < 450)
    if n_steps >= 10:
        assert found.decay_steps / max(found.warmup_steps, 1) == pytest.approx(2, abs=1)


def test_a_packed_run_counts_its_steps_by_tokens() -> None:
    made = run(shuffle=True, packing=True, n_tokens=16_384 * 32 * 600)
    assert made.n_steps == 600
    assert run(shuffle=True, packing=True).n_steps is None


def test_grpo_groups_must_fill_the_batch() -> None:
    with pytest.raises(InvalidInputError, match="groups of 8"):
        run(
            method=Method.GRPO,
            grpo=GrpoSettings(max_completion_length=1024),
            global_batch=36,
            n_gpus=1,
            warmup_steps=0,
            decay_steps=0,
        )


@pytest.mark.parametrize(
    ("p99", "longest", "expected"), [(1000, 1200, 1280), (1000, 1024, 1024), (1000, 9000, 1024)]
)
def test_the_longest_row_decides_unless_it_is_an_outlier(
    p99: int, longest: int, expected: int
) -> None:
    assert fit_max_length(p99, longest) == expected


def test_the_maximum_length_stays_within_the_context() -> None:
    assert fit_max_length(32_700, 32_760, limit=32_768) == 32_768
    assert fit_max_length(990, 1020, limit=1010) == 1010
