"""The run store: what is written stays and is read back."""

import dataclasses
import json
import random
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from calibration import MeasuredTable, Outcome, RunStore, aggregate, store_path
from calibration._outcomes import ImportedOutcome
from calibration._store import ArmRow, StoredSample
from calibration.graders import Grade, Judgement, get_grader
from policies import (
    Call,
    Completion,
    Evidence,
    FinishReason,
    Remark,
    StoreError,
    Usage,
)
from tests.calibration.filled_store import (
    ARM,
    OUTCOMES,
    answer,
    fill,
    filled_run,
    n_stored,
    sample,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return store_path(tmp_path / "run")


@pytest.fixture
def filled(path: Path) -> Path:
    return filled_run(path)


def test_what_is_written_is_read_back(path: Path) -> None:
    with RunStore.create(path) as store:
        fill(store, 4)
    with RunStore.open(path) as store:
        records = list(store.records())
    assert [(r.question_id, r.outcome, r.completion_tokens, r.flops) for r in records] == [
        ("q0", Outcome.WRONG, 0, 0.0),
        ("q1", Outcome.CORRECT, 1, 100.0),
        ("q2", Outcome.ERROR, 0, None),
        ("q3", Outcome.CUT, 3, 300.0),
    ]
    first = records[0]
    assert (first.task, first.task_type, first.prompt) == ("task0", "math-oe", "question 0?")
    assert (first.arm, first.size, first.seconds) == ("model:direct", 1000, 0.5)


def test_a_run_is_a_folder_or_its_file() -> None:
    assert store_path(Path("runs/a")) == Path("runs/a/run.sqlite")
    assert store_path(Path("runs/a/run.sqlite")) == Path("runs/a/run.sqlite")


def test_facts_about_the_run_are_kept(filled: Path) -> None:
    with RunStore.open(filled) as store:
        assert store.get_meta("provenance") == {"seed": 0}
        assert store.get_meta("never written") is None


def test_an_arm_is_written_down_once(path: Path) -> None:
    with RunStore.create(path) as store:
        first = store.add_arm(ARM)
        other = store.add_arm(ArmRow("model", 1000, "reasoning@max", "a recipe", "{}"))
        assert store.add_arm(ARM) == first != other
    with RunStore.create(path) as store:
        assert store.add_arm(ARM) == first


def test_another_model_behind_the_same_name_is_refused(path: Path) -> None:
    with RunStore.create(path) as store:
        store.add_arm(ARM)
        with pytest.raises(StoreError, match="other weights") as caught:
            store.add_arm(ArmRow("model", 1000, "reasoning@max", "a recipe", '{"weights": 2}'))
        assert caught.value.code == "store-other-plan"
        assert caught.value.hint
        store.add_arm(ArmRow("other model", 1000, "direct", "", '{"weights": 2}'))


def test_errors_are_outside_n(filled: Path) -> None:
    with RunStore.open(filled) as store:
        cells = MeasuredTable.from_store(store).cells
    for cell in cells:
        assert cell.n + cell.n_error == 20
        assert cell.n_error == 5
        assert cell.accuracy == cell.n_correct / cell.n


def test_a_retried_error_is_replaced_by_its_answer(path: Path) -> None:
    with RunStore.create(path) as store:
        fill(store, 8)
        errors = [n for n in range(8) if OUTCOMES[(3 * n + 1) % 4] is Outcome.ERROR]
        for n in errors:
            store.add(sample(n))
    with RunStore.open(path) as store:
        records = list(store.records())
        assert store.finished_keys() == {f"1-{n}" for n in range(8)}
    assert len(records) == 8
    assert not any(record.outcome is Outcome.ERROR for record in records)


def test_finished_keys_leave_errors_out(filled: Path) -> None:
    with RunStore.open(filled) as store:
        finished = store.finished_keys()
    arms_and_numbers = [(arm, n) for arm in (1, 2) for n in range(40)]
    assert finished == {
        f"{arm}-{n}" for arm, n in arms_and_numbers if OUTCOMES[(3 * n + arm) % 4] != "error"
    }


def test_records_and_sums_agree(filled: Path) -> None:
    with RunStore.open(filled) as store:
        from_records = aggregate(store.records(), recipe="a recipe")
        from_sums = MeasuredTable.from_store(store).cells
    assert list(from_sums) == from_records
    assert len(from_records) == 4


def test_records_come_in_a_fixed_order(tmp_path: Path) -> None:
    numbers = list(range(30))
    orders: list[list[tuple[str, str]]] = []
    for seed in (1, 2):
        random.Random(seed).shuffle(numbers)
        path = tmp_path / f"{seed}.sqlite"
        with RunStore.create(path) as store:
            fill(store, 0)
            store.add_questions(
                [(f"q{n}", "task", "math-oe", "g", None, f"{n}?", "4") for n in numbers]
            )
            store.add_arm(ARM)
            for n in numbers:
                store.add(sample(n))
        with RunStore.open(path) as store:
            orders.append([(r.question_id, r.policy) for r in store.records()])
    assert orders[0] == orders[1]
    assert len(orders[0]) == 30


@dataclass(frozen=True)
class NothingIsRight:
    """A grader of a later version that finds every answer wrong."""

    name: str = "number"
    version: int = 2
    is_slow: bool = False
    runs_code: bool = False

    def check_gold(self, gold: str) -> str | None:
        return None

    def grade(self, answer: str, gold: str) -> Grade:
        return Grade(False, f"{answer} is not {gold}")


def test_grading_again_replaces_the_scores_and_asks_nothing(filled: Path) -> None:
    with RunStore.create(filled) as store:
        n_graded = store.rescore("task1", NothingIsRight())
    with RunStore.open(filled) as store:
        cells = {(c.task, c.policy): c for c in MeasuredTable.from_store(store).cells}
        records = list(store.records())
    assert n_graded == sum(c.n for c in cells.values() if c.task == "task1") == 30
    assert len(records) == 80
    for policy in ("direct", "reasoning@64"):
        assert (cells["task1", policy].n_correct, cells["task1", policy].n_error) == (0, 5)
        assert cells["task0", policy].n_correct == 5
    with RunStore.create(filled) as store:
        store.rescore("task1", get_grader("number"))
    with RunStore.open(filled) as store:
        assert sum(row["n_correct"] for row in store.cell_sums() if row["task"] == "task1") == 30


def test_grading_again_leaves_cut_answers_cut(path: Path) -> None:
    with RunStore.create(path) as store:
        fill(store, 2)
        store.add(
            StoredSample(
                *("1-0", 1, "q0", 0, None),
                Completion("#### 4", FinishReason.LENGTH, Usage(1, 1), 0.1),
                *(Judgement(Outcome.CUT), ("number", 1)),
            )
        )
    with RunStore.create(path) as store:
        store.rescore("task0", get_grader("number"))
    with RunStore.open(path) as store:
        assert [r.outcome for r in store.records() if r.question_id == "q0"] == [Outcome.CUT]


@pytest.mark.parametrize("text", ["half \ud800 a pair", "null \x00 byte", "emoji 🙂", "\u2028"])
def test_any_answer_can_be_stored(path: Path, text: str) -> None:
    with RunStore.create(path) as store:
        fill(store, 1)
        store.add(
            StoredSample(
                *("1-0", 1, "q0", 0, None),
                Completion(text, FinishReason.STOP, Usage(1, 1), 0.1, thinking=text),
                *(Judgement(Outcome.WRONG, text), ("number", 1)),
            )
        )
        store.add(
            StoredSample(
                *("1-1", 1, "q0", 1, None, None),
                *(Judgement(Outcome.ERROR), ("number", 1), None, ("backend-error", text)),
            )
        )
    assert n_stored(path) == 2


def test_evidence_survives_the_store(path: Path) -> None:
    given = [None, Evidence(-0.5, -1.5), Evidence(margin=0.0), Evidence(agreement=0.2)]
    with RunStore.create(path) as store:
        fill(store, len(given))
        for number, evidence in enumerate(given):
            completion = dataclasses.replace(answer(), evidence=evidence)
            store.add(dataclasses.replace(sample(number), completion=completion))
        store.add_questions([("q8", "task0", "math-oe", "q8", None, "?", "4")])
        store.add(sample(8, outcome=Outcome.ERROR))
    with RunStore.open(path) as store:
        found = {record.question_id: record.evidence for record in store.records()}
    assert found == {f"q{n}": evidence for n, evidence in enumerate(given)} | {"q8": None}


BILLED = dataclasses.replace(
    answer(),
    calls=(Call(Usage(30, 5, 3, 2)), Call(Usage(60, 0, None, 0), "a-reward-model")),
    remarks=(Remark("ceiling", "the ceiling of 9 tokens was reached"),),
)


def with_bill(path: Path) -> Path:
    with RunStore.create(path) as store:
        fill(store, 2)
        store.add(dataclasses.replace(sample(0), completion=BILLED))
    return path


def test_the_bill_of_an_answer_is_kept_and_its_remarks_are_counted(path: Path) -> None:
    with RunStore.open(with_bill(path)) as store:
        assert store.damaged() == []
        assert store.remarks() == {("model", "direct"): {"ceiling": 1}}
    with sqlite3.connect(path) as connection:
        [(key, calls)] = connection.execute("SELECT key, calls FROM bill")
    connection.close()
    assert key == "1-0"
    assert json.loads(calls) == [["", 30, 5, 3, 2], ["a-reward-model", 60, 0, None, 0]]


def test_a_bill_that_was_changed_on_the_disk_is_found_and_dropped_with_its_sample(
    path: Path,
) -> None:
    with sqlite3.connect(with_bill(path)) as connection:
        connection.execute("UPDATE bill SET calls = '[]'")
    connection.close()
    with RunStore.create(path) as store:
        assert [damage.key for damage in store.damaged()] == ["1-0"]
        store.drop(["1-0"])
        assert store.damaged() == []
        assert store.remarks() == {}


def test_traces_come_back_as_they_were(path: Path) -> None:
    ids = tuple(range(0, 300_000, 7))
    whole = dataclasses.replace(answer(), token_ids=ids)
    with RunStore.create(path) as store:
        fill(store, 2)
        store.add(dataclasses.replace(sample(0), completion=whole, trace=True))
        store.add(dataclasses.replace(sample(1), completion=whole))
    with RunStore.open(path) as store:
        trace = store.trace("1-0")
        assert trace == dataclasses.replace(whole, seconds=0.0)
        assert store.trace("1-1") is None


def imported(number: int, **changes: Any) -> ImportedOutcome:
    outcome = ImportedOutcome(
        *("model", None, "cot-single", ""),
        *(f"q{number}", f"q{number}", "gsm8k", "math-oe", "2 + 2?", "4", 0),
        *(Outcome.CORRECT, None, None, None, None, 10 * number, None, None),
    )
    return dataclasses.replace(outcome, **changes)


def test_imported_outcomes_are_cells_like_any_other(path: Path) -> None:
    outcomes = [imported(n) for n in range(5)]
    with RunStore.create(path) as store:
        assert store.import_outcomes(outcomes, {"file": "a.jsonl"}) == 5
        assert store.import_outcomes(outcomes, {"file": "a.jsonl"}) == 0
        unknown = imported(9, completion_tokens=None, policy="direct")
        assert store.import_outcomes([unknown], {"file": "b.jsonl"}) == 1
        assert store.get_meta("imported") == [{"file": "a.jsonl"}, {"file": "b.jsonl"}]
    with RunStore.open(path) as store:
        single, direct = MeasuredTable.from_store(store).cells
        assert store.ledger()["measurement_tokens"] == 0
    assert (single.policy, single.n, single.mean_tokens) == ("cot-single", 5, 20.0)
    assert str(single.mean_prompt_tokens) == str(direct.mean_tokens) == "nan"
    assert (single.n_timed, single.p50_seconds) == (0, None)
