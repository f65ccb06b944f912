"""How to train reasoning: from what is there, from whom, and within which budgets."""

from typing import NamedTuple

from .._recipe import Method, Order
from .._recommendation import Action, Reason
from ..cost import grpo_signal
from ..inference import nominal_size
from ._candidate import Candidate
from ._comparison import Comparison, Facts
from ._draft import Draft
from ._larger import FRONTIER_SIZE
from ._reasons import (
    backtracking,
    from_ift,
    from_rewards,
    keep_ift,
    largest_figure,
    most_of_the_gain,
    no_signal,
    nothing_fits,
    off_frontier,
    over_budget,
    reinforced,
    short_answers,
    shortened,
)

__all__ = [
    "HIGHEST_RATE",
    "LOWEST_RATE",
    "N_GENERATIONS",
    "SEARCH_PREFIX",
    "is_forced",
    "signal_text",
    "take_reasoning",
]

SEARCH_PREFIX = "search"
"""Own task types whose name starts so are search problems with a mechanical goal check."""

LOWEST_RATE, HIGHEST_RATE = 0.05, 0.95
"""Pass rates between which groups of 8 answers teach something on a third of the prompts or more,
if all prompts are alike.

Source: arithmetic, 1 - p^8 - (1 - p)^8 is 0.34 at both ends.
"""

N_GENERATIONS = 8

_SMALLEST_MIXED_CHOICE = 3_000_000_000
"""Smallest size at which 25% reasoning gains on general multiple choice.

Source: arXiv 2509.22193v2, section 5: 0.5B and 1.5B on General-MC are the exceptions.
"""


class Way(NamedTuple):
    """One way to train reasoning.

    Attributes:
        action: What to do.
        candidate: What is trained.
        reason: Why this way.
        by_rule: It rests on a rule without figures.
    """

    action: Action
    candidate: Candidate
    reason: Reason
    by_rule: bool = True


def take_reasoning(draft: Draft, facts: Facts, comparison: Comparison) -> None:
    """Choose how reasoning is trained, or direct answers where no way fits the budgets."""
    question = facts.question
    ways = _ways(draft, facts, comparison)
    for index, way in enumerate(ways):
        if way.candidate.is_feasible:
            reasons = [way.reason]
            if index:
                reasons.insert(0, over_budget(ways[0].candidate))
            draft.take(way.action, way.candidate, reasons, by_rule=way.by_rule)
            return
    why = [over_budget(ways[0].candidate)] if ways else []
    ift = comparison.ift
    if question.have == "reasoning":
        draft.abstain(None, *why)
    elif ift.is_feasible:
        kept = [keep_ift()] if question.have == "ift" else []
        draft.take("ift", ift, [*why, *kept], by_rule=False)
    else:
        draft.abstain(None, *why, nothing_fits(ift))


def is_forced(facts: Facts, comparison: Comparison) -> bool:
    """Return whether no way to train reasoning is open, so that the gain does not matter."""
    ways = _ways(Draft(), facts, comparison)
    return not any(way.candidate.is_feasible for way in ways)


def _ways(draft: Draft, facts: Facts, comparison: Comparison) -> list[Way]:
    """Return the ways that are open, the preferred one first; why there is none is noted."""
    question = facts.question
    if question.have == "reasoning":
        return _onto_reasoning(draft, facts, comparison)
    if question.teacher is None:
        return _without_teacher(draft, facts, comparison)
    nominal = nominal_size(facts.evidence.table, comparison.size)
    is_published = comparison.own is None and facts.view is None
    if is_published and (nominal < FRONTIER_SIZE or not question.is_open_ended):
        draft.reasons.append(off_frontier(question.is_open_ended))
    if question.have == "ift":
        added = facts.build.added_reasoning(comparison.size, comparison.corpus)
        distil, mixed = Way("distil", added, from_ift()), _mixed(facts, comparison)
        return [*mixed, distil] if question.objective == "inference" else [distil, *mixed]
    return _from_base(facts, comparison)


def _from_base(facts: Facts, comparison: Comparison) -> list[Way]:
    """Return the ways from a base model.

    Rules about mixtures are those of the published sizes; below them only figures count, as the
    pocket study shows: a quarter of reasoning after direct answers gained nothing there.
    """
    question, build = facts.question, facts.build
    sequential = build.mixture(comparison.size, comparison.corpus, Order.IFT_THEN_REASONING)
    ways = [Way("sequential", sequential, most_of_the_gain()), *_mixed(facts, comparison)]
    full = Way("reasoning", comparison.reasoning, largest_figure(comparison), by_rule=False)
    if facts.view is not None:
        return [full]  # A study chooses by figures, and it has none of mixtures at this size.
    table = facts.evidence.table
    has_rules = nominal_size(table, comparison.size) >= table.sizes[0]
    if question.objective == "accuracy" or not has_rules:
        return [full, *ways]
    if _serving_decides(facts, sequential, ways[1].candidate):
        return [ways[1], ways[0]]
    return ways if _has_ratio_rule(facts, comparison) else [full, *ways]


def _mixed(facts: Facts, comparison: Comparison) -> list[Way]:
    mixed = facts.build.mixture(comparison.size, comparison.corpus, Order.MIXED)
    return [Way("mixed", mixed, short_answers())]


def _serving_decides(facts: Facts, sequential: Candidate, mixed: Candidate) -> bool:
    """Return whether cheap answers matter more than cheap training."""
    question = facts.question
    if question.objective == "inference":
        return True
    if question.objective == "total" and mixed.total_flops and sequential.total_flops:
        # Both cost the same to train: what serving saves must matter beside that.
        return sequential.total_flops - mixed.total_flops > sequential.cost.flops
    return False


def _has_ratio_rule(facts: Facts, comparison: Comparison) -> bool:
    """Return whether a mixture is recommended without a figure.

    Source: arXiv 2509.22193v2, section 5, for all four families but its exceptions.
    """
    question = facts.question
    if question.family == "general-mc":
        nominal = nominal_size(facts.evidence.table, comparison.size)
        return nominal.n_params >= _SMALLEST_MIXED_CHOICE
    return question.family is not None or question.is_open_ended


def _onto_reasoning(draft: Draft, facts: Facts, comparison: Comparison) -> list[Way]:
    """Return what can be done with a model that reasons: reinforce or shorten it."""
    rate = facts.pass_rate
    if rate is not None and rate < LOWEST_RATE:
        draft.reasons.append(no_signal(signal_text(rate)))
        return []
    build, size, corpus = facts.build, comparison.size, comparison.corpus
    tops = Way("tops", build.other_method(size, corpus, Method.TOPS), shortened())
    if facts.question.objective != "accuracy" or (rate is not None and rate > HIGHEST_RATE):
        return [tops]
    check = "measure the pass rate first" if rate is None else signal_text(rate)
    grpo = build.other_method(size, corpus, Method.GRPO)
    return [Way("rl_after_distillation", grpo, reinforced(check)), tops]


def _without_teacher(draft: Draft, facts: Facts, comparison: Comparison) -> list[Way]:
    """Return how reasoning can be learned if nobody writes traces."""
    build, size, corpus = facts.build, comparison.size, comparison.corpus
    if facts.question.task_type.startswith(SEARCH_PREFIX):
        return [Way("backtracking", build.searched(size, corpus), backtracking())]
    rate = facts.pass_rate
    if rate is not None and not LOWEST_RATE < rate < HIGHEST_RATE:
        draft.reasons.append(no_signal(signal_text(rate)))
        return []
    check = "measure the pass rate first" if rate is None else signal_text(rate)
    return [Way("grpo", build.other_method(size, corpus, Method.GRPO), from_rewards(check))]


def signal_text(rate: float) -> str:
    """Return the share of prompts that teach anything, as text."""
    share = grpo_signal(rate, N_GENERATIONS).share
    return (
        f"at a pass rate of {rate:.0%}, {share:.0%} of the prompts at most have right and wrong "
        f"answers in a group of {N_GENERATIONS}; the others teach nothing"
    )
