"""What is promised about what a decision rule can lose, and the costs that it is promised with.

What the words mean, and how a promise is tested, is told in `_certification`.
"""

import json
import math
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, TypeAdapter, ValidationError

from policies import InvalidInputError

__all__ = ["METHOD", "CostFinding", "Guarantee", "MeasuredCost", "error_level"]

METHOD = "learn-then-test, fixed sequence, betting"
"""How the promise was tested."""

Floats = NDArray[np.float64]
_STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


@dataclass(frozen=True, slots=True, eq=False)
class MeasuredCost:
    """What the rules spent, and what they may spend.

    Attributes:
        values: Cost of what each rule chose, 0 or more, shape `(n_questions, n_grid)`.
        reference: Cost of the reference, shape `(n_questions,)`.
        unit: Unit of the costs.
        cap: Costs above it count as the cap, in estimates and promises. To be fixed before the
            calibration data are seen, best at what a request can cost at most: then nothing is
            cut off. Bounds and limits need one, because no number of questions bounds the mean
            of costs that could be arbitrarily high.
        max_mean: Limit on the mean cost of the chosen rule.
        max_share: Limit on it as a share of the reference's mean cost.
    """

    values: Floats
    reference: Floats
    unit: str = "tokens"
    cap: float | None = None
    max_mean: float | None = None
    max_share: float | None = None

    def __post_init__(self) -> None:
        """Refuse negative costs, limits without a cap, and two limits at once.

        Raises:
            InvalidInputError: One of these.
        """
        if np.any(self.values < 0) or np.any(self.reference < 0):
            raise InvalidInputError("a cost is negative")
        limits = [x for x in (self.max_mean, self.max_share) if x is not None]
        if len(limits) == 2:
            raise InvalidInputError(
                f"max_mean={self.max_mean!r} and max_share={self.max_share!r}: expected one of them"
            )
        if not all(0 < x < math.inf for x in [*limits, 1.0 if self.cap is None else self.cap]):
            raise InvalidInputError(
                f"cap={self.cap!r}, max_mean={self.max_mean!r}, max_share={self.max_share!r}: "
                "expected finite numbers > 0"
            )
        if limits and self.cap is None:
            raise InvalidInputError(
                "a limit on the mean cost needs `cap`",
                hint="give the most that one request can cost",
            )
        if self.max_mean is not None and self.cap is not None and self.max_mean >= self.cap:
            raise InvalidInputError(
                f"max_mean={self.max_mean!r} is not below cap={self.cap!r}: it holds anyway"
            )


@dataclass(frozen=True, slots=True)
class CostFinding:
    """What a rule spends on the calibration questions, costs clipped at `cap`.

    Attributes:
        unit: Unit of the costs.
        cap: Where costs were clipped; None if they were not.
        mean: Mean cost of the rule.
        mean_upper_bound: Upper confidence bound of it, for a rule fixed beforehand; None without
            a cap.
        reference_mean: Mean cost of the reference.
        saved: `1 - mean / reference_mean`; 0 if the reference costs nothing.
        saved_low: Lower confidence bound of the share saved, for a rule fixed beforehand; None
            without a cap, or where not even half as much again as the reference can be excluded.
        max_mean: The limit that was tested, or None.
        max_share: The limit that was tested, or None.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    unit: str
    cap: float | None
    mean: float
    mean_upper_bound: float | None
    reference_mean: float
    saved: float
    saved_low: float | None
    max_mean: float | None = None
    max_share: float | None = None


@dataclass(frozen=True, slots=True)
class Guarantee:
    """What is promised about one rule of a grid, or why nothing can be promised.

    Attributes:
        holds: Whether a rule cheaper than the reference is certified.
        epsilon: Largest accuracy loss promised, in [0, 1).
        confidence: Probability with which the promise is kept, over calibration samples.
        reference: Name of what the loss is measured against.
        n_calibration: Questions it rests on.
        n_groups: Independent groups of questions among them.
        n_dropped: Questions left out because something they need was not measured.
        n_needed: Calibration questions with which something would be certified with a chance of
            about 80%, if mean and variance are as estimated; None if it holds already, or if no
            number would do: see `reason`.
        index: Position of the certified rule in the grid; None if there is none.
        estimated_loss: Mean loss of the certified rule, else of the best candidate.
        loss_upper_bound: Upper confidence bound of that loss. It is the bound for a rule that was
            fixed beforehand; what is promised about the selected one is `epsilon`.
        cost: What that rule spends; None if costs were not given.
        p_value: p-value of "it loses more than epsilon, or costs more than its limit".
        reason: Why it does not hold; empty if it does.
        seed: Seed of the order in which questions were looked at.
        method: How it was tested.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    holds: bool
    epsilon: float
    confidence: float
    reference: str
    n_calibration: int
    n_groups: int
    n_dropped: int
    n_needed: int | None
    index: int | None
    estimated_loss: float
    loss_upper_bound: float
    cost: CostFinding | None
    p_value: float
    reason: str
    seed: int
    method: str = METHOD

    def __post_init__(self) -> None:
        """Refuse what `certify` cannot have found.

        Raises:
            InvalidInputError: Fields are out of range or contradict each other.
        """
        cost = self.cost
        claims = {
            "0 <= epsilon < 1": 0 <= self.epsilon < 1,
            "0 < confidence < 1": 0 < self.confidence < 1,
            "1 <= n_groups <= n_calibration": 1 <= self.n_groups <= self.n_calibration,
            "n_dropped >= 0": self.n_dropped >= 0,
            "index only if it holds": self.holds == (self.index is not None),
            "index >= 0": self.index is None or self.index >= 0,
            "n_needed only if it does not hold": not (self.holds and self.n_needed is not None),
            "n_needed > n_calibration": (self.n_needed or math.inf) > self.n_calibration,
            "a reason if it does not hold": self.holds == (not self.reason),
            "0 <= p_value <= 1": 0 <= self.p_value <= 1,
            "p_value <= 1 - confidence if it holds": not self.holds
            or self.p_value <= error_level(self.confidence),
            "-1 <= estimated_loss <= loss_upper_bound <= 1": -1
            <= self.estimated_loss
            <= self.loss_upper_bound
            <= 1,
            "estimated_loss <= epsilon if it holds": not self.holds
            or self.estimated_loss <= self.epsilon,
            "costs >= 0": cost is None or min(cost.mean, cost.reference_mean) >= 0,
            "a cheaper rule if it holds": not self.holds or cost is None or cost.saved > 0,
        }
        wrong = [claim for claim, is_kept in claims.items() if not is_kept]
        if wrong:
            raise InvalidInputError(f"a guarantee must have {'; '.join(wrong)}: {self!r}")

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: object) -> "Guarantee":
        """Read the form written by `to_json`.

        Raises:
            InvalidInputError: A field is missing, unknown, of another type, or makes no sense.
        """
        try:
            return _reader().validate_json(json.dumps(document))
        except ValidationError as error:
            faults = (
                f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()
            )
            raise InvalidInputError(f"this is no guarantee: {'; '.join(faults)}") from error
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidInputError(f"this is no guarantee: {error}") from error


@cache
def _reader() -> TypeAdapter[Guarantee]:
    return TypeAdapter(Guarantee)


def error_level(confidence: float) -> float:
    """Return the probability with which a promise may fail."""
    # `1 - .95` is below .05 by rounding; a p-value that is .05 shall count.
    return round(1 - confidence, 12)
