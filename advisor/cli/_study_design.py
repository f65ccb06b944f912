"""The grid of a study, from options and a file."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from ._arms import split
from ._study_options import Grid

if TYPE_CHECKING:
    from ..study._design import StudyDesign

__all__ = ["read_design"]

_T = TypeVar("_T")
_ALL, _TWO_STAGE = "all", "two-stage"


def read_design(grid: Grid, *, sizes: Sequence[str], corpora: Sequence[str]) -> "StudyDesign":
    """Return the grid that options and a file describe; options replace values of the file.

    Args:
        grid: The options.
        sizes: Sizes that the lab has; all of them by default.
        corpora: Corpora that it has; all of them by default.

    Raises:
        DataFileError: The file is no grid.
        UnknownNameError: A size, corpus or order does not exist.
        InvalidInputError: A value is no number, is out of range, or comes twice.
    """
    from policies import UnknownNameError

    values = {} if grid.design is None else _from_file(grid.design)
    given = {
        "sizes": _given(grid.sizes, split),
        "ratios": _given(grid.ratios, _ratios),
        "orders": _given(grid.orders, _orders),
        "corpora": _given(grid.corpora, split),
        "seeds": _given(grid.seeds, _seeds),
        "n_rows": grid.rows,
        "n_questions": grid.questions,
        "policies": _given(grid.policies, _policies),
    }
    values |= {name: value for name, value in given.items() if value is not None}
    values.setdefault("sizes", list(sizes))
    values.setdefault("corpora", list(corpora))
    if isinstance(values.get("policies"), list):
        values["policies"] = _policies(",".join(map(str, values["policies"])))
    design = _checked(values, grid)
    for kind, found, known in (
        ("size", design.sizes, sizes),
        ("corpus", design.corpora, corpora),
    ):
        for name in found:
            if name not in known:
                raise UnknownNameError(kind, name, known)
    return design


def _given(text: str | None, read: Callable[[str], list[_T]]) -> list[_T] | None:
    """Return the values of an option, `None` where it was left out; an empty one has none."""
    return None if text is None else read(text)


def _checked(values: dict[str, Any], grid: Grid) -> "StudyDesign":
    from pydantic import ValidationError

    from policies import DataFileError, InvalidInputError

    from ..study._design import StudyDesign

    try:
        design = StudyDesign.model_validate(values)
        ids = [one.id for one in design.students()]
        twice = next((one for one in ids if ids.count(one) > 1), None)
        if twice is not None:
            raise InvalidInputError(
                f"two ratios of {', '.join(map(str, design.ratios))} are one: both make the"
                f" student {twice}",
                hint="ratios are told apart by six digits: leave one out",
                code="invalid-design",
            )
        if not ids:
            raise InvalidInputError(
                f"no student has one of the orders {', '.join(design.orders)} with one of the"
                f" ratios {', '.join(f'{one:g}' for one in design.ratios)}",
                hint="add the ratios 0 and 1",
                code="invalid-design",
            )
    except ValidationError as error:
        first = error.errors()[0]
        field = str(first["loc"][0]) if first["loc"] else "design"
        hint = _HINTS.get(field, "")
        if first["type"] == "extra_forbidden":
            message = f"{field!r} is no part of a grid"
            hint = f"it may hold {', '.join(StudyDesign.model_fields)}"
        elif first["input"] in ([], ()):
            message = f"{_OPTIONS.get(field, field)} names nothing"
            hint = "give at least one value, or leave it out"
        else:
            said = str(first["msg"]).removeprefix("Value error, ")
            message = f"{_OPTIONS.get(field, field)} {first['input']!r}: {said}"
        if grid.design is not None:
            raise DataFileError(message, path=grid.design, hint=hint) from error
        raise InvalidInputError(message, hint=hint, code="invalid-design") from error
    return design


_OPTIONS = {
    "n_rows": "--rows",
    "n_questions": "--questions",
    **{name: f"--{name}" for name in ("sizes", "ratios", "orders", "corpora", "seeds", "policies")},
}
_HINTS = {
    "ratios": "a ratio is a share of reasoning rows in [0, 1], such as 0.25",
    "n_rows": "give at least 32",
    "n_questions": "give at least 1; intervals need about 1,000",
}


def _from_file(path: Path) -> dict[str, Any]:
    """Return the values of a grid in a file: the grid, or a plan that has one.

    Raises:
        DataFileError: It cannot be read, or is neither.
        ArtifactTooNewError: A newer version printed the plan.
    """
    from policies import ArtifactTooNewError, DataFileError

    from ._output import SCHEMA_VERSION

    hint = "give the plan.json of a study, or what advisor study --plan --json printed"
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataFileError(f"cannot be read: {error.strerror}", path=path) from error
    except (ValueError, RecursionError) as error:
        raise DataFileError(f"is not JSON: {error}", path=path, hint=hint) from error
    values = cast("dict[str, Any]", document) if isinstance(document, dict) else {}
    version = values.get("schema_version")
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise ArtifactTooNewError(
            f"{path} is a plan of schema version {version}, this version of thinkroute reads up to"
            f" {SCHEMA_VERSION}",
            hint="upgrade thinkroute, or print the plan again",
        )
    grid: object = values.get("design", values)
    if not isinstance(grid, dict) or not grid:
        raise DataFileError("holds no grid of a study", path=path, hint=hint)
    return dict(cast("dict[str, Any]", grid))


def _numbers(option: str, text: str, kind: Callable[[str], _T], example: str) -> list[_T]:
    """Return numbers separated by commas.

    Raises:
        InvalidInputError: A part is none.
    """
    from policies import InvalidInputError

    try:
        return [kind(part) for part in split(text)]
    except ValueError:
        raise InvalidInputError(
            f"{option} {text!r} is not a list of numbers",
            hint=f"separate them by commas: {example}",
            code="invalid-design",
        ) from None


def _ratios(text: str) -> list[float]:
    return _numbers("--ratios", text, float, "0,0.25,1")


def _seeds(text: str) -> list[int]:
    return _numbers("--seeds", text, int, "1,2,3")


def _orders(text: str) -> list[str]:
    """Return orders by name, `all`, or `two-stage` for the four of them.

    Raises:
        UnknownNameError: There is no such order.
    """
    from policies import UnknownNameError

    from ..study._student import StudyOrder

    known = [one.value for one in StudyOrder]
    groups = {
        _ALL: known,
        _TWO_STAGE: [one.value for one in StudyOrder if one.is_two_stage],
    }
    found: list[str] = []
    for name in split(text):
        if name not in known and name not in groups:
            raise UnknownNameError("order", name, [*known, *groups])
        found += groups.get(name, [name])
    return list(dict.fromkeys(found)) if {*split(text)} & set(groups) else found


def _policies(text: str) -> list[str]:
    """Return canonical policies that answer once, directly or with a thought.

    Raises:
        InvalidPolicyError: One does not parse.
        InvalidInputError: One is neither.
    """
    from policies import InvalidInputError, UnknownNameError, build_policy

    found: list[str] = []
    for part in split(text):
        try:
            spec = build_policy(part).spec
        except UnknownNameError as error:
            raise UnknownNameError("policy", part, ["direct", "reasoning@max"]) from error
        if spec.name not in {"direct", "reasoning"}:
            raise InvalidInputError(
                f"--policies {part!r} does not tell what a student learnt",
                hint="use direct, reasoning@max or a budget such as reasoning@8",
                code="invalid-design",
            )
        found.append(str(spec))
    return found
