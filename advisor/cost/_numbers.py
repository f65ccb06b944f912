"""Ranges, and checks of the numbers a caller gives."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeGuard

from policies import InvalidInputError

__all__ = ["Range", "check_fraction", "check_number", "check_whole", "shown"]

_MAX_DIGITS = 25
"""Digits of an integer that are shown in an error; more are no amount of anything."""


@dataclass(frozen=True, slots=True)
class Range:
    """A figure with the spread that its assumptions leave; not a confidence interval.

    Attributes:
        low: Least value under the stated assumptions.
        mid: Value under the default assumption.
        high: Largest value under the stated assumptions.

    Raises:
        InvalidInputError: A value is no number, or they are not in order.

    Example:
        >>> Range(1.0, 2.0, 4.0).scaled(10)
        Range(low=10.0, mid=20.0, high=40.0)
    """

    low: float
    mid: float
    high: float

    def __post_init__(self) -> None:
        """Refuse values that are out of order."""
        if not self.low <= self.mid <= self.high:
            raise InvalidInputError(
                f"range {self.low!r}, {self.mid!r}, {self.high!r}: expected low <= mid <= high"
            )

    @classmethod
    def exactly(cls, value: float) -> "Range":
        """Return a range without spread."""
        return cls(value, value, value)

    def scaled(self, factor: float) -> "Range":
        """Return the range times a factor >= 0."""
        return Range(self.low * factor, self.mid * factor, self.high * factor)

    def plus(self, other: "Range") -> "Range":
        """Return the sum of two ranges that are low together and high together."""
        return Range(self.low + other.low, self.mid + other.mid, self.high + other.high)

    def map(self, function: Callable[[float], float]) -> "Range":
        """Return the range of an increasing function."""
        return Range(function(self.low), function(self.mid), function(self.high))


def check_number(
    name: str, value: object, *, at_least: float = 0.0, at_most: float, hint: str = ""
) -> None:
    """Refuse what is no finite number > 0 within the bounds.

    Raises:
        InvalidInputError: It is not; the error names the value and the bounds.
    """
    if _is_number(value) and value > 0 and at_least <= value <= at_most:
        return
    least = "a number > 0" if at_least <= 0 else f"a number >= {at_least:g}"
    raise InvalidInputError(
        f"{name}={shown(value)}: expected {least} and <= {at_most:g}", hint=hint
    )


def check_whole(
    name: str, value: object, *, at_least: int = 1, at_most: int, hint: str = ""
) -> None:
    """Refuse what is no whole number within the bounds.

    Raises:
        InvalidInputError: It is not; the error names the value and the bounds.
    """
    if isinstance(value, int) and not isinstance(value, bool) and at_least <= value <= at_most:
        return
    raise InvalidInputError(
        f"{name}={shown(value)}: expected a whole number from {at_least:,} to {at_most:,}",
        hint=hint,
    )


def check_fraction(name: str, value: object) -> None:
    """Refuse what is no share in [0, 1].

    Raises:
        InvalidInputError: It is not.
    """
    if not (_is_number(value) and math.isfinite(value) and 0 <= value <= 1):
        is_percent = _is_number(value) and 1 < value <= 100
        hint = "write shares as fractions, 0.25 for 25%" if is_percent else ""
        raise InvalidInputError(f"{name}={shown(value)}: expected a share from 0 to 1", hint=hint)


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def shown(value: object) -> str:
    """Return a value as an error may show it, however long it is."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**_MAX_DIGITS:
        return f"{'-' if value < 0 else ''}10^{_MAX_DIGITS} or more"
    text = f"{value:.10g}" if isinstance(value, float) else repr(value)
    return text if len(text) <= 100 else f"{text[:100]}..."
