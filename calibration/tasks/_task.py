"""Tasks: questions with gold answers and the grader that judges them."""

import hashlib
import heapq
from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["Question", "Task", "question_id", "take_in_fixed_order"]


@dataclass(frozen=True, slots=True)
class Question:
    """One question.

    Attributes:
        id: Identifier, equal wherever the same prompt and gold answer of a task appear.
        prompt: The user's message as it is sent.
        gold: The right answer, in the form the task's grader expects.
        group: Questions of one group share a source and are never split between fitting and
            testing; by default the question's own id.
        level: Difficulty, where the task knows it.
    """

    id: str
    prompt: str
    gold: str
    group: str
    level: int | None = None


@dataclass(frozen=True, slots=True)
class Task:
    """A set of questions.

    Attributes:
        name: Name in tables, such as `gsm8k`.
        task_type: Task type, such as `math-oe`.
        questions: The questions in the order they are asked.
        grader: Name of the grader.
        version: Raised whenever the same name would give other questions.
        source: Where the questions come from; "" for a user's own.
        licence: Their licence, "" if unknown.
    """

    name: str
    task_type: str
    questions: tuple[Question, ...]
    grader: str
    version: int = 1
    source: str = ""
    licence: str = ""


def question_id(task: str, prompt: str, gold: str) -> str:
    """Return a stable identifier: 16 hex digits of a SHA-256."""
    return hashlib.sha256("\x1f".join((task, prompt, gold)).encode()).hexdigest()[:16]


def take_in_fixed_order(
    questions: Iterable[Question], limit: int | None, seed: int
) -> tuple[Question, ...]:
    """Return questions in an order drawn by hash, so that any prefix is a random sample.

    Raising `limit` later keeps the questions already asked. With a limit, only so many questions
    are held in memory.
    """

    def order(question: Question) -> bytes:
        return hashlib.sha256(f"{seed}/{question.id}".encode()).digest()

    if limit is None:
        return tuple(sorted(questions, key=order))
    return tuple(heapq.nsmallest(limit, questions, key=order))
