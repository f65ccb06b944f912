"""JSONL files in a folder that are whole as soon as their manifest is there."""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from policies import InvalidInputError

from .._json_values import json_values

__all__ = ["MANIFEST", "DataFile", "FolderWriter"]

MANIFEST = "manifest.json"
"""Written last."""


@dataclass(frozen=True, slots=True)
class DataFile:
    """One written file.

    Attributes:
        name: Its name in the folder.
        n_rows: Its rows.
        sha256: Hash of its bytes.
    """

    name: str
    n_rows: int
    sha256: str


class _Growing:
    """A file beside its final place, with a hash that grows along."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.n_rows = 0
        self._digest = hashlib.sha256()
        self._stream: IO[bytes] = path.open("wb")

    def add(self, line: bytes) -> None:
        self._stream.write(line)
        self._digest.update(line)
        self.n_rows += 1

    def described(self, name: str) -> DataFile:
        return DataFile(name, self.n_rows, self._digest.hexdigest())

    def flush(self) -> None:
        self._stream.flush()

    def sync(self) -> None:
        self.flush()
        os.fsync(self._stream.fileno())
        self._stream.close()

    def drop(self) -> None:
        self._stream.close()
        self.path.unlink(missing_ok=True)


class FolderWriter:
    """Writes rows to temporary files, which `finish` puts in their places.

    A build that is not finished leaves the folder as it was.
    """

    def __init__(self, folder: Path, managed: Iterable[str], manifest: str = MANIFEST) -> None:
        """Take the folder, the names of all files that a build may write, and the manifest's."""
        self._folder = folder
        self._managed = tuple(managed)
        self._manifest = manifest
        self._open: dict[str, _Growing] = {}
        self._is_new = False

    def __enter__(self) -> Self:
        """Make the folder.

        Raises:
            InvalidInputError: It cannot be made, or something else has its name.
        """
        self._is_new = not self._folder.exists()
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._unwritable(error) from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove what was not finished."""
        for one in self._open.values():
            one.drop()
        if self._is_new and not any(self._folder.iterdir()):
            self._folder.rmdir()

    def add(self, name: str, row: Mapping[str, Any]) -> None:
        """Write a row to a file.

        Raises:
            InvalidInputError: The folder cannot be written.
        """
        line = json.dumps(row, ensure_ascii=False) + "\n"
        try:
            if name not in self._open:
                self._open[name] = _Growing(self._temporary(name))
            self._open[name].add(line.encode("utf-8", "backslashreplace"))
        except OSError as error:
            raise self._unwritable(error) from error

    def written(self, name: str) -> Path:
        """Return where the rows of a file lie until `finish`, so that they can be read.

        Raises:
            InvalidInputError: The folder cannot be written.
            KeyError: No row was added.
        """
        try:
            self._open[name].flush()
        except OSError as error:
            raise self._unwritable(error) from error
        return self._open[name].path

    def files(self) -> tuple[DataFile, ...]:
        """Return the files as they stand."""
        return tuple(
            self._open[name].described(name) for name in self._managed if name in self._open
        )

    def finish(
        self, manifest: Mapping[str, Any], documents: Mapping[str, Mapping[str, Any]]
    ) -> None:
        """Put the files in their places, then JSON documents, then the manifest; older files go.

        Raises:
            InvalidInputError: The folder cannot be written.
        """
        try:
            for one in self._open.values():
                one.sync()
            # While files are exchanged there is no manifest that would speak for them.
            (self._folder / self._manifest).unlink(missing_ok=True)
            for name in self._managed:
                if name in self._open:
                    os.replace(self._open[name].path, self._folder / name)
                else:
                    (self._folder / name).unlink(missing_ok=True)
            self._open.clear()
            for name, document in {**documents, self._manifest: manifest}.items():
                text = json.dumps(
                    json_values(document), indent=2, ensure_ascii=False, allow_nan=False
                )
                growing = _Growing(self._temporary(name))
                growing.add(f"{text}\n".encode())
                growing.sync()
                os.replace(growing.path, self._folder / name)
        except OSError as error:
            raise self._unwritable(error) from error

    def _temporary(self, name: str) -> Path:
        return self._folder / f".{name}.tmp"

    def _unwritable(self, error: OSError) -> InvalidInputError:
        return InvalidInputError(
            f"{self._folder} cannot be written: {error.strerror or error}",
            hint="choose another --out",
            code="unwritable-folder",
        )
