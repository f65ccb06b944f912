"""Rows of CSV, JSONL and Parquet files one by one, in bounded memory."""

# pyarrow has no types.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

import csv
import itertools
import json
from collections.abc import Collection, Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, cast

from policies import DataFileError, MissingPrerequisiteError

__all__ = ["MAX_LINE_BYTES", "parse_object", "read_csv_header", "read_parquet_columns", "read_rows"]

MAX_LINE_BYTES = 64 * 2**20
"""Longest line that is read; a longer one is no row of anything."""

_BATCH_ROWS = 4096


def read_rows(
    path: Path, kind: str, columns: Collection[str] | None = None
) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Yield the rows of a file, each with its number: a line, or a row of a Parquet file.

    Args:
        path: The file.
        kind: `csv`, `jsonl` or `parquet`.
        columns: The ones that are needed; a Parquet file is spared the others.

    Raises:
        DataFileError: A row is not of the file's kind; the message names it.
        MissingPrerequisiteError: pyarrow is not installed.
    """
    if kind == "parquet":
        return _read_parquet(path, columns)
    return _read_csv(path) if kind == "csv" else _read_jsonl(path)


def parse_object(path: Path, line: int, text: str) -> dict[str, Any]:
    """Return the JSON object of one line.

    Raises:
        DataFileError: It is not JSON, or no object.
    """
    try:
        row: object = json.loads(text)
    except (ValueError, RecursionError) as error:
        reason = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
        raise DataFileError(
            f"not JSON: {reason}", path=path, line=line, hint="each line must be one JSON object"
        ) from error
    if not isinstance(row, dict):
        raise DataFileError(
            f"expected a JSON object, found {type(row).__name__}",
            path=path,
            line=line,
            hint="each line must be one JSON object",
        )
    return cast("dict[str, Any]", row)


def read_csv_header(path: Path) -> list[str]:
    """Return the column names of a CSV file.

    Raises:
        DataFileError: It is not CSV in UTF-8.
    """
    with _csv_limits():
        try:
            return next(csv.reader(_lines(path), strict=True), [])
        except csv.Error as error:
            raise DataFileError(
                f"neither JSON nor CSV: {error}",
                path=path,
                line=1,
                hint="is it a file of recorded outcomes?",
            ) from error


def read_parquet_columns(path: Path) -> list[str]:
    """Return the column names of a Parquet file.

    Raises:
        DataFileError: It is no Parquet file.
        MissingPrerequisiteError: pyarrow is not installed.
    """
    arrow, parquet = _arrow()
    try:
        with parquet.ParquetFile(path) as file:
            return list(file.schema_arrow.names)
    except (arrow.ArrowException, OSError, ValueError) as error:
        _refuse_parquet(path, error)


def _lines(path: Path) -> Iterator[str]:
    """Yield the lines of a UTF-8 file with their ends."""
    with path.open("rb") as file:
        for number in itertools.count(1):
            data = file.readline(MAX_LINE_BYTES + 1)
            if not data:
                return
            if len(data) > MAX_LINE_BYTES:
                raise DataFileError(
                    f"the line is longer than {MAX_LINE_BYTES // 2**20} MiB",
                    path=path,
                    line=number,
                    hint="write one row per line",
                )
            if number == 1:
                data = data.removeprefix(b"\xef\xbb\xbf")
            try:
                text = data.decode()
            except UnicodeDecodeError as error:
                raise DataFileError(
                    f"not UTF-8 text: {error.reason}",
                    path=path,
                    line=number,
                    hint="save the file as UTF-8",
                ) from error
            yield text


def _read_jsonl(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for line, text in enumerate(_lines(path), start=1):
        if not text.isspace():
            yield line, parse_object(path, line, text)


def _read_csv(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    header = read_csv_header(path)
    if len(set(header)) < len(header):
        raise DataFileError(
            "two columns have the same name", path=path, line=1, hint="rename one of them"
        )
    end = 1
    with _csv_limits():
        reader = csv.reader(_lines(path), strict=True)
        try:
            next(reader)
            end = reader.line_num
            for row in reader:
                begin, end = end + 1, reader.line_num
                if not row:
                    continue
                if len(row) != len(header):
                    raise DataFileError(
                        f"the row has {len(row)} cells, the header {len(header)}",
                        path=path,
                        line=begin,
                        hint='put texts that contain a comma in quotes: "1,000"',
                    )
                yield begin, dict(zip(header, row, strict=True))
        except csv.Error as error:
            raise DataFileError(
                f"not a CSV file: {error}",
                path=path,
                line=end + 1,
                hint="use a comma between cells and double quotes around texts",
            ) from error


@contextmanager
def _csv_limits() -> Generator[None]:
    """Let cells be as long as lines; the limit belongs to the whole process, so put it back."""
    before = csv.field_size_limit(MAX_LINE_BYTES)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _read_parquet(
    path: Path, columns: Collection[str] | None
) -> Iterator[tuple[int, Mapping[str, Any]]]:
    arrow, parquet = _arrow()
    try:
        with parquet.ParquetFile(path, memory_map=True) as file:
            wanted = [
                field.name
                for field in file.schema_arrow
                if (columns is None or field.name in columns)
                and not arrow.types.is_null(field.type)
            ]
            number = 0
            for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=wanted):
                names = batch.schema.names
                values = [column.to_pylist() for column in batch.columns]
                for row in zip(*values, strict=True):
                    number += 1
                    yield number, dict(zip(names, row, strict=True))
    except (arrow.ArrowException, OSError) as error:
        _refuse_parquet(path, error)


def _refuse_parquet(path: Path, error: Exception) -> NoReturn:
    # Arrow's messages may go over several lines.
    reason = " ".join(str(error).split())[:200]
    raise DataFileError(
        f"not a readable Parquet file: {reason}", path=path, hint="write it again, or as .jsonl"
    ) from error


def _arrow() -> tuple[Any, Any]:
    try:
        import pyarrow as arrow
        from pyarrow import parquet
    except ImportError as error:
        raise MissingPrerequisiteError.extra("parquet", "pyarrow") from error
    return arrow, parquet
