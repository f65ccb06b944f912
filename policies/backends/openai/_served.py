"""What a server tells about itself: the models it lists, and its version."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from .._json import fields_of
from ..http_errors import Origin

__all__ = ["ServedModel", "read_models", "read_version"]


@dataclass(frozen=True, slots=True)
class ServedModel:
    """What a server's list tells of a model; `root` may be empty and `context` unknown."""

    root: str = ""
    context: int | None = None


def read_models(document: object, origin: Origin) -> Mapping[str, ServedModel]:
    """Return the models that a server lists, by name.

    Raises:
        BackendResponseError: It is no list.
    """
    data = fields_of(document).get("data")
    if not isinstance(data, list):
        raise origin.nonsense("it is no list of models")
    models: dict[str, ServedModel] = {}
    for item in cast("list[object]", data):
        entry = fields_of(item)
        name, root, context = (entry.get(key) for key in ("id", "root", "max_model_len"))
        if isinstance(name, str):
            models[name] = ServedModel(
                root if isinstance(root, str) else "",
                context if isinstance(context, int) and context > 0 else None,
            )
    return models


def read_version(document: object, _origin: Origin) -> str:
    """Return a server's version, "" if it tells none."""
    version = fields_of(document).get("version")
    return version if isinstance(version, str) else ""
