"""A run that is killed at any moment, again and again, ends with the table of one that never was.

The processes are real and so is SIGKILL; the model behind the server is made up, so that two runs
have equal answers, and every request is counted.
"""

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from policies.backends.pocket import pocket_model_names
from tests.servers.fault_server import FaultServer
from tests.servers.forked_advisor import Done, ForkedAdvisor, KillAt
from tests.servers.runs import (
    N_POLICIES,
    arguments,
    asked_again,
    is_question,
    rows,
    table,
    write_questions,
)

CONCURRENCY = 4
# Requests under way, and a quarter of them for answers on their way to the disk.
MOST_LOST = CONCURRENCY + 1

LEFT = {
    *("run.sqlite", "run.sqlite-wal", "run.sqlite-shm", "run.lock"),
    *("table.csv", "timings.csv", "table.json"),
}
"""All that a finished run may leave in its folder."""
WRITING = [
    KillAt("calibration._store:RunStore.add", 2),
    KillAt("calibration._store:_write_group", 1),
    KillAt("calibration._store:_write_group", 2, after=True),
    KillAt("calibration._store:RunStore.set_meta", 1, after=True),
    KillAt("calibration._run:PlanRun.__init__", 1),
]
"""While samples are written; `_write_group` is the inside of a transaction."""
CLOSING = [
    KillAt("calibration._store:RunStore.close", 1),
    KillAt("calibration._store:RunStore.close", 1, after=True),
    KillAt("calibration._table:MeasuredTable.from_store", 1),
    *(KillAt("os:fsync", n, after=after) for n in (1, 3) for after in (False, True)),
    *(KillAt("os:replace", n, after=after) for n in (1, 2, 3) for after in (False, True)),
]
"""When everything is asked, while the store is closed and the table is written."""


@pytest.fixture(scope="module")
def forked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkedAdvisor]:
    with ForkedAdvisor(tmp_path_factory.mktemp("forked")) as advisor:
        yield advisor


@pytest.fixture
def server() -> Iterator[FaultServer]:
    running = FaultServer()
    yield running
    running.close()


class Killer:
    """Starts one command again and again, and kills it."""

    def __init__(self, advisor: ForkedAdvisor, command: list[str], seed: int) -> None:
        self.rng = random.Random(seed)
        self.n_killed = 0
        self._advisor = advisor
        self._command = command

    def at(self, place: KillAt) -> None:
        done = self._advisor(*self._command, kill_at=place)
        assert done.code == -signal.SIGKILL, f"{place} was never reached: {done.err}"
        self.n_killed += 1

    def when_asked(self, server: FaultServer, n: int) -> None:
        """Kill when the server has seen `n` more generations, or at most 20 ms later."""
        n_before, delay_s = len(server.generations()), self.rng.random() * 0.02
        pid = self._advisor.start(*self._command)

        def kill(n_seen: int) -> None:
            if n_seen == n_before + n:
                time.sleep(delay_s)  # any moment between a request and the next ones
                os.kill(pid, signal.SIGKILL)

        server.on_seen = kill
        done = self._advisor.wait()
        server.on_seen = None
        self._count(done)

    def after(self, seconds: float) -> None:
        pid = self._advisor.start(*self._command)
        timer = threading.Timer(seconds, _kill_if_alive, (pid,))
        timer.start()
        done = self._advisor.wait()
        timer.cancel()
        timer.join()
        self._count(done)

    def finish(self) -> Done:
        return self._advisor(*self._command)

    def _count(self, done: Done) -> None:
        assert done.code in (0, -signal.SIGKILL), done.err
        self.n_killed += done.code != 0


def _kill_if_alive(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def check_whole(run: Path, whole: Path, n_samples: int) -> None:
    """Check that a run holds every planned sample once and has the table of another one."""
    assert {path.name for path in run.iterdir()} <= LEFT
    counts = Counter(rows(run, "SELECT arm, question, repeat FROM generation"))
    assert (len(counts), set(counts.values())) == (n_samples, {1})
    assert len(rows(run, "SELECT key FROM score")) == n_samples
    assert rows(run, "PRAGMA integrity_check") == [("ok",)]
    assert table(run) == table(whole)


def kill_and_compare(
    forked: ForkedAdvisor,
    server: FaultServer,
    tmp_path: Path,
    n_questions: int,
    kills: Callable[[Killer], None],
) -> int:
    """Kill a run as told, finish it, and compare it with one that was left alone."""
    questions, run, whole = write_questions(tmp_path, n_questions), tmp_path / "run", tmp_path / "w"
    more = ("--concurrency", CONCURRENCY)
    assert forked(*arguments(server, questions, whole, *more)).code == 0
    expected = Counter(seen.identity for seen in server.generations(of=is_question))
    assert set(expected.values()) == {1}
    server.reset()
    killer = Killer(forked, arguments(server, questions, run, *more), seed=n_questions)
    kills(killer)
    last = killer.finish()
    assert last.code == 0, last.err
    check_whole(run, whole, n_questions * N_POLICIES)
    # Nothing else was asked than in the run that was left alone, and little of it twice.
    seen = Counter(seen.identity for seen in server.generations(of=is_question))
    assert seen.keys() == expected.keys()
    assert asked_again(server) <= MOST_LOST * killer.n_killed
    return killer.n_killed


def test_a_run_killed_at_six_points_ends_as_if_it_never_was(
    forked: ForkedAdvisor, server: FaultServer, tmp_path: Path
) -> None:
    def kills(killer: Killer) -> None:
        for _ in range(2):
            killer.when_asked(server, killer.rng.randint(7, 25))
        killer.at(WRITING[2])
        for place in (CLOSING[0], CLOSING[4], CLOSING[8]):
            killer.at(place)

    assert kill_and_compare(forked, server, tmp_path, 12, kills) == 6


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_killed_at_fifty_points_ends_as_if_it_never_was(
    forked: ForkedAdvisor, server: FaultServer, tmp_path: Path
) -> None:
    def kills(killer: Killer) -> None:
        killer.at(KillAt("calibration._schema:_prepare", 1))
        killer.at(KillAt("calibration._schema:_prepare", 1, after=True))
        for _ in range(22):
            killer.when_asked(server, killer.rng.randint(7, 20))
        for place in WRITING:
            killer.at(place)
        while killer.n_killed < 50 - len(CLOSING):
            killer.after(killer.rng.uniform(0.05, 0.6))
        for place in CLOSING:
            killer.at(place)

    assert kill_and_compare(forked, server, tmp_path, 80, kills) == 50


@pytest.mark.skipif("pocket-m" not in pocket_model_names(), reason="the model pocket-m is missing")
@pytest.mark.timeout(300)
def test_a_killed_run_of_the_pocket_model_ends_as_if_it_never_was(
    forked: ForkedAdvisor, tmp_path: Path
) -> None:
    base = ("calibrate", "--backend", "pocket", "--model", "pocket-s", "--tasks", "pocket-math-oe")
    how = ("--policies", "direct,reasoning", "--budgets", "4,max", "--limit", 24, "--json")
    whole, run = tmp_path / "whole", tmp_path / "run"
    assert forked(*base, *how, "--out", whole).code == 0
    killer = Killer(forked, [str(text) for text in (*base, *how, "--out", run)], seed=5)
    for n in sorted(killer.rng.sample(range(2, 30), 2)):
        killer.at(KillAt("calibration._store:RunStore.add", n))
    killer.at(KillAt("calibration._store:RunStore.close", 1))
    assert killer.finish().code == 0
    check_whole(run, whole, 3 * 24)


def test_what_a_crash_can_lose_is_bounded_while_the_disk_stalls(
    forked: ForkedAdvisor, server: FaultServer, tmp_path: Path
) -> None:
    questions, run = write_questions(tmp_path, 40), tmp_path / "run"
    stall = (
        "import calibration._store as s, time\n"
        "write = s._write_group\n"
        "s._write_group = lambda *given: (time.sleep(0.3), write(*given))\n"
    )
    command = arguments(server, questions, run, "--concurrency", CONCURRENCY)
    pid = forked.start(*command, prepare=stall)
    server.on_seen = lambda n: _kill_if_alive(pid) if n == 40 else None
    assert forked.wait().code == -signal.SIGKILL
    n_stored = len(rows(run, "SELECT key FROM generation WHERE source != 'shared'"))
    n_asked = len(server.generations(of=is_question))
    assert 0 < n_asked - n_stored <= MOST_LOST
