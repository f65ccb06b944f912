"""Options that cost the same: a larger model trained on less, or a longer trace."""

import math

from policies import InvalidInputError, ModelSize

from ._numbers import check_number
from ._sizes import Model
from ._training import training_flops
from ._workload import Workload

__all__ = ["break_even_trace_ratio", "equal_cost_size"]

_SMALLEST, _LARGEST = 100_000_000, 100_000_000_000
_LONGEST_RATIO = 1000.0


def equal_cost_size(flops: float, reasoning_ratio: float, workload: Workload) -> ModelSize | None:
    """Return the size that a recipe can be trained at for some FLOPs.

    The size at which direct answers alone cost as much as reasoning at a smaller one is what
    reasoning must be compared with: about `N (1 - rho + rho m)`, less what attention adds.

    Args:
        flops: FLOPs of training.
        reasoning_ratio: Share of rows that are reasoning traces, in [0, 1].
        workload: Rows and lengths.

    Returns:
        The largest size that costs no more, to 0.1%; `None` if even 0.1B costs more, and 100B if
        that costs less.

    Raises:
        InvalidInputError: A number is out of range.
    """
    check_number("FLOPs", flops, at_most=1e40)
    if training_flops(ModelSize(_SMALLEST), reasoning_ratio, workload) > flops:
        return None
    if training_flops(ModelSize(_LARGEST), reasoning_ratio, workload) <= flops:
        return ModelSize(_LARGEST)
    low, high = _SMALLEST, _LARGEST
    while high > low * 1.001:
        middle = math.isqrt(low * high)
        over = training_flops(ModelSize(middle), reasoning_ratio, workload) > flops
        low, high = (low, middle) if over else (middle, high)
    return ModelSize(low)


def break_even_trace_ratio(
    dearer: tuple[Model, float], cheaper: tuple[Model, float], workload: Workload
) -> float | None:
    """Return the trace length, in direct answers, at which two options cost the same to train.

    Args:
        dearer: Model and reasoning ratio of the option that costs more with long traces.
        cheaper: The same of the other, such as a larger model on direct answers alone.
        workload: Rows and lengths; its own trace ratio does not matter.

    Returns:
        The ratio m above which the first costs more; `None` where there is none from 1 to 1,000.

    Raises:
        InvalidInputError: A number is out of range.
    """
    if not dearer[1] > 0:
        raise InvalidInputError(
            f"reasoning ratio {dearer[1]!r}: the length of traces matters only above 0"
        )

    def excess(trace_ratio: float) -> float:
        rows = with_trace_ratio(workload, trace_ratio)
        return training_flops(*dearer, rows) - training_flops(*cheaper, rows)

    low, high = 1.0, _LONGEST_RATIO
    if excess(low) > 0 or excess(high) <= 0:
        return None
    while high > low * 1.0001:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if excess(middle) > 0 else (middle, high)
    return high


def with_trace_ratio(workload: Workload, trace_ratio: float) -> Workload:
    """Return the workload with traces of another length."""
    from dataclasses import replace

    return replace(workload, trace_ratio=trace_ratio)
