"""Tasks from a user's own file: JSONL, CSV or Parquet, columns mapped by name."""

# pyarrow has no types.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownMemberType=false

import csv
import io
import json
import logging
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

from policies import DataFileError, MissingPrerequisiteError, check_task_type

from ..graders import Grader, get_grader, parse_number
from ._task import Question, Task, question_id, take_in_fixed_order

__all__ = ["FILE_SUFFIXES", "ColumnMapping", "load_file_task"]

_LOGGER = logging.getLogger("thinkroute.calibration")
FILE_SUFFIXES = (".jsonl", ".csv", ".parquet")

_PROMPT_NAMES = ("prompt", "question", "problem", "input", "query")
_GOLD_NAMES = ("gold", "answer", "target", "label", "solution")
_OPTION_NAMES = ("options", "choices")
_GROUP_NAMES = ("group", "document_id")
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
BOXED_INSTRUCTION = "Put the final answer, and only it, inside \\boxed{}."


@dataclass(frozen=True, slots=True)
class ColumnMapping:
    """Which columns of a file mean what; `None` finds the column by its usual names.

    Attributes:
        prompt: Column with the question's text.
        gold: Column with the right answer.
        options: Column with a list of answer options, for multiple choice.
        group: Column that ties questions of one source together.
        task_type: Task type of the whole file.
        grader: `number`, `choice` or `exact`; `None` chooses by options and gold answers.
        instruction: Sentence appended to every prompt; "" for none.
    """

    prompt: str | None = None
    gold: str | None = None
    options: str | None = None
    group: str | None = None
    task_type: str | None = None
    grader: str | None = None
    instruction: str = BOXED_INSTRUCTION


def load_file_task(
    path: Path, columns: ColumnMapping, *, limit: int | None = None, seed: int = 0
) -> Task:
    """Read a file of questions into a task named after the file.

    Questions that are there twice are asked once.

    Raises:
        DataFileError: The file is missing, empty, not of its format, or lacks a column or a
            value, or a gold answer is nothing that the grader can compare; the message names
            file and line.
        UnknownNameError: There is no such grader.
        MissingPrerequisiteError: Parquet was given and pyarrow is not installed.
    """
    rows = list(_read_rows(path))
    if not rows:
        raise DataFileError(
            "the file holds no questions", path=path, hint="write one question per line or row"
        )
    found = _find_columns(path, [row for _, row in rows], columns)
    questions: dict[str, Question] = {}
    lines: dict[str, int] = {}
    for line, row in rows:
        question = _question(path, line, row, found, columns.instruction)
        if questions.setdefault(question.id, question) is question:
            lines[question.id] = line
    if len(questions) < len(rows):
        _LOGGER.info("%s: %d questions are there twice", path, len(rows) - len(questions))
    grader = get_grader(columns.grader or _guess_grader(found, questions))
    for question in questions.values():
        _check_gold(path, lines[question.id], question.gold, grader)
    task_type = check_task_type(columns.task_type or _guess_task_type(grader.name))
    ordered = take_in_fixed_order(questions.values(), limit, seed)
    return Task(path.stem, task_type, ordered, grader.name)


def _read_rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    if not path.is_file():
        raise DataFileError("no such file", path=path, hint="check the path")
    readers = {".jsonl": _read_jsonl, ".csv": _read_csv, ".parquet": _read_parquet}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise DataFileError(
            f"files of type {path.suffix!r} are not read",
            path=path,
            hint=f"use {', '.join(FILE_SUFFIXES)}",
        )
    try:
        yield from reader(path)
    except OSError as error:
        raise DataFileError(
            f"cannot be read: {error.strerror or error}", path=path, hint="check its permissions"
        ) from error


def _read_text(path: Path) -> str:
    data = path.read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataFileError(
            f"not UTF-8 text: {error.reason}",
            path=path,
            line=data.count(b"\n", 0, error.start) + 1,
            hint="save the file as UTF-8",
        ) from error


def _read_jsonl(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for line, text in enumerate(io.StringIO(_read_text(path), newline=None), start=1):
        if text.strip():
            yield line, _parse_json_line(path, line, text)


def _read_csv(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    reader = csv.DictReader(io.StringIO(_read_text(path), newline=""), strict=True)
    try:
        for line, row in _numbered(reader):
            if None in row:
                raise DataFileError(
                    "the row has more cells than the header has columns",
                    path=path,
                    line=line,
                    hint='put texts that contain a comma in quotes: "1,000"',
                )
            yield line, row
    except csv.Error as error:
        raise DataFileError(
            f"not a CSV file: {error}",
            path=path,
            line=reader.line_num + 1,  # It counts the rows that were read whole.
            hint="use a comma between cells and double quotes around texts",
        ) from error


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


def _read_parquet(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    try:
        import pyarrow as arrow
        from pyarrow import parquet
    except ImportError as error:
        raise MissingPrerequisiteError.extra("parquet", "pyarrow") from error
    try:
        table = parquet.read_table(path)
    except (arrow.ArrowException, OSError) as error:
        raise DataFileError(
            f"not a Parquet file: {error}", path=path, hint="write it again, or use .jsonl or .csv"
        ) from error
    yield from enumerate(table.to_pylist(), start=1)


def _find_columns(
    path: Path, rows: Sequence[Mapping[str, Any]], columns: ColumnMapping
) -> dict[str, str | None]:
    names = dict.fromkeys(name for row in rows for name in row)

    def find(what: str, wanted: str | None, usual: tuple[str, ...], needed: bool) -> str | None:
        if wanted is not None and wanted in names:
            return wanted
        name = next((name for name in usual if name in names), None) if wanted is None else None
        if name is None and (needed or wanted is not None):
            asked = f"the column {wanted!r}" if wanted else f"a column for the {what}"
            raise DataFileError(
                f"{asked} is not in the file",
                path=path,
                hint=f"columns found: {', '.join(names)}; name it with --{what}-column",
            )
        return name

    return {
        "prompt": find("prompt", columns.prompt, _PROMPT_NAMES, True),
        "gold": find("gold", columns.gold, _GOLD_NAMES, True),
        "options": find("options", columns.options, _OPTION_NAMES, False),
        "group": find("group", columns.group, _GROUP_NAMES, False),
    }


def _question(
    path: Path,
    line: int,
    row: Mapping[str, Any],
    found: Mapping[str, str | None],
    instruction: str,
) -> Question:
    def text(what: str) -> str:
        column = found[what]
        value = _text_of(path, line, column, row.get(column) if column is not None else None)
        if not value:
            raise DataFileError(
                f"column {column!r} is empty",
                path=path,
                line=line,
                hint="fill it in, or leave the line out",
            )
        return value

    prompt, gold = text("prompt"), text("gold")
    options = _options(path, line, row, found["options"])
    if options:
        listed = (f"{_LETTERS[i]}) {option}" for i, option in enumerate(options))
        prompt = "\n".join([prompt, *listed])
        gold = _letter_of(path, line, gold, options)
    if instruction:
        prompt = f"{prompt}\n{instruction}"
    identifier = question_id(path.stem, prompt, gold)
    column = found["group"]
    group = "" if column is None else _text_of(path, line, column, row.get(column))
    return Question(identifier, prompt, gold, group or identifier)


def _text_of(path: Path, line: int, column: str | None, value: object) -> str:
    """Return a cell as text, "" if there is nothing in it."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if not isinstance(value, str | int | float | Decimal):
        raise DataFileError(
            f"column {column!r} holds {type(value).__name__}, expected a text or a number",
            path=path,
            line=line,
            hint="write the one right answer, or the whole prompt, as a text",
        )
    text = str(value).strip()
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DataFileError(
            f"column {column!r} holds half a surrogate pair",
            path=path,
            line=line,
            hint="write such characters out or leave them away",
        ) from error
    return text


def _options(path: Path, line: int, row: Mapping[str, Any], column: str | None) -> list[str] | None:
    if column is None or row.get(column) in (None, ""):
        return None
    value: Any = row[column]
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            value = None
    if not isinstance(value, list) or not 2 <= len(cast("list[Any]", value)) <= len(_LETTERS):
        raise DataFileError(
            f"column {column!r} is not a list of 2 to {len(_LETTERS)} options",
            path=path,
            line=line,
            hint='in CSV files write a JSON list: ["first", "second"]',
        )
    options = [_text_of(path, line, column, option) for option in cast("list[Any]", value)]
    # Some data sets number their options: `A)5`, `B)6`.
    if all(
        option[:2] in (f"{_LETTERS[i]})", f"{_LETTERS[i]}.") for i, option in enumerate(options)
    ):
        options = [option[2:].strip() for option in options]
    return options


def _letter_of(path: Path, line: int, gold: str, options: list[str]) -> str:
    """Return the gold option's letter; gold may be a letter or the option's text."""
    letters = _LETTERS[: len(options)]
    if len(gold) == 1 and gold.upper() in letters:
        return gold.upper()
    if options.count(gold) == 1:
        return letters[options.index(gold)]
    problem = "is several options" if gold in options else "is no option"
    raise DataFileError(
        f"the gold answer {gold!r} {problem}",
        path=path,
        line=line,
        hint=f"expected one of {', '.join(letters)} or an option's text",
    )


def _check_gold(path: Path, line: int, gold: str, grader: Grader) -> None:
    """Refuse a gold answer that no answer could ever equal."""
    problem = grader.check_gold(gold)
    if problem is not None:
        raise DataFileError(
            f"the gold answer {gold!r} is nothing that the grader {grader.name!r} can compare:"
            f" {problem}",
            path=path,
            line=line,
            hint="choose another grader: --grader exact",
        )


def _guess_grader(found: Mapping[str, str | None], questions: Mapping[str, Question]) -> str:
    if found["options"]:
        return "choice"
    golds: Iterable[str] = (question.gold for question in questions.values())
    return "number" if all(parse_number(gold) is not None for gold in golds) else "exact"


def _guess_task_type(grader: str) -> str:
    return {"choice": "general-mc", "number": "math-oe"}.get(grader, "general-oe")
