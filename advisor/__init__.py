"""What people type and read: training-recipe advice from published and measured tables.

Names are loaded on first use, so that `import advisor` stays cheap.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

try:
    from policies import check_sibling
except ImportError as error:
    error.add_note(
        "thinkroute needs its own package 'policies': rename the file that took its name"
    )
    raise
check_sibling("calibration")
check_sibling("router")

__distribution__ = "thinkroute"

if TYPE_CHECKING:
    from ._recipe import Method, Order, Recipe
    from ._recommendation import (
        Accuracy,
        Assumption,
        Change,
        Conflict,
        CostRange,
        Difference,
        EvidenceItem,
        MemoryNeed,
        MethodAdvice,
        NextMeasurement,
        Reason,
        RecipeOption,
        Recommendation,
        RecommendationWarning,
        Stage,
        Verdict,
    )
    from ._request import RecommendationRequest
    from .evidence import PublishedEvidence
    from .verdict import recommend

__all__ = [
    "Accuracy",
    "Assumption",
    "Change",
    "Conflict",
    "CostRange",
    "Difference",
    "EvidenceItem",
    "MemoryNeed",
    "Method",
    "MethodAdvice",
    "NextMeasurement",
    "Order",
    "PublishedEvidence",
    "Reason",
    "Recipe",
    "RecipeOption",
    "Recommendation",
    "RecommendationRequest",
    "RecommendationWarning",
    "Stage",
    "Verdict",
    "recommend",
]

_HOMES = {
    "Method": "_recipe",
    "Order": "_recipe",
    "PublishedEvidence": "evidence",
    "Recipe": "_recipe",
    "RecommendationRequest": "_request",
    "recommend": "verdict",
}
"""Modules of the names that are not in `_recommendation`."""


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(f".{_HOMES.get(name, '_recommendation')}", __name__)
    value = getattr(module, name)
    globals()[name] = value
    return value
