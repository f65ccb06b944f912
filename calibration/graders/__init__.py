"""How answers are judged; a grader sees the visible answer only, never the thought.

Built-in graders by name; others come from the entry-point group `thinkroute.graders`, whose
objects are called without arguments and return a `Grader`. Code is imported when its name is
asked for, not before.
"""

from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import NamedTuple

from policies import Completion, FinishReason, UnknownNameError

from .._outcomes import Outcome
from ._grader import Grade, Grader
from .anchored import find_anchored_answer
from .number import parse_number

__all__ = [
    "Grade",
    "Grader",
    "Judgement",
    "find_anchored_answer",
    "get_grader",
    "grader_names",
    "judge",
    "parse_number",
]

_BUILT_IN = {
    "choice": (".choice", "ChoiceGrader"),
    "code": (".code", "CodeGrader"),
    "coqa": (".coqa", "CoqaGrader"),
    "exact": (".exact", "ExactGrader"),
    "ifeval": (".ifeval", "IfevalGrader"),
    "math": (".math_equal", "MathGrader"),
    "number": (".number", "NumberGrader"),
    "pocket": (".exact", "PocketGrader"),
    "squad": (".squad", "SquadGrader"),
}
_GROUP = "thinkroute.graders"


class Judgement(NamedTuple):
    """What became of a completion.

    Attributes:
        outcome: Correct, wrong, cut, or an error where it could not be judged.
        extracted: The answer the grader read.
        score: Partial credit in [0, 1], `None` where the measure has none.
        problem: Why it could not be judged.
    """

    outcome: Outcome
    extracted: str | None = None
    score: float | None = None
    problem: str | None = None


def grader_names() -> list[str]:
    """Return the names of all graders, built in and installed."""
    return sorted({*_BUILT_IN, *(point.name for point in entry_points(group=_GROUP))})


@cache
def get_grader(name: str) -> Grader:
    """Return a grader by name.

    Raises:
        UnknownNameError: There is none of this name.
        MissingPrerequisiteError: Its library is not installed.
    """
    if name in _BUILT_IN:
        module, attribute = _BUILT_IN[name]
        return getattr(import_module(module, __name__), attribute)()
    for point in entry_points(group=_GROUP, name=name):
        return point.load()()
    raise UnknownNameError("grader", name, grader_names())


def judge(completion: Completion, gold: str, grader: Grader) -> Judgement:
    """Return what became of a completion.

    A text that ran out of tokens is never graded: an answer may be half written, and a thought
    that never closed may contain the gold answer by chance. What a content filter withheld was
    no answer of the model, so it is not judged either.
    """
    if completion.finish_reason is FinishReason.FILTER:
        return Judgement(Outcome.ERROR, problem="the server's content filter withheld the answer")
    if completion.finish_reason is not FinishReason.STOP or not completion.thinking_closed:
        return Judgement(Outcome.CUT)
    grade = grader.grade(completion.text, gold)
    if grade.problem is not None:
        return Judgement(Outcome.ERROR, grade.extracted, problem=grade.problem)
    outcome = Outcome.CORRECT if grade.is_correct else Outcome.WRONG
    return Judgement(outcome, grade.extracted, grade.score)
