"""Members of one large JSON object, the elements of one of its lists one by one."""

import codecs
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from policies import DataFileError

__all__ = ["MAX_VALUE_CHARACTERS", "read_members"]

MAX_VALUE_CHARACTERS = 128 * 2**20
"""Longest single value that is held in memory."""

_CHUNK_BYTES = 2**20
_SPACE = re.compile(r"[ \t\r\n]*")


def read_members(path: Path, list_key: str) -> Iterator[tuple[str, Any]]:
    """Yield (key, value) of a file's top-level object.

    The list under `list_key` comes element by element, each under that key, so that only one
    of them is in memory.

    Raises:
        DataFileError: The file is not one JSON object in UTF-8, or one value is too large.
    """
    with path.open("rb") as file:
        text = _Text(path, file)
        text.expect("{")
        if text.take("}"):
            return
        while True:
            key = text.value()
            if not isinstance(key, str):
                text.refuse("expected a key")
            text.expect(":")
            if key == list_key and text.take("["):
                while not text.take("]"):
                    yield key, text.value()
                    if not text.take(","):
                        text.expect("]")
                        break
            else:
                yield key, text.value()
            if text.take("}"):
                return
            text.expect(",")


class _Text:
    """A file's text from the place that was reached, read on as needed."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self._path, self._file = path, file
        self._decode = codecs.getincrementaldecoder("utf-8-sig")().decode
        self._buffer, self._next, self._before = "", 0, 0
        self._is_at_end = False
        self._scan = json.JSONDecoder().raw_decode

    def take(self, mark: str) -> bool:
        """Step over a mark if it is the next character that is no space."""
        if self._skip_space() and self._buffer[self._next] == mark:
            self._next += 1
            return True
        return False

    def expect(self, mark: str) -> None:
        if not self.take(mark):
            self.refuse(f"expected {mark!r}")

    def value(self) -> Any:
        """Return the value that begins here."""
        self._skip_space()
        while True:
            try:
                value, end = self._scan(self._buffer, self._next)
            except RecursionError:
                self.refuse("nested too deeply")
            except ValueError as error:
                if not self._fill():
                    self.refuse(error.msg if isinstance(error, json.JSONDecodeError) else "number")
                continue
            # A number may go on behind the end of what was read.
            if end == len(self._buffer) and self._fill():
                continue
            self._next = end
            return value

    def refuse(self, problem: str) -> NoReturn:
        raise DataFileError(
            f"not JSON: {problem} at character {self._before + self._next + 1}",
            path=self._path,
            hint="was the file written to its end?",
        )

    def _skip_space(self) -> bool:
        while True:
            match = _SPACE.match(self._buffer, self._next)
            self._next = match.end() if match else self._next
            if self._next < len(self._buffer):
                return True
            if not self._fill():
                return False

    def _fill(self) -> bool:
        """Read on; return whether anything came. What was taken already is let go."""
        if self._is_at_end:
            return False
        held = len(self._buffer) - self._next
        if held > MAX_VALUE_CHARACTERS:
            self.refuse(f"a value of more than {MAX_VALUE_CHARACTERS} characters")
        # As much again as is held: a long value is then scanned a few times only.
        data = self._file.read(max(_CHUNK_BYTES, held))
        self._is_at_end = not data
        try:
            more = self._decode(data, self._is_at_end)
        except UnicodeDecodeError as error:
            raise DataFileError(
                f"not UTF-8 text: {error.reason}", path=self._path, hint="save the file as UTF-8"
            ) from error
        self._before += self._next
        self._buffer = self._buffer[self._next :] + more
        self._next = 0
        return bool(more) or not self._is_at_end
