"""What training adds to one layer: values kept for the backward pass, and LoRA adapters."""

from calibration.cost import Layer

__all__ = ["active_adapter_params", "adapter_params", "kept_bytes"]


def kept_bytes(layer: Layer, hidden: int) -> int:
    """Return the bytes per token that a layer keeps for its backward pass, in bfloat16.

    Two bytes each for: the input of either norm and of the matrices behind it; queries, keys,
    values and the output of fused attention, which keeps no scores but one 4-byte sum per head;
    and of the feed-forward block the outputs of its first matrices, of the activation, and of
    their product. No dropout. On a GPT layer that is the `34 s h` of Korthikanti et al. without
    the `2 s h` of its dropout masks.

    Source: counted here; checked against arXiv 2205.05198, section 4.1, and against what torch
        keeps for Qwen2 layers (`tests/train/test_cost.py`).
    """
    attention = 2 * layer.attention_width + layer.n_cached_values
    if layer.latent is not None:
        # Training expands the latents to every head's keys and values; either norm of a latent
        # keeps its input, and the matrix behind it its output.
        latent = layer.latent
        per_head = 2 * (latent.nope_dim + latent.rope_dim + latent.value_dim)
        latents = 2 * (latent.kv_rank + latent.q_rank) + latent.rope_dim
        attention = layer.n_heads * per_head + latents
    inner = layer.intermediate + layer.top_k * layer.moe_intermediate
    n_inner = 4 if layer.is_gated else 2
    routed = 2 * 2 * hidden * layer.top_k  # each expert's own copy of its input and output
    return 2 * (4 * hidden + attention + n_inner * inner) + 4 * layer.n_heads + routed


def adapter_params(layer: Layer, hidden: int) -> int:
    """Return the parameters of rank-1 adapters on every matrix: its inputs plus its outputs."""
    return _adapter_params(layer, hidden, layer.n_experts)


def active_adapter_params(layer: Layer, hidden: int) -> int:
    """Return those that one token passes: of the experts only the chosen ones."""
    return _adapter_params(layer, hidden, layer.top_k)


def _adapter_params(layer: Layer, hidden: int, n_experts: int) -> int:
    n_params = _attention_adapters(layer, hidden)
    if layer.intermediate:
        n_params += layer.n_matrices * (hidden + layer.intermediate)
    return n_params + n_experts * layer.n_matrices * (hidden + layer.moe_intermediate)


def _attention_adapters(layer: Layer, hidden: int) -> int:
    if layer.latent is None:
        key_or_value = layer.n_kv_heads * layer.head_dim
        return 2 * (hidden + layer.attention_width) + 2 * (hidden + key_or_value)
    latent, heads = layer.latent, layer.n_heads
    query_width = heads * (latent.nope_dim + latent.rope_dim)
    query = hidden + query_width
    if latent.q_rank:
        query = (hidden + latent.q_rank) + (latent.q_rank + query_width)
    down = hidden + latent.kv_rank + latent.rope_dim
    up = latent.kv_rank + heads * (latent.nope_dim + latent.value_dim)
    return query + down + up + heads * latent.value_dim + hidden
