"""The four pocket tasks: held-out synthetic questions, as many as asked for."""

from ..pocket.questions import POCKET_TASK_TYPES, PocketTaskType, stream_questions
from ._task import Question, Task, question_id

__all__ = ["DEFAULT_LIMIT", "POCKET_TASKS", "pocket_task"]

POCKET_TASKS: dict[str, PocketTaskType] = {f"pocket-{t}": t for t in POCKET_TASK_TYPES}
DEFAULT_LIMIT = 500


def pocket_task(name: str, *, limit: int | None, seed: int) -> Task:
    """Return `limit` distinct held-out questions of a pocket task (500 by default).

    A larger limit extends the smaller one's questions.
    """
    task_type = POCKET_TASKS[name]
    questions: dict[str, Question] = {}
    for drawn in stream_questions(task_type, seed=seed, split="heldout"):
        identifier = question_id(name, drawn.prompt, drawn.answer)
        if identifier not in questions:
            questions[identifier] = Question(
                identifier, drawn.prompt, drawn.answer, identifier, drawn.level
            )
        if len(questions) == (limit or DEFAULT_LIMIT):
            break
    return Task(name, task_type, tuple(questions.values()), "pocket")
