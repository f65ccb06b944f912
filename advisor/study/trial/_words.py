"""Whether the advisor's words for how sure it is are earned."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from ._figures import Figure, mean_figure, share_figure
from ._judging import Judged

__all__ = ["LEAST_RIGHT", "WordCheck", "check_words"]

LEAST_RIGHT = 0.95
"""Share of verdicts without `leaning` that must be right."""

_LEAST_PROBLEMS = 10
"""Problems below which a share says too little about a word."""


@dataclass(frozen=True, slots=True)
class WordCheck:
    """One word of the advisor, and what verdicts that bear it come to.

    Attributes:
        trial: Where it was judged: `study`, the same with `seeds in intervals`, or `published`.
        word: Its word: `measured`, `interpolated`, `transferred` or `rule`.
        is_leaning: It says that the verdict is only a leaning.
        n: Verdicts.
        n_unclear: Verdicts whose truth cannot be told from what was held back.
        right: Share of right ones among the others.
        loss: Accuracy that they lose, against the recipes that the advisor compared.
        expected_loss: Accuracy that the advisor expected to lose, in the mean, where it says.
        promise: What the word must keep.
        is_earned: It does; `None` with fewer than 10 problems.
    """

    trial: str
    word: str
    is_leaning: bool
    n: int
    n_unclear: int
    right: Figure
    loss: Figure
    expected_loss: Figure
    promise: str
    is_earned: bool | None


def check_words(trial: str, judged: Iterable[Judged], tolerance: float) -> tuple[WordCheck, ...]:
    """Return a check of every word that recommendations bear.

    A plain word must be right in 95% of the verdicts that can be told to be right or wrong; a
    leaning must lose no more than the tolerance in the mean, which is what it says of itself.
    Judge only answers to whoever said the truth about the cells.

    Args:
        trial: Where the answers come from.
        judged: Answers; abstentions are passed over.
        tolerance: Accuracy that may be lost.
    """
    groups: dict[tuple[str, bool], list[Judged]] = defaultdict(list)
    for one in judged:
        if one.outcome is not None:
            groups[one.reply.word, one.reply.is_leaning].append(one)
    return tuple(
        _check(trial, word, is_leaning, found, tolerance)
        for (word, is_leaning), found in sorted(groups.items())
    )


def _check(
    trial: str, word: str, is_leaning: bool, found: list[Judged], tolerance: float
) -> WordCheck:
    told = [one for one in found if one.outcome != "unclear"]
    right = share_figure([one.outcome == "right" for one in told], [one.problem for one in told])
    lost = [(one.problem, one.claim_regret) for one in found if one.claim_regret is not None]
    loss = mean_figure([value for _, value in lost], [name for name, _ in lost])
    said = [
        (one.problem, one.reply.expected_loss)
        for one in found
        if one.reply.expected_loss is not None
    ]
    value, bound = (loss.value, tolerance) if is_leaning else (right.value, LEAST_RIGHT)
    n_problems = loss.n_problems if is_leaning else right.n_problems
    is_earned = None
    if value is not None and n_problems >= _LEAST_PROBLEMS:
        is_earned = value <= bound if is_leaning else value >= bound
    return WordCheck(
        trial=trial,
        word=word,
        is_leaning=is_leaning,
        n=len(found),
        n_unclear=len(found) - len(told),
        right=right,
        loss=loss,
        expected_loss=mean_figure([value for _, value in said], [name for name, _ in said]),
        promise=f"loses at most {100 * tolerance:g} points in the mean"
        if is_leaning
        else f"right in {LEAST_RIGHT:.0%}",
        is_earned=is_earned,
    )
