# huggingface_hub comes with the libraries that need it.
# pyright: reportMissingImports=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
"""The folder a model is loaded from, and hashes that tell one model from another."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import cast

from .._errors import (
    ArtifactCorruptError,
    BackendConnectionError,
    InvalidInputError,
    MissingPrerequisiteError,
)
from ._json import fields_of

__all__ = ["checked_model", "checkpoint_identity", "file_hash", "read_fields", "resolve_checkpoint"]

_CONFIG = ("config.json", "generation_config.json")
_TOKENIZER = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
)
_SAFETENSORS = ("*.safetensors", "*.safetensors.index.json")
_OLD_WEIGHTS = "*.bin"
_ADAPTER = ("adapter_config.json", "adapter_model.safetensors", "adapter_model.bin")

# A file up to this size is hashed whole; of a larger one the beginning (a safetensors header
# lies there) and evenly spaced blocks, so that hashing 100 GB of weights takes seconds.
_WHOLE_BYTES = 64 * 2**20
_HEAD_BYTES = 2**20
_N_BLOCKS = 256
_BLOCK_BYTES = 2**14


def checked_model(model: str | Path, adapter: str | Path | None) -> str:
    """Return the model as a string, after checking what can be checked without loading it.

    Args:
        model: A folder, or `organisation/name` of a model hub.
        adapter: A folder with a LoRA adapter.

    Raises:
        InvalidInputError: A folder is not there or holds no model or no adapter.
    """
    name = str(model)
    if not name.strip():
        raise InvalidInputError("the model's name is empty", hint="give a folder or owner/name")
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise InvalidInputError(
                f"the folder {name!r} holds no config.json",
                hint="give the folder with config.json, tokenizer and safetensors",
            )
        name = str(folder)
    elif isinstance(model, Path) or not _is_hub_name(name):
        raise InvalidInputError(
            f"there is no model folder {name!r}",
            hint="give an existing folder, or owner/name of a model hub",
        )
    if adapter is not None and not (Path(adapter).expanduser() / _ADAPTER[0]).is_file():
        raise InvalidInputError(
            f"the folder {str(adapter)!r} holds no {_ADAPTER[0]}",
            hint="give the folder that the adapter was saved to",
        )
    return name


def resolve_checkpoint(
    model: str, revision: str | None, *, backend: str
) -> tuple[Path, Mapping[str, str]]:
    """Return the folder with the model's files, and where it comes from.

    A hub name is downloaded once, at one revision, so that what is hashed is what runs.

    Raises:
        BackendConnectionError: The hub does not give the model.
        MissingPrerequisiteError: The library that asks the hub is not installed.
    """
    folder = Path(model)
    if folder.is_dir():
        return folder, {"checkpoint": str(folder.resolve())}
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
    except ImportError as error:
        raise MissingPrerequisiteError.extra(backend, "huggingface_hub") from error

    def download(*patterns: str) -> Path:
        # Weights in subfolders and `consolidated` ones are copies in other formats.
        skipped = ["*/*", "consolidated*"]
        return Path(
            snapshot_download(
                model, revision=revision, allow_patterns=list(patterns), ignore_patterns=skipped
            )
        )

    try:
        folder = download(*_CONFIG, *_TOKENIZER, *_SAFETENSORS, "*.py")
        if not any(folder.glob(_SAFETENSORS[0])):
            folder = download(_OLD_WEIGHTS)
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        raise BackendConnectionError(
            f"the model {model!r} cannot be had from the hub: {_first_line(error)}",
            backend=backend,
            model=model,
            hint="check name, revision and network, or give a folder",
        ) from error
    return folder, {"checkpoint": model, "revision": folder.name}


def checkpoint_identity(folder: Path, adapter: str | Path | None) -> Mapping[str, str]:
    """Return hashes of configuration, tokenizer with template, weights and adapter.

    Weight files above 64 MiB are hashed in part: the first MiB, 256 blocks of 16 KiB spread
    evenly, and the size. Training changes nearly every weight, so that tells two trained models
    of one shape apart; a hand edit that falls between the blocks is not seen.
    """
    found = {
        "config_sha256": file_hash(folder / name for name in _CONFIG),
        "tokenizer_sha256": file_hash(folder / name for name in _TOKENIZER),
        "weights_sha256": file_hash(
            sorted(
                path for pattern in (*_SAFETENSORS, _OLD_WEIGHTS) for path in folder.glob(pattern)
            )
        ),
    }
    if adapter is not None:
        place = Path(adapter).expanduser()
        found["adapter_sha256"] = file_hash(place / name for name in _ADAPTER)
    return found


def file_hash(paths: Iterable[Path]) -> str:
    """Return one hash over names, sizes and contents of those files that exist."""
    digest = hashlib.sha256()
    for path in paths:
        if not path.is_file():
            continue
        size = path.stat().st_size
        digest.update(f"{path.name}\0{size}\0".encode())
        with path.open("rb") as file:
            if size <= _WHOLE_BYTES:
                while chunk := file.read(_HEAD_BYTES):
                    digest.update(chunk)
                continue
            digest.update(file.read(_HEAD_BYTES))
            step = (size - _HEAD_BYTES - _BLOCK_BYTES) // (_N_BLOCKS - 1)
            for index in range(_N_BLOCKS):
                file.seek(_HEAD_BYTES + index * step)
                digest.update(file.read(_BLOCK_BYTES))
    return digest.hexdigest()


def read_fields(path: Path) -> Mapping[str, object]:
    """Return the fields of a JSON file, none if there is no such file.

    Raises:
        ArtifactCorruptError: It is no JSON.
    """
    if not path.is_file():
        return {}
    try:
        return fields_of(cast("object", json.loads(path.read_text(encoding="utf-8"))))
    except ValueError as error:
        raise ArtifactCorruptError(f"{path} is no JSON: {error}") from error


def _is_hub_name(name: str) -> bool:
    owner, slash, rest = name.partition("/")
    return bool(owner and slash and rest) and "/" not in rest and owner[0] not in ".~"


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
