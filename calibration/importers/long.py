"""Format `long`: a table with one row per answer, as Parquet, CSV or JSONL."""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from policies import InvalidInputError, ModelSize, PolicySpec, check_task_type

from .._outcomes import ImportedOutcome, Outcome
from ._head import FileHead
from ._policies import PolicyNames, read_budget
from ._record import (
    UNKNOWN_TASK_TYPE,
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


def read(path: Path, head: FileHead, hints: ImportHints) -> Iterator[ImportedOutcome | SkippedRow]:
    """Yield a table's outcomes.

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
    is_ambiguous = "task" in found and _has_shared_ids(path, head, found)
    table = _Table(path, hints, found, samples, PolicyNames(path), is_ambiguous)
    for number, row in read_rows(path, head.kind, needed):
        try:
            yield from table.outcomes(number, row)
        except UnusableRowError as error:
            yield SkippedRow(error.reason, str(number))


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


def _has_shared_ids(path: Path, head: FileHead, found: Mapping[str, str]) -> bool:
    question, task = found.get("question", ""), found["task"]
    tasks: dict[str, str] = {}
    for _, row in read_rows(path, head.kind, {question, task}):
        name = str(row.get(task))
        if tasks.setdefault(str(row.get(question)), name) != name:
            return True
    return False


@dataclass(slots=True)
class _Table:
    """How the rows of one table are read."""

    path: Path
    hints: ImportHints
    columns: Mapping[str, str]
    samples: list[str]
    policies: PolicyNames
    is_ambiguous: bool
    _task_types: dict[str, str] = field(default_factory=dict[str, str])
    _sizes: dict[str, int | None] = field(default_factory=dict[str, int | None])

    def outcomes(self, number: int, row: Mapping[str, Any]) -> Iterator[ImportedOutcome]:
        """Yield the outcomes of one row: one, or one per sampled answer."""
        judged = self._judged(row)
        identifier = self._text(row, "question")
        if not identifier:
            raise UnusableRowError("'question_id' is empty")
        task = self._text(row, "task") or self.hints.task or self.path.stem
        question = f"{task}/{identifier}" if self.is_ambiguous else identifier
        model = self._text(row, "model") or self.hints.model
        if not model:
            raise UnusableRowError("'model' is empty")
        policy = self._policy(row, number)
        n_samples = len(judged)
        # Means over several answers are the counts of none of them.
        is_single = n_samples == 1
        prompt_tokens = self._count(row, "prompt_tokens")
        completion_tokens = self._count(row, "completion_tokens") if is_single else None
        thinking_tokens = self._count(row, "thinking_tokens") if is_single else None
        seconds = self._seconds(row) if is_single else None
        for index, (outcome, score) in enumerate(judged):
            yield ImportedOutcome(
                model=model,
                size=self._size(row),
                policy=policy,
                recipe=self._text(row, "recipe"),
                question_id=question,
                group=self._text(row, "group") or question,
                task=task,
                task_type=self._task_type(row),
                prompt=self._text(row, "prompt"),
                gold=self._text(row, "gold"),
                repeat=self._repeat(row) if is_single else index,
                outcome=outcome,
                score=score,
                text=(self._text(row, "text") or None) if is_single else None,
                thinking=(self._text(row, "thinking") or None) if is_single else None,
                prompt_tokens=prompt_tokens,
                completion_tokens=completion_tokens,
                thinking_tokens=thinking_tokens,
                seconds=seconds,
            )

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
