"""Tasks from files: columns, options, and errors that say where and what to do."""

import csv
import json
import logging
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from calibration import ColumnMapping, Task, load_tasks
from calibration.graders import get_grader, parse_number
from policies import DataFileError, InvalidInputError, UnknownNameError

BENCHMARKS = Path("../shared/data/benchmarks")
PLAIN = ColumnMapping(instruction="")


def write_jsonl(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def load(path: Path, columns: ColumnMapping = PLAIN, limit: int | None = None) -> Task:
    [task] = load_tasks([str(path)], limit=limit, seed=0, columns=columns)
    return task


def load_error(path: Path, columns: ColumnMapping = PLAIN) -> DataFileError:
    with pytest.raises(DataFileError) as caught:
        load(path, columns)
    error = caught.value
    assert error.path == path
    assert str(path) in error.message
    assert error.hint
    assert error.line is None or f"{path}:{error.line}: " in error.message
    return error


def by_prompt(task: Task) -> dict[str, str]:
    return {question.prompt: question.gold for question in task.questions}


@pytest.mark.parametrize("prompt", ["prompt", "question", "problem", "input", "query"])
@pytest.mark.parametrize("gold", ["gold", "answer", "target", "label", "solution"])
def test_usual_column_names_are_found(tmp_path: Path, prompt: str, gold: str) -> None:
    path = write_jsonl(tmp_path / "mine.jsonl", {"n": 1, prompt: "2+2?", gold: 4})
    task = load(path)
    assert (task.name, by_prompt(task)) == ("mine", {"2+2?": "4"})


def test_columns_can_be_named(tmp_path: Path) -> None:
    path = write_jsonl(
        tmp_path / "mine.jsonl",
        {"question": "no", "answer": "no", "frage": "2+2?", "lösung": "4", "quelle": "a"},
        {"question": "no", "answer": "no", "frage": "2+3?", "lösung": "5", "quelle": "a"},
    )
    columns = ColumnMapping(prompt="frage", gold="lösung", group="quelle", instruction="")
    task = load(path, columns)
    assert by_prompt(task) == {"2+2?": "4", "2+3?": "5"}
    assert {question.group for question in task.questions} == {"a"}


def test_the_three_formats_give_the_same_questions(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = [
        {"question": 'a, b\nor "c"?', "answer": "ü"},
        {"question": "2+2?", "answer": "4"},
    ]
    write_jsonl(tmp_path / "same.jsonl", *rows)
    with (tmp_path / "same.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["question", "answer"])
        writer.writeheader()
        writer.writerows(rows)
    parquet.write_table(arrow.Table.from_pylist(rows), tmp_path / "same.parquet")
    tasks = [load(tmp_path / f"same.{suffix}") for suffix in ("jsonl", "csv", "parquet")]
    assert by_prompt(tasks[0]) == {row["question"]: row["answer"] for row in rows}
    assert tasks[0] == tasks[1] == tasks[2]


def test_options_are_listed_and_the_gold_text_becomes_its_letter(tmp_path: Path) -> None:
    options = ["red", "green", "blue"]
    path = write_jsonl(
        tmp_path / "mine.jsonl",
        {"question": "by text?", "choices": options, "answer": "green"},
        {"question": "by letter?", "choices": options, "answer": "c"},
    )
    task = load(path)
    assert by_prompt(task) == {
        "by text?\nA) red\nB) green\nC) blue": "B",
        "by letter?\nA) red\nB) green\nC) blue": "C",
    }
    assert (task.grader, task.task_type) == ("choice", "general-mc")


def test_options_that_carry_their_letters_are_not_lettered_twice(tmp_path: Path) -> None:
    row = {"question": "x?", "options": ["A)5", "B) 6", "C)7"], "gold": "B"}
    assert by_prompt(load(write_jsonl(tmp_path / "m.jsonl", row))) == {"x?\nA) 5\nB) 6\nC) 7": "B"}


def test_options_in_csv_are_a_json_list(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text('question,options,gold\nx?,"[""yes"", ""no""]",no\n', "utf-8")
    assert by_prompt(load(path)) == {"x?\nA) yes\nB) no": "B"}


def test_options_that_only_later_rows_have_are_not_lost(tmp_path: Path) -> None:
    path = write_jsonl(
        tmp_path / "mine.jsonl",
        {"question": "which letter is first?", "gold": "A"},
        {"question": "x?", "options": ["yes", "no"], "gold": "no"},
    )
    assert "x?\nA) yes\nB) no" in by_prompt(load(path))


@pytest.mark.parametrize(
    ("golds", "grader", "task_type"),
    [
        (["1", "2.5", "1,000"], "number", "math-oe"),
        (["1", "two"], "exact", "general-oe"),
        ([True, False], "exact", "general-oe"),
    ],
)
def test_the_grader_follows_from_the_gold_answers(
    tmp_path: Path, golds: list[Any], grader: str, task_type: str
) -> None:
    rows = [{"prompt": f"{n}?", "gold": gold} for n, gold in enumerate(golds)]
    task = load(write_jsonl(tmp_path / "mine.jsonl", *rows))
    assert (task.grader, task.task_type) == (grader, task_type)


def test_task_type_and_grader_can_be_given(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "mine.jsonl", {"prompt": "x?", "gold": "1"})
    task = load(path, ColumnMapping(task_type="my-own", grader="exact"))
    assert (task.grader, task.task_type) == ("exact", "my-own")


def test_the_instruction_is_appended_and_can_be_left_out(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "mine.jsonl", {"prompt": "x?", "gold": "1"})
    assert "\\boxed{}" in load(path, ColumnMapping()).questions[0].prompt
    assert load(path).questions[0].prompt == "x?"
    assert load(path, ColumnMapping(instruction="Be brief.")).questions[0].prompt == (
        "x?\nBe brief."
    )


def test_a_question_without_a_group_is_a_group_of_its_own(tmp_path: Path) -> None:
    path = write_jsonl(
        tmp_path / "mine.jsonl",
        {"prompt": "a?", "gold": "1", "group": "g"},
        {"prompt": "b?", "gold": "1", "group": None},
        {"prompt": "c?", "gold": "1"},
    )
    groups = {question.prompt: question.group for question in load(path).questions}
    ids = {question.prompt: question.id for question in load(path).questions}
    assert groups == {"a?": "g", "b?": ids["b?"], "c?": ids["c?"]}


def test_duplicates_are_asked_once_and_counted_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    row = {"prompt": "a?", "gold": "1"}
    path = write_jsonl(tmp_path / "mine.jsonl", row, row, {"prompt": "b?", "gold": "1"}, row)
    with caplog.at_level(logging.INFO, logger="thinkroute.calibration"):
        assert len(load(path).questions) == 2
    assert "2 questions are there twice" in caplog.text


def test_byte_order_mark_blank_lines_and_windows_line_ends_are_read(tmp_path: Path) -> None:
    lines = b'\xef\xbb\xbf{"prompt": "a?", "gold": 1}\r\n\r\n{"prompt": "b?", "gold": 2}'
    (tmp_path / "m.jsonl").write_bytes(lines)
    (tmp_path / "m.csv").write_bytes(b"\xef\xbb\xbfprompt,gold\r\na?,1\r\n\r\nb?,2\r\n")
    for name in ("m.jsonl", "m.csv"):
        assert by_prompt(load(tmp_path / name)) == {"a?": "1", "b?": "2"}


def test_a_file_of_an_unknown_type_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.xlsx").write_bytes(b"PK")
    error = load_error(tmp_path / "m.xlsx")
    assert ".xlsx" in error.message
    assert ".jsonl" in error.hint


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert "no such file" in load_error(tmp_path / "none.jsonl").message
    (tmp_path / "folder.csv").mkdir()
    assert "a folder, expected a file" in load_error(tmp_path / "folder.csv").message


@pytest.mark.parametrize(
    ("name", "content"), [("m.jsonl", ""), ("m.jsonl", "\n \n"), ("m.csv", ""), ("m.csv", "a,b\n")]
)
def test_an_empty_file_is_refused(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    assert "no questions" in load_error(tmp_path / name).message


GOOD_LINE = '{"prompt": "a?", "gold": "A"}'


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('{"prompt": "a?", "gold"', "not JSON"),
        ("not json", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ('{"prompt": "a?", "gold": ' + "9" * 5000 + "}", "not JSON"),
        ('["a?", "1"]', "expected a JSON object, found list"),
        ("null", "expected a JSON object, found NoneType"),
        ('{"prompt": "a?"}', "column 'gold' is empty"),
        ('{"prompt": "a?", "gold": null}', "column 'gold' is empty"),
        ('{"prompt": "a?", "gold": NaN}', "column 'gold' is empty"),
        ('{"prompt": " ", "gold": "1"}', "column 'prompt' is empty"),
        ('{"prompt": "a?", "gold": ["1"]}', "column 'gold' holds list"),
        ('{"prompt": [{"role": "user"}], "gold": "1"}', "column 'prompt' holds list"),
        ('{"prompt": "a?", "gold": {"text": "1"}}', "column 'gold' holds dict"),
        ('{"prompt": "\\ud800", "gold": "1"}', "surrogate"),
        ('{"prompt": "a?", "gold": "1", "options": ["1"]}', "not a list of 2 to 26"),
        ('{"prompt": "a?", "gold": "1", "options": {"A": "1"}}', "not a list of 2 to 26"),
        ('{"prompt": "a?", "gold": "Z", "options": ["1", "2"]}', "'Z' is no option"),
        ('{"prompt": "a?", "gold": "x", "options": ["x", "x"]}', "'x' is several options"),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, line: str, problem: str) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text(f"{GOOD_LINE}\n\n{line}\n{GOOD_LINE}\n", "utf-8")
    error = load_error(path)
    assert error.line == 3
    assert problem in error.message


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("What is 1,000?,1000", "more cells than the header"),
        ("only the prompt", "column 'gold' is empty"),
        ('"a?"x,1', "not a CSV file"),
        ('"never closed,1', "not a CSV file"),
    ],
)
def test_a_broken_csv_row_is_named(tmp_path: Path, row: str, problem: str) -> None:
    path = tmp_path / "m.csv"
    path.write_text(f'prompt,gold\n"two\nlines",1\n{row}\n', "utf-8")
    error = load_error(path)
    assert error.line == 4
    assert problem in error.message


def test_bytes_that_are_no_utf8_are_located(tmp_path: Path) -> None:
    for name in ("m.jsonl", "m.csv"):
        (tmp_path / name).write_bytes(b'prompt,gold\n{"a": 1}\nM\xfcller,1\n')
        error = load_error(tmp_path / name)
        assert error.line == 3
        assert "UTF-8" in error.message


def test_a_broken_parquet_file_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    for content in (b"", b"PAR1", b"PAR1" + b"\x00" * 64 + b"PAR1"):
        (tmp_path / "m.parquet").write_bytes(content)
        assert "not a Parquet file" in load_error(tmp_path / "m.parquet").message


def test_a_missing_column_is_named_with_the_ones_there(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "m.jsonl", {"text": "a?", "gold": 1})
    error = load_error(path)
    assert "a column for the prompt" in error.message
    assert "text, gold" in error.hint
    assert "--prompt-column" in error.hint
    error = load_error(path, ColumnMapping(prompt="text", options="choices"))
    assert "'choices'" in error.message
    assert "--options-column" in error.hint


@pytest.mark.parametrize(("grader", "gold"), [("number", "twelve"), ("choice", "yes")])
def test_a_gold_answer_that_no_answer_could_match_is_refused(
    tmp_path: Path, grader: str, gold: str
) -> None:
    rows = [{"prompt": "a?", "gold": "7" if grader == "number" else "B"}]
    path = write_jsonl(tmp_path / "m.jsonl", *rows, {"prompt": "b?", "gold": gold})
    error = load_error(path, ColumnMapping(grader=grader))
    assert (error.line, repr(gold) in error.message) == (2, True)


def test_an_unknown_grader_is_refused_before_anything_is_asked(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "m.jsonl", {"prompt": "a?", "gold": "1"})
    with pytest.raises(UnknownNameError, match="number"):
        load(path, ColumnMapping(grader="numbr"))


def test_an_unknown_task_lists_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match=r"did you mean 'pocket-math-oe'") as caught:
        load_tasks(["pocket-mathoe"], limit=1, seed=0)
    assert caught.value.code == "unknown-task"


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_below_one_is_refused(limit: int) -> None:
    with pytest.raises(InvalidInputError, match=f"limit is {limit}"):
        load_tasks(["pocket"], limit=limit, seed=0)


def test_a_task_named_twice_is_loaded_once() -> None:
    names = [t.name for t in load_tasks(["pocket-math-mc", "pocket", "pocket"], limit=1, seed=0)]
    assert names == ["pocket-math-mc", "pocket-math-oe", "pocket-general-oe", "pocket-general-mc"]


@pytest.mark.parametrize("name", ["pocket-math-oe", "pocket-general-mc"])
def test_raising_the_limit_of_a_pocket_task_keeps_its_questions(name: str) -> None:
    [small] = load_tasks([name], limit=10, seed=3)
    [large] = load_tasks([name], limit=40, seed=3)
    [other] = load_tasks([name], limit=10, seed=4)
    assert large.questions[:10] == small.questions
    assert set(other.questions) != set(small.questions)


def test_a_level_column_is_read_where_it_is_named(tmp_path: Path) -> None:
    row = {"prompt": "a?", "gold": "1", "level": "4"}
    path = write_jsonl(tmp_path / "m.jsonl", row)
    assert load(path).questions[0].level is None
    named = ColumnMapping(instruction="", level="level")
    assert load(path, named).questions[0].level == 4


def test_raising_the_limit_of_a_file_keeps_its_questions(tmp_path: Path) -> None:
    rows = [{"prompt": f"{n}?", "gold": n} for n in range(200)]
    path = write_jsonl(tmp_path / "m.jsonl", *rows)
    tasks = [load(path, limit=limit) for limit in (1, 20, 199, 200, 1000, None)]
    assert [len(task.questions) for task in tasks] == [1, 20, 199, 200, 200, 200]
    assert all(task.questions == tasks[-1].questions[: len(task.questions)] for task in tasks)
    assert [q.prompt for q in tasks[-1].questions] != [row["prompt"] for row in rows]


def test_a_large_file_is_never_held_whole(tmp_path: Path) -> None:
    path = tmp_path / "large.jsonl"
    with path.open("w") as file:
        for n in range(2_000):
            file.write(json.dumps({"prompt": f"{n} " + "x" * 3000, "gold": n}) + "\n")
    tracemalloc.start()
    try:
        task = load(path, limit=10)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(task.questions) == 10
    assert peak < path.stat().st_size / 4


CELL = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=40
).filter(str.strip)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pairs=st.dictionaries(CELL, CELL, min_size=1, max_size=8))
def test_what_is_written_as_jsonl_is_loaded(tmp_path: Path, pairs: dict[str, str]) -> None:
    path = tmp_path / "round.jsonl"
    write_jsonl(path, *({"prompt": prompt, "gold": gold} for prompt, gold in pairs.items()))
    loaded = {(question.prompt, question.gold) for question in load(path).questions}
    assert loaded == {(prompt.strip(), gold.strip()) for prompt, gold in pairs.items()}


def benchmark(name: str) -> Path:
    path = BENCHMARKS / f"{name}.parquet"
    if not path.exists():
        pytest.skip(f"the benchmark data are not beside the repository ({path})")
    pytest.importorskip("pyarrow")
    return path


def test_gsm8k_loads_with_numbers_as_gold_answers() -> None:
    task = load(benchmark("gsm8k_test"))
    assert (len(task.questions), task.grader, task.task_type) == (1319, "number", "math-oe")
    assert all(parse_number(question.gold) is not None for question in task.questions)


@pytest.mark.parametrize(
    ("name", "n_questions", "grader"),
    [
        ("aqua_test", 254, "choice"),
        ("mmlu", 15_740, "choice"),
        ("arc_easy_test", 2376, "exact"),
        ("boolq_test", 3270, "exact"),
        ("math500", 500, "exact"),
    ],
)
def test_benchmarks_load_and_their_gold_answers_are_correct_answers(
    name: str, n_questions: int, grader: str
) -> None:
    task = load(benchmark(name))
    assert (len(task.questions), task.grader) == (n_questions, grader)
    judge = get_grader(grader)
    missed = [
        question.gold
        for question in task.questions
        if not judge.grade(f"So \\boxed{{{question.gold}}}.", question.gold).is_correct
    ]
    assert missed == []
