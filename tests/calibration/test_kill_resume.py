"""A run that is killed again and again ends with the table of a run that never was."""

import csv
import os
import random
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from calibration import MeasuredTable, RunStore, store_path
from policies.backends.pocket import pocket_model_names

ROOT = Path(__file__).resolve().parents[2]
N_QUESTIONS = 60
N_SAMPLES = 4 * N_QUESTIONS * 3

pytestmark = pytest.mark.skipif(
    "pocket-m" not in pocket_model_names(), reason="the model pocket-m is not there"
)

# Prints the number of finished samples after each of them, and `written` before it closes.
RUN = f"""
import asyncio, sys
from pathlib import Path
from calibration import Arm, Plan, RunStore, describe_model, load_tasks, run_plan, store_path
from policies import DecodingOptions, build_policy
from policies.backends.pocket import PocketBackend

backend = PocketBackend("pocket-m", max_batch=4)
facts = describe_model(backend)
arms = [Arm(backend, build_policy(p), facts) for p in ("direct", "reasoning@4", "reasoning@max")]
options = DecodingOptions(max_answer_tokens=16, max_thinking_tokens=100)
plan = Plan(tuple(load_tasks(["pocket"], limit={N_QUESTIONS}, seed=0)), tuple(arms), options)

async def main(store):
    await run_plan(plan, store, on_progress=lambda p: print(p.n_done, flush=True))
    await backend.aclose()

with RunStore.create(store_path(Path(sys.argv[1]))) as store:
    print("open", flush=True)
    asyncio.run(main(store))
    print("written", flush=True)
"""


def start(folder: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", RUN, str(folder)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )


def kill_after(folder: Path, line: str) -> None:
    """Run until it prints `line` (or ends) and kill it without warning."""
    process = start(folder)
    assert process.stdout is not None
    for text in process.stdout:
        if text.strip() == line:
            process.send_signal(signal.SIGKILL)
            break
    process.stdout.read()
    process.wait()
    process.stdout.close()


def finish(folder: Path) -> int:
    """Run to the end; return how many samples were asked."""
    process = start(folder)
    output, _ = process.communicate()
    assert process.returncode == 0
    return sum(text.isdigit() for text in output.split())


def table_without_times(folder: Path) -> list[dict[str, Any]]:
    with RunStore.open(store_path(folder)) as store:
        path = MeasuredTable.from_store(store).save(folder)
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [{key: row[key] for key in row if key != "mean_seconds"} for row in rows]


@pytest.mark.timeout(600)
def test_a_run_killed_at_any_moment_resumes_without_a_trace(tmp_path: Path) -> None:
    assert finish(tmp_path / "whole") == N_SAMPLES
    rng = random.Random(os.urandom(8))
    killed = tmp_path / "killed"
    n_finished = 0
    moments = ["open", *map(str, sorted(rng.sample(range(1, N_SAMPLES), 4))), "written"]
    for moment in moments:
        kill_after(killed, moment)
        with RunStore.open(store_path(killed)) as store:
            n_before, n_finished = n_finished, len(store.finished_keys())
        assert n_before <= n_finished <= N_SAMPLES
    n_asked_last = finish(killed)
    assert n_asked_last == N_SAMPLES - n_finished
    with sqlite3.connect(store_path(killed)) as connection:
        [(n_rows, n_distinct)] = connection.execute(
            "SELECT count(*), count(DISTINCT arm || question || repeat) FROM generation"
        ).fetchall()
        [(integrity,)] = connection.execute("PRAGMA integrity_check").fetchall()
    connection.close()
    assert (n_rows, n_distinct, integrity) == (N_SAMPLES, N_SAMPLES, "ok"), moments
    assert table_without_times(killed) == table_without_times(tmp_path / "whole"), moments
