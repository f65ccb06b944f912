"""Amounts as people write them: a number, then a unit."""

import math
import re
from typing import NamedTuple

from policies import InvalidInputError

__all__ = ["FLOP_UNITS", "Amount", "read_amount", "refuse_unless_within", "written"]

_NUMBER = re.compile(r"([+-]?)((?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|\.\d+)(e[+-]?\d{1,4})?", re.I)
_NO_NUMBER = re.compile(r"[+-]?(nan|inf|infinity)\b", re.I)
_MOST_CHARACTERS = 100

FLOP_UNITS = {
    f"{prefix}{unit}": factor
    for prefix, factor in {
        "": 1.0,
        "m": 1e6,
        "g": 1e9,
        "t": 1e12,
        "p": 1e15,
        "e": 1e18,
        "z": 1e21,
        "y": 1e24,
    }.items()
    for unit in ("flop", "flops")
}
"""FLOPs by the unit they are written with, in lower case."""


class Amount(NamedTuple):
    """A number and what stood around it.

    Attributes:
        value: The number, finite and > 0.
        unit: Text behind it, in lower case, blanks around it removed.
        sign: Currency sign before it, `$` for instance; empty without one.
    """

    value: float
    unit: str
    sign: str


def read_amount(what: str, text: str, hint: str) -> Amount:
    """Split `text` into a number > 0 and its unit.

    Args:
        what: What is read, for the error: `training budget`.
        text: As it was written.
        hint: What would have been right.

    Raises:
        InvalidInputError: There is no number, or it is not finite and > 0.
    """
    stripped = text.strip()
    shown = repr(text if len(text) <= _MOST_CHARACTERS else f"{text[:_MOST_CHARACTERS]}...")
    if not stripped or len(stripped) > _MOST_CHARACTERS:
        raise InvalidInputError(f"{what} {shown} is no amount", hint=hint)
    sign, rest = "", stripped
    if rest[0] in "$€£¥₹₩":
        sign, rest = rest[0], rest[1:].lstrip()
    if _NO_NUMBER.match(rest):
        raise InvalidInputError(f"{what} {shown} is not finite: expected a number > 0", hint=hint)
    match = _NUMBER.match(rest)
    if match is None:
        raise InvalidInputError(f"{what} {shown} does not start with a number", hint=hint)
    behind = rest[match.end() :]
    if behind[:1] in {",", ".", "_"} or behind[:1].isdigit():
        raise InvalidInputError(
            f"{what} {shown}: the number is not readable",
            hint=f"write a decimal point, and commas only between thousands; {hint}",
        )
    unit = behind.strip().lower()
    value = float(match.group(2).replace(",", "") + (match.group(3) or ""))
    if match.group(1) == "-" or value == 0:
        raise InvalidInputError(f"{what} {shown} is not positive: expected > 0", hint=hint)
    if not math.isfinite(value):
        raise InvalidInputError(f"{what} {shown} is too large for a number", hint=hint)
    return Amount(value, unit, sign)


def refuse_unless_within(what: str, value: float, low: float, high: float, hint: str) -> None:
    """Refuse an absurd amount.

    Raises:
        InvalidInputError: It is not within [low, high].
    """
    if not low <= value <= high:
        raise InvalidInputError(f"{what}: expected {low:g} to {high:g}, not {value:g}", hint=hint)


def written(value: float) -> str:
    """Return a number so that reading it gives the same number."""
    short = f"{value:g}"
    if float(short) == value:
        return short.replace("e+", "e")
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)
