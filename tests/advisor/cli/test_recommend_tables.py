"""The user's own measurements, in every form that `advisor recommend --table` takes."""

import csv
import io
import math
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from advisor.cli._own_cells import load_own_cells
from calibration import MeasuredTable, RunStore, store_path
from calibration.statistics import wilson_interval
from policies import (
    ArtifactCorruptError,
    ArtifactTooNewError,
    DataFileError,
    StoreError,
    ThinkrouteError,
)

HEADER = "task_type,size,recipe,accuracy,n"


def written(folder: Path, *rows: str, header: str = HEADER, name: str = "mine.csv") -> Path:
    path = folder / name
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def problem(path: Path, *, task_type: str = "math-oe") -> ThinkrouteError:
    with pytest.raises(ThinkrouteError) as caught:
        load_own_cells(path, task_type=task_type)
    assert caught.value.hint
    assert "\n" not in caught.value.message
    return caught.value


def test_a_csv_of_cells_becomes_cells_with_intervals(tmp_path: Path) -> None:
    path = written(
        tmp_path, "math-oe,3B,ift,0.4,500", "math-oe,3B,reasoning,0.55,500", name="exam.csv"
    )
    ift, reasoning = load_own_cells(path, task_type="math-oe").cells
    assert (ift.task, ift.task_type, ift.size, ift.recipe) == ("exam", "math-oe", 3 * 10**9, "ift")
    assert (ift.policy, reasoning.policy) == ("direct", "reasoning@max")
    assert (ift.n, ift.n_correct, ift.accuracy) == (500, 200, 0.4)
    assert (ift.ci_low, ift.ci_high) == tuple(wilson_interval(200, 500))
    assert ift.model != reasoning.model
    assert math.isnan(ift.mean_tokens)
    assert ift.mean_flops is None


def test_optional_columns_are_read(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "math-oe,3B,direct,200,500,gsm,qwen,120,90.5,1e12",
        header="task_type,size,policy,n_correct,n,task,model,mean_prompt_tokens,mean_tokens,mean_flops",
    )
    (cell,) = load_own_cells(path, task_type="math-oe").cells
    assert (cell.task, cell.model, cell.policy, cell.recipe) == ("gsm", "qwen", "direct", "")
    assert (cell.accuracy, cell.mean_prompt_tokens, cell.mean_tokens) == (0.4, 120.0, 90.5)
    assert cell.mean_flops == 1e12


def test_two_ways_of_asking_one_model_are_one_model(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "math-oe,3B,direct,0.4,500",
        "math-oe,3B,reasoning@max,0.5,500",
        header="task_type,size,policy,accuracy,n",
    )
    assert len({cell.model for cell in load_own_cells(path, task_type="math-oe").cells}) == 1


def test_percent_are_read_and_told(tmp_path: Path) -> None:
    path = written(tmp_path, "math-oe,3B,ift,39.9,500", "math-oe,3B,reasoning,55.4,500")
    found = load_own_cells(path, task_type="math-oe")
    assert [cell.accuracy for cell in found.cells] == pytest.approx([0.399, 0.554])
    assert any("percent" in note for note in found.notes)


def test_unused_columns_are_told(tmp_path: Path) -> None:
    path = written(tmp_path, "math-oe,3B,ift,0.4,500,x", header=f"{HEADER},colour")
    assert any("colour" in note for note in load_own_cells(path, task_type="math-oe").notes)


def test_few_questions_are_told_with_their_interval(tmp_path: Path) -> None:
    path = written(tmp_path, "math-oe,3B,ift,0.4,30", "math-oe,3B,reasoning,0.55,500")
    (note,) = load_own_cells(path, task_type="math-oe").notes
    low, high = wilson_interval(12, 30)
    assert "1 of 2 cells" in note
    assert f"{100 * low:.1f}-{100 * high:.1f}%" in note
    assert load_own_cells(path, task_type="math-mc").notes == ()


@pytest.mark.parametrize(
    ("rows", "line", "words"),
    [
        (["math-oe,3B,ift,-0.1,500"], 2, "accuracy '-0.1' is impossible"),
        (["math-oe,3B,ift,0.4,500", "math-oe,3B,reasoning,140,500"], 3, "'140' is impossible"),
        (["math-oe,3B,ift,nan,500"], 2, "accuracy 'nan' is not a number"),
        (['math-oe,3B,ift,"0,4",500'], 2, "accuracy '0,4' is not a number"),
        (["math-oe,3B,ift,,500"], 2, "the accuracy is missing"),
        (["math-oe,3B,ift,0.5,1"], 2, "accuracy '0.5' is no whole number of right answers of 1"),
        (["math-oe,3B,ift,0.22,30"], 2, "accuracy '0.22' is no whole number"),
        (["math-oe,3B,ift,0.4,0"], 2, "n '0' questions"),
        (["math-oe,3B,ift,0.4,"], 2, "n '' questions"),
        (["math-oe,3B,ift,0.4,12.5"], 2, "n '12.5' is not a count"),
        (["math-oe,3X,ift,0.4,500"], 2, "model size '3X' is not a size"),
        (["math-oe,3B,idt,0.4,500"], 2, "recipe 'idt' is none"),
        (["math-oe,3B,,0.4,500"], 2, "neither recipe nor policy"),
        (["Math OE,3B,ift,0.4,500"], 2, "task type 'Math OE' is not a name"),
        (["math-oe,3B,ift,0.4"], 2, "the row has 4 values, the header 5"),
        (["math-oe,3B,ift,0.4,500", "", "math-oe,3B,ift,0.5,500"], 4, "the same cell as line 2"),
        # Percent and fractions in one column: either could be meant.
        (["math-oe,3B,ift,0.4,500", "math-oe,3B,reasoning,55.4,500"], 2, "looks like a fraction"),
        (["math-oe,3B,ift,1,500", "math-oe,3B,reasoning,55.4,500"], 2, "looks like a fraction"),
    ],
)
def test_a_bad_row_is_named_with_its_line(
    tmp_path: Path, rows: Sequence[str], line: int, words: str
) -> None:
    error = problem(written(tmp_path, *rows))
    assert isinstance(error, DataFileError)
    assert error.line == line
    assert words in error.message


def test_every_missing_column_is_named(tmp_path: Path) -> None:
    error = problem(written(tmp_path, "math-oe,0.4", header="task_type,score"))
    for name in ("size", "n", "accuracy", "recipe (or policy)"):
        assert name in error.message
    assert "score" in error.hint
    assert HEADER in error.hint


def test_different_metrics_of_one_task_are_not_compared(tmp_path: Path) -> None:
    header = f"{HEADER},task,metric"
    one = ("math-oe,3B,ift,0.4,500,exam,exact", "math-oe,3B,reasoning,0.5,500,exam,pass@4")
    error = problem(written(tmp_path, *one, header=header))
    assert "metric 'pass@4', but 'exact' in line 2" in error.message
    two = ("math-oe,3B,ift,0.4,500,exam,exact", "math-oe,3B,reasoning,0.5,500,other,f1")
    assert len(load_own_cells(written(tmp_path, *two, header=header), task_type="x").cells) == 2


def test_a_count_that_contradicts_the_accuracy_is_refused(tmp_path: Path) -> None:
    error = problem(written(tmp_path, "math-oe,3B,ift,0.4,500,250", header=f"{HEADER},n_correct"))
    assert "250 right answers of 500 are not an accuracy of 0.4" in error.message
    error = problem(
        written(tmp_path, "math-oe,3B,ift,600,500", header="task_type,size,recipe,n_correct,n")
    )
    assert "600 right answers of 500" in error.message


@pytest.mark.parametrize(
    "content", [b"", b"   \n", b"\xff\xfe\x00", b'"open', b"\x89PNG\r\n\x1a\n"]
)
def test_what_is_no_table_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "mine.csv"
    path.write_bytes(content)
    assert isinstance(problem(path), DataFileError)


def test_a_header_without_rows_is_refused(tmp_path: Path) -> None:
    assert "no row below the header" in problem(written(tmp_path)).message


def test_a_table_that_is_not_there_is_named(tmp_path: Path) -> None:
    error = problem(tmp_path / "none")
    assert isinstance(error, ArtifactCorruptError)
    assert str(tmp_path / "none") in error.message


def test_a_run_its_table_and_its_store_give_the_same_cells(
    measured_run: Path, tmp_path: Path
) -> None:
    saved = MeasuredTable.load(measured_run).cells
    for place in (measured_run, measured_run / "table.csv", measured_run / "table.json"):
        assert load_own_cells(place, task_type="math-oe").cells == saved
    with RunStore.open(store_path(measured_run)) as store:
        rebuilt = MeasuredTable.from_store(store).cells
    database = tmp_path / "copied"
    shutil.copy(store_path(measured_run), database)
    assert load_own_cells(database, task_type="math-oe").cells == rebuilt
    folder = tmp_path / "run"
    folder.mkdir()
    shutil.copy(store_path(measured_run), store_path(folder))
    found = load_own_cells(folder, task_type="math-oe")
    assert found.cells == rebuilt
    assert any("store" in note for note in found.notes)


def test_a_damaged_run_is_refused(measured_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(measured_run, run)
    manifest = run / "table.json"
    manifest.write_text(
        manifest.read_text("utf-8").replace('"schema_version": 2', '"schema_version": 99')
    )
    assert isinstance(problem(run), ArtifactTooNewError)
    manifest.write_text("{")
    assert isinstance(problem(run), ArtifactCorruptError)
    (tmp_path / "cut.sqlite").write_bytes(b"SQLite format 3\x00")
    assert isinstance(problem(tmp_path / "cut.sqlite"), StoreError)


def test_a_file_of_outcomes_is_aggregated_with_its_recipes(tmp_path: Path) -> None:
    rows = [
        f"{question},m-{recipe},{policy},{int(question % 4 < right)},3000000000,{recipe}"
        for question in range(120)
        for recipe, policy, right in (("ift", "direct", 1), ("reasoning", "reasoning@max", 3))
    ]
    path = written(tmp_path, *rows, header="question_id,model,policy,correct,size,recipe")
    found = load_own_cells(path, task_type="math-oe")
    assert {(cell.recipe, cell.accuracy, cell.n) for cell in found.cells} == {
        ("ift", 0.25, 120),
        ("reasoning", 0.75, 120),
    }
    assert {cell.task_type for cell in found.cells} == {"math-oe"}
    assert found.notes


def test_rows_of_outcomes_that_say_nothing_are_counted(tmp_path: Path) -> None:
    rows = ["1,m,direct,1", "2,m,direct,0.5", "3,m,direct,0"]
    path = written(tmp_path, *rows, header="question_id,model,policy,correct")
    notes = load_own_cells(path, task_type="math-oe").notes
    assert any("1 rows skipped" in note for note in notes)


FIELD = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=12)


@given(
    header=st.lists(
        st.one_of(st.sampled_from([*HEADER.split(","), "metric", "n_correct", "task"]), FIELD),
        max_size=7,
    ),
    rows=st.lists(
        st.lists(
            st.one_of(
                FIELD, st.sampled_from(["math-oe", "3B", "ift", "0.5", "55", "100", "1e999", "-1"])
            ),
            max_size=7,
        ),
        max_size=4,
    ),
)
def test_any_csv_gives_cells_or_one_clear_error(
    tmp_path_factory: pytest.TempPathFactory, header: list[str], rows: list[list[str]]
) -> None:
    out = io.StringIO(newline="")
    csv.writer(out).writerows([header, *rows])
    path = tmp_path_factory.mktemp("csv") / "mine.csv"
    path.write_text(out.getvalue(), encoding="utf-8", newline="")
    try:
        cells = load_own_cells(path, task_type="math-oe").cells
    except ThinkrouteError:
        return
    for cell in cells:
        assert 0 <= cell.ci_low <= cell.ci_high <= 1
        assert 0 <= cell.n_correct <= cell.n
        assert cell.n > 0
        assert 0 <= cell.accuracy <= 1
