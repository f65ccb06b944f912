"""Long tables: modes become policies, samples become repeats, nothing is guessed."""

import csv
import json
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from calibration import Outcome, RunStore
from calibration.importers import (
    ImportHints,
    SkippedRow,
    detect_format,
    import_file,
    read_outcomes,
)
from policies import DataFileError, InvalidInputError, PolicySpec, UnknownNameError

ROW: dict[str, Any] = {"question_id": "q1", "model": "m", "mode": "direct", "correct": 1}


def write(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def outcomes(path: Path, hints: ImportHints | None = None) -> list[Any]:
    return list(read_outcomes(path, hints or ImportHints()))


def one(tmp_path: Path, hints: ImportHints | None = None, **changes: Any) -> Any:
    [found] = outcomes(write(tmp_path / "t.jsonl", [ROW | changes]), hints)
    return found


@pytest.mark.parametrize(
    ("mode", "budget", "policy"),
    [
        ("direct", None, "direct"),
        ("direct", 0, "direct"),
        ("ift", None, "direct"),
        ("think", None, "reasoning@max"),
        ("reasoning", None, "reasoning@max"),
        ("thinking", "max", "reasoning@max"),
        ("think", 2048, "reasoning@2048"),
        ("think", 0, "reasoning@0"),
        ("think", 512.0, "reasoning@512"),
        ("think_1000", 1000, "reasoning@1000"),
        ("think_1000", None, "think-1000"),
        ("Think", float("nan"), "reasoning@max"),
        ("cot_single", None, "cot-single"),
        ("cot", 256, "cot@256"),
        ("think_bias_19.25", None, "think-bias-19-25"),
        ("Concise CoT", None, "concise-cot"),
        ("reasoning@64", None, "reasoning@64"),
        ("SC(n=5)/reasoning@1024", None, "sc(n=5)/reasoning@1024"),
        ("sc(n=5)/reasoning@1024", 1024, "sc(n=5)/reasoning@1024"),
    ],
)
def test_a_mode_becomes_its_policy(tmp_path: Path, mode: str, budget: Any, policy: str) -> None:
    found = one(tmp_path, mode=mode, budget_tokens=budget)
    assert found.policy == policy
    assert str(PolicySpec.parse(policy)) == policy


@pytest.mark.parametrize(
    "modes", [("Direct", "direct"), ("cot_a", "cot-a"), ("think", "reasoning"), ("a.b", "a b")]
)
def test_two_modes_never_become_one_arm(tmp_path: Path, modes: tuple[str, str]) -> None:
    path = write(tmp_path / "t.jsonl", [ROW | {"mode": mode} for mode in modes])
    with pytest.raises(DataFileError, match="would both become the policy") as caught:
        outcomes(path)
    assert caught.value.line == 2
    assert all(repr(mode) in caught.value.message for mode in modes)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"mode": "42"}, "the mode cannot name a policy"),
        ({"mode": "@@"}, "no policy of the grammar"),
        ({"mode": ""}, "'mode' is empty"),
        ({"mode": "think_500", "budget_tokens": 1000}, "names another budget"),
        ({"mode": "reasoning@500", "budget_tokens": 1000}, "names another budget"),
        ({"mode": "think", "budget_tokens": 0.5}, "no whole number"),
        ({"mode": "think", "budget_tokens": -1}, "is no count"),
        ({"mode": "think", "budget_tokens": [1]}, "is no number"),
        ({"correct": None}, "'correct' is empty"),
        ({"correct": float("nan")}, "'correct' is empty"),
        ({"correct": float("inf")}, "not finite"),
        ({"correct": "maybe"}, "is no number"),
        ({"correct": 2}, "outside [0, 1]"),
        ({"correct": 0.4}, "fraction"),
        ({"correct": {"a": 1}}, "is no number"),
        ({"correct": 1, "n_samples": 4}, "more answers than there are sample_ok"),
        ({"question_id": None}, "'question_id' is empty"),
        ({"model": ""}, "'model' is empty"),
        ({"completion_tokens": -3}, "is no count"),
        ({"completion_tokens": 1e300}, "is no count"),
        ({"completion_tokens": True}, "is no number"),
        ({"model_size_b": -7}, "no model size"),
        ({"model_size_b": [7]}, "is no number"),
        ({"sample_idx": "mean_of_10"}, "'sample_idx' is no number"),
        ({"task_type": "!!"}, "the task type is no name"),
        ({"seconds": -1}, "negative"),
        ({"outcome": "perhaps"}, "not correct, wrong, cut or error"),
    ],
)
def test_an_unusable_row_is_skipped_with_its_reason(
    tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    found = one(tmp_path, **changes)
    assert isinstance(found, SkippedRow)
    assert reason in found.reason
    assert found.where == "1"


@pytest.mark.parametrize("value", [1, 1.0, True, "1", "1.0", "true", "Yes", " correct "])
def test_right_has_many_spellings(tmp_path: Path, value: object) -> None:
    assert one(tmp_path, correct=value).outcome is Outcome.CORRECT


@pytest.mark.parametrize("value", [0, 0.0, False, "0", "false", "Wrong"])
def test_so_has_wrong(tmp_path: Path, value: object) -> None:
    assert one(tmp_path, correct=value).outcome is Outcome.WRONG


@pytest.mark.parametrize("outcome", list(Outcome))
def test_the_four_outcomes_can_be_said_outright(tmp_path: Path, outcome: Outcome) -> None:
    assert one(tmp_path, outcome=outcome.value, correct=None).outcome is outcome


def test_unknown_counts_stay_unknown(tmp_path: Path) -> None:
    found = one(tmp_path, completion_tokens=None, prompt_tokens="", thinking_tokens="nan")
    assert (found.prompt_tokens, found.completion_tokens, found.thinking_tokens) == (None,) * 3
    assert one(tmp_path, completion_tokens=6.1).completion_tokens is None
    assert one(tmp_path, completion_tokens=0).completion_tokens == 0


def test_a_row_of_samples_becomes_repeats(tmp_path: Path) -> None:
    samples = {"n_samples": 3, "sample_ok_1": 1, "sample_ok_2": 0, "sample_ok_3": 1}
    path = write(
        tmp_path / "t.jsonl",
        [
            ROW | samples | {"correct": 0.667, "completion_tokens": 9, "prompt_tokens": 30},
            ROW | samples | {"question_id": "q2", "correct": 0.5},
            ROW | samples | {"question_id": "q3", "correct": 0.667, "sample_ok_2": 0.5},
        ],
    )
    *repeats, second, third = outcomes(path)
    correct, wrong = Outcome.CORRECT, Outcome.WRONG
    assert [r.outcome for r in repeats] == [correct, wrong, correct]
    assert [r.repeat for r in repeats] == [0, 1, 2]
    assert {r.prompt_tokens for r in repeats} == {30}
    assert {r.completion_tokens for r in repeats} == {None}
    assert "not the mean" in second.reason
    assert "neither 0 nor 1" in third.reason


def test_sizes_and_types_and_groups_are_read(tmp_path: Path) -> None:
    found = one(tmp_path, model_size_b=1.54, task_category="general-MC", group="d1", task="t")
    assert (found.size, found.task_type, found.group) == (1_540_000_000, "general-mc", "d1")
    assert one(tmp_path, size="7B").size == 7_000_000_000
    plain = one(tmp_path)
    assert (plain.size, plain.task_type, plain.group, plain.task) == (None, "unknown", "q1", "t")


def test_hints_fill_gaps_and_never_replace(tmp_path: Path) -> None:
    hints = ImportHints("h", "task-h", "math-oe", "reasoning@8")
    bare = one(tmp_path, hints, model=None, mode=None)
    assert (bare.model, bare.policy, bare.task) == ("h", "reasoning@8", "task-h")
    assert bare.task_type == "math-oe"
    full = one(tmp_path, hints, task="t", task_type="code-oe")
    assert (full.model, full.policy, full.task, full.task_type) == ("m", "direct", "t", "code-oe")


def test_ids_used_by_several_tasks_are_told_apart_in_any_order(tmp_path: Path) -> None:
    rows = [ROW | {"task": "a"}, ROW | {"task": "b"}, ROW | {"task": "a", "question_id": "q2"}]
    for order in (rows, rows[::-1]):
        found = outcomes(write(tmp_path / "t.jsonl", order))
        assert {one.question_id for one in found} == {"a/q1", "b/q1", "a/q2"}
    found = outcomes(write(tmp_path / "t.jsonl", rows[1:]))
    assert {one.question_id for one in found} == {"q1", "q2"}


def test_rows_that_are_there_twice_count_once(tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl", [ROW, ROW, ROW | {"correct": 0}, ROW | {"sample_idx": 1}])
    with RunStore.create(tmp_path / "run.sqlite") as store:
        summary = import_file(path, store)
    assert (summary.rows, summary.questions, summary.arms) == (2, 1, 1)
    [skipped] = summary.skipped
    assert (skipped.count, "once more" in skipped.reason) == (2, True)


def test_a_damaged_row_leaves_the_store_as_it_was(tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl", [ROW | {"question_id": f"q{i}"} for i in range(9000)])
    with path.open("a") as file:
        file.write('{"question_id": \n')
    with RunStore.create(tmp_path / "run.sqlite") as store:
        with pytest.raises(DataFileError) as caught:
            import_file(path, store)
        assert list(store.records()) == []
    assert caught.value.line == 9001


def test_a_file_without_a_usable_row_says_why(tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl", [ROW | {"correct": 0.5}] * 3)
    with (
        RunStore.create(tmp_path / "run.sqlite") as store,
        pytest.raises(DataFileError, match=r"fraction.*\(3 rows, first .*t\.jsonl:1\)"),
    ):
        import_file(path, store)


@pytest.mark.parametrize(
    ("hints", "error"),
    [
        (ImportHints(task_type="No Such"), InvalidInputError),
        (ImportHints(policy="a b c"), InvalidInputError),
        (ImportHints(model=" "), InvalidInputError),
        (ImportHints(metric="acc"), InvalidInputError),
    ],
)
def test_a_hint_that_makes_no_sense_is_refused(
    tmp_path: Path, hints: ImportHints, error: type[Exception]
) -> None:
    path = write(tmp_path / "t.jsonl", [ROW])
    with RunStore.create(tmp_path / "run.sqlite") as store, pytest.raises(error):
        import_file(path, store, hints)


def test_an_unknown_format_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="lm-eval"):
        detect_format(write(tmp_path / "t.jsonl", [ROW]), wanted="lm_eval")


NAMES = st.text("abcxyz019./-_ é", min_size=1, max_size=8).filter(str.strip)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=20)
RECORDS = st.lists(
    st.fixed_dictionaries(
        {
            "question_id": NAMES,
            "task": st.just("t"),
            "model": NAMES,
            "mode": st.sampled_from(["direct", "think", "cot_short"]),
            "budget_tokens": st.none() | st.integers(1, 10**6),
            "sample_idx": st.integers(0, 3),
            "outcome": st.sampled_from([outcome.value for outcome in Outcome]),
            "correct": st.just(0),
            "prompt": TEXTS,
            "completion_tokens": st.none() | st.integers(0, 10**9),
            "seconds": st.none() | st.floats(0, 1e6),
        }
    ),
    min_size=1,
    max_size=12,
    unique_by=lambda r: (
        r["question_id"],
        r["model"],
        r["mode"],
        r["budget_tokens"],
        r["sample_idx"],
    ),
)


def as_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def as_parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    import pyarrow as arrow
    from pyarrow import parquet

    parquet.write_table(arrow.Table.from_pylist(rows), path)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(RECORDS, st.sampled_from(["jsonl", "csv", "parquet"]))
def test_a_table_comes_back_as_it_was_written(rows: list[dict[str, Any]], suffix: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"t.{suffix}"
        if suffix == "jsonl":
            write(path, rows)
        else:
            (as_csv if suffix == "csv" else as_parquet)(path, rows)
        found = outcomes(path)
    assert [type(one) for one in found] == [type(found[0])] * len(rows)
    for row, one_found in zip(rows, found, strict=True):
        assert one_found.question_id == row["question_id"]
        assert (one_found.model, one_found.repeat) == (row["model"], row["sample_idx"])
        assert one_found.outcome.value == row["outcome"]
        assert one_found.prompt == row["prompt"]
        assert one_found.completion_tokens == row["completion_tokens"]
        assert one_found.seconds == row["seconds"]
    policies = {(row["mode"], row["budget_tokens"]) for row in rows}
    assert len({one_found.policy for one_found in found}) == len(policies)
