"""Format `wide`: a CSV with one row per question and a column per model, as in RouterBench.

Source: RouterBench (arXiv 2403.12031), whose tables have `sample_id`, `prompt`, `eval_name`, and
per model `MODEL` (score), `MODEL|model_response` and `MODEL|total_cost`. Prices in money have no
place in an outcome and are not kept.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from policies import PolicySpec

from .._outcomes import ImportedOutcome, Outcome
from ._head import FileHead
from ._record import (
    UNKNOWN_TASK_TYPE,
    ImportHints,
    SkippedRow,
    UnusableRowError,
    share_of,
    text_of,
)
from ._rows import read_rows

__all__ = ["missing", "read"]

_COST, _RESPONSE = "|total_cost", "|model_response"
_ID_NAMES = ("sample_id", "question_id", "id")
_TASK_NAMES = ("eval_name", "task")
_POLICY = "direct"


def missing(head: FileHead, hints: ImportHints) -> list[str]:
    """Return what the file lacks to be of this format; nothing if it is."""
    del hints  # The file itself must say everything that is needed.
    if head.kind not in {"csv", "parquet"}:
        return ["rows: CSV or Parquet"]
    lacks = [] if _first(head, _ID_NAMES) else ["column sample_id"]
    if not _models(head):
        lacks.append("columns MODEL and MODEL|total_cost")
    return lacks


def read(path: Path, head: FileHead, hints: ImportHints) -> Iterator[ImportedOutcome | SkippedRow]:
    """Yield one outcome per model and question.

    Raises:
        DataFileError: A row is damaged.
    """
    id_column, task_column = _first(head, _ID_NAMES), _first(head, _TASK_NAMES)
    models = _models(head)
    needed = {id_column, task_column, "prompt", "gold", *models, *(m + _RESPONSE for m in models)}
    policy = _POLICY if hints.policy is None else str(PolicySpec.parse(hints.policy))
    for number, row in read_rows(path, head.kind, needed):
        try:
            identifier = text_of(row.get(id_column))
            if not identifier:
                raise UnusableRowError(f"{id_column!r} is empty")
            task = text_of(row.get(task_column)) or hints.task or path.stem
        except UnusableRowError as error:
            yield SkippedRow(error.reason, str(number))
            continue
        for model in models:
            try:
                outcome = _outcome(row.get(model))
                yield ImportedOutcome(
                    model=model,
                    size=None,
                    policy=policy,
                    recipe="",
                    question_id=identifier,
                    group=identifier,
                    task=task,
                    task_type=hints.task_type or UNKNOWN_TASK_TYPE,
                    prompt=_text(row, "prompt"),
                    gold=_text(row, "gold"),
                    repeat=0,
                    outcome=outcome,
                    score=None,
                    text=_text(row, model + _RESPONSE) or None,
                    thinking=None,
                    prompt_tokens=None,
                    completion_tokens=None,
                    thinking_tokens=None,
                    seconds=None,
                )
            except UnusableRowError as error:
                yield SkippedRow(error.reason, f"{number}, column {model}")


def _models(head: FileHead) -> list[str]:
    return [name for name in head.names if name + _COST in head.names]


def _first(head: FileHead, names: tuple[str, ...]) -> str:
    return next((name for name in names if name in head.names), "")


def _outcome(value: object) -> Outcome:
    score = share_of(value, "score")
    if score not in {0.0, 1.0}:
        # A rating of 0.9 is neither right nor wrong, and no rule says where right begins.
        raise UnusableRowError("the score is a fraction, and nothing says what of it is correct")
    return Outcome.CORRECT if score else Outcome.WRONG


def _text(row: Mapping[str, Any], column: str) -> str:
    return text_of(row.get(column))
