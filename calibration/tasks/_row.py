"""A row of data and its cells, with errors that say where."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

from policies import DataFileError

__all__ = ["LETTERS", "Row", "list_options"]

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a file or of a data set.

    Attributes:
        place: The file, or the data set's name.
        line: One-based line or row number.
        cells: Values by column.
    """

    place: Path | str
    line: int
    cells: Mapping[str, Any]

    def problem(self, message: str, hint: str) -> DataFileError:
        """Return the error for this row."""
        return DataFileError(message, path=self.place, line=self.line, hint=hint)

    def has(self, column: str) -> bool:
        """Return whether the row has a value in a column."""
        value = self.cells.get(column)
        return value is not None and not (isinstance(value, float) and math.isnan(value))

    def text(self, column: str) -> str:
        """Return a cell as text without blanks around it.

        Raises:
            DataFileError: There is no such column, it is empty, or it holds no text.
        """
        value = self.optional_text(column)
        if not value:
            raise self._empty(column)
        return value

    def optional_text(self, column: str) -> str:
        """Return a cell as text without blanks around it, "" if there is nothing in it.

        Raises:
            DataFileError: It holds something else than a text or a number.
        """
        return self._text_of(column, self.cells.get(column)).strip()

    def raw_text(self, column: str) -> str:
        """Return a cell as it is, blanks and all; for code.

        Raises:
            DataFileError: There is no such column, it is blank, or it holds no text.
        """
        value = self._text_of(column, self.cells.get(column))
        if not value.strip():
            raise self._empty(column)
        return value

    def integer(self, column: str) -> int:
        """Return a cell as a whole number.

        Raises:
            DataFileError: It is none.
        """
        text = self.text(column)
        try:
            number = float(text)
            if number.is_integer():
                return int(number)
        except (ValueError, OverflowError):
            pass
        raise self.problem(
            f"column {column!r} holds {text[:40]!r}, expected a whole number", "correct the row"
        )

    def sequence(self, column: str) -> list[Any]:
        """Return a cell as a list; in CSV files lists are written as JSON.

        Raises:
            DataFileError: It is none.
        """
        value = self._unpacked(column)
        if not isinstance(value, list):
            raise self.problem(
                f"column {column!r} holds {type(value).__name__}, expected a list",
                'in CSV files write a JSON list: ["first", "second"]',
            )
        return cast("list[Any]", value)

    def mapping(self, column: str) -> dict[str, Any]:
        """Return a cell as named fields; in CSV files they are written as a JSON object.

        Raises:
            DataFileError: It is something else.
        """
        value = self._unpacked(column)
        if not isinstance(value, dict):
            raise self.problem(
                f"column {column!r} holds {type(value).__name__}, expected named fields",
                'in CSV files write a JSON object: {"text": ["first"]}',
            )
        return cast("dict[str, Any]", value)

    def texts(self, column: str) -> list[str]:
        """Return a cell as a list of texts, at least one and none of them empty.

        Raises:
            DataFileError: It is none.
        """
        return self.texts_of(column, self.sequence(column))

    def texts_in(self, column: str, field: str) -> list[str]:
        """Return the texts of a field in a cell, `{"text": [...]}` or `[{"text": ...}, ...]`.

        Raises:
            DataFileError: There is no such field, or one of its texts is empty.
        """
        return self.texts_of(column, self._unpacked(column), field)

    def texts_of(self, column: str, value: object, field: str | None = None) -> list[str]:
        """Return the texts of a list that was found in a cell, at least one and none empty.

        Args:
            column: The cell, for messages.
            value: The list, or with `field` a mapping of lists or a list of mappings.
            field: Which field of `value`.

        Raises:
            DataFileError: It is no such list, or one of the texts is empty.
        """
        if field is not None:
            value = _field(value, field)
        found = cast("list[object]", value) if isinstance(value, list) else []
        texts = [self._text_of(column, one).strip() for one in found]
        if not texts or not all(texts):
            where = f"column {column!r}" if field is None else f"column {column!r}, {field!r},"
            raise self.problem(
                f"{where} holds no list of texts", "fill it in, or leave the row out"
            )
        return texts

    def options(self, column: str) -> list[str]:
        """Return a cell as 2 to 26 answer options, without letters that number them.

        Raises:
            DataFileError: It is none.
        """
        try:
            values = self.sequence(column)
        except DataFileError:
            values = []
        if not 2 <= len(values) <= len(LETTERS):
            raise self.problem(
                f"column {column!r} is not a list of 2 to {len(LETTERS)} options",
                'in CSV files write a JSON list: ["first", "second"]',
            )
        options = [self._text_of(column, value).strip() for value in values]
        # Some data sets number their options: `A)5`, `B)6`.
        numbers = [(f"{letter})", f"{letter}.") for letter in LETTERS]
        if all(option.startswith(numbers[i]) for i, option in enumerate(options)):
            options = [option[2:].strip() for option in options]
        return options

    def letter(self, gold: str, options: list[str]) -> str:
        """Return the gold option's letter; gold may be a letter or the option's text.

        Raises:
            DataFileError: It is no option, or several.
        """
        letters = LETTERS[: len(options)]
        if len(gold) == 1 and gold.upper() in letters:
            return gold.upper()
        if options.count(gold) == 1:
            return letters[options.index(gold)]
        problem = "is several options" if gold in options else "is no option"
        raise self.problem(
            f"the gold answer {gold!r} {problem}",
            f"expected one of {', '.join(letters)} or an option's text",
        )

    def _empty(self, column: str) -> DataFileError:
        if column not in self.cells:
            return self.problem(
                f"the column {column!r} is not there", f"columns found: {', '.join(self.cells)}"
            )
        return self.problem(f"column {column!r} is empty", "fill it in, or leave the line out")

    def _unpacked(self, column: str) -> object:
        if not self.has(column):
            raise self._empty(column)
        value: object = self.cells[column]
        if isinstance(value, str):
            try:
                return json.loads(value)
            except (ValueError, RecursionError):
                return value
        return value

    def _text_of(self, column: str, value: object) -> str:
        if value is None or (isinstance(value, float) and math.isnan(value)):
            return ""
        if not isinstance(value, str | int | float | Decimal):
            raise self.problem(
                f"column {column!r} holds {type(value).__name__}, expected a text or a number",
                "write the one right answer, or the whole prompt, as a text",
            )
        text = str(value)
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise self.problem(
                f"column {column!r} holds half a surrogate pair",
                "write such characters out or leave them away",
            ) from error
        return text


def _field(value: object, field: str) -> object:
    if isinstance(value, dict):
        return cast("dict[str, object]", value).get(field)
    if isinstance(value, list):
        entries = cast("list[object]", value)
        return [
            cast("dict[str, object]", one).get(field) if isinstance(one, dict) else None
            for one in entries
        ]
    return None


def list_options(options: list[str]) -> str:
    """Return options one a line, lettered.

    Example:
        >>> print(list_options(["red", "green"]))
        A) red
        B) green
    """
    return "\n".join(f"{LETTERS[i]}) {option}" for i, option in enumerate(options))
