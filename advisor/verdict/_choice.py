"""From comparisons to a choice: direct answers, reasoning, a larger model, or to measure first."""

from policies import ModelSize

from .._recipe import Order
from ..inference import NO_ESTIMATE, choose, difference, expected_loss
from ._comparison import Comparison, Facts
from ._draft import Draft
from ._larger import look_for_larger
from ._measured import decide_among_measured, measured_mixtures_of
from ._reasons import (
    cheaper_unless_shown,
    corpus_decides,
    gain_reason,
    leaning,
    matched_flops,
    multiple_choice,
    no_evidence,
    no_size,
    not_on_top,
    nothing_fits,
    size_reason,
    too_uncertain,
)
from ._ways import is_forced, take_reasoning

__all__ = ["decide"]


def decide(facts: Facts) -> Draft:
    """Return the verdict on a question, without words around it."""
    draft = Draft()
    size = facts.question.size
    if size is None:
        _decide_any(draft, facts)
    else:
        _decide_at(draft, facts, size)
    if not draft.is_measured_choice:
        _set_regret(draft)
    return draft


def _decide_at(draft: Draft, facts: Facts, size: ModelSize, *, may_grow: bool = True) -> None:
    """Choose among recipes of one size, and larger models where they are allowed.

    Args:
        draft: The verdict.
        facts: What it rests on.
        size: The size.
        may_grow: Look for a larger model on direct answers; not where the size was chosen here.
    """
    comparison = facts.compare(size)
    own = facts.own_at(size)
    draft.candidates += [facts.build.own(size, arm) for arm in own.arms]
    if comparison is not None:
        draft.compared, draft.gain = comparison, facts.belief(comparison)
        _list(draft, facts, comparison)
        draft.reasons.append(gain_reason(facts.question.task_type, comparison))
    has_choice = comparison is None or own.is_study or measured_mixtures_of(own)
    if own.is_comparable and has_choice:
        decide_among_measured(draft, facts, size)
    elif comparison is None:
        _list_unsupported(draft, facts, size)
        draft.abstain(None, no_evidence(facts, size))
    elif is_multiple_choice_rule(facts, comparison):
        choice = choose(draft.gain, tolerance=facts.question.tolerance)
        wants = may_grow and choice.side == "reasoning"
        if not (wants and _take_larger(draft, facts, comparison)):
            _take_ift(draft, facts, comparison, by_rule=True)
    elif is_forced(facts, comparison):
        draft.is_forced = True
        take_reasoning(draft, facts, comparison)
    else:
        _decide_by_gain(draft, facts, comparison, may_grow=may_grow)


def _decide_by_gain(draft: Draft, facts: Facts, comparison: Comparison, *, may_grow: bool) -> None:
    question = facts.question
    choice = choose(
        draft.gain,
        tolerance=question.tolerance,
        prefer_cheap=question.objective != "accuracy",
    )
    draft.is_leaning = not choice.is_shown or comparison.is_few
    draft.side = choice.fallback
    if choice.side == "abstain":
        draft.regret = choice.regret
        draft.abstain(None, too_uncertain(draft.gain, choice, question.tolerance))
    elif choice.side == "ift":
        if not choice.is_shown:
            draft.reasons.append(leaning(draft.gain, choice, question.tolerance))
        _take_ift(draft, facts, comparison)
    elif not (may_grow and _take_larger(draft, facts, comparison)):
        if not choice.is_shown:
            draft.reasons.append(leaning(draft.gain, choice, question.tolerance))
        take_reasoning(draft, facts, comparison)
    against = facts.other_corpus(comparison)
    if against is not None and _points_elsewhere(comparison, against):
        draft.reasons.append(corpus_decides(comparison, against))
        draft.quoted.append(against.gain)


def _take_larger(draft: Draft, facts: Facts, comparison: Comparison) -> bool:
    """Take a larger model on direct answers if one stands in for reasoning and is allowed."""
    larger = look_for_larger(draft, facts, comparison)
    if larger is None or not larger.is_feasible:
        return False
    reasons = [matched_flops()]
    if facts.question.have == "reasoning":
        reasons.append(not_on_top())
    draft.take("scale_ift", larger, reasons, by_rule=True)
    gap = difference(larger.accuracy, comparison.reasoning.accuracy)
    draft.is_leaning = draft.is_leaning or not gap.is_above(0.0)
    return True


def _points_elsewhere(comparison: Comparison, other: Comparison) -> bool:
    mine, theirs = comparison.gain.value, other.gain.value
    return mine is not None and theirs is not None and mine * theirs < 0


def _list(draft: Draft, facts: Facts, comparison: Comparison) -> None:
    build, size, corpus = facts.build, comparison.size, comparison.corpus
    if comparison.own is not None and comparison.own.is_study:
        return  # All its recipes are listed; the others are not what was studied.
    sequential = build.mixture(size, corpus, Order.IFT_THEN_REASONING)
    mixed = build.mixture(size, corpus, Order.MIXED)
    draft.candidates += [comparison.ift, sequential, mixed, comparison.reasoning]


def _list_unsupported(draft: Draft, facts: Facts, size: ModelSize) -> None:
    corpus, build = facts.question.corpus, facts.build
    draft.candidates += [
        build.pure(size, corpus, 0.0, NO_ESTIMATE),
        build.mixture(size, corpus, Order.IFT_THEN_REASONING),
        build.mixture(size, corpus, Order.MIXED),
        build.pure(size, corpus, 1.0, NO_ESTIMATE),
    ]


def is_multiple_choice_rule(facts: Facts, comparison: Comparison) -> bool:
    """Return whether the published rule about multiple choice decides.

    It is about the published corpora: what the user measured, here or at a smaller size, counts
    by its own figures. `--objective accuracy` overrides it.
    """
    question = facts.question
    is_published = comparison.own is None and comparison.basis in {"measured", "interpolated"}
    return (
        question.family == "general-mc"
        and is_published
        and not facts.pairs
        and question.objective != "accuracy"
        and not comparison.gain.is_below(0.0)
    )


def _take_ift(draft: Draft, facts: Facts, comparison: Comparison, *, by_rule: bool = False) -> None:
    ift = comparison.ift
    if not ift.is_feasible:
        draft.abstain(None, nothing_fits(ift))
        return
    if facts.question.have == "reasoning":
        draft.reasons.append(not_on_top())
    reason = multiple_choice(comparison) if by_rule else cheaper_unless_shown(comparison)
    draft.take("ift", ift, [reason], by_rule=by_rule)


def _decide_any(draft: Draft, facts: Facts) -> None:
    """Choose a size first, by figures alone, then what to train at it.

    Of the pure recipes that fit the budgets, the cheapest is taken that is expected to lose no
    more than the tolerance against the most accurate. Mixtures have no figures to choose a size by.
    """
    question = facts.question
    found = [one for size in facts.sizes() if (one := facts.compare(size)) is not None]
    arms = [arm for one in found for arm in (one.ift, one.reasoning)]
    draft.candidates += arms
    if not arms:
        draft.abstain(None, no_size(facts))
        return
    # Reasoning that a rule keeps from being chosen is no reason to choose its size.
    barred = {one.reasoning.recipe for one in found if is_multiple_choice_rule(facts, one)}
    fits = [arm for arm in arms if arm.is_feasible and arm.recipe not in barred]
    if not fits:
        draft.abstain(None, nothing_fits(min(arms, key=lambda arm: arm.price(question.objective))))
        return
    best = max(fits, key=lambda arm: arm.accuracy.value or 0.0)
    slack = 0.0 if question.objective == "accuracy" else question.tolerance
    top = best.accuracy.value or 0.0
    near = [arm for arm in fits if top - (arm.accuracy.value or 0.0) <= slack]
    chosen = min(near, key=lambda arm: (arm.price(question.objective), arm.size))
    others = [arm for arm in fits if arm.size != chosen.size]
    draft.next_best = max(others, key=lambda arm: arm.accuracy.value or 0.0, default=None)
    draft.reasons.append(size_reason(chosen, draft.next_best, len(fits), slack))
    _decide_at(draft, facts, chosen.size, may_grow=False)


def _set_regret(draft: Draft) -> None:
    """Say what the choice is expected to lose, whether evidence, a rule or a budget made it.

    Against the better of direct answers and reasoning at the size, or the reasoning that a larger
    model on direct answers replaces. Nothing is known of recipes without an accuracy, and what
    breaks a budget could not have been chosen.
    """
    compared, chosen, gain = draft.compared, draft.chosen, draft.gain
    if chosen is None:
        return
    draft.regret = None if compared is not None or chosen.accuracy.value is None else draft.regret
    if compared is None or gain.value is None or chosen.accuracy.value is None:
        return
    if chosen.size != compared.size:
        gap = difference(compared.reasoning.accuracy, chosen.accuracy)
        draft.regret = None if gap.value is None else expected_loss(gap.value, gap.sd)
    elif chosen.recipe.reasoning_ratio == 0.0 and compared.reasoning.is_feasible:
        draft.regret = expected_loss(gain.value, gain.sd)
    elif chosen.recipe.reasoning_ratio == 1.0:
        draft.regret = expected_loss(-gain.value, gain.sd)
