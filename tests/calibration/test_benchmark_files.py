"""Local files of benchmarks: what `--data` may say, and the real files where they lie beside."""

import hashlib
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from calibration import Task, load_tasks
from calibration.graders import get_grader
from policies import DataFileError, InvalidInputError, UnknownNameError

BENCHMARKS = Path(__file__).parents[3] / "shared" / "data" / "benchmarks"
EXAMPLES: dict[str, Any] = json.loads(
    Path(__file__).with_name("benchmark_rows.json").read_text("utf-8")
)

# What the local files hold: name, file stems, columns that make a question.
FILES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "mmlu-misc": (("mmlu",), ("question", "options", "gold")),
    "mmlu-math": (("mmlu",), ("question", "options", "gold")),
    "mmlu-pro-math": (("mmlu_pro",), ("question", "options", "gold")),
    "winogrande": (("winogrande",), ("question", "gold")),
    "openbookqa": (("openbookqa_test",), ("question", "gold")),
    "aqua-rat": (("aqua_test",), ("question", "options", "gold")),
    "squad": (("xquad_en",), ("context", "question", "gold")),
    "ifeval": (("ifeval",), ("question", "instruction_id_list", "kwargs")),
    "gsm8k": (("gsm8k_test",), ("question", "gold")),
    "math-500": (("math500",), ("question", "gold")),
    "aime": (("aime24", "aime25"), ("question", "gold")),
    "humaneval": (("humaneval",), ("question", "test")),
    "mbpp": (("mbpp",), ("question", "test")),
}
MATH = {
    "abstract_algebra",
    "college_mathematics",
    "elementary_mathematics",
    "high_school_mathematics",
    "high_school_statistics",
}
BELONGS: dict[str, Callable[[dict[str, Any]], bool]] = {
    "mmlu-misc": lambda row: row["subject"] == "miscellaneous" and row["split"] == "test",
    "mmlu-math": lambda row: row["subject"] in MATH and row["split"] == "test",
    "mmlu-pro-math": lambda row: row["category"] == "math",
    "mbpp": lambda row: 11 <= int(row["question_id"].partition("/")[2]) <= 510,
}


def write(path: Path, name: str, n: int = 1) -> Path:
    """Write n different rows of a benchmark in the layout of the hub."""
    example: dict[str, Any] = EXAMPLES[name]["hub"]
    text = next(c for c in ("question", "problem", "context", "story") if c in example)
    rows = [example | {text: f"{number}: {example[text]}"} for number in range(n)]
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def load(names: str, *data: str | Path, limit: int | None = None) -> list[Task]:
    return load_tasks(names.split(","), limit=limit, seed=0, data=data)


def counts(tasks: list[Task]) -> dict[str, int]:
    return {task.name: len(task.questions) for task in tasks}


def test_a_file_is_enough_for_one_benchmark(tmp_path: Path) -> None:
    path = write(tmp_path / "any-name.jsonl", "gsm8k", 3)
    assert counts(load("gsm8k", path)) == {"gsm8k": 3}
    assert counts(load("gsm8k", str(path))) == {"gsm8k": 3}


def test_a_file_is_given_by_name_among_several(tmp_path: Path) -> None:
    one, two = write(tmp_path / "x.jsonl", "gsm8k", 2), write(tmp_path / "y.jsonl", "squad", 3)
    assert counts(load("gsm8k,squad", f"squad={two}", f"gsm8k={one}")) == {"gsm8k": 2, "squad": 3}


def test_a_folder_is_searched_for_the_usual_names(tmp_path: Path) -> None:
    write(tmp_path / "gsm8k_test.jsonl", "gsm8k", 2)
    write(tmp_path / "gsm8k.jsonl", "gsm8k", 5)
    write(tmp_path / "squad.jsonl", "squad", 3)
    write(tmp_path / "mmlu.jsonl", "mmlu-misc", 4)
    assert counts(load("gsm8k,squad,mmlu-misc", tmp_path)) == {
        "gsm8k": 2,
        "squad": 3,
        "mmlu-misc": 4,
    }


def test_a_file_of_its_own_counts_before_folders_and_folders_in_their_order(
    tmp_path: Path,
) -> None:
    write(tmp_path / "a" / "gsm8k.jsonl", "gsm8k", 1)
    write(tmp_path / "b" / "gsm8k.jsonl", "gsm8k", 2)
    write(tmp_path / "b" / "squad.jsonl", "squad", 3)
    own = write(tmp_path / "own.jsonl", "squad", 4)
    loaded = load("gsm8k,squad", tmp_path / "a", tmp_path / "b", f"squad={own}")
    assert counts(loaded) == {"gsm8k": 1, "squad": 4}
    assert counts(load("gsm8k,squad", f"squad={tmp_path / 'b'}", tmp_path / "b")) == {
        "gsm8k": 2,
        "squad": 3,
    }


def test_the_two_years_of_aime_are_joined(tmp_path: Path) -> None:
    first = write(tmp_path / "aime24.jsonl", "aime", 2)
    second = write(tmp_path / "aime25.jsonl", "aime", 5)
    # Two of the five are the first two again.
    assert counts(load("aime", tmp_path)) == {"aime": 5}
    assert counts(load("aime", f"aime={first}", f"aime={second}")) == {"aime": 5}
    assert counts(load("aime", first)) == {"aime": 2}
    second.unlink()
    with pytest.raises(DataFileError, match=r"no file for aime \(aime25 or"):
        load("aime", tmp_path)


def test_all_files_that_a_folder_lacks_are_named_at_once(tmp_path: Path) -> None:
    write(tmp_path / "gsm8k.jsonl", "gsm8k")
    with pytest.raises(DataFileError) as caught:
        load("math-oe,squad", tmp_path)
    message = caught.value.message
    assert "math-500 (math500 or" in message
    assert "aime (aime24 or" in message
    assert "squad (" in message
    assert "gsm8k (" not in message
    assert str(tmp_path) in message
    assert "NAME=PATH" in caught.value.hint


def test_paths_with_an_equals_sign_are_paths(tmp_path: Path) -> None:
    path = write(tmp_path / "run=1" / "q.jsonl", "gsm8k", 2)
    assert counts(load("gsm8k", str(path))) == {"gsm8k": 2}
    assert counts(load("gsm8k", f"gsm8k={path}")) == {"gsm8k": 2}


def test_a_relative_path_with_an_equals_sign_is_a_path_if_it_exists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "part=1.jsonl", "gsm8k", 2)
    monkeypatch.chdir(tmp_path)
    assert counts(load("gsm8k", "part=1.jsonl")) == {"gsm8k": 2}


@pytest.mark.parametrize(
    ("names", "value", "problem"),
    [
        ("gsm8k,squad", "{path}", "could be for any of gsm8k, squad"),
        ("gsm8k", "squad={path}", "'squad', which is not among the tasks"),
        ("pocket-math-oe", "{path}", "no benchmark is asked for"),
        ("pocket-math-oe", "{folder}", "no benchmark is asked for"),
        ("gsm8k", "gsm8k=", "names no file"),
    ],
)
def test_data_that_fit_no_task_are_refused(
    tmp_path: Path, names: str, value: str, problem: str
) -> None:
    path = write(tmp_path / "q.jsonl", "gsm8k")
    with pytest.raises(InvalidInputError, match=problem) as caught:
        load(names, value.format(path=path, folder=tmp_path))
    assert caught.value.hint


def test_an_unknown_benchmark_before_the_equals_sign_names_close_ones(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'gsm8k'"):
        load("gsm8k", f"gms8k={tmp_path}")


@pytest.mark.parametrize("value", ["none.jsonl", "gsm8k=none.jsonl", "gsm8k=none"])
def test_missing_data_are_named(value: str) -> None:
    with pytest.raises(DataFileError, match="no such file or folder"):
        load("gsm8k", value)


def test_a_file_without_the_column_that_chooses_rows_is_refused(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    row = {"question": "x?", "options": ["a", "b"], "gold": "A"}
    (tmp_path / "m.jsonl").write_text(json.dumps(row))
    parquet.write_table(arrow.Table.from_pylist([row]), tmp_path / "m.parquet")
    for name in ("m.jsonl", "m.parquet"):
        with pytest.raises(DataFileError, match="the column 'subject' is not there") as caught:
            load("mmlu-misc", tmp_path / name)
        assert "question, options, gold" in caught.value.hint


def test_a_file_without_a_question_of_the_benchmark_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "m.jsonl", "mmlu-math")
    with pytest.raises(DataFileError, match="no question of mmlu-misc is there") as caught:
        load("mmlu-misc", path)
    assert "subject miscellaneous" in caught.value.hint
    (tmp_path / "e.jsonl").write_text("")
    with pytest.raises(DataFileError, match="no question of gsm8k is there"):
        load("gsm8k", tmp_path / "e.jsonl")


def test_a_row_of_a_parquet_file_is_located_behind_a_filter(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    row = {"question": "x?", "options": ["a", "b"], "gold": "A", "subject": "anatomy"}
    rows = [row | {"question": f"{n}?"} for n in range(3000)]
    rows[10] |= {"subject": "miscellaneous"}
    rows[2500] |= {"subject": "miscellaneous", "gold": "C"}
    parquet.write_table(arrow.Table.from_pylist(rows), tmp_path / "m.parquet")
    with pytest.raises(DataFileError, match="'C' is no option") as caught:
        load("mmlu-misc", tmp_path / "m.parquet")
    assert caught.value.line == 2501


def test_bytes_that_are_no_utf8_in_a_parquet_file_are_located(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    texts = [f"{n}?".encode() for n in range(2000)]
    texts[1500] = b"M\xfcller?"
    column = arrow.array(texts, arrow.binary()).cast(arrow.string(), safe=False)
    table = arrow.table({"question": column, "gold": ["1"] * 2000})
    parquet.write_table(table, tmp_path / "g.parquet")
    with pytest.raises(DataFileError, match="not UTF-8") as caught:
        load("gsm8k", tmp_path / "g.parquet")
    assert caught.value.line == 1501


def test_a_broken_parquet_file_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    (tmp_path / "g.parquet").write_bytes(b"PAR1" + b"\x00" * 64 + b"PAR1")
    with pytest.raises(DataFileError, match="not a Parquet file"):
        load("gsm8k", tmp_path / "g.parquet")


def test_duplicates_are_asked_once_and_a_larger_limit_extends_a_smaller_one(
    tmp_path: Path,
) -> None:
    path = write(tmp_path / "g.jsonl", "gsm8k", 100)
    path.write_text(path.read_text() * 2)
    tasks = [load("gsm8k", path, limit=n)[0] for n in (1, 10, 100, 1000)]
    assert [len(task.questions) for task in tasks] == [1, 10, 100, 100]
    [whole] = load("gsm8k", path)
    assert all(task.questions == whole.questions[: len(task.questions)] for task in tasks)
    assert len({q.id for q in whole.questions}) == 100


@cache
def local(name: str) -> Task:
    for stem in FILES[name][0]:
        path = BENCHMARKS / f"{stem}.parquet"
        if not path.exists():
            pytest.skip(f"the benchmark data are not beside the repository ({path})")
    pytest.importorskip("pyarrow")
    [task] = load(name, BENCHMARKS)
    return task


@cache
def rows_of(name: str) -> list[dict[str, Any]]:
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = [
        row
        for stem in FILES[name][0]
        for row in parquet.read_table(BENCHMARKS / f"{stem}.parquet").to_pylist()
    ]
    return [row for row in rows if BELONGS.get(name, lambda _: True)(row)]


def stripped(value: Any) -> Any:
    """Blanks around a text make no other question."""
    if isinstance(value, list):
        return [stripped(one) for one in value]
    return value.strip() if isinstance(value, str) else value


@pytest.mark.parametrize("name", FILES)
def test_every_question_of_the_file_is_asked(name: str) -> None:
    task = local(name)
    distinct = {
        json.dumps([stripped(row[column]) for column in FILES[name][1]]) for row in rows_of(name)
    }
    assert len(task.questions) == len(distinct) >= 60
    assert len({question.id for question in task.questions}) == len(task.questions)


@pytest.mark.parametrize("name", FILES)
def test_every_gold_answer_passes_its_grader(name: str) -> None:
    task = local(name)
    grader = get_grader(task.grader)
    assert [q.gold for q in task.questions if grader.check_gold(q.gold) is not None] == []


@pytest.mark.parametrize("name", FILES)
def test_prompts_hold_the_question_and_no_solution(name: str) -> None:
    task = local(name)
    prompts = "\0".join(question.prompt for question in task.questions)
    assert "Answer format" not in prompts
    for row in rows_of(name)[::7]:
        hidden = row["gold"] if task.grader == "code" else row.get("solution")
        assert hidden is None or hidden.strip() not in prompts
        if name not in {"winogrande", "openbookqa"}:
            assert row["question"].strip() in prompts


@pytest.mark.parametrize("name", [name for name in FILES if FILES[name][1][-1] == "gold"])
def test_a_boxed_gold_answer_is_correct(name: str) -> None:
    task = local(name)
    grader = get_grader(task.grader)
    questions = task.questions[: 40 if task.grader == "math" else 300]
    for question in questions:
        gold: str = json.loads(question.gold)[0] if task.grader == "squad" else question.gold
        assert grader.grade(f"So \\boxed{{{gold}}}.", question.gold).is_correct, question.id


@pytest.mark.parametrize(
    "name", ["mmlu-misc", "mmlu-math", "mmlu-pro-math", "aqua-rat", "winogrande", "openbookqa"]
)
def test_options_are_lettered_and_hold_the_gold_letter(name: str) -> None:
    for question in local(name).questions:
        letters = [line[0] for line in question.prompt.splitlines() if line[1:3] == ") "]
        assert question.gold in letters
        assert letters[:2] == ["A", "B"]


def test_passages_tie_the_questions_of_squad() -> None:
    groups = {question.group for question in local("squad").questions}
    assert len(groups) == len({row["context"] for row in rows_of("squad")}) == 240


def test_math_500_has_levels_1_to_5() -> None:
    levels = [question.level for question in local("math-500").questions]
    assert sorted({*levels}, key=str) == [1, 2, 3, 4, 5]


def test_the_questions_are_the_ones_they_were(
    golden_json: Callable[[str, object], None],
) -> None:
    """Other identifiers mean other prompts or gold answers: raise the benchmark's version."""
    document = {
        name: {
            "version": task.version,
            "n": len(task.questions),
            "first": [question.id for question in task.questions[:5]],
            "all": hashlib.sha256(
                "".join(sorted(q.id + q.group for q in task.questions)).encode()
            ).hexdigest(),
        }
        for name in FILES
        for task in [local(name)]
    }
    golden_json("calibration/benchmark_ids.json", document)
