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
    around,
    difference,
    mean_estimate,
    weakest,
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
    Side,
    choose,
    expected_loss,
    questions_needed,
    value_of_sample,
)
from ._transfer import (
    Measured,
    SignCount,
    between_own,
    carrying_sd,
    prior_gain,
    prior_signs,
    transfer_errors,
    transfer_signs,
    transferred,
)

__all__ = [
    "CONFIDENCE_LEVEL",
    "NO_ESTIMATE",
    "Basis",
    "Choice",
    "Estimate",
    "EvidenceRef",
    "Measured",
    "Point",
    "Side",
    "SignCount",
    "Z",
    "accuracy_at",
    "around",
    "between_own",
    "carrying_sd",
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
    "prior_signs",
    "questions_needed",
    "transfer_errors",
    "transfer_signs",
    "transferred",
    "value_of_sample",
    "weakest",
    "wilson",
    "within_range",
]
