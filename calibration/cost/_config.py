"""Read the shape of a network from a Hugging Face configuration."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar, cast

from policies import InvalidInputError

from ._families import FAMILIES, Family
from ._layer import Layer

__all__ = ["ParsedConfig", "parse_config"]

_Entry = TypeVar("_Entry", str, int)

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


class _Fields:
    """Fields of one configuration; collects what is wrong with them, to say it all at once."""

    def __init__(self, config: Mapping[str, object]) -> None:
        self._config = config
        self.problems: list[str] = []

    def has(self, name: str) -> bool:
        return self._config.get(name) is not None

    def mentions(self, name: str) -> bool:
        return name in self._config

    def integer(self, *names: str, default: int | None = None, minimum: int = 1) -> int:
        """Return the first field present; without a default its absence is a problem."""
        for name in names:
            value = self._config.get(name)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
                self.problems.append(f"{name}={value!r} is not an integer >= {minimum}")
                return minimum
            return value
        if default is None:
            self.problems.append(f"{' or '.join(names)} is missing")
            return minimum
        return default

    def boolean(self, name: str, *, default: bool) -> bool:
        value = self._config.get(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            self.problems.append(f"{name}={value!r} is not true or false")
            return default
        return value

    def sequence(self, name: str, kind: type[_Entry]) -> list[_Entry] | None:
        value = self._config.get(name)
        if value is None:
            return None
        entries = cast("list[object]", value) if isinstance(value, list | tuple) else [None]
        found = [entry for entry in entries if isinstance(entry, kind)]
        if len(found) < len(entries):
            self.problems.append(f"{name} is not a list of {kind.__name__}")
            return None
        return found

    def raise_problems(self) -> None:
        if self.problems:
            raise InvalidInputError(
                f"configuration cannot be used: {'; '.join(self.problems)}",
                hint="give the checkpoint's own config.json",
                code="invalid-model-config",
            )


def parse_config(config: Mapping[str, object]) -> ParsedConfig:
    """Return the shape that a configuration describes.

    Raises:
        InvalidInputError: A field is missing or malformed, or the network is of a kind whose
            costs are not modelled.
    """
    text = _text_config(config)
    family = _family(text)
    fields = _Fields(text)
    hidden = fields.integer("hidden_size")
    vocab = fields.integer("vocab_size")
    n_layers = fields.integer("num_hidden_layers")
    if n_layers > _MAX_LAYERS:
        fields.problems.append(f"num_hidden_layers={n_layers} is more than {_MAX_LAYERS}")
    is_tied = fields.boolean("tie_word_embeddings", default=family.is_tied_default)
    fields.raise_problems()
    layers = _layers(fields, family, hidden, n_layers)
    return ParsedConfig(hidden, vocab, layers, is_tied, n_other_params=hidden)


def _text_config(config: Mapping[str, object]) -> Mapping[str, object]:
    inner = config.get("text_config")
    if not isinstance(inner, Mapping):
        return config
    text = dict(cast("Mapping[str, object]", inner))
    if "tie_word_embeddings" in config:
        text["tie_word_embeddings"] = config["tie_word_embeddings"]
    return text


def _family(config: Mapping[str, object]) -> Family:
    for name in ("kv_lora_rank", "q_lora_rank"):
        if config.get(name) is not None:
            raise _unsupported(f"latent attention ({name}={config[name]!r})")
    types = config.get("layer_types")
    is_list = isinstance(types, list | tuple)
    kinds = {str(kind) for kind in cast("list[object]", types)} if is_list else set[str]()
    if strange := sorted(kinds - {"full_attention", "sliding_attention"}):
        raise _unsupported(f"layers of type {', '.join(strange)}")
    model_type = config.get("model_type")
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


def _layers(fields: _Fields, family: Family, hidden: int, n_layers: int) -> tuple[Layer, ...]:
    n_heads = fields.integer("num_attention_heads")
    is_given = fields.mentions("num_key_value_heads") or not family.requires_kv_heads
    n_kv_heads = fields.integer("num_key_value_heads", default=n_heads if is_given else None)
    head_dim = _head_dim(fields, family, hidden, n_heads)
    windows = _windows(fields, family, n_layers)
    sparse = _sparse_layers(fields, family, n_layers)
    intermediate = 0 if all(sparse) else fields.integer("intermediate_size")
    mixture = _mixture(fields, family) if any(sparse) else _NO_MIXTURE
    mlp_bias = family.has_mlp_bias_option and fields.boolean("mlp_bias", default=False)
    other = family.norms * hidden
    other += _attention_extras(fields, family, hidden, (n_heads, n_kv_heads, head_dim))
    other += 2 * intermediate + hidden if mlp_bias else 0
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
            n_other_params=other + (router_bias if is_sparse else 0),
        )
        for window, is_sparse in zip(windows, sparse, strict=True)
    )


def _head_dim(fields: _Fields, family: Family, hidden: int, n_heads: int) -> int:
    if fields.has("head_dim") or family.requires_head_dim:
        return fields.integer("head_dim")
    if hidden % n_heads:
        fields.problems.append(
            f"head_dim is missing, and hidden_size={hidden} is no multiple of {n_heads} heads"
        )
    return max(hidden // n_heads, 1)


def _attention_extras(
    fields: _Fields, family: Family, hidden: int, heads: tuple[int, int, int]
) -> int:
    """Return the parameters of attention outside its matrices: biases, norms, sinks."""
    n_heads, n_kv_heads, head_dim = heads
    has_bias = (
        fields.boolean(family.qkv_bias, default=family.qkv_bias_default)
        if isinstance(family.qkv_bias, str)
        else family.qkv_bias
    )
    extras = (n_heads + 2 * n_kv_heads) * head_dim if has_bias else 0
    extras += hidden if has_bias and family.has_output_bias else 0
    extras += n_heads if family.has_sinks else 0
    if family.qk_norm == "full":
        extras += (n_heads + n_kv_heads) * head_dim
    elif family.qk_norm == "head" or (
        family.qk_norm == "option" and fields.boolean("use_qk_norm", default=False)
    ):
        extras += 2 * head_dim
    return extras


def _windows(fields: _Fields, family: Family, n_layers: int) -> list[int | None]:
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
    elif not fields.has("sliding_window") and family.windows in ("all", "late"):
        return [None] * n_layers
    else:
        is_sliding = _default_sliding(fields, family, n_layers)
    window = fields.integer("sliding_window") if any(is_sliding) else None
    return [window if sliding else None for sliding in is_sliding]


def _default_sliding(fields: _Fields, family: Family, n_layers: int) -> list[bool]:
    if family.windows == "late":
        first = fields.integer("max_window_layers", minimum=0)
        return [index >= first for index in range(n_layers)]
    if family.windows == "alternate":
        return [index % 2 == 0 for index in range(n_layers)]
    if family.windows == "pattern":
        pattern = fields.integer("sliding_window_pattern", default=6)
        return [(index + 1) % pattern != 0 for index in range(n_layers)]
    if family.windows == "given":
        fields.problems.append("layer_types is missing, and use_sliding_window is true")
    return [True] * n_layers


def _sparse_layers(fields: _Fields, family: Family, n_layers: int) -> list[bool]:
    """Return which layers have experts."""
    if family.experts == "none":
        return [False] * n_layers
    if family.experts == "all":
        return [True] * n_layers
    if family.experts == "after_dense":
        first = fields.integer("first_k_dense_replace", minimum=0)
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


def _mixture(fields: _Fields, family: Family) -> _Mixture:
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
