"""What would change the verdict, found by asking again with one answer changed."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from policies import ModelSize, ThinkrouteError

from .._recommendation import Change
from .._request import RecommendationRequest
from ..cost import InferBudget, TrainBudget
from ..inference import nominal_size, questions_needed, wilson, within_range
from ._comparison import Facts
from ._draft import Draft

if TYPE_CHECKING:
    from calibration import Cell

__all__ = ["Asked", "changes"]

Asked = Callable[[RecommendationRequest, "tuple[Cell, ...]"], tuple[Draft, Facts]]
"""Ask again: a request and the user's cells to the verdict."""

_STEPS = 7
"""Halvings of the search for the gain of a pair that would turn the verdict: to 0.5 points."""

_LARGEST_GAIN = 0.30
_TO_95 = 1.959963984540054 / 1.6448536269514722
_MOST_BUDGETS = 3


@dataclass(frozen=True, slots=True)
class _Variant:
    condition: str
    arguments: str
    answers: dict[str, Any]


def changes(draft: Draft, facts: Facts, ask: Asked) -> list[Change]:
    """Return the answers that would change what is to be trained, each with what it would be.

    Args:
        draft: The verdict as asked.
        facts: What it rests on.
        ask: How to ask again.
    """
    request = facts.question.request
    found: list[Change] = []
    for variant in _variants(draft, facts):
        try:
            changed = replace(request, **variant.answers)
            other, _ = ask(changed, facts.cells)
        except ThinkrouteError:  # the changed answer contradicts another one
            continue
        if _differs(draft, other):
            found.append(
                Change(
                    condition=variant.condition,
                    arguments=variant.arguments,
                    action=other.action,
                    text=in_short(other),
                )
            )
    found += _thresholds(draft, facts, ask)
    return found


def in_short(draft: Draft) -> str:
    """Return a verdict in a few words."""
    if draft.chosen is None:
        return "abstain: measure first"
    recipe = draft.chosen.recipe
    corpus = "your data" if recipe.corpus == "own" else f"{recipe.corpus} corpus"
    lean = " (a leaning)" if draft.is_leaning else ""
    return f"{recipe.size} {recipe.label}, {corpus}{lean}"


def _differs(draft: Draft, other: Draft) -> bool:
    if draft.action != other.action:
        return True
    if draft.chosen is None or other.chosen is None:
        return draft.chosen is not other.chosen
    mine, theirs = draft.chosen.recipe, other.chosen.recipe
    return (mine.size, mine.label) != (theirs.size, theirs.label)


def _variants(draft: Draft, facts: Facts) -> Iterator[_Variant]:
    question, request, table = facts.question, facts.question.request, facts.evidence.table
    names = {"general": "general", "math-centric": "math"}
    for corpus, name in names.items():
        if corpus != request.corpus:
            what = f"your corpus is like the published {corpus} one"
            if facts.view is not None:
                what = f"the students of {facts.view.source} are those of its {name} corpus"
            yield _Variant(
                what,
                f"--corpus {name}",
                {"corpus": corpus},
            )
    for objective, meaning in (
        ("accuracy", "accuracy counts at any price"),
        ("inference", "cheap answers count most"),
    ):
        if objective != question.objective:
            yield _Variant(meaning, f"--objective {objective}", {"objective": objective})
    largest = table.sizes[-1]
    is_below = question.size is not None and nominal_size(table, question.size) < largest
    if is_below and request.max_size is None:
        yield _Variant(
            f"up to {largest} may be trained and served",
            f"--max-size {largest}",
            {"max_size": largest},
        )
    if "trace_ratio" not in question.request.given:
        for ratio in (5.0, 20.0):
            yield _Variant(
                f"your traces are {ratio:g} times as long as direct answers",
                f"--trace-length {ratio:g}x",
                {"trace_ratio": ratio},
            )
    yield from _budgets(draft, facts)
    if request.teacher != "none" and question.have != "reasoning":
        yield _Variant("nobody writes traces", "--teacher none", {"teacher": "none"})
    if question.have != "reasoning":
        yield _Variant("the model reasons already", "--have reasoning", {"have": "reasoning"})


def _budgets(draft: Draft, facts: Facts) -> Iterator[_Variant]:
    """Return a tighter inference budget where there is none, and looser ones where one binds."""
    request, compared = facts.question.request, draft.compared
    if compared is None:
        return
    ift, reasoning = compared.ift, compared.reasoning
    short, long = ift.assumed_inference, reasoning.assumed_inference
    if request.infer_budget is None and short is not None and long is not None and short < long:
        amount = f"{(short * long) ** 0.5:.2e}".replace("e+", "e")
        budget = InferBudget.parse(amount)
        what = f"a query may cost at most {amount} FLOPs"
        yield _Variant(what, f"--infer-budget {amount}", {"infer_budget": budget})
    elif request.infer_budget is not None and long is not None and not reasoning.is_feasible:
        amount = f"{1.01 * long:.2e}".replace("e+", "e")
        looser = InferBudget.parse(amount)
        what = f"a query may cost {amount} FLOPs"
        yield _Variant(what, f"--infer-budget {amount}", {"infer_budget": looser})
    if request.train_budget is not None:
        costs = sorted(one.cost.flops for one in draft.candidates if not one.is_feasible)
        amounts = dict.fromkeys(f"{1.01 * cost:.2e}".replace("e+", "e") for cost in costs)
        for amount in list(amounts)[:_MOST_BUDGETS]:
            budget_of = TrainBudget.parse(amount)
            what = f"training may cost {amount} FLOPs"
            yield _Variant(what, f"--train-budget {amount}", {"train_budget": budget_of})


def _thresholds(draft: Draft, facts: Facts, ask: Asked) -> list[Change]:
    """Return the gain of a pair of the user's own that would turn the verdict.

    The pair is made up at the smallest published size, and at the asked one, with the number of
    questions that show 5 points and the published accuracy of direct answers.
    """
    question, table = facts.question, facts.evidence.table
    size = draft.compared.size if draft.compared is not None else question.size
    if size is None or question.family is None or not within_range(table, size):
        return []
    if facts.pairs or facts.own_at(size).arms:
        return []
    found: list[Change] = []
    smallest = table.sizes[0]
    for where in dict.fromkeys((smallest, size)):
        change = _threshold(draft, facts, ask, where)
        if change is not None:
            found.append(change)
    return found


def _threshold(draft: Draft, facts: Facts, ask: Asked, where: ModelSize) -> Change | None:
    request = facts.question.request
    base = facts.published_of(where, facts.question.prior[0])
    if base is None or base.ift.accuracy.value is None:
        return None
    ift = base.ift.accuracy.value

    def verdict(gain: float) -> Draft:
        return ask(request, _made_up(facts, where, ift, gain))[0]

    wants = draft.action not in {"ift", "scale_ift", "abstain"}
    low, high = -min(_LARGEST_GAIN, ift), min(_LARGEST_GAIN, 1 - ift)
    try:
        if _wants_reasoning(verdict(low)) or not _wants_reasoning(verdict(high)):
            return None
        for _ in range(_STEPS):
            middle = (low + high) / 2
            low, high = (low, middle) if _wants_reasoning(verdict(middle)) else (middle, high)
        other = verdict(low if wants else high)
        far = verdict(-min(_LARGEST_GAIN, ift) if wants else min(_LARGEST_GAIN, 1 - ift))
        if other.action == draft.action:
            return None
    except ThinkrouteError:
        return None
    n = questions_needed(0.05)
    side = "just below" if wants else "just above"
    turning = f"{100 * high:+.0f}" if round(100 * high) else "0"
    return Change(
        condition=f"your own {where} pair shows a gain {side} {turning} points on {n} questions",
        arguments="",
        action=other.action,
        text=in_short(other)
        if other.action == far.action
        else f"{in_short(other)}; {'far below' if wants else 'far above'}, {in_short(far)}",
    )


def _wants_reasoning(draft: Draft) -> bool:
    return draft.action not in {"ift", "scale_ift", "abstain"}


def _made_up(facts: Facts, size: ModelSize, ift: float, gain: float) -> "tuple[Cell, ...]":
    from calibration import Cell

    n = questions_needed(0.05)
    cells: list[Cell] = []
    for label, policy, accuracy in (
        ("ift", "direct", ift),
        ("reasoning", "reasoning@max", ift + gain),
    ):
        kept = round(min(max(accuracy, 0.0), 1.0) * n) / n
        low, high = wilson(kept, n)
        cells.append(
            Cell(
                task="made-up",
                task_type=facts.question.task_type,
                model=label,
                size=size.n_params,
                policy=policy,
                recipe=label,
                n=n,
                n_correct=round(kept * n),
                n_cut=0,
                n_error=0,
                accuracy=kept,
                # Cells hold 95% intervals.
                ci_low=max(0.0, kept - _TO_95 * (kept - low)),
                ci_high=min(1.0, kept + _TO_95 * (high - kept)),
                # Unknown, so that costs stay those of the question.
                mean_prompt_tokens=math.nan,
                mean_tokens=math.nan,
                mean_flops=None,
                mean_seconds=math.nan,
            )
        )
    return tuple(cells)
