"""A choice among recipes that the user trained and measured, mixtures among them."""

from policies import ModelSize

from .._recipe import Order
from .._recommendation import Action
from ..evidence import OwnArm, OwnEvidence, arm_gap
from ..inference import choose, expected_loss
from ._candidate import Candidate
from ._comparison import FEW_ANSWERS, Facts
from ._draft import Draft
from ._reasons import leaning, measured_recipes, never_last, nothing_fits, too_uncertain

__all__ = ["decide_among_measured", "measured_mixtures_of"]


def measured_mixtures_of(own: OwnEvidence) -> list[OwnArm]:
    """Return the user's mixtures that may be recommended: none with IFT after reasoning."""
    return [
        arm
        for arm in own.arms
        if 0 < arm.reasoning_ratio < 1 and arm.order is not Order.REASONING_THEN_IFT
    ]


def decide_among_measured(draft: Draft, facts: Facts, size: ModelSize) -> None:
    """Choose among the measured recipes that fit the budgets.

    The cheapest is taken that is expected to lose no more than the tolerance against the most
    accurate. If it is no direct-answer recipe, its gain over direct answers must be shown or be
    worth acting on, as for pure recipes.
    """
    own, question = facts.own_at(size), facts.question
    arms = [arm for arm in own.arms if arm.order is not Order.REASONING_THEN_IFT]
    built = [(arm, facts.build.own(size, arm)) for arm in arms]
    fits = [(arm, one) for arm, one in built if one.is_feasible]
    if draft.compared is None:
        draft.gain = own.gain
    if not fits:
        draft.abstain(None, nothing_fits(built[0][1]))
        return
    best = max((arm for arm, _ in fits), key=lambda arm: arm.accuracy.value or 0.0)
    slack = 0.0 if question.objective == "accuracy" else question.tolerance + 1e-9
    near = [
        (arm, one)
        for arm, one in fits
        if (best.accuracy.value or 0.0) - (arm.accuracy.value or 0.0) <= slack
    ]
    chosen, candidate = min(near, key=lambda pair: _price(pair[1], question.objective))
    draft.is_leaning = chosen.n < FEW_ANSWERS
    ift = next((arm for arm, _ in fits if arm.reasoning_ratio == 0), None)
    if chosen.reasoning_ratio > 0 and ift is not None:
        gap, _ = arm_gap(chosen, ift, own.tasks, facts.records)
        choice = choose(gap, tolerance=question.tolerance, prefer_cheap=False)
        draft.is_leaning = draft.is_leaning or not choice.is_shown
        if choice.side == "abstain":
            draft.regret = choice.regret
            fallback = facts.build.own(size, ift)
            draft.abstain(fallback, too_uncertain(gap, choice, question.tolerance))
            return
        if not choice.is_shown:
            draft.reasons.append(leaning(choice, question.tolerance))
    gap, _ = arm_gap(best, chosen, own.tasks, facts.records)
    is_best = chosen is best or gap.value is None
    draft.regret = 0.0 if is_best else expected_loss(gap.value or 0.0, gap.sd)
    reason = measured_recipes(candidate, chosen, best)
    only_last = len(arms) == 1 and len(own.arms) > 1
    draft.compared = draft.compared if chosen.reasoning_ratio in {0.0, 1.0} else None
    draft.take(_action(chosen), candidate, [never_last() if only_last else reason], by_rule=False)


def _price(candidate: Candidate, objective: str) -> tuple[float, float]:
    """Return what an objective looks at first, and training after it."""
    return candidate.price(objective), candidate.cost.flops


def _action(arm: OwnArm) -> Action:
    if arm.reasoning_ratio == 0:
        return "ift"
    if arm.reasoning_ratio == 1:
        return "reasoning"
    return "mixed" if arm.order is Order.MIXED else "sequential"
