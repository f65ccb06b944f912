"""Tasks from a user's own file: JSONL, CSV or Parquet, columns mapped by name."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from policies import DataFileError, InvalidInputError, check_task_type

from ..graders import Grader, get_grader, parse_number
from ._reading import column_names, read_rows
from ._row import Row, list_options
from ._task import Question, Task, question_id, take_in_fixed_order
from ._template import PromptTemplate

__all__ = ["BOXED_INSTRUCTION", "ColumnMapping", "check_gold", "distinct", "load_file_task"]

_LOGGER = logging.getLogger("thinkroute.calibration")

_PROMPT_NAMES = ("prompt", "question", "problem", "input", "query")
_GOLD_NAMES = ("gold", "answer", "target", "label", "solution")
_OPTION_NAMES = ("options", "choices")
_GROUP_NAMES = ("group", "document_id")
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
        grader: A grader's name; `None` chooses `number`, `choice` or `exact` by options and
            gold answers.
        instruction: Sentence appended to every prompt; "" for none.
        level: Column with the difficulty, a whole number; `None` for none.
        template: Prompt with `{column}` in the places of columns, instead of the prompt column
            and the list of options.
    """

    prompt: str | None = None
    gold: str | None = None
    options: str | None = None
    group: str | None = None
    task_type: str | None = None
    grader: str | None = None
    instruction: str = BOXED_INSTRUCTION
    level: str | None = None
    template: str | None = None


@dataclass(frozen=True, slots=True)
class _Columns:
    """The columns as found in a file; without a prompt column there is a template."""

    prompt: str | None
    gold: str
    options: str | None
    group: str | None
    level: str | None
    template: PromptTemplate | None


def load_file_task(
    path: Path,
    columns: ColumnMapping,
    *,
    limit: int | None = None,
    seed: int = 0,
    name: str | None = None,
) -> Task:
    """Read a file of questions into a task.

    Questions that are there twice are asked once. The file is gone through more than once and
    never held whole: memory is that of the questions asked.

    Args:
        path: The file.
        columns: What its columns mean.
        limit: Most questions, `None` for all.
        seed: Chooses and orders the questions.
        name: The task's name; `None` takes the file's.

    Raises:
        DataFileError: The file is missing, empty, not of its format, or lacks a column or a
            value, or a gold answer is nothing that the grader can compare; the message names
            file and line.
        InvalidInputError: The template cannot be used.
        UnknownNameError: There is no such grader.
        MissingPrerequisiteError: Parquet was given and pyarrow is not installed, or the grader
            needs a library that is not.
    """
    template = PromptTemplate.parse(columns.template) if columns.template is not None else None
    names = column_names(path)
    if not names:
        raise _no_questions(path)
    found = _find_columns(path, names, columns, template)
    grader = get_grader(columns.grader or _guess_grader(path, found))
    task_type = check_task_type(columns.task_type or _guess_task_type(grader.name))
    name = name or path.stem

    def questions() -> Iterator[Question]:
        for row in read_rows(path):
            question = _question(row, name, found, columns.instruction)
            check_gold(row, question.gold, grader)
            yield question

    ordered = take_in_fixed_order(distinct(path, questions()), limit, seed)
    if not ordered:
        raise _no_questions(path)
    return Task(name, task_type, ordered, grader.name)


def distinct(place: Path | str, questions: Iterator[Question]) -> Iterator[Question]:
    """Yield each question once and log how many came again."""
    seen: set[str] = set()
    n_again = 0
    for question in questions:
        if question.id in seen:
            n_again += 1
        else:
            seen.add(question.id)
            yield question
    if n_again:
        _LOGGER.info("%s: %d questions are there twice", place, n_again)


def check_gold(row: Row, gold: str, grader: Grader) -> None:
    """Refuse a gold answer that no answer could ever equal.

    Raises:
        DataFileError: The grader cannot compare it.
    """
    problem = grader.check_gold(gold)
    if problem is not None:
        shown = gold if len(gold) <= 80 else f"{gold[:77]}..."
        raise row.problem(
            f"the gold answer {shown!r} is nothing that the grader {grader.name!r} can compare:"
            f" {problem}",
            "choose another grader, such as exact, or correct the row",
        )


def _no_questions(path: Path) -> DataFileError:
    return DataFileError(
        "the file holds no questions", path=path, hint="write one question per line or row"
    )


def _find_columns(
    path: Path, names: Sequence[str], columns: ColumnMapping, template: PromptTemplate | None
) -> _Columns:
    def find(what: str, wanted: str | None, usual: tuple[str, ...]) -> str | None:
        if wanted is None:
            return next((name for name in usual if name in names), None)
        if wanted not in names:
            raise missing(f"the column {wanted!r}", what)
        return wanted

    def missing(asked: str, what: str) -> DataFileError:
        return DataFileError(
            f"{asked} is not in the file",
            path=path,
            hint=f"columns found: {', '.join(names)}; name it with --{what}-column,"
            f" or as {what} under [columns] in a task's TOML file",
        )

    prompt = find("prompt", columns.prompt, _PROMPT_NAMES)
    gold = find("gold", columns.gold, _GOLD_NAMES)
    if prompt is None and template is None:
        raise missing("a column for the prompt", "prompt")
    if gold is None:
        raise missing("a column for the gold", "gold")
    options = find("options", columns.options, _OPTION_NAMES)
    group = find("group", columns.group, _GROUP_NAMES)
    level = find("level", columns.level, ())
    if template is not None:
        _check_template(path, template, names, gold, options)
    return _Columns(prompt, gold, options, group, level, template)


def _check_template(
    path: Path, template: PromptTemplate, names: Sequence[str], gold: str, options: str | None
) -> None:
    unknown = [name for name in template.columns if name not in names]
    if unknown:
        raise DataFileError(
            f"the prompt template names {', '.join(map(repr, unknown))}, which the file lacks",
            path=path,
            hint=f"columns found: {', '.join(names)}; write {{{{ and }}}} for braces",
        )
    if gold in template.columns:
        raise InvalidInputError(
            f"the prompt template shows {gold!r}, the column with the right answers",
            hint="leave it out of the template",
            code="invalid-template",
        )
    if options is not None and options not in template.columns:
        raise InvalidInputError(
            f"the prompt template does not show {options!r}, the column with the options",
            hint=f"put {{{options}}} where the lettered list belongs",
            code="invalid-template",
        )


def _question(row: Row, task: str, found: _Columns, instruction: str) -> Question:
    gold = _filled(row, found.gold)
    listed = ""
    if found.options is not None and row.cells.get(found.options) not in (None, ""):
        options = row.options(found.options)
        listed = list_options(options)
        gold = row.letter(gold, options)
    if found.template is not None:
        prompt = found.template.render(
            {
                column: listed if column == found.options and listed else _filled(row, column)
                for column in found.template.columns
            }
        )
    else:
        assert found.prompt is not None  # or there would be a template
        prompt = _filled(row, found.prompt)
        prompt = f"{prompt}\n{listed}" if listed else prompt
    if instruction:
        prompt = f"{prompt}\n{instruction}"
    identifier = question_id(task, prompt, gold)
    group = "" if found.group is None else row.optional_text(found.group)
    level = None if found.level is None else row.integer(found.level)
    return Question(identifier, prompt, gold, group or identifier, level)


def _filled(row: Row, column: str) -> str:
    """Return a cell's text; the column is in the file, though JSON lines may leave it out."""
    text = row.optional_text(column)
    if not text:
        raise row.problem(f"column {column!r} is empty", "fill it in, or leave the line out")
    return text


def _guess_grader(path: Path, found: _Columns) -> str:
    if found.options:
        return "choice"
    golds = (_filled(row, found.gold) for row in read_rows(path))
    return "number" if all(parse_number(gold) is not None for gold in golds) else "exact"


def _guess_task_type(grader: str) -> str:
    return {"choice": "general-mc", "number": "math-oe", "math": "math-oe", "code": "code-oe"}.get(
        grader, "general-oe"
    )
