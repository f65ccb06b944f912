"""Embedders by name, built in or from entry points of the group `thinkroute.embedders`."""

import inspect
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from .._errors import InvalidInputError, UnknownNameError
from ._protocol import Embedder

__all__ = ["build_embedder", "embedder_names"]

_BUILT_IN = {
    "openai": ("policies.embedding", "OpenAIEmbedder"),
    "transformers": ("policies.embedding", "LocalEmbedder"),
}
_GROUP = "thinkroute.embedders"


def embedder_names() -> list[str]:
    """Return the names of all embedders, built in and installed."""
    return sorted({*_BUILT_IN, *(point.name for point in entry_points(group=_GROUP))})


def build_embedder(name: str, model: str, **options: object) -> Embedder:
    """Return an embedder for a model.

    Args:
        name: Which embedder, such as `openai`.
        model: The model as the embedder names it.
        **options: What the embedder's class takes besides the model.

    Raises:
        UnknownNameError: No embedder has this name.
        InvalidInputError: It does not take these options, or lacks one.

    Example:
        >>> embedder = build_embedder("openai", "some-encoder", base_url="http://127.0.0.1:8000/v1")
        >>> embedder.name, embedder.model
        ('openai', 'some-encoder')
    """
    factory = _factory(name)
    try:
        inspect.signature(factory).bind(model=model, **options)
    except TypeError as error:
        raise InvalidInputError(
            f"embedder {name!r} cannot be made: {error}",
            hint=f"it takes {', '.join(inspect.signature(factory).parameters)}",
            code="invalid-embedder-options",
        ) from error
    return factory(model=model, **options)


def _factory(name: str) -> Callable[..., Embedder]:
    if name in _BUILT_IN:
        module, attribute = _BUILT_IN[name]
        factory: Any = getattr(import_module(module), attribute)
        return factory
    for point in entry_points(group=_GROUP, name=name):
        return point.load()
    raise UnknownNameError("embedder", name, embedder_names())
