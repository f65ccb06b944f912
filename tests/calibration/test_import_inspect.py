"""Logs of inspect_ai; the golden ones were written by version 0.3.285 with its mock model."""

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from calibration import Outcome
from calibration.importers import ImportHints, SkippedRow, detect_format, read_outcomes
from policies import DataFileError, UnknownNameError

FOLDER = Path(__file__).parents[1] / "golden" / "import"
CORRECT, WRONG, CUT, ERROR = Outcome.CORRECT, Outcome.WRONG, Outcome.CUT, Outcome.ERROR


def outcomes(path: Path, **hints: Any) -> list[Any]:
    return list(read_outcomes(path, ImportHints(**hints)))


def sample(**changes: Any) -> dict[str, Any]:
    usage = {"input_tokens": 5, "output_tokens": 3, "total_tokens": 8}
    return {
        "id": "q",
        "epoch": 1,
        "input": "2+2?",
        "target": "4",
        "output": {"choices": [{"message": {"content": "4"}, "stop_reason": "stop"}]},
        "scores": {"match": {"value": "C"}},
        "model_usage": {"m": usage, "grader": {"input_tokens": 900, "output_tokens": 900}},
    } | changes


def log(*samples: dict[str, Any], **changes: Any) -> dict[str, Any]:
    spec = {"task": "t", "model": "m", "scorers": [{"name": "match"}]}
    return {"version": 2, "status": "success", "eval": spec} | changes | {"samples": [*samples]}


def write(folder: Path, document: dict[str, Any], suffix: str = ".json") -> Path:
    path = folder / f"log{suffix}"
    if suffix == ".json":
        path.write_text(json.dumps(document, indent=2), "utf-8")
        return path
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, one in enumerate(document.pop("samples")):
            archive.writestr(f"samples/{number}_epoch_1.json", json.dumps(one))
        archive.writestr("header.json", json.dumps(document))
    return path


def one(folder: Path, header: dict[str, Any] | None = None, **changes: Any) -> Any:
    [found] = outcomes(write(folder, log(sample(**changes), **(header or {}))))
    return found


@pytest.mark.parametrize("suffix", ["eval", "json"])
def test_a_genuine_log_gives_epochs_errors_cuts_and_tokens(suffix: str) -> None:
    path = FOLDER / f"inspect_epochs.{suffix}"
    found = outcomes(path, task_type="math-oe")
    assert detect_format(path) == "inspect"
    assert [o.outcome for o in found if o.repeat == 0] == [
        CORRECT, WRONG, CORRECT, WRONG, ERROR, CUT,
    ]  # fmt: skip
    assert [o.outcome for o in found if o.repeat == 1] == [
        CORRECT, WRONG, CORRECT, WRONG, ERROR, CORRECT,
    ]  # fmt: skip
    assert [o.score for o in found if o.repeat == 0] == [1.0, 0.5, 1.0, 0.5, None, None]
    assert {(o.model, o.policy) for o in found} == {("mockllm/model", "reasoning@max")}
    first = found[0]
    assert (first.prompt, first.gold, first.text) == ("2 + 3 = ?", "5", "5")
    assert first.thinking == "2 and 3 make 5."
    # Ten tokens at the full rate and four from the cache.
    assert (first.prompt_tokens, first.completion_tokens, first.thinking_tokens) == (14, 9, 6)
    assert first.seconds > 0
    assert {o.completion_tokens for o in found if o.outcome is ERROR} == {None}


def test_both_kinds_of_log_say_the_same() -> None:
    logs = [outcomes(FOLDER / f"inspect_epochs.{suffix}") for suffix in ("eval", "json")]
    texts = [[(o.question_id, o.repeat, o.outcome, o.text) for o in found] for found in logs]
    assert texts[0] == texts[1]


def test_a_limit_cuts() -> None:
    found = outcomes(FOLDER / "inspect_limited.eval")
    assert {o.outcome for o in found} == {CUT}
    assert {o.completion_tokens for o in found} == {8, 9, 10}


def test_the_headline_scorer_decides_unless_another_is_chosen() -> None:
    path = FOLDER / "inspect_two_scorers.eval"
    assert [o.score for o in outcomes(path)] == [1.0, 0.5, 1.0, 0.5, None, 1.0]
    assert [o.score for o in outcomes(path, metric="closeness")] == [
        1.0,
        0.75,
        1.0,
        0.75,
        None,
        1.0,
    ]
    with pytest.raises(UnknownNameError, match="closeness"):
        outcomes(path, metric="nearness")


@pytest.mark.parametrize("suffix", [".json", ".eval"])
@pytest.mark.parametrize(
    ("value", "outcome", "score"),
    [
        ("C", CORRECT, 1.0),
        ("I", WRONG, 0.0),
        ("P", WRONG, 0.5),
        ("N", WRONG, 0.0),
        (1, CORRECT, 1.0),
        (True, CORRECT, 1.0),
        (0.25, WRONG, 0.25),
        ("yes", CORRECT, 1.0),
        ("0.5", WRONG, 0.5),
        ({"only": "C"}, CORRECT, 1.0),
    ],
)
def test_scores_of_every_kind(
    tmp_path: Path, suffix: str, value: object, outcome: Outcome, score: float
) -> None:
    [found] = outcomes(write(tmp_path, log(sample(scores={"match": {"value": value}})), suffix))
    assert (found.outcome, found.score) == (outcome, score)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"scores": {}}, "was not scored"),
        ({"scores": None}, "was not scored"),
        ({"scores": {"other": {"value": 1}}}, "no score of 'match'"),
        ({"scores": {"match": {"value": float("nan")}}}, "is empty"),
        ({"scores": {"match": {"value": float("inf")}}}, "not finite"),
        ({"scores": {"match": {"value": 7}}}, "outside [0, 1]"),
        ({"scores": {"match": {"value": [1, 0]}}}, "is a list"),
        ({"scores": {"match": {"value": "perhaps"}}}, "is no number"),
        ({"invalidation": {"reason": "wrong data"}}, "invalid"),
        ({"id": None}, "no id"),
        ({"epoch": -1}, "no count"),
    ],
)
def test_a_sample_without_a_usable_score_is_skipped(
    tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    found = one(tmp_path, **changes)
    assert isinstance(found, SkippedRow)
    assert reason in found.reason
    assert found.where == "sample 1"


@pytest.mark.parametrize(
    ("changes", "outcome"),
    [
        ({"limit": {"type": "token", "limit": 5}}, CUT),
        ({"limit": {"type": "time", "limit": 5}}, CUT),
        ({"limit": {"type": "operator", "limit": 1}}, ERROR),
        ({"error": {"message": "x"}, "scores": None}, ERROR),
        ({"output": {"choices": [{"message": {}, "stop_reason": "max_tokens"}]}}, CUT),
        ({"output": {"choices": [{"message": {}, "stop_reason": "model_length"}]}}, CUT),
        ({"output": {"choices": [{"message": {}, "stop_reason": "content_filter"}]}}, ERROR),
    ],
)
def test_what_was_stopped_is_never_wrong(
    tmp_path: Path, changes: dict[str, Any], outcome: Outcome
) -> None:
    assert one(tmp_path, **changes).outcome is outcome


@pytest.mark.parametrize(
    ("header", "policy"),
    [
        ({}, "direct"),
        ({"plan": {"config": {"reasoning_tokens": 2048}}}, "reasoning@2048"),
        ({"plan": {"config": {"reasoning_effort": "high"}}}, "reasoning(effort=high)@max"),
        ({"plan": {"config": {"reasoning_effort": "none"}}}, "direct"),
        ({"stats": {"model_usage": {"m": {"reasoning_tokens": 9}}}}, "reasoning@max"),
        ({"stats": {"model_usage": {"grader": {"reasoning_tokens": 9}}}}, "direct"),
        ({"plan": {"steps": [{"solver": "inspect_ai/chain_of_thought"}]}}, "cot"),
    ],
)
def test_the_header_tells_the_policy(tmp_path: Path, header: dict[str, Any], policy: str) -> None:
    assert one(tmp_path, header).policy == policy


def test_only_the_judged_model_pays(tmp_path: Path) -> None:
    found = one(tmp_path)
    assert (found.prompt_tokens, found.completion_tokens, found.thinking_tokens) == (5, 3, None)
    zeros = {"m": {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}}
    assert one(tmp_path, model_usage=zeros).completion_tokens is None
    assert one(tmp_path, model_usage={}).prompt_tokens is None


def test_chats_choices_and_attachments_become_the_prompt(tmp_path: Path) -> None:
    chat = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Which?"}]},
    ]
    assert one(tmp_path, input=chat, choices=["a", "b"]).prompt == "Which?\nA) a\nB) b"
    kept: dict[str, Any] = {"input": "attachment://77", "attachments": {"77": "a long question"}}
    assert one(tmp_path, **kept).prompt == "a long question"


def test_several_values_of_a_scorer_must_be_chosen(tmp_path: Path) -> None:
    path = write(tmp_path, log(sample(scores={"match": {"value": {"a": 1, "b": 0}}})))
    with pytest.raises(DataFileError, match=r"--metric match\.KEY"):
        outcomes(path)
    [found] = outcomes(path, metric="match.b")
    assert found.outcome is WRONG


def test_a_log_of_an_interrupted_run_is_read(tmp_path: Path) -> None:
    path = tmp_path / "log.eval"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("_journal/start.json", json.dumps(log()))
        archive.writestr("samples/q_epoch_1.json", json.dumps(sample()))
    [found] = outcomes(path)
    assert (found.outcome, found.question_id) == (CORRECT, "t/q")


def test_samples_before_the_header_and_on_one_line_are_read(tmp_path: Path) -> None:
    path = tmp_path / "log.json"
    document = log(sample(), sample(id="r"))
    path.write_text(json.dumps(dict(reversed(document.items()))))
    assert [found.question_id for found in outcomes(path)] == ["t/q", "t/r"]
