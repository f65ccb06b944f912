"""Write a student's weights into the ONNX form of its size, without building the graph again.

All models of one size have one graph; only the numbers behind it differ, and those lie in a file
of their own. So the export of a student is a copy of that file with other numbers, which takes
milliseconds where the model builder takes half a minute. Needs the extra `train`.
"""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

__all__ = ["write_onnx"]

_COPIED = (
    "model.onnx",
    "genai_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "config.json",
)
_DATA = "model.onnx.data"
_COMPUTED = ("cos_cache", "sin_cache")
"""Initializers that depend on the shape alone."""


def write_onnx(weights: "Mapping[str, NDArray[np.float32]]", like: Path, target: Path) -> None:
    """Write the ONNX form of a model of the same shape and tokenizer as another one.

    Args:
        weights: Parameters by their names in transformers' Qwen3, in float32, tied embeddings.
        like: Folder of a model that the model builder exported.
        target: Receives the model's files.

    Raises:
        KeyError: The graph has a weight that `weights` lacks.
        ValueError: A weight has another shape, or one of `weights` has no place in the graph.
    """
    import numpy as np
    import onnx

    graph = onnx.load(str(like / "model.onnx"), load_external_data=False).graph
    data = bytearray((like / _DATA).read_bytes())
    unused = set(weights)
    for one in graph.initializer:
        place = {entry.key: entry.value for entry in one.external_data}
        if one.name in _COMPUTED or not place:
            continue
        names = _sources(one.name)
        unused -= set(names)
        parts = [weights[name] for name in names]
        matrix = np.concatenate(parts) if len(parts) > 1 else parts[0]
        value = np.ascontiguousarray(matrix.T, dtype="<f4")
        if list(value.shape) != list(one.dims) or value.nbytes != int(place["length"]):
            raise ValueError(f"{one.name} is {list(one.dims)} in the graph, not {value.shape}")
        start = int(place["offset"])
        data[start : start + value.nbytes] = value.tobytes()
    if unused:
        raise ValueError(f"the graph has no place for {', '.join(sorted(unused))}")
    target.mkdir(parents=True, exist_ok=True)
    for name in _COPIED:
        shutil.copyfile(like / name, target / name)
    (target / _DATA).write_bytes(data)


def _sources(name: str) -> tuple[str, ...]:
    """Return transformers' names of the parameters that an initializer is made of."""
    if name == "lm_head.MatMul.weight":
        return ("model.embed_tokens.weight",)
    if ".final_norm_layernorm." in name:
        return ("model.norm.weight",)
    layer = name.split(".attn.", maxsplit=1)[0].split(".mlp.", maxsplit=1)[0]
    if name.endswith("qkv_proj.MatMul.weight"):
        return tuple(f"{layer}.self_attn.{part}_proj.weight" for part in "qkv")
    plain = name.replace(".attn.", ".self_attn.").replace(".MatMul.weight", ".weight")
    return (plain.replace("_norm.layernorm.weight", "_norm.weight"),)
