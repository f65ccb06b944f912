"""How a recommendation's figures are written: an accuracy with its interval and n, costs as ranges."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ._points import Axis

if TYPE_CHECKING:
    from .._recommendation import Accuracy, CostRange, Difference, RecipeOption, Recommendation

__all__ = [
    "accuracy_words",
    "amount",
    "chosen",
    "counted",
    "difference_points",
    "difference_words",
    "interval",
    "kind_words",
    "level",
    "n_of",
    "n_words",
    "option_words",
    "order_words",
    "ranged",
]

amount = Axis("", "count").shown
"""Returns FLOPs or tokens as text, "" where they are not known."""

_KINDS = {
    "mixed": "mixed",
    "ift_then_reasoning": "IFT, then reasoning",
    "reasoning_then_ift": "reasoning, then IFT",
    "reasoning_then_hybrid": "reasoning, then half of each",
    "domain_general_then_math": "general, then mathematics",
}
_ORDERS = {
    "mixed": "shuffled, in one pass",
    "ift_then_reasoning": "direct answers (IFT) first, reasoning rows last",
    "reasoning_then_ift": "reasoning rows first, direct answers (IFT) last",
    "reasoning_then_hybrid": "reasoning rows first, then half of each",
    "domain_general_then_math": "general rows first, mathematics last",
}
_LEAST = 0.001


def chosen(answer: "Recommendation") -> "RecipeOption | None":
    """Return the option to be trained: the advice, or what loses least if there is none."""
    return answer.recommended or answer.option(answer.verdict.fallback)


def level(answer: "Recommendation") -> str:
    """Return the level of every interval, such as `90%`."""
    return f"{100 * answer.confidence_level:g}%"


def kind_words(option: "RecipeOption") -> str:
    """Return the kind of an option's recipe, without its share of reasoning rows."""
    recipe = option.recipe
    if recipe.method.value != "sft":
        return recipe.method.value
    pure = {"ift": "IFT", "reasoning": "reasoning"}.get(recipe.label)
    return pure or _KINDS[recipe.order.value]


def order_words(option: "RecipeOption") -> str:
    """Return the order of an option's training rows in words."""
    return _ORDERS[option.recipe.order.value]


def option_words(option: "RecipeOption") -> str:
    """Return an option in words, such as `3B, IFT, then reasoning (25% reasoning), general`."""
    recipe = option.recipe
    share = ""
    if recipe.method.value == "sft" and 0 < recipe.reasoning_ratio < 1:
        share = f" ({100 * recipe.reasoning_ratio:.3g}% reasoning)"
    return f"{option.size} {kind_words(option)}{share}, {recipe.corpus} corpus"


def interval(accuracy: "Accuracy") -> str:
    """Return an accuracy with its interval, "" where none is known."""
    if accuracy.value is None:
        return ""
    return f"{accuracy.value:.3f} [{accuracy.low:.3f}, {accuracy.high:.3f}]"


def accuracy_words(answer: "Recommendation", accuracy: "Accuracy") -> str:
    """Return an accuracy with its interval, level, n and basis, or that it is not known."""
    if accuracy.value is None:
        return f"not known ({accuracy.basis})"
    n = counted(n_of(answer, accuracy.cells))
    return f"{interval(accuracy)} ({level(answer)} interval, {n}, {accuracy.basis})"


def difference_points(one: "Difference") -> str:
    """Return a difference with its interval in percentage points."""
    value, low, high = (f"{100 * end:+.1f}" for end in (one.value, one.low, one.high))
    return f"{value} [{low}, {high}]"


def difference_words(answer: "Recommendation", one: "Difference") -> str:
    """Return a difference with its interval, level, n and basis, and whether it is shown."""
    n = counted(n_of(answer, one.cells))
    shown = "shown" if one.is_shown else "not shown"
    about = f"{level(answer)} interval, {n}, {one.basis}, {shown}"
    return f"{difference_points(one)} points ({about})"


def n_of(answer: "Recommendation", cells: Sequence[str]) -> list[int | None]:
    """Return the questions behind each cell, `None` where its source prints none."""
    questions = {item.id: item.n for item in answer.evidence}
    return [questions.get(cell) for cell in cells]


def n_words(counts: Sequence[int | None]) -> str:
    """Return how many questions there are behind cells, "" where that is not known of all."""
    known = [n for n in counts if n is not None]
    if not known or len(known) < len(counts):
        return ""
    low, high = min(known), max(known)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def counted(counts: Sequence[int | None]) -> str:
    """Return how many questions there are behind cells in words."""
    words = n_words(counts)
    return f"n = {words}" if words else "n not printed"


def ranged(cost: "CostRange | None") -> str:
    """Return a cost as `expected (best to worst)`, "" where it is not known."""
    if cost is None:
        return ""
    if cost.high < _LEAST:
        return _few_digits(cost.high)
    low, mid, high = map(_few_digits, (cost.low, cost.mid, cost.high))
    return f"{mid} ({low} to {high})"


def _few_digits(value: float) -> str:
    if 0 < value < _LEAST:
        return f"under {_LEAST:g}"
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 1 else f"{value:.2g}"
