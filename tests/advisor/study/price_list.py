"""A lab without models: prices that can be added by hand, and students that know their recipe."""

import errno
import hashlib
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from advisor.study._lab import StageCost, Step
from advisor.study._results import StudyCell
from advisor.study._student import Stage, Student
from calibration.statistics import wilson_interval
from policies import MissingPrerequisiteError

N_PARAMS = {"pocket-xs": 100_000, "pocket-s": 400_000, "pocket-m": 2_000_000, "3B": 3_000_000_000}
N_ROWS = 1000
DIRECT_TOKENS, REASONING_TOKENS = 10, 50
"""Tokens of a row."""
TASK_TYPES = ("general-mc", "general-oe", "math-mc", "math-oe")
N_STEPS = 3


class PriceList:
    """Prices are linear in the rows of each kind; every student answers by a fixed rule.

    Faults are told by the ids of students: `fails` cannot be measured, at `full` the disk is
    full, at `slow` training takes `pause` seconds for each step.
    """

    name = "price list"

    def __init__(
        self,
        *,
        seconds_per_run: float | None = 10.0,
        measuring: float | None = 2.0,
        fails: str = "",
        full: str = "",
        slow: str = "",
        pause: float = 0.0,
        version: str = "1",
    ) -> None:
        self._seconds_per_run, self._measuring = seconds_per_run, measuring
        self._fails, self._full, self._slow, self._pause = fails, full, slow, pause
        self._version = version

    def identity(self) -> dict[str, str]:
        return {"lab": self.name, "version": self._version}

    def n_params(self, size: str) -> int:
        return N_PARAMS[size]

    def stage_cost(self, size: str, stage: Stage, seed: int) -> StageCost:
        direct = 1.0 - stage.ratio
        tokens = round(N_ROWS * (direct * DIRECT_TOKENS + stage.ratio * REASONING_TOKENS))
        return StageCost(tokens, 6.0 * N_PARAMS[size] * tokens, self._seconds_per_run)

    def measure_seconds(self, size: str) -> float | None:
        return self._measuring

    def prepare(self, size: str, *, on_step: Callable[[Step], None]) -> None:
        on_step(Step(1, 1, 0.5))

    def train(
        self, student: Student, folder: Path, *, work: Path, on_step: Callable[[Step], None]
    ) -> None:
        for done in range(1, N_STEPS + 1):
            if student.id == self._slow:
                time.sleep(self._pause)
            on_step(Step(done, N_STEPS, 1.0 / done))
        if student.id == self._full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        folder.mkdir()
        (folder / "weights.txt").write_text(student.label, encoding="utf-8")

    def finish(self, students: Sequence[Student], *, work: Path) -> None:
        work.mkdir(parents=True, exist_ok=True)
        with (work / "finished.txt").open("a", encoding="utf-8") as file:
            file.writelines(f"{student.id}\n" for student in students)

    def measure(
        self, student: Student, folder: Path, *, policies: Sequence[str], n_questions: int
    ) -> tuple[StudyCell, ...]:
        if student.id == self._fails:
            raise MissingPrerequisiteError("no library to ask the model with")
        return tuple(
            _cell(student, task_type, policy, n_questions)
            for task_type in TASK_TYPES
            for policy in policies
        )


def _cell(student: Student, task_type: str, policy: str, n: int) -> StudyCell:
    thinks = student.ratio if policy != "direct" else 0.0
    wanted = 0.3 + 0.5 * thinks
    right = [_draw(f"{student.seed}/{task_type}/{place}") < wanted for place in range(n)]
    interval = wilson_interval(sum(right), n)
    return StudyCell(
        task_type=task_type,
        mode="ift" if policy == "direct" else "reasoning",
        policy=policy,
        n=n,
        n_correct=sum(right),
        n_cut=0,
        accuracy=sum(right) / n,
        ci_low=interval.low,
        ci_high=interval.high,
        mean_tokens=3.0 + 20.0 * thinks,
        mean_tokens_correct=3.0 if any(right) else None,
        mean_tokens_wrong=3.0 if not all(right) else None,
        think_share=thinks,
        mean_flops=1e6,
        correct="".join("01"[one] for one in right),
    )


def _draw(text: str) -> float:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") / 2**32
