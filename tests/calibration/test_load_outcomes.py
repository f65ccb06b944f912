"""Outcomes of a file in memory: nothing lost, nothing twice, nothing settled in silence."""

import csv
import json
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from calibration import Outcome, RunStore, load_outcomes, select_outcomes
from calibration.importers import ImportHints, import_file
from policies import DataFileError, UnknownNameError

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "outcomes"
ROW: dict[str, Any] = {"question_id": "q", "model": "m", "mode": "direct", "correct": 1}


def write(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(ROW | dict(row)) + "\n" for row in rows), "utf-8")
    return path


def table_of(name: str) -> Path:
    path = DATA / name / "long.parquet"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    pytest.importorskip("pyarrow")
    return path


def test_a_file_gives_what_the_run_it_is_imported_into_gives(tmp_path: Path) -> None:
    rows = [
        {"question_id": f"q{i}", "mode": mode, "correct": i % 2, "completion_tokens": i}
        for i in range(5)
        for mode in ("direct", "think")
    ]
    rows.append({"question_id": "q9", "outcome": "error"})
    path = write(tmp_path / "t.jsonl", rows)
    with RunStore.create(tmp_path / "run.sqlite") as store:
        import_file(path, store)
        stored = list(store.records())
    loaded = load_outcomes(path).records

    def order(record: Any) -> tuple[str, str]:
        return record.question_id, record.policy

    assert sorted(loaded, key=order) == sorted(stored, key=order)


def test_rows_written_twice_are_dropped_and_told(tmp_path: Path) -> None:
    loaded = load_outcomes(write(tmp_path / "t.jsonl", [{}, {"question_id": "r"}, {}]))
    assert [record.question_id for record in loaded.records] == ["q", "r"]
    assert "1 rows are written twice and were dropped" in loaded.notes[-1]
    assert "'q'" in loaded.notes[-1]


def test_rows_that_differ_are_repeats_where_repeats_have_no_number(tmp_path: Path) -> None:
    # Dropping only the equal ones would turn two of three correct into one of two.
    loaded = load_outcomes(write(tmp_path / "t.jsonl", [{}, {}, {"correct": 0}]))
    assert [record.outcome for record in loaded.records].count(Outcome.CORRECT) == 2
    assert "taken as repeats" in loaded.notes[-1]


def test_rows_that_contradict_a_numbered_repeat_are_refused(tmp_path: Path) -> None:
    rows = [{"sample_idx": 1}, {"sample_idx": 1, "correct": 0}]
    with pytest.raises(DataFileError, match=r"1 rows contradict an earlier one.*'q'"):
        load_outcomes(write(tmp_path / "t.jsonl", rows))


def test_a_question_with_two_texts_keeps_the_frequent_one(tmp_path: Path) -> None:
    rows = [{"mode": mode, "prompt": "2+2?"} for mode in ("direct", "cot")]
    rows.append({"mode": "think", "prompt": "2+2? Think!"})
    loaded = load_outcomes(write(tmp_path / "t.jsonl", rows))
    assert {record.prompt for record in loaded.records} == {"2+2?"}
    assert "1 questions have several texts (such as 'q'): 1 rows" in loaded.notes[-1]


def test_means_of_tokens_over_answers_stay_right(tmp_path: Path) -> None:
    samples = {"sample_ok_1": 1, "sample_ok_2": 0, "sample_ok_3": 0}
    row = {"correct": 1 / 3, "n_samples": 3, "completion_tokens": 10.33, **samples}
    loaded = load_outcomes(write(tmp_path / "t.jsonl", [row]))
    assert [record.completion_tokens for record in loaded.records] == [11, 10, 10]
    assert "means over several answers" in loaded.notes[-1]


@pytest.mark.parametrize("mean", [-1.0, 1e300, "many"])
def test_a_mean_that_is_no_count_is_skipped(tmp_path: Path, mean: object) -> None:
    samples = {"sample_ok_1": 1, "sample_ok_2": 0}
    row = {"correct": 0.5, "n_samples": 2, "completion_tokens": mean, **samples}
    loaded = load_outcomes(write(tmp_path / "t.jsonl", [{}, row]))
    assert len(loaded.records) == 1
    assert loaded.skipped[0].count == 1


def test_rows_that_tell_nothing_are_counted(tmp_path: Path) -> None:
    bad = [{"correct": float("nan")}, {"correct": 1, "completion_tokens": -1}, {"seconds": "x"}]
    loaded = load_outcomes(write(tmp_path / "t.jsonl", [{}, *bad]))
    assert len(loaded.records) == 1
    assert {one.reason for one in loaded.skipped} == {
        "'correct' is empty",
        "'completion_tokens' is no count",
        "'seconds' is no number",
    }


def test_a_file_without_a_usable_row_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataFileError, match="no row gives an outcome"):
        load_outcomes(write(tmp_path / "t.jsonl", [{"correct": "perhaps"}]))


def test_a_wide_table_is_read_too(tmp_path: Path) -> None:
    path = tmp_path / "wide.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["sample_id", "prompt", "a", "a|total_cost", "b", "b|total_cost"])
        writer.writerow(["1", "x", 1, 0.1, 0, 0.2])
    loaded = load_outcomes(path, ImportHints(policy="cot"))
    assert [record.arm for record in loaded.records] == ["a:cot", "b:cot"]
    assert loaded.source["format"] == "wide"
    assert "group of its own" in loaded.notes[0]


MIXED = [
    {"model": model, "mode": mode, "task": task, "question_id": f"{task}{i}", "budget_tokens": b}
    for model in ("qwen-7b", "qwen-32b", "gpt (2023-11, Azure)")
    for mode, b in (("direct", None), ("think", 500), ("think", 1000))
    for task in ("mgsm_de", "aqua")
    for i in range(2)
]


@pytest.mark.parametrize(
    ("wanted", "n"),
    [
        ({}, 36),
        ({"models": ["qwen-7b"]}, 12),
        ({"models": ["qwen*"]}, 24),
        ({"models": ["gpt (2023-11, Azure)", "qwen-7b"]}, 24),
        ({"arms": ["direct"]}, 12),
        ({"arms": ["reasoning@*"]}, 24),
        ({"arms": [" Reasoning@1000 ", "direct"]}, 24),
        ({"arms": ["qwen-*:reasoning@500"]}, 8),
        ({"arms": ["direct", "gpt*:*"], "tasks": ["mgsm_*"]}, 10),
        ({"tasks": ["aqua"], "models": ["qwen-32b"]}, 6),
    ],
)
def test_some_outcomes_of_a_mixed_file_are_chosen(
    tmp_path: Path, wanted: dict[str, Any], n: int
) -> None:
    path = write(tmp_path / "t.jsonl", MIXED)
    loaded = load_outcomes(path, **wanted)
    assert (len(loaded.records), loaded.n_outcomes) == (n, 36)
    assert loaded.records == select_outcomes(load_outcomes(path).records, **wanted)


@pytest.mark.parametrize(
    ("wanted", "kind"),
    [({"models": ["qwen-8b"]}, "model"), ({"arms": ["cot"]}, "arm"), ({"tasks": ["mg?"]}, "task")],
)
def test_a_choice_that_fits_nothing_names_what_there_is(
    tmp_path: Path, wanted: dict[str, Any], kind: str
) -> None:
    with pytest.raises(UnknownNameError, match=f"unknown {kind} ") as caught:
        load_outcomes(write(tmp_path / "t.jsonl", MIXED), **wanted)
    assert "known: " in caught.value.hint


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(
        st.fixed_dictionaries(
            {
                "question_id": st.sampled_from(["q", "r", 1, 1.0, True]),
                "mode": st.sampled_from(["direct", "cot"]),
                "correct": st.sampled_from([0, 1]),
                "prompt": st.sampled_from(["a", "A", "b"]),
                "completion_tokens": st.sampled_from([None, 5]),
            }
        ),
        min_size=1,
        max_size=10,
    ),
    data=st.data(),
)
def test_the_order_of_rows_does_not_matter(
    tmp_path: Path, rows: list[dict[str, Any]], data: st.DataObject
) -> None:
    shuffled = data.draw(st.permutations(rows))
    first, second = (
        load_outcomes(write(tmp_path / "t.jsonl", each)).records for each in (rows, shuffled)
    )
    assert sorted(map(repr, first)) == sorted(map(repr, second))


def test_an_oracle_selected_prompt_of_a_recorded_set_is_settled() -> None:
    loaded = load_outcomes(table_of("renze_9models_cot"))
    assert any("1 questions have several texts (such as 'sat-en/93')" in n for n in loaded.notes)
    texts = {record.prompt for record in loaded.records if record.question_id == "sat-en/93"}
    assert len(texts) == 1


@pytest.mark.slow
def test_a_third_of_a_million_rows_are_read_in_seconds() -> None:
    before = time.process_time()
    loaded = load_outcomes(table_of("mmlu_pro_cot_ladder"))
    assert len(loaded.records) == 347_215
    assert time.process_time() - before < 20
