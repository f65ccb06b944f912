"""A user's own task as a TOML file: where its questions are and how they are asked."""

import tomllib
from dataclasses import fields, replace
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from policies import DataFileError, InvalidInputError, check_task_type

from ._task import Task
from ._template import PromptTemplate
from .files import BOXED_INSTRUCTION, ColumnMapping, load_file_task

__all__ = ["TaskColumns", "TaskFile", "load_declared_task"]

_Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
_Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]


class TaskColumns(BaseModel):
    """Which columns of the data mean what; what is left out is found by its usual names."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    prompt: _Text | None = None
    """Column with the question; usual names: prompt, question, problem, input, query."""
    gold: _Text | None = None
    """Column with the right answer; usual names: gold, answer, target, label, solution."""
    options: _Text | None = None
    """Column with a list of answer options; usual names: options, choices."""
    group: _Text | None = None
    """Column that ties questions of one source; usual names: group, document_id."""
    level: _Text | None = None
    """Column with the difficulty, a whole number; never guessed."""


class TaskFile(BaseModel):
    """A task as its TOML file declares it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: _Name
    """Name in tables: letters, digits, dots, hyphens and underscores, at most 64."""
    data: _Text
    """File with the questions (.jsonl, .csv, .parquet); relative to the TOML file's folder."""
    columns: TaskColumns = TaskColumns()
    """Which columns mean what."""
    grader: _Text | None = None
    """Grader of the answers; left out, `number`, `choice` or `exact` is chosen by the data."""
    task_type: _Text | None = None
    """Task type: a built-in one or the user's own; left out, it follows from the grader."""
    instruction: str | None = None
    """Sentence appended to every question, "" for none; not together with `prompt`."""
    prompt: _Text | None = None
    """The whole prompt with `{column}` in the places of columns; not with `instruction`."""
    version: Annotated[int, Field(ge=1)] = 1
    """Raise it whenever the questions, the prompt or the gold answers change."""
    source: str = ""
    """Where the questions come from."""
    licence: str = ""
    """Licence of the questions."""


def load_declared_task(
    path: Path, columns: ColumnMapping, *, limit: int | None = None, seed: int = 0
) -> Task:
    """Load the task that a TOML file declares.

    Args:
        path: The TOML file.
        columns: What the caller says itself; a field that differs from its default counts
            before the file's.
        limit: Most questions, `None` for all.
        seed: Chooses and orders the questions.

    Raises:
        DataFileError: The TOML file or its data cannot be read, or a field is wrong; all wrong
            fields are named at once.
        InvalidInputError: The caller's own template or task type cannot be used.
        UnknownNameError: There is no such grader.
        MissingPrerequisiteError: A library is missing.
    """
    declared = _read(path)
    mapping = ColumnMapping(
        prompt=declared.columns.prompt,
        gold=declared.columns.gold,
        options=declared.columns.options,
        group=declared.columns.group,
        level=declared.columns.level,
        task_type=declared.task_type,
        grader=declared.grader,
        template=declared.prompt,
        instruction=_instruction(declared),
    )
    given = {
        field.name: getattr(columns, field.name)
        for field in fields(ColumnMapping)
        if getattr(columns, field.name) != field.default
    }
    task = load_file_task(
        path.parent / declared.data,
        replace(mapping, **given),
        limit=limit,
        seed=seed,
        name=declared.name,
    )
    return replace(task, version=declared.version, source=declared.source, licence=declared.licence)


def _instruction(declared: TaskFile) -> str:
    if declared.instruction is not None:
        return declared.instruction.strip()
    # A template says all there is to say.
    return "" if declared.prompt is not None else BOXED_INSTRUCTION


def _read(path: Path) -> TaskFile:
    if not path.is_file():
        said = "a folder, expected a file" if path.is_dir() else "no such file"
        raise DataFileError(said, path=path, hint="check the path")
    try:
        declared = TaskFile.model_validate(tomllib.loads(path.read_bytes().decode("utf-8-sig")))
    except UnicodeDecodeError as error:
        raise DataFileError(
            f"not UTF-8 text: {error.reason}", path=path, hint="save the file as UTF-8"
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise DataFileError(
            f"not TOML: {error}",
            path=path,
            hint='write texts in quotes: name = "my-task"; backslashes in single quotes',
        ) from error
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()
        )
        raise DataFileError(
            problems, path=path, hint=f"fields: {', '.join(TaskFile.model_fields)}"
        ) from error
    except OSError as error:
        raise DataFileError(
            f"cannot be read: {error.strerror or error}", path=path, hint="check its permissions"
        ) from error
    _check(path, declared)
    return declared


def _check(path: Path, declared: TaskFile) -> None:
    if declared.prompt is not None and declared.instruction is not None:
        raise DataFileError(
            "both prompt and instruction are given",
            path=path,
            hint="write the instruction into the prompt",
        )
    for field in ("prompt", "instruction"):
        text: str = getattr(declared, field) or ""
        if any(character < " " and character not in "\n\r\t" for character in text):
            # In double quotes TOML reads the first two characters of \boxed as a backspace.
            raise DataFileError(
                f"{field} holds a control character: {text[:60]!r}",
                path=path,
                hint=f"write texts with backslashes in single quotes: {field} = '\\boxed{{}}'",
            )
    try:
        if declared.prompt is not None:
            PromptTemplate.parse(declared.prompt)
        if declared.task_type is not None:
            check_task_type(declared.task_type)
    except InvalidInputError as error:
        raise DataFileError(error.message, path=path, hint=error.hint) from error
