"""Bytes that a step moves, and the least time it can take: the roofline.

A step takes at least `max(FLOPs / peak, bytes / bandwidth)`. What comes out is a bound, never a
prediction: no engine reaches both peaks, and launches, communication and scheduling come on top.
`fit_roofline` turns measured steps into a prediction with a known error.

Source: S. Williams, A. Waterman and D. Patterson, CACM 52 (4), 2009, 65-76; the bytes counted are
those of one read of every weight touched and of every key and value seen, and one write of the
new keys and values.
"""

import math
from dataclasses import dataclass
from typing import Literal

from policies import InvalidInputError

from .architecture import Architecture
from .devices import Device, NumberFormat
from .flops import decode_flops, prefill_flops

__all__ = [
    "RooflineBound",
    "Step",
    "bound_request",
    "bound_step",
    "decode_step",
    "distinct_experts",
    "kv_cache_bytes",
    "prefill_step",
    "weight_bytes",
]


@dataclass(frozen=True, slots=True)
class Step:
    """Work of one forward pass over a batch.

    Attributes:
        flops: FLOPs of matrix products.
        weight_bytes: Bytes of weights that are read.
        kv_bytes: Bytes of keys and values that are read or written.
    """

    flops: float
    weight_bytes: float
    kv_bytes: float

    @property
    def n_bytes(self) -> float:
        """All bytes that are moved."""
        return self.weight_bytes + self.kv_bytes

    def __post_init__(self) -> None:
        """Refuse what is no amount of work."""
        values = (self.flops, self.weight_bytes, self.kv_bytes)
        if not all(math.isfinite(value) and value >= 0 for value in values):
            raise InvalidInputError(f"{self!r}: expected finite numbers >= 0")


@dataclass(frozen=True, slots=True)
class RooflineBound:
    """A time that cannot be undercut; label it "bound" wherever it is shown.

    Attributes:
        compute_s: Seconds at peak FLOPs.
        memory_s: Seconds at peak bandwidth.
        seconds: Least seconds: of one step the larger of both, of a request the sum of that over
            its steps.
    """

    compute_s: float
    memory_s: float
    seconds: float

    @property
    def limit(self) -> Literal["compute", "memory"]:
        """What bounds the most."""
        return "compute" if self.compute_s >= self.memory_s else "memory"


def distinct_experts(n_experts: int, top_k: int, n_tokens: int) -> float:
    """Return how many experts a batch is expected to touch: `E * (1 - (1 - k/E)^B)`.

    Assumes that every token picks its `top_k` experts evenly and independently of the others;
    real routing is uneven and touches fewer.

    Raises:
        InvalidInputError: Not `1 <= top_k <= n_experts`, or `n_tokens` is negative.

    Example:
        >>> [round(distinct_experts(128, 8, batch)) for batch in (1, 16, 64)]
        [8, 82, 126]
    """
    if not 1 <= top_k <= n_experts or n_tokens < 0:
        raise InvalidInputError(f"top_k={top_k} of {n_experts} experts for {n_tokens} tokens")
    return n_experts * (1 - (1 - top_k / n_experts) ** n_tokens)


def weight_bytes(architecture: Architecture, n_tokens: int, bytes_per_param: float = 2.0) -> float:
    """Return the bytes of weights that one pass over `n_tokens` tokens reads.

    All weights but idle experts (`distinct_experts`, expected), the output projection among them;
    looked-up rows of the embedding are left out.

    Args:
        architecture: The model.
        n_tokens: Tokens in the pass: the batch in decode, all new tokens in prefill; at least 1.
        bytes_per_param: 2 for bfloat16, 1 for 8-bit weights.

    Raises:
        InvalidInputError: An argument is not positive.
    """
    _check_positive(n_tokens=n_tokens, bytes_per_param=bytes_per_param)
    n_params: float = architecture.n_other_params + architecture.vocab * architecture.hidden
    for layer in architecture.layers:
        n_active = layer.n_params(architecture.hidden, active_only=True)
        n_params += n_active
        if layer.n_experts > layer.top_k:
            n_idle = layer.n_params(architecture.hidden) - n_active
            more = distinct_experts(layer.n_experts, layer.top_k, n_tokens) - layer.top_k
            n_params += n_idle * more / (layer.n_experts - layer.top_k)
    return n_params * bytes_per_param


def kv_cache_bytes(
    architecture: Architecture, context_tokens: int, bytes_per_value: float = 2.0
) -> float:
    """Return the bytes of one sequence's keys and values; windows keep only their last tokens.

    Args:
        architecture: The model.
        context_tokens: Tokens of prompt and completion so far.
        bytes_per_value: 2 for bfloat16, 1 for 8-bit caches.

    Raises:
        InvalidInputError: `context_tokens` is negative, or `bytes_per_value` not positive.
    """
    if context_tokens < 0:
        raise InvalidInputError(f"context_tokens={context_tokens!r} is negative")
    _check_positive(bytes_per_value=bytes_per_value)
    n_values = sum(
        layer.n_cached_values * min(context_tokens, layer.window or context_tokens)
        for layer in architecture.layers
    )
    return n_values * bytes_per_value


def prefill_step(
    architecture: Architecture,
    prompt_tokens: int,
    cached_tokens: int = 0,
    *,
    batch: int = 1,
    bytes_per_param: float = 2.0,
    bytes_per_value: float = 2.0,
) -> Step:
    """Return the work of reading `batch` prompts of one length in one pass.

    Raises:
        InvalidInputError: A count is out of range.
    """
    _check_positive(batch=batch, prompt_tokens=prompt_tokens)
    flops = prefill_flops(architecture, prompt_tokens, cached_tokens)
    n_new = max(prompt_tokens - cached_tokens, 1)
    return Step(
        flops=batch * flops,
        weight_bytes=weight_bytes(architecture, batch * n_new, bytes_per_param),
        kv_bytes=batch * kv_cache_bytes(architecture, prompt_tokens, bytes_per_value),
    )


def decode_step(
    architecture: Architecture,
    context_tokens: int,
    *,
    batch: int = 1,
    bytes_per_param: float = 2.0,
    bytes_per_value: float = 2.0,
) -> Step:
    """Return the work of one token for each of `batch` sequences of one length.

    Args:
        architecture: The model.
        context_tokens: Tokens that the new query sees, its own among them; at least 1.
        batch: Sequences.
        bytes_per_param: Bytes of one weight.
        bytes_per_value: Bytes of one cached number.

    Raises:
        InvalidInputError: A count is out of range.
    """
    _check_positive(batch=batch, context_tokens=context_tokens)
    return Step(
        flops=batch * decode_flops(architecture, context_tokens - 1, 2),
        weight_bytes=weight_bytes(architecture, batch, bytes_per_param),
        kv_bytes=batch * kv_cache_bytes(architecture, context_tokens, bytes_per_value),
    )


def bound_step(step: Step, device: Device, number_format: NumberFormat = "bf16") -> RooflineBound:
    """Return the least time of one step on a device.

    Raises:
        InvalidInputError: The device has no peak for the number format.

    Example:
        >>> from calibration.cost import known_architecture, known_device
        >>> step = decode_step(known_architecture("Qwen3-8B"), 4096)
        >>> bound = bound_step(step, known_device("H200-SXM"))
        >>> f"{bound.seconds * 1e3:.2f} ms, {bound.limit}"
        '3.28 ms, memory'
    """
    compute_s = step.flops / device.peak(number_format)
    memory_s = step.n_bytes / device.bandwidth_bytes_per_s
    return RooflineBound(compute_s, memory_s, max(compute_s, memory_s))


def bound_request(
    architecture: Architecture,
    prompt_tokens: int,
    completion_tokens: int,
    device: Device,
    *,
    cached_tokens: int = 0,
    batch: int = 1,
    number_format: NumberFormat = "bf16",
    bytes_per_param: float = 2.0,
) -> RooflineBound:
    """Return the least time of a request: its prefill, then a step for every further token.

    Args:
        architecture: The model.
        prompt_tokens: Tokens of the prompt, at least 1.
        completion_tokens: Generated tokens.
        device: Where it runs.
        cached_tokens: Prompt tokens served from a prefix cache.
        batch: Requests of this shape that run at once, for the whole batch shares each step.
        number_format: Format of the products; 2 bytes a cached value are assumed for all.
        bytes_per_param: Bytes of one weight.

    Raises:
        InvalidInputError: A count is out of range, or the device has no such number format.
    """
    if completion_tokens < 0:
        raise InvalidInputError(f"completion_tokens={completion_tokens!r} is negative")
    prefill = prefill_step(
        architecture, prompt_tokens, cached_tokens, batch=batch, bytes_per_param=bytes_per_param
    )
    bound = bound_step(prefill, device, number_format)
    compute_s, memory_s, seconds = bound.compute_s, bound.memory_s, bound.seconds
    peak, bandwidth = device.peak(number_format), device.bandwidth_bytes_per_s
    # Weights are the same in every step; what grows with the context is linear inside windows.
    weights = weight_bytes(architecture, batch, bytes_per_param)
    linear = batch * 2 * (architecture.n_matmul_params + architecture.hidden * architecture.vocab)
    groups: dict[int | None, int] = {}
    for layer in architecture.layers:
        groups[layer.window] = groups.get(layer.window, 0) + layer.n_cached_values
    for context in range(prompt_tokens + 1, prompt_tokens + completion_tokens):
        attention = sum(
            pair_flops * min(context, window or context)
            for window, pair_flops in architecture.decode_pair_flops
        )
        values = sum(n * min(context, window or context) for window, n in groups.items())
        step_compute = (linear + batch * attention) / peak
        step_memory = (weights + batch * 2 * values) / bandwidth
        compute_s += step_compute
        memory_s += step_memory
        seconds += max(step_compute, step_memory)
    return RooflineBound(compute_s, memory_s, seconds)


def _check_positive(**values: float) -> None:
    for name, value in values.items():
        if not (math.isfinite(value) and value > 0):
            raise InvalidInputError(f"{name}={value!r}: expected a number > 0")
