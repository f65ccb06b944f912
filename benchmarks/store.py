"""The run store: writing and aggregating a million outcomes.

Aggregated twice: each question by itself, and 16 questions to a document, which needs the sums of
cluster-robust intervals. All answers are timed, so that every cell has quantiles. Beside the
wall time, which holds whatever else the machine does, stands the processor time.
"""

import hashlib
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks._report import Report
from calibration import Outcome, RunStore
from calibration._store import ArmRow, StoredSample  # noqa: PLC2701 - a million need no model
from calibration.graders import Judgement
from policies import Completion, FinishReason, Usage

QUESTIONS = 100_000
ARMS = 10
MOST_QUEUED = 10_000
# Ids are hexadecimal numbers in a row: 16 of them share all digits but the last.
_DOCUMENT_DIGITS = 15
_DURATIONS = 97
ROOT = Path(__file__).resolve().parent.parent

# In a process of its own, so that the peak of its memory is the aggregation's.
AGGREGATE = """
import json, resource, sys, time
from pathlib import Path
from calibration import MeasuredTable, RunStore
started, cpu = time.perf_counter(), time.process_time()
with RunStore.open(Path(sys.argv[1])) as store:
    table = MeasuredTable.from_store(store)
seconds, cpu_s = time.perf_counter() - started, time.process_time() - cpu
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
n = sum(cell.n + cell.n_error for cell in table.cells)
n_timed = sum(cell.n_timed for cell in table.cells if cell.p95_seconds)
kinds = sorted({cell.interval for cell in table.cells})
started, cpu = time.perf_counter(), time.process_time()
with RunStore.open(Path(sys.argv[1])) as store:
    store._connection.execute("SELECT sum(completion_tokens) FROM generation").fetchone()
scan_s, scan_cpu_s = time.perf_counter() - started, time.process_time() - cpu
print(json.dumps([n, n_timed, kinds, seconds, cpu_s, peak, scan_s, scan_cpu_s]))
"""


def run(report: Report) -> None:
    """Write samples as a run does, then aggregate them as `advisor tables rebuild` does."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.sqlite"
        started = time.perf_counter()
        _write(path)
        n_samples = QUESTIONS * ARMS
        rate = n_samples / (time.perf_counter() - started)
        report.add(f"write {n_samples:,} samples", rate, "samples/s")
        _aggregate(report, path, "wilson", n_samples)
        with sqlite3.connect(path) as connection:
            connection.execute("UPDATE question SET grp = substr(id, 1, ?)", (_DOCUMENT_DIGITS,))
        _aggregate(report, path, "clustered", n_samples)


def _aggregate(report: Report, path: Path, interval: str, n_samples: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", AGGREGATE, str(path)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    n_found, n_timed, kinds, seconds, cpu_s, peak_mb, scan_s, scan_cpu_s = json.loads(done.stdout)
    name = f"aggregate {n_samples:,} outcomes, {interval}"
    if (n_found, n_timed, kinds) != (n_samples, n_samples, [interval]):
        report.fail(name, f"{n_found} outcomes, {n_timed} timed, intervals {kinds}")
    report.add(f"{name}: wall time", seconds, "s", baseline=("bare scan", scan_s), at_most=10)
    report.add(f"{name}: processor time", cpu_s, "s", baseline=("bare scan", scan_cpu_s))
    report.add(f"{name}: peak memory", peak_mb, "MB", at_most=500)


def _write(path: Path) -> None:
    outcomes = list(Outcome)[:3]
    completions = [
        Completion(
            "Answer: 6",
            FinishReason.STOP,
            Usage(30, 200, 180),
            seconds=0.5 + 0.01 * number,
            thinking="So 7+5=2; 2*3=6." * 4,
        )
        for number in range(_DURATIONS)
    ]
    with RunStore.create(path) as store:
        arms = [store.add_arm(ArmRow("m", 1000, f"reasoning@{b}", "", "{}")) for b in range(ARMS)]
        store.add_questions(
            [
                (f"{n:016x}", f"task{n % 7}", "math-oe", f"{n:016x}", None, f"what is {n}?", "6")
                for n in range(QUESTIONS)
            ]
        )
        for arm in arms:
            for n in range(QUESTIONS):
                key = hashlib.sha256(f"{arm}/{n}".encode()).hexdigest()
                outcome = outcomes[(7 * n + arm) % 3]
                store.add(
                    StoredSample(
                        *(key, arm, f"{n:016x}", 0, "64", completions[n % _DURATIONS]),
                        Judgement(outcome, "6"),
                        grader=("number", 1),
                        flops=1e9 + n,
                    )
                )
                if n % MOST_QUEUED == 0:
                    # What is unwritten waits in memory.
                    while store._queue.qsize() > MOST_QUEUED:  # pyright: ignore[reportPrivateUsage]
                        time.sleep(0.01)
