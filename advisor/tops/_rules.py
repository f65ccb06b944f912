"""Which answers become training data: the paper's rules, as pure functions of one question.

Source: "Towards Thinking-Optimal Scaling of Test-Time Compute" (TOPS), arXiv 2502.18080. Where
the paper is silent the choice made here is said, beside the rule.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import NamedTuple

from calibration import Outcome
from policies import InvalidInputError

__all__ = [
    "PAPER_GAP_TOKENS",
    "PAPER_SHARE",
    "Attempt",
    "MinGap",
    "PairKind",
    "PreferencePair",
    "preference_pairs",
    "seed_answers",
    "shortest_correct",
]

PAPER_GAP_TOKENS = 300
"""Tokens by which the answers of a seed question differ at least.

Source: arXiv 2502.18080, format imitation: kept if every pairwise gap is above 300 tokens.
"""

PAPER_SHARE = 0.114
"""The same gap as a share of the mean length, for models that think in tens of tokens.

Source: 300 tokens over 2,630.6, the mean of the seed answers' mean lengths of 1,588.23, 2,535.65
and 3,767.92 tokens (arXiv 2502.18080, data of the 32B tag model). Own arithmetic, no rule of the
paper.
"""

_GAP = re.compile(r"(?P<number>[0-9]+(?:\.[0-9]+)?)\s*(?P<percent>%?)")


class Attempt(NamedTuple):
    """One answer to one question.

    Attributes:
        effort: Which way of asking, counted from 0 in the order of effort asked for.
        repeat: Which of the answers to that effort, from 0.
        n_tokens: Generated tokens, thought and answer together.
        outcome: What became of it.
        key: The sample's key in its run.
        reply: What is trained on: thought and answer.
        answer: The final answer in a form in which equal answers are equal texts.
        is_copy: Whether it is another attempt's answer under the name of a smaller budget, and no
            sample of its own.
    """

    effort: int
    repeat: int
    n_tokens: int
    outcome: Outcome
    key: str = ""
    reply: str = ""
    answer: str = ""
    is_copy: bool = False

    @property
    def is_correct(self) -> bool:
        """Whether the answer is right."""
        return self.outcome is Outcome.CORRECT

    @property
    def is_wrong(self) -> bool:
        """Whether there is an answer and it is wrong; one that was cut is neither."""
        return self.outcome is Outcome.WRONG


@dataclass(frozen=True, slots=True)
class MinGap:
    """How far apart in length the answers of a seed question must be.

    Attributes:
        tokens: A number of tokens, as in the paper.
        share: Instead of it a share of the mean length of the question's answers.
    """

    tokens: float = PAPER_GAP_TOKENS
    share: float | None = None

    @classmethod
    def parse(cls, text: str) -> "MinGap":
        """Return the gap that a text such as `300` or `11.4%` means.

        Raises:
            InvalidInputError: It is neither.

        Example:
            >>> MinGap.parse("25%").share
            0.25
        """
        found = _GAP.fullmatch(text.strip())
        value = float(found["number"]) if found else math.nan
        if found is None or not math.isfinite(value):
            raise InvalidInputError(
                f"the gap {text!r} is no number of tokens and no share",
                hint=f"write {PAPER_GAP_TOKENS} or {PAPER_SHARE:.1%}",
                code="invalid-gap",
            )
        return cls(share=value / 100) if found["percent"] else cls(tokens=value)

    def allows(self, lengths: Sequence[int]) -> bool:
        """Return whether every two of the lengths are further apart than the gap."""
        ordered = sorted(lengths)
        least = self.tokens
        if self.share is not None:
            least = self.share * sum(ordered) / len(ordered) if ordered else 0.0
        return all(after - before > least for before, after in pairwise(ordered))

    def __str__(self) -> str:
        """Return the text that `parse` reads."""
        return f"{self.tokens:g}" if self.share is None else f"{100 * self.share:g}%"


class PairKind(StrEnum):
    """Why an answer was rejected.

    Attributes:
        LONGEST_WRONG: The longest wrong answer, against overthinking.
        SHORTEST_WRONG: A wrong answer shorter than the chosen one, against underthinking.
    """

    LONGEST_WRONG = "longest-wrong"
    SHORTEST_WRONG = "shortest-wrong"


class PreferencePair(NamedTuple):
    """Two answers to one question.

    Attributes:
        chosen: The shortest correct one.
        rejected: A wrong one.
        kind: Why this one.
    """

    chosen: Attempt
    rejected: Attempt
    kind: PairKind


def shortest_correct(attempts: Sequence[Attempt]) -> Attempt | None:
    """Return the correct answer with the fewest tokens, `None` without any.

    Of several equally short ones the lower effort counts, then the earlier sample: the paper does
    not say.

    Source: arXiv 2502.18080, self-improvement (shortest correct of one sample per effort) and
    Iter-SFT (of 8 samples).
    """
    return min((one for one in attempts if one.is_correct), key=_shortest, default=None)


def seed_answers(
    attempts: Sequence[Attempt], n_efforts: int, gap: MinGap
) -> tuple[Attempt, ...] | None:
    """Return one answer per level of effort by growing length, `None` if the question is no seed.

    The first sample of every effort must be right and each two lengths further apart than the
    gap. Which effort was asked for does not count: a low one is asked for and the longest answer
    given in 15.2% of the paper's cases.

    Source: arXiv 2502.18080, format imitation, and Table 7 for the re-sorting.

    Args:
        attempts: Answers to one question.
        n_efforts: How many efforts were asked for; a question that lacks one is no seed.
        gap: How far apart they must be.
    """
    first = [one for one in attempts if one.repeat == 0 and one.is_correct]
    if n_efforts < 2 or {one.effort for one in first} != set(range(n_efforts)):
        return None
    ordered = sorted(first, key=_shortest)
    return tuple(ordered) if gap.allows([one.n_tokens for one in ordered]) else None


def preference_pairs(attempts: Sequence[Attempt]) -> tuple[PreferencePair, ...]:
    """Return the pairs of a question: none, one or two.

    Chosen is the shortest correct answer, rejected the longest wrong one. If some wrong answer is
    shorter than the chosen one, the shortest wrong one is rejected as well; where that is the
    longest one too, the pair is there once.

    Source: arXiv 2502.18080, Iter-DPO. Not in the paper: answers that ran out of tokens are no
    wrong answers and reject nothing; of equally long ones the lower effort and the earlier
    sample counts.
    """
    chosen = shortest_correct(attempts)
    wrong = [one for one in attempts if one.is_wrong]
    if chosen is None or not wrong:
        return ()
    longest = min(wrong, key=_longest)
    pairs = [PreferencePair(chosen, longest, PairKind.LONGEST_WRONG)]
    shortest = min(wrong, key=_shortest)
    if shortest.n_tokens < chosen.n_tokens and shortest is not longest:
        pairs.append(PreferencePair(chosen, shortest, PairKind.SHORTEST_WRONG))
    return tuple(pairs)


def _shortest(one: Attempt) -> tuple[int, int, int, str]:
    return (one.n_tokens, one.effort, one.repeat, one.key)


def _longest(one: Attempt) -> tuple[int, int, int, str]:
    return (-one.n_tokens, one.effort, one.repeat, one.key)
