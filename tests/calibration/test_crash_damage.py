"""Bytes that change or vanish on the disk: what was damaged is named, and measured again.

Stores are damaged at random places, the file as well as the log that a killed process leaves.
"""

import random
import shutil
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.servers.fault_server import FaultServer
from tests.servers.forked_advisor import Done, ForkedAdvisor, KillAt
from tests.servers.runs import N_POLICIES, arguments, rows, table, write_questions

N_QUESTIONS = 40
PAGE = 4096


@dataclass(frozen=True)
class Measured:
    """A finished run, and one that was killed while its log was full.

    Attributes:
        advisor: Runs commands.
        command: `calibrate` into `run`.
        run: Where a copy to damage lies.
        whole: The finished run.
        killed: The killed one.
    """

    advisor: ForkedAdvisor
    command: list[str]
    run: Path
    whole: Path
    killed: Path

    def start_from(self, source: Path) -> Path:
        """Put a copy of a run where the command goes on with it; return its file."""
        shutil.rmtree(self.run, ignore_errors=True)
        shutil.copytree(source, self.run)
        return self.run / "run.sqlite"

    def resume(self) -> Done:
        return self.advisor(*self.command)

    def cells(self) -> list[list[str]]:
        return without_replayed(table(self.run))


def without_replayed(csv: bytes) -> list[list[str]]:
    """Return a table's values, except for how its answers came about."""
    names, *lines = [line.split(",") for line in csv.decode().splitlines()]
    place = names.index("n_replayed")
    return [line[:place] + line[place + 1 :] for line in [names, *lines]]


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Measured]:
    folder = tmp_path_factory.mktemp("damage")
    server = FaultServer()
    questions, run = write_questions(folder, N_QUESTIONS), folder / "run"
    command = arguments(server, questions, run)
    with ForkedAdvisor(folder / "forked") as advisor:
        assert advisor(*command).code == 0
        run.rename(folder / "whole")
        killed = advisor(*command, kill_at=KillAt("calibration._store:RunStore.close"))
        assert killed.code == -signal.SIGKILL
        run.rename(folder / "killed")
        yield Measured(advisor, command, run, folder / "whole", folder / "killed")
    server.close()


def damage(path: Path, rng: random.Random, first: int) -> str:
    """Change a file at random places behind `first`, or cut it off; return what was done."""
    data = bytearray(path.read_bytes())
    if rng.random() < 0.25:
        keep = rng.randrange(first, len(data))
        path.write_bytes(data[:keep])
        return f"cut after {keep} of {len(data)}"
    told: list[str] = []
    for _ in range(rng.randint(1, 3)):
        start, length = rng.randrange(first, len(data)), rng.choice([1, 1, 8, 300, PAGE])
        end = min(len(data), start + length)
        data[start:end] = bytes(byte ^ rng.randint(1, 255) for byte in data[start:end])
        told.append(f"{start}+{end - start}")
    path.write_bytes(data)
    return f"flipped {', '.join(told)} of {len(data)}"


@pytest.mark.parametrize("seed", range(10))
def test_a_damaged_file_is_repaired_and_the_run_ends_with_the_table_it_had(
    measured: Measured, seed: int
) -> None:
    path = measured.start_from(measured.whole)
    what = damage(path, random.Random(seed), first=PAGE)
    repaired = measured.advisor("tables", "repair", measured.run, "--json")
    assert repaired.code == 0, (what, repaired.err)
    report = repaired.json()
    # Bytes that nothing uses may change without damage.
    assert report["original"] is None or Path(report["original"]).is_file()
    resumed = measured.resume()
    assert resumed.code == 0, (what, resumed.err)
    summary = resumed.json()["summary"]
    assert summary["n_resumed"] == report["n_saved"]
    assert summary["n_asked"] == N_QUESTIONS * N_POLICIES - report["n_saved"]
    assert measured.cells() == without_replayed(table(measured.whole)), what


@pytest.mark.parametrize("seed", range(10))
def test_without_a_repair_damage_is_named_or_refused_and_never_measured(
    measured: Measured, seed: int
) -> None:
    path = measured.start_from(measured.whole)
    what = damage(path, random.Random(100 + seed), first=PAGE)
    resumed = measured.resume()
    if resumed.code == 0:
        assert measured.cells() == without_replayed(table(measured.whole)), what
        n_asked = resumed.json()["summary"]["n_asked"]
        assert ("warning: damaged on the disk" in resumed.err) or not n_asked, what
        return
    assert resumed.code == 3, (what, resumed.err)
    assert (resumed.out, "Traceback" in resumed.err) == ("", False)
    assert "tables repair" in resumed.err, (what, resumed.err)
    assert measured.advisor("tables", "repair", measured.run).code == 0
    assert measured.resume().code == 0
    assert measured.cells() == without_replayed(table(measured.whole)), what


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("is_repaired", [False, True])
def test_a_damaged_log_costs_only_what_is_asked_again(
    measured: Measured, seed: int, *, is_repaired: bool
) -> None:
    path = measured.start_from(measured.killed)
    log = path.with_name("run.sqlite-wal")
    what = damage(log, random.Random(200 + seed), first=0)
    if is_repaired:
        repaired = measured.advisor("tables", "repair", measured.run)
        assert repaired.code in (0, 3), (what, repaired.err)
        if repaired.code == 3:
            assert path.is_file()
            return
    resumed = measured.resume()
    assert resumed.code == 0, (what, resumed.err)
    assert measured.cells() == without_replayed(table(measured.whole)), what
    n_rows = len(rows(measured.run, "SELECT key FROM generation"))
    assert n_rows == N_QUESTIONS * N_POLICIES


def test_a_whole_or_torn_log_is_no_damage_and_a_changed_one_is_named(measured: Measured) -> None:
    path = measured.start_from(measured.killed)
    log = path.with_name("run.sqlite-wal")
    data = log.read_bytes()
    for kept in (data, data[:-100]):
        measured.start_from(measured.killed)
        log.write_bytes(kept)
        assert "is damaged" not in measured.resume().err
    for place in (100, len(data) // 2):
        measured.start_from(measured.killed)
        log.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        resumed = measured.resume()
        assert resumed.code == 0, resumed.err
        assert "warning: the log beside run.sqlite is damaged at byte " in resumed.err
        assert resumed.json()["summary"]["n_asked"] > 0
        assert measured.cells() == without_replayed(table(measured.whole))


def test_changed_answers_are_named_and_asked_again(measured: Measured) -> None:
    path = measured.start_from(measured.whole)
    data = path.read_bytes()
    place = data.index(b"Answer: 1") + len(b"Answer: ")
    path.write_bytes(data[:place] + b"7" + data[place + 1 :])
    resumed = measured.resume()
    assert resumed.code == 0, resumed.err
    assert "warning: damaged on the disk, asked again: sums " in resumed.err
    assert resumed.json()["summary"]["n_asked"] == 1
    assert measured.cells() == without_replayed(table(measured.whole))


def test_a_damaged_trace_is_no_budgets_answer(measured: Measured) -> None:
    path = measured.start_from(measured.whole)
    [(key, ids)] = rows(measured.run, "SELECT key, token_ids FROM trace LIMIT 1")
    assert isinstance(ids, bytes)
    data = path.read_bytes()
    assert data.count(ids) == 1
    flipped = bytes([*ids[:-3], ids[-3] ^ 1, *ids[-2:]])
    path.write_bytes(data.replace(ids, flipped))
    more = [*measured.command, "--budgets", "0,8,20,24,max"]
    resumed = measured.advisor(*more)
    assert resumed.code == 0, resumed.err
    assert "warning: damaged on the disk, asked again: sums " in resumed.err
    # The trace itself, and the new budget.
    assert resumed.json()["summary"]["n_asked"] == N_QUESTIONS + 1
    assert rows(measured.run, f"SELECT key FROM trace WHERE key = '{key}'")


def test_a_damaged_arm_is_measured_again(measured: Measured) -> None:
    path = measured.start_from(measured.whole)
    data = path.read_bytes()
    [(root,)] = rows(measured.run, "SELECT rootpage FROM sqlite_master WHERE name = 'arm'")
    assert isinstance(root, int)
    place = data.index(b"reasoning@20", (root - 1) * PAGE)
    path.write_bytes(data[:place] + b"seasoning" + data[place + 9 :])
    assert ("seasoning@20", "") in rows(measured.run, "SELECT policy, recipe FROM arm")
    refused = measured.resume()
    assert refused.code == 3
    assert "error[store-damaged]" in refused.err
    assert "tables repair" in refused.err
    assert measured.advisor("tables", "repair", measured.run).code == 0
    resumed = measured.resume()
    assert resumed.code == 0, resumed.err
    assert resumed.json()["summary"]["n_asked"] == N_QUESTIONS
    assert measured.cells() == without_replayed(table(measured.whole))


def test_a_run_whose_first_page_is_gone_is_refused_and_left_alone(measured: Measured) -> None:
    path = measured.start_from(measured.whole)
    path.write_bytes(bytes(PAGE) + path.read_bytes()[PAGE:])
    before = path.read_bytes()
    for arguments_ in (["tables", "repair", measured.run], measured.command):
        refused = measured.advisor(*arguments_)
        assert (refused.code, refused.out) == (3, "")
        assert refused.err.splitlines()[-2].startswith("error[")
        assert path.read_bytes() == before


def test_a_repair_that_is_killed_leaves_a_run_to_repair(measured: Measured) -> None:
    for n in range(1, 5):
        path = measured.start_from(measured.killed)
        place = KillAt("os:replace", n)
        done = measured.advisor("tables", "repair", measured.run, kill_at=place)
        if done.code == 0:
            break
        assert done.code == -signal.SIGKILL
        assert path.is_file(), f"killed at the exchange {n}"
        assert measured.advisor("tables", "repair", measured.run).code == 0
        assert measured.resume().code == 0
        assert measured.cells() == without_replayed(table(measured.whole))
    else:
        pytest.fail("a repair exchanges more files than expected")
