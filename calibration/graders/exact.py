"""Graders `exact` and `pocket`: the answer is a text, compared after normalisation."""

import unicodedata

from ._grader import Grade
from .anchored import find_anchored_answer, unwrap_latex

__all__ = ["ExactGrader", "PocketGrader"]


class ExactGrader:
    """Compare the anchored answer case-insensitively, whitespace and a final stop ignored."""

    name = "exact"
    version = 2
    is_slow = False
    runs_code = False

    def check_gold(self, gold: str) -> str | None:
        """Return a problem if gold is empty."""
        return None if gold.strip() else "it is empty"

    def grade(self, answer: str, gold: str) -> Grade:
        """Judge one answer."""
        found = find_anchored_answer(answer)
        if found is None:
            return Grade(False, None)
        wanted = _normalise(gold)
        is_correct = wanted in (_normalise(found), _normalise(unwrap_latex(found)))
        return Grade(is_correct, found)


class PocketGrader:
    """Compare what follows `Answer: `, the way the pocket models say it, letter by letter."""

    name = "pocket"
    version = 1
    is_slow = False
    runs_code = False

    def check_gold(self, gold: str) -> str | None:
        """Return a problem if gold is empty."""
        return None if gold.strip() else "it is empty"

    def grade(self, answer: str, gold: str) -> Grade:
        """Judge one answer."""
        prefix, marker, said = answer.partition("Answer: ")
        if prefix.strip() or not marker:
            return Grade(False, None)
        return Grade(said.strip() == gold, said.strip())


def _normalise(text: str) -> str:
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(folded.split()).rstrip(".")
