"""Exported configurations are read by the real axolotl, of which unknown keys are errors here."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from advisor import Method
from advisor.export import CHATML, TrainingRun
from advisor.export import _axolotl as axolotl

pytestmark = [pytest.mark.train, pytest.mark.filterwarnings("ignore")]

ROOT = Path(__file__).parents[2]
DRIVER = Path(__file__).with_name("drive_axolotl.py")
MODEL = ROOT / "models" / "pocket-xs"
GOLDEN = ROOT / "tests" / "golden" / "export" / "axolotl"
CONFIGS = sorted(GOLDEN.glob("*/*.yaml"))
GRPO = GOLDEN / "sequential_then_grpo" / "2_grpo.yaml"
ORDERED = TrainingRun(
    name="1_sft",
    method=Method.SFT,
    base_model=str(MODEL),
    files=("mix/01_ift.jsonl", "mix/00_reasoning.jsonl"),
    shuffle=False,
    max_length=512,
    n_rows=64,
    learning_rate=5e-6,
    output_dir="out/1_sft",
    warmup_steps=0,
    decay_steps=0,
    chat_template="chat_template.jinja",
    end_of_turn="<|im_end|>",
)
MIXED = replace(ORDERED, shuffle=True)

Ask = Callable[..., list[Any]]


@pytest.fixture(scope="module")
def ask(wheel: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:
    """Return a function that has the real library answer questions, in one process for all."""
    room = tmp_path_factory.mktemp("axolotl")
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "AXOLOTL_DO_NOT_TRACK": "1"}
    with (
        (room / "stderr").open("w+") as said,
        subprocess.Popen(
            [sys.executable, str(DRIVER), str(wheel("axolotl"))],
            env={**os.environ, **offline, "HF_HOME": str(room / "hub")},
            cwd=room,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
        ) as process,
    ):
        asking, answering = process.stdin, process.stdout
        assert asking is not None
        assert answering is not None

        def run(*tasks: tuple[str, list[Any]]) -> list[Any]:
            results: list[Any] = []
            for task in tasks:
                print(json.dumps(task), file=asking, flush=True)
                line = answering.readline()
                assert line, (room / "stderr").read_text("utf-8")[-4000:]
                answer = json.loads(line)
                assert "problem" not in answer, answer["problem"]
                results.append(answer["result"])
            return results

        yield run
        asking.close()


def text_of(run: TrainingRun) -> str:
    return axolotl.configs(run)[f"{run.name}.yaml"]


def n_gpus_of(path: Path) -> int:
    launch = (path.parent / "launch.sh").read_text("utf-8")
    (line,) = [line for line in launch.splitlines() if path.name in line]
    return int(line.rpartition("=")[2])


def edited(text: str, **changes: Any) -> str:
    return yaml.safe_dump({**yaml.safe_load(text), **changes})


def test_every_exported_configuration_is_valid_on_its_node(ask: Ask) -> None:
    """Simulated H100 GPUs, as many as the launch script uses; no key is dropped."""
    assert len(CONFIGS) >= 10
    texts = [path.read_text("utf-8") for path in CONFIGS]
    asked = [
        ("validate", [text, n_gpus_of(path)]) for path, text in zip(CONFIGS, texts, strict=True)
    ]
    for path, found in zip(CONFIGS, ask(*asked), strict=True):
        place = f"{path.parent.name}/{path.name}"
        assert (found["error"], found["unknown"]) == (None, []), place
        assert not [text for text in found["warnings"] if "not supported" in text], place


def test_every_schedule_is_known_to_the_trainer(ask: Ask) -> None:
    """The schema takes any name, `wsd` among them."""
    names = {yaml.safe_load(path.read_text("utf-8"))["lr_scheduler"] for path in CONFIGS}
    assert len(names) == 2
    assert ask(*(("knows_scheduler", [name]) for name in (*names, "wsd"))) == [True, True, False]


def test_packed_and_ordered_runs_are_valid_too(ask: Ask) -> None:
    runs = [ORDERED, MIXED, replace(ORDERED, packing=False), replace(ORDERED, is_lora=True)]
    for found in ask(*(("validate", [text_of(run), run.n_gpus]) for run in runs)):
        assert (found["error"], found["unknown"]) == (None, [])
        # Without a backend that keeps packed rows apart, it warns.
        assert not [text for text in found["warnings"] if "decontamination" in text]


def test_the_check_finds_what_the_library_ignores(ask: Ask) -> None:
    """The library takes all of these without a word."""
    text = text_of(ORDERED)
    plain = yaml.safe_load(text)
    weighted = [{**plain["datasets"][0], "weight": 0.5}, plain["datasets"][1]]
    grpo = yaml.safe_load(GRPO.read_text("utf-8"))
    broken = {
        "sequence_lenn": edited(text, sequence_lenn=4096),
        "datasets[0].weight": edited(text, datasets=weighted),
        "trl.num_generation": edited(
            GRPO.read_text("utf-8"), trl={**grpo["trl"], "num_generation": 4}
        ),
        "special_tokens.eos": edited(text, special_tokens={"eos": "x"}),
    }
    found = ask(("n_known_keys", []), *(("validate", [text, 8]) for text in broken.values()))
    assert found[0] > 300
    for unknown, answer in zip(broken, found[1:], strict=True):
        assert (answer["error"], answer["unknown"]) == (None, [unknown])


def test_the_check_finds_what_the_library_refuses(ask: Ask) -> None:
    text = text_of(ORDERED)
    broken = {
        "excess_length_strategy": edited(text, excess_length_strategy="stop"),
        "mutually exclusive": edited(text, warmup_steps=5, warmup_ratio=0.1),
        "does not work with RLHF": edited(GRPO.read_text("utf-8"), sample_packing=True),
        "micro_batch_size": edited(text, micro_batch_size="many"),
    }
    for part, found in zip(
        broken, ask(*(("validate", [text, 8]) for text in broken.values())), strict=True
    ):
        assert part in str(found["error"])


def test_a_node_with_more_gpus_than_groups_is_refused(ask: Ask) -> None:
    """The guard of the exporter draws the line where the library does."""
    text = GRPO.read_text("utf-8")
    trainer = yaml.safe_load(text)["trl"]
    assert trainer["generation_batch_size"] % (trainer["num_generations"] * 8) == 0
    smaller = edited(text, trl={**trainer, "generation_batch_size": 32})
    unset = {key: value for key, value in trainer.items() if key != "generation_batch_size"}
    accumulated = edited(text, trl=unset, gradient_accumulation_steps=8)
    good, bad, worse = ask(
        ("validate", [text, 8]), ("validate", [smaller, 8]), ("validate", [accumulated, 8])
    )
    assert good["error"] is None
    for found in (bad, worse):
        assert "effective_gbs >= num_generations * world_size = 64" in found["error"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two files of rows whose names sort against their training order."""
    (tmp_path / "mix").mkdir()
    for file, kind in zip(ORDERED.files, ("direct", "thought"), strict=True):
        rows = [
            {
                "messages": [
                    {"role": "user", "content": f"{kind} {number}"},
                    {"role": "assistant", "content": "3"},
                ]
            }
            for number in range(32)
        ]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (tmp_path / file).write_text(text, "utf-8")
    return tmp_path


def test_rows_are_merged_in_the_order_of_files_and_lines(ask: Ask, folder: Path) -> None:
    in_order = [f"{kind} {number}" for kind in ("direct", "thought") for number in range(32)]
    default = {
        key: value
        for key, value in yaml.safe_load(text_of(ORDERED)).items()
        if key not in {"curriculum_sampling", "shuffle_merged_datasets"}
    }
    asked = [
        text_of(ORDERED),
        text_of(MIXED),
        yaml.safe_dump({**default, "shuffle_merged_datasets": True}),
    ]
    ordered, mixed, like_default = ask(*(("merged_prompts", [text, str(folder)]) for text in asked))
    assert ordered == in_order
    for shuffled in (mixed, like_default):
        assert shuffled != in_order
        assert sorted(shuffled) == sorted(in_order)


def test_late_rows_do_not_fill_early_packs(ask: Ask) -> None:
    lengths = [300, 300, 300, 300, 200, 200, 200, 200]
    text = text_of(ORDERED)
    default = edited(text, sample_packing_sequentially=False)
    ours, theirs = ask(("pack", [text, lengths]), ("pack", [default, lengths]))
    assert [row for rows in ours for row in rows] == [*range(8)]
    assert [row for rows in theirs for row in rows] != [*range(8)]


def test_tokenised_data_of_another_order_are_not_reused(ask: Ask, folder: Path) -> None:
    """The library's own name is the same for both, so that the second run would train the first's."""
    texts = [text_of(ORDERED), text_of(MIXED)]
    plain = [
        edited(text, dataset_prepared_path=None, sample_packing_sequentially=None) for text in texts
    ]
    found = ask(*(("data_cache_name", [text, str(folder)]) for text in (*texts, *plain)))
    assert found[0] != found[1]
    assert found[2] == found[3]


def test_thought_answer_and_end_are_in_the_loss_and_nothing_else(ask: Ask) -> None:
    answer = "<think>\n1 + 2 = 3\n</think>\n\n3"
    model = str(MODEL)
    ours, no_end, own_template = ask(
        ("trained_text", [CHATML, model, "<|im_end|>", answer]),
        ("trained_text", [CHATML, model, "<|endoftext|>", answer]),
        ("trained_text", ["", model, "<|im_end|>", answer]),
    )
    assert ours == f"{answer}<|im_end|>"
    # What the guards are for: as with the end of text of the Qwen2.5 bases, and as with the
    # templates of models that reason.
    assert no_end == answer
    assert own_template == "3<|im_end|>"
