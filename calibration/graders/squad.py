"""Grader `squad`: the answer is a span of text, compared with every accepted one."""

import json
import re
import string
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import cast

from ._grader import Grade
from .anchored import find_anchored_answer, unwrap_latex

__all__ = [
    "SquadGrader",
    "accepted_answers",
    "check_accepted",
    "normalise",
    "said_span",
    "token_f1",
]

_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
_SHORT_LINE = 300
"""Spans are longer than letters and numbers; F1 charges for every word too many."""


class SquadGrader:
    """Exact match and token F1 with the best of the accepted answers.

    Gold is a JSON list of accepted texts. The answer is read from a box or a line such as
    `Answer: ...`, otherwise a text of one short line is the answer. `is_correct` is exact match
    after normalisation, `score` is F1; both are the maximum over the accepted answers.

    Normalisation is the published one, made for English: lower case, no ASCII punctuation, no
    articles, single spaces. Nothing is done for languages without spaces: a Chinese answer is
    one token, so its F1 is its exact match.

    Source: Rajpurkar et al., arXiv 1606.05250, section 6.1, and its evaluation script; two texts
    that both normalise to nothing match, as in the script of version 2.0.
    """

    name = "squad"
    version = 2
    is_slow = False
    runs_code = False

    def check_gold(self, gold: str) -> str | None:
        """Return a problem unless gold is a JSON list with an accepted answer."""
        return check_accepted(gold)

    def grade(self, answer: str, gold: str) -> Grade:
        """Judge one answer."""
        found = said_span(answer)
        accepted = accepted_answers(gold)
        if found is None or not accepted:
            return Grade(False, found, score=0.0)
        said = normalise(found)
        wanted = [normalise(text) for text in accepted]
        return Grade(said in wanted, found, score=max(token_f1(said, text) for text in wanted))


def said_span(answer: str) -> str | None:
    """Return the span that a text commits to, `None` if there is none."""
    found = find_anchored_answer(answer, short_line=_SHORT_LINE)
    return None if found is None else unwrap_latex(found)


def check_accepted(gold: str) -> str | None:
    """Return why no answer could match a gold answer, `None` if one can."""
    accepted = accepted_answers(gold)
    if accepted is None:
        return 'it is no JSON list of texts such as ["Paris", "in Paris"]'
    if not any(normalise(text) for text in accepted):
        return "no accepted answer has a word besides articles and punctuation"
    return None


@lru_cache(maxsize=256)
def accepted_answers(gold: str) -> Sequence[str] | None:
    """Return the accepted answers of a gold answer, `None` if it is no JSON list of texts."""
    try:
        loaded = json.loads(gold)
    except (ValueError, RecursionError):
        return None
    if not isinstance(loaded, list):
        return None
    items = cast("list[object]", loaded)
    texts = tuple(item for item in items if isinstance(item, str))
    return texts if len(texts) == len(items) else None


def normalise(text: str) -> str:
    """Return a text in lower case without ASCII punctuation, articles and extra spaces."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_NO_PUNCTUATION)).split())


def token_f1(said: str, wanted: str) -> float:
    """Return the F1 of two normalised texts' words in [0, 1], each word counted as it occurs."""
    said_words, wanted_words = said.split(), wanted.split()
    if not said_words or not wanted_words:
        return float(said_words == wanted_words)
    n_shared = (Counter(said_words) & Counter(wanted_words)).total()
    return 2 * n_shared / (len(said_words) + len(wanted_words))
