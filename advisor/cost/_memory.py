"""Memory that training takes on each GPU, and how many GPUs it takes to fit."""

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

from policies import InvalidInputError

from ._gpus import Gpus, default_gpus
from ._network import Network
from ._numbers import Range, check_whole
from ._sizes import Model, network
from ._training import LORA_RANK
from ._workload import MAX_TOKENS

__all__ = ["MemoryPerGpu", "Sharding", "Tuning", "memory_per_gpu", "smallest_n_gpus"]

Tuning: TypeAlias = Literal["full", "full-bf16", "lora"]
"""`full`: all weights with AdamW in mixed precision; `full-bf16`: the same in bfloat16 alone."""

Sharding: TypeAlias = Literal["zero3", "none"]
"""`zero3`: weights, gradients and optimiser split over the GPUs (ZeRO-3, FSDP); `none`: copied."""

_STATE_BYTES: dict[Tuning, tuple[float, float]] = {"full": (16, 18), "full-bf16": (8, 8)}
"""Bytes per trained parameter, low and high.

Mixed precision: weight 2, gradient 2, and in float32 its copy and two moments 12, makes 16; a
gradient in float32 makes 18. Source: arXiv 1910.02054 (ZeRO), section 3.1, and the 18x and 8x of
LLaMA-Factory's README.
"""

_GB = 1e9
_OVERHEAD = (1 * _GB, 3 * _GB)
"""CUDA context, kernels' workspace and communication buffers: an assumption, not measured."""

_PLAIN = 1.15
"""Values that transformers' Qwen2 keeps / those counted: it normalises in float32.

Measured on a CPU: layers of 0.5B, 3B and 7B gave 1.14 to 1.15, as `tests/train/test_cost.py`
shows.
"""

_IN_FLIGHT = 0.5
"""Gradients of one layer that are in flight at a time / what it keeps: an assumption."""

_LOGIT_BYTES = (4, 12)
"""Bytes of one token and vocabulary entry: float32 logits that their gradient replaces, or, as
measured with transformers' own loss, log-probabilities and two gradients."""

_MOST_GPUS = 1024
"""GPUs beyond which nobody is advised to go."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPerGpu:
    """Memory of one GPU in training, in bytes, by what takes it; an estimate, not measured.

    `low` is what a lean implementation needs, `high` a plain one; `mid` is half-way.

    Attributes:
        state: Weights, gradients and optimiser.
        gathered: Weights of the layers at work, which ZeRO-3 brings together.
        activations: Values kept for the backward pass: with checkpointing each layer's input.
        recomputed: Values of the one layer that is computed again; 0 without checkpointing.
        logits: Logits and their gradient; 0 if they are fused into the loss.
        overhead: Everything else, an assumption.
        total: The peak: low does not hold logits and a recomputed layer at the same time.
        device_bytes: Memory of the GPU.
        assumptions: What it was computed for, as a sentence.
    """

    state: Range
    gathered: Range
    activations: Range
    recomputed: Range
    logits: Range
    overhead: Range
    total: Range
    device_bytes: float
    assumptions: str

    @property
    def fits(self) -> bool:
        """Whether even the high estimate fits the GPU."""
        return self.total.high <= self.device_bytes

    @property
    def may_fit(self) -> bool:
        """Whether the low estimate does; if not, nothing will make it fit."""
        return self.total.low <= self.device_bytes

    @property
    def dominant(self) -> str:
        """Name of the largest part, by its half-way value."""
        return max(self.parts, key=lambda name: self.parts[name].mid)

    @property
    def parts(self) -> dict[str, Range]:
        """The parts by name."""
        return {
            "state": self.state,
            "gathered": self.gathered,
            "activations": self.activations,
            "recomputed": self.recomputed,
            "logits": self.logits,
            "overhead": self.overhead,
        }


def memory_per_gpu(
    model: Model,
    *,
    sequence_tokens: int,
    gpus: Gpus | None = None,
    method: Tuning = "full",
    sharding: Sharding = "zero3",
    checkpointing: bool = True,
    fused_logits: bool = False,
    fused_attention: bool = True,
) -> MemoryPerGpu:
    """Return the memory that one GPU needs to train.

    State: 16-18 bytes per trained parameter, 8 in bfloat16 alone, 2 per frozen one; divided by
    the GPUs under ZeRO-3. Activations: `2 s h L` with checkpointing, which computes one layer at a
    time again; else what every layer keeps. Attention that is not fused keeps `5 a s^2` a layer.
    Logits: `4 s V`, 12 with all that a plain loss makes of them.

    Args:
        model: A size, an architecture, or a known model's name.
        sequence_tokens: Tokens s of all sequences on one GPU at a time: the length that packing
            fills, times the sequences of a micro-batch.
        gpus: How many, of what memory; 8 H100 by default.
        method: What is trained, and in what precision.
        sharding: Whether state is split over the GPUs.
        checkpointing: Keep only each layer's input and compute the rest again.
        fused_logits: The loss never holds all logits: Liger, or TRL's default loss.
        fused_attention: Attention never holds its scores (FlashAttention).

    Raises:
        InvalidInputError: A number or name is out of range.
        UnknownNameError: No model of that name is known.

    Source: `2 s h L` and `s h (34 + 5 a s / h)` are arXiv 2205.05198, section 4; a gated layer
        keeps more than 34, which is counted from its sizes instead.

    Example:
        >>> needed = memory_per_gpu("3B", sequence_tokens=16_384)
        >>> f"{needed.state.low / 1e9:.1f} {needed.activations.low / 1e9:.1f} {needed.dominant}"
        '6.2 2.4 logits'
    """
    check_whole("sequence_tokens", sequence_tokens, at_most=MAX_TOKENS)
    _check_choice("method", method, ("full", "full-bf16", "lora"))
    _check_choice("sharding", sharding, ("zero3", "none"))
    machine = default_gpus() if gpus is None else gpus
    known = network(model)
    n_shards = machine.n if sharding == "zero3" else 1
    state = _state(known, method).scaled(1 / n_shards)
    gathered = _gathered(known) if n_shards > 1 else Range.exactly(0)
    kept, again = _activations(known, sequence_tokens, checkpointing, fused_attention)
    logits = Range.exactly(0)
    if not fused_logits:
        low, high = _LOGIT_BYTES
        n_logits = sequence_tokens * known.vocab
        logits = _between(low * n_logits, high * n_logits)
    overhead = _between(*_OVERHEAD)
    held = state.plus(gathered).plus(kept).plus(overhead)
    total = _between(held.low + max(again.low, logits.low), held.high + again.high + logits.high)
    return MemoryPerGpu(
        state=state,
        gathered=gathered,
        activations=kept,
        recomputed=again,
        logits=logits,
        overhead=overhead,
        total=total,
        device_bytes=machine.memory_bytes,
        assumptions=_assumptions(known, machine, method, sharding, sequence_tokens, checkpointing),
    )


def smallest_n_gpus(
    model: Model,
    *,
    sequence_tokens: int,
    gpus: Gpus | None = None,
    method: Tuning = "full",
    sharding: Sharding = "zero3",
    checkpointing: bool = True,
    fused_logits: bool = False,
    fused_attention: bool = True,
) -> int | None:
    """Return the fewest GPUs of the kind on which training fits, by the high estimate.

    Args:
        model: As for `memory_per_gpu`, like the others.
        sequence_tokens: Tokens of all sequences on one GPU at a time.
        gpus: The kind of GPU; its count does not matter.
        method: What is trained, and in what precision.
        sharding: Whether state is split over the GPUs.
        checkpointing: Keep only each layer's input.
        fused_logits: The loss never holds all logits.
        fused_attention: Attention never holds its scores.

    Returns:
        A count from 1 to 1,024, or `None` where more GPUs do not help: what one sequence takes
        is too much for one of them, or state is not split.

    Raises:
        InvalidInputError: A number or name is out of range.
        UnknownNameError: No model of that name is known.
    """
    machine = default_gpus() if gpus is None else gpus

    def needed(n: int) -> MemoryPerGpu:
        return memory_per_gpu(
            model,
            sequence_tokens=sequence_tokens,
            gpus=Gpus(device=machine.device, n=n),
            method=method,
            sharding=sharding,
            checkpointing=checkpointing,
            fused_logits=fused_logits,
            fused_attention=fused_attention,
        )

    if needed(1).fits:
        return 1
    # Of two GPUs or more only the state depends on how many there are: state / n + rest.
    pair = needed(2)
    rest = pair.total.high - pair.state.high
    room = machine.memory_bytes - rest
    if sharding == "none" or room <= 0:
        return None
    n = max(2, math.ceil(2 * pair.state.high / room * (1 - 1e-12)))
    return n if n <= _MOST_GPUS else None


def _state(known: Network, method: Tuning) -> Range:
    if method == "lora":
        frozen, trained = 2 * known.n_params, LORA_RANK * known.adapter_params
        low, high = _STATE_BYTES["full"]
        return _between(frozen + low * trained, frozen + high * trained)
    low, high = _STATE_BYTES[method]
    return _between(low * known.n_params, high * known.n_params)


def _gathered(known: Network) -> Range:
    """Bytes of whole layers in bfloat16: one, or the next one fetched ahead and the output."""
    layer = 2 * known.largest_layer_params
    return _between(layer, 2 * layer + 2 * known.n_logit_params)


def _activations(
    known: Network, n_tokens: int, checkpointing: bool, fused_attention: bool
) -> tuple[Range, Range]:
    """Return the bytes that are kept, and those of the layer that is computed again."""
    scores = 0.0 if fused_attention else 5.0 * n_tokens * n_tokens
    if not checkpointing:
        every = known.kept_bytes * n_tokens + scores * known.n_heads
        return _between(every, _PLAIN * every), Range.exactly(0)
    # All layers are alike, or nearly so.
    n_layers = known.kept_bytes / known.most_kept_bytes
    one = known.most_kept_bytes * n_tokens + scores * known.n_heads / n_layers
    inputs = Range.exactly(2 * n_tokens * known.residual_values)
    return inputs, _between(one, (_PLAIN + _IN_FLIGHT) * one)


def _between(low: float, high: float) -> Range:
    return Range(low, (low + high) / 2, high)


def _check_choice(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise InvalidInputError(f"{name}={value!r}: expected {' or '.join(map(repr, known))}")


def _assumptions(
    known: Network,
    machine: Gpus,
    method: Tuning,
    sharding: Sharding,
    sequence_tokens: int,
    checkpointing: bool,
) -> str:
    split = f"state over {machine.n} GPUs" if sharding == "zero3" else "a whole copy on each GPU"
    layers = "layers checkpointed" if checkpointing else "no checkpointing"
    rank = f" of rank {LORA_RANK}" if method == "lora" else ""
    return (
        f"{known.name}, {method}{rank}, {split}, {sequence_tokens:,} tokens at a time, {layers};"
        " an estimate, not measured"
    )
