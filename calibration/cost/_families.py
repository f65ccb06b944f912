"""What model types have in common, as data: their norms, biases, windows and defaults.

Source: the `configuration_*.py` and `modeling_*.py` files of transformers 5.19. Every row is
compared with the real network's parameters in `tests/calibration/test_architecture.py`.
"""

from dataclasses import dataclass, replace
from typing import Literal

__all__ = ["FAMILIES", "Family"]


@dataclass(frozen=True, slots=True)
class Family:
    """How the networks of one `model_type` are built.

    Attributes:
        norms: Norms of the hidden size in each layer.
        norm_vectors: Vectors of one norm: 1, 2 with a bias, or 0 where norms learn nothing.
        qk_norm: Norms of queries and keys: none, one vector of the head size each, or one
            vector of all heads' size each.
        has_qk_norm_option: Whether that norm is there only where `use_qk_norm` says so.
        qkv_bias: Bias of the query, key and value projections: fixed, or the name of the field
            that says so.
        qkv_bias_default: What an absent field means.
        output_bias: Bias of attention's output projection: none, like the one of queries, or the
            name of the field that says so.
        mlp_bias: Name of the field that tells of biases in the feed-forward block.
        head_bias: Name of the field that tells of a bias of the output projection.
        is_gated: Whether the feed-forward block has three matrices; else two.
        n_activation_params: Learnt parameters of the activation in each layer.
        windows: Which layers have a sliding window where `layer_types` is absent: none, all,
            those from `max_window_layers` on, every other one from the first on, or all but each
            `sliding_window_pattern`-th; `given`: `layer_types` must say.
        window_pattern: What an absent `sliding_window_pattern` means.
        has_window_switch: Whether windows are off unless `use_sliding_window` is true.
        requires_window: Whether `sliding_window` must be present, because its class default is a
            number; null then means that no layer has one.
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
        is_latent: Whether attention is latent; the bias of queries is then that of the
            projections to latents.
    """

    norms: int = 2
    norm_vectors: int = 1
    qk_norm: Literal["none", "head", "full"] = "none"
    has_qk_norm_option: bool = False
    qkv_bias: bool | str = False
    qkv_bias_default: bool = False
    output_bias: Literal["none", "same"] | str = "none"
    mlp_bias: str | None = None
    head_bias: str | None = None
    is_gated: bool = True
    n_activation_params: int = 0
    windows: Literal["none", "all", "late", "alternate", "pattern", "given"] = "none"
    window_pattern: int = 6
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
    is_latent: bool = False


_LLAMA = Family(
    qkv_bias="attention_bias",
    output_bias="same",
    mlp_bias="mlp_bias",
    requires_kv_heads=False,
)
_OLMO2 = Family(
    qk_norm="full",
    qkv_bias="attention_bias",
    output_bias="same",
    requires_kv_heads=False,
)
_OLMOE = replace(_OLMO2, experts="all", expert_width="intermediate_size")
_QWEN2 = Family(qkv_bias=True, windows="late", has_window_switch=True)
_QWEN3 = Family(
    qk_norm="head",
    qkv_bias="attention_bias",
    output_bias="same",
    windows="late",
    has_window_switch=True,
    requires_head_dim=True,
)
_GEMMA = Family(
    qkv_bias="attention_bias",
    output_bias="same",
    requires_head_dim=True,
    is_tied_default=True,
)
_GEMMA2 = replace(_GEMMA, norms=4, windows="alternate")
_GLM = Family(qkv_bias="attention_bias", qkv_bias_default=True, requires_head_dim=True)
_DEEPSEEK = Family(
    qkv_bias="attention_bias",
    output_bias="same",
    requires_kv_heads=False,
    experts="after_dense",
    shared="count",
    is_latent=True,
)
_COHERE = Family(
    norms=1,  # attention and feed-forward block read the same normed input
    qkv_bias="attention_bias",
    output_bias="same",
    requires_kv_heads=False,
    is_tied_default=True,
)

FAMILIES: dict[str, Family] = {
    "apertus": Family(
        qk_norm="head",
        qkv_bias="attention_bias",
        output_bias="same",
        is_gated=False,
        n_activation_params=2,
    ),
    "arcee": replace(_LLAMA, is_gated=False),
    "cohere": replace(_COHERE, qk_norm="full", has_qk_norm_option=True),
    "cohere2": replace(_COHERE, windows="pattern", window_pattern=4, requires_window=True),
    "deepseek_v2": _DEEPSEEK,
    "deepseek_v3": _DEEPSEEK,
    "dots1": Family(
        qk_norm="head",
        qkv_bias="attention_bias",
        output_bias="same",
        windows="late",
        requires_window=True,
        experts="after_dense",
        shared="count",
    ),
    "ernie4_5": Family(
        qkv_bias="use_bias",
        output_bias="same",
        mlp_bias="use_bias",
        requires_head_dim=True,
        is_tied_default=True,
    ),
    "exaone4": Family(
        qk_norm="head",
        windows="pattern",
        window_pattern=4,
        requires_window=True,
    ),
    "flex_olmo": _OLMOE,
    "gemma": _GEMMA,
    "gemma2": _GEMMA2,
    "gemma3_text": replace(_GEMMA2, qk_norm="head", windows="pattern"),
    "glm": _GLM,
    "glm4": replace(_GLM, norms=4),
    "glm4_moe": Family(
        qk_norm="head",
        has_qk_norm_option=True,
        qkv_bias="attention_bias",
        experts="after_dense",
        shared="count",
    ),
    "gpt_oss": Family(
        qkv_bias="attention_bias",
        qkv_bias_default=True,
        output_bias="same",
        windows="alternate",
        requires_head_dim=True,
        experts="all",
        expert_width="intermediate_size",
        has_expert_bias=True,
        has_sinks=True,
    ),
    "granite": _LLAMA,
    "granitemoe": Family(
        qkv_bias="attention_bias",
        output_bias="same",
        experts="all",
        expert_width="intermediate_size",
    ),
    "hunyuan_v1_dense": Family(
        qk_norm="head",
        qkv_bias="attention_bias",
        output_bias="same",
    ),
    "llama": _LLAMA,
    "minimax_m2": Family(
        qk_norm="full",
        requires_head_dim=True,
        experts="all",
        expert_width="intermediate_size",
    ),
    "ministral": Family(windows="all", requires_window=True),
    "ministral3": Family(windows="all", requires_head_dim=True),
    "mistral": Family(windows="all", requires_window=True),
    "mixtral": Family(windows="all", experts="all", expert_width="intermediate_size"),
    "nemotron": Family(
        norm_vectors=2,
        qkv_bias="attention_bias",
        output_bias="same",
        mlp_bias="mlp_bias",
        is_gated=False,
        requires_kv_heads=False,
    ),
    "olmo": Family(
        norm_vectors=0,
        qkv_bias="attention_bias",
        output_bias="same",
        requires_kv_heads=False,
    ),
    "olmo2": _OLMO2,
    "olmo3": replace(_OLMO2, windows="pattern", window_pattern=4, requires_window=True),
    "olmoe": _OLMOE,
    "phi3": Family(windows="all", requires_kv_heads=False),
    "phimoe": Family(
        norm_vectors=2,
        qkv_bias="attention_bias",
        output_bias="same",
        head_bias="lm_head_bias",
        windows="all",
        experts="all",
        expert_width="intermediate_size",
    ),
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
    "seed_oss": Family(
        qkv_bias="attention_bias",
        qkv_bias_default=True,
        output_bias="attention_out_bias",
        mlp_bias="mlp_bias",
        requires_head_dim=True,
    ),
    "smollm3": replace(
        _LLAMA,
        windows="given",
        has_window_switch=True,
        is_tied_default=True,
        requires_kv_heads=True,
    ),
    "starcoder2": Family(
        norm_vectors=2,
        qkv_bias="use_bias",
        qkv_bias_default=True,
        output_bias="same",
        mlp_bias="use_bias",
        is_gated=False,
        windows="all",
        is_tied_default=True,
    ),
    "vaultgemma": replace(_GEMMA2, norms=2),
}
"""By `model_type`."""
