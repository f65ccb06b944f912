"""Rows of JSONL, CSV and Parquet files, read piece by piece."""

# pyarrow has no types.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownMemberType=false

import csv
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from policies import DataFileError, MissingPrerequisiteError

from ._row import Row

__all__ = ["FILE_SUFFIXES", "RowFilter", "column_names", "read_rows", "rows_of_batches"]

FILE_SUFFIXES = (".jsonl", ".csv", ".parquet")
BATCH_ROWS = 1024


@dataclass(frozen=True, slots=True)
class RowFilter:
    """Which rows of a file belong to a benchmark.

    Attributes:
        column: The column to look at.
        values: The rows with one of these values are kept.
        is_optional: Whether a file without the column is taken to hold only such rows.
    """

    column: str
    values: frozenset[str]
    is_optional: bool = False


def read_rows(path: Path, keep: tuple[RowFilter, ...] = ()) -> Iterator[Row]:
    """Yield the rows of a file that pass every filter, with their line or row numbers.

    Only a piece of the file is in memory at a time.

    Raises:
        DataFileError: The file is missing, of an unknown type or broken, or a column that a
            filter needs is not there.
        MissingPrerequisiteError: Parquet was given and pyarrow is not installed.
    """
    _check_file(path)
    try:
        if path.suffix.lower() == ".parquet":
            yield from rows_of_batches(path, _parquet_batches(path), keep)
            return
        reader = _read_jsonl if path.suffix.lower() == ".jsonl" else _read_csv
        for row in reader(path):
            if all(_passes(row, one) for one in keep):
                yield row
    except OSError as error:
        raise DataFileError(
            f"cannot be read: {error.strerror or error}", path=path, hint="check its permissions"
        ) from error


def column_names(path: Path) -> list[str]:
    """Return the names of a file's columns in the order they come; of JSONL, of all its lines.

    Raises:
        DataFileError: As for `read_rows`.
        MissingPrerequisiteError: As for `read_rows`.
    """
    _check_file(path)
    if path.suffix.lower() == ".parquet":
        file = _open_parquet(path)
        with file:
            return list(file.schema_arrow.names)
    return list(dict.fromkeys(name for row in read_rows(path) for name in row.cells))


def rows_of_batches(
    place: Path | str, batches: Iterable[Any], keep: tuple[RowFilter, ...]
) -> Iterator[Row]:
    """Yield the rows of Arrow batches (or tables) that pass every filter.

    Rows that are filtered out never become Python objects.

    Raises:
        DataFileError: A column that a filter needs is not there.
    """
    import pyarrow.compute

    compute: Any = pyarrow.compute

    n_before = 0
    for batch in batches:
        n_rows = batch.num_rows
        mask: Any = None
        for one in keep:
            if one.column not in batch.schema.names:
                if one.is_optional:
                    continue
                raise _no_column(place, one.column, batch.schema.names)
            column = batch.column(one.column).cast("string")
            hit = compute.is_in(column, value_set=_strings(one.values))
            mask = hit if mask is None else compute.and_(mask, hit)
        kept = batch if mask is None else batch.filter(mask)
        numbers: Sequence[int] = (
            range(n_rows) if mask is None else compute.indices_nonzero(mask).to_pylist()
        )
        try:
            rows = kept.to_pylist()
        except UnicodeDecodeError as error:
            raise _not_text(place, n_before, kept, numbers) from error
        for number, cells in zip(numbers, rows, strict=True):
            yield Row(place, n_before + number + 1, cells)
        n_before += n_rows


def _not_text(
    place: Path | str, n_before: int, batch: Any, numbers: Sequence[int]
) -> DataFileError:
    """Locate the first row that holds bytes that are no UTF-8."""
    line = None
    for index, number in enumerate(numbers):
        try:
            batch.slice(index, 1).to_pylist()
        except UnicodeDecodeError:
            line = n_before + number + 1
            break
    return DataFileError(
        "the row holds bytes that are not UTF-8 text",
        path=place,
        line=line,
        hint="write the file again with UTF-8 texts",
    )


def _strings(values: frozenset[str]) -> Any:
    import pyarrow as arrow

    return arrow.array(sorted(values), arrow.string())


def _passes(row: Row, one: RowFilter) -> bool:
    if one.column not in row.cells:
        if one.is_optional:
            return True
        raise _no_column(row.place, one.column, row.cells)
    return str(row.cells[one.column]) in one.values


def _no_column(place: Path | str, column: str, found: Iterable[str]) -> DataFileError:
    return DataFileError(
        f"the column {column!r} is not there",
        path=place,
        hint=f"columns found: {', '.join(found)}",
    )


def _check_file(path: Path) -> None:
    if not path.is_file():
        said = "a folder, expected a file" if path.is_dir() else "no such file"
        raise DataFileError(said, path=path, hint="check the path")
    if path.suffix.lower() not in FILE_SUFFIXES:
        raise DataFileError(
            f"files of type {path.suffix!r} are not read",
            path=path,
            hint=f"use {', '.join(FILE_SUFFIXES)}",
        )


def _read_jsonl(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig", newline=None) as file:
        try:
            for line, text in enumerate(file, start=1):
                if text.strip():
                    yield Row(path, line, _parse_json_line(path, line, text))
        except UnicodeDecodeError as error:
            raise _not_utf8(path, error) from error


def _read_csv(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        try:
            for line, row in _numbered(reader):
                if None in row:
                    raise DataFileError(
                        "the row has more cells than the header has columns",
                        path=path,
                        line=line,
                        hint='put texts that contain a comma in quotes: "1,000"',
                    )
                yield Row(path, line, row)
        except UnicodeDecodeError as error:
            raise _not_utf8(path, error) from error
        except csv.Error as error:
            raise DataFileError(
                f"not a CSV file: {error}",
                path=path,
                line=reader.line_num + 1,  # It counts the rows that were read whole.
                hint="use a comma between cells and double quotes around texts",
            ) from error


def _not_utf8(path: Path, error: UnicodeDecodeError) -> DataFileError:
    """Locate the first bytes that are no UTF-8; the decoder works in blocks and cannot say."""
    line = None
    with path.open("rb") as file:
        for number, data in enumerate(file, start=1):
            try:
                data.decode()
            except UnicodeDecodeError as found:
                line, error = number, found
                break
    return DataFileError(
        f"not UTF-8 text: {error.reason}", path=path, line=line, hint="save the file as UTF-8"
    )


def _numbered(reader: "csv.DictReader[str]") -> Iterator[tuple[int, dict[Any, Any]]]:
    """Yield rows with the line each begins on."""
    end = 1 if reader.fieldnames is not None else 0
    for row in reader:
        yield end + 1, row
        end = reader.line_num


def _parse_json_line(path: Path, line: int, text: str) -> Mapping[str, Any]:
    try:
        row: object = json.loads(text)
    except (ValueError, RecursionError) as error:
        reason = (
            f"{error.msg} at column {error.colno}"
            if isinstance(error, json.JSONDecodeError)
            else str(error)
        )
        raise DataFileError(
            f"not JSON: {reason}", path=path, line=line, hint="each line must be one JSON object"
        ) from error
    if not isinstance(row, dict):
        raise DataFileError(
            f"expected a JSON object, found {type(row).__name__}",
            path=path,
            line=line,
            hint='write each question as {"prompt": ..., "gold": ...}',
        )
    return cast("dict[str, Any]", row)


def _open_parquet(path: Path) -> Any:
    try:
        import pyarrow as arrow
        from pyarrow import parquet
    except ImportError as error:
        raise MissingPrerequisiteError.extra("parquet", "pyarrow") from error
    try:
        return parquet.ParquetFile(path)
    except (arrow.ArrowException, OSError) as error:
        raise _not_parquet(path, error) from error


def _parquet_batches(path: Path) -> Iterator[Any]:
    file = _open_parquet(path)
    import pyarrow as arrow

    with file:
        batches = file.iter_batches(batch_size=BATCH_ROWS)
        while True:
            try:
                batch = next(batches, None)
            except (arrow.ArrowException, OSError) as error:
                raise _not_parquet(path, error) from error
            if batch is None:
                return
            yield batch


def _not_parquet(path: Path, error: Exception) -> DataFileError:
    return DataFileError(
        f"not a Parquet file: {error}", path=path, hint="write it again, or use .jsonl or .csv"
    )
