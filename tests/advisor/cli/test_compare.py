"""`advisor compare` on a run measured with the real pocket model."""

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from calibration.statistics import mcnemar_exact, paired_proportions_interval

Run = Callable[..., Any]
KEYS = {"arms", "ci_high", "ci_low", "confidence", "difference", "flops", "n", "n_clusters",
        "n_error", "n_first_better", "n_second_better", "n_unpaired", "p_bh", "p_holm", "p_mcnemar",
        "p_value", "run", "schema_version", "tasks", "tokens", "first_accuracy",
        "second_accuracy"}  # fmt: skip


def counts(run: Path, first: str, second: str) -> list[int]:
    """Count questions right in both, only first, only second, neither; straight from the store."""
    query = """
        SELECT g.question, a.policy, s.outcome = 'correct' FROM generation g
        JOIN arm a ON a.id = g.arm JOIN score s ON s.key = g.key
    """
    with sqlite3.connect(f"file:{run / 'run.sqlite'}?mode=ro", uri=True) as connection:
        right = {(q, policy): bool(ok) for q, policy, ok in connection.execute(query)}
    questions = {q for q, _ in right}
    pairs = [(right[q, first], right[q, second]) for q in questions]
    return [pairs.count(c) for c in ((True, True), (True, False), (False, True), (False, False))]


def test_document_agrees_with_the_store(advisor: Run, measured_run: Path) -> None:
    result = advisor("compare", measured_run, "--arms", "reasoning@max,direct", "--json")
    document = result.json()
    assert result.code == 0
    assert document.keys() == KEYS
    assert document["arms"] == ["pocket-m:reasoning@max", "pocket-m:direct"]
    both, first, second, neither = counts(measured_run, "reasoning@max", "direct")
    assert document["n"] == both + first + second + neither == 480
    assert document["difference"] == pytest.approx((first - second) / 480)
    low, high = paired_proportions_interval(both, first, second, neither)
    assert (document["ci_low"], document["ci_high"]) == pytest.approx((low, high))
    assert document["p_mcnemar"] == pytest.approx(mcnemar_exact(first, second))
    assert document["tokens"]["ci_low"] > 0
    assert document["flops"]["ci_low"] > 0
    assert len(document["tasks"]) == 4
    for row in document["tasks"]:
        assert row["n"] == 120
        assert row["p_value"] <= row["p_bh"] <= row["p_holm"] <= 1
        assert row["ci_low"] <= row["difference"] <= row["ci_high"]


def test_an_arm_against_itself_is_zero(advisor: Run, measured_run: Path) -> None:
    document = advisor("compare", measured_run, "--arms", "direct,direct", "--json").json()
    assert [document[k] for k in ("difference", "ci_low", "ci_high", "p_mcnemar")] == [0, 0, 0, 1]
    assert document["tokens"]["difference"] == document["flops"]["difference"] == 0
    assert document["tokens"]["ci_low"] == document["tokens"]["ci_high"] == 0


def test_table_names_tasks_arms_and_the_pooled_answer(advisor: Run, measured_run: Path) -> None:
    result = advisor("compare", measured_run, "--arms", "pocket-m:reasoning@max,direct")
    assert result.code == 0
    assert "pocket-m:reasoning@max minus pocket-m:direct" in result.out
    for task in ("pocket-general-mc", "pocket-math-oe", "all tasks"):
        assert task in result.out
    assert "paired on 480 questions" in result.out
    assert "left out" not in result.out


def test_one_task_can_be_chosen(advisor: Run, measured_run: Path) -> None:
    arguments = ("compare", measured_run, "--arms", "direct,reasoning@max", "--json")
    document = advisor(*arguments, "--task", "pocket-math-oe").json()
    assert [row["task"] for row in document["tasks"]] == ["pocket-math-oe"]
    assert document["n"] == 120
    assert document["p_value"] == document["tasks"][0]["p_holm"]
    unknown = advisor(*arguments, "--task", "pocket-math")
    assert unknown.code == 2
    assert "pocket-math-oe" in unknown.err


@pytest.mark.parametrize(
    ("arms", "said"),
    [
        ("direct,reasoning@mix", "did you mean 'reasoning@max'"),
        ("direct", "expected two arms"),
        ("direct,", "expected two arms"),
        ("direct,direct,direct", "expected two arms"),
    ],
)
def test_bad_arms_are_usage_errors(advisor: Run, measured_run: Path, arms: str, said: str) -> None:
    result = advisor("compare", measured_run, "--arms", arms)
    assert result.code == 2
    assert said in result.err
    assert result.out == ""


def test_commas_inside_policies_do_not_split(advisor: Run, measured_run: Path) -> None:
    result = advisor("compare", measured_run, "--arms", "cascade(direct,reasoning@8),direct")
    assert result.code == 2
    assert "unknown arm 'cascade(direct,reasoning@8)'" in result.err


def test_a_missing_run_is_a_bad_file(advisor: Run, tmp_path: Path) -> None:
    assert advisor("compare", tmp_path, "--arms", "direct,cot").code == 3


def test_json_is_one_document(advisor: Run, measured_run: Path) -> None:
    out = advisor("compare", measured_run, "--arms", "direct,reasoning@max", "--json").out
    assert json.loads(out)["schema_version"] == 1
