"""Values as JSON can hold them."""

import math
from collections.abc import Iterable, Mapping
from typing import cast

__all__ = ["json_values"]


def json_values(value: object) -> object:
    """Return mappings as objects, lists and tuples as lists, and what is not finite as null."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        items = cast("Mapping[object, object]", value).items()
        return {str(key): json_values(item) for key, item in items}
    if isinstance(value, list | tuple):
        return [json_values(item) for item in cast("Iterable[object]", value)]
    return value
