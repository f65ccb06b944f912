"""The run store: older versions are read, go on in the newest, and the schema is written down."""

import dataclasses
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from calibration import MeasuredTable, RunStore, store_path
from policies import (
    Evidence,
)
from tests.calibration.filled_store import (
    GOLDEN,
    answer,
    fill,
    filled_run,
    sample,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return store_path(tmp_path / "run")


@pytest.fixture
def filled(path: Path) -> Path:
    return filled_run(path)


def test_the_schema_is_the_one_of_version_4(
    filled: Path, golden_json: Callable[[str, object], None]
) -> None:
    with sqlite3.connect(filled) as connection:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        tables = {
            name: [row[1] for row in connection.execute(f"PRAGMA table_info({name})")]
            for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type='table'")
        }
    connection.close()
    golden_json("calibration/store_schema_v4.json", {"version": version, "tables": tables})


@pytest.fixture
def of_version_1(path: Path) -> Path:
    return restored(path, 1)


def restored(path: Path, version: int) -> Path:
    path.parent.mkdir()
    with sqlite3.connect(path) as connection:
        text = (GOLDEN / f"store_v{version}.sql").read_text(encoding="utf-8")
        connection.executescript(text)
    connection.close()
    return path


def cells_of(path: Path) -> str:
    with RunStore.open(path) as store:
        assert store.damaged() == []
        return repr(MeasuredTable.from_store(store).cells)


@pytest.mark.parametrize("version", [2, 3])
def test_a_store_of_an_older_version_is_read_and_left_as_it_is(
    path: Path, tmp_path: Path, version: int
) -> None:
    before = restored(path, version).read_bytes()
    new = store_path(tmp_path / "new")
    with RunStore.create(new) as store:
        fill(store, 12, policies=("direct", "reasoning@64"))
    assert cells_of(path) == cells_of(new)
    with RunStore.open(path) as old, RunStore.open(new) as store:
        assert list(old.records()) == list(store.records())
    assert path.read_bytes() == before


@pytest.mark.parametrize("version", [2, 3])
def test_a_run_of_an_older_version_goes_on_in_the_newest_and_stays_sound(
    path: Path, version: int
) -> None:
    restored(path, version)
    more = dataclasses.replace(answer(), evidence=Evidence(-0.5, -1.5, 0.25, 0.75))
    with RunStore.create(path) as store:
        store.add_questions([("q99", "task9", "math-oe", "q99", None, "?", "4")])
        store.add(dataclasses.replace(sample(99), completion=more))
    with RunStore.open(path) as store:
        assert store.damaged() == []
        assert {record.evidence for record in store.records()} == {
            None,
            Evidence(-0.5, -1.5),
            Evidence(-0.5, -1.5, 0.25, 0.75),
        }


def test_a_store_of_version_1_is_read_and_left_as_it_is(of_version_1: Path, tmp_path: Path) -> None:
    before = of_version_1.read_bytes()
    new = store_path(tmp_path / "new")
    with RunStore.create(new) as store:
        fill(store, 12, policies=("direct", "reasoning@64"))
    assert cells_of(of_version_1) == cells_of(new)
    with RunStore.open(of_version_1) as store:
        assert store.trace("1-0") is None
        assert store.ledger()["measurement_tokens"] == store.ledger()["native_tokens"] > 0
    assert of_version_1.read_bytes() == before


def test_a_run_of_version_1_goes_on_in_the_newest(of_version_1: Path) -> None:
    cells = cells_of(of_version_1)
    with RunStore.create(of_version_1) as store:
        assert cells_of(of_version_1) == cells
        store.add_questions([("q99", "task9", "math-oe", "q99", None, "?", "4")])
        store.add(sample(99))
    assert "task9" in cells_of(of_version_1)
    with sqlite3.connect(of_version_1) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (4,)
    connection.close()
