"""Steps of the argument behind a verdict.

A rule never becomes a number: options that rest on one have no accuracy.
"""

from typing import TYPE_CHECKING

from calibration.published import PublishedTable
from policies import ModelSize

from .._recommendation import Reason
from ..evidence import OwnArm
from ..inference import Choice, within_range
from ._candidate import Candidate
from ._words import PAPER, cells_of, percent, points, short_points

if TYPE_CHECKING:
    from ._comparison import Comparison, Facts

__all__ = [
    "cheaper_unless_shown",
    "corpus_decides",
    "gain_reason",
    "larger_ift_reason",
    "largest_figure",
    "leaning",
    "matched_flops",
    "measured_mixtures",
    "most_of_the_gain",
    "multiple_choice",
    "never_last",
    "no_evidence",
    "nothing_fits",
    "off_frontier",
    "over_budget",
    "short_answers",
    "too_uncertain",
]


def gain_reason(task_type: str, comparison: "Comparison") -> Reason:
    """Return both accuracies and whether their difference is shown."""
    if comparison.gain.is_above(0.0):
        code, meaning = "reasoning-gains", "reasoning is more accurate"
    elif comparison.gain.is_below(0.0):
        code, meaning = "reasoning-hurts", "reasoning is less accurate"
    else:
        code, meaning = "gain-not-shown", "the difference is within the uncertainty"
    where = {
        "measured": f"{comparison.corpus} corpus, {PAPER}",
        "interpolated": f"{comparison.corpus} corpus, between sizes printed in {PAPER}",
        "transferred": "the published curve moved by your smaller pair",
        "rule": "no figure",
    }[comparison.basis]
    if comparison.own is not None:
        paired = "question by question" if comparison.own.is_paired else "unpaired"
        where = f"your measurements, {paired}"
    return Reason(
        code=code,
        text=f"{comparison.size} on {task_type} ({where}): IFT "
        f"{percent(comparison.ift.accuracy)}, reasoning {percent(comparison.reasoning.accuracy)} "
        f"({points(comparison.gain)}): {meaning}",
        cells=cells_of(comparison.gain),
    )


def leaning(choice: Choice, tolerance: float) -> Reason:
    """Return why an unshown difference is acted on all the same."""
    regret = 100 * (choice.regret or 0.0)
    return Reason(
        code="leaning",
        text=f"nothing is shown, but acting on {choice.side} is expected to lose "
        f"{regret:.1f} points at most against the better of the two, within the "
        f"{100 * tolerance:g} allowed",
    )


def too_uncertain(comparison: "Comparison", choice: Choice, tolerance: float) -> Reason:
    """Return why the choice is to measure first."""
    regret = 100 * (choice.regret or 0.0)
    return Reason(
        code="too-uncertain",
        text=f"the interval of the gain contains 0, and even {choice.fallback}, which loses least, "
        f"is expected to lose {regret:.1f} points, more than the {100 * tolerance:g} allowed",
        cells=cells_of(comparison.gain),
    )


def corpus_decides(comparison: "Comparison", other: "Comparison") -> Reason:
    """Return that the two published corpora point in opposite directions."""
    return Reason(
        code="corpora-disagree",
        text=f"the corpus decides, and yours was not said: {comparison.corpus} "
        f"{short_points(comparison.gain)} points, {other.corpus} {short_points(other.gain)}; "
        "say which one yours resembles, or measure",
        cells=cells_of(comparison.gain, other.gain),
    )


def no_evidence(facts: "Facts", size: ModelSize | None) -> Reason:
    """Return why nothing supports a choice."""
    question, table = facts.question, facts.evidence.table
    if question.family is None or question.is_proxy:
        text = f"no published figure is about {question.task_type}"
    elif not question.is_corpus_published:
        text = (
            f"no published figure is about {_corpus_name(question.corpus)}: on a corpus that it "
            "was not measured on, the published sign of the gain was right in 24 of 40 cases"
        )
    elif size is not None and not within_range(table, size):
        text = (
            f"{size} is outside the published sizes {table.sizes[0]} to {table.sizes[-1]}, and "
            "figures are not extrapolated"
        )
    else:
        text = f"no published size is within {question.cap}"
    return Reason(
        code="no-evidence",
        text=f"{text}; no measured table of yours compares direct answers with reasoning at this "
        "size or, within the published sizes, a smaller one",
    )


def _corpus_name(corpus: str) -> str:
    return "your own corpus" if corpus == "own" else f"a {corpus} corpus"


def cheaper_unless_shown(comparison: "Comparison") -> Reason:
    """Return the reason for direct answers where no gain of reasoning is shown."""
    ratio = comparison.reasoning.cost.flops / comparison.ift.cost.flops
    return Reason(
        code="ift-cheaper",
        text=f"a recipe that costs {ratio:.1f}x the training FLOPs, and longer answers, needs a "
        "gain",
        cells=cells_of(comparison.gain),
    )


def multiple_choice() -> Reason:
    """Return the reason for direct answers on general multiple choice."""
    return _rule(
        "multiple-choice-rule",
        "multiple choice stays off the frontier: the gain is small for 10-15x longer answers; "
        "--objective accuracy takes it anyway",
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
        "IFT rows first and 25-50% reasoning rows last capture most of the gain of reasoning "
        "alone at a fraction of its training FLOPs; no accuracy is printed for it",
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


def largest_figure(comparison: "Comparison") -> Reason:
    """Return the reason for reasoning alone."""
    return Reason(
        code="largest-figure",
        text="reasoning alone is the recipe that a figure stands behind "
        f"({comparison.reasoning.accuracy.basis}); none is printed for mixtures",
        cells=cells_of(comparison.reasoning.accuracy),
    )


def never_last() -> Reason:
    """Return the reason against reasoning that is followed by IFT."""
    return Reason(
        code="ift-after-reasoning",
        text="the only reasoning you measured is followed by IFT, which is never recommended",
        source="arXiv 2509.22193 v1, qualitative",
    )


def off_frontier(is_open_ended: bool) -> Reason:
    """Return the reason that reasoning here costs more than the accuracy elsewhere."""
    where = "from 7B up" if is_open_ended else "for open-ended tasks only, from 7B up"
    return _rule(
        "off-frontier",
        f"at matched FLOPs a larger IFT model is on or near the frontier; reasoning reaches it "
        f"{where}: chosen here because the size is fixed",
        "sections 4.2 and 7",
    )


def over_budget(candidate: Candidate) -> Reason:
    """Return why a recipe that the evidence favours is not taken."""
    recipe = candidate.recipe
    return Reason(
        code="over-budget",
        text=f"{recipe.size} {recipe.label} does not fit: {'; '.join(candidate.broken)}",
    )


def nothing_fits(cheapest: Candidate) -> Reason:
    """Return that no option respects the budgets."""
    recipe = cheapest.recipe
    return Reason(
        code="nothing-fits",
        text=f"nothing fits, not even {recipe.size} {recipe.label}: "
        f"{'; '.join(cheapest.broken)}; raise the budget or take a smaller size",
    )


def larger_ift_reason(
    comparison: "Comparison",
    reached: Candidate | None,
    tied: Candidate | None,
    table: PublishedTable,
) -> Reason:
    """Say whether a larger model on direct answers can stand in for reasoning."""
    target, larger = comparison.reasoning, reached or tied
    if larger is None:
        largest = table.sizes[-1]
        return Reason(
            code="no-larger-ift-measured",
            text=f"no larger IFT model up to {largest} is known to reach the "
            f"{percent(target.accuracy)} of {target.size} reasoning at less cost; none above "
            f"{largest} was measured",
            cells=cells_of(target.accuracy),
        )
    verb = "reaches" if reached is not None else "cannot be told apart from"
    ratio = larger.cost.flops / target.cost.flops
    text = (
        f"{larger.size} IFT ({larger.recipe.corpus} corpus) has {percent(larger.accuracy)} and "
        f"{verb} the {percent(target.accuracy)} of {target.size} reasoning, at {ratio:.2f}x its "
        "training FLOPs"
    )
    if larger.inference_flops is not None and target.inference_flops is not None:
        text += f" and {larger.inference_flops / target.inference_flops:.2f}x its inference FLOPs"
    return Reason(
        code="larger-ift-reaches" if reached is not None else "larger-ift-ties",
        text=text,
        cells=cells_of(larger.accuracy, target.accuracy),
    )


def measured_mixtures(candidate: Candidate, chosen: OwnArm, best: OwnArm, ift: OwnArm) -> Reason:
    """Return the choice among recipes that the user measured."""
    return Reason(
        code="measured-mixtures",
        text=f"of your measured recipes {candidate.recipe.label} has {percent(chosen.accuracy)}, "
        f"the most accurate has {percent(best.accuracy)}; the cheapest that is not shown to be "
        "worse is taken",
        cells=cells_of(chosen.accuracy, best.accuracy, ift.accuracy),
    )


def _rule(code: str, text: str, section: str) -> Reason:
    """Return a reason that is stated in the paper without figures."""
    return Reason(code=code, text=text, source=f"{PAPER}, {section}")
