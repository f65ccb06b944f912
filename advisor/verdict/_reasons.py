"""Steps of the argument behind a verdict.

A rule never becomes a number: options that rest on one have no accuracy.
"""

from typing import TYPE_CHECKING

from calibration.published import PublishedTable, find_evidence
from policies import ModelSize

from .._recommendation import Reason
from ..evidence import OwnArm
from ..inference import Choice, Estimate, difference, prior_signs, within_range
from ._candidate import Candidate
from ._words import PAPER, cells_of, percent, points, short_points

if TYPE_CHECKING:
    from ._comparison import Comparison, Facts

_TOPS = "2502.18080/T3"

__all__ = [
    "backtracking",
    "cheaper_unless_shown",
    "corpus_decides",
    "fallback_reason",
    "from_ift",
    "from_rewards",
    "gain_reason",
    "keep_ift",
    "keep_model",
    "larger_ift_reason",
    "largest_figure",
    "leaning",
    "matched_flops",
    "measured_recipes",
    "most_of_the_gain",
    "multiple_choice",
    "never_last",
    "no_evidence",
    "no_signal",
    "no_size",
    "not_on_top",
    "nothing_fits",
    "off_frontier",
    "over_budget",
    "reinforced",
    "short_answers",
    "shortened",
    "size_reason",
    "too_uncertain",
    "undecided_recipes",
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
    if comparison.basis == "interpolated" and any(
        ref.source == "measured" for ref in comparison.gain.refs
    ):
        where = f"{comparison.corpus} corpus, between sizes that you measured"
    if comparison.own is not None:
        paired = "question by question" if comparison.own.is_paired else "unpaired"
        where = f"your measurements, {paired}"
        if comparison.own.is_study:
            ref = next(arm.study for arm in comparison.own.arms if arm.study is not None)
            by = "paired by seed and question" if comparison.own.is_paired else "unpaired"
            where = f"{ref.view.source}, {ref.view.corpus} corpus, {ref.arm.model}, {by}"
    return Reason(
        code=code,
        text=f"{comparison.size} on {task_type} ({where}): IFT "
        f"{percent(comparison.ift.accuracy)}, reasoning {percent(comparison.reasoning.accuracy)} "
        f"({points(comparison.gain)}): {meaning}",
        cells=cells_of(comparison.gain),
    )


def leaning(gain: Estimate, choice: Choice, tolerance: float) -> Reason:
    """Return why an unshown difference is acted on all the same."""
    regret = 100 * (choice.regret or 0.0)
    return Reason(
        code="leaning",
        text=f"what is believed about the gain ({points(gain)}) is not shown, but acting on "
        f"{choice.side} is expected to lose "
        f"{regret:.1f} points against the better of the two, within the {100 * tolerance:g} allowed",
        cells=cells_of(gain),
    )


def too_uncertain(gain: Estimate, choice: Choice, tolerance: float) -> Reason:
    """Return why the choice is to measure first."""
    regret = 100 * (choice.regret or 0.0)
    return Reason(
        code="too-uncertain",
        text=f"what is believed about the gain ({points(gain)}) leaves both sides open: even "
        f"{choice.fallback}, which loses least, is expected to lose {regret:.1f} points, more than "
        f"the {100 * tolerance:g} allowed",
        cells=cells_of(gain),
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


def no_evidence(facts: "Facts", size: ModelSize) -> Reason:
    """Return why nothing supports a choice at a size."""
    question, table = facts.question, facts.evidence.table
    if facts.view is not None:
        sizes = ", ".join(f"{name} ({ModelSize(n)})" for name, n in facts.view.sizes.items())
        text = (
            f"{facts.view.source} measured {question.task_type} at {sizes}: {size} is none of"
            " them, nor between two that are near enough; published sizes begin at"
            f" {table.sizes[0]}"
        )
    elif question.family is None or question.is_proxy:
        text = f"no published figure is about {question.task_type}"
    elif not within_range(table, size):
        text = (
            f"{size} is outside the published sizes {table.sizes[0]} to {table.sizes[-1]}, and "
            "figures are not extrapolated"
        )
    else:
        signs = prior_signs(table)
        text = (
            f"no published figure is about {_corpus_name(question.corpus)}: on a corpus that it "
            f"was not measured on, the published sign of the gain was right in {signs.n_right} of "
            f"{signs.n} cases"
        )
    return Reason(
        code="no-evidence",
        text=f"{text}; no measured table of yours compares direct answers with reasoning at this "
        "size or, within the published sizes, a smaller one",
    )


def no_size(facts: "Facts") -> Reason:
    """Return why nothing supports a choice at any size."""
    question = facts.question
    if question.family is None or question.is_proxy:
        text = f"no published figure is about {question.task_type}"
    elif not question.is_corpus_published:
        text = f"no published figure is about {_corpus_name(question.corpus)}"
    else:
        text = f"no published size is within {question.cap}"
    return Reason(
        code="no-evidence",
        text=f"{text}, and no measured table of yours compares direct answers with reasoning",
    )


def size_reason(
    chosen: Candidate, next_best: Candidate | None, n_feasible: int, tolerance: float
) -> Reason:
    """Return why a size was chosen."""
    what = f"{chosen.size} {chosen.recipe.label} ({percent(chosen.accuracy)})"
    text = f"of {n_feasible} pure recipes that fit, {what} is the only size that does"
    cells = cells_of(chosen.accuracy)
    if next_best is not None:
        gap = difference(next_best.accuracy, chosen.accuracy)
        how = "the most accurate"
        if tolerance > 0:
            how = f"the cheapest within {100 * tolerance:g} percentage points of the most accurate"
        text = (
            f"of {n_feasible} pure recipes that fit, {what} is {how}; the best of another size, "
            f"{next_best.size} {next_best.recipe.label}, is {short_points(gap)} points away"
        )
        cells = cells_of(chosen.accuracy, next_best.accuracy)
    return Reason(code="size-choice", text=text, cells=cells)


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


def multiple_choice(comparison: "Comparison") -> Reason:
    """Return the reason for direct answers on general multiple choice, with what they give up."""
    ift, reasoning = comparison.ift.inference_flops, comparison.reasoning.inference_flops
    price = "" if not ift or not reasoning else f" for {reasoning / ift:.0f}x the inference FLOPs"
    return Reason(
        code="multiple-choice-rule",
        text=f"reasoning gives {short_points(comparison.gain)} points{price}; at matched FLOPs the "
        "paper finds multiple choice off the frontier at every size; --objective accuracy takes "
        "it anyway",
        cells=cells_of(comparison.gain),
        source=f"{PAPER}, sections 3.2, 4.2 and 7",
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


def fallback_reason(fallback: Candidate, prior: Estimate) -> Reason:
    """Return what to train if something must be trained today, and why that."""
    name = f"{fallback.size} {fallback.recipe.label}"
    if prior.value is None:
        text = f"if something must be trained today, {name} costs least; nothing says what is best"
    else:
        text = (
            f"if something must be trained today, {name}: what is believed about the gain of "
            f"reasoning is {points(prior)}"
        )
    return Reason(code="fallback", text=text, cells=cells_of(prior))


def not_on_top() -> Reason:
    """Return that direct answers are not trained onto a model that reasons."""
    return Reason(
        code="ift-after-reasoning",
        text="train direct answers from the base model, or ask the model that you have without "
        "thinking; never put IFT on top of reasoning",
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
    edge = difference(larger.accuracy, target.accuracy)
    verb = "reaches" if reached is not None else "is not shown to be less accurate than"
    ratio = larger.cost.flops / target.cost.flops
    text = (
        f"{larger.size} IFT ({larger.recipe.corpus} corpus) has {percent(larger.accuracy)} and "
        f"{verb} the {percent(target.accuracy)} of {target.size} reasoning ({points(edge)}), at "
        f"{ratio:.2f}x its training FLOPs"
    )
    if larger.inference_flops is not None and target.inference_flops is not None:
        text += f" and {larger.inference_flops / target.inference_flops:.2f}x its inference FLOPs"
    return Reason(
        code="larger-ift-reaches" if reached is not None else "larger-ift-ties",
        text=text,
        cells=cells_of(larger.accuracy, target.accuracy),
    )


def undecided_recipes(candidate: Candidate, arm: OwnArm, loss: float) -> Reason:
    """Return that no measured recipe is safe enough to be chosen."""
    return Reason(
        code="too-uncertain",
        text=f"none of {_whose(arm)} is shown to be best: even {candidate.recipe.label}, "
        f"which loses least, is expected to lose {100 * loss:.1f} points against another",
        cells=cells_of(candidate.accuracy),
    )


def reasoning_unknown(candidate: Candidate, arm: OwnArm) -> Reason:
    """Return that reasoning alone may be better than all that was measured."""
    return Reason(
        code="reasoning-unknown",
        text=f"of {_whose(arm)} {candidate.recipe.label} is the one to take, but reasoning alone "
        "is none of them and may be far more accurate: measure it before you choose",
        cells=cells_of(candidate.accuracy),
    )


def measured_recipes(candidate: Candidate, chosen: OwnArm, best: OwnArm, loss: float) -> Reason:
    """Return the choice among recipes that the user measured."""
    return Reason(
        code="measured-recipes",
        text=f"of {_whose(chosen)} that fit, {candidate.recipe.label} has "
        f"{percent(chosen.accuracy)} and the most accurate {percent(best.accuracy)}; it is expected "
        f"to lose {100 * loss:.1f} points at most against any of them",
        cells=cells_of(chosen.accuracy, best.accuracy),
    )


def _whose(arm: OwnArm) -> str:
    if arm.study is None:
        return "your measured recipes"
    return f"the recipes measured in {arm.study.view.source}"


def keep_model() -> Reason:
    """Return that nothing need be trained while nothing is decided."""
    return Reason(code="fallback", text="until then keep the model that you have", source="yours")


def keep_ift() -> Reason:
    """Return that the model which is there stays as it is."""
    return Reason(
        code="have-ift", text="direct answers are trained already: keep that model", source="yours"
    )


def from_ift() -> Reason:
    """Return the reason for adding reasoning to a model on direct answers."""
    return _rule(
        "have-ift",
        "direct answers are trained already: what is missing is the second part of "
        "IFT-then-reasoning, 25-50% of all rows, distilled from the teacher",
        "section 5",
    )


def from_rewards(check: str) -> Reason:
    """Return the reason for reinforcement learning without a teacher."""
    return Reason(
        code="no-teacher",
        text="nobody writes traces, so reasoning can only be learned from checked answers; "
        f"{check}. It trails distillation wherever both were tried",
        cells=("2509.22193v2/claims/r1-distillation-vs-rl",),
        source=f"{PAPER}, appendix A, quoting",
    )


def reinforced(check: str) -> Reason:
    """Return the reason for reinforcement learning after distillation."""
    return Reason(
        code="rl-after-distillation",
        text="the model reasons already, and accuracy is what counts: reinforcement learning "
        f"starts best from a distilled model; {check}",
        source="arXiv 2501.12948, stages of R1; a rule",
    )


def shortened() -> Reason:
    """Return the reason for self-improvement on shortest correct answers."""
    tops, other = f"{_TOPS}/Qwen2.5-32B-TOPS/default", f"{_TOPS}/Qwen2.5-32B-Random/default"
    shown = {
        name: find_evidence(name).value
        for name in (
            f"{tops}/GSM8K/tokens",
            f"{other}/GSM8K/tokens",
            f"{tops}/AIME2024/accuracy",
            f"{other}/AIME2024/accuracy",
        )
    }
    tokens, other_tokens, aime, other_aime = (float(str(value)) for value in shown.values())
    return Reason(
        code="tops",
        text="the model reasons already: train it on its own shortest correct answers, which "
        f"saves tokens at about the same accuracy (printed: GSM8K {tokens:.0f} tokens against "
        f"{other_tokens:.0f} for random correct ones; AIME {aime:.1f} against {other_aime:.1f}, "
        "within its noise)",
        cells=tuple(shown),
        source="arXiv 2502.18080, Table 3",
    )


def no_signal(text: str) -> Reason:
    """Return that checked answers would teach nothing."""
    return Reason(
        code="no-signal",
        text=f"learning from checked answers has no signal: {text}",
        source="arithmetic, 1 - p^G - (1-p)^G",
    )


def backtracking() -> Reason:
    """Return the reason for traces of a search program."""
    return Reason(
        code="backtracking",
        text="a search program can write traces with retracted steps, no teacher is needed; shown "
        "on Countdown only (over 40% above training on the optimal path)",
        cells=("methods/self-backtracking",),
        source="arXiv 2502.04404, abstract",
    )


def _rule(code: str, text: str, section: str) -> Reason:
    """Return a reason that is stated in the paper without figures."""
    return Reason(code=code, text=text, source=f"{PAPER}, {section}")
