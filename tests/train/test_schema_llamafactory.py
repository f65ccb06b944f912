"""Exported configurations are read by the real LLaMA-Factory, of which unknown keys are errors."""

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
from advisor.export import DpoSettings, TrainingRun
from advisor.export import _llamafactory as llamafactory

pytestmark = [pytest.mark.train, pytest.mark.filterwarnings("ignore")]

ROOT = Path(__file__).parents[2]
DRIVER = Path(__file__).with_name("drive_llamafactory.py")
MODEL = ROOT / "models" / "pocket-xs"
GOLDEN = ROOT / "tests" / "golden" / "export" / "llamafactory"
CONFIGS = sorted(GOLDEN.glob("*/*.yaml"))
THOUGHT = "<think>\n1 + 2 = 3\n</think>\n\n3"
ORDERED = TrainingRun(
    name="1_sft",
    method=Method.SFT,
    base_model=str(MODEL),
    files=("mix/01_ift.jsonl", "mix/00_reasoning.jsonl"),
    shuffle=False,
    max_length=64,
    n_rows=64,
    learning_rate=5e-6,
    output_dir="out/1_sft",
    n_gpus=1,
    warmup_steps=0,
    decay_steps=0,
    chat_template="chat_template.jinja",
    end_of_turn="<|im_end|>",
)
PACKED = replace(ORDERED, shuffle=True)

Ask = Callable[..., list[Any]]


@pytest.fixture(scope="module")
def ask(wheel: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:
    """Return a function that has the real library answer questions, in one process for all."""
    room = tmp_path_factory.mktemp("llamafactory")
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "DISABLE_VERSION_CHECK": "1"}
    with (
        (room / "stderr").open("w+") as said,
        subprocess.Popen(
            [sys.executable, str(DRIVER), str(wheel("llamafactory"))],
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
    return llamafactory.configs(run)[f"{run.name}.yaml"]


def edited(text: str, **changes: Any) -> str:
    return yaml.safe_dump({**yaml.safe_load(text), **changes})


def write(folder: Path, run: TrainingRun, rows: dict[str, list[dict[str, Any]]]) -> None:
    """Write the files of a run, and its rows by file."""
    texts = {
        file: "".join(json.dumps(row) + "\n" for row in some_rows)
        for file, some_rows in rows.items()
    }
    for name, text in (llamafactory.configs(run) | texts).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, "utf-8")


def rows_of(kind: str, answer: str, n: int = 32) -> list[dict[str, Any]]:
    return [
        {
            "messages": [
                {"role": "user", "content": f"{kind} {number}"},
                {"role": "assistant", "content": answer},
            ]
        }
        for number in range(n)
    ]


def both_kinds() -> dict[str, list[dict[str, Any]]]:
    answers = zip(ORDERED.files, ("1 +", "2 -"), ("3", THOUGHT), strict=True)
    return {file: rows_of(kind, answer) for file, kind, answer in answers}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_key_is_known_and_read_as_it_was_meant(path: Path, ask: Ask) -> None:
    text = path.read_text("utf-8")
    values = yaml.safe_load(text)
    deepspeed = values.pop("deepspeed", None)
    if deepspeed is not None:
        assert json.loads((path.parent / deepspeed).read_text("utf-8"))["zero_optimization"]
    (found,) = ask(("parse", [text, str(path.parent)]))
    assert found["error"] is None
    read = dict(found["read"])
    assert read.pop("dataset") == values.pop("dataset").split(",")
    # A place is kept back for padding, so that a pack is 1 shorter.
    assert read.pop("cutoff_len") == values.pop("cutoff_len") - bool(values.get("packing"))
    assert read.pop("report_to") == []  # what "none" means
    assert values.pop("report_to") == "none"
    for key, value in values.items():
        if isinstance(value, dict):  # comes back with defaults added
            assert value.items() <= read[key].items(), key
        else:
            assert value in (read[key], _plain(read[key])), key


def _plain(value: Any) -> Any:
    """Return the text of what is read as a list of one or as an enumeration."""
    if isinstance(value, list):
        return value[0] if len(value) == 1 else value
    return value.rpartition(".")[2].lower() if isinstance(value, str) else value


def test_there_are_configurations() -> None:
    assert len(CONFIGS) >= 8


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cutoff_lenn": 4096}, "cutoff_lenn"),
        ({"rl": "grpo"}, "rl"),
        ({"mix_strategy": "interleave_once", "interleave_prob": "0.5,0.5"}, "interleave_prob"),
        ({"interleave_probs": "0.5,0.5"}, "only valid for interleaved"),
        ({"stage": "dpo", "neat_packing": True}, "except SFT"),
    ],
    ids=["typo", "unknown", "typo-in-mixing", "mixing", "packed-dpo"],
)
def test_the_check_finds_mistakes(
    change: dict[str, Any], message: str, ask: Ask, tmp_path: Path
) -> None:
    (found,) = ask(("parse", [edited(text_of(ORDERED), **change), str(tmp_path)]))
    assert message in str(found["error"])


def test_rows_are_merged_in_the_order_of_files_and_lines(ask: Ask, tmp_path: Path) -> None:
    write(tmp_path, ORDERED, both_kinds())
    (found,) = ask(("merged_prompts", [text_of(ORDERED), str(tmp_path)]))
    assert found == [f"{kind} {number}" for kind in ("1 +", "2 -") for number in range(32)]


def test_packing_would_undo_the_order(ask: Ask, tmp_path: Path) -> None:
    """What the guard is for: ordered runs are never packed."""
    write(tmp_path, ORDERED, both_kinds())
    packed = edited(text_of(ORDERED), packing=True, neat_packing=True, cutoff_len=128)
    ours, theirs = ask(
        ("encoded", [text_of(ORDERED), str(tmp_path), str(MODEL)]),
        ("encoded", [packed, str(tmp_path), str(MODEL)]),
    )
    is_thought = ["<think>" in example["all"] for example in ours]
    assert is_thought == [False] * 32 + [True] * 32
    assert "<think>" in theirs[0]["all"]


def test_thought_answer_and_end_are_in_the_loss_and_nothing_else(ask: Ask, tmp_path: Path) -> None:
    write(tmp_path, ORDERED, both_kinds())
    (found,) = ask(("encoded", [text_of(ORDERED), str(tmp_path), str(MODEL)]))
    assert found[0]["trained"].rstrip("\n") == "3<|im_end|>"
    assert found[-1]["trained"].rstrip("\n") == f"{THOUGHT}<|im_end|>"


def test_other_settings_would_lose_or_add_thoughts(ask: Ask, tmp_path: Path) -> None:
    """What the guards are for, on the real library."""
    write(tmp_path, ORDERED, both_kinds())
    text = text_of(ORDERED)
    deleted, added = ask(
        *(
            ("encoded", [edited(text, **change), str(tmp_path), str(MODEL)])
            for change in (
                {"template": "qwen3", "enable_thinking": False},
                {"template": "qwen3", "enable_thinking": True},
            )
        )
    )
    assert "1 + 2 = 3" not in deleted[-1]["trained"]
    assert added[0]["trained"].startswith("<think>")  # a direct answer


def test_a_length_below_the_rows_would_cut_the_answer(ask: Ask, tmp_path: Path) -> None:
    write(tmp_path, ORDERED, both_kinds())
    (found,) = ask(
        ("encoded", [edited(text_of(ORDERED), cutoff_len=16), str(tmp_path), str(MODEL)])
    )
    assert "</think>" not in found[-1]["trained"]


@pytest.mark.parametrize("max_length", [26, 27, 33, 64])
def test_the_longest_row_survives_packing(max_length: int, ask: Ask, tmp_path: Path) -> None:
    run = replace(PACKED, max_length=max_length)
    write(tmp_path, run, both_kinds())
    plain = edited(text_of(run), packing=False, neat_packing=False, cutoff_len=512)
    packs, rows = ask(
        ("encoded", [text_of(run), str(tmp_path), str(MODEL)]),
        ("encoded", [plain, str(tmp_path), str(MODEL)]),
    )
    trained = "".join(pack["trained"] for pack in packs)
    assert trained.count("</think>\n\n3<|im_end|>") == 32
    assert trained.count("<|im_end|>") == len(rows) == 64


def test_preferences_are_read_as_pairs(ask: Ask, tmp_path: Path) -> None:
    run = replace(
        ORDERED,
        method=Method.DPO,
        files=("mix/preferences.jsonl",),
        shuffle=True,
        packing=False,
        dpo=DpoSettings(),
    )
    turn = [{"role": "user", "content": "1 + 2"}]
    row = {
        "prompt": turn,
        "chosen": {"role": "assistant", "content": THOUGHT},
        "rejected": {"role": "assistant", "content": "4"},
    }
    write(tmp_path, run, {run.files[0]: [row]})
    (found,) = ask(("encoded", [text_of(run), str(tmp_path), str(MODEL)]))
    trained = [example["trained"].rstrip("\n") for example in found]
    assert trained == [f"{THOUGHT}<|im_end|>", "4<|im_end|>"]
