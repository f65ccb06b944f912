"""The four pocket tasks: held-out synthetic questions, as many as asked for."""

from policies import InvalidInputError

from ..pocket.questions import POCKET_TASK_TYPES, PocketTaskType, stream_questions
from ._task import Question, Task, question_id

__all__ = ["DEFAULT_LIMIT", "POCKET_TASKS", "pocket_task"]

POCKET_TASKS: dict[str, PocketTaskType] = {f"pocket-{t}": t for t in POCKET_TASK_TYPES}
DEFAULT_LIMIT = 500
_GIVE_UP_AFTER = 1000


def pocket_task(name: str, *, limit: int | None, seed: int) -> Task:
    """Return `limit` distinct held-out questions of a pocket task (500 by default).

    A larger limit extends the smaller one's questions.

    Raises:
        InvalidInputError: The pocket world holds fewer questions than asked for.
    """
    task_type = POCKET_TASKS[name]
    wanted = DEFAULT_LIMIT if limit is None else limit
    questions: dict[str, Question] = {}
    n_known_in_a_row = 0
    for drawn in stream_questions(task_type, seed=seed, split="heldout"):
        identifier = question_id(name, drawn.prompt, drawn.answer)
        n_known_in_a_row = n_known_in_a_row + 1 if identifier in questions else 0
        questions.setdefault(
            identifier,
            Question(identifier, drawn.prompt, drawn.answer, identifier, drawn.level),
        )
        if len(questions) >= wanted:
            break
        if n_known_in_a_row >= _GIVE_UP_AFTER:
            raise InvalidInputError(
                f"{name} has about {len(questions):,} questions, fewer than {wanted:,}",
                hint="lower the limit",
            )
    return Task(
        name,
        task_type,
        tuple(questions.values()),
        "pocket",
        source="the generator of the pocket tasks, held-out split",
        licence="Apache-2.0",
    )
