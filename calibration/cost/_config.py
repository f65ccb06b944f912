"""Read the shape of a network from a Hugging Face configuration."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from policies import InvalidInputError

from ._families import FAMILIES, Family
from ._fields import Fields
from ._latent import LatentAttention
from ._layer import Layer
from ._refusals import refusal

__all__ = ["ParsedConfig", "parse_config"]

_LATENT_TYPES = {name for name, family in FAMILIES.items() if family.is_latent}
_MAX_LAYERS = 10_000
_N_EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts")
_SHARED_FIELDS = {"gated": "shared_expert_intermediate_size", "count": "n_shared_experts"}
_NUMBERS_INSTEAD = "without FLOPs, give the model's size; with them, build an Architecture by hand"


@dataclass(frozen=True, slots=True)
class ParsedConfig:
    """What a configuration says about the network's shape; see `Architecture`."""

    hidden: int
    vocab: int
    layers: tuple[Layer, ...]
    is_tied: bool
    n_other_params: int


def parse_config(config: Mapping[str, object]) -> ParsedConfig:
    """Return the shape that a configuration describes.

    Raises:
        InvalidInputError: A field is missing or malformed, or the network is of a kind whose
            costs are not modelled.
    """
    text = _text_config(config)
    family = _family(text)
    fields = Fields(text)
    hidden = fields.integer("hidden_size")
    vocab = fields.integer("vocab_size")
    n_layers = fields.integer("num_hidden_layers")
    if n_layers > _MAX_LAYERS:
        fields.problems.append(f"num_hidden_layers={n_layers} is more than {_MAX_LAYERS}")
    is_tied = fields.boolean("tie_word_embeddings", default=family.is_tied_default)
    fields.raise_problems()
    layers = _layers(fields, family, hidden, n_layers)
    n_other_params = family.norm_vectors * hidden
    if family.head_bias is not None and fields.boolean(family.head_bias, default=False):
        n_other_params += vocab
    fields.raise_problems()
    return ParsedConfig(hidden, vocab, layers, is_tied, n_other_params)


def _text_config(config: Mapping[str, object]) -> Mapping[str, object]:
    inner = config.get("text_config")
    if not isinstance(inner, Mapping):
        return config
    text = dict(cast("Mapping[str, object]", inner))
    if "tie_word_embeddings" in config:
        text["tie_word_embeddings"] = config["tie_word_embeddings"]
    return text


def _family(config: Mapping[str, object]) -> Family:
    model_type = config.get("model_type")
    if reason := refusal(config, _LATENT_TYPES):
        raise _unsupported(reason)
    if not isinstance(model_type, str):
        raise InvalidInputError(
            "configuration cannot be used: model_type is missing",
            hint="give the checkpoint's own config.json",
            code="invalid-model-config",
        )
    if model_type not in FAMILIES:
        raise _unsupported(f"model type {model_type!r}; supported: {', '.join(sorted(FAMILIES))}")
    return FAMILIES[model_type]


def _unsupported(what: str) -> InvalidInputError:
    return InvalidInputError(
        f"the cost of this network is not modelled: {what}",
        hint=_NUMBERS_INSTEAD,
        code="unsupported-architecture",
    )


def _layers(fields: Fields, family: Family, hidden: int, n_layers: int) -> tuple[Layer, ...]:
    n_heads = fields.integer("num_attention_heads")
    latent = _latent(fields) if family.is_latent else None
    if latent is not None:
        # Whatever the file says about shared heads: latents are expanded for each head.
        n_kv_heads, head_dim = n_heads, latent.nope_dim + latent.rope_dim
    else:
        is_given = fields.mentions("num_key_value_heads") or not family.requires_kv_heads
        n_kv_heads = fields.integer("num_key_value_heads", default=n_heads if is_given else None)
        head_dim = _head_dim(fields, family, hidden, n_heads)
    windows = _windows(fields, family, n_layers)
    sparse = _sparse_layers(fields, family, n_layers)
    intermediate = 0 if all(sparse) else fields.integer("intermediate_size")
    mixture = _mixture(fields, family) if any(sparse) else _NO_MIXTURE
    other = family.norms * family.norm_vectors * hidden + family.n_activation_params
    if latent is not None:
        other += _latent_extras(fields, family, hidden, latent)
    else:
        other += _attention_extras(fields, family, hidden, (n_heads, n_kv_heads, head_dim))
    # One field for all biases has one default.
    bias_default = family.mlp_bias == family.qkv_bias and family.qkv_bias_default
    if family.mlp_bias is not None and fields.boolean(family.mlp_bias, default=bias_default):
        other += (2 if family.is_gated else 1) * intermediate + hidden
    router_bias = mixture.n_experts if family.has_expert_bias else 0
    fields.raise_problems()
    return tuple(
        Layer(
            n_heads=n_heads,
            n_kv_heads=n_kv_heads,
            head_dim=head_dim,
            intermediate=mixture.shared if is_sparse else intermediate,
            window=window,
            n_experts=mixture.n_experts if is_sparse else 0,
            top_k=mixture.top_k if is_sparse else 0,
            moe_intermediate=mixture.intermediate if is_sparse else 0,
            has_shared_gate=is_sparse and family.shared == "gated",
            has_expert_bias=is_sparse and family.has_expert_bias,
            latent=latent,
            is_gated=family.is_gated,
            n_other_params=other + (router_bias if is_sparse else 0),
        )
        for window, is_sparse in zip(windows, sparse, strict=True)
    )


def _head_dim(fields: Fields, family: Family, hidden: int, n_heads: int) -> int:
    if fields.has("head_dim") or family.requires_head_dim:
        return fields.integer("head_dim")
    if hidden % n_heads:
        fields.problems.append(
            f"head_dim is missing, and hidden_size={hidden} is no multiple of {n_heads} heads"
        )
    return max(hidden // n_heads, 1)


def _latent(fields: Fields) -> LatentAttention:
    if not fields.mentions("q_lora_rank"):
        fields.problems.append("q_lora_rank is missing (null means none)")
    return LatentAttention(
        kv_rank=fields.integer("kv_lora_rank"),
        q_rank=fields.integer("q_lora_rank") if fields.has("q_lora_rank") else 0,
        nope_dim=fields.integer("qk_nope_head_dim"),
        rope_dim=fields.integer("qk_rope_head_dim"),
        value_dim=fields.integer("v_head_dim"),
    )


def _latent_extras(fields: Fields, family: Family, hidden: int, latent: LatentAttention) -> int:
    """Return the parameters of latent attention outside its matrices: norms and biases."""
    norms = latent.q_rank + latent.kv_rank
    if not fields.boolean(str(family.qkv_bias), default=family.qkv_bias_default):
        return norms
    return norms + latent.q_rank + latent.n_cached_values + hidden


def _attention_extras(
    fields: Fields, family: Family, hidden: int, heads: tuple[int, int, int]
) -> int:
    """Return the parameters of attention outside its matrices: biases, norms, sinks."""
    n_heads, n_kv_heads, head_dim = heads
    has_bias = (
        fields.boolean(family.qkv_bias, default=family.qkv_bias_default)
        if isinstance(family.qkv_bias, str)
        else family.qkv_bias
    )
    has_output_bias = (
        family.output_bias == "same" and has_bias
        if family.output_bias in {"none", "same"}
        else fields.boolean(family.output_bias, default=False)
    )
    extras = (n_heads + 2 * n_kv_heads) * head_dim if has_bias else 0
    extras += hidden if has_output_bias else 0
    extras += n_heads if family.has_sinks else 0
    has_norm = not family.has_qk_norm_option or fields.boolean("use_qk_norm", default=False)
    if family.qk_norm == "full" and has_norm:
        extras += (n_heads + n_kv_heads) * head_dim
    elif family.qk_norm == "head" and has_norm:
        extras += 2 * head_dim
    return extras


def _windows(fields: Fields, family: Family, n_layers: int) -> list[int | None]:
    """Return each layer's window."""
    if family.requires_window and not fields.mentions("sliding_window"):
        fields.problems.append("sliding_window is missing (null means none)")
    is_off = family.has_window_switch and not fields.boolean("use_sliding_window", default=False)
    types = fields.sequence("layer_types", str)
    if types is not None and len(types) != n_layers:
        fields.problems.append(f"layer_types has {len(types)} entries for {n_layers} layers")
        return [None] * n_layers
    if is_off or (types is None and family.windows == "none"):
        return [None] * n_layers
    if types is not None:
        is_sliding = [kind == "sliding_attention" for kind in types]
    elif not fields.has("sliding_window") and (
        family.windows in {"all", "late"} or family.requires_window
    ):
        return [None] * n_layers
    else:
        is_sliding = _default_sliding(fields, family, n_layers)
    window = fields.integer("sliding_window") if any(is_sliding) else None
    return [window if sliding else None for sliding in is_sliding]


def _default_sliding(fields: Fields, family: Family, n_layers: int) -> list[bool]:
    if family.windows == "late":
        first = fields.integer("max_window_layers", minimum=0)
        return [index >= first for index in range(n_layers)]
    if family.windows == "alternate":
        return [index % 2 == 0 for index in range(n_layers)]
    if family.windows == "pattern":
        pattern = fields.integer("sliding_window_pattern", default=family.window_pattern)
        return [(index + 1) % pattern != 0 for index in range(n_layers)]
    if family.windows == "given":
        fields.problems.append("layer_types is missing, and use_sliding_window is true")
    return [True] * n_layers


def _sparse_layers(fields: Fields, family: Family, n_layers: int) -> list[bool]:
    """Return which layers have experts."""
    if family.experts == "none":
        return [False] * n_layers
    if family.experts == "all":
        return [True] * n_layers
    if family.experts == "after_dense":
        first = fields.integer("first_k_dense_replace", minimum=0)
        if (step := fields.integer("moe_layer_freq", default=1)) != 1:
            fields.problems.append(f"moe_layer_freq={step} is not known for this model type")
        return [index >= first for index in range(n_layers)]
    dense = set(fields.sequence("mlp_only_layers", int) or ())
    step = fields.integer("decoder_sparse_step", default=1)
    return [index not in dense and (index + 1) % step == 0 for index in range(n_layers)]


@dataclass(frozen=True, slots=True)
class _Mixture:
    n_experts: int
    top_k: int
    intermediate: int
    shared: int


_NO_MIXTURE = _Mixture(0, 0, 0, 0)


def _mixture(fields: Fields, family: Family) -> _Mixture:
    intermediate = fields.integer(family.expert_width)
    for shared, name in _SHARED_FIELDS.items():
        if shared != family.shared and fields.integer(name, default=0, minimum=0):
            fields.problems.append(f"{name} is not known for this model type")
    if family.shared == "gated":
        shared = fields.integer("shared_expert_intermediate_size")
    elif family.shared == "count":
        shared = intermediate * fields.integer("n_shared_experts", minimum=0)
    else:
        shared = 0
    return _Mixture(
        n_experts=fields.integer(*_N_EXPERTS),
        top_k=fields.integer("num_experts_per_tok"),
        intermediate=intermediate,
        shared=shared,
    )
