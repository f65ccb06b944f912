"""What a fitted cascade consists of, as plain numbers."""

from dataclasses import dataclass, fields
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from policies import InvalidInputError

from .._outcomes import EVIDENCE

__all__ = ["CASCADE_MEMBER", "CASCADE_VERSION", "N_FEATURES", "CascadeParameters"]

CASCADE_MEMBER = "cascade.json"
"""Name of the artifact's member that holds them."""

CASCADE_VERSION = 1
"""Raised whenever the same parameters and evidence give other decisions."""

N_FEATURES = 3 + 2 * len(EVIDENCE)
"""Intercept, log-odds of the arm, log-odds of the first arm, evidence and its squares."""

_MAX_VALUE, _MIN_SCALE = 1e6, 1e-100
_MAX_BINS, _MAX_SCENARIOS = 1_000, 1_000
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class CascadeParameters:
    """Everything a fitted cascade consists of.

    Attributes:
        n_arms: Number of arms.
        firsts: Positions of the arms whose answers' evidence is understood, ascending.
        center: Usual value of each kind of evidence, shape `(n_firsts, n_kinds)`.
        scale: Its standard deviation, 0 for kinds that are not used, same shape.
        weights: Log-odds of each arm after the first answer, as a linear function of intercept,
            its own log-odds before, the first arm's, the standardised evidence and its squares;
            shape `(n_firsts, n_arms, N_FEATURES)`.
        edges: Where the first arm's log-odds are cut into bins, ascending, shape
            `(n_firsts, n_bins - 1)`.
        shifts: Change of all arms' log-odds in equally likely scenarios of evidence, by bin,
            shape `(n_firsts, n_bins, n_scenarios, n_arms)`.
        gain: Log loss per question that the evidence saves on held-back questions, in nats,
            shape `(n_firsts,)`.
        n_questions: Questions with evidence behind each first arm.
    """

    n_arms: int
    firsts: tuple[int, ...]
    center: Floats
    scale: Floats
    weights: Floats
    edges: Floats
    shifts: Floats
    gain: Floats
    n_questions: tuple[int, ...]

    def __post_init__(self) -> None:
        """Refuse parts that do not fit each other."""
        problems = _problems(self)
        if problems:
            raise InvalidInputError(f"cascade: {'; '.join(problems)}")

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        document: dict[str, Any] = {"version": CASCADE_VERSION, "evidence": list(EVIDENCE)}
        for field in fields(self):
            document[field.name] = np.asarray(getattr(self, field.name)).tolist()
        return document

    @classmethod
    def from_json(cls, document: Any) -> "CascadeParameters":
        """Read the form written by `to_json`.

        Raises:
            InvalidInputError: A key is missing or unknown, a number is not finite, or the parts
                do not fit each other; or the document is of another version.
        """
        names = [field.name for field in fields(cls)]
        found = cast("dict[str, Any]", document) if isinstance(document, dict) else {}
        if set(found) != {*names, "version", "evidence"}:
            raise InvalidInputError(f"cascade: expected an object with the keys {names}")
        if found["version"] != CASCADE_VERSION or found["evidence"] != list(EVIDENCE):
            raise InvalidInputError(
                f"cascade: version {found['version']!r} with evidence {found['evidence']!r}, "
                f"this version reads {CASCADE_VERSION} with {list(EVIDENCE)}",
                hint="fit the router again",
            )
        n_arms = found["n_arms"]
        if isinstance(n_arms, bool) or not isinstance(n_arms, int):
            raise InvalidInputError(f"cascade: n_arms is {n_arms!r}, expected a whole number")
        return cls(
            n_arms,
            _integers(found, "firsts"),
            _numbers(found, "center"),
            _numbers(found, "scale"),
            _numbers(found, "weights"),
            _numbers(found, "edges"),
            _numbers(found, "shifts"),
            _numbers(found, "gain"),
            _integers(found, "n_questions"),
        )


def _integers(document: dict[str, Any], name: str) -> tuple[int, ...]:
    values: Any = document[name]
    if not isinstance(values, list):
        raise InvalidInputError(f"cascade: {name} is no list of whole numbers")
    numbers = cast("list[Any]", values)
    if not all(type(one) is int for one in numbers):
        raise InvalidInputError(f"cascade: {name} is no list of whole numbers")
    return tuple(numbers)


def _numbers(document: dict[str, Any], name: str) -> Floats:
    if not _is_numeric(document[name]):
        raise InvalidInputError(f"cascade: {name} is no nested list of numbers")
    try:
        return np.array(document[name], dtype=np.float64)
    except (ValueError, OverflowError) as error:
        raise InvalidInputError(f"cascade: {name} is ragged or out of range") from error


def _is_numeric(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(_is_numeric, cast("list[Any]", value)))
    return isinstance(value, int | float) and not isinstance(value, bool)


def _problems(one: CascadeParameters) -> list[str]:
    n_firsts, n_kinds = len(one.firsts), len(EVIDENCE)
    if one.shifts.ndim != 4 or not all(one.shifts.shape):
        return [f"shifts has shape {one.shifts.shape}"]
    n_bins, n_scenarios = one.shifts.shape[1:3]
    if n_bins > _MAX_BINS or n_scenarios > _MAX_SCENARIOS:
        return [f"{n_bins} bins of {n_scenarios} scenarios are too many"]
    shapes = {
        "center": (n_firsts, n_kinds),
        "scale": (n_firsts, n_kinds),
        "weights": (n_firsts, one.n_arms, N_FEATURES),
        "shifts": (n_firsts, n_bins, n_scenarios, one.n_arms),
        "gain": (n_firsts,),
    }
    found = [
        f"{name} has shape {getattr(one, name).shape}, expected {shape}"
        for name, shape in shapes.items()
        if getattr(one, name).shape != shape
    ]
    if one.edges.size != n_firsts * (n_bins - 1) or len(one.edges) != n_firsts:
        found.append(f"edges has shape {one.edges.shape}, expected {(n_firsts, n_bins - 1)}")
    elif n_bins > 1 and (np.diff(one.edges, axis=1) < 0.0).any():
        found.append("edges are not ascending")
    arrays = (one.center, one.scale, one.weights, one.edges, one.shifts, one.gain)
    if not all((np.abs(array) <= _MAX_VALUE).all() for array in arrays):  # false for NaN, too
        found.append(f"it holds numbers that are not finite or beyond {_MAX_VALUE:g}")
    if ((one.scale != 0.0) & (one.scale < _MIN_SCALE)).any():
        found.append("a scale is negative or vanishes")
    if list(one.firsts) != sorted(set(one.firsts)) or not all(
        0 <= arm < one.n_arms for arm in one.firsts
    ):
        found.append(f"firsts {one.firsts} are no ascending positions of {one.n_arms} arms")
    if len(one.n_questions) != n_firsts or min(one.n_questions, default=0) < 0:
        found.append(f"n_questions {one.n_questions} does not fit {n_firsts} first arms")
    return found
