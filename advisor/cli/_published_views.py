"""Readable and JSON forms of the shipped tables and of single figures in them."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ._output import print_table, print_text, table

if TYPE_CHECKING:
    from calibration.published import LoadedTable, PublishedCell, TableRow

__all__ = [
    "cell_document",
    "entry_document",
    "grades_text",
    "print_cell",
    "print_published",
    "table_document",
]

_LISTED: Mapping[str, Sequence[str]] = {
    "scale_or_reason_claims": ("claim", "value", "grade", "place"),
    "other_recipe_claims": ("claim", "value", "grade"),
    "methods_matrix": ("use", "headline", "grade"),
    "tops_hparams": ("model", "learning_rate", "batch", "epochs", "hardware"),
    "measured_outcomes_aggregates": ("n_questions", "accuracy", "mean_tokens"),
    "router_signal_check": ("n", "acc_direct", "acc_reason", "acc_oracle", "acc_half_by_text"),
    "contested_figures": ("about", "claimed", "printed", "verdict"),
    "conflicts": ("topics", "about", "meaning"),
}
"""Columns that fit into a list, of tables that have more; a single row shows them all."""

_LONGEST_UNFOLDED = 48
_WARNING = "contested: the source does not print these figures; nothing may rest on them"


def entry_document(loaded: "LoadedTable") -> dict[str, Any]:
    """Return one line of the list of tables as a JSON object."""
    entry = loaded.entry
    return {
        "name": entry.name,
        "kind": "published",
        "title": entry.title,
        "version": entry.version,
        "grade": entry.grade,
        "n_by_grade": loaded.n_by_grade,
        "n_rows": entry.n_rows,
        "n_cells": entry.n_cells,
        "source": entry.source,
    }


def table_document(loaded: "LoadedTable") -> dict[str, Any]:
    """Return a whole table as a JSON object.

    The cells of the table of accuracies are one object per accuracy, in the words of the
    advisor; those of other tables are their rows as printed.
    """
    from calibration.published import load_published_table, published_table_names

    entry = loaded.entry
    cells: list[dict[str, Any]]
    if entry.name in published_table_names():
        rows = load_published_table(entry.name).rows
        cells = [{**row.to_json(), "grade": entry.grade} for row in rows]
    else:
        cells = [row.to_json() for row in loaded.rows]
    return {"kind": "published", **entry.to_json(), "cells": cells}


def cell_document(found: "PublishedCell") -> dict[str, Any]:
    """Return a row or a figure, and what to know about its table, as a JSON object."""
    entry = found.entry
    about = {"version": entry.version, "note": entry.note, "licence": entry.licence}
    return {"kind": "cell", **found.to_json(), **about}


def grades_text(loaded: "LoadedTable") -> str:
    """Return the grade of a table, or how many rows of a mixed one have each."""
    if loaded.entry.grade != "mixed":
        return loaded.entry.grade
    return ", ".join(f"{n} {grade}" for grade, n in loaded.n_by_grade.items())


def print_published(loaded: "LoadedTable") -> None:
    """Print a table, then where it comes from and how far to trust it."""
    entry = loaded.entry
    told = {*entry.id_columns, "source"}  # By the id, and below the table.
    names = _LISTED.get(entry.name) or [one.name for one in entry.columns if one.name not in told]
    columns = [entry.column(name) for name in names]
    start = len(entry.id_prefix) + 1
    rows = [(row.id[start:], *(_shown(row, name) for name in names)) for row in loaded.rows]
    made = table(f"{entry.name}: {entry.title}", ("id", *names), rows)
    made.columns[0].justify = "left"
    # An id is there to be copied; one that leaves no room for the rest is folded all the same.
    made.columns[0].no_wrap = max(len(row[0]) for row in rows) <= _LONGEST_UNFOLDED
    for shown, column in zip(made.columns[1:], columns, strict=True):
        shown.justify = "left" if column.type == "text" else "right"
        shown.no_wrap = column.type != "text"
    print_table(made)
    if entry.grade == "contested":
        print_text(_WARNING)
    print_text(f"source: {entry.source}")
    print_text(f"read: {entry.retrieved}")
    print_text(f"grade: {grades_text(loaded)}")
    units = [f"{one.name} ({one.unit})" for one in columns if one.unit]
    for label, text in (("units", ", ".join(units)), ("note", entry.note)):
        if text:
            print_text(f"{label}: {text}")
    print_text(f"licence: {entry.licence}")
    print_text(f"ids begin with {entry.id_prefix}/, such as {loaded.rows[0].ids[0]}")


def print_cell(found: "PublishedCell") -> None:
    """Print one row, marking the figure that was asked for."""
    entry, row = found.entry, found.row
    lines = [
        (
            f"> {column.name}" if column == found.column else column.name,
            " ".join(filter(None, (_shown(row, column.name), column.unit and f"({column.unit})"))),
            column.meaning,
        )
        for column in entry.columns
        if row.printed[column.name]
    ]
    print_table(table(found.id, ("column", "value", "meaning"), lines))
    if row.grade == "contested":
        print_text(_WARNING)
    print_text(f"source: {row.source}")
    print_text(f"read: {entry.retrieved}")
    print_text(f"grade: {row.grade}")
    print_text(f"table: {entry.name}, version {entry.version}")
    if entry.note:
        print_text(f"note: {entry.note}")
    print_text(f"licence: {entry.licence}")


def _shown(row: "TableRow", column: str) -> str:
    return row.printed[column] or "-"
