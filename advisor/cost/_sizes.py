"""A network for every size: read from its architecture, or put between known ones.

A recommendation compares sizes, and some of them have no published architecture. All of them are
costed by one formula, the matrix products with causal attention, so that they compare; only where
the coefficients come from differs. `6 N D` would be simpler, but what it leaves out depends on
size and length, so it is no common measure; it is shown beside the exact figure instead.
"""

import math
from collections.abc import Mapping
from functools import cache, lru_cache
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple, TypeAlias

from calibration.cost import Architecture, known_architecture, known_architecture_names
from policies import InvalidInputError, ModelSize, UnknownNameError

from ._network import Network, network_of

__all__ = ["Model", "network", "network_at"]

Model: TypeAlias = Architecture | ModelSize | Network | str
"""What a cost can be asked for: a size such as `4B`, a known model's name, or an architecture."""

_FAMILY = {
    500_000_000: "Qwen2.5-0.5B",
    1_500_000_000: "Qwen2.5-1.5B",
    3_000_000_000: "Qwen2.5-3B",
    7_000_000_000: "Qwen2.5-7B",
    14_000_000_000: "Qwen2.5-14B",
    32_000_000_000: "Qwen2.5-32B",
}
"""Models by printed size. Source: the students of arXiv 2509.22193v2, section 2.1, and the next."""

_SMALLEST, _LARGEST = 100_000_000, 100_000_000_000

_POCKET = ("pocket-xs", "pocket-s", "pocket-m")
"""Shipped models that stand in for sizes below 0.1B, smallest first."""

_SAME_SIZE = 0.01

_GROWTH: Mapping[str, float] = {
    "n_params": 1.0,
    "n_active_params": 1.0,
    "n_product_params": 1.0,
    "n_logit_params": 1 / 3,
    "prefill_pairs": 2 / 3,
    "decode_pairs": 2 / 3,
    "cached_values": 2 / 3,
    "residual_values": 2 / 3,
    "n_heads": 2 / 3,
    "kept_bytes": 2 / 3,
    "most_kept_bytes": 1 / 3,
    "largest_layer_params": 2 / 3,
    "adapter_params": 2 / 3,
    "active_adapter_params": 2 / 3,
    "vocab": 0.0,
}
"""Power of N by which each coefficient grows where width h and depth L grow together.

Source: arithmetic. N is about L h^2, so either grows as N^(1/3); products such as L h as
N^(2/3), and a matrix of h x h as well.
"""


class _Knot(NamedTuple):
    """A size at which the coefficients are known.

    Attributes:
        n_params: The size, as a label or as an exact count.
        name: The model.
        values: Its coefficients by field.
    """

    n_params: int
    name: str
    values: Mapping[str, float]


def network(model: Model) -> Network:
    """Return the coefficients that a model's costs are computed with.

    A size means the Qwen2.5 model of that label: `3B` is Qwen2.5-3B with its 3,085,938,688
    parameters, whether 3B or 3.086B is asked for. Between two of them each coefficient is linear
    in log size on the log scale, so that no cost ever falls as the size grows; below 0.5B and
    above 32B width and depth grow together.

    Args:
        model: An architecture, a size, or as text a size (`"4B"`) or a known model's name.

    Raises:
        InvalidInputError: A size outside 0.1B-100B.
        UnknownNameError: Text that is neither a size nor a known name; close names are told.

    Example:
        >>> network("3B").name, network("4B").basis
        ('Qwen2.5-3B', 'interpolated')
    """
    if isinstance(model, Network):
        return model
    if isinstance(model, Architecture):
        return network_of(model, _name_of(model))
    if isinstance(model, ModelSize):
        return _sized(model)
    text = model.strip()
    if text[:1].isdigit():
        return _sized(ModelSize.parse(text))
    try:
        return network_of(known_architecture(text), _printed_name(text))
    except UnknownNameError as error:
        hint = f"{error.hint}; or give a size such as 4B"
        raise _with_hint(error, hint) from None


def network_at(size: ModelSize) -> Network:
    """Return the coefficients for a size that may also lie below 0.1B, where nothing is published.

    The shipped pocket models are networks like any other: within 1% of one of them a size means
    it. Between two of them, and between the largest and Qwen2.5-0.5B, each coefficient is linear
    in log size on the log scale; below the smallest, width and depth shrink together. From 0.1B
    up it is `network`.

    Raises:
        InvalidInputError: A size above 100B.

    Example:
        >>> network_at(ModelSize(2_131_712)).name
        'pocket-m'
    """
    return _small(size) if size.n_params < _SMALLEST else network(size)


@lru_cache(maxsize=64)
def _small(size: ModelSize) -> Network:
    pocket = _pocket_networks()
    for known in pocket:
        if abs(size.n_params / known.n_params - 1) <= _SAME_SIZE:
            return known
    knots = [_knot_of(known, round(known.n_params)) for known in pocket]
    if size.n_params < knots[0].n_params:
        return _extrapolated(size, knots[0])
    knots.append(_knots()[0])
    above = next(i for i, knot in enumerate(knots) if knot.n_params > size.n_params)
    return _between(size, knots[above - 1], knots[above])


@cache
def _pocket_networks() -> tuple[Network, ...]:
    """Return the shipped pocket models, smallest first."""
    folder = Path(str(files("policies"))) / "pocket_models"
    return tuple(
        network_of(Architecture.from_config(folder / name / "config.json"), name)
        for name in _POCKET
    )


def _with_hint(error: UnknownNameError, hint: str) -> UnknownNameError:
    error.hint = hint
    return error


def _printed_name(text: str) -> str:
    """Return a model's name as it was asked for, without the owner."""
    return text.rpartition("/")[2]


@lru_cache(maxsize=64)
def _name_of(architecture: Architecture) -> str:
    for name in known_architecture_names():
        if known_architecture(name) == architecture:
            return name
    return f"a given architecture of {ModelSize(architecture.n_params)}"


@lru_cache(maxsize=256)
def _sized(size: ModelSize) -> Network:
    n_params = size.n_params
    if not _SMALLEST <= n_params <= _LARGEST:
        raise InvalidInputError(
            f"model size {size} is outside 0.1B-100B, so no architecture can stand in for it",
            hint="give its architecture: Architecture.from_config('config.json')",
            code="invalid-size",
        )
    if n_params in _FAMILY:
        return network_of(known_architecture(_FAMILY[n_params]), _FAMILY[n_params])
    knots = _knots()
    if n_params < knots[0].n_params:
        return _extrapolated(size, knots[0])
    if n_params > knots[-1].n_params:
        return _extrapolated(size, knots[-1])
    above = next(i for i, knot in enumerate(knots) if knot.n_params >= n_params)
    low, high = knots[max(above - 1, 0)], knots[above]
    if low.name == high.name or high.n_params == n_params:
        return network_of(known_architecture(high.name), high.name)
    return _between(size, low, high)


def _between(size: ModelSize, low: _Knot, high: _Knot) -> Network:
    weight = math.log(size.n_params / low.n_params) / math.log(high.n_params / low.n_params)
    values = {
        field: math.exp((1 - weight) * math.log(low.values[field]) + weight * math.log(value))
        for field, value in high.values.items()
    }
    return _made(size, "interpolated", f"between {low.name} and {high.name}", values)


def _extrapolated(size: ModelSize, end: _Knot) -> Network:
    growth = size.n_params / end.n_params
    values = {field: value * growth ** _GROWTH[field] for field, value in end.values.items()}
    detail = f"from {end.name}, width and depth growing together"
    return _made(size, "extrapolated", detail, values)


def _made(size: ModelSize, basis: str, detail: str, values: Mapping[str, float]) -> Network:
    lists = {"prefill_pairs", "decode_pairs", "cached_values"}
    single = {field: value for field, value in values.items() if field not in lists}
    return Network(
        name=str(size),
        basis="interpolated" if basis == "interpolated" else "extrapolated",
        detail=f"{basis} {detail}",
        prefill_pairs=((None, values["prefill_pairs"]),),
        decode_pairs=((None, values["decode_pairs"]),),
        cached_values=((None, values["cached_values"]),),
        **single,
    )


@cache
def _knots() -> tuple[_Knot, ...]:
    """Return each model at its label and at its exact count, by size.

    Both mean the same model, so that the costs between them are flat.
    """
    knots: list[_Knot] = []
    for label, name in _FAMILY.items():
        known = network_of(known_architecture(name), name)
        knots += [_knot_of(known, n) for n in (label, known_architecture(name).n_params)]
    return tuple(sorted(knots, key=lambda knot: knot.n_params))


def _knot_of(known: Network, n_params: int) -> _Knot:
    return _Knot(n_params, known.name, {field: _value(known, field) for field in _GROWTH})


def _value(known: Network, field: str) -> float:
    lists = {
        "prefill_pairs": known.prefill_pairs,
        "decode_pairs": known.decode_pairs,
        "cached_values": known.cached_values,
    }
    if field in lists:
        return sum(number for _, number in lists[field])
    return float(getattr(known, field))
