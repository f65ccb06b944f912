"""Format `long`: a table with one row per answer, as Parquet, CSV or JSONL."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from policies import InvalidInputError, ModelSize, PolicySpec, check_task_type

from .._outcomes import ImportedOutcome, Outcome
from ._grouping import Grouping, QuestionKey, find_grouping
from ._head import FileHead
from ._policies import PolicyNames, read_budget
from ._record import (
    UNKNOWN_TASK_TYPE,
    FileNote,
    ImportHints,
    SkippedRow,
    UnusableRowError,
    count_of,
    number_of,
    share_of,
    size_of_billions,
    text_of,
)
from ._rows import read_rows

__all__ = ["missing", "read"]

_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "question": ("question_id",),
    "model": ("model",),
    "mode": ("policy", "mode"),
    "budget": ("budget_tokens",),
    "outcome": ("outcome",),
    "correct": ("correct",),
    "task": ("task",),
    "task type": ("task_type", "task_category"),
    "group": ("group",),
    "language": ("lang", "language"),
    "source": ("source_dataset",),
    "source id": ("source_id",),
    "prompt": ("prompt",),
    "gold": ("gold",),
    "repeat": ("sample_idx", "repeat"),
    "samples": ("n_samples",),
    "billions": ("model_size_b",),
    "size": ("size",),
    "recipe": ("recipe",),
    "score": ("score",),
    "text": ("text", "generation"),
    "thinking": ("thinking",),
    "prompt_tokens": ("prompt_tokens",),
    "completion_tokens": ("completion_tokens",),
    "thinking_tokens": ("thinking_tokens",),
    "seconds": ("seconds",),
}
_NEEDED = ("question", "model", "mode", "outcome", "correct")
_SAMPLE = re.compile(r"sample_ok_([1-9][0-9]{0,3})")
_SPACES = re.compile(r"[^a-z0-9]+")
_MAX_MEAN = 1e12
_MAX_KNOWN = 100_000
"""Questions that are kept to spare the work of reading them again, and the memory of their copies;
beyond, they are forgotten, so that memory stays bounded."""
_BELONGING = ("language", "group", "source", "source id")
_QUESTION_CELLS = ("question", "task", *_BELONGING, "task type", "prompt", "gold")
_ARM_CELLS = ("model", "mode", "budget", "billions", "size", "recipe")


def missing(head: FileHead, hints: ImportHints) -> list[str]:
    """Return what the file lacks to be of this format; nothing if it is."""
    if head.kind not in {"csv", "jsonl", "parquet"}:
        return ["rows: CSV, JSONL or Parquet"]
    found = _find(head)
    lacks = [] if "question" in found else ["column question_id"]
    if "model" not in found and hints.model is None:
        lacks.append("column model (or --model)")
    if "mode" not in found and hints.policy is None:
        lacks.append("column mode or policy (or --policy)")
    if "correct" not in found and "outcome" not in found:
        lacks.append("column correct or outcome")
    return lacks


def read(
    path: Path, head: FileHead, hints: ImportHints
) -> Iterator[ImportedOutcome | SkippedRow | FileNote]:
    """Yield a table's outcomes, after a note that says how its questions are grouped.

    Question ids are used as they are, unless one of them occurs in several tasks: then all of
    the file's become `TASK/ID`. Rows with the columns `n_samples` and `sample_ok_1`, ... are as
    many answers; other fractions of `correct` are skipped, since they are means over answers
    that are not there.

    Raises:
        DataFileError: A row is damaged, or two modes would become one policy.
    """
    found = _find(head)
    samples = _sample_columns(head)
    needed = {*found.values(), *samples}
    is_ambiguous, grouping = _survey(path, head, found)
    yield FileNote("grouping", grouping.note)
    table = _Table(path, hints, found, samples, PolicyNames(path), is_ambiguous, grouping)
    for number, row in read_rows(path, head.kind, needed):
        try:
            yield from table.outcomes(number, row)
        except UnusableRowError as error:
            yield SkippedRow(error.reason, str(number))
    if table.n_shared_out:
        yield FileNote(
            "tokens",
            f"token counts of {table.n_shared_out:,} rows are means over several answers: each"
            f" answer got its share, so that means are right and single counts are not",
        )


def _find(head: FileHead) -> dict[str, str]:
    """Return the column of each thing that the file has a column for."""
    found: dict[str, str] = {}
    for what, names in _COLUMNS.items():
        name = next((name for name in names if name in head.names), None)
        if name is None and head.kind == "jsonl" and what not in _NEEDED:
            name = names[0]  # The first object need not have every key.
        if name is not None:
            found[what] = name
    return found


def _sample_columns(head: FileHead) -> list[str]:
    """Return `sample_ok_1`, `sample_ok_2`, ... as far as they go without a gap."""
    numbers = {int(match[1]) for name in head.names if (match := _SAMPLE.fullmatch(name))}
    n = next(i for i in range(1, len(numbers) + 2) if i not in numbers) - 1
    return [f"sample_ok_{i}" for i in range(1, n + 1)]


def _survey(path: Path, head: FileHead, found: Mapping[str, str]) -> tuple[bool, Grouping]:
    """Return whether one id stands for questions of several tasks, and how they are grouped."""
    columns = {what: found[what] for what in ("question", "task", *_BELONGING) if what in found}
    wanted = tuple(columns.values())
    seen: dict[tuple[Any, ...], None] = {}
    for _, row in read_rows(path, head.kind, set(wanted)):
        # Nearly all rows repeat the cells of an earlier one. 1, 1.0 and True are equal, and three
        # different texts.
        cells = [row.get(name) for name in wanted]
        try:
            seen[(*cells, *map(type, cells))] = None
        except TypeError:  # a list or an object, which cannot be looked up
            with suppress(UnusableRowError):  # such a row will be skipped, and told then
                texts = [text_of(cell) for cell in cells]
                seen[(*texts, *map(type, texts))] = None
    keys = [key for cells in seen if (key := _key_of(cells[: len(wanted)], columns)) is not None]
    tasks: dict[str, str] = {}
    is_ambiguous = any(tasks.setdefault(key.identifier, key.task) != key.task for key in keys)
    return is_ambiguous, find_grouping(keys)


def _key_of(cells: Sequence[Any], columns: Mapping[str, str]) -> QuestionKey | None:
    """Return what a row says of its question; `None` for a row that will be skipped."""
    try:
        key = QuestionKey.of_row(dict(zip(columns.values(), cells, strict=True)), columns)
    except UnusableRowError:
        return None
    return key if key.identifier else None


class _RowQuestion(NamedTuple):
    """What the rows of one question have in common."""

    identifier: str
    group: str
    task: str
    task_type: str
    prompt: str
    gold: str


class _RowArm(NamedTuple):
    """What the rows of one arm have in common."""

    model: str
    size: int | None
    policy: str
    recipe: str


class _Cells:
    """The cells of a row that tell its question, or its arm, apart."""

    def __init__(self, columns: Mapping[str, str], whats: Sequence[str]) -> None:
        self._names = [columns[what] for what in whats if what in columns]

    def of(self, row: Mapping[str, Any]) -> tuple[Any, ...] | None:
        """Return them in a form that can be looked up, `None` if there is none."""
        get = row.get
        cells = [get(name) for name in self._names]
        # 1, 1.0 and True are equal, and three different texts.
        key = (*cells, *map(type, cells))
        try:
            hash(key)
        except TypeError:  # a list or an object
            return None
        return key


@dataclass(slots=True)
class _Table:
    """How the rows of one table are read."""

    path: Path
    hints: ImportHints
    columns: Mapping[str, str]
    samples: list[str]
    policies: PolicyNames
    is_ambiguous: bool
    grouping: Grouping
    n_shared_out: int = 0
    _task_types: dict[str, str] = field(default_factory=dict[str, str])
    _sizes: dict[str, int | None] = field(default_factory=dict[str, int | None])
    _questions: dict[tuple[Any, ...], _RowQuestion] = field(
        default_factory=dict[tuple[Any, ...], _RowQuestion]
    )
    _arms: dict[tuple[Any, ...], _RowArm] = field(default_factory=dict[tuple[Any, ...], _RowArm])
    _cells_of_question: _Cells = field(init=False)
    _cells_of_arm: _Cells = field(init=False)

    def __post_init__(self) -> None:
        """Look up once which columns tell questions and arms apart."""
        self._cells_of_question = _Cells(self.columns, _QUESTION_CELLS)
        self._cells_of_arm = _Cells(self.columns, _ARM_CELLS)

    def outcomes(self, number: int, row: Mapping[str, Any]) -> Iterator[ImportedOutcome]:
        """Yield the outcomes of one row: one, or one per sampled answer."""
        judged = self._judged(row)
        question = self._question_of(row)
        arm = self._arm_of(row, number)
        n_samples = len(judged)
        # Means over several answers are the counts of none of them.
        is_single = n_samples == 1
        prompt_tokens = self._count(row, "prompt_tokens")
        completion_tokens = self._count(row, "completion_tokens") if is_single else None
        thinking_tokens = self._count(row, "thinking_tokens") if is_single else None
        seconds = self._seconds(row) if is_single else None
        shares = None if is_single else self._shares(row, n_samples)
        for index, (outcome, score) in enumerate(judged):
            yield ImportedOutcome(
                model=arm.model,
                size=arm.size,
                policy=arm.policy,
                recipe=arm.recipe,
                question_id=question.identifier,
                group=question.group,
                task=question.task,
                task_type=question.task_type,
                prompt=question.prompt,
                gold=question.gold,
                repeat=self._repeat(row) if is_single else index,
                outcome=outcome,
                score=score,
                text=(self._text(row, "text") or None) if is_single else None,
                thinking=(self._text(row, "thinking") or None) if is_single else None,
                prompt_tokens=prompt_tokens,
                completion_tokens=completion_tokens if shares is None else shares[index],
                thinking_tokens=thinking_tokens,
                seconds=seconds,
            )

    def _question_of(self, row: Mapping[str, Any]) -> _RowQuestion:
        cells = self._cells_of_question.of(row)
        known = None if cells is None else self._questions.get(cells)
        if known is not None:
            return known
        identifier = self._text(row, "question")
        if not identifier:
            raise UnusableRowError("'question_id' is empty")
        task = self._text(row, "task") or self.hints.task or self.path.stem
        own = f"{task}/{identifier}" if self.is_ambiguous else identifier
        made = _RowQuestion(
            identifier=own,
            group=self.grouping.group_of(QuestionKey.of_row(row, self.columns), own),
            task=task,
            task_type=self._task_type(row),
            prompt=self._text(row, "prompt"),
            gold=self._text(row, "gold"),
        )
        if cells is not None:
            if len(self._questions) >= _MAX_KNOWN:
                self._questions.clear()
            self._questions[cells] = made
        return made

    def _arm_of(self, row: Mapping[str, Any], number: int) -> _RowArm:
        cells = self._cells_of_arm.of(row)
        known = None if cells is None else self._arms.get(cells)
        if known is not None:
            return known
        model = self._text(row, "model") or self.hints.model
        if not model:
            raise UnusableRowError("'model' is empty")
        policy = self._policy(row, number)
        made = _RowArm(model, self._size(row), policy, self._text(row, "recipe"))
        if cells is not None:
            if len(self._arms) >= _MAX_KNOWN:
                self._arms.clear()
            self._arms[cells] = made
        return made

    def _judged(self, row: Mapping[str, Any]) -> list[tuple[Outcome, float | None]]:
        """Return outcome and partial credit of each answer that a row stands for."""
        word = self._text(row, "outcome").strip().lower()
        if word:
            try:
                return [(Outcome(word), self._score(row))]
            except ValueError as error:
                raise UnusableRowError("'outcome' is not correct, wrong, cut or error") from error
        correct = share_of(row.get(self.columns.get("correct", "correct")), "correct")
        n_samples = self._count(row, "samples")
        if n_samples is not None and n_samples > 1:
            return self._samples(row, correct, n_samples)
        if correct not in {0.0, 1.0}:
            raise UnusableRowError("'correct' is a fraction, and the answers behind it are unknown")
        return [(Outcome.CORRECT if correct else Outcome.WRONG, self._score(row))]

    def _samples(
        self, row: Mapping[str, Any], correct: float, n_samples: int
    ) -> list[tuple[Outcome, float | None]]:
        if n_samples > len(self.samples):
            # Keeping the rows where all answers agree would bias every accuracy.
            raise UnusableRowError("'n_samples' says more answers than there are sample_ok columns")
        shares = [share_of(row.get(name), "sample_ok") for name in self.samples[:n_samples]]
        if not set(shares) <= {0.0, 1.0}:
            raise UnusableRowError("a 'sample_ok' is neither 0 nor 1")
        if not math.isclose(sum(shares) / n_samples, correct, abs_tol=0.005):
            raise UnusableRowError("'correct' is not the mean of the sample_ok columns")
        return [(Outcome.CORRECT if share else Outcome.WRONG, None) for share in shares]

    def _shares(self, row: Mapping[str, Any], n: int) -> list[int] | None:
        """Return whole counts of `n` answers whose mean is the row's, if they may be made up."""
        if not self.hints.share_means:
            return None
        name = self.columns.get("completion_tokens", "completion_tokens")
        mean = number_of(row.get(name), name)
        if mean is None:
            return None
        if not 0 <= mean <= _MAX_MEAN:
            raise UnusableRowError(f"{name!r} is no count")
        self.n_shared_out += 1
        each, left = divmod(round(mean * n), n)
        return [each + (index < left) for index in range(n)]

    def _policy(self, row: Mapping[str, Any], number: int) -> str:
        mode = self._text(row, "mode")
        if not mode:
            if self.hints.policy is None:
                raise UnusableRowError(f"{self.columns.get('mode', 'mode')!r} is empty")
            return str(PolicySpec.parse(self.hints.policy))
        budget = read_budget(row.get(self.columns.get("budget", "")), "budget_tokens")
        return self.policies.of(mode, budget, number)

    def _task_type(self, row: Mapping[str, Any]) -> str:
        word = self._text(row, "task type")
        if not word:
            return self.hints.task_type or UNKNOWN_TASK_TYPE
        known = self._task_types.get(word)
        if known is None:
            try:
                known = check_task_type(_SPACES.sub("-", word.lower()).strip("-"))
            except InvalidInputError as error:
                raise UnusableRowError("the task type is no name") from error
            self._task_types[word] = known
        return known

    def _repeat(self, row: Mapping[str, Any]) -> int:
        value = row.get(self.columns.get("repeat", ""))
        repeat = count_of(value, "sample_idx")
        if repeat is None and text_of(value).strip():
            raise UnusableRowError("'sample_idx' is no whole number")
        return repeat or 0

    def _size(self, row: Mapping[str, Any]) -> int | None:
        value = row.get(self.columns.get("billions", ""))
        if value is not None:
            key = text_of(value)
            if key not in self._sizes:
                self._sizes[key] = size_of_billions(value, "model_size_b")
            if self._sizes[key] is not None:
                return self._sizes[key]
        text = self._text(row, "size")
        if not text:
            return None
        try:
            return ModelSize.parse(text.removesuffix(".0")).n_params
        except InvalidInputError as error:
            raise UnusableRowError("'size' is no model size") from error

    def _score(self, row: Mapping[str, Any]) -> float | None:
        name = self.columns.get("score")
        value = row.get(name) if name is not None else None
        if name is None or number_of(value, "score") is None:
            return None
        return share_of(value, "score")

    def _seconds(self, row: Mapping[str, Any]) -> float | None:
        seconds = number_of(row.get(self.columns.get("seconds", "")), "seconds")
        if seconds is not None and seconds < 0:
            raise UnusableRowError("'seconds' is negative")
        return seconds

    def _count(self, row: Mapping[str, Any], what: str) -> int | None:
        name = self.columns.get(what)
        value = None if name is None else row.get(name)
        return None if name is None or value is None else count_of(value, name)

    def _text(self, row: Mapping[str, Any], what: str) -> str:
        name = self.columns.get(what)
        value = None if name is None else row.get(name)
        # Millions of cells: the usual ones take the short way.
        if value is None:
            return ""
        return value if type(value) is str and value.isascii() else text_of(value)
