"""Fit what a device and an engine really reach to measured steps."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from policies import InvalidInputError

from .devices import Device, NumberFormat
from .roofline import Step, bound_step

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["MIN_POINTS", "MeasuredStep", "RooflineFit", "fit_roofline"]

MIN_POINTS = 20
"""Fewest measured steps that three constants are fitted to."""

_MIN_PER_SIDE = 3
_N_FOLDS = 5
# The larger of two terms has kinks, where a single start may stop early.
_STARTS = ((0.6, 0.6, 0.1), (0.2, 0.8, 0.5), (0.8, 0.2, 0.5), (0.3, 0.3, 0.9))


@dataclass(frozen=True, slots=True)
class MeasuredStep:
    """One forward pass that was timed in steady state.

    Attributes:
        step: Its work.
        seconds: What it took.
    """

    step: Step
    seconds: float


@dataclass(frozen=True, slots=True)
class RooflineFit:
    """Constants of one device and engine: `max(compute / e_c, memory / e_b) + overhead`.

    Attributes:
        device: Device row that the efficiencies are fractions of.
        number_format: Format of the products.
        efficiency_compute: Fraction of the peak FLOPs that is reached, in (0, 1].
        efficiency_bandwidth: Fraction of the peak bandwidth that is reached, in (0, 1].
        overhead_s: Seconds that every step takes besides.
        n_points: Measured steps.
        n_compute_bound: Those of them that the fit finds bound by compute.
        held_out_median: Median relative error of steps that the fit had not seen (5 folds).
        held_out_max: The largest of these errors.
    """

    device: Device
    number_format: NumberFormat
    efficiency_compute: float
    efficiency_bandwidth: float
    overhead_s: float
    n_points: int
    n_compute_bound: int
    held_out_median: float
    held_out_max: float

    def predict(self, step: Step) -> float:
        """Return the seconds a step is expected to take; good inside the measured range only."""
        bound = bound_step(step, self.device, self.number_format)
        compute_s = bound.compute_s / self.efficiency_compute
        return max(compute_s, bound.memory_s / self.efficiency_bandwidth) + self.overhead_s


def fit_roofline(
    points: Sequence[MeasuredStep],
    device: Device,
    *,
    number_format: NumberFormat = "bf16",
    seed: int = 0,
) -> RooflineFit:
    """Fit efficiencies and overhead to measured steps, with the error on steps held out.

    Least squares on the logarithm of the time, so that a relative error counts the same for
    short and long steps. The constants come from all points; the held-out errors from five fits
    that each leave a fifth of the points out. Deterministic for a seed.

    Args:
        points: At least 20 steps, some bound by compute (long prefills) and some by memory
            (decode with small batches): else a constant would be a guess.
        device: Where they ran.
        number_format: Format of the products.
        seed: Chooses the folds.

    Raises:
        InvalidInputError: Fewer than 20 points, a time that is not positive, a time below the
            bound of the device (`below-bound`), or fewer than 3 points on one side of the roof.
    """
    import numpy as np

    if len(points) < MIN_POINTS:
        raise InvalidInputError(
            f"{len(points)} measured steps, at least {MIN_POINTS} are needed for a fit",
            hint="until then use bound_step and label the result 'bound'",
            code="too-few-points",
        )
    bounds = [bound_step(point.step, device, number_format) for point in points]
    for point, bound in zip(points, bounds, strict=True):
        if not (math.isfinite(point.seconds) and point.seconds > 0):
            raise InvalidInputError(f"a step took {point.seconds!r} seconds: expected > 0")
        if point.seconds < bound.seconds:
            raise InvalidInputError(
                f"a step took {point.seconds:.3g} s, below the bound of {bound.seconds:.3g} s on"
                f" {device.name}",
                hint="check the device row, the number format and the bytes per weight",
                code="below-bound",
            )
    compute = np.array([bound.compute_s for bound in bounds])
    memory = np.array([bound.memory_s for bound in bounds])
    seconds = np.array([point.seconds for point in points])
    folds = np.random.default_rng(seed).permutation(len(points)) % _N_FOLDS
    errors = np.empty(len(points))
    for fold in range(_N_FOLDS):
        out = folds == fold
        constants = _fit(compute[~out], memory[~out], seconds[~out])
        predicted = _predict(constants, compute[out], memory[out])
        errors[out] = np.abs(predicted / seconds[out] - 1)
    constants = _fit(compute, memory, seconds)
    n_compute = int(np.sum(compute / constants[0] >= memory / constants[1]))
    for n_side, side in ((n_compute, "compute"), (len(points) - n_compute, "memory")):
        if n_side < _MIN_PER_SIDE:
            raise InvalidInputError(
                f"{n_side} of {len(points)} steps are bound by {side}, at least"
                f" {_MIN_PER_SIDE} are needed to tell its efficiency",
                hint="measure long prefills and decode with small batches",
                code="one-sided-points",
            )
    return RooflineFit(
        device=device,
        number_format=number_format,
        efficiency_compute=float(constants[0]),
        efficiency_bandwidth=float(constants[1]),
        overhead_s=float(constants[2]),
        n_points=len(points),
        n_compute_bound=n_compute,
        held_out_median=float(np.median(errors)),
        held_out_max=float(np.max(errors)),
    )


def _predict(
    constants: "NDArray[np.float64]",
    compute: "NDArray[np.float64]",
    memory: "NDArray[np.float64]",
) -> "NDArray[np.float64]":
    import numpy as np

    return np.maximum(compute / constants[0], memory / constants[1]) + constants[2]


def _fit(
    compute: "NDArray[np.float64]",
    memory: "NDArray[np.float64]",
    seconds: "NDArray[np.float64]",
) -> "NDArray[np.float64]":
    """Return efficiency of compute, efficiency of bandwidth and overhead, in that order."""
    import numpy as np
    from scipy import optimize

    shortest = float(seconds.min())

    def residuals(x: "NDArray[np.float64]") -> "NDArray[np.float64]":
        scaled = x * np.array([1.0, 1.0, shortest])
        return np.log(_predict(scaled, compute, memory) / seconds)

    fits: list[Any] = [
        optimize.least_squares(residuals, start, bounds=([1e-4, 1e-4, 0.0], [1.0, 1.0, 1.0]))
        for start in _STARTS
    ]
    best = min(fits, key=lambda fit: float(fit.cost))
    return np.asarray(best.x, dtype=np.float64) * np.array([1.0, 1.0, shortest])
