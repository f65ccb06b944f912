"""Wide tables: a column per model."""

import csv
from pathlib import Path
from typing import Any

import pytest

from calibration import Outcome, RunStore
from calibration.importers import ImportHints, detect_format, import_file, read_outcomes
from policies import DataFileError

HEADER = [
    *("sample_id", "prompt", "eval_name", "gpt-4", "mistral/7b", "gpt-4|total_cost"),
    *("mistral/7b|total_cost", "gpt-4|model_response", "oracle_model_to_route_to"),
]
ROWS = [
    ["mmlu.1", "2+2?", "mmlu", "1.0", "0.0", "0.01", "0.0001", "4", "gpt-4"],
    ["mmlu.2", "3+3?\nAnswer:", "mmlu", "True", "False", "0.01", "0.0001", "6, of course", "gpt-4"],
    ["bench.1", "Write a poem", "mt-bench", "0.9", "", "0.1", "0.0001", "...", "gpt-4"],
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "routerbench.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([HEADER, *ROWS])
    return path


def outcomes(path: Path, **hints: Any) -> list[Any]:
    return list(read_outcomes(path, ImportHints(**hints)))


def test_every_model_answers_every_question(path: Path) -> None:
    assert detect_format(path) == "wide"
    found = outcomes(path)
    told = [(o.question_id, o.model, o.outcome, o.text) for o in found[:4]]
    assert told == [
        ("mmlu.1", "gpt-4", Outcome.CORRECT, "4"),
        ("mmlu.1", "mistral/7b", Outcome.WRONG, None),
        ("mmlu.2", "gpt-4", Outcome.CORRECT, "6, of course"),
        ("mmlu.2", "mistral/7b", Outcome.WRONG, None),
    ]
    assert {(o.task, o.policy, o.completion_tokens) for o in found[:4]} == {
        ("mmlu", "direct", None)
    }


def test_a_rating_is_neither_right_nor_wrong(path: Path) -> None:
    rating, gap = outcomes(path)[4:]
    assert "fraction" in rating.reason
    assert rating.where == "5, column gpt-4"
    assert "empty" in gap.reason


def test_what_is_skipped_is_counted_by_reason(path: Path, tmp_path: Path) -> None:
    with RunStore.create(tmp_path / "run.sqlite") as store:
        summary = import_file(path, store, ImportHints(policy="cot", task_type="general-mc"))
    assert (summary.rows, summary.questions, summary.arms) == (4, 2, 2)
    assert summary.policies == ("cot",)
    assert summary.task_types == ("general-mc",)
    assert sorted(one.count for one in summary.skipped) == [1, 1]
    assert all(str(path) in one.example for one in summary.skipped)


def test_a_table_without_costs_is_told_what_it_misses(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("sample_id,prompt,gpt-4\n1,a,1\n")
    with pytest.raises(DataFileError, match=r"wide misses columns MODEL and MODEL\|total_cost"):
        outcomes(path)
