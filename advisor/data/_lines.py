"""JSON objects, one per line, of a file that may be larger than memory; broken lines are data."""

import contextlib
import gzip
import hashlib
import io
import json
import tempfile
import zlib
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal, NamedTuple, NoReturn, cast

from policies import DataFileError

__all__ = [
    "MAX_LINE_BYTES",
    "BrokenLine",
    "FileState",
    "ObjectLine",
    "check_file",
    "describe_lines",
    "file_state",
    "hash_file",
    "kind_of",
    "open_bytes",
    "open_seekable",
    "parse_line",
    "read_line_at",
    "read_objects",
    "remember",
]

MAX_LINE_BYTES = 64 * 2**20
"""A longer line is broken: no row of training data comes near it, and lines are held whole."""

_N_NAMED = 20
_GZIP, _ZSTD = b"\x1f\x8b", b"(\xb5/\xfd"
_UNREAD = {b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"PK\x03\x04": "zip", b"PAR1": "Parquet"}
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_BOM = b"\xef\xbb\xbf"
_BLOCK = 2**20
_RANDOM_BLOCK = 2**14
"""After each jump a whole block is read: with blocks of 1 MiB, a million short rows took 110 s longer."""


@dataclass(frozen=True, slots=True)
class BrokenLine:
    """A line that cannot be used.

    Attributes:
        line: One-based number of the line.
        problem: What is wrong with it.
    """

    line: int
    problem: str

    def __str__(self) -> str:
        """Return such as `line 7 (no 'ift')`."""
        return f"line {self.line:,} ({self.problem})"


class ObjectLine(NamedTuple):
    """A line that holds a JSON object, and the byte at which it begins."""

    line: int
    offset: int
    value: dict[str, object]


class FileState(NamedTuple):
    """What changes when somebody writes to a file."""

    n_bytes: int
    mtime_ns: int


def describe_lines(lines: Sequence[BrokenLine], n: int, shown: int = 3) -> str:
    """Return the first lines by number and problem, and how many more of `n` there are.

    Args:
        lines: The lines that are known, the first ones first.
        n: All such lines.
        shown: How many to name.

    Example:
        >>> describe_lines([BrokenLine(4, "no 'ift'"), BrokenLine(9, "not UTF-8 at byte 3")], 7)
        "line 4 (no 'ift'), line 9 (not UTF-8 at byte 3) and 5 more"
    """
    named = ", ".join(map(str, lines[:shown]))
    rest = n - min(shown, len(lines))
    return f"{named} and {rest:,} more" if rest > 0 else named


def remember(lines: list[BrokenLine], line: BrokenLine) -> None:
    """Keep the first broken lines; the others are only counted."""
    if len(lines) < _N_NAMED:
        lines.append(line)


def check_file(path: Path) -> None:
    """Refuse what cannot be read twice, or is no file of lines.

    Raises:
        DataFileError: It is missing, empty, no regular file, unreadable, or of another format.
    """
    if str(path) == "-":
        raise DataFileError(
            "the standard input is not read, since the data are read twice",
            path=path,
            hint="write it to a file first",
        )
    if not path.exists():
        raise DataFileError("no such file", path=path, hint="check the path")
    if not path.is_file():
        raise DataFileError(
            "not a regular file", path=path, hint="give a JSONL file; it is read twice"
        )
    with _reading(path), path.open("rb") as file:
        start = file.read(4)
    if not start:
        raise DataFileError("the file is empty", path=path, hint="was it written to its end?")
    for magic, name in _UNREAD.items():
        if start.startswith(magic):
            raise DataFileError(
                f"is a {name} file, expected JSONL, plain or compressed with gzip or zstd",
                path=path,
                hint="write one JSON object per line",
            )
    if start.startswith(_UTF16):
        raise DataFileError(
            "is text in UTF-16, expected UTF-8", path=path, hint="save it again as UTF-8"
        )


def file_state(path: Path) -> FileState:
    """Return what tells that a file was written to meanwhile."""
    with _reading(path):
        found = path.stat()
    return FileState(found.st_size, found.st_mtime_ns)


def hash_file(path: Path) -> str:
    """Return the sha256 of a file's bytes, in hexadecimal."""
    with _reading(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def open_bytes(path: Path, block: int = _BLOCK) -> Generator[IO[bytes]]:
    """Open a file, plain or compressed, for reading its unpacked bytes from beginning to end."""
    with contextlib.ExitStack() as stack:
        packing = _packing(path)
        with _reading(path):
            file = stack.enter_context(path.open("rb", buffering=block))
        if packing == "gzip":
            file = stack.enter_context(gzip.GzipFile(fileobj=file, mode="rb"))
        elif packing == "zstd":
            file = stack.enter_context(_unpack_zstd(file))
        yield cast("IO[bytes]", file)


@contextlib.contextmanager
def open_seekable(path: Path) -> Generator[IO[bytes]]:
    """Open a file so that its unpacked bytes can be read at any place.

    A compressed file is unpacked into a temporary one first.

    Raises:
        DataFileError: It cannot be read, or there is no room to unpack it.
    """
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(open_bytes(path, _RANDOM_BLOCK))
        if _packing(path) is not None:
            file = stack.enter_context(_unpacked(path, file))
        yield file


@contextlib.contextmanager
def _unpacked(path: Path, file: IO[bytes]) -> Generator[IO[bytes]]:
    with contextlib.ExitStack() as stack:
        try:
            room = stack.enter_context(tempfile.TemporaryFile(buffering=_RANDOM_BLOCK))
            while block := _read(path, file, _BLOCK):
                room.write(block)
        except OSError as error:
            raise DataFileError(
                f"cannot be unpacked: {error.strerror or error}",
                path=path,
                hint=f"make room in {tempfile.gettempdir()}, or unpack it yourself",
            ) from error
        yield room


def _packing(path: Path) -> Literal["gzip", "zstd"] | None:
    with _reading(path), path.open("rb") as file:
        start = file.read(4)
    if start.startswith(_GZIP):
        return "gzip"
    return "zstd" if start == _ZSTD else None


def _unpack_zstd(file: IO[bytes]) -> IO[bytes]:
    import pyarrow as arrow

    stream = cast("io.RawIOBase", arrow.CompressedInputStream(arrow.PythonFile(file, "r"), "zstd"))
    return io.BufferedReader(stream, _BLOCK)  # The stream has no `readline` of its own.


def read_objects(path: Path) -> Iterator[ObjectLine | BrokenLine]:
    """Yield every line that is not blank: a JSON object, or what is wrong with it.

    Lines end with a line feed, with or without a carriage return before it. A byte order mark
    before the first is dropped. Offsets are those of the unpacked bytes.

    Raises:
        DataFileError: The file cannot be read to its end.
    """
    with open_bytes(path) as file:
        offset, number = 0, 0
        while raw := _read_line(path, file):
            begin, number = offset, number + 1
            offset += len(raw)
            if len(raw) > MAX_LINE_BYTES:
                offset += _skip_line(path, file, raw)
                yield BrokenLine(number, f"longer than {MAX_LINE_BYTES:,} bytes")
                continue
            if number == 1 and raw.startswith(_BOM):
                raw, begin = raw[3:], 3
            if raw.isspace() or not raw:
                continue
            found = parse_line(raw)
            if isinstance(found, str):
                yield BrokenLine(number, found)
            else:
                yield ObjectLine(number, begin, found)


def read_line_at(path: Path, file: IO[bytes], offset: int) -> bytes:
    """Return the line that begins at a byte of a file opened by `open_seekable`."""
    file.seek(offset)
    return _read_line(path, file)


def parse_line(raw: bytes) -> dict[str, object] | str:
    """Return the object on a line, or what is wrong with the line."""
    try:
        value: object = _DECODER.decode(raw.rstrip(b"\r\n").decode("utf-8"))
    except UnicodeDecodeError as error:
        return f"not UTF-8 at byte {error.start + 1:,}"
    except json.JSONDecodeError as error:
        cut = "" if raw.endswith(b"\n") else "; it has no line break: was the file cut off?"
        return f"not JSON: {error.msg} at column {error.colno:,}{cut}"
    except RecursionError:
        return "not JSON that can be read: nested too deeply"
    except ValueError as error:  # NaN, or an integer of thousands of digits
        return f"not JSON: {str(error)[:80]}"
    if not isinstance(value, dict):
        return f"{kind_of(value)}, expected an object"
    return cast("dict[str, object]", value)


def kind_of(value: object) -> str:
    """Return what a JSON value is, with an article."""
    return _KINDS.get(type(value), type(value).__name__)


_KINDS: dict[type, str] = {
    bool: "a truth value",
    dict: "an object",
    float: "a number",
    int: "a number",
    list: "a list",
    str: "a text",
    type(None): "null",
}


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON value")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


def _read_line(path: Path, file: IO[bytes]) -> bytes:
    try:
        return file.readline(MAX_LINE_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise _unreadable(path, error) from error


def _read(path: Path, file: IO[bytes], n: int) -> bytes:
    try:
        return file.read(n)
    except (OSError, EOFError, zlib.error) as error:
        raise _unreadable(path, error) from error


def _skip_line(path: Path, file: IO[bytes], raw: bytes) -> int:
    """Read to the end of a line whose beginning is `raw`; return the number of bytes read."""
    n = 0
    while raw and not raw.endswith(b"\n"):
        raw = _read_line(path, file)
        n += len(raw)
    return n


@contextlib.contextmanager
def _reading(path: Path) -> Generator[None]:
    try:
        yield
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> DataFileError:
    # What unpacks raises errors of its own, or an `OSError` without the number of a system's.
    is_packed = not isinstance(error, OSError) or error.errno is None
    reason = getattr(error, "strerror", None) or error
    return DataFileError(
        f"the compressed data are damaged: {reason}" if is_packed else f"cannot be read: {reason}",
        path=path,
        hint="was it copied to its end?" if is_packed else "check its permissions",
    )
