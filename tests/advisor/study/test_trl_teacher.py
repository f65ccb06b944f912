"""Pairs from a teacher with a thinking switch: kept where both answers are right, resumable."""

import json
from pathlib import Path

import pytest

from advisor.study.trl import Teacher, write_teacher_pairs
from calibration import RunStore, store_path
from calibration.pocket.questions import stream_questions
from policies import DataFileError, InvalidInputError


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    stream = stream_questions("math-oe", seed=9, split="train")
    drawn = {question.prompt: question.answer for question in (next(stream) for _ in range(24))}
    path = tmp_path / "questions.jsonl"
    rows = [{"question": prompt, "answer": answer} for prompt, answer in drawn.items()]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def test_a_teacher_writes_pairs_right_in_both_modes_and_its_acceptance(
    questions: Path, tmp_path: Path
) -> None:
    out = tmp_path / "pairs.jsonl"
    teacher = Teacher.parse("pocket/pocket-s")
    made = write_teacher_pairs(teacher, questions, out)
    golds = {
        row["question"]: row["answer"]
        for row in map(json.loads, questions.read_text("utf-8").splitlines())
    }
    pairs = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    assert pairs
    for pair in pairs:
        gold = golds[pair["prompt"]]
        assert pair["solution"] == gold
        assert pair["ift"].endswith(gold)
        assert pair["reasoning"].startswith("<think>")
        assert pair["reasoning"].endswith(gold)
    assert made.figures["acceptance"] == len(pairs) / len(golds)
    # A small teacher is not right in both modes everywhere: pairs were left out, and it shows.
    assert 0 < made.figures["acceptance"] < 1
    assert made.figures["accuracy"]["ift"]["n"] == len(golds)
    json.dumps(made.figures)


def test_it_resumes_without_asking_again(questions: Path, tmp_path: Path) -> None:
    out = tmp_path / "pairs.jsonl"
    teacher = Teacher.parse("pocket/pocket-s")
    first = write_teacher_pairs(teacher, questions, out, n_questions=10)
    written = out.read_bytes()
    asked: list[object] = []
    again = write_teacher_pairs(teacher, questions, out, n_questions=10, on_progress=asked.append)
    assert not asked
    assert out.read_bytes() == written
    assert again.figures == first.figures
    more = write_teacher_pairs(teacher, questions, out, on_progress=asked.append)
    with RunStore.open(store_path(out.with_suffix(".run"))) as store:
        n_held = sum(row["n"] for row in store.cell_sums())
    assert len(asked) == n_held - 20
    assert more.figures["counts"]["n_questions"] == n_held / 2


def test_held_out_questions_become_no_pairs(questions: Path, tmp_path: Path) -> None:
    out = tmp_path / "pairs.jsonl"
    teacher = Teacher.parse("pocket/pocket-s")
    write_teacher_pairs(teacher, questions, out)
    prompt = json.loads(out.read_text("utf-8").splitlines()[0])["prompt"]
    held = tmp_path / "held.jsonl"
    held.write_text(json.dumps({"question": prompt, "answer": "1"}) + "\n", "utf-8")
    made = write_teacher_pairs(teacher, questions, out, exclude=(held,))
    assert prompt not in out.read_text("utf-8")
    assert made.figures["counts"]["n_excluded"] == 1


def test_questions_without_right_answers_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "questions.jsonl"
    path.write_text('{"question": "1 + 1?"}\n', "utf-8")
    with pytest.raises(DataFileError, match="gold"):
        write_teacher_pairs(Teacher.parse("pocket/pocket-s"), path, tmp_path / "pairs.jsonl")


@pytest.mark.parametrize("text", ["pocket", "/pocket-s", "pocket/", ""])
def test_a_teacher_is_a_backend_and_a_model(text: str) -> None:
    with pytest.raises(InvalidInputError, match="BACKEND/MODEL"):
        Teacher.parse(text)
