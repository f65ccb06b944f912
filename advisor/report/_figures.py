"""Numbers and objectives as text."""

import math
from typing import TYPE_CHECKING

from ._points import Axis

if TYPE_CHECKING:
    from router import Objective

__all__ = ["ACCURACY", "amount", "figure", "objective_words", "ranged", "unit_words"]

ACCURACY = Axis("accuracy", "share")
_UNITS = {"flops": "FLOPs", "usd": "US dollars"}


def figure(value: float | None, spec: str = ".3f") -> str:
    """Return a number as text, "" where it is not known."""
    return "" if value is None or not math.isfinite(value) else format(value, spec)


def amount(value: float | None) -> str:
    """Return a count or a cost in three digits, such as `4.46M`; "" where it is not known."""
    return Axis("", "count").shown(value)


def ranged(value: float | None, low: float | None, high: float | None, spec: str = ".3f") -> str:
    """Return a number with its interval, whose unknown ends are a question mark."""
    text = figure(value, spec)
    if not text or (low is None and high is None):
        return text
    return f"{text} [{figure(low, spec) or '?'}, {figure(high, spec) or '?'}]"


def unit_words(unit: str) -> str:
    """Return the name of a unit of cost."""
    return _UNITS.get(unit, unit)


def objective_words(objective: "Objective") -> str:
    """Return what is optimised, such as `one point of accuracy is worth 12 tokens`."""
    unit = unit_words(objective.unit)
    if objective.tradeoff:
        text = f"one point of accuracy is worth {amount(0.01 / objective.tradeoff)} {unit}"
    elif objective.tradeoff is not None:
        text = f"the arm most likely right; {unit} break ties"
    elif objective.target_accuracy is not None:
        text = f"least {unit} with p of at least {objective.target_accuracy:g}"
        text += ", or an error" * objective.is_strict
    elif objective.max_cost is not None:
        text = f"highest p with at most {amount(objective.max_cost)} {unit} a question"
    else:
        text = f"most accuracy for {amount(objective.max_mean_cost)} {unit} a question on average"
    if objective.max_seconds is not None:
        text += f", answered within {objective.max_seconds:g} s nine times out of ten"
    return text
