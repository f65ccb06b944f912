"""What one token costs in a network: coefficients, and the formulas over mean lengths."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, TypeAlias

from calibration.cost import Architecture

from ._layers import active_adapter_params, adapter_params, kept_bytes

__all__ = ["Basis", "Network", "network_of", "visible_keys"]

Basis: TypeAlias = Literal["exact", "interpolated", "extrapolated"]
"""Where a network's coefficients come from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """Coefficients of the cost of a decoder-only transformer.

    Attributes:
        name: What to call it, such as `Qwen2.5-3B` or `4B`.
        basis: `exact` for a known architecture; `interpolated` between two sizes of a family or
            `extrapolated` beyond its ends, see `advisor.cost.network`.
        detail: The same in words.
        n_params: All parameters.
        n_active_params: Parameters that one token passes.
        n_product_params: Entries of the matrices that one token is multiplied with, output
            projection included: a forward pass costs twice as many FLOPs a token, plus attention.
        n_logit_params: Those of the output projection.
        prefill_pairs: FLOPs of one query-key pair in prefill and training, summed over the layers
            of each window, as `(window, FLOPs)`.
        decode_pairs: The same in decode.
        cached_values: Numbers that one token adds to the cache, by window.
        residual_values: Width of the residual stream x layers.
        n_heads: Query heads, summed over layers.
        kept_bytes: Bytes per token that a forward pass keeps for the backward pass, summed over
            layers, in bfloat16 with fused attention.
        most_kept_bytes: The same of the layer that keeps most.
        largest_layer_params: Parameters of the largest layer.
        adapter_params: Parameters of LoRA adapters of rank 1 on every matrix of the layers.
        active_adapter_params: Those that one token passes.
        vocab: Rows of the output projection.
    """

    name: str
    basis: Basis
    detail: str
    n_params: float
    n_active_params: float
    n_product_params: float
    n_logit_params: float
    prefill_pairs: tuple[tuple[int | None, float], ...]
    decode_pairs: tuple[tuple[int | None, float], ...]
    cached_values: tuple[tuple[int | None, float], ...]
    residual_values: float
    n_heads: float
    kept_bytes: float
    most_kept_bytes: float
    largest_layer_params: float
    adapter_params: float
    active_adapter_params: float
    vocab: float

    def attention_flops(self, mean_tokens: float, mean_square: float) -> float:
        """Return the mean attention FLOPs of one forward pass over causal sequences of T tokens.

        Exact from the first two moments of T where there is no window; a window is applied to
        the mean length, which is a lower bound.
        """
        flops = 0.0
        for window, pair_flops in self.prefill_pairs:
            if window is None:
                flops += pair_flops * (mean_square + mean_tokens) / 2
            else:
                flops += pair_flops * visible_keys(mean_tokens, window)
        return flops

    def prefill_flops(self, prompt_tokens: float) -> float:
        """Return the FLOPs of reading a prompt, with logits for its last position."""
        linear = 2 * (self.n_product_params - self.n_logit_params) * prompt_tokens
        attention = sum(
            pair_flops * visible_keys(prompt_tokens, window)
            for window, pair_flops in self.prefill_pairs
        )
        return linear + attention + 2 * self.n_logit_params

    def decode_flops(self, prompt_tokens: float, answer_tokens: float) -> float:
        """Return the FLOPs of an answer after the prefill, which gave its first token."""
        n_steps = max(answer_tokens - 1, 0.0)
        end = prompt_tokens + n_steps
        attention = sum(
            pair_flops * (visible_keys(end, window) - visible_keys(prompt_tokens, window))
            for window, pair_flops in self.decode_pairs
        )
        return 2 * self.n_product_params * n_steps + attention

    def cache_bytes(self, context_tokens: float) -> float:
        """Return the bytes of one sequence's keys and values in bfloat16."""
        return 2 * sum(
            n_values * (context_tokens if window is None else min(context_tokens, window))
            for window, n_values in self.cached_values
        )


def visible_keys(n: float, window: int | None) -> float:
    """Return the sum over t=1..n of min(t, window), continued to broken n."""
    inside = n if window is None else min(n, window)
    return inside * (inside + 1) / 2 + (n - inside) * (window or 0)


@lru_cache(maxsize=64)
def network_of(architecture: Architecture, name: str) -> Network:
    """Return the coefficients of an architecture."""
    hidden, layers = architecture.hidden, architecture.layers
    cached: dict[int | None, float] = {}
    for layer in layers:
        cached[layer.window] = cached.get(layer.window, 0) + layer.n_cached_values
    kept = [kept_bytes(layer, hidden) for layer in layers]
    return Network(
        name=name,
        basis="exact",
        detail=f"of {name}",
        n_params=architecture.n_params,
        n_active_params=architecture.n_active_params,
        n_product_params=architecture.n_matmul_params + hidden * architecture.vocab,
        n_logit_params=hidden * architecture.vocab,
        prefill_pairs=architecture.prefill_pair_flops,
        decode_pairs=architecture.decode_pair_flops,
        cached_values=tuple(cached.items()),
        residual_values=hidden * len(layers),
        n_heads=sum(layer.n_heads for layer in layers),
        kept_bytes=sum(kept),
        most_kept_bytes=max(kept),
        largest_layer_params=max(layer.n_params(hidden) for layer in layers),
        adapter_params=sum(adapter_params(layer, hidden) for layer in layers),
        active_adapter_params=sum(active_adapter_params(layer, hidden) for layer in layers),
        vocab=architecture.vocab,
    )
