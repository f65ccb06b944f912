"""What a grader is."""

from dataclasses import dataclass
from typing import Protocol

__all__ = ["Grade", "Grader"]


@dataclass(frozen=True, slots=True)
class Grade:
    """A grader's judgement.

    Attributes:
        is_correct: Whether the answer matches the gold answer.
        extracted: The answer as read from the text, `None` if none was found.
        score: Partial credit in [0, 1] where the measure has it, such as F1; `None` otherwise.
        problem: Why no judgement could be made, such as a checker that died; the outcome is
            then `error`, never `wrong`. `None` for every judgement.
    """

    is_correct: bool
    extracted: str | None
    score: float | None = None
    problem: str | None = None


class Grader(Protocol):
    """Judges the visible answer (never the thought) against the gold answer."""

    @property
    def name(self) -> str:
        """Name in tables and on the command line."""
        ...

    @property
    def version(self) -> int:
        """Raised whenever any judgement could change."""
        ...

    @property
    def is_slow(self) -> bool:
        """Whether `grade` may take milliseconds or more; it then runs in worker threads."""
        ...

    @property
    def runs_code(self) -> bool:
        """Whether `grade` executes what a model wrote; off unless the user asks for it."""
        ...

    def check_gold(self, gold: str) -> str | None:
        """Return why no answer could ever match a gold answer, `None` if one can."""
        ...

    def grade(self, answer: str, gold: str) -> Grade:
        """Judge one answer; total: any text gives a grade. Safe to call from many threads."""
        ...
