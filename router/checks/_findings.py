"""What checks of outcomes say: one kind of trouble each, with its count and what to do."""

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

__all__ = ["Finding", "FindingCode", "Severity"]


class Severity(StrEnum):
    """How bad a finding is, the worst first.

    Attributes:
        FATAL: Nothing can be learned from the outcomes as they are.
        WARNING: Results are weaker than they look, or something was put right.
        NOTE: Good to know.
    """

    FATAL = "fatal"
    WARNING = "warning"
    NOTE = "note"


class FindingCode(StrEnum):
    """Kinds of trouble; stable.

    Attributes:
        NO_OUTCOMES: No outcome is graded.
        BAD_NUMBERS: A count, FLOPs or seconds are negative, infinite or NaN.
        CONTRADICTIONS: One question has two texts, types or groups, or one model two sizes.
        DUPLICATES: Outcomes written twice were dropped.
        EQUAL_REPEATS: Repeats that are equal in everything were kept.
        UNEVEN_REPEATS: Some arms have more repeats than others on the same questions.
        SAME_TEXTS: Questions with one text were in different groups and share one now.
        EMPTY_TEXTS: Questions without text.
        ONE_TEXT: Most questions have the same text.
        ONE_CLASS: Every outcome is correct, or none.
        ONE_CLASS_ARM: The same of one arm.
        FEW_QUESTIONS: An arm was measured on few questions.
        FEW_GROUPS: There are too few groups to hold some back.
        GAPS: Not every arm was measured on every question.
        NO_SHARED_QUESTIONS: No question was answered by all arms.
        SELECTED_QUESTIONS: An arm was measured on questions that another one found hard or easy.
        ERRORS: Requests of an arm failed often.
        UNKNOWN_TOKENS: Token counts of an arm are unknown.
    """

    NO_OUTCOMES = "no-outcomes"
    BAD_NUMBERS = "bad-numbers"
    CONTRADICTIONS = "contradictions"
    DUPLICATES = "duplicates"
    EQUAL_REPEATS = "equal-repeats"
    UNEVEN_REPEATS = "uneven-repeats"
    SAME_TEXTS = "same-texts"
    EMPTY_TEXTS = "empty-texts"
    ONE_TEXT = "one-text"
    ONE_CLASS = "one-class"
    ONE_CLASS_ARM = "one-class-arm"
    FEW_QUESTIONS = "few-questions"
    FEW_GROUPS = "few-groups"
    GAPS = "gaps"
    NO_SHARED_QUESTIONS = "no-shared-questions"
    SELECTED_QUESTIONS = "selected-questions"
    ERRORS = "errors"
    UNKNOWN_TOKENS = "unknown-tokens"


@dataclass(frozen=True, slots=True)
class Finding:
    """One kind of trouble.

    Attributes:
        code: Its kind.
        severity: How bad it is.
        count: How many questions, outcomes or arms have it.
        n: How many there are of them.
        example: One of them; the same whatever the order of the outcomes.
        message: What it is, in one sentence without a full stop.
        hint: What to do about it.
    """

    code: FindingCode
    severity: Severity
    count: int
    n: int
    example: str
    message: str
    hint: str

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object with the fields as keys."""
        return {name: str(v) if isinstance(v, StrEnum) else v for name, v in asdict(self).items()}
