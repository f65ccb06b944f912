"""Shapes of published models, so that costs can be told without a download.

Source: each model's `config.json` on huggingface.co under `Qwen/`; the resulting parameter counts
are compared with the published ones in `tests/calibration/test_architecture.py`.
"""

from functools import cache
from typing import NamedTuple

from policies import UnknownNameError

from .architecture import Architecture

__all__ = ["known_architecture", "known_architecture_names"]


class _Shape(NamedTuple):
    vocab: int
    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    is_tied: bool


_QWEN25 = {
    "Qwen2.5-0.5B": _Shape(151_936, 896, 4864, 24, 14, 2, True),
    "Qwen2.5-1.5B": _Shape(151_936, 1536, 8960, 28, 12, 2, True),
    "Qwen2.5-3B": _Shape(151_936, 2048, 11_008, 36, 16, 2, True),
    "Qwen2.5-7B": _Shape(152_064, 3584, 18_944, 28, 28, 4, False),
    "Qwen2.5-14B": _Shape(152_064, 5120, 13_824, 48, 40, 8, False),
    "Qwen2.5-32B": _Shape(152_064, 5120, 27_648, 64, 40, 8, False),
}
_QWEN3 = {
    "Qwen3-0.6B": _Shape(151_936, 1024, 3072, 28, 16, 8, True),
    "Qwen3-1.7B": _Shape(151_936, 2048, 6144, 28, 16, 8, True),
    "Qwen3-4B": _Shape(151_936, 2560, 9728, 36, 32, 8, True),
    "Qwen3-8B": _Shape(151_936, 4096, 12_288, 36, 32, 8, False),
    "Qwen3-14B": _Shape(151_936, 5120, 17_408, 40, 40, 8, False),
    "Qwen3-32B": _Shape(151_936, 5120, 25_600, 64, 64, 8, False),
}
_QWEN3_MOE = {
    # The intermediate size of a mixture is that of one expert.
    "Qwen3-30B-A3B": _Shape(151_936, 2048, 768, 48, 32, 4, False),
}
_QWEN3_HEAD_DIM = 128
_NAMES = {name.lower(): name for name in (*_QWEN25, *_QWEN3, *_QWEN3_MOE)}


def known_architecture_names() -> list[str]:
    """Return the names of all shipped architectures, by family and size."""
    return list(_NAMES.values())


def known_architecture(name: str) -> Architecture:
    """Return a shipped architecture by the model's name.

    Args:
        name: Such as `Qwen2.5-3B`; letter case, a leading `Qwen/` and a trailing `-Instruct` or
            `-Base` do not matter, since they do not change the shape.

    Raises:
        UnknownNameError: There is none of this name; the error lists close ones.

    Example:
        >>> known_architecture("Qwen/Qwen3-8B-Base").n_params
        8190735360
    """
    key = name.strip().lower().removeprefix("qwen/")
    key = key.removesuffix("-instruct").removesuffix("-base")
    if key not in _NAMES:
        raise UnknownNameError("architecture", name, known_architecture_names())
    return _build(_NAMES[key])


@cache
def _build(name: str) -> Architecture:
    shape = _QWEN25.get(name) or _QWEN3.get(name) or _QWEN3_MOE[name]
    config: dict[str, object] = {
        "vocab_size": shape.vocab,
        "hidden_size": shape.hidden,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "tie_word_embeddings": shape.is_tied,
    }
    if name in _QWEN25:
        config |= {"model_type": "qwen2", "intermediate_size": shape.intermediate}
    elif name in _QWEN3:
        config |= {
            "model_type": "qwen3",
            "intermediate_size": shape.intermediate,
            "head_dim": _QWEN3_HEAD_DIM,
        }
    else:
        config |= {
            "model_type": "qwen3_moe",
            "moe_intermediate_size": shape.intermediate,
            "head_dim": _QWEN3_HEAD_DIM,
            "num_experts": 128,
            "num_experts_per_tok": 8,
        }
    return Architecture.from_config(config)
