"""Grader `number`: the answer is a number, compared by value."""

import re
from fractions import Fraction

from ._grader import Grade
from .anchored import find_anchored_answer

__all__ = ["NumberGrader", "parse_number"]

_NUMBER = re.compile(r"[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?(?:/\d+)?")
_DECORATION = re.compile(r"\\text\{[^{}]*\}|\\[!,;% ]|[$€£%]|\s|\\(?=[$%])")
_MAX_LENGTH = 200


def parse_number(text: str) -> Fraction | None:
    """Return the exact value of a number such as `-1,234.50`, `$18`, `3/4` or `20%`.

    Units in LaTeX text, currency signs and percent signs are dropped: `20%` is 20.
    """
    cleaned = _DECORATION.sub("", text)
    cleaned = re.sub(r"\\d?frac\{(-?\d+)\}\{(\d+)\}", r"\1/\2", cleaned).rstrip(".")
    if not cleaned or len(cleaned) > _MAX_LENGTH or not _NUMBER.fullmatch(cleaned):
        return None
    if not any(character.isdigit() for character in cleaned):
        return None
    numerator, _, denominator = cleaned.replace(",", "").partition("/")
    if not any(character.isdigit() for character in numerator):
        return None
    value = Fraction(numerator)
    if not denominator:
        return value
    return value / int(denominator) if int(denominator) else None


class NumberGrader:
    """Compare the anchored answer with the gold answer as exact numbers."""

    name = "number"
    version = 1

    def grade(self, answer: str, gold: str) -> Grade:
        """Judge one answer; a number with a trailing unit (`18 dollars`) is read."""
        found = find_anchored_answer(answer)
        if found is None:
            return Grade(False, None)
        value = parse_number(found)
        if value is None:
            value = parse_number(found.split()[0]) if found.split() else None
        wanted = parse_number(gold)
        return Grade(value is not None and value == wanted, found)
