"""Grader `number`: the answer is a number, compared by value."""

import re
import unicodedata
from fractions import Fraction

from ._grader import Grade
from .anchored import find_anchored_answer, unwrap_latex

__all__ = ["NumberGrader", "parse_number"]

_MAX_LENGTH = 200
# A mark stays where a unit was, so that the digits around it never join to one number.
_MARK = "\x1f"
_VULGAR = tuple(
    (sign, unicodedata.normalize("NFKC", sign).replace("\u2044", "/"))
    for sign in map(chr, (*range(0xBC, 0xBF), *range(0x2150, 0x215F)))
)
"""One-character fractions such as \u00bd, apart from a whole number before them: `7\u00bd`."""
_LOOKALIKES = str.maketrans(
    {
        **dict.fromkeys("\u2212\u2012\u2013\ufe63\uff0d", "-"),
        **dict.fromkeys("\uff0b", "+"),
        **dict.fromkeys("\u066b\uff0e", "."),
        **dict.fromkeys("\u066c\uff0c", ","),
        **dict.fromkeys("\uff05\u066a", "%"),
        **dict.fromkeys("\u2044\u2215\uff0f", "/"),
        **dict.fromkeys("\u00a0\u2009\u202f", " "),
        **{sign: f" {value}{_MARK}" for sign, value in _VULGAR},
    }
)
"""Minus signs, separators and percent signs as other scripts and typesetters write them."""

_UNIT = re.compile(
    r"\\(?:text|mathrm|textbf|mbox)\s{0,8}\{(?![^{}]*\b(?:or|and|not|to|hundred|[a-z]+illion"
    r"|thousand)\b)[^{}\d]*\}(?:\^\{?\d\}?)?|\^\s?\{?\\circ\}?|°"
)
_THIN_SPACE = re.compile(r",\s*\\!\s*")
_SPACING = re.compile(r"\\[!,;: ]|~")
_CURRENCY = r"\\?[$€£¥₹₩₽%]"
_START = re.compile(rf"(?:\s|{_MARK}|\\[(\[]|{_CURRENCY})*([-+]?)(?:\s|{_CURRENCY})*")
_END = re.compile(rf"(?:\s|{_MARK}|\\[)\]]|{_CURRENCY}|[.'\"\u2032\u2033])*\Z")
_FRACTION = re.compile(
    r"\\[cdt]?frac\s*(?:\{\s*(-?\d+)\s*\}|(?P<a>\d))\s*(?:\{\s*(\d+)\s*\}|(?P<b>\d))"
)
_GROUPED = r"\d{1,3}(?P<separator>,|\{,\}| )\d{3}(?:(?P=separator)\d{3})*(?!\d)"
_NUMBER = re.compile(
    r"(?P<sign>[-+]?)(?:(?P<whole>\d+) +(?P<part>\d+/\d+)"
    rf"|(?P<value>(?:{_GROUPED}|\d+)?(?:\.\d+)?)(?:/(?P<denominator>\d+))?)"
)
_SCIENTIFIC = re.compile(
    r"(?P<sign>[-+]?)(?:(?P<mantissa>\d[\d.,]*|\.\d+)"
    r"(?:[eE]|\s*(?:\\times|\\cdot|[x*\u00d7\u00b7])\s*10\s*(?:\^|\*\*)\s*)|10\s*(?:\^|\*\*)\s*)"
    r"\{?\s*(?P<exponent>[-+]?\d{1,3})\s*\}?"
)
_RAISED = re.compile("(?<=10)[\u207a\u207b]?[\u2070\u00b9\u00b2\u00b3\u2074-\u2079]+")
_ISO_CURRENCY = re.compile(r"(?:USD|EUR|GBP|JPY|INR|CNY|Rs\.?|US(?=\$))\s*(?=[-+$\d.])")
_NAMED = re.compile(r"[A-Za-z][A-Za-z ]{0,40}")
_HEDGED = re.compile(r"\b(?:or|not|never|than|about|almost|nearly)\b", re.IGNORECASE)
_ARITHMETIC = re.compile(r"(?=.*\d)[\d\s.,()$%+*/x\u00d7\u00f7\u00b7-]{1,120}")
_OPERATOR = re.compile(r"[+*/x\u00d7\u00f7\u00b7-]")
_PRODUCT = re.compile(r"\\(?:times|cdot|div)(?![A-Za-z])")
_BRACKETS = re.compile(r"\(([^()]*)\)|\{([^{}]*)\}")
_DISPLAY = re.compile(r"\\(?:display|text)style(?![A-Za-z])\s*")
_LEADING = re.compile(
    r"([-+$€£\\]*(?:\d+ +(?=\d+/\d))?[\d.,/]*\d[%.,;]?)(?:[\s\x1f]+|(?=[^\W\d\u00b2\u00b3\u00b9\u2070-\u2079]))(.*)",
    re.DOTALL,
)
_DOUBT = re.compile(
    r"(?<![\w^{])\d|[=<>\u2264\u2265\u00b1]|\b\w{1,8}n['\u2019]t\b"
    r"|\\(?:le|ge|lt|gt|pm|leq|geq|pi|sqrt|times|cdot|frac)(?![A-Za-z])"
    r"|\A(?:[+*^\u00d7\u00b7\u221a]|[-/]\s?[A-Za-z](?![A-Za-z]))"  # `7 + x`, `7 - x`
    r"|\A[abinxyz\u03b8\u03c0](?:\s*[-+*/^\u00b2\u00b3]|\s*\Z)"  # `7x`, a term and no unit
    r"|\b(?:or|not|half|halves|thirds?|quarters?|wrong|incorrect|score)\b",
    re.IGNORECASE,
)
_SCALE = re.compile(r"(hundred|thousand|million|billion|trillion|dozens?)\b", re.IGNORECASE)
_ATTACHED_SCALE = re.compile(r"(?:k|K|M|B|bn|mn|tn)\b")
_SCALES = {
    **{"hundred": 10**2, "thousand": 10**3, "million": 10**6, "billion": 10**9},
    **{"trillion": 10**12, "dozen": 12, "dozens": 12},
    **{"k": 10**3, "K": 10**3, "M": 10**6, "mn": 10**6, "B": 10**9, "bn": 10**9, "tn": 10**12},
}


def parse_number(text: str) -> Fraction | None:
    r"""Return the exact value of a number such as `-1,234.50`, `$18`, `3/4`, `1 1/2` or `20%`.

    Units in LaTeX text, currency signs and percent signs around it are dropped: `20%` is 20.
    Digits apart (`5 6 7`) are several numbers and give `None`; groups of three (`12 000`) are
    one. Scientific notation (`1.5e3`, `1.5 \times 10^{3}`) with an exponent of up to three
    digits is read, and so are decimal digits of any script.
    """
    if len(text) > _MAX_LENGTH:
        return None
    cleaned = _UNIT.sub(_MARK, text.translate(_LOOKALIKES))
    cleaned = _SPACING.sub(" ", _THIN_SPACE.sub(",", cleaned))
    cleaned = _FRACTION.sub(_spell_fraction, cleaned)
    cleaned = _END.sub("", _START.sub(r"\1", cleaned, count=1))
    scientific = _SCIENTIFIC.fullmatch(_RAISED.sub(_spell_exponent, cleaned))
    if scientific is not None:
        mantissa = parse_number(scientific["sign"] + (scientific["mantissa"] or "1"))
        return None if mantissa is None else mantissa * Fraction(10) ** int(scientific["exponent"])
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

    A trailing unit (`18 dollars`), a leading name (`x = 18`) and the working before an equals
    sign (`3 * 6 = 18`) are read over; `5 million` and `5M` are 5,000,000, `2 dozen` is 24. A
    second number, a term (`18x`, `18 + x`) or a doubt (`18 or 20`, `18 is wrong`) makes the answer
    none.
    """

    name = "number"
    version = 3
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
    text = _DISPLAY.sub("", text.translate(_LOOKALIKES)).strip()
    text = _last_side(_PRODUCT.sub("*", text)) if "=" in text else text
    value = parse_number(text)
    if value is not None:
        return value
    wrapped = _BRACKETS.fullmatch(text)
    if wrapped is not None:
        return parse_number(wrapped[1] or wrapped[2] or "")
    text = _ISO_CURRENCY.sub("", text, count=1) if _ISO_CURRENCY.match(text) else text
    match = _LEADING.fullmatch(text)
    if match is None:
        return parse_number(text)
    said, rest = match.group(1), match.group(2)
    is_attached = match.end(1) == match.start(2)
    scale = _SCALE.match(rest) or (_ATTACHED_SCALE.match(rest) if is_attached else None)
    if _DOUBT.search(rest):
        return None
    value = parse_number(said.rstrip(",;"))
    return value if value is None or scale is None else value * _SCALES[_scale_name(scale[0])]


def _last_side(text: str) -> str:
    """Return what follows the last equals sign, all of the text unless names or working precede.

    A number alone on another side is no working: `18 = 20` says two things.
    """
    *before, last = text.split("=")
    for side in before:
        said = side.strip().strip("$")
        is_working = _ARITHMETIC.fullmatch(said) and _OPERATOR.search(said.strip(" -"))
        if not is_working and (_NAMED.fullmatch(said) is None or _HEDGED.search(said)):
            return text
    return last.strip()


def _scale_name(said: str) -> str:
    return said.casefold() if len(said) > 2 else said


def _spell_exponent(match: re.Match[str]) -> str:
    """Return a raised exponent as `^3`."""
    return "^" + unicodedata.normalize("NFKC", match.group()).replace("\u2212", "-")


def _spell_fraction(match: re.Match[str]) -> str:
    """Return a LaTeX fraction as `a/b`, apart from a whole number before it."""
    numerator, denominator = match.group(1) or match["a"], match.group(3) or match["b"]
    before = match.string[: match.start()].rstrip()
    return f"{' ' if before[-1:].isdigit() else ''}{numerator}/{denominator}"
