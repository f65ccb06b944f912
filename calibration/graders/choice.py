"""Grader `choice`: the answer is an option's letter."""

import re

from ._grader import Grade
from .anchored import find_anchored_answer, unwrap_latex

__all__ = ["ChoiceGrader"]

_LETTER = re.compile(
    r"(?:(?:option|choice)\s{1,8})?[(\[]?([A-Za-z])"
    r"(?:([)\].:}]+|[,;](?!\s*[(\[]?[A-Za-z](?:\W|$)))(?=\s|$)|(?=\s|$))",
    re.IGNORECASE,
)
_HEDGE = re.compile(r"\s*(?:or|and|&|/)\s*[(\[]?[A-Za-z](?:[)\].:}]|\s|$)", re.IGNORECASE)
_LATER_HEDGE = re.compile(r"\b(?:or|and) (?:option |choice )?(?:[A-Z][)\]]|[(\[][A-Z][)\]])")
_DENIAL = re.compile(
    r"\s{1,8}(?:is|was)(?:n't|\s{1,8}(?:not|wrong|incorrect|false))\b", re.IGNORECASE
)
_WORD = re.compile(r"\s+[a-z]")
_REASON = re.compile(r"\s+(?:because|since|as|is)\b")


class ChoiceGrader:
    """Compare the letter the answer begins with, as in `B`, `(B)` or `B) Mammography`.

    Two letters (`A or B`) are no answer, and neither is a letter that is ruled out (`B is
    wrong`) or a sentence that merely begins with the word `A` or `I`.
    """

    name = "choice"
    version = 2
    is_slow = False
    runs_code = False

    def check_gold(self, gold: str) -> str | None:
        """Return a problem unless gold is one letter."""
        is_letter = len(gold) == 1 and gold.isascii() and gold.isalpha()
        return None if is_letter else "it is no option's letter"

    def grade(self, answer: str, gold: str) -> Grade:
        """Judge one answer."""
        found = find_anchored_answer(answer)
        letter = _leading_letter(unwrap_latex(found)) if found else None
        if letter is None:
            return Grade(False, found)
        return Grade(letter == gold.strip().upper(), letter)


def _leading_letter(text: str) -> str | None:
    match = _LETTER.match(text)
    if match is None or _HEDGE.match(text, match.end()) or _DENIAL.match(text, match.end()):
        return None
    if _LATER_HEDGE.search(text, match.end()):
        return None
    letter = match.group(1).upper()
    is_word = letter in "AI" and not match.group(2) and _WORD.match(text, match.end())
    return None if is_word and not _REASON.match(text, match.end()) else letter
