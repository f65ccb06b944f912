"""Parameters of a checkpoint, counted from the headers of its safetensors files.

A header is a few kilobytes of JSON in front of the weights, so nothing else is read.

Source: the safetensors format, https://huggingface.co/docs/safetensors (8 bytes little-endian
header size, JSON of `dtype`, `shape` and `data_offsets` per tensor, data).
"""

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from policies import DataFileError, InvalidInputError

from .architecture import Architecture

__all__ = [
    "MAX_DIFFERENCE",
    "ParameterCheck",
    "TensorHeader",
    "check_parameters",
    "read_checkpoint_header",
]

MAX_DIFFERENCE = 0.01
"""Largest relative difference between formula and checkpoint that is let through."""

_MAX_HEADER_BYTES = 100_000_000  # the format's own limit
_BITS = {
    "F64": 64,
    "F32": 32,
    "F16": 16,
    "BF16": 16,
    "F8_E4M3": 8,
    "F8_E5M2": 8,
    "F8_E8M0": 8,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
    "F4": 4,
    "I64": 64,
    "U64": 64,
    "I32": 32,
    "U32": 32,
    "I16": 16,
    "U16": 16,
    "I8": 8,
    "U8": 8,
    "BOOL": 8,
    "C64": 64,
}
_WEIGHT_TYPES = {"F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2", "I8"}
_OTHER_NETWORK = re.compile(
    r"(^|\.)(visual|vision\w*|image\w*|audio\w*|speech\w*|multi_modal_projector|mm_projector"
    r"|embed_vision|embed_audio|mtp\w*)(\.|$)"
)
# Not learnt by gradient, or scales that belong to another tensor's number format.
_BUFFER = re.compile(r"(rotary_emb\.inv_freq|e_score_correction_bias|_scales?|_scale_inv)$")
_LAYER = re.compile(r"(?:^|\.)layers\.(\d+)\.")
_MXFP4 = "_blocks"


@dataclass(frozen=True, slots=True)
class TensorHeader:
    """One stored tensor.

    Attributes:
        dtype: Number format as safetensors names it, such as `BF16`.
        shape: Its sizes; empty for a scalar.
    """

    dtype: str
    shape: tuple[int, ...]

    @property
    def n_elements(self) -> int:
        """Stored numbers."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class ParameterCheck:
    """Parameters of the formula against those of a checkpoint.

    Attributes:
        n_expected: What the architecture has.
        n_found: What the checkpoint's text network has.
        set_aside: Tensors that are no part of that: buffers, scales, a second copy of a tied
            embedding, speculative layers, other networks (vision, audio).
    """

    n_expected: int
    n_found: int
    set_aside: tuple[str, ...] = ()

    @property
    def difference(self) -> float:
        """`|expected - found| / found`."""
        return abs(self.n_expected - self.n_found) / self.n_found


def check_parameters(
    architecture: Architecture, checkpoint: Mapping[str, TensorHeader] | Path | str
) -> ParameterCheck:
    """Compare an architecture's parameter count with what a checkpoint really holds.

    8-bit weights count as they are stored, and MXFP4 blocks as two parameters a byte; other packed
    formats are refused, since their headers do not tell how many weights a word holds.

    Args:
        architecture: What was read from `config.json`.
        checkpoint: Headers by tensor name, a `.safetensors` file, or the folder of one.

    Returns:
        Both counts; they differ by at most 1%.

    Raises:
        InvalidInputError: The counts differ by more than 1% (`parameter-mismatch`), or the
            weights are packed (`quantised-checkpoint`).
        DataFileError: A file is missing, cut off or no safetensors file.
    """
    headers = checkpoint if isinstance(checkpoint, Mapping) else read_checkpoint_header(checkpoint)
    n_found = 0
    set_aside: list[str] = []
    for name, header in headers.items():
        if _is_aside(name, architecture, headers):
            set_aside.append(name)
        else:
            n_found += _n_params(name, header)
    if n_found == 0:
        raise InvalidInputError(
            f"the checkpoint holds no weights of a text network among {len(headers)} tensors"
        )
    check = ParameterCheck(architecture.n_params, n_found, tuple(set_aside))
    if check.difference > MAX_DIFFERENCE:
        raise InvalidInputError(
            f"config.json means {check.n_expected:,} parameters, the checkpoint holds"
            f" {check.n_found:,} ({check.difference:.1%} apart, at most {MAX_DIFFERENCE:.0%}"
            " expected)",
            hint="give the config.json of this very checkpoint",
            code="parameter-mismatch",
        )
    return check


def read_checkpoint_header(path: Path | str) -> dict[str, TensorHeader]:
    """Return the header of every tensor of a checkpoint, without reading any weights.

    Args:
        path: A `.safetensors` file, or a folder with `model.safetensors` or with shards and
            their `model.safetensors.index.json`.

    Raises:
        DataFileError: A file is missing, cut off or no safetensors file, or the index and the
            shards do not name the same tensors.
    """
    path = Path(path)
    if not path.is_dir():
        return _read_file(path)
    index = path / "model.safetensors.index.json"
    if not index.exists():
        return _read_file(path / "model.safetensors")
    places = _read_index(index)
    headers: dict[str, TensorHeader] = {}
    for shard in sorted(set(places.values())):
        headers |= _read_file(path / shard)
    if different := sorted(set(places) ^ set(headers)):
        raise DataFileError(
            f"{len(different)} tensors are not in both index and shards, {different[0]!r} first",
            path=index,
            hint="download the checkpoint again",
        )
    return headers


def _is_aside(name: str, architecture: Architecture, headers: Mapping[str, TensorHeader]) -> bool:
    if _BUFFER.search(name) or _OTHER_NETWORK.search(name):
        return True
    layer = _LAYER.search(name)
    if layer and int(layer.group(1)) >= len(architecture.layers):
        return True  # layers beyond the network's own predict several tokens ahead
    is_output = name == "lm_head.weight" or name.endswith(".lm_head.weight")
    return (
        is_output
        and architecture.is_tied
        and any(n.endswith("embed_tokens.weight") for n in headers)
    )


def _n_params(name: str, header: TensorHeader) -> int:
    if name.endswith(_MXFP4) and header.dtype == "U8":
        return 2 * header.n_elements
    if header.dtype not in _WEIGHT_TYPES:
        raise InvalidInputError(
            f"the weights are packed: tensor {name!r} is {header.dtype}, whose header does not tell"
            " how many weights it holds",
            hint="check the parameters against the unquantised checkpoint",
            code="quantised-checkpoint",
        )
    return header.n_elements


def _read_index(path: Path) -> dict[str, str]:
    try:
        content: object = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataFileError(f"cannot be read: {error}", path=path) from error
    places = cast("dict[str, object]", content).get("weight_map") if _is_object(content) else None
    if not isinstance(places, dict) or not places:
        raise DataFileError("weight_map is missing or empty", path=path)
    found: dict[str, str] = {}
    for name, shard in cast("dict[str, object]", places).items():
        # An index comes from the internet: it must not point outside its folder.
        if not isinstance(shard, str) or Path(shard).name != shard or shard in {"", ".", ".."}:
            raise DataFileError(f"weight_map names {shard!r}, expected a file name", path=path)
        found[name] = shard
    return found


def _read_file(path: Path) -> dict[str, TensorHeader]:
    try:
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            n_bytes = path.stat().st_size
            if n_bytes < 8 or not 0 < size <= min(_MAX_HEADER_BYTES, n_bytes - 8):
                raise DataFileError("is no safetensors file, or is cut off", path=path)
            raw = file.read(size)
    except OSError as error:
        raise DataFileError(
            f"cannot be read: {error.strerror}", path=path, hint="give a safetensors checkpoint"
        ) from error
    try:
        content: object = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise DataFileError(f"has a broken header: {error}", path=path) from error
    if not _is_object(content):
        raise DataFileError("has a header that is no JSON object", path=path)
    entries = [
        (name, entry)
        for name, entry in cast("dict[str, object]", content).items()
        if name != "__metadata__"
    ]
    ends: list[int] = [0]
    headers: dict[str, TensorHeader] = {}
    for name, entry in entries:
        headers[name], end = _parse_entry(path, name, entry)
        ends.append(end)
    if 8 + size + max(ends) != n_bytes:
        raise DataFileError(
            f"has {n_bytes} bytes where its header expects {8 + size + max(ends)}",
            path=path,
            hint="download the file again",
        )
    return headers


def _parse_entry(path: Path, name: str, entry: object) -> tuple[TensorHeader, int]:
    """Return a tensor's header and where its data end."""
    fields = cast("dict[str, object]", entry) if _is_object(entry) else {}
    dtype, shape, offsets = (fields.get(key) for key in ("dtype", "shape", "data_offsets"))
    if not (
        isinstance(dtype, str)
        and dtype in _BITS
        and isinstance(shape, list)
        and isinstance(offsets, list)
        and _are_sizes(sizes := cast("list[object]", shape))
        and _are_sizes(places := cast("list[object]", offsets))
        and len(places) == 2
    ):
        raise DataFileError(f"has a broken entry for tensor {name!r}", path=path)
    header = TensorHeader(dtype, tuple(cast("list[int]", sizes)))
    begin, end = cast("list[int]", places)
    if (end - begin) * 8 != header.n_elements * _BITS[dtype]:
        raise DataFileError(f"tensor {name!r} has another size than its shape says", path=path)
    return header, end


def _is_object(value: object) -> bool:
    return isinstance(value, dict)


def _are_sizes(values: Iterable[object]) -> bool:
    return all(
        isinstance(value, int) and not isinstance(value, bool) and value >= 0 for value in values
    )
