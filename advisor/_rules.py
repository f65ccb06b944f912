"""Reasons that rest on rules: what a paper states without figures, and plain arithmetic of cost.

A rule never becomes a number: options that rest on one have no accuracy.
"""

from ._explain import PAPER, cells_of
from ._options import OPEN_ENDED, Comparison
from ._recommendation import Reason

__all__ = [
    "cheaper_unless_shown",
    "matched_flops",
    "most_of_the_gain",
    "multiple_choice",
    "never_last",
    "off_frontier",
    "short_answers",
]


def cheaper_unless_shown(comparison: Comparison) -> Reason:
    """Return the reason for direct answers where no gain of reasoning is shown."""
    ratio = comparison.reasoning.train_flops / comparison.ift.train_flops
    return Reason(
        code="ift-cheaper",
        text=f"a recipe that costs {ratio:.1f}x the training FLOPs, and longer answers, needs a "
        "gain that is shown",
        cells=cells_of(comparison.gain),
    )


def multiple_choice() -> Reason:
    """Return the reason for direct answers on general multiple choice."""
    return _rule(
        "multiple-choice-rule",
        "multiple choice stays off the frontier: the gain is small for 10-15x longer answers; "
        "ask with priority 'accuracy' to have it anyway",
        "sections 3.2, 4.2 and 7",
    )


def matched_flops() -> Reason:
    """Return the reason for a larger model on direct answers."""
    return _rule(
        "matched-flops",
        "at matched FLOPs a larger IFT model is on or near the frontier almost everywhere",
        "sections 4.2 and 7",
    )


def most_of_the_gain() -> Reason:
    """Return the reason for a sequential mixture."""
    return _rule(
        "sequential-ratio",
        "IFT examples first and 25-50% reasoning examples last capture most of the gain of "
        "reasoning alone at a fraction of its training FLOPs; no accuracy is printed for it",
        "section 5",
    )


def short_answers() -> Reason:
    """Return the reason for a shuffled mixture."""
    return _rule(
        "mixed-ratio",
        "shuffled training with less than 50% reasoning keeps answers short, and raises accuracy "
        "on math; above 50% the model always reasons; no accuracy is printed for it",
        "section 5",
    )


def never_last() -> Reason:
    """Return the reason against reasoning that is followed by IFT."""
    return Reason(
        code="ift-after-reasoning",
        text="the only reasoning you measured is followed by IFT, which is never recommended",
        source="arXiv 2509.22193 v1, qualitative",
    )


def off_frontier(task_type: str) -> Reason:
    """Return the reason that reasoning below 7B costs more than the accuracy elsewhere."""
    where = "from 7B up" if task_type in OPEN_ENDED else "for open-ended tasks only, from 7B up"
    return _rule(
        "off-frontier",
        f"at matched FLOPs a larger IFT model is on or near the frontier; reasoning reaches it "
        f"{where}: chosen here because the size is fixed",
        "sections 4.2 and 7",
    )


def _rule(code: str, text: str, section: str) -> Reason:
    """Return a reason that is stated in the paper without figures."""
    return Reason(code=code, text=text, source=f"{PAPER}, {section}")
