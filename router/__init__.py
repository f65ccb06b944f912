"""Chooses, per prompt, the model and how much it should reason: measured, calibrated, explained.

Names are loaded when first used, so that importing the package costs next to nothing.
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

if TYPE_CHECKING:
    from ._arms import Arm
    from ._completion import BackendSpec, RoutedCompletion
    from ._decision import Candidate, Decision
    from ._default import acomplete, complete, decide, default_router, default_router_path
    from ._evaluation import Comparison, Evaluation, EvaluationRow, evaluate
    from ._model import Predictions
    from ._objective import CostUnit, Objective, Price
    from ._outcomes import OutcomeMatrix
    from ._router import Router

__distribution__ = "thinkroute"

__all__ = [
    "Arm",
    "BackendSpec",
    "Candidate",
    "Comparison",
    "CostUnit",
    "Decision",
    "Evaluation",
    "EvaluationRow",
    "Objective",
    "OutcomeMatrix",
    "Predictions",
    "Price",
    "RoutedCompletion",
    "Router",
    "acomplete",
    "complete",
    "decide",
    "default_router",
    "default_router_path",
    "evaluate",
]

_MODULE_OF = {
    "Arm": "_arms",
    "BackendSpec": "_completion",
    "Candidate": "_decision",
    "Comparison": "_evaluation",
    "CostUnit": "_objective",
    "Decision": "_decision",
    "Evaluation": "_evaluation",
    "EvaluationRow": "_evaluation",
    "Objective": "_objective",
    "OutcomeMatrix": "_outcomes",
    "Predictions": "_model",
    "Price": "_objective",
    "RoutedCompletion": "_completion",
    "Router": "_router",
    "acomplete": "_default",
    "complete": "_default",
    "decide": "_default",
    "default_router": "_default",
    "default_router_path": "_default",
    "evaluate": "_evaluation",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_MODULE_OF[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
