"""Grader `number`: the answer is a number, compared by value."""

import re
from fractions import Fraction

from ._grader import Grade
from .anchored import find_anchored_answer, unwrap_latex

__all__ = ["NumberGrader", "parse_number"]

_MAX_LENGTH = 200
_MINUS = str.maketrans("\u2212\u2013", "--")
_UNIT = re.compile(r"\\(?:text|mathrm|textbf)\{[^{}]*\}(?:\^\{?\d\}?)?|\^\{?\\circ\}?|°")
_DECORATION = re.compile(r"\\[!,;:()\[\]]|[$€£%]|\\(?=[$€£% ])")
_FRACTION = re.compile(r"\\[dt]?frac(?:\{(-?\d+)\}\{(\d+)\}|(\d)(\d))")
_GROUPED = re.compile(r"(?<=\d)(?:\{,\}|[\s\u00a0\u2009\u202f])(?=\d{3}(?!\d))")
_NUMBER = re.compile(
    r"(?P<sign>[-+]?)(?:(?P<whole>\d+) +(?P<part>\d+/\d+)"
    r"|(?P<value>(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?)(?:/(?P<denominator>\d+))?)"
)
_ASSIGNMENT = re.compile(r"[A-Za-z]\s*=\s*(?=[^=])")
_LEADING = re.compile(r"([-+$€£\\]*[\d.,/]*\d[%.,;]?)(?:\s+|(?=[^\W\d]))(.*)", re.DOTALL)
_OTHER_NUMBER = re.compile(r"(?<![\w^{])\d|=")


def parse_number(text: str) -> Fraction | None:
    """Return the exact value of a number such as `-1,234.50`, `$18`, `3/4`, `1 1/2` or `20%`.

    Units in LaTeX text, currency signs and percent signs are dropped: `20%` is 20. Digits
    apart (`5 6 7`) are several numbers and give `None`; groups of three (`12 000`) are one.
    """
    if len(text) > _MAX_LENGTH:
        return None
    cleaned = _DECORATION.sub("", _UNIT.sub("", text.translate(_MINUS)))
    cleaned = _FRACTION.sub(_spell_fraction, cleaned).strip()
    cleaned = _GROUPED.sub("", cleaned).rstrip(".").strip()
    cleaned = re.sub(r"^([-+])\s+|\s*(/)\s*", r"\1\2", cleaned)
    match = _NUMBER.fullmatch(cleaned)
    if match is None:
        return None
    if match["whole"] is not None:
        numerator, denominator = match["part"].split("/")
        value = Fraction(match["whole"])
    else:
        numerator, denominator = match["value"].replace(",", ""), match["denominator"] or "1"
        value = Fraction(0)
    if not numerator or not int(denominator):
        return None
    value += Fraction(numerator) / int(denominator)
    return -value if match["sign"] == "-" else value


class NumberGrader:
    """Compare the anchored answer with the gold answer as exact numbers.

    A trailing unit (`18 dollars`) and a leading variable (`x = 18`) are read over; a second
    number (`18 or 20`) makes the answer none.
    """

    name = "number"
    version = 1
    is_slow = False
    runs_code = False

    def check_gold(self, gold: str) -> str | None:
        """Return a problem unless gold is a number."""
        return "it is no number" if parse_number(gold) is None else None

    def grade(self, answer: str, gold: str) -> Grade:
        """Judge one answer."""
        found = find_anchored_answer(answer)
        if found is None or len(found) > _MAX_LENGTH:
            return Grade(False, found)
        value = _read(unwrap_latex(found))
        return Grade(value is not None and value == parse_number(gold), found)


def _read(text: str) -> Fraction | None:
    text = text.translate(_MINUS)
    text = _ASSIGNMENT.sub("", text, count=1) if _ASSIGNMENT.match(text) else text
    value = parse_number(text)
    if value is not None:
        return value
    match = _LEADING.fullmatch(text)
    if match is None or _OTHER_NUMBER.search(match.group(2)):
        return None
    return parse_number(match.group(1).rstrip(",;"))


def _spell_fraction(match: re.Match[str]) -> str:
    """Return a LaTeX fraction as `a/b`, apart from a whole number before it."""
    numerator, denominator = match.group(1) or match.group(3), match.group(2) or match.group(4)
    before = match.string[: match.start()].rstrip()
    return f"{' ' if before[-1:].isdigit() else ''}{numerator}/{denominator}"
