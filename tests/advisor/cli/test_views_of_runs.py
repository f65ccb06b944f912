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
