"""The run store: what is damaged, foreign, locked or cannot be written is refused by name."""

import dataclasses
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from calibration import MeasuredTable, RunStore, store_path
from calibration._store import ArmRow
from policies import (
    ArtifactTooNewError,
    Evidence,
    StoreError,
)
from tests.calibration.filled_store import (
    ROOT,
    answer,
    fill,
    filled_run,
    n_stored,
    run_python,
    sample,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return store_path(tmp_path / "run")


@pytest.fixture
def filled(path: Path) -> Path:
    return filled_run(path)


def test_a_missing_store_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"no run store at .*none\.sqlite") as caught:
        RunStore.open(tmp_path / "none.sqlite")
    assert caught.value.hint
    assert not list(tmp_path.iterdir())


def test_a_newer_store_is_refused_and_left_alone(filled: Path) -> None:
    with sqlite3.connect(filled) as connection:
        connection.execute("PRAGMA user_version=999")
    connection.close()
    before = filled.read_bytes()
    for opening in (RunStore.open, RunStore.create):
        with pytest.raises(ArtifactTooNewError, match="999") as caught:
            opening(filled)
        assert caught.value.hint == "upgrade thinkroute"
    assert filled.read_bytes() == before


def test_somebody_elses_database_is_refused_and_left_alone(path: Path) -> None:
    path.parent.mkdir()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE mine (x)")
    connection.close()
    before = path.read_bytes()
    for opening in (RunStore.open, RunStore.create):
        with pytest.raises(StoreError, match="not a run store"):
            opening(path)
    assert path.read_bytes() == before


def test_a_file_that_is_no_database_is_refused_and_left_alone(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"my notes, " * 1000)
    for opening in (RunStore.open, RunStore.create):
        with pytest.raises(StoreError, match="not a usable run store"):
            opening(path)
    assert path.read_bytes() == b"my notes, " * 1000


def test_after_a_refusal_the_store_is_not_locked(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"my notes, " * 1000)
    with pytest.raises(StoreError):
        RunStore.create(path)
    path.unlink()
    with RunStore.create(path) as store:
        fill(store, 1)
    assert n_stored(path) == 1


def read_all(path: Path) -> int:
    with RunStore.open(path) as store:
        MeasuredTable.from_store(store)
        store.get_meta("provenance")
        return sum(1 for _ in store.records())


def attempt(path: Path) -> int | StoreError | ArtifactTooNewError:
    try:
        return read_all(path)
    except (StoreError, ArtifactTooNewError) as error:
        return error


def damaged(whole: bytes) -> Iterator[bytes]:
    rng = random.Random(7)
    for _ in range(40):
        position = rng.randrange(len(whole))
        yield whole[:position] + bytes([whole[position] ^ 0xFF]) + whole[position + 1 :]
    for _ in range(10):
        yield whole[: rng.randrange(100, len(whole))]
    # The letters of an outcome, which no database check would notice.
    yield whole.replace(b"correct", b"corr\xffct", 1)
    yield whole.replace(b"correct", b"corrxct", 1)


def test_damage_gives_a_store_error_or_all_that_is_readable(filled: Path) -> None:
    whole = filled.read_bytes()
    n_refused = 0
    for content in damaged(whole):
        filled.write_bytes(content)
        found = attempt(filled)
        if isinstance(found, int):
            assert found <= 80
        else:
            assert str(filled) in str(found)
            assert found.hint
            n_refused += 1
    assert n_refused >= 10


HOLD = """
import sys
from pathlib import Path
from typing import Any
from calibration import RunStore
with RunStore.create(Path(sys.argv[1])) as store:
    print("ready", flush=True)
    sys.stdin.readline()
"""


def test_two_processes_cannot_write_one_store(filled: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(filled)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "ready\n"
        with pytest.raises(StoreError, match="another process") as caught:
            RunStore.create(filled)
        assert caught.value.code == "store-locked"
        assert n_stored(filled) == 80
    finally:
        holder.kill()
        holder.communicate()
    with RunStore.create(filled) as store:
        assert len(store.finished_keys()) == 60


def test_a_store_is_read_while_it_is_written(path: Path) -> None:
    n_samples, seen = 600, [0]
    with RunStore.create(path) as store:
        fill(store, n_samples)
        writing = threading.Event()

        def write() -> None:
            arm = store.add_arm(ArmRow("model", 1000, "reasoning@64", "a recipe", "{}"))
            for n in range(n_samples):
                store.add(sample(n, arm=arm))
            writing.set()

        thread = threading.Thread(target=write)
        thread.start()
        while True:
            is_last = writing.is_set()
            with RunStore.open(path) as reader:
                seen.append(sum(row["n"] + row["n_error"] for row in reader.cell_sums()))
            if is_last:
                break
        thread.join()
    assert seen == sorted(seen)
    assert n_stored(path) == 2 * n_samples


FILL_THE_DISK = """
import resource, signal, sys
from pathlib import Path
from typing import Any
sys.path.insert(0, sys.argv[2])
import filled_store as t
from calibration import RunStore
from policies import StoreError

path = Path(sys.argv[1])
with RunStore.create(path) as store:
    t.fill(store, 40)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
limit = path.stat().st_size + 200_000
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    with RunStore.create(path) as store:
        arm = store.add_arm(t.ArmRow("model", 1000, "reasoning@64", "a recipe", "{}"))
        for n in range(20_000):
            store.add(t.sample(n % 40, arm=arm + n))
except StoreError as error:
    print(error.hint)
else:
    print("no error")
"""


def test_a_full_disk_is_a_store_error_and_loses_nothing_written_before(path: Path) -> None:
    done = run_python(FILL_THE_DISK, path, Path(__file__).parent)
    assert "is safe" in done.stdout, done.stdout + done.stderr
    with RunStore.open(path) as store:
        assert sum(1 for record in store.records() if record.policy == "direct") == 40
        integrity = store._connection.execute("PRAGMA integrity_check").fetchone()
    assert integrity == ("ok",)
    with RunStore.create(path) as store:
        store.add(sample(0))
    assert n_stored(path) >= 40


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    (tmp_path / "folder.sqlite").mkdir()
    for place in (tmp_path / "file" / "run.sqlite", tmp_path / "folder.sqlite"):
        with pytest.raises(StoreError, match=place.name) as caught:
            RunStore.create(place)
        assert caught.value.hint


def test_a_failed_write_reaches_the_caller_and_what_was_there_stays(filled: Path) -> None:
    store = RunStore.create(filled)
    # A trigger stands for a disk that refuses one group of samples.
    store._connection.executescript(
        "CREATE TRIGGER refuse BEFORE INSERT ON generation WHEN new.arm = 9"
        " BEGIN SELECT RAISE(ABORT, 'the disk says no'); END;"
    )
    store.add(sample(1, arm=9))
    assert store._writer is not None
    store._writer.join(timeout=30)
    with pytest.raises(StoreError, match="the disk says no"):
        store.add(sample(2))
    with pytest.raises(StoreError, match="the disk says no"):
        store.close()
    assert n_stored(filled) == 80


READ_AS_NOBODY = """
import os, sys
from pathlib import Path
from typing import Any
from calibration import MeasuredTable, RunStore
import calibration.statistics
path = Path(sys.argv[1])
if os.geteuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
assert not os.access(path.parent, os.W_OK)
with RunStore.open(path) as store:
    print(len(store.finished_keys()))
"""


def test_a_store_in_a_read_only_folder_can_be_read(filled: Path) -> None:
    folder = Path(tempfile.mkdtemp(prefix="store-"))
    try:
        shutil.copy(filled, folder / "run.sqlite")
        (folder / "run.sqlite").chmod(0o444)
        folder.chmod(0o555)
        done = run_python(READ_AS_NOBODY, folder / "run.sqlite")
        assert done.stdout == "60\n", done.stderr
    finally:
        folder.chmod(0o755)
        shutil.rmtree(folder)


NEVER_CLOSED = """
import sys
from pathlib import Path
from typing import Any
sys.path.insert(0, sys.argv[2])
import filled_store as t
from calibration import RunStore
store = RunStore.create(Path(sys.argv[1]))
t.fill(store, 4)
raise SystemExit("a defect elsewhere")
"""


def test_a_store_that_nobody_closes_does_not_keep_the_process(path: Path) -> None:
    done = run_python(NEVER_CLOSED, path, Path(__file__).parent)
    assert done.returncode == 1
    assert "a defect elsewhere" in done.stderr


def test_closing_twice_is_harmless(path: Path) -> None:
    store = RunStore.create(path)
    fill(store, 2)
    store.close()
    store.close()
    assert n_stored(path) == 2


@pytest.mark.parametrize("column", ["margin", "agreement"])
@pytest.mark.parametrize("value", [None, 0.125])
def test_evidence_that_was_changed_on_the_disk_is_found(
    path: Path, column: str, value: float | None
) -> None:
    given = Evidence(-0.5, -1.5) if value is not None else Evidence(-0.5, -1.5, 0.25, 0.75)
    with RunStore.create(path) as store:
        fill(store, 2)
        store.add(
            dataclasses.replace(sample(0), completion=dataclasses.replace(answer(), evidence=given))
        )
    with sqlite3.connect(path) as connection:
        connection.execute(f"UPDATE generation SET {column} = ? WHERE key = '1-0'", (value,))
    connection.close()
    with RunStore.open(path) as store:
        assert [damage.key for damage in store.damaged()] == ["1-0"]


def test_a_changed_byte_is_named_and_can_be_dropped(filled: Path) -> None:
    with sqlite3.connect(filled) as connection:
        connection.execute("UPDATE generation SET text = '#### 5' WHERE key = '1-1'")
    connection.close()
    with RunStore.create(filled) as store:
        [damage] = store.damaged()
        assert damage == ("1-1", "task0", "q1", "direct")
        store.drop([damage.key])
        assert store.damaged() == []
        assert "1-1" not in store.finished_keys()
