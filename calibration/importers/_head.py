"""What a file is, told from its first bytes and never from its name alone."""

import itertools
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from policies import DataFileError

from ._archive import Archive
from ._json_stream import read_members
from ._rows import MAX_LINE_BYTES, parse_object, read_csv_header, read_parquet_columns

__all__ = ["FileHead", "Kind", "look_at"]

Kind = Literal["csv", "jsonl", "json", "parquet", "zip"]

# A pickle of protocol 2 or later begins with PROTO and its number.
_PICKLE = re.compile(rb"\x80[\x02-\x05]")
_COMPRESSED = {b"\x1f\x8b": "gzip", b"(\xb5/\xfd": "zstd", b"BZh": "bzip2", b"\xfd7zXZ": "xz"}
_N_KEYS = 4
_N_NAMES = 64


@dataclass(frozen=True, slots=True)
class FileHead:
    """The outside of a file.

    Attributes:
        kind: What it is made of.
        names: Columns, keys of the first object, or the first members of an archive.
    """

    kind: Kind
    names: tuple[str, ...]


def look_at(path: Path) -> FileHead:
    """Return what a file is made of.

    Raises:
        DataFileError: It is missing, empty, pickled, compressed, or not text in UTF-8.
        MissingPrerequisiteError: It is a Parquet file and pyarrow is not installed.
    """
    if not path.is_file():
        raise DataFileError("no such file", path=path, hint="check the path")
    try:
        with path.open("rb") as file:
            start = file.read(4096)
    except OSError as error:
        raise DataFileError(
            f"cannot be read: {error.strerror or error}", path=path, hint="check its permissions"
        ) from error
    if not start:
        raise DataFileError("the file is empty", path=path, hint="was it written to its end?")
    if _PICKLE.match(start) or path.suffix.lower() in {".pkl", ".pickle"}:
        raise DataFileError(
            "pickled files are never read, since reading one runs whatever it holds",
            path=path,
            hint="where you trust the file, write it anew as a table: "
            "pandas.read_pickle(FILE).to_csv(NEW, index=False)",
        )
    for mark, name in _COMPRESSED.items():
        if start.startswith(mark):
            raise DataFileError(f"the file is compressed with {name}", path=path, hint="unpack it")
    if start.startswith(b"PAR1"):
        return FileHead("parquet", tuple(read_parquet_columns(path)))
    if start.startswith(b"PK\x03\x04"):
        with Archive(path) as archive:
            return FileHead("zip", tuple(archive.names[:_N_NAMES]))
    stripped = start.removeprefix(b"\xef\xbb\xbf").lstrip()
    if stripped.startswith(b"{"):
        return _look_at_json(path)
    return FileHead("csv", tuple(read_csv_header(path)))


def _look_at_json(path: Path) -> FileHead:
    """Tell lines of objects from one object."""
    with path.open("rb") as file:
        number, line = 1, file.readline(MAX_LINE_BYTES + 1)
        while line and line.removeprefix(b"\xef\xbb\xbf").isspace():
            number, line = number + 1, file.readline(MAX_LINE_BYTES + 1)
        has_more = bool(file.readline(MAX_LINE_BYTES + 1).strip())
    text = line.removeprefix(b"\xef\xbb\xbf").strip()
    if text.endswith(b"}") and len(line) <= MAX_LINE_BYTES:
        try:
            row = parse_object(path, number, text.decode())
        except UnicodeDecodeError as error:
            raise DataFileError(
                f"not UTF-8 text: {error.reason}",
                path=path,
                line=number,
                hint="save the file as UTF-8",
            ) from error
        # A log that was written without line breaks is one line too.
        kind = "json" if not has_more and "samples" in row and "eval" in row else "jsonl"
        return FileHead(kind, tuple(row))
    # A line that ends within the object, or goes on and on, is no line of JSONL.
    is_open = len(line) > MAX_LINE_BYTES or text.endswith((b"{", b"[", b",", b":"))
    if is_open or not has_more:
        keys = itertools.islice((key for key, _ in read_members(path, "samples")), _N_KEYS)
        return FileHead("json", tuple(keys))
    parse_object(path, number, text.decode(errors="replace"))
    return FileHead("jsonl", ())
