"""Accuracies and differences with intervals, and what it costs to act on them.

Everything here is arithmetic on printed and measured cells: the standard library is enough.
"""

from ._estimate import (
    CONFIDENCE_LEVEL,
    NO_ESTIMATE,
    Basis,
    Estimate,
    EvidenceRef,
    Z,
    difference,
    mean_estimate,
    wilson,
)
from ._front import Point, front_probabilities
from ._interpolation import (
    accuracy_at,
    conformal_quantile,
    gain_at,
    interpolate,
    leave_one_size_out_errors,
    nominal_size,
    within_range,
)
from ._loss import (
    Choice,
    choose,
    expected_loss,
    questions_needed,
    value_of_sample,
)
from ._transfer import Measured, between_own, prior_gain, transfer_errors, transferred

__all__ = [
    "CONFIDENCE_LEVEL",
    "NO_ESTIMATE",
    "Basis",
    "Choice",
    "Estimate",
    "EvidenceRef",
    "Measured",
    "Point",
    "Z",
    "accuracy_at",
    "between_own",
    "choose",
    "conformal_quantile",
    "difference",
    "expected_loss",
    "front_probabilities",
    "gain_at",
    "interpolate",
    "leave_one_size_out_errors",
    "mean_estimate",
    "nominal_size",
    "prior_gain",
    "questions_needed",
    "transfer_errors",
    "transferred",
    "value_of_sample",
    "wilson",
    "within_range",
]
