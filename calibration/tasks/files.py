"""Tasks from a user's own file: JSONL, CSV or Parquet, columns mapped by name."""

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from policies import DataFileError, MissingPrerequisiteError, check_task_type

from ._task import Question, Task, question_id, take_in_fixed_order

__all__ = ["FILE_SUFFIXES", "ColumnMapping", "load_file_task"]

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

    Raises:
        DataFileError: The file is missing, empty, not of its format, or lacks a column or a
            value; the message names file and line.
        MissingPrerequisiteError: Parquet was given and pyarrow is not installed.
    """
    rows = list(_read_rows(path))
    if not rows:
        raise DataFileError("the file holds no questions", path=path)
    found = _find_columns(path, rows[0][1], columns)
    questions: dict[str, Question] = {}
    for line, row in rows:
        question = _question(path, line, row, found, columns.instruction)
        questions.setdefault(question.id, question)
    grader = columns.grader or _guess_grader(found, questions)
    task_type = check_task_type(columns.task_type or _guess_task_type(grader))
    ordered = take_in_fixed_order(questions.values(), limit, seed)
    return Task(path.stem, task_type, ordered, grader)


def _read_rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    if not path.is_file():
        raise DataFileError("no such file", path=path)
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        yield from _read_parquet(path)
        return
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            if suffix == ".jsonl":
                for line, text in enumerate(file, start=1):
                    if text.strip():
                        yield line, _parse_json_line(path, line, text)
            elif suffix == ".csv":
                reader = csv.DictReader(file, strict=True)
                for row in reader:
                    yield reader.line_num, row
            else:
                raise DataFileError(
                    f"files of type {path.suffix!r} are not read",
                    path=path,
                    hint=f"use {', '.join(FILE_SUFFIXES)}",
                )
    except UnicodeDecodeError as error:
        raise DataFileError(f"not UTF-8 text: {error.reason}", path=path) from error
    except csv.Error as error:
        raise DataFileError(f"not a CSV file: {error}", path=path) from error


def _parse_json_line(path: Path, line: int, text: str) -> Mapping[str, Any]:
    try:
        row: object = json.loads(text)
    except json.JSONDecodeError as error:
        raise DataFileError(
            f"not JSON: {error.msg} at column {error.colno}",
            path=path,
            line=line,
            hint="each line must be one JSON object",
        ) from error
    if not isinstance(row, dict):
        raise DataFileError(
            f"expected a JSON object, found {type(row).__name__}", path=path, line=line
        )
    return cast("dict[str, Any]", row)


def _read_parquet(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    try:
        import pyarrow as arrow
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise MissingPrerequisiteError.extra("parquet", "pyarrow") from error
    try:
        table = parquet.read_table(path)
    except (arrow.ArrowException, OSError) as error:
        raise DataFileError(f"not a Parquet file: {error}", path=path) from error
    yield from enumerate(table.to_pylist(), start=1)


def _find_columns(
    path: Path, row: Mapping[str, Any], columns: ColumnMapping
) -> dict[str, str | None]:
    def find(what: str, wanted: str | None, usual: tuple[str, ...], needed: bool) -> str | None:
        if wanted is not None and wanted in row:
            return wanted
        name = next((name for name in usual if name in row), None) if wanted is None else None
        if name is None and (needed or wanted is not None):
            asked = f"the column {wanted!r}" if wanted else f"a column for the {what}"
            raise DataFileError(
                f"{asked} is not in the file",
                path=path,
                hint=f"columns found: {', '.join(map(str, row))}; name it with --{what}-column",
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
        value = row.get(column) if column is not None else None
        if value is None or not str(value).strip():
            raise DataFileError(f"column {column!r} is empty", path=path, line=line)
        return str(value).strip()

    prompt, gold = text("prompt"), text("gold")
    options = _options(path, line, row, found["options"])
    if options:
        listed = (f"{_LETTERS[i]}) {option}" for i, option in enumerate(options))
        prompt = "\n".join([prompt, *listed])
        gold = _letter_of(path, line, gold, options)
    if instruction:
        prompt = f"{prompt}\n{instruction}"
    identifier = question_id(path.stem, prompt, gold)
    group = str(row[found["group"]]) if found["group"] else identifier
    return Question(identifier, prompt, gold, group)


def _options(
    path: Path, line: int, row: Mapping[str, Any], column: str | None
) -> list[str] | None:
    if column is None or row.get(column) is None:
        return None
    value: Any = row[column]
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except json.JSONDecodeError:
            value = None
    if not isinstance(value, list) or not 2 <= len(cast("list[Any]", value)) <= len(_LETTERS):
        raise DataFileError(
            f"column {column!r} is not a list of 2 to {len(_LETTERS)} options", path=path, line=line
        )
    return [str(option) for option in cast("list[Any]", value)]


def _letter_of(path: Path, line: int, gold: str, options: list[str]) -> str:
    """Return the gold option's letter; gold may be a letter or the option's text."""
    letters = _LETTERS[: len(options)]
    if len(gold) == 1 and gold.upper() in letters:
        return gold.upper()
    if gold in options:
        return letters[options.index(gold)]
    raise DataFileError(
        f"the gold answer {gold!r} is no option",
        path=path,
        line=line,
        hint=f"expected one of {', '.join(letters)} or an option's text",
    )


def _guess_grader(found: Mapping[str, str | None], questions: Mapping[str, Question]) -> str:
    if found["options"]:
        return "choice"
    from ..graders import parse_number

    if all(parse_number(question.gold) is not None for question in questions.values()):
        return "number"
    return "exact"


def _guess_task_type(grader: str) -> str:
    return {"choice": "general-mc", "number": "math-oe"}.get(grader, "general-oe")
