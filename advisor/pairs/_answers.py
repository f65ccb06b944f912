"""Which of a run's answers to one question become a pair: rules on samples, without any file."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from calibration import Outcome
from calibration.generations import Generation

from ..data import join_trace, split_trace, strip_empty_thought

__all__ = ["Candidate", "Keep", "PairRules", "Pick", "Status", "choose", "is_kept", "judge"]


class Keep(StrEnum):
    """Which questions become pairs.

    Attributes:
        BOTH_CORRECT: Those with a right direct and a right reasoning answer.
        REASONING_CORRECT: Those with a right reasoning answer; the direct one may be wrong.
        ANY: All with two whole answers, whatever the grader said.
    """

    BOTH_CORRECT = "both-correct"
    REASONING_CORRECT = "reasoning-correct"
    ANY = "any"


class Pick(StrEnum):
    """Which of several answers of one mode is taken.

    Attributes:
        FIRST: The one that was asked first.
        SHORTEST: The one with the fewest tokens, of equal ones the first.
    """

    FIRST = "first"
    SHORTEST = "shortest"


class Status(StrEnum):
    """What became of one mode's answer to a question, the most usable first.

    Attributes:
        CORRECT: Right.
        WRONG: Wrong.
        BROKEN_OFF: The decoder closed the thought at its budget.
        THOUGHT: Asked for a direct answer, the model thought.
        NO_THOUGHT: Asked to reason, the model did not.
        UNREADABLE: No text, or markers of a thought inside of it.
        CUT: Ran out of tokens.
        ERROR: Infrastructure, or the answer could not be judged.
        DAMAGED: Its bytes have changed on the disk.
        MISSING: Not asked.
    """

    CORRECT = "correct"
    WRONG = "wrong"
    BROKEN_OFF = "broken off"
    THOUGHT = "thought"
    NO_THOUGHT = "no thought"
    UNREADABLE = "unreadable"
    CUT = "cut"
    ERROR = "error"
    DAMAGED = "damaged"
    MISSING = "not asked"

    @property
    def is_answer(self) -> bool:
        """Whether there is a whole answer that can be trained on."""
        return self in {Status.CORRECT, Status.WRONG}


_RANK = {status: rank for rank, status in enumerate(Status)}


@dataclass(frozen=True, slots=True)
class PairRules:
    """What may be chosen about pairs.

    Attributes:
        keep: Which questions.
        pick: Which of several answers.
        keep_forced: Whether thoughts that the decoder broke off at their budget are used. They
            end in the middle of a sentence.
        token_counts: Whether lengths in the teacher's tokens are written beside the texts.
    """

    keep: Keep = Keep.BOTH_CORRECT
    pick: Pick = Pick.FIRST
    keep_forced: bool = False
    token_counts: bool = True


class Candidate(NamedTuple):
    """One sample as it would be trained on.

    Attributes:
        status: What became of it.
        repeat: Which of the mode's samples, from 0.
        key: The sample's key in its run.
        text: Direct answer, or thought in tags and answer; "" where there is no whole answer.
        n_tokens: Generated tokens, `None` if unknown.
    """

    status: Status
    repeat: int = 0
    key: str = ""
    text: str = ""
    n_tokens: int | None = None


def judge(one: Generation, *, is_direct: bool, must_think: bool, keep_forced: bool) -> Candidate:
    """Return a sample as a candidate.

    Args:
        one: The sample.
        is_direct: Whether it answers for the direct mode.
        must_think: Whether an answer without a thought is none for its mode.
        keep_forced: See `PairRules`.
    """
    if one.outcome is Outcome.ERROR:
        return Candidate(Status.ERROR, one.repeat, one.key)
    if one.outcome is Outcome.CUT:
        return Candidate(Status.CUT, one.repeat, one.key)
    if one.is_forced and not keep_forced:
        return Candidate(Status.BROKEN_OFF, one.repeat, one.key)
    said = _direct(one) if is_direct else _reasoned(one, must_think=must_think)
    if isinstance(said, Status):
        return Candidate(said, one.repeat, one.key)
    status = Status.CORRECT if one.outcome is Outcome.CORRECT else Status.WRONG
    return Candidate(status, one.repeat, one.key, said, one.completion_tokens)


def choose(candidates: Sequence[Candidate], rules: PairRules) -> Candidate:
    """Return the answer of one mode to one question.

    A right one comes before a wrong one, except under `Keep.ANY`, which does not ask the grader.
    Without a whole answer it is the sample that came nearest to one.
    """
    usable = [one for one in candidates if one.status.is_answer]
    if rules.keep is not Keep.ANY:
        usable = [one for one in usable if one.status is Status.CORRECT] or usable
    if not usable:
        return min(candidates, key=_nearest, default=Candidate(Status.MISSING))
    if rules.pick is Pick.FIRST:
        return min(usable, key=lambda one: (one.repeat, one.key))
    are_counted = all(one.n_tokens is not None for one in usable)
    return min(usable, key=lambda one: (_length(one, are_counted), one.repeat, one.key))


def is_kept(direct: Candidate, reasoning: Candidate, keep: Keep) -> bool:
    """Return whether two chosen answers make a pair."""
    if not (direct.status.is_answer and reasoning.status.is_answer):
        return False
    if keep is Keep.BOTH_CORRECT and direct.status is not Status.CORRECT:
        return False
    return keep is Keep.ANY or reasoning.status is Status.CORRECT


def _direct(one: Generation) -> str | Status:
    if one.thinking is not None and one.thinking.strip():
        return Status.THOUGHT
    text = strip_empty_thought(one.text or "")
    if text is None:
        return Status.THOUGHT
    return text if text.strip() else Status.UNREADABLE


def _reasoned(one: Generation, *, must_think: bool) -> str | Status:
    text, thinking = one.text or "", (one.thinking or "").strip()
    if not text.strip():
        return Status.UNREADABLE
    found = split_trace(join_trace(thinking, text.strip()) if thinking else text)
    if isinstance(found, str):
        empty = not thinking and strip_empty_thought(text) is not None
        return Status.NO_THOUGHT if empty else Status.UNREADABLE
    if found.thought is None:
        return Status.NO_THOUGHT if must_think else text
    return join_trace(found.thought, found.answer)


def _nearest(one: Candidate) -> tuple[int, int, str]:
    return (_RANK[one.status], one.repeat, one.key)


def _length(one: Candidate, are_counted: bool) -> int:
    return one.n_tokens or 0 if are_counted else len(one.text)
