"""Questions that the pocket model knows, and what is judged about the answers."""

from collections.abc import Mapping
from typing import NamedTuple

from openai.types.chat import ChatCompletionMessageParam

from calibration import load_tasks
from calibration.graders import get_grader

__all__ = [
    "ENDLESS",
    "EXPRESSION",
    "VALUE",
    "PocketQuestion",
    "accuracy",
    "asked",
    "pocket_questions",
]

EXPRESSION = "Left to right, mod ten: 3*8-2"
"""A question that the pocket model answers rightly when it thinks."""
VALUE = "2"
ENDLESS = {"5": 100}
"""Logit bias that keeps the pocket model at one token until its limit."""


class PocketQuestion(NamedTuple):
    """A question, its gold answer, and the name of the grader that knows."""

    id: str
    prompt: str
    gold: str
    grader: str

    def is_right(self, answer: str) -> bool:
        """Return whether an answer is right."""
        return get_grader(self.grader).grade(answer, self.gold).is_correct


def asked(text: str = EXPRESSION) -> list[ChatCompletionMessageParam]:
    """Return the messages of one question."""
    return [{"role": "user", "content": text}]


def pocket_questions(n_per_task: int, *, seed: int = 7) -> list[PocketQuestion]:
    """Return questions of all four pocket tasks, the same ones each time."""
    return [
        PocketQuestion(one.id, one.prompt, one.gold, task.grader)
        for task in load_tasks(["pocket"], limit=n_per_task, seed=seed)
        for one in task.questions
    ]


def accuracy(questions: list[PocketQuestion], answers: Mapping[str, str]) -> float:
    """Return the share of right answers, answers by the id of their question."""
    return sum(one.is_right(answers[one.id]) for one in questions) / len(questions)
