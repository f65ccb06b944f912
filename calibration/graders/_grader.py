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
    """

    is_correct: bool
    extracted: str | None


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

    def grade(self, answer: str, gold: str) -> Grade:
        """Judge one answer; pure and total: any text gives a grade."""
        ...
