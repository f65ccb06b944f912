"""What LLaMA-Factory's defaults would get wrong is written out, the rest is refused."""

import json
import posixpath
from dataclasses import replace
from typing import Any

import pytest
import yaml

from advisor import Method
from advisor.export import DpoSettings, GrpoSettings, TrainingRun
from advisor.export import _llamafactory as llamafactory
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
PACKED = replace(ORDERED, shuffle=True)
DPO = replace(
    ORDERED,
    method=Method.DPO,
    files=("mix/preferences.jsonl",),
    shuffle=True,
    packing=False,
    dpo=DpoSettings(),
)


def config(run: TrainingRun) -> dict[str, Any]:
    return yaml.safe_load(llamafactory.configs(run)[f"{run.name}.yaml"])


def paths_in_order(run: TrainingRun) -> list[str]:
    """Follow the names in the configuration to the files, as the library does."""
    found = config(run)
    folder = found["dataset_dir"]
    info = json.loads(llamafactory.configs(run)[posixpath.join(folder, "dataset_info.json")])
    names = [name.strip() for name in found["dataset"].split(",")]
    assert len(set(names)) == len(names)
    return [posixpath.normpath(posixpath.join(folder, info[name]["file_name"])) for name in names]


@pytest.mark.parametrize(
    "files",
    [
        ORDERED.files,
        ("b.jsonl", "a.jsonl"),
        ("mix/1/rows.jsonl", "mix/2/rows.jsonl"),
        ("mix/ift, direct.jsonl", "mix/reasoning.jsonl"),
    ],
)
def test_names_lead_to_the_files_in_their_order(files: tuple[str, ...]) -> None:
    assert paths_in_order(replace(ORDERED, files=files)) == list(files)


def test_files_are_trained_on_in_their_order() -> None:
    """The default shuffles."""
    assert config(ORDERED)["disable_shuffling"] is True
    assert config(PACKED)["disable_shuffling"] is False


@pytest.mark.parametrize("run", [ORDERED, PACKED, DPO], ids=["ordered", "mixed", "dpo"])
def test_rows_are_never_interleaved(run: TrainingRun) -> None:
    """`interleave_once` is accepted and stops the run, `interleave_under` draws its own shares."""
    found = config(run)
    assert found["mix_strategy"] == "concat"
    assert "interleave_probs" not in found


def test_an_ordered_run_is_not_packed() -> None:
    """Packing sorts each thousand rows by length, the longest first."""
    assert config(ORDERED)["packing"] is False
    assert "neat_packing" not in config(ORDERED)


def test_packed_rows_do_not_see_each_other() -> None:
    found = config(PACKED)
    assert found["packing"] is True
    assert found["neat_packing"] is True


def test_the_longest_row_keeps_its_answer() -> None:
    """The default cuts at 2,048."""
    assert config(ORDERED)["cutoff_len"] == ORDERED.max_length


@pytest.mark.parametrize("max_length", [16_383, 16_384, 16_385, 100])
def test_the_longest_row_fits_into_a_pack(max_length: int) -> None:
    """A pack gives one place away, and its length must be a multiple of 8."""
    cutoff = config(replace(PACKED, max_length=max_length))["cutoff_len"]
    assert cutoff - 1 >= max_length
    assert cutoff % 8 == 0
    assert cutoff - max_length <= 8


def test_several_packs_at_once_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="one pack at a time"):
        llamafactory.configs(replace(PACKED, per_device_batch=2))


@pytest.mark.parametrize("run", [ORDERED, PACKED, DPO], ids=["ordered", "mixed", "dpo"])
def test_thoughts_are_kept(run: TrainingRun) -> None:
    """`enable_thinking: false` deletes them; templates that reason add empty ones to the loss."""
    found = config(run)
    assert found["enable_thinking"] is None
    assert found["template"] == "chatml"


def test_without_a_chat_template_that_of_the_base_model_is_read() -> None:
    assert "template" not in config(replace(ORDERED, chat_template=None, end_of_turn=None))


@pytest.mark.parametrize("end", [None, "<|eot_id|>"])
def test_a_chat_template_without_a_counterpart_is_refused(end: str | None) -> None:
    with pytest.raises(InvalidInputError, match="templates are programs") as caught:
        llamafactory.configs(replace(ORDERED, end_of_turn=end))
    assert caught.value.code == "no-template"


def test_grpo_is_refused_and_the_libraries_that_have_it_are_named() -> None:
    run = replace(
        ORDERED,
        method=Method.GRPO,
        shuffle=True,
        packing=False,
        grpo=GrpoSettings(max_completion_length=512),
    )
    with pytest.raises(InvalidInputError, match=r"trl.*axolotl") as caught:
        llamafactory.configs(run)
    assert caught.value.code == "no-grpo"


def test_two_stages_do_not_share_a_list_of_data_sets() -> None:
    general = replace(ORDERED, name="1_general", files=("mix/1_general/00_mixed.jsonl",))
    math = replace(ORDERED, name="2_math", files=("mix/2_math/00_mixed.jsonl",))
    shared = set(llamafactory.configs(general)) & set(llamafactory.configs(math))
    assert shared == {"ds_z3.json"}


def test_warm_up_is_given_in_steps() -> None:
    """`warmup_ratio` is gone from transformers."""
    found = config(ORDERED)
    assert found["warmup_steps"] == 150
    assert "warmup_ratio" not in found


def test_preferences_are_marked_as_such() -> None:
    found = config(replace(DPO, dpo=DpoSettings(beta=0.25)))
    assert (found["stage"], found["pref_loss"], found["pref_beta"]) == ("dpo", "sigmoid", 0.25)
    info = json.loads(llamafactory.configs(DPO)["mix/dataset_info.json"])["preferences"]
    assert info["ranking"] is True
    assert info["columns"] == {"messages": "prompt", "chosen": "chosen", "rejected": "rejected"}
    assert "packing" not in found


def test_adapters_are_set_up_for_all_linear_layers() -> None:
    found = config(replace(ORDERED, is_lora=True))
    assert (found["finetuning_type"], found["lora_target"]) == ("lora", "all")
    assert config(ORDERED)["finetuning_type"] == "full"


def test_one_gpu_needs_no_deepspeed() -> None:
    run = replace(ORDERED, n_gpus=1)
    assert "ds_z3.json" not in llamafactory.configs(run)
    assert "deepspeed" not in config(run)
    assert llamafactory.requirements(run) == ("llamafactory==0.9.5",)
    assert llamafactory.requirements(PACKED) == ("llamafactory==0.9.5", "deepspeed", "flash-attn")


def test_the_launch_uses_the_gpus_of_the_run() -> None:
    command = "FORCE_TORCHRUN=1 NPROC_PER_NODE=4 llamafactory-cli train 1_sft.yaml"
    assert llamafactory.launch(replace(ORDERED, n_gpus=4)) == command


def test_the_header_names_the_tested_version_and_the_command() -> None:
    text = llamafactory.configs(ORDERED)["1_sft.yaml"]
    assert "Validated against llamafactory==0.9.5" in text.splitlines()[0]
    assert llamafactory.launch(ORDERED) in text.splitlines()[1]
