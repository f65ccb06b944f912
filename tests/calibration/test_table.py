"""Measured tables: what is saved is loaded, and what is not a table is refused by name."""

import json
import random
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from calibration import Cell, MeasuredTable, Outcome, OutcomeRecord, RunStore, aggregate
from calibration._store import ArmRow, StoredSample
from calibration.graders import Judgement
from policies import (
    ArtifactCorruptError,
    ArtifactTooNewError,
    Completion,
    FinishReason,
    StoreError,
    Usage,
)

GOLDEN = Path(__file__).parents[1] / "golden" / "calibration" / "table_v2"
GOLDEN_V1 = GOLDEN.with_name("table_v1")


def record(number: int, outcome: Outcome, **fields: Any) -> OutcomeRecord:
    is_error = outcome is Outcome.ERROR
    defaults: dict[str, Any] = {
        "question_id": f"q{number}",
        "group": f"q{number}",
        "task": "sums",
        "task_type": "math-oe",
        "prompt": f"{number}?",
        "model": "pocket-s",
        "size": 500_000,
        "policy": "direct",
        "outcome": outcome,
        "prompt_tokens": 0 if is_error else 20 + number,
        "completion_tokens": 0 if is_error else 4 * number,
        "flops": None if is_error else 1e6 * number,
        "seconds": 0.0 if is_error else 0.25,
    }
    return OutcomeRecord(**(defaults | fields))


def small_table() -> MeasuredTable:
    outcomes = [Outcome.CORRECT, Outcome.WRONG, Outcome.CUT, Outcome.ERROR, Outcome.CORRECT]
    records = [record(n, outcome) for n, outcome in enumerate(outcomes)]
    records += [replace(r, policy="reasoning@max", flops=None) for r in records]
    records += [record(9, Outcome.ERROR, task='odd, "name"', size=None, model="unknown")]
    return MeasuredTable(
        tuple(aggregate(records, recipe="ift:reasoning 50:50")), {"seed": 0, "tasks": ["sums"]}
    )


def text_of(table: MeasuredTable) -> str:
    """Return a form in which NaN equals NaN."""
    return repr([asdict(cell) for cell in table.cells]) + json.dumps(dict(table.provenance))


def test_the_table_of_version_2_is_written_and_read_as_ever(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    folder = GOLDEN if request.config.getoption("--update-golden") else tmp_path
    assert small_table().save(folder) == folder / "table.csv"
    for name in ("table.csv", "timings.csv", "table.json"):
        assert (folder / name).read_bytes() == (GOLDEN / name).read_bytes()
    assert text_of(MeasuredTable.load(GOLDEN)) == text_of(small_table())


def test_a_table_of_version_1_is_still_read() -> None:
    times = {"n_timed": 0, "p50_seconds": None, "p95_seconds": None}
    cells = tuple(replace(cell, **times) for cell in small_table().cells)
    old = MeasuredTable.load(GOLDEN_V1)
    assert text_of(old) == text_of(replace(small_table(), cells=cells))


def test_cells_hold_the_counts_and_means() -> None:
    unknown, direct, reasoning = small_table().cells
    assert (direct.n, direct.n_correct, direct.n_cut, direct.n_error) == (4, 2, 1, 1)
    assert direct.accuracy == 0.5
    # Wilson, 2 of 4, from statsmodels.stats.proportion.proportion_confint.
    assert direct.ci_low == pytest.approx(0.150039, abs=1e-6)
    assert direct.ci_high == pytest.approx(0.849961, abs=1e-6)
    assert (direct.mean_prompt_tokens, direct.mean_tokens) == (21.75, 7.0)
    assert (direct.mean_flops, direct.mean_seconds) == (1.75e6, 0.25)
    assert reasoning.mean_flops is None
    assert (unknown.n, unknown.n_error, unknown.size) == (0, 1, None)
    assert str(unknown.accuracy) == "nan"


def test_a_table_is_found_by_folder_csv_or_manifest(tmp_path: Path) -> None:
    small_table().save(tmp_path / "deep" / "run")
    for place in ("", "table.csv", "table.json"):
        loaded = MeasuredTable.load(tmp_path / "deep" / "run" / place)
        assert text_of(loaded) == text_of(small_table())


WORD = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=12)
COUNT = st.integers(0, 10**9)
NUMBER = st.floats()
CELLS = st.builds(
    Cell,
    task=WORD,
    task_type=WORD,
    model=WORD,
    size=st.none() | st.integers(1, 10**13),
    policy=WORD,
    recipe=WORD,
    n=COUNT,
    n_correct=COUNT,
    n_cut=COUNT,
    n_error=COUNT,
    accuracy=NUMBER,
    ci_low=NUMBER,
    ci_high=NUMBER,
    mean_prompt_tokens=NUMBER,
    mean_tokens=NUMBER,
    mean_flops=st.none() | NUMBER,
    mean_seconds=NUMBER,
    interval=st.sampled_from(["wilson", "clustered", "anytime"]),
    n_replayed=COUNT,
    mean_score=st.none() | NUMBER,
    mean_usd=st.none() | NUMBER,
    n_timed=COUNT,
    p50_seconds=st.none() | NUMBER,
    p95_seconds=st.none() | NUMBER,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cells=st.lists(CELLS, max_size=4), provenance=st.dictionaries(WORD, st.none() | WORD))
def test_any_table_is_read_back_exactly(
    tmp_path: Path, cells: list[Cell], provenance: dict[str, str | None]
) -> None:
    table = MeasuredTable(tuple(cells), provenance)
    table.save(tmp_path)
    assert text_of(MeasuredTable.load(tmp_path)) == text_of(table)


def test_no_changed_byte_of_the_cells_goes_unnoticed(tmp_path: Path) -> None:
    path = small_table().save(tmp_path)
    whole = path.read_bytes()
    for position in range(len(whole)):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        with pytest.raises(ArtifactCorruptError, match=r"table\.csv") as caught:
            MeasuredTable.load(tmp_path)
        assert "rebuild" in caught.value.hint
    path.write_bytes(whole[:-1])
    with pytest.raises(ArtifactCorruptError):
        MeasuredTable.load(tmp_path)


def attempt(folder: Path) -> MeasuredTable | ArtifactCorruptError | ArtifactTooNewError:
    try:
        return MeasuredTable.load(folder)
    except (ArtifactCorruptError, ArtifactTooNewError) as error:
        return error


def test_a_damaged_manifest_is_refused_or_reads_the_same_cells(tmp_path: Path) -> None:
    small_table().save(tmp_path)
    path = tmp_path / "table.json"
    whole, rng = path.read_bytes(), random.Random(3)
    for _ in range(300):
        position = rng.randrange(len(whole))
        changed = bytes([rng.randrange(256)])
        path.write_bytes(whole[:position] + changed + whole[position + 1 :])
        loaded = attempt(tmp_path)
        if isinstance(loaded, MeasuredTable):
            assert repr(loaded.cells) == repr(small_table().cells)
        else:
            assert str(tmp_path) in str(loaded)
            assert loaded.hint


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"kind": "something else"}, "not a table manifest"),
        ({"schema_version": "1"}, "no schema version"),
        ({"schema_version": None}, "no schema version"),
        ({"provenance": None}, "no provenance"),
        ({"sha256": "0" * 64}, "not the file its manifest describes"),
    ],
)
def test_a_wrong_manifest_is_refused(
    tmp_path: Path, change: dict[str, object], problem: str
) -> None:
    small_table().save(tmp_path)
    path = tmp_path / "table.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ArtifactCorruptError, match=problem) as caught:
        MeasuredTable.load(tmp_path)
    assert caught.value.hint


def test_a_newer_table_is_refused_before_its_cells_are_read(tmp_path: Path) -> None:
    small_table().save(tmp_path)
    path = tmp_path / "table.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema_version": 3, "x": 1}))
    (tmp_path / "table.csv").unlink()
    with pytest.raises(ArtifactTooNewError, match="schema version 3") as caught:
        MeasuredTable.load(tmp_path)
    assert caught.value.hint == "upgrade thinkroute"


@pytest.mark.parametrize("missing", ["table.csv", "timings.csv", "table.json"])
def test_a_missing_member_is_named(tmp_path: Path, missing: str) -> None:
    small_table().save(tmp_path)
    (tmp_path / missing).unlink()
    with pytest.raises(ArtifactCorruptError, match=missing) as caught:
        MeasuredTable.load(tmp_path)
    assert caught.value.hint


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StoreError, match="file") as caught:
        small_table().save(tmp_path / "file" / "run")
    assert caught.value.hint


def test_saving_again_replaces_the_table_and_leaves_nothing_else(tmp_path: Path) -> None:
    small_table().save(tmp_path)
    MeasuredTable((), {"seed": 1}).save(tmp_path)
    assert MeasuredTable.load(tmp_path) == MeasuredTable((), {"seed": 1})
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "table.csv",
        "table.json",
        "timings.csv",
    ]


RECORDS = st.lists(
    st.tuples(
        st.integers(0, 5),
        st.sampled_from(list(Outcome)),
        st.sampled_from(["direct", "reasoning@8"]),
        st.sampled_from([("a", None), ("b", 10), ("c", 7)]),
        st.integers(0, 1000),
        st.none() | st.integers(0, 2**40).map(float),
    ),
    max_size=30,
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=RECORDS)
def test_records_and_stores_aggregate_alike(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[int, Outcome, str, tuple[str, int | None], int, float | None]],
) -> None:
    path = tmp_path_factory.mktemp("store") / "run.sqlite"
    with RunStore.create(path) as store:
        store.add_questions([(f"q{n}", f"t{n}", "math-oe", "g", None, "?", "4") for n in range(6)])
        for key, (number, outcome, policy, (model, size), tokens, flops) in enumerate(rows):
            arm = store.add_arm(ArmRow(model, size, policy, "how", "{}"))
            is_error = outcome is Outcome.ERROR
            completion = Completion("", FinishReason.STOP, Usage(tokens, tokens), 0.5)
            store.add(
                StoredSample(
                    *(str(key), arm, f"q{number}", 0, None, None if is_error else completion),
                    *(Judgement(outcome), ("number", 1), None if is_error else flops),
                    ("backend-timeout", "slow") if is_error else None,
                )
            )
    with RunStore.open(path) as store:
        from_sums = MeasuredTable.from_store(store).cells
        from_records = aggregate(store.records(), recipe="how")
    assert repr(list(from_sums)) == repr(from_records)
    assert sum(cell.n + cell.n_error for cell in from_sums) == len(rows)
