"""Where students are trained and measured: the pocket family, or a user's own base model."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from ._results import StudyCell
from ._student import Stage, Student

__all__ = ["Lab", "StageCost", "Step"]


class StageCost(NamedTuple):
    """What one run of training takes.

    Attributes:
        tokens: Tokens that it computes.
        flops: Its FLOPs by the exact formula.
        seconds: Seconds of one worker to expect; `None` where nothing is known about them.
    """

    tokens: int
    flops: float
    seconds: float | None


class Step(NamedTuple):
    """How far the training of a student is: steps done, steps in all, loss per target token."""

    done: int
    total: int
    loss: float


class Lab(Protocol):
    """Trains and measures students of one family of base models.

    Results are a function of the student and the design alone: deterministic per seed on one
    machine, whatever was trained before or beside it.
    """

    name: str

    def identity(self) -> dict[str, str]:
        """Return what identifies its results: backend, versions, hyper-parameters, base hashes."""
        ...

    def n_params(self, size: str) -> int:
        """Return the parameters of a size."""
        ...

    def stage_cost(self, size: str, stage: Stage, seed: int) -> StageCost:
        """Return what one run takes if it is trained from its first row."""
        ...

    def measure_seconds(self, size: str) -> float | None:
        """Return the seconds that measuring one student takes, `None` where unknown.

        For 1,000 questions of each task type by two policies; a plan scales it by both.
        """
        ...

    def prepare(self, size: str, *, on_step: Callable[[Step], None]) -> None:
        """Make the base of a size ready, if that is the lab's to do; called before any student."""
        ...

    def train(
        self, student: Student, folder: Path, *, work: Path, on_step: Callable[[Step], None]
    ) -> None:
        """Train a student and write its model to `folder`, whole or not at all.

        Args:
            student: Whom to train.
            folder: Receives the model; does not exist yet.
            work: Folder of the study's families, where states that students share are kept.
            on_step: Called after every step.
        """
        ...

    def finish(self, students: Sequence[Student], *, work: Path) -> None:
        """Clear away what was kept for these students, all of which are measured now.

        Args:
            students: Those of one size, seed and first corpus: a family, which shares states with
                nobody else.
            work: As `train` had it.
        """
        ...

    def measure(
        self, student: Student, folder: Path, *, policies: Sequence[str], n_questions: int
    ) -> Sequence[StudyCell]:
        """Ask a trained student the study's held-out questions."""
        ...
