"""`advisor tables import`: from a file of another tool to a table of a run."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from advisor.cli.tables_import import import_table
from calibration import MeasuredTable, RunStore, store_path
from policies import DataFileError, InvalidInputError, StoreError, ThinkrouteError

GOLDEN = Path(__file__).parents[2] / "golden" / "import"
LOG = GOLDEN / "inspect_epochs.eval"
ROWS = [
    {"question_id": f"q{i}", "model": model, "mode": mode, "correct": int(i % 2 == 0)}
    | {"task": "sums", "task_type": "math-oe", "completion_tokens": 10 * (i + 1)}
    for i in range(4)
    for model in ("a", "b")
    for mode in ("direct", "think")
]
Import = Callable[..., Result]


@pytest.fixture
def run() -> Import:
    """Run the command alone; errors on purpose come out as they are."""
    app = typer.Typer()
    app.command()(import_table)

    def call(*arguments: object) -> Result:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        if isinstance(result.exception, ThinkrouteError):
            raise result.exception
        return result

    return call


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "mine.jsonl"
    rows = [*ROWS, ROWS[0] | {"question_id": "q9", "correct": 0.5}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_how_questions_are_grouped_is_told(run: Import, table: Path, tmp_path: Path) -> None:
    result = run(table, "--out", tmp_path / "run")
    assert result.exit_code == 0
    assert "note: every question id is a group of its own" in result.stderr


def test_json_counts_rows_questions_arms_and_what_was_skipped(
    run: Import, table: Path, tmp_path: Path
) -> None:
    result = run(table, "--format", "auto", "--out", tmp_path / "run", "--json")
    document = json.loads(result.stdout)
    assert result.exit_code == 0
    assert set(document) == {"schema_version", "rows", "questions", "arms", "skipped"}
    assert (document["rows"], document["questions"], document["arms"]) == (16, 4, 4)
    [skipped] = document["skipped"]
    assert (skipped["count"], skipped["example"]) == (1, f"{table}:17")
    assert "fraction" in skipped["reason"]


def test_importing_again_adds_nothing(run: Import, table: Path, tmp_path: Path) -> None:
    arguments = (table, "--out", tmp_path / "run", "--json")
    first, again = (json.loads(run(*arguments).stdout) for _ in range(2))
    assert (first["rows"], again["rows"]) == (16, 0)
    with RunStore.open(store_path(tmp_path / "run")) as store:
        assert len(list(store.records())) == 16


def test_the_run_has_a_table_of_its_arms(run: Import, table: Path, tmp_path: Path) -> None:
    run(table, "--out", tmp_path / "run")
    cells = MeasuredTable.load(tmp_path / "run").cells
    assert {(cell.model, cell.policy) for cell in cells} == {
        (model, policy) for model in "ab" for policy in ("direct", "reasoning@max")
    }
    assert {(cell.n, cell.n_correct, cell.mean_tokens) for cell in cells} == {(4, 2, 25.0)}


def test_files_of_several_tools_fill_one_run(run: Import, table: Path, tmp_path: Path) -> None:
    run(table, "--out", tmp_path / "run")
    document = json.loads(run(LOG, "--out", tmp_path / "run", "--json").stdout)
    assert (document["rows"], document["questions"], document["arms"]) == (12, 6, 1)
    with RunStore.open(store_path(tmp_path / "run")) as store:
        sources = store.get_meta("imported")
        records = list(store.records())
    assert [source["format"] for source in sources] == ["long", "inspect"]
    assert [source["file"] for source in sources] == [table.name, LOG.name]
    assert len(records) == 28
    outcomes = [record.outcome.value for record in records if record.task == "sums"]
    assert outcomes.count("error") == 2
    assert outcomes.count("cut") == 1


def test_what_the_file_left_open_is_said_on_stderr(run: Import, tmp_path: Path) -> None:
    result = run(LOG, "--out", tmp_path / "run")
    assert "'unknown': give --task-type" in result.stderr
    assert "the policy was taken to be reasoning@max" in result.stderr
    assert "share of answers with known tokens: 1.000" in result.stdout
    given = run(
        LOG, "--out", tmp_path / "two", "--task-type", "math-oe", "--policy", "reasoning@max"
    )
    assert given.stderr == ""


def test_an_option_that_had_no_effect_is_named(run: Import, table: Path, tmp_path: Path) -> None:
    result = run(table, "--out", tmp_path / "run", "--task-type", "code-oe", "--model", "c")
    assert "--task-type 'code-oe' was not used: the file says math-oe" in result.stderr
    assert "--model 'c' was not used: the file says a, b" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "error", "told"),
    [
        (("--format", "lm-eval"), DataFileError, "lm-eval misses key doc_id"),
        (("--task-type", "Not One"), InvalidInputError, "task type"),
        (("--policy", "@"), InvalidInputError, "policy"),
        (("--metric", "acc"), InvalidInputError, "one score only"),
    ],
)
def test_bad_options_are_refused_and_write_nothing(
    run: Import,
    table: Path,
    tmp_path: Path,
    arguments: tuple[str, ...],
    error: type[Exception],
    told: str,
) -> None:
    with pytest.raises(error, match=told):
        run(table, "--out", tmp_path / "run", *arguments)
    assert not (tmp_path / "run" / "table.csv").exists()


def test_a_bad_file_makes_no_run_folder(run: Import, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(DataFileError, match="no format fits"):
        run(path, "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_recorded_answers_never_join_measured_ones(
    run: Import, measured_run: Path, tmp_path: Path
) -> None:
    import shutil

    shutil.copytree(measured_run, tmp_path / "run")
    path = tmp_path / "t.jsonl"
    row: dict[str, Any] = ROWS[0] | {"model": "pocket-m"}
    path.write_text(json.dumps(row) + "\n")
    with pytest.raises(StoreError, match="other weights"):
        run(path, "--out", tmp_path / "run")


@pytest.mark.parametrize("there_before", [False, True])
def test_a_refused_file_leaves_no_run_behind(
    run: Import, tmp_path: Path, *, there_before: bool
) -> None:
    rows = tmp_path / "rows.jsonl"
    broken = [*(json.dumps(row) for row in ROWS), "{broken"]
    rows.write_text("\n".join(broken), encoding="utf-8")
    out = tmp_path / "run"
    if there_before:
        out.mkdir()
        (out / "notes.txt").write_text("mine", encoding="utf-8")
    for arguments in ((rows,), (LOG, "--metric", "nope")):
        with pytest.raises(ThinkrouteError):
            run(*arguments, "--out", out)
        assert out.exists() is there_before
    assert not there_before or [path.name for path in out.iterdir()] == ["notes.txt"]


def test_a_refused_file_leaves_an_earlier_run_as_it_was(run: Import, tmp_path: Path) -> None:
    rows, broken, out = tmp_path / "rows.jsonl", tmp_path / "broken.jsonl", tmp_path / "run"
    rows.write_text("\n".join(json.dumps(row) for row in ROWS), encoding="utf-8")
    broken.write_text(rows.read_text(encoding="utf-8") + "\n{broken", encoding="utf-8")
    run(rows, "--out", out)
    before = [(cell.model, cell.policy, cell.n) for cell in MeasuredTable.load(out).cells]
    with pytest.raises(DataFileError):
        run(broken, "--out", out)
    with RunStore.open(store_path(out)) as store:
        after = MeasuredTable.from_store(store).cells
    assert [(cell.model, cell.policy, cell.n) for cell in after] == before
