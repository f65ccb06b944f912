import hashlib
import multiprocessing
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from calibration import Outcome
from policies import (
    ArtifactTooNewError,
    InvalidInputError,
    Mode,
    StoreError,
)
from router._arms import Arm
from router._decision import Candidate, Decision
from router._objective import Objective
from router.feedback._feedback import FeedbackLog
from router.feedback._logged import LoggedDecision, LoggedOutcome, score_of

CHEAP = Arm("toy", "direct", Mode.IFT, None, None)
DEAR = Arm("toy", "reasoning@64", Mode.REASONING, 64, None)


def decision(arm: Arm = CHEAP, *reasons: str) -> Decision:
    return Decision(
        arm=arm,
        candidates=(
            Candidate(CHEAP.name, 0.6, 5.0, None, None, 5.0),
            Candidate(DEAR.name, 0.9, 50.0, None, None, 50.0),
        ),
        objective=Objective.trade(1e-3),
        reasons=reasons or ("best-tradeoff", "task-guessed"),
        task_posterior={"general-oe": 0.25, "math-oe": 0.75},
        features_version="model-1",
        artifact_id="abc",
        latency_s=1e-4,
    )


@pytest.fixture
def clock() -> Callable[[], float]:
    now = [1000.0]

    def tick() -> float:
        now[0] += 1.0
        return now[0]

    return tick


@pytest.fixture
def log(tmp_path: Path, clock: Callable[[], float]) -> Iterator[FeedbackLog]:
    with FeedbackLog.open(tmp_path / "log.sqlite", store_prompts=True, clock=clock) as opened:
        yield opened


def test_a_decision_and_its_outcome_are_read_back_as_they_were(log: FeedbackLog) -> None:
    name = log.record(
        decision(DEAR),
        "correct",
        prompt="2+2?",
        features={"n_bytes": 4.0},
        propensities=(0.25, 0.75),
        completion_tokens=44,
        seconds=0.5,
    )
    (found,) = log.decisions()
    assert found == LoggedDecision(
        decision_id=name,
        time_s=1001.0,
        artifact_id="abc",
        arms=(CHEAP.name, DEAR.name),
        arm=DEAR.name,
        p=(0.6, 0.9),
        tokens=(5.0, 50.0),
        cost=(5.0, 50.0),
        unit="tokens",
        propensities=(0.25, 0.75),
        posterior={"general-oe": 0.25, "math-oe": 0.75},
        is_hinted=False,
        features={"n_bytes": 4.0},
        prompt_sha256=hashlib.sha256(b"2+2?").hexdigest(),
        prompt_bytes=4,
        prompt="2+2?",
        outcome=LoggedOutcome(1001.0, Outcome.CORRECT, 1.0, 44, 0.5),
    )
    assert found.propensity == 0.75
    assert log.artifact_ids() == {"abc": 1}


def test_an_outcome_may_come_later_and_in_another_order(log: FeedbackLog) -> None:
    first, second = (log.record(decision(), prompt=f"p{i}") for i in range(2))
    log.record_outcome(second, wrong := "wrong")
    log.record_outcome(first, 0.5)
    assert [d.decision_id for d in log.decisions()] == [first, second]
    by_arrival = list(log.with_outcomes())
    assert [d.decision_id for d in by_arrival] == [second, first]
    assert [d.outcome and d.outcome.score for d in by_arrival] == [0.0, 0.5]
    assert by_arrival[0].outcome
    assert by_arrival[0].outcome.outcome == wrong


def test_recording_the_same_decision_again_adds_only_the_outcome(log: FeedbackLog) -> None:
    name = log.record(decision(), decision_id="d1")
    assert name == "d1"
    log.record(decision(), "cut", decision_id="d1")
    log.record(decision(), "cut", decision_id="d1")
    (found,) = log.decisions()
    assert found.outcome
    assert found.outcome.outcome == Outcome.CUT


def test_a_second_outcome_is_refused_unless_it_is_a_correction(log: FeedbackLog) -> None:
    log.record(decision(), True, decision_id="d1")
    with pytest.raises(InvalidInputError, match="has the outcome") as raised:
        log.record_outcome("d1", False)
    assert raised.value.code == "outcome-recorded"
    log.record_outcome("d1", False, replace=True)
    (found,) = log.decisions()
    assert found.outcome
    assert found.outcome.score == 0.0


def test_an_outcome_of_an_unknown_decision_is_refused(log: FeedbackLog) -> None:
    with pytest.raises(InvalidInputError, match="no decision 'nope'") as raised:
        log.record_outcome("nope", True)
    assert raised.value.code == "unknown-decision"


@pytest.mark.parametrize("outcome", ["right", "", 1.5, -0.1, float("nan")])
def test_outcomes_that_are_none_are_refused_and_nothing_is_written(
    log: FeedbackLog, outcome: str | float
) -> None:
    with pytest.raises(InvalidInputError):
        log.record(decision(), outcome)
    assert list(log.decisions()) == []


@pytest.mark.parametrize(
    "changes", [{"completion_tokens": -1}, {"seconds": float("inf")}, {"propensities": (0.5, 0.6)}]
)
def test_numbers_that_make_no_sense_are_refused(
    log: FeedbackLog, changes: dict[str, float]
) -> None:
    with pytest.raises(InvalidInputError):
        log.record(decision(), True, **changes)  # pyright: ignore[reportArgumentType]


def test_the_chosen_arm_must_have_had_a_chance(log: FeedbackLog) -> None:
    with pytest.raises(InvalidInputError, match="propensities"):
        log.record(decision(CHEAP), propensities=(0.0, 1.0))


def test_infrastructure_errors_have_no_score() -> None:
    assert score_of("error") == (Outcome.ERROR, None)
    assert score_of(Outcome.CUT) == (Outcome.CUT, 0.0)
    assert score_of(False) == (Outcome.WRONG, 0.0)


def test_prompts_are_not_stored_unless_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    with FeedbackLog.open(path) as log:
        log.record(decision(), True, prompt="a secret sentence")
        (found,) = log.decisions()
    assert found.prompt is None
    assert found.prompt_bytes == 17
    for file in tmp_path.iterdir():
        assert b"secret sentence" not in file.read_bytes()


def test_a_salt_keys_the_hashes_and_must_stay_the_same(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    with FeedbackLog.open(path, salt=b"s1") as log:
        log.record(decision(), prompt="x")
        (found,) = log.decisions()
    assert found.prompt_sha256 != hashlib.sha256(b"x").hexdigest()
    for salt in (b"s2", b""):
        with pytest.raises(StoreError, match="another salt"):
            FeedbackLog.open(path, salt=salt)


def test_the_file_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    with FeedbackLog.open(path) as log:
        log.record(decision())
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
    assert set(modes.values()) == {0o600}, modes


def test_many_are_written_all_or_none(log: FeedbackLog) -> None:
    log.record(decision(), True, decision_id="d0")
    (template,) = log.decisions()
    entries = [replace(template, decision_id=f"d{i}", prompt=f"p{i}") for i in range(1, 5000)]
    log.record_many(entries)
    assert sum(1 for _ in log.decisions()) == 5000
    other = LoggedOutcome(0.0, Outcome.WRONG, 0.0)
    with pytest.raises(InvalidInputError):
        log.record_many(
            [
                replace(template, decision_id="new"),
                replace(template, decision_id="d7", outcome=other),
            ]
        )
    assert sum(1 for _ in log.decisions()) == 5000


@pytest.mark.parametrize(
    "changes",
    [
        {"arm": "other:direct"},
        {"p": (0.5,)},
        {"propensities": (1.0, 0.5)},
        {"outcome": LoggedOutcome(0.0, None, 2.0)},
    ],
)
def test_what_could_not_be_read_back_is_not_written(
    log: FeedbackLog, changes: dict[str, Any]
) -> None:
    log.record(decision(), decision_id="d0")
    (template,) = log.decisions()
    with pytest.raises(InvalidInputError):
        log.record_many([replace(template, decision_id="d1", **changes)])
    assert [d.decision_id for d in log.decisions()] == ["d0"]


def test_only_one_router_or_only_late_decisions_can_be_read(log: FeedbackLog) -> None:
    log.record(decision(), decision_id="d1")
    log.record(replace(decision(), artifact_id="other"), decision_id="d2")
    assert [d.decision_id for d in log.decisions(artifact_id="other")] == ["d2"]
    assert [d.decision_id for d in log.decisions(since_s=1001.5)] == ["d2"]
    assert list(log.artifact_ids()) == ["other", "abc"]


def test_a_log_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    FeedbackLog.open(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version=99")
    connection.close()
    for opening in (FeedbackLog.open, FeedbackLog.read):
        with pytest.raises(ArtifactTooNewError, match="version 99"):
            opening(path)


def test_other_files_are_refused_and_left_alone(tmp_path: Path) -> None:
    database, text = tmp_path / "other.sqlite", tmp_path / "text"
    with sqlite3.connect(database) as connection:
        connection.execute("CREATE TABLE mine (x)")
    connection.close()
    text.write_text("no database " * 1000)
    before = [database.read_bytes(), text.read_bytes()]
    for path in (database, text):
        for opening in (FeedbackLog.open, FeedbackLog.read):
            with pytest.raises(StoreError):
                opening(path)
    assert [database.read_bytes(), text.read_bytes()] == before
    with pytest.raises(StoreError, match="there is no feedback log"):
        FeedbackLog.read(tmp_path / "none")
    (tmp_path / "empty").touch()
    with pytest.raises(StoreError, match="not a feedback log"):
        FeedbackLog.read(tmp_path / "empty")
    with pytest.raises(StoreError, match="cannot be written"):
        FeedbackLog.open(text / "below")


def test_a_log_opened_to_read_cannot_be_written(log: FeedbackLog) -> None:
    with FeedbackLog.read(log.path) as reader, pytest.raises(StoreError, match="opened to read"):
        reader.record(decision())


def test_a_damaged_row_is_named(log: FeedbackLog) -> None:
    log.record(decision(), decision_id="d1")
    with sqlite3.connect(log.path) as connection:
        connection.execute("UPDATE decision SET p = '[0.1]'")
    connection.close()
    with pytest.raises(StoreError, match="'d1' of the feedback log is damaged"):
        list(log.decisions())


def test_threads_and_a_reader_share_a_log(log: FeedbackLog) -> None:
    def write() -> None:
        for _ in range(20):
            log.record_outcome(log.record(decision()), True)

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    with FeedbackLog.read(log.path) as reader:
        assert all(d.arm == CHEAP.name for d in reader.decisions())
    for thread in threads:
        thread.join()
    assert sum(d.outcome is not None for d in log.decisions()) == 80


WRITER = """
import sys
sys.path.insert(0, sys.argv[2])
from test_feedback import decision
from router.feedback._feedback import FeedbackLog
log = FeedbackLog.open(sys.argv[1])
while True:
    print(log.record(decision(), True), flush=True)
"""


def test_a_killed_writer_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    command = [sys.executable, "-c", WRITER, str(path), str(Path(__file__).parent)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout
        acknowledged = [writer.stdout.readline().strip() for _ in range(30)]
        writer.send_signal(signal.SIGKILL)
    with FeedbackLog.open(path) as log:
        found = {d.decision_id for d in log.decisions() if d.outcome is not None}
        assert set(acknowledged) <= found
        log.record(decision(), True)


def _write_in_child(log: FeedbackLog) -> None:
    log.record(decision(), True)
    os._exit(0)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_writes_through_a_connection_of_its_own(log: FeedbackLog) -> None:
    log.record(decision(), True)
    child = multiprocessing.get_context("fork").Process(target=_write_in_child, args=(log,))
    child.start()
    child.join()
    log.record(decision(), True)
    assert child.exitcode == 0
    assert sum(1 for _ in log.decisions()) == 3


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(prompt=st.text(st.characters(), max_size=50), score=st.floats(0.0, 1.0))
def test_any_text_and_any_score_can_be_logged(log: FeedbackLog, prompt: str, score: float) -> None:
    name = log.record(decision(), score, prompt=prompt)
    found = {d.decision_id: d for d in log.decisions()}[name]
    assert found.prompt == prompt.encode("utf-8", "replace").decode()
    assert found.outcome
    assert found.outcome.score == score
