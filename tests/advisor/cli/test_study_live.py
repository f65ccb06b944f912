"""What `advisor study --run` shows on a terminal while it goes on."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from advisor.cli._study_live import Seen, live_students
from advisor.study._lab import Step
from advisor.study._results import StudentResult
from advisor.study._run import (
    BaseStep,
    StudentDone,
    StudentFailed,
    StudentStarted,
    StudentStep,
    StudyEvent,
)
from advisor.study._student import Student, StudyOrder
from tests.advisor.study.price_list import PriceList

FIRST = Student("pocket-xs", "math", 0.0, StudyOrder.MIXED, 1)
SECOND = Student("pocket-xs", "math", 1.0, StudyOrder.MIXED, 1)
CELLS = PriceList().measure(FIRST, Path(), policies=("direct", "reasoning@max"), n_questions=40)
RESULT = StudentResult(FIRST, 100_000, 10_000, 6e9, CELLS)
EVENTS: Sequence[StudyEvent] = (
    BaseStep("pocket-xs", Step(1, 2, 3.0)),
    BaseStep("pocket-xs", Step(2, 2, 2.5)),
    StudentStarted(FIRST),
    StudentStep(FIRST, Step(1, 2, 1.25)),
    StudentStep(FIRST, Step(2, 2, 0.75)),
    StudentDone(RESULT),
    StudentStarted(SECOND),
    StudentFailed(SECOND, "no [room] \x1b[2J left"),
)


def shown(events: Sequence[StudyEvent], capsys: pytest.CaptureFixture[str]) -> tuple[Seen, str]:
    with live_students(2) as (show, seen):
        for event in events:
            show(event)
    return seen, capsys.readouterr().err


def test_on_a_terminal_a_failure_stays_on_the_screen_and_steers_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")

    seen, err = shown(EVENTS, capsys)

    assert (seen.done, list(seen.failed)) == ([FIRST.id], [SECOND.id])
    assert f"failed: {SECOND.id}: no [room] \\x1b[2J left" in err


def test_on_a_terminal_there_is_a_bar_for_whoever_is_under_way(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")

    _, base = shown(EVENTS[:1], capsys)
    _, training = shown(EVENTS[2:4], capsys)
    _, measuring = shown(EVENTS[2:5], capsys)
    _, done = shown(EVENTS[2:6], capsys)

    assert "base pocket-xs" in base
    assert FIRST.id in training
    assert "loss 1.250" in training
    assert "measuring" in measuring
    assert "1/2" in done
    assert "general-mc 0." in done


def test_elsewhere_there_is_a_line_per_student_and_none_per_step(
    capsys: pytest.CaptureFixture[str],
) -> None:
    _, err = shown(EVENTS, capsys)

    lines = err.splitlines()
    assert len(lines) == 3
    assert lines[0] == "pre-training the base pocket-xs: 2 steps"
    assert lines[1].startswith(f"1/2 {FIRST.id}: general-mc 0.")
    assert lines[2] == f"failed: {SECOND.id}: no [room] \\x1b[2J left"


def test_students_of_an_earlier_call_count_without_a_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    seen, err = shown([StudentDone(RESULT, is_new=False)], capsys)

    assert (seen.n_finished, seen.done, err) == (1, [], "")
