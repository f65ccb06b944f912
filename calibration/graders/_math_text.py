"""What two mathematical texts tell by themselves, before any algebra: `decide` and `prepare`.

Every function takes time linear in the text.
"""

import re
from fractions import Fraction

from .anchored import unwrap_latex
from .number import parse_number

__all__ = ["decide", "prepare"]

_SYMBOLS = str.maketrans(
    {
        "\u2212": "-",
        "\u2013": "-",
        "\u00d7": r"\times ",
        "\u00b7": r"\cdot ",
        "\u00f7": "/",
        "\u03c0": r"\pi ",
        "\u03b8": r"\theta ",
        "\u221e": r"\infty ",
        "\u2264": r"\le ",
        "\u2265": r"\ge ",
        "\u2260": r"\ne ",
        "\u222a": r"\cup ",
        "\u2229": r"\cap ",
        "\u2208": r"\in ",
        "\u00b1": r"\pm ",
        "\u00b0": r"^\circ ",
        "\u00b2": "^2",
        "\u00b3": "^3",
        "\u00a0": " ",
        "\u2009": " ",
        "\u202f": " ",
    }
)
_THIN_SPACE = re.compile(r",\s*\\!\s*")
_SPACING = re.compile(r"(?<!\\)\\[!,;: ]|\\q?quad(?![A-Za-z])|~")
_SIZES = re.compile(r"\\(?:left|right|[bB]igg?[lr]?|displaystyle)(?![A-Za-z])")
_FRACTION_NAME = re.compile(r"\\[cdt]frac(?![A-Za-z])")
_SHORT_FRACTION = re.compile(
    r"\\frac\s*(?:\{([^{}]*)\}|(\d))\s*(?:\{([^{}]*)\}|(\d))"
)  # `\frac12`, `\frac 1{2}`
_SHORT_ROOT = re.compile(r"\\sqrt\s*(\d|[A-Za-z](?![A-Za-z]))")
_PLAIN_ROOT = re.compile(r"(?<![\\A-Za-z])sqrt(?=\s*[({\d])|\u221a(?=\s*\()")
_ROOT_SIGN = re.compile(r"\u221a\s?(\d+|[A-Za-z])")
_PLAIN_NAMES = re.compile(r"(?<![\\A-Za-z])(pi|theta|infinity|infty)(?![A-Za-z])")
_DOLLAR = re.compile(r"(?<!\\)\$")
_PRINTED_DOLLAR = re.compile(r"\\\$|(?<=\d)\s?\\text\{\s?dollars?\}")
_ONE_FORMULA = re.compile(r"([^$]*)(?<!\\)\$([^$]+)(?<!\\)\$([^$]*)")
_DOUBTFUL = re.compile(r"\d|=|\b(?:or|and|not|never|between|about|approximately)\b", re.IGNORECASE)
_UNITS = (
    "mm|cm|km|dm|inch|inches|feet|foot|ft|yards?|miles?|met(?:er|re)s?|centimet(?:er|re)s?|units?"
    "|degrees?|radians?|dollars?|cents?|hours?|minutes?|seconds?|days?|weeks?|months?"
    "|years?|kg|grams?|pounds?|lit(?:er|re)s?|gallons?|people|ways|points?|square|cubic|sq"
)
_TRAILING_UNIT = re.compile(
    rf"(?:(?<=[\d}})\]])|(?<=\\pi))\s{{0,4}}\b(?:(?:{_UNITS})\b\.?\s{{0,4}}){{1,3}}(?:\^\{{?[23]\}}?)?\Z",
    re.IGNORECASE,
)
_LATEX_WORD = re.compile(
    r"\\(?:text|textbf|textit|textrm|mbox|mathrm|mathbf|operatorname)\s{0,8}\{([^{}]*)\}"
)
_WORDS = re.compile(r"\(?[^\W\d_]{1,40}\)?|[^\W\d_]{2,40}(?:[ '-][^\W\d_]{1,40}){0,7}")
_WORD_RUN = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{3,}")
_KNOWN_WORDS = re.compile(
    rf"(?:{_UNITS}|a?(?:rc)?(?:sin|cos|tan|cot|sec|csc)h?|log|exp|sqrt|and|min|max|gcd|lcm|mod|det"
    r"|ln|pi|theta|pmatrix|bmatrix|vmatrix|matrix|array|cases|aligned?)",
    re.IGNORECASE,
)
_DIGITS_APART = re.compile(r"(?<![\d.,/])\d+\s+\d(?!\d*\s*/)(?!\d{2}(?!\d))")
_BASED = re.compile(r"([0-9A-F]+)_\{?(\d{1,2})\}?")
_PERCENT_WORD = re.compile(
    r"(?<=[\d}])\s{0,4}(?:\\text\{\s?percent\s?\}|percent(?![a-z]))", re.IGNORECASE
)
_NAMED = re.compile(
    r"(?:\\text\{[^{}]{1,40}\}|[A-Za-z]{4,20}|m?\\angle\s?[A-Z]{1,3}|[A-Z]{2,3})\s{0,4}=(?!.*=)"
)  # `\text{Area} = 12`, `AB = 5`; single letters are left to the algebra.
_TIGHT = re.compile(r"(?<![0-9A-Za-z])\s+|\s+(?![0-9A-Za-z])")
_REPEATING = re.compile(r"(-?)(\d{0,20})\.(\d{0,20})\\(?:overline|bar)\{(\d{1,40})\}")
_CLOSING = {"(": ")", "[": "]", "{": "}"}


def decide(gold: str, answer: str) -> bool | None:
    """Return whether an answer equals the gold answer where their texts decide, else `None`.

    Equal after normalisation is equal. Two rational numbers are compared exactly, `50%` as 50
    or 0.5. A gold answer that is words (`east`, `(C)`) or a number with its base (`52_8`) is
    compared as text; letters are never multiplied. Several numbers side by side, prose, and a
    set where an ordered pair or interval is wanted are never equal.
    """
    wanted, said = _canonical(gold), _canonical(answer)
    if not said:
        return False
    if wanted == said:
        return True
    value, said_value = _rational(wanted), _rational(said)
    if value is not None and said_value is not None:
        factors = {1} if _is_percent(wanted) == _is_percent(said) else {1, 100}
        larger, smaller = (value, said_value) if _is_percent(wanted) else (said_value, value)
        return any(larger == smaller * factor for factor in factors)
    as_text = _text_equal(wanted, said)
    if as_text is not None:
        return as_text
    based, said_based = _BASED.fullmatch(wanted), _BASED.fullmatch(said)
    if based is not None and (said_based is not None or re.fullmatch("[0-9A-F]+", said)):
        digits, base = (said_based[1], said_based[2]) if said_based else (said, based[2])
        return (digits, base) == (based[1], based[2])
    if _is_prose(wanted, said) or _DIGITS_APART.search(_without_matrices(said)):
        return False
    kinds = _bracket(wanted), _bracket(said)
    if "{" in kinds and kinds[0] != kinds[1] and None not in kinds:
        return False
    return None


def prepare(gold: str, answer: str) -> tuple[str, str]:
    """Return both texts in the LaTeX that the algebra reads best.

    A bare list takes the brackets of an ordered gold answer, so that `2, 1` is not `(1, 2)`; an
    answer's round brackets go where the gold answer is a bare list, whose order does not count.
    """
    wanted, said = _tidy(gold), _tidy(answer)
    outer, said_outer = _bracket(wanted), _bracket(said)
    if outer in {"(", "["} and said_outer is None and _has_comma(wanted[1:-1]) and _has_comma(said):
        said = f"{wanted[0]}{said}{wanted[-1]}"
    elif outer is None and said_outer == "(" and _has_comma(wanted) and _has_comma(said[1:-1]):
        said = said[1:-1]
    return wanted, said


def _tidy(text: str) -> str:
    """Return a text in plain LaTeX: no delimiters, spacing commands, sizes or plain names."""
    text = text.strip().translate(_SYMBOLS)
    formula = _ONE_FORMULA.fullmatch(text)
    if formula and not _DOUBTFUL.search(formula[1] + formula[3]) and "\\" not in formula[3]:
        text = formula[2]
    text = _DOLLAR.sub("", text)
    for opening, closing in (("\\(", "\\)"), ("\\[", "\\]")):
        if text.startswith(opening):
            text = text.removeprefix(opening).removesuffix(closing)
    text = _PERCENT_WORD.sub(r"\\%", _PRINTED_DOLLAR.sub("", text.strip()))
    text = _SIZES.sub("", _SPACING.sub(" ", _THIN_SPACE.sub(",", text)))
    text = _FRACTION_NAME.sub(r"\\frac", text).replace("**", "^")
    text = _SHORT_FRACTION.sub(_spell_fraction, text)
    text = _ROOT_SIGN.sub(r"\\sqrt{\1}", text)
    text = _spell_roots(_PLAIN_ROOT.sub(r"\\sqrt", text))
    text = _SHORT_ROOT.sub(r"\\sqrt{\1}", text)
    text = _PLAIN_NAMES.sub(_spell_name, text).strip()
    named = _NAMED.match(text)
    text = text[named.end() :] if named else text
    return _TRAILING_UNIT.sub("", text.strip().rstrip(".")).strip()


def _canonical(text: str) -> str:
    return _TIGHT.sub("", " ".join(_tidy(text).split()))


def _rational(text: str) -> Fraction | None:
    """Return the value of a rational number, that of `50%` as 50, `None` of anything else."""
    repeating = _REPEATING.fullmatch(text)
    if repeating is None:
        return parse_number(text)
    sign, whole, once, again = repeating.groups()
    value = int(whole + once + again or "0") - int(whole + once or "0")
    value = Fraction(value, (10 ** len(again) - 1) * 10 ** len(once))
    return -value if sign else value


def _is_percent(text: str) -> bool:
    return "%" in text


def _text_equal(wanted: str, said: str) -> bool | None:
    """Return whether an answer is the word or words of the gold answer, `None` without words."""
    bare = _LATEX_WORD.sub(r"\1", wanted).strip()
    is_equal = _fold(bare) == _fold(_LATEX_WORD.sub(r"\1", said))
    if _LATEX_WORD.fullmatch(wanted) and is_equal:
        return True
    # Two plain letters may be a product, and `sin x` is none that can be compared as text.
    is_word = wanted != bare or len(bare.strip("()")) > 2
    if is_word and _WORDS.fullmatch(bare) and not _KNOWN_WORDS.fullmatch(bare):
        return is_equal
    return None


def _fold(text: str) -> str:
    folded = " ".join(unwrap_latex(text).casefold().split())
    return folded.strip("().'\" ")


def _is_prose(wanted: str, said: str) -> bool:
    """Return whether an answer has words that are no functions, units or the gold answer's."""
    inside = _LATEX_WORD.sub(r" \1 ", said)
    known = set(_WORD_RUN.findall(_LATEX_WORD.sub(r" \1 ", wanted)))
    return any(
        word not in known and not _KNOWN_WORDS.fullmatch(word) for word in _WORD_RUN.findall(inside)
    )


def _without_matrices(text: str) -> str:
    """Return nothing where columns stand side by side by right."""
    return "" if "&" in text or "\\\\" in text else text


def _bracket(text: str) -> str | None:
    r"""Return `(`, `[` or `{` (for `\{`) if one pair of brackets holds the whole text."""
    if text.startswith("\\{") and text.endswith("\\}"):
        return "{" if text.count("\\{") == 1 else None
    if not text or text[0] not in "([" or text[-1] not in ")]":
        return None
    depth = 0
    for i, character in enumerate(text):
        depth += (character in "([") - (character in ")]")
        if depth == 0 and i < len(text) - 1:
            return None
    return text[0] if depth == 0 else None


def _has_comma(text: str) -> bool:
    """Return whether a comma stands outside all brackets."""
    depth = 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        if character == "," and depth == 0:
            return True
    return False


def _spell_fraction(match: re.Match[str]) -> str:
    numerator = match[1] if match[1] is not None else match[2]
    denominator = match[3] if match[3] is not None else match[4]
    return rf"\frac{{{numerator.strip()}}}{{{denominator.strip()}}}"


def _spell_name(match: re.Match[str]) -> str:
    name = match[1]
    return "\\infty " if name.startswith("inf") else f"\\{name} "


def _spell_roots(text: str) -> str:
    r"""Return a text with `\sqrt(...)` as `\sqrt{...}`, in one pass."""
    pieces: list[str] = []
    is_root: list[bool] = []  # For each open round bracket, whether a root opened it.
    end = 0
    for match in re.finditer(r"\\sqrt\s{0,4}\(|[()]", text):
        token = match.group()
        if token == ")":
            closes_root = bool(is_root) and is_root.pop()
            pieces += [text[end : match.start()], "}" if closes_root else ")"]
        else:
            is_root.append(len(token) > 1)
            pieces += [text[end : match.start()], r"\sqrt{" if is_root[-1] else "("]
        end = match.end()
    return "".join([*pieces, text[end:]])
