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
    from ._admission import Admission, Conditions
    from ._arms import Arm
    from ._caps import CallerCaps, CallerUsage, CapLimits, Reservation
    from ._certification import certify
    from ._completion import BackendSpec, RoutedCompletion
    from ._decision import Candidate, Decision, Escalation
    from ._default import acomplete, complete, decide, default_router, default_router_path
    from ._explanation import ExplainedCandidate, Explanation
    from ._guarantee import CostFinding, Guarantee, MeasuredCost
    from ._objective import CostUnit, Objective, Price
    from ._outcomes import OutcomeMatrix
    from ._replay import Replay
    from ._router import Router
    from .cascade._cascade import Cascade, CascadePlan
    from .cascade._cascade_fit import fit_cascade
    from .cascade._cascade_parameters import CascadeParameters
    from .checks._checks import CheckedMatrix, CheckedOutcomes, check_matrix, check_outcomes
    from .checks._findings import Finding, FindingCode, Severity
    from .checks._texts import Leak, find_leaks
    from .evaluation._evaluation import (
        Comparison,
        Evaluation,
        EvaluationRow,
        Headline,
        HintLayer,
        Metrics,
        NoiseCeiling,
        Reliability,
        evaluate,
    )
    from .feedback._drift import DriftMonitor, DriftReport, DriftSignal, load_reference
    from .feedback._drift_reference import DriftReference, drift_features
    from .feedback._exploration import Explored, ThompsonSampling, explore
    from .feedback._feedback import FeedbackLog
    from .feedback._logged import LoggedDecision, LoggedOutcome
    from .feedback._offpolicy import LoggedChoices, OffPolicyReport, evaluate_offpolicy
    from .feedback._offpolicy_log import OffPolicyStudy, evaluate_log
    from .feedback._update import MergedRecords, update_records
    from .model._model import Predictions
    from .model._reference import Neighbour

__distribution__ = "thinkroute"

__all__ = [
    "Admission",
    "Arm",
    "BackendSpec",
    "CallerCaps",
    "CallerUsage",
    "Candidate",
    "CapLimits",
    "Cascade",
    "CascadeParameters",
    "CascadePlan",
    "CheckedMatrix",
    "CheckedOutcomes",
    "Comparison",
    "Conditions",
    "CostFinding",
    "CostUnit",
    "Decision",
    "DriftMonitor",
    "DriftReference",
    "DriftReport",
    "DriftSignal",
    "Escalation",
    "Evaluation",
    "EvaluationRow",
    "ExplainedCandidate",
    "Explanation",
    "Explored",
    "FeedbackLog",
    "Finding",
    "FindingCode",
    "Guarantee",
    "Headline",
    "HintLayer",
    "Leak",
    "LoggedChoices",
    "LoggedDecision",
    "LoggedOutcome",
    "MeasuredCost",
    "MergedRecords",
    "Metrics",
    "Neighbour",
    "NoiseCeiling",
    "Objective",
    "OffPolicyReport",
    "OffPolicyStudy",
    "OutcomeMatrix",
    "Predictions",
    "Price",
    "Reliability",
    "Replay",
    "Reservation",
    "RoutedCompletion",
    "Router",
    "Severity",
    "ThompsonSampling",
    "acomplete",
    "certify",
    "check_matrix",
    "check_outcomes",
    "complete",
    "decide",
    "default_router",
    "default_router_path",
    "drift_features",
    "evaluate",
    "evaluate_log",
    "evaluate_offpolicy",
    "explore",
    "find_leaks",
    "fit_cascade",
    "load_reference",
    "update_records",
]

_MODULE_OF = {
    "Admission": "_admission",
    "Arm": "_arms",
    "BackendSpec": "_completion",
    "CallerCaps": "_caps",
    "CallerUsage": "_caps",
    "Candidate": "_decision",
    "CapLimits": "_caps",
    "Cascade": "cascade._cascade",
    "CascadeParameters": "cascade._cascade_parameters",
    "CascadePlan": "cascade._cascade",
    "CheckedMatrix": "checks._checks",
    "CheckedOutcomes": "checks._checks",
    "Comparison": "evaluation._evaluation",
    "Conditions": "_admission",
    "CostFinding": "_guarantee",
    "CostUnit": "_objective",
    "Decision": "_decision",
    "DriftMonitor": "feedback._drift",
    "DriftReference": "feedback._drift_reference",
    "DriftReport": "feedback._drift",
    "DriftSignal": "feedback._drift",
    "Escalation": "_decision",
    "Evaluation": "evaluation._evaluation",
    "EvaluationRow": "evaluation._evaluation",
    "ExplainedCandidate": "_explanation",
    "Explanation": "_explanation",
    "Explored": "feedback._exploration",
    "FeedbackLog": "feedback._feedback",
    "Finding": "checks._findings",
    "FindingCode": "checks._findings",
    "Guarantee": "_guarantee",
    "Headline": "evaluation._evaluation",
    "HintLayer": "evaluation._evaluation",
    "Leak": "checks._texts",
    "LoggedChoices": "feedback._offpolicy",
    "LoggedDecision": "feedback._logged",
    "LoggedOutcome": "feedback._logged",
    "MeasuredCost": "_guarantee",
    "MergedRecords": "feedback._update",
    "Metrics": "evaluation._evaluation",
    "Neighbour": "model._reference",
    "NoiseCeiling": "evaluation._evaluation",
    "Objective": "_objective",
    "OffPolicyReport": "feedback._offpolicy",
    "OffPolicyStudy": "feedback._offpolicy_log",
    "OutcomeMatrix": "_outcomes",
    "Predictions": "model._model",
    "Price": "_objective",
    "Reliability": "evaluation._evaluation",
    "Replay": "_replay",
    "Reservation": "_caps",
    "RoutedCompletion": "_completion",
    "Router": "_router",
    "Severity": "checks._findings",
    "ThompsonSampling": "feedback._exploration",
    "acomplete": "_default",
    "certify": "_certification",
    "check_matrix": "checks._checks",
    "check_outcomes": "checks._checks",
    "complete": "_default",
    "decide": "_default",
    "default_router": "_default",
    "default_router_path": "_default",
    "drift_features": "feedback._drift_reference",
    "evaluate": "evaluation._evaluation",
    "evaluate_log": "feedback._offpolicy_log",
    "evaluate_offpolicy": "feedback._offpolicy",
    "explore": "feedback._exploration",
    "find_leaks": "checks._texts",
    "fit_cascade": "cascade._cascade_fit",
    "load_reference": "feedback._drift",
    "update_records": "feedback._update",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_MODULE_OF[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
