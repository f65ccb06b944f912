"""`advisor fit` on files: checks, choices among mixed outcomes, guarantees, dry runs."""

import json
import random
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

import router
from policies import NoGuaranteeError
from router import Router

Run = Callable[..., Any]
SHARED = Path(__file__).resolve().parents[3].parent / "shared" / "data" / "outcomes"


def rows(n: int = 60, seed: int = 0) -> list[dict[str, Any]]:
    rng = random.Random(seed)
    return [
        {
            "question_id": f"q{i}",
            "task": "sums",
            "task_type": "math-oe",
            "prompt": f"What is {i} + {rng.randrange(90)}?",
            "model": model,
            "mode": mode,
            "budget_tokens": budget,
            "correct": int(rng.random() < p),
            "prompt_tokens": 12,
            "completion_tokens": tokens + rng.randrange(9),
        }
        for i in range(n)
        for model in ("tiny", "large")
        for mode, budget, p, tokens in (("direct", None, 0.5, 5), ("think", 1000, 0.8, 400))
    ]


def write(path: Path, lines: Iterable[Mapping[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return path


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Return a file with two models and two policies each."""
    return write(tmp_path / "outcomes.jsonl", rows())


def test_a_router_is_fitted_from_a_file(advisor: Run, table: Path, tmp_path: Path) -> None:
    result = advisor("fit", table, "--out", tmp_path / "router", "--json")
    assert result.code == 0, result.err
    document = result.json()
    assert document["n_questions"] == 60
    assert document["guarantee"] is None
    assert document["source"]["file"] == "outcomes.jsonl"
    assert len(document["source"]["sha256"]) == 64
    fitted = Router.load(document["router"])
    assert {arm.name for arm in fitted.arms} == set(document["arms"])
    assert len(fitted.arms) == 4
    assert "outcomes.jsonl: 240 outcomes" in result.err
    assert "every question id is a group of its own" in result.err
    assert not list(tmp_path.glob("*.sqlite*"))


@pytest.mark.parametrize(
    ("options", "arms"),
    [
        (["--model", "tiny"], ["tiny:direct", "tiny:reasoning@1000"]),
        (["--model", "t*", "--model", "large"], None),
        (["--arms", "direct,reasoning@1000"], None),
        (["--arms", "reasoning@*"], ["large:reasoning@1000", "tiny:reasoning@1000"]),
        (["--arms", "tiny:direct", "--arms", "large:*"], None),
        (["--task", "su*"], None),
    ],
)
def test_a_dry_run_checks_the_chosen_outcomes_and_writes_nothing(
    advisor: Run, table: Path, tmp_path: Path, options: list[str], arms: list[str] | None
) -> None:
    before = sorted(tmp_path.iterdir())
    result = advisor("fit", table, "--dry-run", "--json", *options)
    assert result.code == 0, result.err
    document = result.json()
    assert document["router"] is None
    assert document["n_questions"] == document["n_groups"] == 60
    if arms is not None:
        assert document["arms"] == arms
        assert "120 of them wanted" in result.err
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("options", "code", "told"),
    [
        (["--model", "huge"], "unknown-model", "'huge'"),
        (["--arms", "cot"], "unknown-arm", "reasoning@1000"),
        (["--task", "x"], "unknown-task", "sums"),
        (["--reference", "direct"], "invalid-input", "--max-loss"),
        (["--max-cost-share", "0.5"], "invalid-input", "--max-loss"),
        (["--max-loss", "0.1", "--max-cost-share", "0"], "invalid-input", "no share of a cost"),
        (["--max-loss", "0.1", "--confidence", "1"], "invalid-input", "not between 0 and 1"),
        (["--max-loss", "0.1", "--reference", "huge"], "unknown-arm", "reasoning@1000"),
        (["--max-loss", "0.1", "--reference", "direct"], "invalid-input", "tiny:direct"),
        (["--max-loss", "0.01", "--max-seconds", "1", "--lambda", "0"], "invalid-input", "leave"),
        (["--max-seconds", "1"], "invalid-input", "on top of a rule"),
        (["--max-cost", "1", "--max-mean-cost", "1"], "invalid-input", "two rules"),
        (["--unit", "usd"], "invalid-input", "price"),
        (["--max-loss", "0.01", "--lambda", "0"], "invalid-input", "--lambda"),
        (["--unit", "smiles"], "invalid-input", "smiles"),
    ],
)
def test_options_that_make_no_sense_are_usage_errors(
    advisor: Run, table: Path, tmp_path: Path, options: list[str], code: str, told: str
) -> None:
    result = advisor("fit", table, "--out", tmp_path / "router", *options)
    assert result.code == 2
    assert f"error[{code}]" in result.err
    assert told in result.err
    assert not (tmp_path / "router").exists()


def test_a_router_needs_a_place(advisor: Run, table: Path) -> None:
    result = advisor("fit", table)
    assert result.code == 2
    assert "--out is missing" in result.err


def test_a_router_that_is_there_is_refused_before_the_work(
    advisor: Run, table: Path, tmp_path: Path
) -> None:
    (tmp_path / "router").mkdir()
    result = advisor("fit", table, "--out", tmp_path / "router")
    assert result.code == 3
    assert "--overwrite" in result.err
    assert "outcomes.jsonl:" not in result.err


def test_troubles_are_told_and_put_right(advisor: Run, tmp_path: Path) -> None:
    lines = rows()
    for line in lines:
        line["prompt"] = "WHAT is  0?" if line["question_id"] in {"q1", "q2"} else line["prompt"]
        line["correct"] = 1 if line["model"] == "tiny" else line["correct"]
    lines += [lines[0], {**lines[1], "question_id": "q99", "correct": "perhaps"}]
    result = advisor("fit", write(tmp_path / "t.jsonl", lines), "--dry-run", "--json")
    assert result.code == 0, result.err
    document = result.json()
    assert document["n_groups"] == 59
    findings = {one["code"]: one for one in document["findings"]}
    assert findings.keys() == {"same-texts", "one-class-arm"}
    assert findings["same-texts"]["count"] == 2
    assert "warning[same-texts]: 2 of 60 questions" in result.err
    assert "1 rows are written twice and were dropped" in result.err
    assert "skipped: 1 rows, 'correct' is no number" in result.err


def test_contradictions_are_refused(advisor: Run, tmp_path: Path) -> None:
    lines = rows()
    lines[1]["task_type"] = "general-mc"
    result = advisor("fit", write(tmp_path / "t.jsonl", lines), "--dry-run")
    assert result.code == 2
    assert "error[contradictions]: 1 questions have two task types" in result.err


def test_a_run_is_checked_too(advisor: Run, measured_run: Path) -> None:
    document = advisor("fit", measured_run, "--dry-run", "--json").json()
    assert document["source"] == {"run": str(measured_run)}
    assert document["n_questions"] == 480
    assert document["arms"] == ["pocket-m:direct", "pocket-m:reasoning@max"]


def test_a_folder_of_tables_names_the_table(advisor: Run, table: Path) -> None:
    result = advisor("fit", table.parent, "--dry-run")
    assert result.code == 3
    assert str(table) in result.err


def test_a_missing_file_says_how_to_make_a_run(advisor: Run, tmp_path: Path) -> None:
    result = advisor("fit", tmp_path / "none.parquet", "--dry-run")
    assert result.code == 3
    assert "none.parquet is neither a run folder nor a file" in result.err
    assert "advisor calibrate" in result.err


REFERENCE = "large:reasoning@1000"
NOT_HELD = {
    "holds": False,
    "epsilon": 0.01,
    "confidence": 0.95,
    "reference": REFERENCE,
    "n_calibration": 60,
    "n_needed": 1500,
    "reason": "the loss varies too much",
}


@pytest.mark.parametrize("n_needed", [1500, None])
def test_a_guarantee_that_cannot_be_had_exits_with_6(
    advisor: Run,
    table: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    n_needed: int | None,
) -> None:
    asked: dict[str, Any] = {}

    def refuse(_: object, **options: Any) -> Router:
        asked.update(options)
        raise NoGuaranteeError({**NOT_HELD, "n_needed": n_needed})

    monkeypatch.setattr(Router, "fit", refuse)
    options = ("--max-loss", 0.01, "--confidence", 0.9, "--reference", REFERENCE, "--json")
    result = advisor("fit", table, "--out", tmp_path / "router", *options)
    assert result.code == 6
    promised = (asked["max_loss"], asked["confidence"], asked["reference"])
    assert promised == (0.01, 0.9, REFERENCE)
    document = result.json()
    assert document["router"] is None
    assert document["guarantee"] == {**NOT_HELD, "n_needed": n_needed}
    assert "error[no-guarantee]" in result.err
    told = "about 1,440 more calibration questions" if n_needed else "no number of questions"
    assert told in result.err
    # All 60 questions were held back here, so as many are needed as certify.
    assert document["n_more_questions"] == (1440 if n_needed else None)
    assert ("measure about 1,440 more in all" in result.err) == bool(n_needed)
    assert not (tmp_path / "router").exists()


KEYS = {"holds", "epsilon", "confidence", "reference", "n_calibration", "n_needed"}


@pytest.mark.parametrize("max_loss", [0.9, 0.0])
def test_a_guarantee_is_part_of_the_answer(
    advisor: Run, table: Path, tmp_path: Path, max_loss: float
) -> None:
    options = ("--max-loss", max_loss, "--json")
    result = advisor("fit", table, "--out", tmp_path / "router", *options)
    assert result.code == (0 if max_loss else 6), result.err
    guarantee = result.json()["guarantee"]
    assert guarantee.keys() >= KEYS
    assert (guarantee["holds"], guarantee["epsilon"]) == (bool(max_loss), max_loss)
    assert (tmp_path / "router").exists() == bool(max_loss)


def test_a_feedback_log_is_learned_from_too(advisor: Run, table: Path, tmp_path: Path) -> None:
    out, path = tmp_path / "router", tmp_path / "feedback.sqlite"
    assert advisor("fit", table, "--out", out).code == 0
    fitted = Router.load(out)
    with router.FeedbackLog.open(path, store_prompts=True) as log:
        for i in range(20):
            prompt = f"What is {i} + 300?"
            log.record(fitted.decide(prompt), True, prompt=prompt, completion_tokens=7)
        log.record(fitted.decide("What is 1?"), prompt="What is 1?")
    before = fitted.describe()["n_questions"]
    options = ("--update", path, "--out", out, "--overwrite", "--json")
    result = advisor("fit", table, *options)
    assert result.code == 0, result.err
    document = result.json()
    assert document["n_questions"] == before + 20
    assert document["update"]["n_added"] == 20
    assert document["update"]["skipped"] == {"no-outcome": 1}
    assert "20 outcomes added" in result.err


def test_the_shape_of_the_answer_is_stable(
    advisor: Run, table: Path, golden_json: Callable[[str, object], None]
) -> None:
    def shape(value: object) -> object:
        if isinstance(value, dict):
            return {str(key): shape(item) for key, item in value.items()}
        if isinstance(value, list):
            return [shape(item) for item in value[:1]]
        return type(value).__name__

    result = advisor("fit", table, "--task", "sums", "--dry-run", "--json")
    golden_json("fit/dry_run.json", shape(result.json()))


def test_recorded_outcomes_are_taken_as_they_lie(advisor: Run) -> None:
    path = SHARED / "mgsm_sizes" / "long.parquet"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    pytest.importorskip("pyarrow")
    options = ("--model", "qwen2.5-14B", "--arms", "direct,reasoning@1000", "--dry-run", "--json")
    result = advisor("fit", path, *options)
    assert result.code == 0, result.err
    document = result.json()
    assert (document["n_outcomes"], document["n_groups"]) == (5000, 250)
    assert "11 languages" in result.err
