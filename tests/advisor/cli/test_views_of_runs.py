"""`advisor tables lengths`, `advisor load` and `advisor judge` on the pocket models."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]
Arguments = Callable[..., list[str]]


@pytest.fixture
def run(advisor: Run, calibrate_arguments: Arguments, tmp_path: Path) -> Path:
    out = tmp_path / "run"
    arguments = calibrate_arguments(out, tasks="pocket-math-oe,pocket-general-oe", limit=30)
    assert advisor(*arguments).code == 0
    return out


def test_lengths_are_shares_with_intervals(advisor: Run, run: Path) -> None:
    document = advisor("tables", "lengths", run, "--budgets", "16,32,400", "--json").json()
    by_task = {one["task"]: one for one in document["lengths"]}
    assert set(by_task) == {"pocket-math-oe", "pocket-general-oe"}
    for one in by_task.values():
        assert one["n"] == 30
        # Beyond the cap of 320 thinking tokens nothing is known.
        assert [share["budget"] for share in one["shares"]] == [16, 32]
        for share in one["shares"]:
            assert share["low"] <= share["estimate"] <= share["high"]
    assert "pocket-math-oe" in advisor("tables", "lengths", run).out


def test_budgets_of_lengths_are_numbers(advisor: Run, run: Path) -> None:
    assert advisor("tables", "lengths", run, "--budgets", "16,many").code == 2


def test_load_is_measured_at_what_was_asked(advisor: Run) -> None:
    result = advisor(
        *("load", "--model", "pocket-xs", "--backend", "pocket", "--tasks", "pocket-math-oe"),
        *("--policy", "direct", "--concurrency", "1,8", "--requests", 40, "--json"),
    )
    loads = result.json()["loads"]
    assert [(load["concurrency"], load["n_completions"]) for load in loads] == [(1, 40), (8, 40)]
    for load in loads:
        assert load["p50_s"]["low"] <= load["p50_s"]["estimate"] <= load["p50_s"]["high"]
        assert load["tokens_per_s"] > 0


@pytest.mark.parametrize(
    "changes", [{"--concurrency": "0"}, {"--concurrency": "a"}, {"--policy": "direkt"}]
)
def test_load_refuses_what_makes_no_sense(advisor: Run, changes: dict[str, str]) -> None:
    arguments = {"--model": "pocket-xs", "--backend": "pocket", "--tasks": "pocket"} | changes
    assert advisor("load", *(text for pair in arguments.items() for text in pair)).code == 2


def test_a_judge_is_compared_with_the_rules(advisor: Run, run: Path) -> None:
    judge = ("judge", run, "--model", "pocket-xs", "--backend", "pocket")
    option = ("-B", "max_batch=8")
    result = advisor(*judge, *option, "--limit", 5, "--json")
    document = result.json()
    # Prompts of a judge exceed the pocket models' context: an error is no verdict.
    assert result.code == 5
    assert document["n_asked"] == 0
    assert document["n_error"] == 10
    assert document["overall"]["n"] == 0
    assert "exceed the context" in result.err
    assert advisor("judge", run / "none", "--model", "m", "--backend", "pocket").code == 3


def test_a_server_that_is_down_is_found_before_any_load(advisor: Run) -> None:
    result = advisor(
        *("load", "--model", "m", "--base-url", "http://127.0.0.1:9/v1", "--policy", "direct"),
        *("--tasks", "pocket-math-oe", "--requests", 1000, "--concurrency", 1),
    )
    assert result.code == 5
    assert "cannot be reached" in result.err
    assert "under way" not in result.err


@pytest.fixture
def imported(advisor: Run, tmp_path: Path) -> Path:
    """A run without texts, whose task holds questions of two types."""
    rows = tmp_path / "rows.csv"
    rows.write_text(
        "question_id,model,mode,correct,task,task_type\n"
        "1,m,direct,1,mixed,math-oe\n2,m,direct,0,mixed,general-mc\n3,m,direct,0,plain,math-oe\n"
    )
    out = tmp_path / "imported"
    assert advisor("tables", "import", rows, "--out", out).code == 0
    return out


def test_rows_that_differ_in_their_type_only_are_told_apart(advisor: Run, imported: Path) -> None:
    shown = advisor("tables", "show", imported).out
    assert "mixed (math-oe)" in shown
    assert "mixed (general-mc)" in shown
    assert "plain (" not in shown
    cells = advisor("tables", "show", imported, "--json").json()["cells"]
    assert {cell["task"] for cell in cells} == {"mixed", "plain"}


def test_a_run_without_thoughts_has_no_lengths_and_says_so(advisor: Run, imported: Path) -> None:
    result = advisor("tables", "lengths", imported)
    assert (result.code, result.out) == (0, "")
    assert "no thought of known length" in result.err
    assert advisor("tables", "lengths", imported, "--json").json()["lengths"] == []


def test_a_run_without_texts_has_nothing_to_judge(advisor: Run, imported: Path) -> None:
    result = advisor("judge", imported, "--model", "pocket-xs", "--backend", "pocket")
    assert result.code == 6
    assert "nothing to judge" in result.err


def test_a_run_folder_that_is_not_there_is_a_missing_file(advisor: Run, tmp_path: Path) -> None:
    result = advisor("tables", "show", tmp_path / "nope")
    assert result.code == 3
    assert "no such run folder" in result.err
    assert advisor("tables", "show", "nope").code == 2
