"""The table of a study: what it refuses, its files, and its seeds pooled."""

import csv
import errno
import hashlib
import io
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advisor.evidence import check_cells
from advisor.study._catalog import is_study, load_study, shipped_studies
from advisor.study._design import StudyDesign
from advisor.study._results import StudentResult, StudyCell
from advisor.study._student import Student, StudyOrder
from advisor.study._table import StudyTable
from calibration.statistics import wilson_interval
from policies import (
    ArtifactCorruptError,
    ArtifactTooNewError,
    InvalidInputError,
    StoreError,
    UnknownNameError,
)
from tests.advisor.study.synthetic import synthetic_study, true_accuracy

GOLDEN = Path(__file__).parent / "golden" / "study_v1"
FILES = ("study.csv", "answers.csv", "plan.json", "study.json")


@pytest.fixture
def study() -> StudyTable:
    return synthetic_study(sizes=("pocket-xs", "pocket-m"), n_questions=60)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a saved study, small enough to be broken many times."""
    return shutil.copytree(GOLDEN, tmp_path / "study")


@st.composite
def _tables(draw: st.DrawFn) -> StudyTable:
    """Draw any table that is allowed: one to three students of any counts."""
    design = StudyDesign(sizes=("tiny", "big"), seeds=(1, 2))
    n_of = {policy: draw(st.integers(1, 20)) for policy in ("direct", "reasoning@8")}
    students = draw(st.permutations(design.students()))[: draw(st.integers(1, 3))]
    results: list[StudentResult] = []
    for student in students:
        cells = tuple(_cell(draw, policy, n) for policy, n in n_of.items())
        flops = draw(st.floats(0, 1e30))
        n_params = {"tiny": 1_000, "big": 10**9}[student.size]
        tokens = draw(st.integers(0, 10**15))
        results.append(StudentResult(student, n_params, tokens, flops, cells))
    provenance = draw(st.dictionaries(st.text(), st.text() | st.integers() | st.none()))
    return StudyTable("any", design, tuple(results), provenance)


def _cell(draw: st.DrawFn, policy: str, n: int) -> StudyCell:
    correct = draw(st.text("01", min_size=n, max_size=n))
    n_correct = correct.count("1")
    interval = wilson_interval(n_correct, n)
    means = st.floats(0, 1e9)
    return StudyCell(
        task_type="my-own",
        mode="ift" if policy == "direct" else "reasoning",
        policy=policy,
        n=n,
        n_correct=n_correct,
        n_cut=draw(st.integers(0, n - n_correct)),
        accuracy=n_correct / n,
        ci_low=interval.low,
        ci_high=interval.high,
        mean_tokens=draw(means),
        mean_tokens_correct=draw(st.none() | means),
        mean_tokens_wrong=draw(st.none() | means),
        think_share=draw(st.floats(0, 1)),
        mean_flops=draw(means),
        correct=correct,
    )


@given(_tables())
@settings(max_examples=60, deadline=None)
def test_what_was_saved_is_read_back_to_the_last_bit(
    tmp_path_factory: pytest.TempPathFactory, table: StudyTable
) -> None:
    folder = table.save(tmp_path_factory.mktemp("study"))
    again = StudyTable.load(folder)
    assert again == table
    texts = [(folder / name).read_bytes() for name in FILES]
    again.save(folder)
    assert [(folder / name).read_bytes() for name in FILES] == texts
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)


def test_the_first_version_is_read_for_ever(tmp_path: Path) -> None:
    table = StudyTable.load(GOLDEN)
    assert (table.name, table.sizes, table.corpora) == (
        "golden-study",
        {"pocket-xs": 101_136},
        ("general",),
    )
    first = table.results[0]
    assert first.student == Student("pocket-xs", "general", 0.0, StudyOrder.MIXED, 1)
    assert len(table.results) == 6
    with (GOLDEN / "study.csv").open(newline="") as file:
        row = next(csv.DictReader(file))
    cell = first.cells[0]
    assert (cell.task_type, cell.policy, cell.n) == ("math-oe", "direct", 11)
    assert cell.n_correct == int(row["n_correct"]) == cell.correct.count("1")
    assert first.train_flops == float(row["train_flops"])
    table.save(tmp_path)
    for name in FILES:
        assert (tmp_path / name).read_bytes() == (GOLDEN / name).read_bytes()


@pytest.mark.parametrize("name", FILES)
def test_a_folder_is_found_by_any_of_its_files(folder: Path, name: str) -> None:
    assert StudyTable.load(folder / name) == StudyTable.load(folder)


@given(at=st.integers(0, 10**6), name=st.sampled_from(FILES), flip=st.integers(1, 255))
@settings(max_examples=120, deadline=None)
def test_any_changed_byte_is_found(
    tmp_path_factory: pytest.TempPathFactory, at: int, name: str, flip: int
) -> None:
    folder = tmp_path_factory.mktemp("changed")
    for one in FILES:
        shutil.copy(GOLDEN / one, folder / one)
    data = bytearray((folder / name).read_bytes())
    data[at % len(data)] ^= flip
    (folder / name).write_bytes(bytes(data))
    try:
        table = StudyTable.load(folder)
    except (ArtifactCorruptError, ArtifactTooNewError) as error:
        refusal: str | None = error.message
    else:  # White space of the manifest is the one thing that means nothing.
        refusal = None
        assert name == "study.json"
        assert table == StudyTable.load(GOLDEN)
    assert refusal is None or "\n" not in refusal


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ArtifactCorruptError, match=name) as caught:
        StudyTable.load(folder)
    assert name in caught.value.message or name in (caught.value.hint or "")


@pytest.mark.parametrize("name", FILES)
def test_a_file_cut_short_is_refused(folder: Path, name: str) -> None:
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[: len(data) // 2])
    with pytest.raises(ArtifactCorruptError, match=name):
        StudyTable.load(folder)


def _rewritten(folder: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """Change a manifest, its own hash put right, as a newer or a faulty writer would."""
    path = folder / "study.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    manifest.pop("manifest_sha256", None)
    text = json.dumps(manifest, sort_keys=True, separators=(",", ":"))
    manifest["manifest_sha256"] = hashlib.sha256(text.encode()).hexdigest()
    path.write_text(json.dumps(manifest))
    return folder


def test_a_newer_version_is_refused_before_anything_else_is_read(folder: Path) -> None:
    (folder / "study.csv").write_text("in a format of the future")
    manifest = {"kind": "thinkroute-study", "schema_version": 2, "cells": "somewhere else"}
    (folder / "study.json").write_text(json.dumps(manifest))
    with pytest.raises(ArtifactTooNewError, match=r"schema version 2.*up to 1"):
        StudyTable.load(folder)


@pytest.mark.parametrize("version", [0, -1, "1", None, 1.5, True])
def test_a_version_that_never_was_is_refused(folder: Path, version: object) -> None:
    _rewritten(folder, lambda manifest: manifest.update(schema_version=version))
    with pytest.raises(ArtifactCorruptError, match="schema version"):
        StudyTable.load(folder)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"kind": "thinkroute-measured-table"}', "{" * 9])
def test_what_is_no_manifest_is_refused(folder: Path, text: str) -> None:
    (folder / "study.json").write_text(text)
    with pytest.raises(ArtifactCorruptError, match=r"study\.json"):
        StudyTable.load(folder)


def _member(folder: Path, name: str, change: Callable[[str], str]) -> Path:
    """Change a file and put the hash in the manifest right, as a faulty writer would."""
    text = change((folder / name).read_text())
    (folder / name).write_text(text)
    digest = hashlib.sha256(text.encode()).hexdigest()
    return _rewritten(folder, lambda manifest: manifest["sha256"].update({name: digest}))


@pytest.mark.parametrize(
    ("name", "old", "new", "said"),
    [
        ("study.csv", "n_correct", "right", "n_correct"),
        ("study.csv", ",mixed,1,ift,", ",mixed,1,reasoning,", "label"),
        ("study.csv", ",mixed,", ",shuffled,", "shuffled"),
        ("study.csv", ",11,", ",12,", "12"),
        ("study.csv", "general", "general,general", "header"),
        ("answers.csv", "direct", "cot", "answers"),
        ("answers.csv", "direct,", "direct,A", "line 2"),
        ("plan.json", '"seeds"', '"grains"', "no design"),
        ("plan.json", "{", "", "not JSON"),
    ],
)
def test_contents_that_make_no_study_are_refused_in_one_line(
    folder: Path, name: str, old: str, new: str, said: str
) -> None:
    _member(folder, name, lambda text: text.replace(old, new, 1))
    with pytest.raises(ArtifactCorruptError, match=said) as caught:
        StudyTable.load(folder)
    assert "\n" not in caught.value.message


def test_rows_without_their_answers_are_refused(folder: Path) -> None:
    _member(folder, "answers.csv", lambda text: text.rsplit("\n", 2)[0] + "\n")
    with pytest.raises(ArtifactCorruptError, match="cells, but the answers of"):
        StudyTable.load(folder)


def test_a_full_disk_leaves_the_study_that_was_there(
    folder: Path, study: StudyTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {name: (folder / name).read_bytes() for name in FILES}
    written: list[int] = []

    def full(descriptor: int) -> None:
        written.append(descriptor)
        if len(written) == len(FILES):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match="No space left") as caught:
        study.save(folder)
    assert "disk" in (caught.value.hint or "")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_place_that_is_no_folder_is_refused(tmp_path: Path, study: StudyTable) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written"):
        study.save(tmp_path / "file" / "study")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"n_correct": 5}, "do not make"),
        ({"accuracy": 0.9}, "do not make"),
        ({"accuracy": float("nan")}, "do not make"),
        ({"n": 61}, "do not make"),
        ({"n_cut": 61}, "do not make"),
        ({"ci_low": 0.999}, "interval"),
        ({"ci_high": 1.5}, "interval"),
        ({"mode": "thinking"}, "mode"),
        ({"think_share": 1.2}, "share"),
        ({"mean_tokens": float("inf")}, "no tokens"),
        ({"mean_flops": -1.0}, "no tokens"),
        ({"policy": "no such policy"}, "policy"),
        ({"task_type": "Math OE"}, "task type"),
        ({"correct": "x" * 60}, "do not make"),
    ],
)
def test_cells_that_contradict_themselves_are_refused(
    study: StudyTable, change: dict[str, Any], said: str
) -> None:
    first = study.results[0]
    cells = (replace(first.cells[0], **change), *first.cells[1:])
    with pytest.raises(InvalidInputError, match=said):
        replace(study, results=(replace(first, cells=cells), *study.results[1:]))


def test_students_that_contradict_each_other_are_refused(study: StudyTable) -> None:
    first, *rest = study.results
    with pytest.raises(InvalidInputError, match="twice"):
        replace(study, results=(first, first))
    with pytest.raises(InvalidInputError, match="parameters"):
        replace(study, results=(replace(first, n_params=7), *rest))
    with pytest.raises(InvalidInputError, match="no cells"):
        replace(study, results=(replace(first, cells=()), *rest))
    with pytest.raises(InvalidInputError, match="FLOPs"):
        replace(study, results=(replace(first, train_flops=float("inf")), *rest))
    other = synthetic_study(sizes=("pocket-m",), n_questions=61)
    with pytest.raises(InvalidInputError, match="was asked 61"):
        replace(study, results=(first, other.results[0]))
    with pytest.raises(InvalidInputError, match="names neither"):
        replace(study, name="a study/of mine")


def test_students_are_selected_by_what_they_are(study: StudyTable) -> None:
    found = study.select(size="pocket-m", corpus="math", ratio=0.5, order="mixed", seed=2)
    assert [one.student.id for one in found] == ["pocket-m.math.mixed@0.5.seed2"]
    assert study.select() == study.results
    assert len(study.select(corpus="general", ratio=0.0)) == 2 * 3
    assert study.select(corpus="no such") == ()
    assert study.select(order=StudyOrder.IFT_THEN_REASONING, seed=1)[0].student.ratio == 0.25
    assert study.sizes == {"pocket-xs": 101_136, "pocket-m": 2_124_096}
    assert study.corpora == ("general", "math", "general_then_math")


def test_pooled_cells_are_what_the_advisor_takes(study: StudyTable) -> None:
    cells = study.pooled_cells(corpus="general")
    check_cells(cells)
    assert len(cells) == 2 * 8 * 4 * 2
    found = {(one.model, one.recipe, one.task_type, one.policy): one for one in cells}
    assert len(found) == len(cells)
    one = found["pocket-m", "mixed@0.25", "math-oe", "reasoning@max"]
    assert (one.task, one.size, one.n) == ("pocket-math-oe", 2_124_096, 3 * 60)
    seeds = [
        cell
        for result in study.select(size="pocket-m", corpus="general", ratio=0.25, order="mixed")
        for cell in result.cells
        if (cell.task_type, cell.policy) == ("math-oe", "reasoning@max")
    ]
    assert one.n_correct == sum(cell.n_correct for cell in seeds)
    assert one.n_cut == sum(cell.n_cut for cell in seeds)
    assert one.mean_tokens == pytest.approx(sum(cell.mean_tokens for cell in seeds) / 3)
    two_stage = study.pooled_cells(corpus="general_then_math")
    assert {cell.recipe for cell in two_stage} >= {"general_ift_then_math_reasoning"}
    assert study.pooled_cells(corpus="own") == ()


def test_pooled_intervals_are_over_seeds_and_questions() -> None:
    steady = synthetic_study(sizes=("pocket-m",), n_questions=400, seed_sd=0.0)
    shaky = synthetic_study(sizes=("pocket-m",), n_questions=400, seed_sd=0.8)
    alone = synthetic_study(sizes=("pocket-m",), n_questions=400, seeds=(1,))

    def mean_width(table: StudyTable) -> float:
        cells = table.pooled_cells(corpus="general")
        return sum(cell.ci_high - cell.ci_low for cell in cells) / len(cells)

    questions = wilson_interval(200, 400)
    assert mean_width(shaky) > 2 * mean_width(steady)
    assert mean_width(shaky) > 2 * (questions.high - questions.low)
    assert {cell.interval for cell in steady.pooled_cells(corpus="math")} == {"crossed"}
    assert {cell.interval for cell in alone.pooled_cells(corpus="math")} == {"wilson"}


def test_pooled_intervals_hold_the_truth_that_studies_were_drawn_from() -> None:
    hits = total = 0
    for seed in range(6):
        table = synthetic_study(seed, sizes=("pocket-s",), orders=(StudyOrder.MIXED,))
        for cell in table.pooled_cells(corpus="general"):
            students = [one.student for one in table.select(corpus="general")]
            student = next(one for one in students if one.label == cell.recipe)
            truth = true_accuracy(student, cell.task_type, cell.policy)
            hits += cell.ci_low <= truth <= cell.ci_high
            total += 1
    # 240 intervals of 95%, those of one study alike in their questions: 88% is far below chance.
    assert hits / total >= 0.88


def test_a_study_is_found_by_name_or_folder(
    tmp_path: Path, study: StudyTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = tmp_path / "tables"
    monkeypatch.setattr("advisor.study._catalog._SHIPPED", shipped)
    monkeypatch.chdir(tmp_path)
    assert shipped_studies() == ()
    study.save(shipped / "pocket-study")
    assert shipped_studies() == ("pocket-study",)
    assert load_study("pocket-study") == study
    assert is_study("pocket-study")
    other = replace(study, name="mine")
    other.save(tmp_path / "runs" / "mine")
    assert load_study("runs/mine") == load_study(tmp_path / "runs" / "mine") == other
    other.save(tmp_path / "pocket-study")
    assert load_study("pocket-study") == other, "a folder here comes before a shipped one"
    with pytest.raises(UnknownNameError, match="pocket-stud") as caught:
        load_study("pocket-stud")
    assert "did you mean 'pocket-study'" in (caught.value.hint or "")
    with pytest.raises(ArtifactCorruptError, match="no study"):
        load_study(tmp_path / "runs")


def test_shipped_studies_are_whole_and_fit_their_design() -> None:
    for name in shipped_studies():
        table = load_study(name)
        assert table.name == name
        planned = {student.id for student in table.design.students()}
        assert {one.student.id for one in table.results} <= planned
        for corpus in table.corpora:
            check_cells(table.pooled_cells(corpus=corpus))


def test_tables_are_plain_csv_that_other_tools_read(folder: Path) -> None:
    rows = list(csv.DictReader(io.StringIO((folder / "study.csv").read_text())))
    assert {"size", "n_params", "corpus", "ratio", "order", "seed", "label"} <= set(rows[0])
    assert {"train_tokens", "train_flops", "accuracy", "think_share"} <= set(rows[0])
    assert "correct" not in rows[0]
    assert all(len(row) == len(rows[0]) for row in rows)
