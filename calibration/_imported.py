"""Write outcomes that were recorded elsewhere into a run store."""

import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from policies import StoreError

from ._outcomes import ImportedOutcome
from ._rows import ArmRow, imported_rows
from ._schema import INSERT_GENERATION, INSERT_QUESTION, INSERT_SCORE

__all__ = ["chunks", "write_imported"]

_T = TypeVar("_T")
_GROUP_SIZE = 16_384


def write_imported(
    connection: sqlite3.Connection,
    outcomes: Iterable[ImportedOutcome],
    add_arm: Callable[[ArmRow], int],
) -> int:
    """Write outcomes that are not there yet, in groups; return how many are new.

    Args:
        connection: The store's, open for writing.
        outcomes: Read once.
        add_arm: Writes an arm down once and returns its row id.

    Raises:
        StoreError: A question is in the store under the same id as one of another task.
        sqlite3.Error: Something could not be written.
    """
    connection.execute("PRAGMA cache_size=-65536")
    connection.execute("PRAGMA wal_autocheckpoint=8000")
    arms: dict[tuple[str, str, str], int] = {}
    generation, score, question = (
        text.replace("OR REPLACE", "OR IGNORE")
        for text in (INSERT_GENERATION, INSERT_SCORE, INSERT_QUESTION)
    )
    n_new = 0
    for group in chunks(outcomes, _GROUP_SIZE):
        rows: dict[str, tuple[tuple[object, ...], tuple[object, ...]]] = {}
        for one in group:
            name = (one.model, one.policy, one.recipe)
            if name not in arms:
                # One name stands for one recipe; another one is a model of its own.
                identity = json.dumps({"backend": {"backend": "imported"}, "recipe": one.recipe})
                arms[name] = add_arm(ArmRow(one.model, one.size, one.policy, one.recipe, identity))
            parts = (*name, one.task, one.question_id, str(one.repeat))
            key = hashlib.sha256("\x1f".join(parts).encode()).hexdigest()
            rows.setdefault(key, imported_rows(key, arms[name], one))
        with connection:
            connection.executemany(question, [_question_row(one) for one in group])
            _refuse_other_tasks(connection, group)
            before = connection.total_changes
            connection.executemany(generation, [row for row, _ in rows.values()])
            n_new += connection.total_changes - before
            connection.executemany(score, [row for _, row in rows.values()])
    return n_new


def chunks(items: Iterable[_T], size: int) -> Iterator[list[_T]]:
    """Yield items in lists of `size`; the last may be shorter."""
    group: list[_T] = []
    for item in items:
        group.append(item)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group


def _question_row(one: ImportedOutcome) -> tuple[object, ...]:
    place = (one.question_id, one.task, one.task_type, one.group)
    return (*place, None, one.prompt, one.gold)


def _refuse_other_tasks(connection: sqlite3.Connection, group: Sequence[ImportedOutcome]) -> None:
    """Refuse questions whose id stands for a question of another task already."""
    for one in {one.question_id: one for one in group}.values():
        query = "SELECT task FROM question WHERE id = ?"
        (task,) = connection.execute(query, (one.question_id,)).fetchone()
        if task != one.task:
            raise StoreError(
                f"question {one.question_id!r} is in the run as one of task {task!r}, "
                f"not {one.task!r}",
                hint="import into another folder",
                code="question-of-another-task",
            )
