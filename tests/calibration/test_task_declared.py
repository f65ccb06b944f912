"""Tasks declared in TOML: every field counts, and every mistake is named before anything runs."""

import json
from pathlib import Path

import pytest

from calibration import ColumnMapping, Task, load_tasks
from policies import DataFileError, InvalidInputError, UnknownNameError

ROWS = [
    {"frage": "2+2?", "antwort": "4", "kapitel": "1", "stufe": 2, "hinweis": "plus {x}"},
    {"frage": "2*3?", "antwort": "6", "kapitel": "1", "stufe": 3, "hinweis": "times"},
]
COLUMNS = '[columns]\nprompt = "frage"\ngold = "antwort"\n'


def declare(folder: Path, toml: str, rows: list[dict[str, object]] | None = None) -> Path:
    data = folder / "data"
    data.mkdir(exist_ok=True)
    lines = [json.dumps(row) for row in (ROWS if rows is None else rows)]
    (data / "q.jsonl").write_text("\n".join(lines), "utf-8")
    path = folder / "mine.toml"
    path.write_text(toml, "utf-8")
    return path


def load(path: Path, columns: ColumnMapping | None = None, limit: int | None = None) -> Task:
    [task] = load_tasks([str(path)], limit=limit, seed=0, columns=columns)
    return task


def test_every_field_counts(tmp_path: Path) -> None:
    path = declare(
        tmp_path,
        'name = "my-task"\ndata = "data/q.jsonl"\ngrader = "exact"\ntask_type = "my-type"\n'
        'version = 3\nsource = "a book"\nlicence = "CC0-1.0"\ninstruction = "Be brief."\n'
        + COLUMNS
        + 'group = "kapitel"\nlevel = "stufe"\n',
    )
    task = load(path)
    assert (task.name, task.grader, task.task_type) == ("my-task", "exact", "my-type")
    assert (task.version, task.source, task.licence) == (3, "a book", "CC0-1.0")
    assert {(q.prompt, q.gold, q.group, q.level) for q in task.questions} == {
        ("2+2?\nBe brief.", "4", "1", 2),
        ("2*3?\nBe brief.", "6", "1", 3),
    }


def test_data_are_found_beside_the_toml_file_wherever_the_program_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = declare(tmp_path, 'name = "t"\ndata = "data/q.jsonl"\n' + COLUMNS)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert len(load(path).questions) == 2
    absolute = declare(tmp_path, f"name = 't'\ndata = '{tmp_path}/data/q.jsonl'\n" + COLUMNS)
    assert len(load(absolute).questions) == 2


def test_a_template_says_the_whole_prompt(tmp_path: Path) -> None:
    path = declare(
        tmp_path,
        'name = "t"\ndata = "data/q.jsonl"\nprompt = \'Hint: {hinweis}. {frage} \\boxed{}\'\n'
        '[columns]\ngold = "antwort"\n',
    )
    assert {q.prompt for q in load(path).questions} == {
        r"Hint: plus {x}. 2+2? \boxed{}",
        r"Hint: times. 2*3? \boxed{}",
    }


def test_options_are_lettered_where_the_template_puts_them(tmp_path: Path) -> None:
    path = declare(
        tmp_path,
        'name = "t"\ndata = "data/q.jsonl"\nprompt = "{options}\\n{question} Letter?"\n',
        [{"question": "red?", "options": ["yes", "no"], "gold": "no"}],
    )
    task = load(path)
    assert [(q.prompt, q.gold) for q in task.questions] == [("A) yes\nB) no\nred? Letter?", "B")]
    assert task.grader == "choice"


def test_without_instruction_or_template_the_usual_instruction_is_added(tmp_path: Path) -> None:
    path = declare(tmp_path, 'name = "t"\ndata = "data/q.jsonl"\n' + COLUMNS)
    assert all("\\boxed{}" in q.prompt for q in load(path).questions)
    silent = declare(tmp_path, 'name = "t"\ndata = "data/q.jsonl"\ninstruction = ""\n' + COLUMNS)
    assert {q.prompt for q in load(silent).questions} == {"2+2?", "2*3?"}


def test_what_the_caller_says_counts_before_the_file(tmp_path: Path) -> None:
    path = declare(tmp_path, 'name = "t"\ndata = "data/q.jsonl"\ngrader = "number"\n' + COLUMNS)
    task = load(path, ColumnMapping(grader="exact", prompt="hinweis"))
    assert task.grader == "exact"
    assert any(q.prompt.startswith("times") for q in task.questions)


def test_the_name_and_not_the_file_identifies_questions(tmp_path: Path) -> None:
    path = declare(tmp_path, 'name = "t"\ndata = "data/q.jsonl"\n' + COLUMNS)
    ids = {q.id for q in load(path).questions}
    (tmp_path / "data" / "q.jsonl").rename(tmp_path / "data" / "other.jsonl")
    path.write_text('name = "t"\ndata = "data/other.jsonl"\n' + COLUMNS)
    assert {q.id for q in load(path).questions} == ids
    path.write_text('name = "u"\ndata = "data/other.jsonl"\n' + COLUMNS)
    assert not ids & {q.id for q in load(path).questions}


GOOD = 'name = "t"\ndata = "data/q.jsonl"\n'


@pytest.mark.parametrize(
    ("toml", "problems"),
    [
        ('data = "q.jsonl"', ["name: Field required"]),
        ("", ["name: Field required", "data: Field required"]),
        (GOOD + "colour = 1", ["colour: Extra inputs are not permitted"]),
        (GOOD + '[columns]\nanswer = "x"', ["columns.answer: Extra inputs are not permitted"]),
        (GOOD + "version = 0\nsource = 3", ["version: ", "source: "]),
        ('name = "a b"\ndata = "q"', ["name: "]),
        ('name = ""\ndata = ""', ["name: ", "data: "]),
        (GOOD + 'instruction = "x"\nprompt = "{frage}"', ["both prompt and instruction"]),
        (GOOD + 'prompt = "no column"', ["names no column"]),
        (GOOD + 'prompt = "{frage"', ["stray '{'"]),
        (GOOD + 'task_type = "Math OE"', ["'Math OE' is not a name"]),
        ("name = t", ["not TOML"]),
        (GOOD + 'instruction = "\\boxed{}"', ["instruction holds a control character"]),
        (GOOD + 'prompt = "{frage} \\boxed{}"', ["prompt holds a control character"]),
        (GOOD + 'instruction = "\\quad"', ["not TOML"]),
    ],
)
def test_a_wrong_declaration_is_refused(tmp_path: Path, toml: str, problems: list[str]) -> None:
    path = declare(tmp_path, toml)
    with pytest.raises(DataFileError) as caught:
        load(path)
    assert caught.value.path == path
    assert caught.value.hint
    for problem in problems:
        assert problem in caught.value.message


def test_a_declaration_that_is_no_utf8_or_not_there_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.toml"
    with pytest.raises(DataFileError, match="no such file"):
        load(path)
    path.write_bytes(b'name = "M\xfcller"')
    with pytest.raises(DataFileError, match="not UTF-8"):
        load(path)


def test_missing_data_are_named(tmp_path: Path) -> None:
    path = declare(tmp_path, 'name = "t"\ndata = "none.jsonl"\n')
    with pytest.raises(DataFileError, match="no such file") as caught:
        load(path)
    assert caught.value.path == tmp_path / "none.jsonl"


@pytest.mark.parametrize(
    ("prompt", "problem"),
    [
        ("{frage} {nothing}", "names 'nothing', which the file lacks"),
        ("{frage} {antwort}", "shows 'antwort', the column with the right answers"),
    ],
)
def test_a_template_that_does_not_fit_the_data_is_refused(
    tmp_path: Path, prompt: str, problem: str
) -> None:
    path = declare(tmp_path, GOOD + f'prompt = "{prompt}"\n' + COLUMNS)
    with pytest.raises(InvalidInputError, match=problem):
        load(path)


def test_a_template_that_hides_the_options_is_refused(tmp_path: Path) -> None:
    row: dict[str, object] = {"question": "red?", "options": ["yes", "no"], "gold": "no"}
    path = declare(tmp_path, GOOD + 'prompt = "{question}"', [row])
    with pytest.raises(InvalidInputError, match="does not show 'options'"):
        load(path)


def test_an_empty_cell_of_a_template_is_located(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"q": "a?", "h": "x", "gold": "1"}, {"q": "b?", "gold": "2"}]
    path = declare(tmp_path, GOOD + 'prompt = "{q} {h}"', rows)
    with pytest.raises(DataFileError, match="column 'h' is empty") as caught:
        load(path)
    assert caught.value.line == 2


def test_a_level_that_is_no_whole_number_is_located(tmp_path: Path) -> None:
    path = declare(tmp_path, GOOD + COLUMNS + 'level = "hinweis"\n')
    with pytest.raises(DataFileError, match="expected a whole number") as caught:
        load(path)
    assert caught.value.line == 1


def test_an_unknown_grader_is_refused(tmp_path: Path) -> None:
    path = declare(tmp_path, GOOD + 'grader = "exat"\n' + COLUMNS)
    with pytest.raises(UnknownNameError, match="exact"):
        load(path)
