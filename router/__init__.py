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
    from ._caps import CallerCaps, CallerUsage, CapLimits, Reservation
    from ._cascade import Cascade, CascadePlan
    from ._cascade_fit import fit_cascade
    from ._cascade_parameters import CascadeParameters
    from ._checks import CheckedMatrix, CheckedOutcomes, check_matrix, check_outcomes
    from ._completion import BackendSpec, RoutedCompletion
    from ._decision import Candidate, Decision, Escalation
    from ._default import acomplete, complete, decide, default_router, default_router_path
    from ._drift import DriftMonitor, DriftReport, DriftSignal, load_reference
    from ._drift_reference import DriftReference, drift_features
    from ._evaluation import (
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
    from ._explanation import ExplainedCandidate, Explanation
    from ._exploration import Explored, ThompsonSampling, explore
    from ._feedback import FeedbackLog
    from ._findings import Finding, FindingCode, Severity
    from ._guarantee import CostFinding, Guarantee, MeasuredCost, certify
    from ._logged import LoggedDecision, LoggedOutcome
    from ._model import Predictions
    from ._objective import CostUnit, Objective, Price
    from ._offpolicy import LoggedChoices, OffPolicyReport, evaluate_offpolicy
    from ._offpolicy_log import OffPolicyStudy, evaluate_log
    from ._outcomes import OutcomeMatrix
    from ._reference import Neighbour
    from ._router import Router
    from ._texts import Leak, find_leaks
    from ._update import MergedRecords, update_records

__distribution__ = "thinkroute"

__all__ = [
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
    "Arm": "_arms",
    "BackendSpec": "_completion",
    "CallerCaps": "_caps",
    "CallerUsage": "_caps",
    "Candidate": "_decision",
    "CapLimits": "_caps",
    "Cascade": "_cascade",
    "CascadeParameters": "_cascade_parameters",
    "CascadePlan": "_cascade",
    "CheckedMatrix": "_checks",
    "CheckedOutcomes": "_checks",
    "Comparison": "_evaluation",
    "CostFinding": "_guarantee",
    "CostUnit": "_objective",
    "Decision": "_decision",
    "DriftMonitor": "_drift",
    "DriftReference": "_drift_reference",
    "DriftReport": "_drift",
    "DriftSignal": "_drift",
    "Escalation": "_decision",
    "Evaluation": "_evaluation",
    "EvaluationRow": "_evaluation",
    "ExplainedCandidate": "_explanation",
    "Explanation": "_explanation",
    "Explored": "_exploration",
    "FeedbackLog": "_feedback",
    "Finding": "_findings",
    "FindingCode": "_findings",
    "Guarantee": "_guarantee",
    "Headline": "_evaluation",
    "HintLayer": "_evaluation",
    "Leak": "_texts",
    "LoggedChoices": "_offpolicy",
    "LoggedDecision": "_logged",
    "LoggedOutcome": "_logged",
    "MeasuredCost": "_guarantee",
    "MergedRecords": "_update",
    "Metrics": "_evaluation",
    "Neighbour": "_reference",
    "NoiseCeiling": "_evaluation",
    "Objective": "_objective",
    "OffPolicyReport": "_offpolicy",
    "OffPolicyStudy": "_offpolicy_log",
    "OutcomeMatrix": "_outcomes",
    "Predictions": "_model",
    "Price": "_objective",
    "Reliability": "_evaluation",
    "Reservation": "_caps",
    "RoutedCompletion": "_completion",
    "Router": "_router",
    "Severity": "_findings",
    "ThompsonSampling": "_exploration",
    "acomplete": "_default",
    "certify": "_guarantee",
    "check_matrix": "_checks",
    "check_outcomes": "_checks",
    "complete": "_default",
    "decide": "_default",
    "default_router": "_default",
    "default_router_path": "_default",
    "drift_features": "_drift_reference",
    "evaluate": "_evaluation",
    "evaluate_log": "_offpolicy_log",
    "evaluate_offpolicy": "_offpolicy",
    "explore": "_exploration",
    "find_leaks": "_texts",
    "fit_cascade": "_cascade_fit",
    "load_reference": "_drift",
    "update_records": "_update",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_MODULE_OF[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
