"""Grader `choice`: the answer is an option's letter."""

import re
import unicodedata

from ._grader import Grade
from .anchored import find_anchored_answer, unwrap_latex

__all__ = ["ChoiceGrader"]

_LETTER = re.compile(
    r"(?:(?:the\s)?(?:(?:correct|best|right)\s)?(?:option|choice)(?:\sis)?:?\s{1,8})?"
    r"[(\[\"'\u201c\u2018]{0,2}([A-Za-z])"
    r"(?:([)\].:}!\"'\u201d\u2019\u3002]+|[,;](?!\s*[(\[]?[A-Za-z](?:\W|$)))(?=\s|$)|(?=\s|$))",
    re.IGNORECASE,
)
_HEDGE = re.compile(r"\s*(?:or|and|&|/)\s*[(\[]?[A-Za-z](?:[)\].:}]|\s|$)", re.IGNORECASE)
_LATER_HEDGE = re.compile(r"\b(?:or|and) (?:option |choice )?(?:[A-Z][)\]]|[(\[][A-Z][)\]])")
_SEVERAL = re.compile(r"(?:\s+[A-Z])+\s*\Z")  # `A B`, not `A) B`, whose text is a letter.
_CONTRAST = re.compile(r"\b(?:not|than|unlike|over|though|but|rather|instead)\b", re.IGNORECASE)
_DENIAL = re.compile(
    r"\s{1,8}(?:is|was)(?:n't|\s{1,8}(?:not|wrong|incorrect|false))\b", re.IGNORECASE
)
_WORD = re.compile(r"\s+[a-z]")
_REASON_CLAUSE = re.compile(r"\b(?:because|since|as)\b", re.IGNORECASE)
_REASON = re.compile(r"\s+(?:because|since|as|is)\b")


class ChoiceGrader:
    """Compare the letter the answer begins with, as in `B`, `(B)` or `B) Mammography`.

    Two letters (`A or B`) are no answer, and neither is a letter that is ruled out (`B is
    wrong`), a list of the options (`A) x B) y`) or a sentence that merely begins with the word `A` or `I`.
    """

    name = "choice"
    version = 3
    is_slow = False
    runs_code = False

    def check_gold(self, gold: str) -> str | None:
        """Return a problem unless gold is one letter."""
        is_letter = len(gold) == 1 and gold.isascii() and gold.isalpha()
        return None if is_letter else "it is no option's letter"

    def grade(self, answer: str, gold: str) -> Grade:
        """Judge one answer."""
        found = find_anchored_answer(answer)
        # Full-width letters and brackets are those of texts in Chinese and Japanese.
        plain = unicodedata.normalize("NFKC", unwrap_latex(found)) if found else ""
        letter = _leading_letter(plain)
        if letter is None:
            return Grade(False, found)
        return Grade(letter == gold.strip().upper(), letter)


def _leading_letter(text: str) -> str | None:
    match = _LETTER.match(text)
    if match is None or _HEDGE.match(text, match.end()) or _DENIAL.match(text, match.end()):
        return None
    letter = match.group(1).upper()
    rest = _REASON_CLAUSE.split(text[match.end() :], maxsplit=1)[0]
    if _LATER_HEDGE.search(rest) or _lists_the_next(letter, rest):
        return None
    if not match.group(2) and _SEVERAL.match(text, match.end()):
        return None
    is_word = letter in "AI" and not match.group(2) and _WORD.match(text, match.end())
    return None if is_word and not _REASON.match(text, match.end()) else letter


def _lists_the_next(letter: str, rest: str) -> bool:
    """Return whether a text goes on with the next option, as a list of all options does."""
    label = re.search(rf"(?:^|\s)[(\[]?{re.escape(chr(ord(letter) + 1))}[)\]]", rest)
    return label is not None and not _CONTRAST.search(rest, 0, label.start())
