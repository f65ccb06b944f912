"""A CSV with one row per cell, written by hand or by another tool."""

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from calibration import Cell

__all__ = ["EXAMPLE", "CellFile", "header_of"]

_ROUNDING = 0.005
"""Most that rounding to two digits moves an accuracy."""
_OPTIONAL = (
    "policy",
    "recipe",
    "task",
    "model",
    "metric",
    "n_correct",
    "mean_prompt_tokens",
    "mean_tokens",
    "mean_flops",
)
EXAMPLE = "task_type,size,recipe,accuracy,n"
"""Header of a small table, for hints."""


def header_of(path: Path) -> list[str]:
    """Return the first row of a CSV file that is not empty.

    Raises:
        DataFileError: It is no CSV file in UTF-8.
    """
    return next(_rows(path), (1, list[str]()))[1]


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows of a CSV file that are not empty, each with its line number."""
    from policies import DataFileError

    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            for row in reader:
                if any(value.strip() for value in row):
                    yield reader.line_num, [value.strip() for value in row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataFileError(
            f"not a CSV file in UTF-8: {error}", path=path, hint=f"expected {EXAMPLE}"
        ) from error


@dataclass(frozen=True, slots=True)
class _Row:
    """One row of a CSV of cells, read by column."""

    path: Path
    line: int
    values: Mapping[str, str]

    def fail(self, message: str, hint: str) -> Exception:
        """Return the error that names this row."""
        from policies import DataFileError

        return DataFileError(message, path=self.path, line=self.line, hint=hint)

    def number(self, column: str) -> float | None:
        """Return a finite number, `None` for an empty cell."""
        text = self.values.get(column, "")
        if not text:
            return None
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise self.fail(f"{column} {text!r} is not a number", "write it with a point: 0.554")
        return value

    def count(self, column: str) -> int | None:
        """Return a whole number of at least 0, `None` for an empty cell."""
        value = self.number(column)
        if value is not None and (value < 0 or value != int(value)):
            raise self.fail(
                f"{column} {self.values[column]!r} is not a count", "write a whole number: 500"
            )
        return None if value is None else int(value)


class CellFile:
    """Reads a CSV with one row per cell; each trouble is named with its line."""

    def __init__(self, path: Path) -> None:
        """Take the file; nothing is read yet."""
        self._path = path
        self._notes: list[str] = []

    def read(self) -> "tuple[tuple[Cell, ...], tuple[str, ...]]":
        """Return its cells, and sentences about how they were read.

        Raises:
            DataFileError: A column is missing, or a row makes no cell.
        """
        from policies import DataFileError

        lines = _rows(self._path)
        _, header = next(lines, (1, list[str]()))
        self._check_header(header)
        rows: list[_Row] = []
        for line, values in lines:
            if len(values) != len(header):
                raise DataFileError(
                    f"the row has {len(values)} values, the header {len(header)}",
                    path=self._path,
                    line=line,
                    hint="one value per column; quote texts that hold a comma",
                )
            rows.append(_Row(self._path, line, dict(zip(header, values, strict=True))))
        if not rows:
            raise DataFileError("no row below the header", path=self._path, hint="add your cells")
        self._check_metrics(rows)
        scale = self._scale(rows)
        cells: dict[tuple[object, ...], tuple[int, Cell]] = {}
        for row in rows:
            cell = self._cell(row, scale)
            key = (cell.task_type, cell.task, cell.model, cell.policy, cell.recipe, cell.size)
            first, _ = cells.setdefault(key, (row.line, cell))
            if first != row.line:
                raise row.fail(
                    f"the same cell as line {first}",
                    "keep one of them, or tell them apart in the column model",
                )
        return tuple(cell for _, cell in cells.values()), tuple(self._notes)

    def _check_header(self, header: Sequence[str]) -> None:
        from policies import DataFileError

        lacks = [name for name in ("task_type", "size", "n") if name not in header]
        if "accuracy" not in header and "n_correct" not in header:
            lacks.append("accuracy")
        if "recipe" not in header and "policy" not in header:
            lacks.append("recipe (or policy)")
        if lacks:
            raise DataFileError(
                f"the table has no column {', '.join(lacks)}",
                path=self._path,
                line=1,
                hint=f"it has {', '.join(header[:12])}; a table of cells starts with {EXAMPLE}",
            )
        double = sorted({name for name in header if header.count(name) > 1})
        if double:
            raise DataFileError(
                f"column {double[0]!r} is there twice",
                path=self._path,
                line=1,
                hint="rename one of them",
            )
        known = {"task_type", "size", "n", "accuracy", *_OPTIONAL}
        unused = [name for name in header if name not in known]
        if unused:
            self._notes.append(f"{self._path.name}: columns not used: {', '.join(unused)}")

    def _check_metrics(self, rows: Sequence[_Row]) -> None:
        """Refuse cells of one task that were scored by different metrics."""
        seen: dict[tuple[str, str], tuple[str, int]] = {}
        for row in rows:
            metric = row.values.get("metric", "")
            task = (row.values["task_type"], row.values.get("task", ""))
            known, line = seen.setdefault(task, (metric, row.line))
            if known != metric:
                raise row.fail(
                    f"metric {metric!r}, but {known!r} in line {line} for the same task",
                    "accuracies of different metrics are not compared: keep one metric per task",
                )

    def _scale(self, rows: Sequence[_Row]) -> float:
        """Return 1 for accuracies given as fractions, 100 for percent."""
        given = [(row, row.number("accuracy")) for row in rows]
        values = [(row, value) for row, value in given if value is not None]
        for row, value in values:
            if not 0 <= value <= 100:
                raise row.fail(
                    f"accuracy {row.values['accuracy']!r} is impossible",
                    "give a fraction between 0 and 1",
                )
        above = [row for row, value in values if value > 1]
        if not above:
            return 1.0
        below = next((row for row, value in values if 0 < value <= 1), None)
        if below is not None:
            raise below.fail(
                f"accuracy {below.values['accuracy']!r} looks like a fraction,"
                f" {above[0].values['accuracy']!r} in line {above[0].line} like percent",
                "write all of them as fractions between 0 and 1",
            )
        self._notes.append(f"{self._path.name}: accuracies above 1 were read as percent")
        return 100.0

    def _cell(self, row: _Row, scale: float) -> "Cell":
        from calibration import Cell
        from calibration.statistics import wilson_interval

        recipe, policy = _trained(row)
        n, n_correct, accuracy = _counts(row, scale)
        interval = wilson_interval(n_correct, n)
        tokens = {name: _positive(row, name) for name in ("mean_prompt_tokens", "mean_tokens")}
        return Cell(
            task=row.values.get("task") or self._path.stem,
            task_type=_task_type(row),
            # Two trained models, or two ways of asking one.
            model=row.values.get("model") or "-".join(filter(None, (row.values["size"], recipe))),
            size=_size(row),
            policy=policy,
            recipe=recipe,
            n=n,
            n_correct=n_correct,
            n_cut=0,
            n_error=0,
            accuracy=accuracy,
            ci_low=interval.low,
            ci_high=interval.high,
            mean_prompt_tokens=tokens["mean_prompt_tokens"] or math.nan,
            mean_tokens=tokens["mean_tokens"] or math.nan,
            mean_flops=_positive(row, "mean_flops"),
            mean_seconds=math.nan,
        )


def _task_type(row: _Row) -> str:
    from policies import InvalidInputError, check_task_type

    try:
        return check_task_type(row.values["task_type"])
    except InvalidInputError as error:
        raise row.fail(error.message, error.hint) from error


def _size(row: _Row) -> int:
    from policies import InvalidSizeError, ModelSize

    try:
        return ModelSize.parse(row.values["size"]).n_params
    except InvalidSizeError as error:
        raise row.fail(error.message, error.hint) from error


def _trained(row: _Row) -> tuple[str, str]:
    """Return recipe label and policy of a row; a recipe alone implies how its model is asked."""
    from policies import PolicySpec, ThinkrouteError

    from .._recipe import read_label

    recipe, policy = row.values.get("recipe", ""), row.values.get("policy", "")
    label = read_label(recipe)
    if recipe and label is None:
        raise row.fail(
            f"recipe {recipe!r} is none",
            "write ift, reasoning, mixed@0.25, ift_then_reasoning@0.5 and the like",
        )
    if policy:
        try:
            return recipe, str(PolicySpec.parse(policy))
        except ThinkrouteError as error:
            raise row.fail(error.message, error.hint) from error
    if label is None:
        raise row.fail("neither recipe nor policy is given", "write ift or reasoning")
    return recipe, "direct" if label[0] == 0 else "reasoning@max"


def _counts(row: _Row, scale: float) -> tuple[int, int, float]:
    """Return questions, right answers and accuracy in [0, 1]."""
    n, n_correct, given = row.count("n"), row.count("n_correct"), row.number("accuracy")
    if not n:
        raise row.fail(
            f"n {row.values['n']!r} questions", "give the number of questions behind the accuracy"
        )
    if given is None and n_correct is None:
        raise row.fail("the accuracy is missing", "give accuracy or n_correct")
    accuracy = n_correct / n if given is None and n_correct is not None else (given or 0.0) / scale
    if n_correct is None:
        nearest = round(accuracy * n)
        if abs(nearest / n - accuracy) > _ROUNDING:
            raise row.fail(
                f"accuracy {row.values['accuracy']!r} is no whole number of right answers of {n}",
                "n counts graded answers: with 4 per question it is four times the questions",
            )
        return n, nearest, accuracy
    if n_correct > n or abs(n_correct / n - accuracy) > max(_ROUNDING, 0.5 / n):
        raise row.fail(
            f"{n_correct} right answers of {n} are not an accuracy of {accuracy:g}",
            "give n_correct or accuracy, or correct one of them",
        )
    return n, n_correct, n_correct / n


def _positive(row: _Row, column: str) -> float | None:
    value = row.number(column)
    if value is not None and value <= 0:
        raise row.fail(f"{column} {row.values[column]!r} is not above 0", "leave it empty")
    return value
