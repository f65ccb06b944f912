"""Parsed JSON without surprises."""

from collections.abc import Mapping
from typing import TypeAlias, cast

__all__ = ["Json", "fields_of"]

Json: TypeAlias = (
    "bool | int | float | str | list[Json] | tuple[Json, ...] | Mapping[str, Json] | None"
)


def fields_of(value: object) -> Mapping[str, object]:
    """Return a JSON object's fields, none if the value is something else."""
    return cast("Mapping[str, object]", value) if isinstance(value, Mapping) else {}
