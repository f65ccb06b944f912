"""How answers are judged; a grader sees the visible answer only, never the thought."""

from policies import Completion, FinishReason, UnknownNameError

from .._outcomes import Outcome
from ._grader import Grade, Grader
from .anchored import find_anchored_answer
from .choice import ChoiceGrader
from .exact import ExactGrader, PocketGrader
from .number import NumberGrader, parse_number

__all__ = [
    "Grade",
    "Grader",
    "find_anchored_answer",
    "get_grader",
    "grader_names",
    "judge",
    "parse_number",
]

_GRADERS: dict[str, Grader] = {
    grader.name: grader
    for grader in (ExactGrader(), PocketGrader(), NumberGrader(), ChoiceGrader())
}


def grader_names() -> list[str]:
    """Return the names of all graders."""
    return sorted(_GRADERS)


def get_grader(name: str) -> Grader:
    """Return a grader by name.

    Raises:
        UnknownNameError: There is none of this name.
    """
    if name not in _GRADERS:
        raise UnknownNameError("grader", name, _GRADERS)
    return _GRADERS[name]


def judge(completion: Completion, gold: str, grader: Grader) -> tuple[Outcome, str | None]:
    """Return the outcome of a completion and the answer read from it.

    A text that ran out of tokens is never graded: an answer may be half written, and a thought
    that never closed may contain the gold answer by chance.
    """
    if completion.finish_reason is not FinishReason.STOP or not completion.thinking_closed:
        return Outcome.CUT, None
    grade = grader.grade(completion.text, gold)
    return (Outcome.CORRECT if grade.is_correct else Outcome.WRONG), grade.extracted
