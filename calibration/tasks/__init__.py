"""What is asked: pocket tasks and a user's own files."""

from pathlib import Path

from policies import InvalidInputError, UnknownNameError

from ._task import Question, Task, question_id
from .files import FILE_SUFFIXES, ColumnMapping, load_file_task
from .pocket import POCKET_TASKS, pocket_task

__all__ = ["ColumnMapping", "Question", "Task", "load_tasks", "question_id", "task_names"]


def task_names() -> list[str]:
    """Return the names of built-in tasks and groups of tasks."""
    return ["pocket", *POCKET_TASKS]


def load_tasks(
    names: list[str], *, limit: int | None, seed: int, columns: ColumnMapping | None = None
) -> list[Task]:
    """Load tasks by name or by the path of a file.

    Args:
        names: `pocket` for all pocket tasks, one pocket task's name, or a file's path.
        limit: Most questions per task, positive; `None` takes a task's default or the whole file.
        seed: Chooses and orders the questions.
        columns: How files are read.

    Raises:
        UnknownNameError: A name is neither a task nor a file of a known type.
        DataFileError: A file cannot be read.
        InvalidInputError: The limit is not positive.
    """
    if limit is not None and limit < 1:
        raise InvalidInputError(f"limit is {limit}, expected >= 1")
    groups = [list(POCKET_TASKS) if name == "pocket" else [name] for name in names]
    tasks: list[Task] = []
    for name in dict.fromkeys(name for group in groups for name in group):
        if name in POCKET_TASKS:
            tasks.append(pocket_task(name, limit=limit, seed=seed))
        elif Path(name).suffix.lower() in FILE_SUFFIXES or Path(name).exists():
            mapping = columns or ColumnMapping()
            tasks.append(load_file_task(Path(name), mapping, limit=limit, seed=seed))
        else:
            raise UnknownNameError("task", name, [*task_names(), "a .jsonl/.csv/.parquet file"])
    return tasks
