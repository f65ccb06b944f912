"""`advisor fit`, `evaluate` and `ask` on a run of the real pocket model."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]


@pytest.fixture
def fitted(advisor: Run, measured_run: Path, tmp_path: Path) -> Path:
    """Return a router folder."""
    result = advisor("fit", measured_run, "--out", tmp_path / "router", "--json")
    assert result.code == 0, result.err
    return Path(result.json()["router"])


def test_fit_describes_the_router(advisor: Run, measured_run: Path, tmp_path: Path) -> None:
    document = advisor("fit", measured_run, "--out", tmp_path / "router", "--json").json()
    assert document["schema_version"] == 1
    assert document["arms"] == ["pocket-m:direct", "pocket-m:reasoning@max"]
    assert document["n_questions"] == 480
    assert (Path(document["router"]) / "manifest.json").is_file()


def test_fit_refuses_to_replace_a_router_unasked(
    advisor: Run, measured_run: Path, fitted: Path
) -> None:
    refused = advisor("fit", measured_run, "--out", fitted)
    assert refused.code == 3
    assert "overwrite" in refused.err
    assert advisor("fit", measured_run, "--out", fitted, "--overwrite").code == 0


def test_fit_without_a_run_says_how_to_make_one(advisor: Run, tmp_path: Path) -> None:
    result = advisor("fit", tmp_path / "nothing", "--out", tmp_path / "router")
    assert result.code == 3
    assert "advisor calibrate" in result.err


def test_evaluate_compares_all_choices_on_held_out_questions(
    advisor: Run, measured_run: Path
) -> None:
    document = advisor("evaluate", measured_run, "--json").json()
    rows = {row["name"]: row for row in document["rows"]}
    assert rows.keys() >= {"pocket-m:direct", "pocket-m:reasoning@max", "router", "oracle"}
    for row in rows.values():
        assert 0 <= row["accuracy"] <= 1
        assert row["mean_tokens"] > 0
        assert row["mean_flops"] > 0
    best_fixed = max(rows[name]["accuracy"] for name in rows if name.startswith("pocket-m:"))
    assert rows["oracle"]["accuracy"] >= best_fixed


def test_ask_answers_and_explains(advisor: Run, fitted: Path) -> None:
    prompt = "Compute mod ten, left to right: 7+5*3"
    document = advisor("ask", "--router", fitted, prompt, "--json").json()
    assert document["text"].startswith("Answer: ")
    assert document["text"] == f"Answer: {document['answer']}"
    decision = document["decision"]
    assert decision["arm"] in {candidate["arm"] for candidate in decision["candidates"]}
    assert decision["reasons"]
    assert document["usage"]["completion_tokens"] > 0


def test_ask_follows_the_objective_given(advisor: Run, fitted: Path) -> None:
    prompt = "Compute mod ten, left to right: 7+5*3-4*9+2"

    def arm(*objective: object) -> str:
        arguments = ("ask", "--router", fitted, prompt, "--decide-only", "--json", *objective)
        return advisor(*arguments).json()["decision"]["arm"]

    assert arm("--max-cost", 12) == "pocket-m:direct"
    assert arm("--lambda", 0) == "pocket-m:reasoning@max"


def test_ask_with_a_cap_below_every_arm_is_unsatisfied(advisor: Run, fitted: Path) -> None:
    result = advisor("ask", "--router", fitted, "7+5", "--max-cost", 0.01)
    assert result.code == 6
    assert "error[no-admissible-arm]" in result.err


@pytest.mark.parametrize("prompt", ["", "   \n"])
def test_an_empty_prompt_is_refused(advisor: Run, fitted: Path, prompt: str) -> None:
    result = advisor("ask", "--router", fitted, prompt)
    assert result.code == 2
    assert "the prompt is empty" in result.err


def test_a_flipped_byte_in_a_router_is_found(advisor: Run, fitted: Path) -> None:
    member = max(
        (path for path in fitted.rglob("*") if path.is_file() and path.name != "manifest.json"),
        key=lambda path: path.stat().st_size,
    )
    content = bytearray(member.read_bytes())
    content[len(content) // 2] ^= 1
    member.write_bytes(content)
    result = advisor("ask", "--router", fitted, "7+5")
    assert result.code == 3
    assert "error[artifact-corrupt]" in result.err
    assert member.name in result.err


def test_a_router_of_a_newer_version_is_refused(advisor: Run, fitted: Path) -> None:
    manifest = fitted / "manifest.json"
    document = json.loads(manifest.read_text())
    document["schema_version"] = 999
    manifest.write_text(json.dumps(document))
    result = advisor("ask", "--router", fitted, "7+5")
    assert result.code == 3
    assert "error[artifact-too-new]" in result.err


def test_a_missing_router_is_one_line(advisor: Run, tmp_path: Path) -> None:
    result = advisor("ask", "--router", tmp_path / "none", "7+5")
    assert result.code == 3
    assert result.out == ""


def test_ask_uses_the_bundled_router_by_default(advisor: Run) -> None:
    document = advisor("ask", "For Ana: name the pet of Bob.", "--json").json()
    assert document["text"].startswith("Answer: ")


def test_a_router_decodes_the_way_it_was_measured(
    advisor: Run, fitted: Path, tmp_path: Path
) -> None:
    # With the caps of a large model a pocket prompt would not fit into the context at all.
    shutil.copytree(fitted, tmp_path / "copy")
    result = advisor("ask", "--router", tmp_path / "copy", "7+5", "--lambda", 0, "--json")
    assert result.code == 0, result.err
