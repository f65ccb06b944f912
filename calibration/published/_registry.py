"""The register of the shipped tables: what each holds, where it was printed, how far to trust it.

`index.json` beside the tables is the register; this module reads and checks it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal, TypeAlias, cast, get_args

from policies import ArtifactCorruptError, ArtifactTooNewError, UnknownNameError

__all__ = [
    "Column",
    "ColumnType",
    "Grade",
    "TableEntry",
    "corrupt_table",
    "find_entry",
    "published_tables",
    "read_shipped",
]

Grade: TypeAlias = Literal["printed", "rule", "third-party", "derived", "contested"]
"""How far a row can be trusted.

- `printed`: a number printed in the source, which was read itself.
- `rule`: a statement or a figure without printed numbers; never becomes an accuracy.
- `third-party`: a number read only in somebody else's text about the source.
- `derived`: computed here from printed or recorded numbers.
- `contested`: in circulation, but not printed by the source it is ascribed to; never evidence.
"""

ColumnType: TypeAlias = Literal["text", "number", "accuracy"]
"""`accuracy` is a number that must lie in [0, 100] (unit `percent`) or [0, 1] (unit `share`)."""

_INDEX = "index.json"
_SCHEMA_VERSION = 1
_ENTRY_KEYS = {
    *("name", "file", "version", "title", "source", "retrieved", "grade", "note", "licence"),
    *("n_rows", "sha256", "id", "columns"),
}
_ACCURACY_UNITS = {"percent": 100.0, "share": 1.0}


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table.

    Attributes:
        name: Name in the header of the file.
        type: Whether it holds texts, numbers or accuracies.
        unit: Unit of the numbers, such as `percent` or `tokens`; empty where there is none.
        meaning: What it holds; empty where the name says it.
    """

    name: str
    type: ColumnType
    unit: str
    meaning: str

    @property
    def largest(self) -> float:
        """Return the largest value an accuracy can have: 1 for shares, 100 for percent."""
        return _ACCURACY_UNITS[self.unit]


@dataclass(frozen=True, slots=True)
class TableEntry:
    """What the register says about one table.

    Attributes:
        name: Name it is loaded by.
        file: Its CSV file in the package.
        version: Raised whenever a figure in it changes.
        title: What it holds.
        source: Where it was printed, or from what it was computed.
        retrieved: Version of the source that was read.
        grade: Grade of every row, or `mixed` where each row carries its own.
        note: What to know before trusting a number; may be empty.
        licence: On what ground it is shipped.
        columns: Columns in the order of the file.
        n_rows: Number of rows.
        sha256: Hash of the file in hexadecimal.
        id_prefix: Begin of the ids of its rows.
        id_columns: Columns whose words, in this order, follow the prefix.
        id_words: Words that are written otherwise in ids, such as `General-OE`: `general-oe`.
        cells: Last part of the ids of single figures: the column each one stands in. Empty
            where a row is cited as a whole.
    """

    name: str
    file: str
    version: int
    title: str
    source: str
    retrieved: str
    grade: Grade | Literal["mixed"]
    note: str
    licence: str
    columns: tuple[Column, ...]
    n_rows: int
    sha256: str
    id_prefix: str
    id_columns: tuple[str, ...]
    id_words: Mapping[str, str]
    cells: Mapping[str, str]

    @property
    def n_cells(self) -> int:
        """Return how many figures or rows can be cited by an id of their own."""
        return self.n_rows * max(1, len(self.cells))

    def column(self, name: str) -> Column:
        """Return a column by name.

        Raises:
            UnknownNameError: The table has no such column.
        """
        for column in self.columns:
            if column.name == name:
                return column
        raise UnknownNameError("column", name, [column.name for column in self.columns])

    def to_json(self) -> dict[str, Any]:
        """Return what a reader of the table needs to know, as a JSON object."""
        return {
            "name": self.name,
            "version": self.version,
            "title": self.title,
            "source": self.source,
            "retrieved": self.retrieved,
            "grade": self.grade,
            "note": self.note,
            "licence": self.licence,
            "n_rows": self.n_rows,
            "n_cells": self.n_cells,
            "sha256": self.sha256,
            "columns": [
                {"name": one.name, "type": one.type, "unit": one.unit, "meaning": one.meaning}
                for one in self.columns
            ],
        }


@cache
def published_tables() -> tuple[TableEntry, ...]:
    """Return the entries of all shipped tables, in the order of the register.

    The register is read once per process; no table is.

    Raises:
        ArtifactCorruptError: The register is missing or malformed.
        ArtifactTooNewError: It was written by a newer version.

    Example:
        >>> published_tables()[0].name
        'scale_or_reason_table1'
    """
    try:
        document = json.loads(read_shipped(_INDEX))
        if document["schema_version"] > _SCHEMA_VERSION:
            raise ArtifactTooNewError(
                f"the register of published tables has schema {document['schema_version']}, this"
                f" version reads up to {_SCHEMA_VERSION}",
                hint="reinstall thinkroute: its files are of two versions",
            )
        entries = tuple(_entry(record) for record in document["tables"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, ArtifactTooNewError | ArtifactCorruptError):
            raise
        raise corrupt_table("index", f"{type(error).__name__}: {error}") from error
    if len({entry.name for entry in entries}) != len(entries):
        raise corrupt_table("index", "two tables have one name")
    return entries


def find_entry(name: str) -> TableEntry:
    """Return the entry of one table.

    Raises:
        UnknownNameError: No table has this name; the error lists close ones.
    """
    for entry in published_tables():
        if entry.name == name:
            return entry
    raise UnknownNameError("table", name, [entry.name for entry in published_tables()])


def read_shipped(file: str) -> bytes:
    """Return the content of a file of this package, also from inside an archive.

    Raises:
        ArtifactCorruptError: It is not there or cannot be read.
    """
    try:
        return files("calibration.published").joinpath(file).read_bytes()
    except OSError as error:
        raise corrupt_table(file.partition(".")[0], str(error)) from error


def corrupt_table(name: str, problem: str) -> ArtifactCorruptError:
    """Return the error for a shipped file that cannot be used."""
    return ArtifactCorruptError(
        f"the published table {name!r} cannot be used: {problem}",
        hint="reinstall thinkroute; the file ships inside the package",
    )


def _entry(record: Mapping[str, Any]) -> TableEntry:
    """Return one entry of the register, checked."""
    if set(record) != _ENTRY_KEYS:
        raise ValueError(f"keys {sorted(set(record) ^ _ENTRY_KEYS)} are missing or unknown")
    columns = tuple(
        Column(name, column["type"], column["unit"], column["meaning"])
        for name, column in record["columns"].items()
    )
    names = {column.name for column in columns}
    for column in columns:
        if column.type not in get_args(ColumnType):
            raise ValueError(f"column {column.name!r} of {record['name']!r}: {column.type!r}")
        if column.type == "accuracy" and column.unit not in _ACCURACY_UNITS:
            raise ValueError(f"accuracy {column.name!r} of {record['name']!r}: {column.unit!r}")
    grade = record["grade"]
    if grade not in (*get_args(Grade), "mixed") or (grade == "mixed") != ("grade" in names):
        raise ValueError(f"grade {grade!r} of {record['name']!r}")
    if not record["source"].strip() or not record["licence"].strip():
        raise ValueError(f"{record['name']!r} has no source or no licence note")
    place = record["id"]
    cells = cast("dict[str, str]", place.get("cells", {}))
    if not {*place["columns"], *cells.values()} <= names:
        raise ValueError(f"the ids of {record['name']!r} use columns that are not there")
    plain = {key: record[key] for key in _ENTRY_KEYS - {"id", "columns"}}
    return TableEntry(
        **plain,
        columns=columns,
        id_prefix=place["prefix"],
        id_columns=tuple(place["columns"]),
        id_words=place.get("words", {}),
        cells=cells,
    )
