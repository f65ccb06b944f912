r"""Final answers as the parallel policies compare them."""

import re
from decimal import Decimal, InvalidOperation

__all__ = ["final_answer"]

_MARKED = re.compile(
    r"\banswer[*_`\s]*(?:(?:is|was)\b[*_`\s]*:?|[:=])|^####\s", re.IGNORECASE | re.M
)
_NUMBER = re.compile(r"[+-]?(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)?(?:\.[0-9]+)?")
_PERCENT = re.compile(r"(\S+?)\s*(?:%|\bpercent)")
_MONEY = re.compile(
    r"(?P<minus>-?)(?:(?P<before>[€£¥]|\b(?:usd|eur|gbp|jpy)\b)\s*(?P<one>[0-9.,]+)"
    r"|(?P<two>[0-9.,]+)\s*(?P<after>[€£¥]|\b(?:usd|eur|gbp|jpy|dollars?|euros?)\b))"
)
_CURRENCIES = {"eur": "€", "euro": "€", "euros": "€", "gbp": "£", "jpy": "¥"}
_DOLLARS = ("usd", "dollar", "dollars")
_OPTION = re.compile(r"(?:option|choice)\s+\(?([a-z])\)?")
_FRACTION = re.compile(r"([+-]?)\s*\\[dt]?frac\s*(?:\{\s*(\d+)\s*\}\s*\{\s*(\d+)\s*\}|(\d)\s*(\d))")
_OVER = re.compile(r"([+-]?\d+)\s*/\s*(\d+)")
_WRAPPED = re.compile(r"\\(?:text|textbf|textit|mathrm|mathbf|mathit|boxed)\s*\{([^{}]*)\}")
_UNIT = re.compile(r"([+-]?[0-9][0-9.,]*)\s+(\S{1,3})")
_LATEX = (
    ("\N{MINUS SIGN}", "-"),
    ("\\%", "%"),
    ("\\$", "$"),
    ("{,}", ","),
    ("\\!", ""),
    ("\\,", " "),
    ("\\;", " "),
    ("\\(", " "),
    ("\\)", " "),
    ("\\[", " "),
    ("\\]", " "),
    ("\\ ", " "),
)
_STRETCHED = re.compile(r"\\(?:left|right)(?![a-zA-Z])")
_COMMA = re.compile(r"\s*,\s*")
_GROUPED = re.compile(r"[0-9],[0-9]{3}(?![0-9])")
_LONGEST = 1000  # A longer text is an essay, and is compared as it is.
_MOST_PASSES = 20
_SAYS_NOTHING = re.compile(r"[\s*_`$\"'.,;:!()\[\]{}<>#=|~-]*")
_PAIRS = {"(": ")", "[": "]", "{": "}", "<": ">", '"': '"', "'": "'", "“": "”", "*": "*", "_": "_"}


def final_answer(text: str) -> str:
    r"""Return the final answer of a text in a form in which equal answers are equal texts.

    The final answer is what the last `\boxed{...}` holds; else what follows the last "answer:",
    "answer is" or `####` in its line; else the last line. Case, white space, marks and LaTeX
    around it are dropped, and numbers are written in one way: 1,000 and 1000.0 are equal, and so
    are \frac{1}{2} and 1/2, (C) and option C, 50\% and 50 percent, $5 and 5 dollars and 5.

    What may mean different things stays apart, also where it mostly means the same. No
    mathematics is done: 1/2 and 0.5 are two answers, and so are 50% and 50, (1, 2) and [1, 2],
    €5 and 5, 5 and 5!. Upper case counts in a unit after a number: 5 MW is not 5 mW.

    Example:
        >>> final_answer("So it is 40 + 2.\nThe answer is **42.0**.")
        '42'
    """
    answer = _read(text)
    # What one pass lays bare the next one reads; each shortens the text or settles it.
    for _ in range(_MOST_PASSES):
        before, answer = answer, _read(answer)
        if answer == before:
            break
    return answer


def _read(text: str) -> str:
    """Return the last answer of a text, one layer of marks taken off."""
    found = _boxed(text)
    if found is None:
        marks = list(_MARKED.finditer(text))
        rest = text[marks[-1].end() :] if marks else text
        lines = [line for line in rest.splitlines() if not _SAYS_NOTHING.fullmatch(line)]
        found = "" if not lines else lines[0 if marks else -1]
    for latex, plain in _LATEX:
        found = found.replace(latex, plain)
    found = _WRAPPED.sub(r" \1 ", _STRETCHED.sub("", found))
    if len(found) > _LONGEST:
        return " ".join(found.lower().split())
    return _bare(_canonical(_bare(found)))


def _canonical(bare: str) -> str:
    """Return a bare answer in the one way in which its kind is written."""
    text = bare if _UNIT.fullmatch(bare) else bare.lower()
    low = text.lower()
    if (fraction := _FRACTION.fullmatch(text)) is not None:
        sign, above, below, one, two = fraction.groups()
        return f"{sign}{above or one}/{below or two}"
    if (over := _OVER.fullmatch(text)) is not None:
        return f"{over[1]}/{over[2]}"
    if (option := _OPTION.fullmatch(low)) is not None:
        return option[1]
    if (percent := _PERCENT.fullmatch(low)) is not None and (number := _number(percent[1])):
        return f"{number}%"
    if (money := _MONEY.fullmatch(low)) is not None:
        unit = money["before"] or money["after"]
        number = _number(money["minus"] + (money["one"] or money["two"]))
        if number is not None:
            return number if unit in _DOLLARS else f"{number} {_CURRENCIES.get(unit, unit)}"
    if text[:1] in ("(", "[", "{") and not _GROUPED.search(text):
        text = _COMMA.sub(", ", text)
    return _number(text) or text


def _bare(text: str) -> str:
    """Return an answer without the marks around it that say nothing about it."""
    bare = " ".join(text.split())
    while True:
        before = bare
        bare = bare.strip(" $`:;,").removeprefix("**").removesuffix("**").rstrip(".").strip()
        if bare.startswith(".") and not bare[1:2].isdigit():
            bare = bare.lstrip(".")
        if bare.startswith("-$"):
            bare = f"-{bare[2:]}"
        # The exclamation mark after a number or a letter is a factorial.
        if bare.endswith("!") and bare[-3:-1].isalpha() and len(bare) > 2:
            bare = bare[:-1]
        if _PAIRS.get(bare[:1]) == bare[-1:] and len(bare) > 1 and _is_wrapping(bare):
            bare = bare[1:-1]
        if bare == before:
            return bare


def _is_wrapping(text: str) -> bool:
    """Return whether first and last character are a pair around one single thing."""
    first, last, inside = text[0], text[-1], text[1:-1]
    if first == last:
        return first not in inside
    depth = 0
    for character in inside:
        depth += (character == first) - (character == last)
        if depth < 0:
            return False
    # Brackets around a list tell a pair, an interval and a set apart.
    return depth == 0 and ("," not in inside or _number(inside.strip()) is not None)


def _boxed(text: str) -> str | None:
    r"""Return what the last closed `\boxed{...}` holds, braces inside it balanced."""
    _, mark, rest = text.rpartition("\\boxed{")
    depth = 1
    for place, character in enumerate(rest if mark else ""):
        depth += (character == "{") - (character == "}")
        if depth == 0:
            return rest[:place]
    return None


def _number(text: str) -> str | None:
    if not any(map(str.isdigit, text)) or not _NUMBER.fullmatch(text):
        return None
    try:
        value = Decimal(text.replace(",", ""))
    except InvalidOperation:
        return None
    return format(value.normalize() + 0, "f")
