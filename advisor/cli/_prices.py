"""Prices for a router, from a price file or from what a run recorded."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._arms import prices_of
from ._output import note

if TYPE_CHECKING:
    from calibration.cost.prices import Price as PriceRow
    from router import Price

__all__ = ["prices_for_router", "recorded_prices"]

_PER_MILLION = 1_000_000


def recorded_prices(provenance: Mapping[str, Any]) -> "dict[str, PriceRow]":
    """Return the price rows that a run was measured with, by model; none where none were given."""
    from calibration.cost.prices import Price as PriceRow

    found = [arm.get("price") for arm in provenance.get("arms", ())]
    rows = [PriceRow.model_validate(row) for row in found if row is not None]
    return {row.model: row for row in rows}


def prices_for_router(
    path: Path | None, recorded: "Mapping[str, PriceRow]", models: Collection[str]
) -> "dict[str, Price]":
    """Return the price per token of every model, as far as they are known.

    Args:
        path: Price file; what a run recorded counts without one.
        recorded: Price rows of the run, by model.
        models: The models to choose from.

    Raises:
        DataFileError: The file cannot be read.
        UnknownNameError: It has no price of a model.
    """
    from router import Price

    rows = dict(recorded) if path is None else prices_of(path, sorted(models))
    for row in rows.values():
        if row.tiers or row.reasoning != row.output_usd_per_million:
            note(
                f"note: a router prices all prompts and all generated tokens of {row.model} alike:"
                " its tiers and its own price of thoughts are left out"
            )
    return {
        model: Price(
            row.input_usd_per_million / _PER_MILLION, row.output_usd_per_million / _PER_MILLION
        )
        for model, row in rows.items()
        if model in models
    }
