"""`advisor evaluate` on a run of the real pocket model, and on a file of outcomes."""

import csv
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]
HEADLINE = {
    "tokens_saved",
    "ci_low",
    "accuracy_difference",
    "margin",
    "reference",
    "confidence",
    "n",
}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write outcomes of a world in which long sums need a thought and facts do not."""
    path = tmp_path_factory.mktemp("outcomes") / "long.csv"
    rng = random.Random(0)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(
            ["question_id", "task", "prompt", "model", "policy", "correct", "completion_tokens"]
        )
        for question in range(400):
            is_sum = question % 2 == 0
            number = rng.randrange(10**6)
            prompt = f"Compute {number} + {question}" if is_sum else f"Who wrote book {number}?"
            chances = {"direct": 0.3 if is_sum else 0.9, "reasoning@64": 0.92}
            for policy, chance in chances.items():
                tokens = 5 if policy == "direct" else 60
                row = [f"q{question}", "toy", prompt, "m", policy]
                writer.writerow([*row, int(rng.random() < chance), tokens])
    return path


def test_the_document_has_what_scripts_rely_on(advisor: Run, measured_run: Path) -> None:
    result = advisor("evaluate", measured_run, "--folds", 3, "--json")
    assert result.code == 0, result.err
    document = result.json()
    headlines = {key for key in document if key.startswith("headline")}
    assert headlines == {
        "headline",
        "headline_point",
        "headline_fixed_cap",
        "headline_fixed_cap_point",
        "headline_own_objective",
        "headline_cascade",  # pocket records evidence
    }
    for key in headlines:
        assert document[key].keys() >= HEADLINE
        assert 0 <= document[key]["tokens_saved"] <= 1 or key == "headline_own_objective"
    assert document["metrics"].keys() >= {"aiq", "apgr", "headroom", "headroom_hull", "ece"}
    assert document["noise_ceiling"].keys() >= {"headroom", "captured", "reason"}
    assert [layer["name"] for layer in document["hints"]][:2] == ["global rate", "text"]
    names = [row["name"] for row in document["rows"]]
    assert names[:2] == ["pocket-m:direct", "pocket-m:reasoning@max"]
    assert set(names[2:]) >= {
        "random mixing",
        "length rule",
        "best arm per task type",
        "best arm per task",
        "fixed cap",
        "router",
        "router (most accurate)",
        "router (certified)",
        "oracle",
    }
    for row in document["rows"]:
        assert row["ci_low"] <= row["accuracy"] <= row["ci_high"]
        assert row["n"] == document["headline"]["n"] == 480
    assert document["reliability"][0]["bins"]


def test_a_file_is_judged_against_the_arm_and_margin_asked_for(advisor: Run, table: Path) -> None:
    arguments = ("--reference", "reasoning@64", "--margin", 0.05, "--confidence", 0.9, "--json")
    document = advisor("evaluate", table, "--folds", 2, *arguments).json()
    headline = document["headline"]
    assert headline["reference"] == "m:reasoning@64"
    assert (headline["margin"], headline["confidence"]) == (0.05, 0.9)
    # Half of the questions need no thought, and the prompt says which.
    assert document["headline_point"]["tokens_saved"] == pytest.approx(0.46, abs=0.1)
    assert 0.1 < headline["tokens_saved"] <= document["headline_point"]["tokens_saved"]
    assert headline["ci_low"] >= -0.05
    assert document["headline_fixed_cap"]["tokens_saved"] == 0.0


def test_the_first_line_is_the_headline_and_the_picture_is_told(
    advisor: Run, table: Path, tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib")
    picture = tmp_path / "curve.svg"
    result = advisor("evaluate", table, "--folds", 2, "--margin", 0.05, "--plot", picture)
    assert result.code == 0, result.err
    first, *rest = result.out.splitlines()
    assert "of tokens saved at non-inferior accuracy against m:reasoning@64" in first
    assert "one-sided 95% bound" in first
    assert "n = 400" in first
    assert "best fixed cap 0%" in first
    assert f"picture: {picture}" in rest
    assert any("hull of the fixed arms: 5.0: " in line for line in rest)
    assert picture.read_bytes().lstrip().startswith(b"<?xml")


def test_the_tables_fit_into_eighty_columns(advisor: Run, table: Path) -> None:
    lines = advisor("evaluate", table, "--folds", 2).out.splitlines()
    start = next(number for number, line in enumerate(lines) if "held-out questions" in line)
    end = next(number for number, line in enumerate(lines) if line.startswith("noise ceiling"))
    assert max(len(line.rstrip()) for line in lines[start:end]) <= 80


def test_an_unknown_reference_names_the_close_one(advisor: Run, table: Path) -> None:
    result = advisor("evaluate", table, "--reference", "reasoning@46")
    assert result.code == 2
    assert "error[unknown-arm]" in result.err
    assert "did you mean 'reasoning@64'" in result.err
    assert result.out == ""


def test_a_router_is_judged_on_outcomes_it_was_not_fitted_on(
    advisor: Run, table: Path, tmp_path: Path
) -> None:
    rows = table.read_text().splitlines(keepends=True)
    fitted, fresh = tmp_path / "fitted.csv", tmp_path / "fresh.csv"
    fitted.write_text("".join(rows[:401]))
    fresh.write_text("".join([rows[0], *rows[401:]]))
    made = advisor("fit", fitted, "--out", tmp_path / "router", "--json")
    assert made.code == 0, made.err
    result = advisor("evaluate", fresh, "--router", tmp_path / "router", "--json")
    assert result.code == 0, result.err
    document = result.json()
    assert document["headline"]["n"] == 200
    assert len(document["objectives"]) == 1
    assert document["metrics"]["headroom"] > 0


def test_a_confidence_of_one_half_is_refused(advisor: Run, table: Path) -> None:
    result = advisor("evaluate", table, "--confidence", 0.5)
    assert result.code == 2
    assert "confidence is 0.5" in result.err


def test_json_has_no_nan_where_something_is_undefined(
    advisor: Run, table: Path, tmp_path: Path
) -> None:
    one_class = tmp_path / "right.csv"
    header, *rows = csv.reader(table.read_text().splitlines())
    with one_class.open("w", newline="") as file:
        csv.writer(file).writerows([header, *([*row[:5], "1", row[6]] for row in rows)])
    arguments = ("--folds", 2, "--reference", "reasoning@64", "--json")
    result = advisor("evaluate", one_class, *arguments)
    assert result.code == 0, result.err
    assert "NaN" not in result.out
    document = json.loads(result.out)
    assert document["metrics"]["headroom"] is None
    assert document["headline"]["tokens_saved"] == pytest.approx(55 / 60, abs=0.01)


def test_a_picture_that_cannot_be_drawn_is_refused_before_the_work(
    advisor: Callable[..., Any], measured_run: Path, tmp_path: Path
) -> None:
    for path, told in ((tmp_path / "curve.xyz", ".svg"), (tmp_path / "no" / "c.png", "no folder")):
        result = advisor("evaluate", measured_run, "--plot", path)
        assert (result.code, result.out) == (2, "")
        assert told in result.err
        assert "warning" not in result.err
