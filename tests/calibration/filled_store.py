"""Run stores with known samples."""

import os
import subprocess
import sys
from pathlib import Path

from calibration import Outcome, RunStore
from calibration._store import ArmRow, StoredSample
from calibration.graders import Judgement
from policies import (
    Completion,
    Evidence,
    FinishReason,
    Usage,
)

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden" / "calibration"
ARM = ArmRow("model", 1000, "direct", "a recipe", "{}")
OUTCOMES = (Outcome.CORRECT, Outcome.WRONG, Outcome.CUT, Outcome.ERROR)


def answer(text: str = "#### 4", *, tokens: int = 7, seconds: float = 0.5) -> Completion:
    return Completion(
        text,
        FinishReason.STOP,
        Usage(30, tokens, 3, 2),
        seconds,
        thinking="2 and 2",
        evidence=Evidence(-0.5, -1.5),
    )


def sample(number: int, *, arm: int = 1, outcome: Outcome = Outcome.CORRECT) -> StoredSample:
    is_error = outcome is Outcome.ERROR
    return StoredSample(
        key=f"{arm}-{number}",
        arm=arm,
        question=f"q{number}",
        repeat=0,
        requested_budget="64",
        completion=None if is_error else answer(tokens=number),
        judgement=Judgement(outcome, None if is_error else "4"),
        grader=("number", 1),
        flops=None if is_error else 100.0 * number,
        error=("backend-timeout", "too slow") if is_error else None,
    )


def fill(store: RunStore, n_samples: int, *, policies: tuple[str, ...] = ("direct",)) -> None:
    store.add_questions(
        [
            (f"q{n}", f"task{n // 4 % 2}", "math-oe", f"q{n}", n, f"question {n}?", "4")
            for n in range(n_samples)
        ]
    )
    for policy in policies:
        arm = store.add_arm(ArmRow("model", 1000, policy, "a recipe", "{}"))
        for n in range(n_samples):
            store.add(sample(n, arm=arm, outcome=OUTCOMES[(3 * n + arm) % 4]))


def n_stored(path: Path) -> int:
    with RunStore.open(path) as store:
        return sum(1 for _ in store.records())


def run_python(code: str, *arguments: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{Path(__file__).parent}"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def filled_run(path: Path) -> Path:
    """Return the path of a new store with forty questions, each answered by two policies."""
    with RunStore.create(path) as store:
        fill(store, 40, policies=("direct", "reasoning@64"))
        store.set_meta("provenance", {"seed": 0})
    return path
