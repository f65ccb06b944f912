"""Networks whose costs are not modelled, and why: a wrong number is worse than none."""

from collections.abc import Collection, Mapping
from typing import cast

__all__ = ["refusal"]

_LATENT = "latent attention in a network that was not compared with a real one"
_LINEAR = (
    "linear attention or state-space layers: their cost per token is that of a chunked scan, which"
    " depends on the kernel"
)
_SPARSE = "attention that selects its keys: what a query sees depends on the text"
_CHUNKED = "chunked attention: keys are seen by position within a chunk, not by a window"
_SHARED_CACHE = "layers that share keys and values or add inputs of their own"

_FIELDS = {
    # Sparse attention comes first: such networks have latent attention too.
    "index_topk": _SPARSE,
    "kv_lora_rank": _LATENT,
    "q_lora_rank": _LATENT,
    "linear_num_value_heads": _LINEAR,
    "linear_attn_config": _LINEAR,
    "mamba_d_state": _LINEAR,
    "ssm_state_size": _LINEAR,
    "state_size": _LINEAR,
    "ssm_cfg": _LINEAR,
    "hybrid_override_pattern": _LINEAR,
    "conv_L_cache": _LINEAR,
    "attention_chunk_size": _CHUNKED,
    "num_kv_shared_layers": _SHARED_CACHE,
}
_TYPES = {
    **dict.fromkeys(
        (
            "glm4_moe_lite",
            "kimi_k2",
            "kimi_k25",
            "longcat_flash",
            "minicpm3",
            "youtu",
        ),
        _LATENT,
    ),
    **dict.fromkeys(("deepseek_v32", "deepseek_v4", "glm_moe_dsa"), _SPARSE),
    **dict.fromkeys(
        (
            "bamba",
            "falcon_h1",
            "falcon_mamba",
            "granitemoehybrid",
            "jamba",
            "kimi_linear",
            "lfm2",
            "lfm2_moe",
            "mamba",
            "mamba2",
            "minimax",
            "nemotron_h",
            "olmo_hybrid",
            "qwen3_5",
            "qwen3_5_moe",
            "qwen3_5_moe_text",
            "qwen3_5_text",
            "qwen3_next",
            "recurrent_gemma",
            "rwkv",
            "zamba2",
        ),
        _LINEAR,
    ),
    **dict.fromkeys(("llama4", "llama4_text"), _CHUNKED),
    **dict.fromkeys(("gemma3n", "gemma3n_text", "gemma4", "gemma4_text"), _SHARED_CACHE),
}
_MODELLED_LAYERS = {"full_attention", "sliding_attention"}


def refusal(config: Mapping[str, object], latent_types: Collection[str] = ()) -> str | None:
    """Return why a configuration's network is not modelled, `None` if nothing speaks against it.

    The model type decides first, then fields that only such networks have, then `layer_types`.

    Args:
        config: The configuration.
        latent_types: Model types whose latent attention is modelled.
    """
    model_type = str(config.get("model_type"))
    if model_type in _TYPES:
        return f"{model_type} has {_TYPES[model_type]}"
    for name, reason in _FIELDS.items():
        if reason is _LATENT and model_type in latent_types:
            continue
        # False, 0 and empty lists switch the feature off; a switched-off one costs nothing.
        if config.get(name):
            return f"{name}={config[name]!r} means {reason}"
    types = config.get("layer_types")
    if not isinstance(types, list | tuple):
        return None
    kinds = {str(kind) for kind in cast("list[object]", types)}
    if strange := sorted(kinds - _MODELLED_LAYERS):
        reason = _LINEAR if any("linear" in k or "mamba" in k for k in strange) else None
        return f"layers of type {', '.join(strange)}{f' ({reason})' if reason else ''}"
    return None
