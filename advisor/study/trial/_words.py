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

    A plain word must be right in 95% of the verdicts that can be told to be right or wrong. A
    leaning must not be shown to lose more than the tolerance, or than it says it expects to, in
    the mean: its loss is against the best of a noisy truth, so that it looks a little too large.
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
    expected = mean_figure([value for _, value in said], [name for name, _ in said])
    bound = max(tolerance, expected.value or 0.0)
    is_earned = None
    if is_leaning and loss.low is not None and loss.n_problems >= _LEAST_PROBLEMS:
        is_earned = loss.low <= bound
    elif not is_leaning and right.value is not None and right.n_problems >= _LEAST_PROBLEMS:
        is_earned = right.value >= LEAST_RIGHT
    return WordCheck(
        trial=trial,
        word=word,
        is_leaning=is_leaning,
        n=len(found),
        n_unclear=len(found) - len(told),
        right=right,
        loss=loss,
        expected_loss=expected,
        promise=f"not shown to lose more than {100 * bound:.2g} points in the mean"
        if is_leaning
        else f"right in {LEAST_RIGHT:.0%}",
        is_earned=is_earned,
    )
