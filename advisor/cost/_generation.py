"""How long it takes to generate: decode is bound by memory, so FLOPs do not tell."""

from dataclasses import dataclass

from policies import InvalidInputError

from ._gpus import Gpus
from ._network import Network
from ._numbers import Range

__all__ = ["ENGINE_EFFICIENCY", "Generation", "generate"]

ENGINE_EFFICIENCY = Range(0.3, 0.5, 0.7)
"""Share of the roofline's speed that an inference engine reaches.

An assumption, not measured: no engine reaches the roof, the sequences of a batch end unevenly,
and GPUs that share a copy of the weights wait for each other.
"""

_MOST_SEQUENCES = 256
"""Sequences that one copy of the weights decodes at a time, memory permitting. An assumption."""

_FREE_SHARE = 0.9
"""Share of the memory that weights and caches may take. An assumption; engines default to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """What it takes to generate many answers.

    Attributes:
        flops: FLOPs of all prefills and decodes.
        n_tokens: Generated tokens.
        gpu_hours: Hours of one GPU: the roofline's bound / `ENGINE_EFFICIENCY`.
        gpus_per_copy: GPUs that share a copy of the weights.
        sequences_per_copy: Sequences that each copy decodes at a time.
        mfu: Share of the peak that the half-way time comes to; far below that of training.
    """

    flops: float
    n_tokens: float
    gpu_hours: Range
    gpus_per_copy: int
    sequences_per_copy: int
    mfu: float


@dataclass(frozen=True, slots=True)
class _Layout:
    """How the weights lie on the GPUs, and the GPU-seconds of one answer's decode."""

    n_gpus: int
    batch: int
    gpu_seconds: float


def generate(
    known: Network,
    *,
    n_prompts: float,
    n_answers: int,
    prompt_tokens: float,
    answer_tokens: float,
    gpus: Gpus,
    n_at_once: float | None = None,
) -> Generation:
    """Return what it takes to generate answers to prompts.

    A prompt is read once and decoded `n_answers` times. A step of B sequences at context c takes
    a group of t GPUs at least
    `max(B FLOPs / (t peak), (weights + B keys and values) / (t bandwidth))`; with c half-way
    through the answer that is the mean over its steps. B is what fits beside the weights, at most
    256 and no more than there is to do; t is the power of two that takes the fewest GPU-hours.

    Args:
        known: The network.
        n_prompts: Prompts.
        n_answers: Answers to each.
        prompt_tokens: Mean tokens of a prompt.
        answer_tokens: Mean tokens of an answer.
        gpus: What it runs on.
        n_at_once: Answers there are to generate at a time, over all GPUs; by default all of them.

    Raises:
        InvalidInputError: The weights and one sequence do not fit the GPUs.

    Source: the roofline of `calibration.cost.bound_request`, of which this is the mean step.
    """
    layouts: list[_Layout] = []
    n_to_do = n_prompts * n_answers if n_at_once is None else n_at_once
    n_gpus = 1
    while n_gpus <= gpus.n:
        n_waiting = max(n_to_do * n_gpus / gpus.n, 1.0)
        layout = _layout(known, n_gpus, n_waiting, prompt_tokens, answer_tokens, gpus)
        layouts += [layout] if layout is not None else []
        n_gpus *= 2
    if not layouts:
        raise InvalidInputError(_too_large(known, prompt_tokens + answer_tokens, gpus))
    best = min(layouts, key=lambda layout: layout.gpu_seconds)
    prefill = known.prefill_flops(prompt_tokens)
    decode = known.decode_flops(prompt_tokens, answer_tokens)
    bound_s = n_prompts * (n_answers * best.gpu_seconds + prefill / gpus.peak_flops)
    flops = n_prompts * (prefill + n_answers * decode)
    slow, usual, fast = (
        bound_s / 3600 / efficiency
        for efficiency in (ENGINE_EFFICIENCY.low, ENGINE_EFFICIENCY.mid, ENGINE_EFFICIENCY.high)
    )
    return Generation(
        flops=flops,
        n_tokens=n_prompts * n_answers * answer_tokens,
        gpu_hours=Range(fast, usual, slow),
        gpus_per_copy=best.n_gpus,
        sequences_per_copy=best.batch,
        mfu=flops / (usual * 3600 * gpus.peak_flops),
    )


def _layout(
    known: Network,
    n_gpus: int,
    n_waiting: float,
    prompt_tokens: float,
    answer_tokens: float,
    gpus: Gpus,
) -> _Layout | None:
    """Return the layout with a copy of the weights on `n_gpus`, `None` if it does not fit."""
    weights = 2 * known.n_params
    free = _FREE_SHARE * gpus.memory_bytes * n_gpus - weights
    full = known.cache_bytes(prompt_tokens + answer_tokens)
    if free < full:
        return None
    batch = max(int(min(_MOST_SEQUENCES, n_waiting, free / full)), 1)
    n_steps = max(answer_tokens - 1, 0.0)
    decode = known.decode_flops(prompt_tokens, answer_tokens)
    moved = weights + batch * known.cache_bytes(prompt_tokens + answer_tokens / 2)
    # Over all steps of one answer and all GPUs of the group; the batch shares each step.
    compute_s = decode / gpus.peak_flops
    memory_s = n_steps * moved / batch / gpus.device.bandwidth_bytes_per_s
    return _Layout(n_gpus, batch, max(compute_s, memory_s))


def _too_large(known: Network, context_tokens: float, gpus: Gpus) -> str:
    return (
        f"{known.name} takes {2 * known.n_params / 1e9:,.0f} GB and a sequence of"
        f" {context_tokens:,.0f} tokens {known.cache_bytes(context_tokens) / 1e9:,.1f} GB, but"
        f" {gpus} have {gpus.n * gpus.memory_bytes / 1e9:,.0f} GB: use more GPUs, or GPUs with"
        " more memory"
    )
