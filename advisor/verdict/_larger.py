"""A larger model on direct answers, instead of reasoning at the asked size."""

from collections.abc import Sequence

from policies import ModelSize

from ..inference import difference, expected_loss, nominal_size, within_range
from ._candidate import Candidate
from ._comparison import Comparison, Facts
from ._draft import Draft
from ._reasons import larger_ift_reason

__all__ = ["FRONTIER_SIZE", "look_for_larger"]

FRONTIER_SIZE = ModelSize(7_000_000_000)
"""Smallest size at which reasoning reaches the accuracy-FLOPs frontier, open-ended tasks only.

Source: arXiv 2509.22193v2, sections 4.2 and 7.
"""

_NEAR = 0.05
"""A larger model that is expected to be further behind is no stand-in, however wide its interval."""


def look_for_larger(draft: Draft, facts: Facts, comparison: Comparison) -> Candidate | None:
    """Find a larger model on direct answers that can stand in for reasoning at this size.

    It must cost less and reach the accuracy of reasoning: be shown to; or have the larger of two
    cells' figures, which at matched FLOPs the paper's rule speaks for; or, where a figure is not a
    cell's, be expected to lose no more than the tolerance. From 7B up on open-ended tasks, where
    the paper finds reasoning on the frontier, it must be shown. Of several the smallest that is
    allowed counts, else the smallest. One that is only not shown to be less accurate, and within 5
    points, is kept as `draft.tied`.

    Returns:
        The one that reaches, which is `draft.larger` too; `None` if none does.
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
        if edge.basis == "measured":
            is_near = edge.value >= 0.0
        else:
            is_near = expected_loss(-edge.value, edge.sd) <= question.tolerance
        if edge.is_above(0.0) or (not strict and is_near):
            reached.append(there.ift)
        elif not edge.is_below(0.0) and edge.value >= -_NEAR:
            tied.append(there.ift)
    draft.larger = _first_allowed(reached)
    draft.tied = None if reached else _first_allowed(tied)
    if comparison.own is not None or within_range(table, comparison.size):
        draft.reasons.append(larger_ift_reason(comparison, draft.larger, draft.tied, table))
    draft.candidates += [one for one in (draft.larger, draft.tied) if one is not None]
    return draft.larger


def _larger_sizes(facts: Facts, comparison: Comparison) -> list[ModelSize]:
    # Models outside the published sizes were asked other questions than the published ones.
    if comparison.own is not None or not within_range(facts.evidence.table, comparison.size):
        return [pair.size for pair in facts.pairs if pair.size > comparison.size]
    asked = nominal_size(facts.evidence.table, comparison.size)
    return [size for size in facts.evidence.table.sizes if size > asked]


def _first_allowed(candidates: Sequence[Candidate]) -> Candidate | None:
    allowed = [one for one in candidates if one.is_feasible]
    return next(iter(allowed or candidates), None)
