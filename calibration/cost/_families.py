"""What model types have in common, as data: their norms, biases, windows and defaults.

Source: the `configuration_*.py` and `modeling_*.py` files of transformers 5.23.0. Every row is
compared with the real network's parameters in `tests/calibration/test_architecture.py`.
"""

from dataclasses import dataclass, replace
from typing import Literal

__all__ = ["FAMILIES", "Family"]


@dataclass(frozen=True, slots=True)
class Family:
    """How the networks of one `model_type` are built.

    Attributes:
        norms: Norm vectors of the hidden size in each layer.
        qk_norm: Norms of queries and keys: none, one vector of the head size each, one vector
            of all heads' size each, or `option`: per head where `use_qk_norm` says so.
        qkv_bias: Bias of the query, key and value projections: fixed, or the name of the field
            that says so.
        qkv_bias_default: What an absent field means.
        has_output_bias: Whether the output projection of attention follows the same bias.
        has_mlp_bias_option: Whether `mlp_bias` is read.
        windows: Which layers have a sliding window where `layer_types` is absent: none, all,
            those from `max_window_layers` on, every other one from the first on, or all but each
            `sliding_window_pattern`-th; `given`: `layer_types` must say.
        has_window_switch: Whether windows are off unless `use_sliding_window` is true.
        requires_window: Whether `sliding_window` must be present, null included, because its
            class default is a number.
        requires_head_dim: Whether `head_dim` must be present, for the same reason.
        requires_kv_heads: Whether `num_key_value_heads` must be present, for the same reason;
            null, or its absence where it may be absent, means one for each query head.
        is_tied_default: What an absent `tie_word_embeddings` means.
        experts: Which layers have experts: none; all; by `decoder_sparse_step` and
            `mlp_only_layers`; or all from `first_k_dense_replace` on.
        expert_width: Field that holds the inner width of an expert.
        shared: Shared experts: none; one of `shared_expert_intermediate_size` behind a gate; or
            `n_shared_experts` of the routed experts' width.
        has_expert_bias: Whether experts and their router have biases.
        has_sinks: Whether each query head has an attention sink.
    """

    norms: int = 2
    qk_norm: Literal["none", "head", "full", "option"] = "none"
    qkv_bias: bool | str = False
    qkv_bias_default: bool = False
    has_output_bias: bool = False
    has_mlp_bias_option: bool = False
    windows: Literal["none", "all", "late", "alternate", "pattern", "given"] = "none"
    has_window_switch: bool = False
    requires_window: bool = False
    requires_head_dim: bool = False
    requires_kv_heads: bool = True
    is_tied_default: bool = False
    experts: Literal["none", "all", "sparse_step", "after_dense"] = "none"
    expert_width: str = "moe_intermediate_size"
    shared: Literal["none", "gated", "count"] = "none"
    has_expert_bias: bool = False
    has_sinks: bool = False


_LLAMA = Family(
    qkv_bias="attention_bias",
    has_output_bias=True,
    has_mlp_bias_option=True,
    requires_kv_heads=False,
)
_QWEN2 = Family(qkv_bias=True, windows="late", has_window_switch=True)
_QWEN3 = Family(
    qk_norm="head",
    qkv_bias="attention_bias",
    has_output_bias=True,
    windows="late",
    has_window_switch=True,
    requires_head_dim=True,
)
_GEMMA2 = Family(
    norms=4,
    qkv_bias="attention_bias",
    has_output_bias=True,
    windows="alternate",
    requires_head_dim=True,
    is_tied_default=True,
)

FAMILIES: dict[str, Family] = {
    "llama": _LLAMA,
    "granite": _LLAMA,
    "smollm3": replace(
        _LLAMA,
        windows="given",
        has_window_switch=True,
        is_tied_default=True,
        requires_kv_heads=True,
    ),
    "mistral": Family(windows="all", requires_window=True),
    "mixtral": Family(windows="all", experts="all", expert_width="intermediate_size"),
    "phi3": Family(windows="all", requires_kv_heads=False),
    "olmo2": Family(
        qk_norm="full",
        qkv_bias="attention_bias",
        has_output_bias=True,
        requires_kv_heads=False,
    ),
    "gemma2": _GEMMA2,
    "gemma3_text": replace(_GEMMA2, qk_norm="head", windows="pattern"),
    "qwen2": _QWEN2,
    "qwen2_moe": replace(
        _QWEN2,
        qkv_bias="qkv_bias",
        qkv_bias_default=True,
        windows="given",
        experts="sparse_step",
        shared="gated",
    ),
    "qwen3": _QWEN3,
    "qwen3_moe": replace(_QWEN3, windows="all", requires_head_dim=False, experts="sparse_step"),
    "glm4_moe": Family(
        qk_norm="option",
        qkv_bias="attention_bias",
        experts="after_dense",
        shared="count",
    ),
    "gpt_oss": Family(
        qkv_bias="attention_bias",
        qkv_bias_default=True,
        has_output_bias=True,
        windows="alternate",
        requires_head_dim=True,
        experts="all",
        expert_width="intermediate_size",
        has_expert_bias=True,
        has_sinks=True,
    ),
}
"""By `model_type`."""
