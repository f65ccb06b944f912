"""JSON members of a ZIP archive that nobody vouches for.

Nothing is ever unpacked to the disk. Every size an archive claims is checked before reading, and
what comes out is counted while reading, since claims may be lies.
"""

# pyarrow has no types.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from policies import DataFileError, MissingPrerequisiteError

__all__ = ["MAX_MEMBER_BYTES", "MAX_TOTAL_BYTES", "Archive"]

MAX_MEMBER_BYTES = 128 * 2**20
"""Largest member that is read, uncompressed."""
MAX_TOTAL_BYTES = 16 * 2**30
"""Most that is read from one archive, uncompressed."""

_MAX_MEMBERS = 2_000_000
_MAX_RATIO = 500
"""Logs shrink to a tenth or a fiftieth; bombs to a thousandth."""
_RATIO_FROM_BYTES = 2**20
# PKWARE APPNOTE 6.3.10, section 4.4.5; `zipfile` reads it from Python 3.14 on.
_ZSTANDARD = 93
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, _ZSTANDARD)
# What `zipfile` and the decompressors raise on bytes that are no archive. `NotImplementedError` is
# theirs for a compression method or version they do not know, `RuntimeError` for a member that is
# encrypted: both are properties of the file, so both become one line that names it.
_DAMAGES = (
    *(zipfile.BadZipFile, zlib.error, struct.error, OSError, EOFError, ValueError),
    *(NotImplementedError, RuntimeError),
)
_LOCAL_HEADER = struct.Struct("<4s22xHH")


class Archive:
    """A ZIP file open for reading; a context manager.

    Attributes:
        names: Names of the members in the order of the archive.
    """

    def __init__(self, path: Path) -> None:
        """Open an archive and check what it says of its members.

        Raises:
            DataFileError: It is damaged, or a member's name or size is hostile.
        """
        self._path = path
        try:
            self._zip = zipfile.ZipFile(path)
        # `NotImplementedError`: an archive in several parts, or of a version `zipfile` does not know.
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            raise DataFileError(
                f"not a readable ZIP archive: {error}", path=path, hint="copy the file again"
            ) from error
        try:
            self._members = {info.filename: info for info in self._zip.infolist()}
            self._check()
        except BaseException:
            self._zip.close()
            raise
        self.names = list(self._members)

    def __enter__(self) -> "Archive":
        """Return the archive."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Close the file."""
        self._zip.close()

    def read_json(self, name: str) -> object:
        """Return a member's JSON document.

        Raises:
            DataFileError: The member is too large, damaged, or not JSON in UTF-8.
        """
        data = self._read(self._members[name])
        try:
            return json.loads(data)
        except (ValueError, RecursionError) as error:
            raise self._error(f"the member {name!r} is not JSON: {error}") from error

    def members(self, folder: str, suffix: str) -> Iterator[str]:
        """Yield the names of a folder's members with a suffix, in the order of the archive."""
        return (n for n in self.names if n.startswith(f"{folder}/") and n.endswith(suffix))

    def _check(self) -> None:
        infos = self._zip.infolist()
        if len(infos) > _MAX_MEMBERS:
            raise self._error(f"{len(infos)} members are more than {_MAX_MEMBERS}")
        if len(self._members) < len(infos):
            raise self._error("two members have the same name")
        total = 0
        for info in infos:
            parts = PurePosixPath(info.filename.replace("\\", "/"))
            if parts.is_absolute() or ".." in parts.parts or "\0" in info.filename:
                raise self._error(f"the member {info.filename!r} points out of the archive")
            total += info.file_size
        if total > MAX_TOTAL_BYTES:
            raise self._error(f"it unpacks to {total} bytes, more than {MAX_TOTAL_BYTES}")

    def _check_size(self, info: zipfile.ZipInfo) -> None:
        size = info.file_size
        if size > MAX_MEMBER_BYTES:
            raise self._error(
                f"the member {info.filename!r} unpacks to more than {MAX_MEMBER_BYTES} bytes"
            )
        if size > _RATIO_FROM_BYTES and size > _MAX_RATIO * max(info.compress_size, 1):
            raise self._error(
                f"the member {info.filename!r} unpacks to more than {_MAX_RATIO} times its size"
            )

    def _read(self, info: zipfile.ZipInfo) -> bytes:
        if info.compress_type not in _METHODS or info.flag_bits & 1:
            raise self._error(
                f"the member {info.filename!r} is encrypted or compressed in a way that is not read"
            )
        self._check_size(info)
        try:
            if info.compress_type == _ZSTANDARD:
                data = self._read_zstandard(info)
            else:
                with self._zip.open(info) as file:
                    data = file.read(info.file_size + 1)
        except _DAMAGES as error:
            raise self._error(f"the member {info.filename!r} is damaged: {error}") from error
        if len(data) != info.file_size:
            raise self._error(f"the member {info.filename!r} has not the size it claims")
        return data

    def _read_zstandard(self, info: zipfile.ZipInfo) -> bytes:
        try:
            import pyarrow as arrow
        except ImportError as error:
            raise MissingPrerequisiteError.extra("parquet", "pyarrow") from error
        parts: list[bytes] = []
        left = info.file_size + 1
        with arrow.CompressedInputStream(arrow.BufferReader(self._raw(info)), "zstd") as stream:
            while left > 0:
                part = stream.read(min(left, 2**20))
                if not part:
                    break
                parts.append(part)
                left -= len(part)
        data = b"".join(parts)
        if zlib.crc32(data) != info.CRC:
            raise zipfile.BadZipFile("wrong checksum")
        return data

    def _raw(self, info: zipfile.ZipInfo) -> bytes:
        """Return a member's bytes as they lie in the file."""
        if info.compress_size > MAX_MEMBER_BYTES:
            raise ValueError("its compressed size is too large")
        file: BinaryIO
        with self._path.open("rb") as file:
            file.seek(info.header_offset)
            mark, n_name, n_extra = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
            if mark != b"PK\x03\x04":
                raise zipfile.BadZipFile("no member begins where one should")
            file.seek(n_name + n_extra, io.SEEK_CUR)
            data = file.read(info.compress_size)
        if len(data) < info.compress_size:
            raise EOFError("the file ends within it")
        return data

    def _error(self, problem: str) -> DataFileError:
        return DataFileError(
            problem, path=self._path, hint="is it a log that inspect wrote, and whole?"
        )
