"""From comparisons to a choice: which recipe, which size, or to measure first."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from policies import ModelSize

from .._recipe import Order
from .._recommendation import Action, Reason
from ..inference import (
    NO_ESTIMATE,
    Choice,
    Estimate,
    choose,
    difference,
    expected_loss,
    nominal_size,
)
from ._candidate import Candidate
from ._comparison import Comparison, Facts
from ._reasons import (
    cheaper_unless_shown,
    corpus_decides,
    gain_reason,
    larger_ift_reason,
    largest_figure,
    leaning,
    matched_flops,
    measured_mixtures,
    most_of_the_gain,
    multiple_choice,
    never_last,
    no_evidence,
    nothing_fits,
    off_frontier,
    over_budget,
    short_answers,
    too_uncertain,
)

__all__ = ["FRONTIER_SIZE", "Draft", "decide"]

FRONTIER_SIZE = ModelSize(7_000_000_000)
"""Smallest size at which reasoning reaches the accuracy-FLOPs frontier, open-ended tasks only.

Source: arXiv 2509.22193v2, sections 4.2 and 7.
"""


@dataclass(slots=True)
class Draft:
    """A verdict being put together.

    Attributes:
        action: What to do.
        chosen: What to train, `None` when abstaining.
        fallback: What loses least if something must be trained today, when abstaining.
        is_leaning: The deciding interval contains 0, or the evidence is thin.
        regret: Expected loss of accuracy by acting.
        gain: The gain that decides.
        compared: The comparison that decides.
        larger: A larger model on direct answers that would do as well for less.
        tied: One that cannot be told apart from reasoning, for less.
        candidates: Everything that was considered.
        reasons: The argument.
        quoted: Estimates whose figures the argument quotes besides.
    """

    action: Action = "abstain"
    chosen: Candidate | None = None
    fallback: Candidate | None = None
    is_leaning: bool = False
    regret: float | None = None
    gain: Estimate = NO_ESTIMATE
    compared: Comparison | None = None
    larger: Candidate | None = None
    tied: Candidate | None = None
    candidates: list[Candidate] = field(default_factory=list[Candidate])
    reasons: list[Reason] = field(default_factory=list[Reason])
    quoted: list[Estimate] = field(default_factory=list[Estimate])

    def take(self, action: Action, candidate: Candidate, *reasons: Reason) -> None:
        """Choose a candidate."""
        self.action, self.chosen = action, candidate
        self.reasons += reasons

    def abstain(self, fallback: Candidate | None, *reasons: Reason) -> None:
        """Choose nothing."""
        self.action, self.chosen, self.fallback = "abstain", None, fallback
        self.reasons += reasons


def decide(facts: Facts) -> Draft:
    """Return the verdict on a question, without words around it."""
    draft = Draft()
    question = facts.question
    if question.size is None:
        _decide_any(draft, facts)
    else:
        _decide_at(draft, facts, question.size)
    _set_regret(draft)
    return draft


def _set_regret(draft: Draft) -> None:
    """Say what the choice is expected to lose, whether evidence, a rule or a budget made it.

    Against the better of direct answers and reasoning at the size; mixtures stand with reasoning,
    a larger model on direct answers against the reasoning that it replaces.
    """
    compared, chosen = draft.compared, draft.chosen
    if compared is None or chosen is None or compared.gain.value is None:
        return
    if draft.action == "scale_ift" and chosen.size != compared.size:
        gap = difference(compared.reasoning.accuracy, chosen.accuracy)
        draft.regret = None if gap.value is None else expected_loss(gap.value, gap.sd)
    elif chosen.recipe.reasoning_ratio == 0.0:
        # What breaks a budget could not have been chosen, so nothing is lost by not choosing it.
        could = compared.reasoning.is_feasible
        draft.regret = expected_loss(compared.gain.value, compared.gain.sd) if could else None
    elif chosen.accuracy.value is None or chosen.recipe.reasoning_ratio == 1.0:
        draft.regret = expected_loss(-compared.gain.value, compared.gain.sd)


def _decide_at(draft: Draft, facts: Facts, size: ModelSize) -> None:
    """Choose among recipes of one size, and larger models where they are allowed."""
    comparison = facts.compare(size)
    own = facts.own_at(size)
    draft.candidates += [facts.build.own(size, arm) for arm in own.arms]
    if comparison is None and own.is_comparable:
        _decide_among_measured(draft, facts, size)
        return
    if comparison is None:
        _list_unsupported(draft, facts, size)
        draft.abstain(None, no_evidence(facts, size))
        return
    draft.compared, draft.gain = comparison, comparison.gain
    _list(draft, facts, comparison)
    draft.reasons.append(gain_reason(facts.question.task_type, comparison))
    mixtures = [
        arm
        for arm in own.arms
        if 0 < arm.reasoning_ratio < 1 and arm.order is not Order.REASONING_THEN_IFT
    ]
    if own.is_comparable and mixtures:
        _decide_among_measured(draft, facts, size)
        return
    side = _side(draft, facts, comparison)
    if side == "abstain":
        return
    if side == "ift":
        _take_ift(draft, facts, comparison)
        return
    _look_for_larger(draft, facts, comparison)
    if draft.larger is not None and draft.larger.is_feasible:
        draft.take("scale_ift", draft.larger, matched_flops())
    elif _stays_with_ift(facts):
        _take_ift(draft, facts, comparison, multiple_choice())
    else:
        _take_reasoning(draft, facts, comparison)


def _side(draft: Draft, facts: Facts, comparison: Comparison) -> str:
    """Return `ift`, `reasoning` or `abstain`, and note how sure that is."""
    question = facts.question
    choice = choose(
        comparison.gain,
        tolerance=question.tolerance,
        prefer_cheap=question.objective != "accuracy",
    )
    draft.regret = choice.regret
    draft.is_leaning = not choice.is_shown or comparison.is_few
    against = _other_corpus_against(facts, comparison, choice)
    if against is not None:
        draft.reasons.append(corpus_decides(comparison, against))
        draft.quoted.append(against.gain)
        draft.is_leaning = True
        if not choice.is_shown:
            draft.abstain(comparison.ift)
            return "abstain"
    if choice.side == "abstain":
        fallback = comparison.reasoning if choice.fallback == "reasoning" else comparison.ift
        draft.abstain(fallback, too_uncertain(comparison, choice, question.tolerance))
        return "abstain"
    if not choice.is_shown:
        draft.reasons.append(leaning(choice, question.tolerance))
    return choice.side


def _other_corpus_against(
    facts: Facts, comparison: Comparison, choice: Choice
) -> Comparison | None:
    """Return the other published corpus's comparison, if the corpus was not said and it objects."""
    question = facts.question
    said = question.request.corpus is not None
    if said or question.other is None or comparison.corpus != question.corpus:
        return None
    if comparison.basis == "transferred":
        return None
    other = facts.published_of(comparison.size, question.other)
    if other is None or other.gain.value is None or comparison.gain.value is None:
        return None
    opposite = comparison.gain.value * other.gain.value < 0
    objects = other.gain.is_above(0.0) or other.gain.is_below(0.0) or not choice.is_shown
    return other if opposite and objects else None


def _list(draft: Draft, facts: Facts, comparison: Comparison) -> None:
    sequential = facts.build.mixture(comparison.size, comparison.corpus, Order.IFT_THEN_REASONING)
    mixed = facts.build.mixture(comparison.size, comparison.corpus, Order.MIXED)
    draft.candidates += [comparison.ift, sequential, mixed, comparison.reasoning]


def _list_unsupported(draft: Draft, facts: Facts, size: ModelSize) -> None:
    corpus, build = facts.question.corpus, facts.build
    draft.candidates += [
        build.pure(size, corpus, 0.0, NO_ESTIMATE),
        build.mixture(size, corpus, Order.IFT_THEN_REASONING),
        build.mixture(size, corpus, Order.MIXED),
        build.pure(size, corpus, 1.0, NO_ESTIMATE),
    ]


def _stays_with_ift(facts: Facts) -> bool:
    question = facts.question
    return question.family == "general-mc" and question.objective != "accuracy"


def _take_ift(draft: Draft, facts: Facts, comparison: Comparison, *reasons: Reason) -> None:
    ift = comparison.ift
    if not ift.is_feasible:
        draft.abstain(None, nothing_fits(ift))
        return
    draft.take("ift", ift, *(reasons or (cheaper_unless_shown(comparison),)))


def _take_reasoning(draft: Draft, facts: Facts, comparison: Comparison) -> None:
    """Choose how much reasoning to train, where its gain is supported and budgets allow it."""
    question = facts.question
    build, size, corpus = facts.build, comparison.size, comparison.corpus
    sequential = build.mixture(size, corpus, Order.IFT_THEN_REASONING)
    mixed = build.mixture(size, corpus, Order.MIXED)
    nominal = nominal_size(facts.evidence.table, size)
    is_own = comparison.own is not None
    if not is_own and (nominal < FRONTIER_SIZE or not question.is_open_ended):
        draft.reasons.append(off_frontier(question.is_open_ended))
    wanted: list[tuple[Action, Candidate, Reason]] = [
        ("sequential", sequential, most_of_the_gain()),
        ("mixed", mixed, short_answers()),
    ]
    full: tuple[Action, Candidate, Reason] = (
        "reasoning",
        comparison.reasoning,
        largest_figure(comparison),
    )
    if question.objective == "accuracy":
        wanted.insert(0, full)
    elif _serving_decides(facts, sequential, mixed):
        wanted.reverse()
    elif not _has_ratio_rule(facts):
        wanted.insert(0, full)
    for index, (action, candidate, reason) in enumerate(wanted):
        if candidate.is_feasible:
            if index:
                draft.reasons.append(over_budget(wanted[0][1]))
            draft.take(action, candidate, reason)
            return
    if comparison.ift.is_feasible:
        draft.take("ift", comparison.ift, over_budget(wanted[0][1]))
        return
    draft.abstain(None, nothing_fits(comparison.ift))


def _serving_decides(facts: Facts, sequential: Candidate, mixed: Candidate) -> bool:
    """Return whether cheap answers matter more than cheap training."""
    question = facts.question
    if question.objective == "inference":
        return True
    if question.objective == "total" and mixed.total_flops and sequential.total_flops:
        # Both cost the same to train: what serving saves must matter beside that.
        return sequential.total_flops - mixed.total_flops > sequential.cost.flops
    return False


def _has_ratio_rule(facts: Facts) -> bool:
    """Return whether a mixture is recommended without a figure: open-ended tasks and math.

    Source: arXiv 2509.22193v2, section 5; 0.5B and 1.5B on General-MC are its exceptions.
    """
    return facts.question.is_open_ended or facts.question.family == "math-mc"


def _decide_among_measured(draft: Draft, facts: Facts, size: ModelSize) -> None:
    """Choose among measured recipes: the cheapest that is not shown to be worse than the best."""
    own, objective = facts.own_at(size), facts.question.objective
    draft.gain = own.gain
    arms = [arm for arm in own.arms if arm.order is not Order.REASONING_THEN_IFT]
    ift = next(arm for arm in arms if arm.reasoning_ratio == 0)
    if len(arms) == 1:
        draft.take("ift", facts.build.own(size, ift), never_last())
        return
    best = max(arms, key=lambda arm: arm.accuracy.value or 0.0)
    gains = [arm for arm in arms if difference(arm.accuracy, ift.accuracy).is_above(0.0)]
    equal = [arm for arm in gains if not difference(best.accuracy, arm.accuracy).is_above(0.0)]
    if not equal:
        chosen = ift
        draft.is_leaning = best is not ift
    elif objective == "accuracy":
        chosen = best
    elif objective == "inference":
        chosen = min(equal, key=lambda arm: (arm.mean_tokens or math.inf, arm.reasoning_ratio))
    else:
        chosen = min(equal, key=lambda arm: (arm.reasoning_ratio, arm.mean_tokens or math.inf))
    draft.is_leaning = draft.is_leaning or chosen.n < 100
    gap = difference(best.accuracy, chosen.accuracy)
    if gap.value is not None:
        draft.regret = expected_loss(gap.value, gap.sd) if chosen is not best else 0.0
    candidate = facts.build.own(size, chosen)
    if not candidate.is_feasible:
        draft.abstain(None, nothing_fits(candidate))
        return
    ratio = chosen.reasoning_ratio
    staged: Action = "mixed" if chosen.order is Order.MIXED else "sequential"
    action: Action = "ift" if ratio == 0 else "reasoning" if ratio == 1 else staged
    draft.take(action, candidate, measured_mixtures(candidate, chosen, best, ift))


def _look_for_larger(draft: Draft, facts: Facts, comparison: Comparison) -> None:
    """Find a larger model on direct answers that can stand in for reasoning at this size.

    `larger` reaches its accuracy at less cost, `tied` only cannot be told apart from it. From 7B
    up on open-ended tasks, where the paper finds reasoning on the frontier, reaching means that
    the interval of the difference lies above 0; elsewhere a larger figure will do. Of the ones
    that are allowed the most accurate counts, of the others the smallest.
    """
    question, table = facts.question, facts.evidence.table
    target = comparison.reasoning
    asked = nominal_size(table, comparison.size)
    strict = asked >= FRONTIER_SIZE and question.is_open_ended and comparison.own is None
    reached: list[Candidate] = []
    tied: list[Candidate] = []
    for size in _larger_sizes(facts, comparison):
        there = facts.compare(size)
        if there is None or (there.own is None) != (comparison.own is None):
            continue
        mine, theirs = comparison.own, there.own
        if mine is not None and theirs is not None and mine.tasks != theirs.tasks:
            continue
        if not there.ift.is_cheaper(target, question.objective):
            continue
        edge = difference(there.ift.accuracy, target.accuracy)
        if edge.value is None:
            continue
        if edge.is_above(0.0) or (not strict and edge.value >= 0.0):
            reached.append(there.ift)
        elif not edge.is_below(0.0):
            tied.append(there.ift)
    draft.larger = _first_allowed(reached)
    draft.tied = None if reached else _first_allowed(tied)
    draft.reasons.append(larger_ift_reason(comparison, draft.larger, draft.tied, table))
    for found in (draft.larger, draft.tied):
        if found is not None:
            draft.candidates.append(found)


def _larger_sizes(facts: Facts, comparison: Comparison) -> list[ModelSize]:
    if comparison.own is not None:
        return [pair.size for pair in facts.pairs if pair.size > comparison.size]
    asked = nominal_size(facts.evidence.table, comparison.size)
    return [size for size in facts.evidence.table.sizes if size > asked]


def _first_allowed(candidates: Sequence[Candidate]) -> Candidate | None:
    allowed = [one for one in candidates if one.is_feasible]
    if allowed:
        return allowed[0]
    return candidates[0] if candidates else None


def _decide_any(draft: Draft, facts: Facts) -> None:
    """Choose a size first, by figures alone, then how to train it.

    Of the pure recipes that fit the budgets, the cheapest is taken that is not expected to lose
    more than the tolerance against the most accurate. Mixtures have no figures to choose a size by.
    """
    question = facts.question
    found = [one for size in facts.sizes() if (one := facts.compare(size)) is not None]
    if not found:
        draft.abstain(None, no_evidence(facts, None))
        return
    for comparison in found:
        draft.candidates += [comparison.ift, comparison.reasoning]
    arms = [arm for one in found for arm in (one.ift, one.reasoning)]
    fits = [arm for arm in arms if arm.is_feasible]
    if not fits:
        cheapest = min(arms, key=lambda arm: arm.price(question.objective))
        draft.abstain(None, nothing_fits(cheapest))
        return
    best = max(fits, key=lambda arm: arm.accuracy.value or 0.0)
    near = [arm for arm in fits if _loss(best, arm) <= question.tolerance]
    if question.objective == "accuracy":
        near = [best]
    chosen = min(near, key=lambda arm: (arm.price(question.objective), arm.size))
    comparison = next(one for one in found if one.size == chosen.size)
    if chosen.recipe.reasoning_ratio > 0:
        _decide_at(draft, facts, comparison.size)
        return
    draft.compared, draft.gain = comparison, comparison.gain
    draft.regret = max(0.0, _loss(best, chosen))
    rivals = [one for one in found if one.size < comparison.size and one.gain.is_above(0.0)]
    draft.reasons.append(gain_reason(question.task_type, comparison))
    action: Action = "scale_ift" if rivals else "ift"
    draft.take(action, chosen, matched_flops() if rivals else cheaper_unless_shown(comparison))


def _loss(best: Candidate, arm: Candidate) -> float:
    """Return the accuracy that an arm is expected to lose against the most accurate one."""
    if arm is best:
        return 0.0
    edge = difference(best.accuracy, arm.accuracy)
    return 1.0 if edge.value is None else edge.value
