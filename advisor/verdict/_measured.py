"""A choice among recipes that the user trained and measured, mixtures among them."""

from typing import NamedTuple

from policies import ModelSize

from .._recipe import Order
from .._recommendation import Action
from ..evidence import OwnArm, OwnEvidence, arm_gap
from ..inference import NO_ESTIMATE, Estimate, expected_loss
from ._candidate import Candidate
from ._comparison import FEW_ANSWERS, Facts
from ._draft import Draft
from ._reasons import (
    measured_recipes,
    never_last,
    nothing_fits,
    reasoning_unknown,
    undecided_recipes,
)

__all__ = ["decide_among_measured", "measured_mixtures_of"]


class _Measured(NamedTuple):
    """A measured recipe that fits the budgets.

    Attributes:
        arm: What was measured.
        candidate: The same, priced.
        loss: Accuracy expected to be lost by it against the rival that it may lose most to.
        gaps: Each rival's accuracy minus its own.
    """

    arm: OwnArm
    candidate: Candidate
    loss: float
    gaps: tuple[Estimate, ...]

    @property
    def is_beaten(self) -> bool:
        """Return whether some rival is shown to be more accurate."""
        return any(gap.is_above(0.0) for gap in self.gaps)

    @property
    def is_open(self) -> bool:
        """Return whether a rival that looks more accurate is not shown to be."""
        return any((gap.value or 0.0) > 0 and not gap.is_above(0.0) for gap in self.gaps)


def measured_mixtures_of(own: OwnEvidence) -> list[OwnArm]:
    """Return the user's mixtures that may be recommended: none with IFT after reasoning."""
    return [
        arm
        for arm in own.arms
        if 0 < arm.reasoning_ratio < 1 and arm.order is not Order.REASONING_THEN_IFT
    ]


def decide_among_measured(draft: Draft, facts: Facts, size: ModelSize) -> None:
    """Choose among the measured recipes that fit the budgets, by figures and not by a rule.

    The cheapest is taken that is expected to lose no more than the tolerance against any other;
    with the objective accuracy the most accurate of these. If none is so safe, the cheapest of those
    within the tolerance of the safest that is not shown to be worse than another; unless that is
    direct answers, whose doubt is the same as for a pair of pure recipes: then the verdict is to
    abstain.

    It is to abstain, too, where nothing is known about reasoning alone and it could be afforded: the
    best of the recipes that happened to be measured may be far from the best.

    IFT after reasoning is never chosen from cells of the user's own, as the paper's first version
    advises; in a study, where all recipes were measured alike, it counts by its figures.
    """
    own, question = facts.own_at(size), facts.question
    draft.is_measured_choice = True
    if draft.compared is None:
        draft.gain = own.gain
    arms = [
        arm
        for arm in own.arms
        if arm.order is not Order.REASONING_THEN_IFT or arm.study is not None
    ]
    built = [(arm, facts.build.own(size, arm)) for arm in arms]
    fits = [(arm, one) for arm, one in built if one.is_feasible]
    if not fits:
        draft.abstain(None, nothing_fits(built[0][1]))
        return
    found = [_measured(facts, own, arm, one, fits) for arm, one in fits]
    order = sorted(found, key=lambda one: _price(one, question.objective))
    chosen = next((one for one in order if one.loss <= question.tolerance), None)
    if draft.compared is None and _may_take_reasoning(facts, size):
        draft.lacks_reasoning = True
        fallback = chosen or min(found, key=lambda one: one.loss)
        draft.abstain(fallback.candidate, reasoning_unknown(fallback.candidate, fallback.arm))
        return
    if chosen is None:
        # Pairs over different seeds may beat each other in a circle.
        safest = min(found, key=lambda one: one.loss)
        most = safest.loss + question.tolerance
        near = (one for one in order if not one.is_beaten and one.loss <= most)
        chosen = next(near, safest)
        draft.is_leaning = True
        if chosen.arm.reasoning_ratio == 0 and len(found) > 1:
            best = min(found, key=lambda one: one.loss)
            draft.regret = best.loss
            draft.abstain(best.candidate, undecided_recipes(best.candidate, best.arm, best.loss))
            return
    draft.regret = chosen.loss
    draft.is_leaning = draft.is_leaning or chosen.is_open or chosen.arm.n < FEW_ANSWERS
    top = max(found, key=lambda one: one.arm.accuracy.value or 0.0)
    reason = measured_recipes(chosen.candidate, chosen.arm, top.arm, chosen.loss)
    only_last = len(arms) == 1 and len(own.arms) > 1
    reasons = [never_last()] if only_last else [reason]
    draft.take(_action(chosen.arm), chosen.candidate, reasons, by_rule=False)


def _measured(
    facts: Facts,
    own: OwnEvidence,
    arm: OwnArm,
    candidate: Candidate,
    rivals: list[tuple[OwnArm, Candidate]],
) -> _Measured:
    gaps = tuple(
        arm_gap(rival, arm, own.tasks, facts.records)[0] for rival, _ in rivals if rival is not arm
    )
    losses = [expected_loss(gap.value, gap.sd) for gap in gaps if gap.value is not None]
    return _Measured(arm, candidate, max(losses, default=0.0), gaps)


def _may_take_reasoning(facts: Facts, size: ModelSize) -> bool:
    """Return whether reasoning alone is an option that was not measured."""
    pure = facts.build.pure(size, facts.question.corpus, 1.0, NO_ESTIMATE)
    return facts.own_at(size).find(1.0) is None and pure.is_feasible


def _price(one: _Measured, objective: str) -> tuple[float, float]:
    """Return what an objective looks at first, and training after it."""
    if objective == "accuracy":
        return -(one.arm.accuracy.value or 0.0), one.candidate.cost.flops
    return one.candidate.price(objective), one.candidate.cost.flops


def _action(arm: OwnArm) -> Action:
    if arm.reasoning_ratio == 0:
        return "ift"
    if arm.reasoning_ratio == 1:
        return "reasoning"
    return "mixed" if arm.order is Order.MIXED else "sequential"
