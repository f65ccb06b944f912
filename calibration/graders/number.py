"""Grader `number`: the answer is a number, compared by value."""

import re
from fractions import Fraction

from ._grader import Grade
from .anchored import find_anchored_answer, unwrap_latex

__all__ = ["NumberGrader", "parse_number"]

_MAX_LENGTH = 200
_LOOKALIKES = str.maketrans(
    {
        **dict.fromkeys("\u2212\u2012\u2013\ufe63\uff0d", "-"),
        **dict.fromkeys("\uff0b", "+"),
        **dict.fromkeys("\u066b\uff0e", "."),
        **dict.fromkeys("\u066c\uff0c", ","),
        **dict.fromkeys("\uff05\u066a", "%"),
        **dict.fromkeys("\u2044\u2215\uff0f", "/"),
        **dict.fromkeys("\u00a0\u2009\u202f", " "),
    }
)
"""Minus signs, separators and percent signs as other scripts and typesetters write them."""

# A mark stays where a unit was, so that the digits around it never join to one number.
_MARK = "\x1f"
_UNIT = re.compile(
    r"\\(?:text|mathrm|textbf|mbox)\s{0,8}\{(?![^{}]*\b(?:or|and|not|to|hundred|[a-z]+illion"
    r"|thousand)\b)[^{}\d]*\}(?:\^\{?\d\}?)?|\^\s?\{?\\circ\}?|°"
)
_THIN_SPACE = re.compile(r",\s*\\!\s*")
_SPACING = re.compile(r"\\[!,;: ]|~")
_CURRENCY = r"\\?[$€£¥₹₩₽%]"
_START = re.compile(rf"(?:\s|{_MARK}|\\[(\[]|{_CURRENCY})*([-+]?)(?:\s|{_CURRENCY})*")
_END = re.compile(rf"(?:\s|{_MARK}|\\[)\]]|{_CURRENCY}|\.)*\Z")
_FRACTION = re.compile(
    r"\\[cdt]?frac\s*(?:\{\s*(-?\d+)\s*\}|(?P<a>\d))\s*(?:\{\s*(\d+)\s*\}|(?P<b>\d))"
)
_GROUPED = r"\d{1,3}(?P<separator>,|\{,\}| )\d{3}(?:(?P=separator)\d{3})*(?!\d)"
_NUMBER = re.compile(
    r"(?P<sign>[-+]?)(?:(?P<whole>\d+) +(?P<part>\d+/\d+)"
    rf"|(?P<value>(?:{_GROUPED}|\d+)?(?:\.\d+)?)(?:/(?P<denominator>\d+))?)"
)
_ASSIGNMENT = re.compile(r"[A-Za-z]\s*=\s*(?=[^=])")
_LEADING = re.compile(r"([-+$€£\\]*[\d.,/]*\d[%.,;]?)(?:\s+|(?=[^\W\d]))(.*)", re.DOTALL)
_DOUBT = re.compile(
    r"(?<![\w^{])\d|=|\b(?:or|not|half|halves|thirds?|quarters?|wrong|incorrect)\b", re.IGNORECASE
)
_SCALE = re.compile(r"(hundred|thousand|million|billion|trillion)\b", re.IGNORECASE)
_POWERS = {"hundred": 2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12}


def parse_number(text: str) -> Fraction | None:
    """Return the exact value of a number such as `-1,234.50`, `$18`, `3/4`, `1 1/2` or `20%`.

    Units in LaTeX text, currency signs and percent signs around it are dropped: `20%` is 20.
    Digits apart (`5 6 7`) are several numbers and give `None`; groups of three (`12 000`) are
    one. Decimal digits of any script are read.
    """
    if len(text) > _MAX_LENGTH:
        return None
    cleaned = _UNIT.sub(_MARK, text.translate(_LOOKALIKES))
    cleaned = _SPACING.sub(" ", _THIN_SPACE.sub(",", cleaned))
    cleaned = _FRACTION.sub(_spell_fraction, cleaned)
    cleaned = _END.sub("", _START.sub(r"\1", cleaned, count=1))
    match = _NUMBER.fullmatch(re.sub(r"\s*(/)\s*", r"\1", cleaned))
    if match is None:
        return None
    if match["whole"] is not None:
        numerator, denominator = match["part"].split("/")
        value = Fraction(match["whole"])
    else:
        numerator = re.sub(r"[ ,{}]", "", match["value"])
        denominator = match["denominator"] or "1"
        value = Fraction(0)
    if not numerator or not int(denominator):
        return None
    value += Fraction(numerator) / int(denominator)
    return -value if match["sign"] == "-" else value


class NumberGrader:
    """Compare the anchored answer with the gold answer as exact numbers.

    A trailing unit (`18 dollars`) and a leading variable (`x = 18`) are read over, `5 million`
    is 5,000,000; a second number or a doubt (`18 or 20`, `18 is wrong`) makes the answer none.
    """

    name = "number"
    version = 2
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
    text = text.translate(_LOOKALIKES)
    text = _ASSIGNMENT.sub("", text, count=1) if _ASSIGNMENT.match(text) else text
    value = parse_number(text)
    if value is not None:
        return value
    match = _LEADING.fullmatch(text)
    if match is None or _DOUBT.search(match.group(2)):
        return None
    value = parse_number(match.group(1).rstrip(",;"))
    scale = _SCALE.match(match.group(2))
    if value is None or scale is None:
        return value
    return value * 10 ** _POWERS[scale.group(1).lower()]


def _spell_fraction(match: re.Match[str]) -> str:
    """Return a LaTeX fraction as `a/b`, apart from a whole number before it."""
    numerator, denominator = match.group(1) or match["a"], match.group(3) or match["b"]
    before = match.string[: match.start()].rstrip()
    return f"{' ' if before[-1:].isdigit() else ''}{numerator}/{denominator}"
