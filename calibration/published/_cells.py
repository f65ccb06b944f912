"""Load any shipped table, and find any of its figures by the id under which it is cited.

An id is a path: where the figure is printed, then the words that tell its row from the others,
then the column, such as `2509.22193v2/T1/general/math-oe/3B/ift`. Ids stay the same for as long
as the row exists.
"""

import csv
import difflib
import hashlib
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from types import MappingProxyType
from typing import Any, TypeAlias, cast, get_args

from policies import InvalidInputError, UnknownNameError

from ._registry import (
    Column,
    Grade,
    TableEntry,
    corrupt_table,
    find_entry,
    published_tables,
    read_shipped,
)

__all__ = [
    "CellValue",
    "LoadedTable",
    "PublishedCell",
    "TableRow",
    "find_cell",
    "find_evidence",
    "is_cell_id",
    "load_evidence",
    "load_published",
]

CellValue: TypeAlias = str | float | None
"""A text, a number as printed (percent stay percent), or `None` where nothing is printed."""

_NOT_IN_IDS = re.compile(r"[^A-Za-z0-9.+@=%]+")
_BARE_ARXIV = re.compile(r"^(\d{4}\.\d{5}(?:v\d+)?) ")
_PLACE = re.compile(r"(?:Table|Figure) (\d+)")


@dataclass(frozen=True, slots=True)
class TableRow:
    """One row of a shipped table.

    Attributes:
        id: Path of the row, unique among all tables.
        ids: Ids under which its figures are cited: one per figure, or the row's own.
        table: Name of the table.
        values: Value per column.
        printed: The same as texts, exactly as in the file.
        grade: How far it can be trusted.
        source: Where it was printed; never empty.
    """

    id: str
    ids: tuple[str, ...]
    table: str
    values: Mapping[str, CellValue]
    printed: Mapping[str, str]
    grade: Grade
    source: str

    def text(self, column: str) -> str:
        """Return a value as text, empty where nothing is printed."""
        return self.printed[column]

    def number(self, column: str) -> float | None:
        """Return a numeric value, `None` where nothing is printed.

        Raises:
            TypeError: The column holds text.
        """
        value = self.values[column]
        if isinstance(value, str):
            raise TypeError(f"column {column!r} of {self.table!r} holds text")
        return value

    def accuracy(self, column: Column) -> float | None:
        """Return an accuracy as the float nearest to its share in [0, 1], `None` if not printed.

        Raises:
            TypeError: The column holds no accuracies.
        """
        if column.type != "accuracy":
            raise TypeError(f"column {column.name!r} of {self.table!r} holds no accuracies")
        text = self.printed[column.name]
        return float(Decimal(text) / int(column.largest)) if text else None

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object with ids, grade, source and values."""
        return {
            "id": self.id,
            "ids": list(self.ids),
            "grade": self.grade,
            "source": self.source,
            "values": dict(self.values),
        }


@dataclass(frozen=True, slots=True)
class LoadedTable:
    """A shipped table: its entry in the register and its rows.

    Attributes:
        entry: What the register says about it.
        rows: Its rows, in the order of the source.
    """

    entry: TableEntry
    rows: tuple[TableRow, ...]

    @property
    def n_by_grade(self) -> dict[Grade, int]:
        """Return the number of rows per grade, of those grades that occur."""
        grades = [row.grade for row in self.rows]
        return {one: grades.count(one) for one in get_args(Grade) if one in grades}


@dataclass(frozen=True, slots=True)
class PublishedCell:
    """What an id stands for: one figure, or a whole row.

    Attributes:
        id: The id it was found by.
        entry: The table.
        row: The row.
        column: Column of the figure; `None` for a whole row.
    """

    id: str
    entry: TableEntry
    row: TableRow
    column: Column | None

    @property
    def value(self) -> CellValue:
        """Return the figure as printed, `None` for a whole row."""
        return None if self.column is None else self.row.values[self.column.name]

    @property
    def accuracy(self) -> float | None:
        """Return the figure as an accuracy in [0, 1], `None` where it is none."""
        if self.column is None or self.column.type != "accuracy":
            return None
        return self.row.accuracy(self.column)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object: the row, and the column and value of a single figure."""
        document: dict[str, Any] = {**self.row.to_json(), "id": self.id, "table": self.entry.name}
        if self.column is not None:
            document["column"] = self.column.name
            document["unit"] = self.column.unit
            document["value"] = self.value
        return document


@cache
def load_published(name: str) -> LoadedTable:
    """Return a shipped table of any grade, to be shown; checked, and read once per process.

    The file must be the one the register was written for (sha256), have its columns and rows,
    no accuracy outside its range, none in a row of grade `rule`, and a source for every row.

    Args:
        name: Name of one of `published_tables()`.

    Raises:
        UnknownNameError: No table has this name.
        ArtifactCorruptError: The shipped file is missing, changed or malformed.
    """
    entry = find_entry(name)
    content = read_shipped(entry.file)
    if hashlib.sha256(content).hexdigest() != entry.sha256:
        raise corrupt_table(name, f"{entry.file} is not the file that its sha256 was taken of")
    return LoadedTable(entry, parse_rows(entry, content))


def load_evidence(name: str) -> LoadedTable:
    """Return a shipped table to be reasoned from: as `load_published`, without contested rows.

    Raises:
        InvalidInputError: A row is contested: no source prints its figures.
        UnknownNameError: No table has this name.
        ArtifactCorruptError: The shipped file is missing, changed or malformed.
    """
    loaded = load_published(name)
    for row in loaded.rows:
        _refuse_contested(row)
    return loaded


def find_cell(cell_id: str) -> PublishedCell:
    """Return what an id stands for, of any grade.

    Besides the ids of `TableRow.ids`, the id of a row followed by `/` and one of its columns is
    understood, such as `2502.18080/T3/Qwen2.5-32B-TOPS/default/GSM8K/tokens`.

    Raises:
        UnknownNameError: No shipped table has it; the error lists close ones.

    Example:
        >>> find_cell("2509.22193v2/T1/general/math-oe/3B/ift").accuracy
        0.399
    """
    for entry in published_tables():
        if not cell_id.startswith(entry.id_prefix + "/"):
            continue
        found = _cells_of(entry.name).get(cell_id)
        if found is not None:
            return found
    known = [one for entry in published_tables() for one in _citable(entry.name)]
    close = difflib.get_close_matches(cell_id[:200], known, n=6, cutoff=0.5)
    error = UnknownNameError("cell id", cell_id, close)
    told = f"did you mean {' or '.join(map(repr, close[:3]))}? " if close else ""
    error.hint = f"{told}advisor tables show NAME prints the ids of a table"
    raise error


def find_evidence(cell_id: str) -> PublishedCell:
    """Return what an id stands for, to be reasoned from.

    Raises:
        InvalidInputError: The figure is contested: no source prints it.
        UnknownNameError: No shipped table has it.
    """
    found = find_cell(cell_id)
    _refuse_contested(found.row)
    return found


def is_cell_id(text: str) -> bool:
    """Return whether a text begins like the ids of some table, whether or not it is one."""
    head = text.partition("/")[0]
    return "/" in text and any(
        entry.id_prefix.partition("/")[0] == head for entry in published_tables()
    )


def parse_rows(entry: TableEntry, content: bytes) -> tuple[TableRow, ...]:
    """Return the rows of a table's file, checked against its entry.

    Raises:
        ArtifactCorruptError: They are not as the register says.
    """
    try:
        lines = csv.reader(content.decode("utf-8").splitlines(), strict=True)
        header = next(lines, None)
        if header != [column.name for column in entry.columns]:
            raise ValueError(f"the columns are {header}")
        rows = tuple(_row(entry, fields) for fields in lines)
        if len(rows) != entry.n_rows:
            raise ValueError(f"{len(rows)} rows, not {entry.n_rows}")
        _check_unique(one for row in rows for one in {row.id, *row.ids})
    except (ValueError, csv.Error) as error:
        raise corrupt_table(entry.name, str(error)) from error
    return rows


def _row(entry: TableEntry, fields: list[str]) -> TableRow:
    if len(fields) != len(entry.columns):
        raise ValueError(f"a row has {len(fields)} fields: {fields}")
    printed = {column.name: field for column, field in zip(entry.columns, fields, strict=True)}
    values = {column.name: _value(column, printed[column.name]) for column in entry.columns}
    row_id = "/".join((entry.id_prefix, *(_word(entry, printed[one]) for one in entry.id_columns)))
    grade = printed["grade"] if entry.grade == "mixed" else entry.grade
    if grade not in get_args(Grade):
        raise ValueError(f"{row_id} has the grade {grade!r}")
    source = _source(entry, printed)
    if not source:
        raise ValueError(f"{row_id} has no source")
    if grade == "rule" and any(
        column.type == "accuracy" and values[column.name] is not None for column in entry.columns
    ):
        raise ValueError(f"{row_id} is a rule, yet it has an accuracy")
    ids = tuple(f"{row_id}/{suffix}" for suffix in entry.cells) or (row_id,)
    return TableRow(
        row_id,
        ids,
        entry.name,
        MappingProxyType(values),
        MappingProxyType(printed),
        cast("Grade", grade),
        source,
    )


def _value(column: Column, text: str) -> CellValue:
    if column.type == "text":
        return text
    if not text:
        return None
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{column.name} is {text!r}")
    if column.type == "accuracy" and not 0 <= value <= column.largest:
        raise ValueError(f"accuracy {column.name} is {text!r}, outside [0, {column.largest:g}]")
    return value


def _word(entry: TableEntry, text: str) -> str:
    """Return a word of an id: `Table 3` as `T3`, and only characters that need no quoting."""
    text = entry.id_words.get(text, text)
    place = _PLACE.fullmatch(text)
    word = f"{text[0]}{place[1]}" if place else _NOT_IN_IDS.sub("-", text).strip("-")
    if not word:
        raise ValueError(f"{text!r} leaves nothing for an id")
    return word


def _source(entry: TableEntry, printed: Mapping[str, str]) -> str:
    if "source" in printed:
        return _BARE_ARXIV.sub(r"arXiv \1, ", printed["source"].strip())
    place = printed.get("place", "").strip()
    return f"{entry.source}, {place}" if place else entry.source


@cache
def _cells_of(name: str) -> Mapping[str, PublishedCell]:
    """Return what every id of a table stands for."""
    loaded = load_published(name)
    found: dict[str, PublishedCell] = {}
    for row in loaded.rows:
        found[row.id] = PublishedCell(row.id, loaded.entry, row, None)
        columns = {column.name: column.name for column in loaded.entry.columns}
        for suffix, column in {**columns, **loaded.entry.cells}.items():
            cell_id = f"{row.id}/{suffix}"
            found[cell_id] = PublishedCell(cell_id, loaded.entry, row, loaded.entry.column(column))
    return MappingProxyType(found)


def _citable(name: str) -> tuple[str, ...]:
    return tuple(one for row in load_published(name).rows for one in row.ids)


def _check_unique(ids: Iterable[str]) -> None:
    seen: set[str] = set()
    for one in ids:
        if one in seen:
            raise ValueError(f"two rows have the id {one}")
        seen.add(one)


def _refuse_contested(row: TableRow) -> None:
    if row.grade == "contested":
        raise InvalidInputError(
            f"{row.id} is a contested figure: no source prints it, so nothing may rest on it",
            hint="advisor tables show contested_figures says what the source prints",
            code="contested-figure",
        )
