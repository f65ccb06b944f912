"""Logs of lm-evaluation-harness; the golden ones were written by version 0.4.13."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from calibration import Outcome
from calibration.importers import ImportHints, SkippedRow, detect_format, read_outcomes
from policies import DataFileError, UnknownNameError

FOLDER = Path(__file__).parents[1] / "golden" / "import" / "example__scripted-1b"
TIME = "2026-11-21T12-11-38.965782"
SUMS = FOLDER / f"samples_pocket_sums_{TIME}.jsonl"
COLOURS = FOLDER / f"samples_pocket_colours_{TIME}.jsonl"
CORRECT, WRONG, CUT = Outcome.CORRECT, Outcome.WRONG, Outcome.CUT


def outcomes(path: Path, **hints: Any) -> list[Any]:
    return list(read_outcomes(path, ImportHints(**hints)))


def write(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def row(**changes: Any) -> dict[str, Any]:
    return {
        "doc_id": 0,
        "doc": {"question": "2+2?"},
        "target": 4,
        "arguments": {"gen_args_0": {"arg_0": "Q: 2+2? A:", "arg_1": {}}},
        "resps": [["4"]],
        "filtered_resps": ["4"],
        "filter": "none",
        "metrics": ["exact_match"],
        "exact_match": 1.0,
    } | changes


def test_a_genuine_log_gives_the_strict_scores() -> None:
    found = outcomes(SUMS, task_type="math-oe")
    assert detect_format(SUMS) == "lm-eval"
    assert [one.outcome for one in found] == [CORRECT, WRONG, WRONG, CUT]
    assert {(one.model, one.policy) for one in found} == {("example/scripted-1b", "direct")}
    assert [one.question_id for one in found] == [f"pocket_sums/{i}" for i in range(4)]
    assert {(one.task, one.task_type) for one in found} == {("pocket_sums", "math-oe")}
    assert [one.gold for one in found] == ["5", "16", "9", "0"]
    assert found[0].prompt == "Tom has 2 pens and buys 3. How many pens?"
    assert (found[1].thinking, found[1].text) == ("4 times 4 is 16.", "The answer is 16.")
    assert {one.completion_tokens for one in found} == {None}


def test_the_scores_of_another_filter_can_be_chosen() -> None:
    found = outcomes(SUMS, metric="exact_match,flexible-extract")
    assert [one.outcome for one in found] == [CORRECT, CORRECT, WRONG, CUT]


def test_the_log_agrees_with_the_results_beside_it() -> None:
    results = json.loads((FOLDER / f"results_{TIME}.json").read_text())["results"]
    assert results["pocket_sums"]["exact_match,strict-match"] == 1 / 4
    found = outcomes(COLOURS)
    assert sum(one.outcome is CORRECT for one in found) / 3 == results["pocket_colours"]["acc,none"]
    normed = outcomes(COLOURS, metric="acc_norm")
    assert sum(one.outcome is CORRECT for one in normed) / 3 == pytest.approx(
        results["pocket_colours"]["acc_norm,none"]
    )


def test_compared_options_are_a_policy_of_their_own() -> None:
    found = outcomes(COLOURS, policy="reasoning@max")
    assert {one.policy for one in found} == {"loglikelihood"}
    assert {one.text for one in found} == {None}


def test_an_unknown_metric_lists_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match="exact_match,flexible-extract"):
        outcomes(SUMS, metric="acc")


def test_without_its_results_the_model_must_be_given(tmp_path: Path) -> None:
    alone = tmp_path / SUMS.name
    shutil.copy(SUMS, alone)
    with pytest.raises(DataFileError, match="--model"):
        outcomes(alone)
    assert {one.model for one in outcomes(alone, model="mine")} == {"mine"}


@pytest.mark.parametrize(
    ("arguments", "policy"),
    [
        ("pretrained=a/b,enable_thinking=True", "reasoning@max"),
        ("pretrained=a/b,think_end_token=</think>", "reasoning@max"),
        ("pretrained=a/b,enable_thinking=False,think_end_token=</think>", "direct"),
        ({"pretrained": "a/b", "enable_thinking": True}, "reasoning@max"),
        ({"pretrained": "a/b"}, "cot"),
    ],
)
def test_the_thinking_switch_of_the_model_is_its_policy(
    tmp_path: Path, arguments: object, policy: str
) -> None:
    path = write(tmp_path / f"samples_t_{TIME}.jsonl", [row()])
    document = {"model_name": "a/b", "config": {"model_args": arguments, "model_num_parameters": 7}}
    (tmp_path / f"results_{TIME}.json").write_text(json.dumps(document))
    [found] = outcomes(path, policy="cot")
    assert (found.policy, found.model, found.size) == (policy, "a/b", 7)


def test_a_vote_is_self_consistency(tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl", [row(filter="maj@4", resps=[["4", "4", "5", "4"]])])
    [found] = outcomes(path, model="m")
    assert (found.policy, found.text) == ("sc(n=4)/direct", None)


def test_a_mean_over_answers_is_no_outcome(tmp_path: Path) -> None:
    rows = [row(resps=[["4", "5"]], exact_match=0.5), row(doc_id=1, exact_match=0.5)]
    mean, credit = outcomes(write(tmp_path / "t.jsonl", rows), model="m")
    assert "mean over several answers" in mean.reason
    assert (credit.outcome, credit.score) == (WRONG, 0.5)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"exact_match": float("nan")}, "empty"),
        ({"exact_match": float("inf")}, "not finite"),
        ({"exact_match": [1, 0]}, "no number"),
        ({"doc_id": None}, "'doc_id' is empty"),
        ({"doc_id": -1}, "no count"),
    ],
)
def test_an_unusable_line_is_skipped(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    [found] = outcomes(write(tmp_path / "t.jsonl", [row(**changes)]), model="m")
    assert isinstance(found, SkippedRow)
    assert reason in found.reason


def test_scores_without_a_rule_must_be_chosen(tmp_path: Path) -> None:
    scores = {"metrics": ["bleu", "ter"], "bleu": 1, "ter": 0}
    path = write(tmp_path / "t.jsonl", [row(**scores)])
    with pytest.raises(DataFileError, match="bleu,none, ter,none"):
        outcomes(path, model="m")
    [found] = outcomes(path, model="m", metric="bleu")
    assert found.outcome is CORRECT


def test_logs_of_older_versions_are_read(tmp_path: Path) -> None:
    old = row(doc={"text": "x"}, arguments=[["Q: 2+2? A:", {"until": []}]])
    del old["filter"], old["metrics"]
    [found] = outcomes(write(tmp_path / "gsm8k.jsonl", [old]), model="m")
    assert (found.prompt, found.task, found.outcome) == ("Q: 2+2? A:", "gsm8k", CORRECT)


def test_a_model_without_a_name_is_called_after_its_kind(tmp_path: Path) -> None:
    path = write(tmp_path / f"samples_t_{TIME}.jsonl", [row()])
    document = {"model_name": "", "model_source": "dummy", "config": {}}
    (tmp_path / f"results_{TIME}.json").write_text(json.dumps(document))
    assert [one.model for one in outcomes(path)] == ["dummy"]
    assert [one.model for one in outcomes(path, model="mine")] == ["mine"]
