"""Prices from the list that comes with litellm, without importing litellm.

Importing it takes seconds and may go online for a newer list; the list itself is one JSON file
inside the installed package, and its version is litellm's. That keeps a run's prices the same
tomorrow.
"""

import difflib
import importlib.metadata
import importlib.util
import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError

from policies import (
    ArtifactCorruptError,
    InvalidInputError,
    MissingPrerequisiteError,
    UnknownNameError,
)

from .prices import Price

__all__ = ["litellm_price"]

_FILE = "model_prices_and_context_window_backup.json"
_TIER = re.compile(r"_above_(\d+)k_tokens$")
_FIELDS = {
    "input_cost_per_token": "input_usd_per_million",
    "output_cost_per_token": "output_usd_per_million",
    "output_cost_per_reasoning_token": "reasoning_usd_per_million",
    "cache_read_input_token_cost": "cached_input_usd_per_million",
}


def litellm_price(model: str) -> Price:
    """Return a model's price from the installed litellm's list.

    Standard prices only: batch, flex and priority rates are left out.

    Args:
        model: Name as litellm writes it, such as `gpt-5` or `gemini/gemini-2.5-flash`.

    Raises:
        MissingPrerequisiteError: litellm is not installed.
        UnknownNameError: The list has no such model; close names are told.
        InvalidInputError: The model is not priced by the token, or by a scheme not known here.
    """
    table = _table()
    if model not in table:
        raise UnknownNameError("litellm model", model, _known(table, model))
    entry = table[model]
    if "tiered_pricing" in entry:
        raise InvalidInputError(
            f"litellm prices {model!r} by ranges of tokens, which are not read",
            hint="write its prices into a TOML file",
        )
    rows: dict[int, dict[str, Any]] = {0: {}}
    for key, value in entry.items():
        tier = _TIER.search(key)
        field = _FIELDS.get(key[: tier.start()] if tier else key)
        if field is not None and value is not None:
            rows.setdefault(int(tier.group(1)) * 1000 if tier else 0, {})[field] = _per_million(
                model, key, value
            )
    base = rows.pop(0)
    # A tier that is silent about a kind of token keeps its base price.
    tiers = [{**base, **row, "above_prompt_tokens": n} for n, row in sorted(rows.items())]
    version = importlib.metadata.version("litellm")
    source = f"litellm {version}, {_FILE}"
    if isinstance(page := entry.get("source"), str):
        source += f", from {page}"
    try:
        return Price.model_validate(
            {"model": model, "source": source, "date": None, "tiers": tiers, **base}
        )
    except ValidationError as error:
        raise InvalidInputError(
            f"litellm has no price by the token for {model!r}",
            hint="write its prices into a TOML file",
        ) from error


def _per_million(model: str, key: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidInputError(f"litellm's {key} of {model!r} is {value!r}, expected a number")
    # 1.25e-07 dollars by the token are 0.125 by the million, not 0.12499999999999999.
    return float(f"{value * 1_000_000:.12g}")


def _known(table: Mapping[str, Any], model: str) -> list[str]:
    """Return the names worth telling: thousands would hide the few that are close."""
    part = model.rpartition("/")[2].lower()
    inside = [name for name in table if part in name.lower()]
    return [*difflib.get_close_matches(model, table, n=5), *inside[:10]]


@cache
def _table() -> dict[str, dict[str, Any]]:
    spec = importlib.util.find_spec("litellm")
    if spec is None or not spec.submodule_search_locations:
        raise MissingPrerequisiteError.extra("litellm", "litellm")
    path = Path(spec.submodule_search_locations[0]) / _FILE
    try:
        return cast("dict[str, dict[str, Any]]", json.loads(path.read_text("utf-8")))
    except (OSError, ValueError) as error:
        raise ArtifactCorruptError(
            f"litellm's price list cannot be read: {error}",
            hint="install another litellm, or write the prices into a TOML file",
        ) from error
