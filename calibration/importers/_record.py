"""What importers yield, what they are told, and how raw values become the fields of an outcome."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, cast

from .._outcomes import Outcome

__all__ = [
    "UNKNOWN_TASK_TYPE",
    "FileNote",
    "ImportHints",
    "SkippedRow",
    "UnusableRowError",
    "as_list",
    "as_mapping",
    "count_of",
    "number_of",
    "outcome_of_score",
    "share_of",
    "size_of_billions",
    "text_of",
]

UNKNOWN_TASK_TYPE = "unknown"
"""Task type of outcomes whose file does not say it and for which none was given."""

_MAX_COUNT = 2**53
_TRUE = ("true", "yes", "correct")
_FALSE = ("false", "no", "incorrect", "wrong")


@dataclass(frozen=True, slots=True)
class ImportHints:
    """What a file does not say of itself; a value in the file comes before a hint.

    Attributes:
        model: Model that answered.
        task: Task name.
        task_type: Task type, such as `math-oe`.
        policy: Canonical policy string of all answers.
        metric: Which of several scores decides: `METRIC` or `METRIC,FILTER` for lm-eval, the
            name of a scorer, or `SCORER.KEY`, for inspect.
        share_means: Whether a mean of generated tokens over several answers of a row is shared
            out among them: their mean is then right, each single count made up. Without, such
            counts stay unknown.
    """

    model: str | None = None
    task: str | None = None
    task_type: str | None = None
    policy: str | None = None
    metric: str | None = None
    share_means: bool = False


@dataclass(frozen=True, slots=True)
class SkippedRow:
    """A row that gives no outcome.

    Attributes:
        reason: Why not; the same words for all rows of the same trouble.
        where: Row number (header not counted), line number or member of an archive.
    """

    reason: str
    where: str


@dataclass(frozen=True, slots=True)
class FileNote:
    """What was found out about a file as a whole, and what was made of it.

    Attributes:
        about: What it is about: `grouping` or `tokens`.
        text: One sentence for people.
    """

    about: str
    text: str


class UnusableRowError(Exception):
    """Within an importer: this row gives no outcome. Never leaves the package.

    Attributes:
        reason: Why not.
    """

    def __init__(self, reason: str) -> None:
        """Keep the reason."""
        super().__init__(reason)
        self.reason = reason


def text_of(value: object) -> str:
    """Return a value as a text that can be stored; "" for nothing, JSON for lists and objects."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if not isinstance(value, str):
        is_nested = isinstance(value, list | tuple | dict)
        try:
            value = json.dumps(value, ensure_ascii=False, default=str) if is_nested else str(value)
        except (ValueError, RecursionError) as error:
            raise UnusableRowError("a value is nested too deeply") from error
    if value.isascii():
        return value
    # JSON can spell half a surrogate pair, which is no character and cannot be stored.
    return value.encode("utf-8", "backslashreplace").decode()


def number_of(value: object, column: str) -> float | None:
    """Return a finite number, `None` for nothing (NaN counts as nothing).

    Raises:
        UnusableRowError: It is neither.
    """
    if value is None:
        return None
    if type(value) is float and math.isfinite(value):
        return value
    if isinstance(value, str):
        word = value.strip().lower()
        if word in {"", "nan", "none", "null"}:
            return None
    try:
        number = float(cast("Any", value))
    except (TypeError, ValueError, OverflowError) as error:
        raise UnusableRowError(f"{column!r} is no number") from error
    if math.isnan(number):
        return None
    if math.isinf(number):
        raise UnusableRowError(f"{column!r} is not finite")
    return number


def count_of(value: object, column: str) -> int | None:
    """Return a count, `None` for nothing and for a fraction, which is a mean and no count.

    Raises:
        UnusableRowError: It is negative, absurdly large, or no number.
    """
    if type(value) is int and 0 <= value <= _MAX_COUNT:
        return value
    if isinstance(value, bool):
        raise UnusableRowError(f"{column!r} is no number")
    number = number_of(value, column)
    if number is None:
        return None
    if not 0 <= number <= _MAX_COUNT:
        raise UnusableRowError(f"{column!r} is no count")
    return int(number) if number == int(number) else None


def share_of(value: object, column: str) -> float:
    """Return a score in [0, 1] from a number, a boolean or a word such as `true`.

    Raises:
        UnusableRowError: There is none, or it is nothing of the kind.
    """
    if isinstance(value, str):
        word = value.strip().lower()
        if word in _TRUE:
            return 1.0
        if word in _FALSE:
            return 0.0
    number = number_of(value, column)
    if number is None:
        raise UnusableRowError(f"{column!r} is empty")
    if not 0.0 <= number <= 1.0:
        raise UnusableRowError(f"{column!r} is outside [0, 1]")
    return number


def outcome_of_score(score: float) -> tuple[Outcome, float]:
    """Return outcome and credit of a score in [0, 1]: only full credit is correct."""
    return (Outcome.CORRECT if score >= 1.0 else Outcome.WRONG), score


def size_of_billions(value: object, column: str) -> int | None:
    """Return a parameter count from billions of parameters, `None` for nothing.

    Raises:
        UnusableRowError: It is no positive number.
    """
    if number_of(value, column) is None:
        return None
    try:
        n_params = round(Decimal(str(value).strip()) * 10**9)
    except InvalidOperation as error:
        raise UnusableRowError(f"{column!r} is no number") from error
    if not 1 <= n_params <= _MAX_COUNT:
        raise UnusableRowError(f"{column!r} is no model size")
    return n_params


def as_mapping(value: object) -> Mapping[str, Any]:
    """Return a JSON object, an empty one for anything else."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def as_list(value: object) -> list[Any]:
    """Return a JSON list, an empty one for anything else."""
    return cast("list[Any]", value) if isinstance(value, list) else []
