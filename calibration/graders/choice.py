"""Grader `choice`: the answer is an option's letter."""

import re

from ._grader import Grade
from .anchored import find_anchored_answer

__all__ = ["ChoiceGrader"]

_LETTER = re.compile(r"(?:\\text\{)?[(\[]?([A-Za-z])[)\].:}]*(?:\s|$)")


class ChoiceGrader:
    """Compare the letter the answer begins with, as in `B`, `(B)` or `B) Mammography`."""

    name = "choice"
    version = 1

    def grade(self, answer: str, gold: str) -> Grade:
        """Judge one answer."""
        found = find_anchored_answer(answer)
        match = _LETTER.match(found) if found else None
        if match is None:
            return Grade(False, found)
        return Grade(match.group(1).upper() == gold.strip().upper(), match.group(1).upper())
