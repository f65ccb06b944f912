"""`advisor export` from its flags to what it prints."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from advisor import RecommendationRequest, recommend
from policies import ModelSize
from tests.advisor.conftest import Advisor

PairsFile = Callable[..., Path]


def asked(pairs: Path, out: Path, **more: object) -> list[object]:
    flags: dict[str, object] = {
        "to": "trl",
        "size": "3B",
        "task": "math-oe",
        "data": pairs,
        "out": out,
        **more,
    }
    return [part for name, value in flags.items() for part in (f"--{name}", value)]


def test_the_recommended_recipe_is_exported(
    advisor: Advisor, pairs_file: PairsFile, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    said = advisor("export", *asked(pairs_file(), out, corpus="general"))
    assert said.code == 0, said.err
    request = RecommendationRequest(
        size=ModelSize.parse("3B"), task_type="math-oe", corpus="general"
    )
    answer = recommend(request)
    (chosen,) = [option for option in answer.options if option.id == answer.verdict.option]
    manifest = json.loads((out / "manifest.json").read_text("utf-8"))
    assert manifest["recipe"]["label"] == chosen.recipe.label
    assert manifest["why"] == answer.verdict.text
    assert answer.verdict.text in (out / "README.md").read_text("utf-8")
    assert f"bash {out}/launch.sh" in said.out
    assert "writing the rows" in said.err
    assert "writing the rows" not in said.out


def test_an_abstention_exports_nothing_and_says_how_to_choose(
    advisor: Advisor, pairs_file: PairsFile, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    said = advisor(
        "export", *asked(pairs_file(), out, task="contract-qa", format="oe", size="1.5B")
    )
    assert said.code == 6
    assert said.out == ""
    assert "--ratio 0.25 --order ift_then_reasoning" in said.err
    assert not out.exists()


def test_a_recipe_by_hand_needs_no_advice(
    advisor: Advisor, pairs_file: PairsFile, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    said = advisor("export", *asked(pairs_file(), out, task="contract-qa", size="1.5B", ratio=0.5))
    assert said.code == 0, said.err
    manifest = json.loads((out / "manifest.json").read_text("utf-8"))
    assert manifest["recipe"]["label"] == "ift_then_reasoning@0.5"
    assert manifest["why"] == "chosen by hand"


def test_json_is_one_document_with_the_manifest(
    advisor: Advisor, pairs_file: PairsFile, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    said = advisor("export", *asked(pairs_file(), out, ratio=1), "--json")
    document = json.loads(said.out)
    assert document["schema_version"] == 1
    assert document["manifest"] == json.loads((out / "manifest.json").read_text("utf-8"))
    assert document["commands"] == [
        "trl sft --config 1_sft.yaml --accelerate_config zero3 --num_processes 8"
    ]


def test_a_dry_run_says_that_nothing_was_written(
    advisor: Advisor, pairs_file: PairsFile, tmp_path: Path
) -> None:
    said = advisor("export", *asked(pairs_file(), tmp_path / "out", ratio=1), "--dry-run")
    assert said.code == 0
    assert "was not written" in said.out
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("library", ["trl", "axolotl", "llamafactory"])
def test_every_library_gets_a_folder_that_can_be_started(
    advisor: Advisor, pairs_file: PairsFile, tmp_path: Path, library: str
) -> None:
    out = tmp_path / "out"
    said = advisor("export", *asked(pairs_file(), out, to=library, ratio=0.25))
    assert said.code == 0, said.err
    manifest = json.loads((out / "manifest.json").read_text("utf-8"))
    assert manifest["library"]["name"] == library
    assert "1_sft.yaml" in manifest["files"]
    assert "1_sft.yaml" in (out / "launch.sh").read_text("utf-8")


REFUSED: list[tuple[dict[str, Any], int, str]] = [
    ({"to": "trll"}, 2, "trl"),
    ({"ratio": 0.5, "order": "reasoning_then_ift"}, 2, "never train on direct answers"),
    ({"ratio": 0.5, "order": "sideways"}, 2, "mixed"),
    ({"ratio": 1.5}, 2, "--ratio"),
    ({"order": "mixed"}, 2, "--ratio"),
    ({"method": "grpo", "ratio": 0.5}, 2, "no --ratio"),
    ({"method": "rlhf"}, 2, "grpo"),
    ({"ratio": 1, "then": "dpo"}, 2, "grpo"),
    ({"ratio": 1, "then": "grpo", "to": "llamafactory"}, 2, "trl or axolotl"),
    ({"ratio": 1, "gpus": 5}, 2, "5 GPUs"),
    ({"ratio": 1, "gpu": "h1000"}, 2, "h100"),
    ({"ratio": 1, "size": "3X"}, 2, "3X"),
    ({"ratio": 1, "size": "900B"}, 2, "100B"),
    ({"ratio": 1, "max-length": 50}, 2, "cut answers off"),
    ({"ratio": 1, "data": "missing.jsonl"}, 3, "missing.jsonl"),
    ({"ratio": 1, "exclude": "missing.jsonl"}, 3, "missing.jsonl"),
    ({"ratio": 1, "tokenizer": "./missing.json"}, 3, "missing.json"),
    ({"ratio": 0.001}, 2, "cannot be met"),
]


@pytest.mark.parametrize(("flags", "code", "hint"), REFUSED)
def test_bad_input_is_one_clear_error(
    advisor: Advisor,
    pairs_file: PairsFile,
    tmp_path: Path,
    flags: dict[str, Any],
    code: int,
    hint: str,
) -> None:
    said = advisor("export", *asked(pairs_file(), tmp_path / "out", **flags))
    assert said.code == code, said.err
    assert hint in said.err
    assert "Traceback" not in said.err
    assert said.out == ""
    assert not (tmp_path / "out").exists()


def write_lines(path: Path, *lines: dict[str, str]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_prompts_and_solutions_are_all_that_rewards_need(advisor: Advisor, tmp_path: Path) -> None:
    data = write_lines(
        tmp_path / "prompts.jsonl",
        *({"prompt": f"What is 2+{n}?", "solution": str(n + 2)} for n in range(1, 9)),
    )
    question = ("export", "--to", "trl", "--size", "3B", "--task", "math-oe", "--method", "grpo")
    refused = advisor(*question, "--data", data, "--out", tmp_path / "a")
    assert refused.code == 2
    assert "--max-length" in refused.err
    done = advisor(*question, "--data", data, "--max-length", "2048", "--out", tmp_path / "a")
    assert done.code == 0
    rows = [json.loads(line) for line in (tmp_path / "a/mix/grpo.jsonl").read_text().splitlines()]
    assert [row["solution"] for row in rows] == [str(n + 2) for n in range(1, 9)]


def test_direct_answers_alone_need_no_traces(advisor: Advisor, tmp_path: Path) -> None:
    data = write_lines(
        tmp_path / "ift.jsonl",
        *({"prompt": f"What is 2+{n}?", "ift": str(n + 2)} for n in range(1, 9)),
    )
    question = ("export", "--to", "trl", "--size", "3B", "--task", "math-oe", "--data", data)
    assert advisor(*question, "--ratio", "0", "--out", tmp_path / "a").code == 0
    mixed = advisor(*question, "--ratio", "0.5", "--out", tmp_path / "b")
    assert mixed.code == 3
    assert "no 'reasoning'" in mixed.err


@pytest.mark.parametrize(
    ("flags", "n"),
    [((), 8), (("--gpu", "4xa100"), 4), (("--gpu", "a100", "--gpus", "2"), 2)],
)
def test_gpus_are_written_as_for_recommendations(
    advisor: Advisor, pairs_file: PairsFile, tmp_path: Path, flags: tuple[str, ...], n: int
) -> None:
    question = asked(pairs_file(), tmp_path / "out", corpus="general")
    done = advisor("export", *question, *flags)
    assert done.code == 0
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    assert manifest["runs"][0]["n_gpus"] == n


def test_two_counts_of_gpus_contradict_each_other(
    advisor: Advisor, pairs_file: PairsFile, tmp_path: Path
) -> None:
    question = asked(pairs_file(), tmp_path / "out", corpus="general")
    refused = advisor("export", *question, "--gpu", "4xa100", "--gpus", "2")
    assert refused.code == 2
    assert "contradicts" in refused.err
