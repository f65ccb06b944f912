"""Pairs and held-out questions of a study on one's own model: kept apart, or refused by line."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from advisor.study.trl import StudyData, TrlData, TrlMeasuring, TrlTraining, base_names
from policies import DataFileError, InvalidInputError, UnknownNameError


def rows(n: int, *, solution: bool = True) -> list[dict[str, Any]]:
    return [
        {
            "prompt": f"What is {i} + 1?",
            "ift": f"Answer: {i + 1}",
            "reasoning": f"<think>\n{i} and one\n</think>\n\nAnswer: {i + 1}",
            **({"solution": str(i + 1)} if solution else {}),
        }
        for i in range(n)
    ]


def write(path: Path, lines: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return path


def data(pairs: Path, *questions: Path, **more: Any) -> StudyData:
    asked: dict[str, Any] = {"n_rows": 10, "n_questions": 5, **more}
    return StudyData(TrlData(pairs={"own": pairs}, questions=questions, **asked))


def trained_on(found: StudyData, path: Path) -> set[str]:
    found.write_training("own", path)
    return {json.loads(line)["prompt"] for line in path.read_text("utf-8").splitlines()}


@pytest.mark.parametrize("side", ["ift", "reasoning", "prompt"])
def test_a_pair_with_one_side_missing_is_refused_with_its_line(tmp_path: Path, side: str) -> None:
    lines = rows(30)
    del lines[6][side]
    with pytest.raises(DataFileError, match=rf"pairs\.jsonl:7: .*line 7 \(no '{side}'"):
        data(write(tmp_path / "pairs.jsonl", lines))


def test_a_question_that_is_trained_on_is_refused_with_both_lines(tmp_path: Path) -> None:
    pairs = write(tmp_path / "pairs.jsonl", rows(30))
    held = [{"question": f"And {i} + 2?", "answer": str(i + 2)} for i in range(5)]
    held[3]["question"] = "what is  11 + 1?"  # but for case and white space
    questions = write(tmp_path / "held.jsonl", held)
    with pytest.raises(DataFileError, match=r"held\.jsonl:4: .*trained on, at .*pairs\.jsonl:12"):
        data(pairs, questions)


def test_a_question_that_a_template_makes_equal_to_a_trained_one_is_refused(
    tmp_path: Path,
) -> None:
    from calibration import ColumnMapping

    pairs = write(tmp_path / "pairs.jsonl", rows(30))
    questions = write(tmp_path / "held.jsonl", [{"a": "11", "answer": "12"}])
    columns = ColumnMapping(template="What is {a} + 1?", instruction="")
    with pytest.raises(DataFileError, match=r"trained on, at .*pairs\.jsonl:12"):
        data(pairs, questions, columns=columns)


def test_a_held_out_file_is_asked_as_it_stands(tmp_path: Path) -> None:
    pairs = write(tmp_path / "pairs.jsonl", rows(30, solution=False))
    held = [{"question": f"And {i} + 2?", "answer": str(i + 2)} for i in range(8)]
    found = data(pairs, write(tmp_path / "held.jsonl", held))
    (task,) = found.tasks()
    assert len(task.questions) == 5
    # Nothing is appended: students learn the prompts of the pairs as they stand.
    assert {question.prompt for question in task.questions} <= {one["question"] for one in held}
    assert found.n_pairs("own") == 30


@given(n_questions=st.integers(1, 20), n_rows=st.integers(1, 20))
def test_what_is_held_out_of_the_pairs_is_never_trained_on(
    tmp_path_factory: pytest.TempPathFactory, n_questions: int, n_rows: int
) -> None:
    folder = tmp_path_factory.mktemp("split")
    pairs = write(folder / "pairs.jsonl", rows(40))
    found = data(pairs, n_questions=n_questions, n_rows=n_rows)
    (task,) = found.tasks()
    asked = {question.prompt for question in task.questions}
    trained = trained_on(found, folder / "train.jsonl")
    assert len(asked) == n_questions
    assert not asked & trained
    assert len(trained) == 40 - n_questions == found.n_pairs("own")
    # The split is of the prompts, not of the lines of the file.
    again = data(write(folder / "turned.jsonl", rows(40)[::-1]), n_questions=n_questions, n_rows=1)
    assert {question.prompt for question in again.tasks()[0].questions} == asked


def test_only_pairs_with_a_right_answer_are_held_out(tmp_path: Path) -> None:
    lines = rows(30, solution=False)
    for line in lines[:5]:
        line["solution"] = "1"
    (task,) = data(write(tmp_path / "pairs.jsonl", lines)).tasks()
    assert {one.prompt for one in task.questions} == {line["prompt"] for line in lines[:5]}


def test_without_any_right_answer_there_is_nothing_to_measure_with(tmp_path: Path) -> None:
    pairs = write(tmp_path / "pairs.jsonl", rows(30, solution=False))
    with pytest.raises(InvalidInputError, match="nothing to measure with") as caught:
        data(pairs)
    assert "--heldout" in caught.value.hint


def test_too_few_pairs_are_refused_with_both_numbers(tmp_path: Path) -> None:
    pairs = write(tmp_path / "pairs.jsonl", rows(12))
    with pytest.raises(InvalidInputError, match=r"has 7 pairs .* 5 held-out .* 10 rows") as caught:
        data(pairs).check_counts()
    assert "7" in caught.value.hint


def test_an_empty_or_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataFileError, match="empty"):
        data(write(tmp_path / "pairs.jsonl", []))
    with pytest.raises(DataFileError, match=r"gone\.jsonl"):
        data(tmp_path / "gone.jsonl")


def test_a_broken_line_of_questions_is_refused_with_its_number(tmp_path: Path) -> None:
    pairs = write(tmp_path / "pairs.jsonl", rows(30))
    held = tmp_path / "held.jsonl"
    held.write_text('{"question": "And 1 + 2?", "answer": "3"}\n{"question": \n', "utf-8")
    with pytest.raises(DataFileError, match=r"held\.jsonl:2: not JSON"):
        data(pairs, held)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TrlData(pairs={}), "needs pairs"),
        (lambda: TrlData(pairs={"own": Path("a")}, n_rows=0), "n_rows is 0"),
        (lambda: TrlData(pairs={"own": Path("a")}, questions=(Path("a.csv"),)), "JSONL"),
        (lambda: TrlTraining(n_epochs=0), "n_epochs is 0"),
        (lambda: TrlTraining(learning_rate=2.0), "learning rate 2"),
        (lambda: TrlTraining(device="cpu", n_processes=2), "2 processes on the CPU"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(make: Any, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        make()


def test_unknown_names_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="corpus 'mine'"):
        TrlData(pairs={"mine": Path("a")})
    backend: Any = "openai"
    with pytest.raises(UnknownNameError, match="backend for students"):
        TrlMeasuring(backend=backend)


def test_base_models_are_named_for_folders() -> None:
    assert list(base_names(["/a/tiny/model/", "Qwen/Qwen3-0.6B"])) == ["tiny", "Qwen3-0-6B"]
    with pytest.raises(InvalidInputError, match="two base models have the name 'tiny'"):
        base_names(["/a/tiny", "/b/tiny/model"])
    with pytest.raises(InvalidInputError, match="is no model"):
        base_names([" / "])
