"""One prompt with a direct and a reasoning answer, from a JSON object."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from ._lines import kind_of
from ._thought import join_trace, split_trace, strip_empty_thought

__all__ = [
    "ANSWERS",
    "Pair",
    "ReasoningText",
    "Unfit",
    "as_pair",
    "read_count",
    "read_reasoning",
    "read_text",
]

ANSWERS = ("ift", "reasoning")
"""The two answers of a pair."""

_COUNTS = ("prompt_tokens", "ift_tokens", "reasoning_tokens")


@dataclass(frozen=True, slots=True)
class Pair:
    """One prompt with its two answers.

    Attributes:
        prompt: The question.
        ift: The direct answer; an empty thought before it is taken off.
        reasoning: The reasoning answer as it is trained on: `<think>`, thought, `</think>` and
            answer, spaced as in Qwen3's templates; or the text as it was given if it has no tags.
        line: One-based line of the file.
        is_tagged: Whether `reasoning` has a thought in tags.
        is_apart: Whether the file gave thought and answer apart, in `reasoning` and `answer`.
        prompt_tokens: Length the file gives for the prompt, if it does.
        ift_tokens: Length the file gives for the direct answer, if it does.
        reasoning_tokens: Length the file gives for the reasoning answer, if it does.
    """

    prompt: str
    ift: str
    reasoning: str
    line: int
    is_tagged: bool = True
    is_apart: bool = False
    prompt_tokens: int | None = None
    ift_tokens: int | None = None
    reasoning_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Unfit:
    """Why an object is no pair to train on.

    Attributes:
        problem: What is wrong.
        kind: `broken` (a field is missing or no text) or `cut` (readable, but the reasoning text
            teaches a thought that does not end in an answer).
        pair: The pair with that text as it is; `None` if broken.
    """

    problem: str
    kind: Literal["broken", "cut"] = "broken"
    pair: Pair | None = None


@dataclass(frozen=True, slots=True)
class ReasoningText:
    """A reasoning text as it is trained on, and how it was given."""

    text: str
    is_tagged: bool
    is_apart: bool
    cut: str | None = None


_NO_REASONING = ReasoningText("", is_tagged=True, is_apart=False)


def as_pair(
    value: Mapping[str, object], line: int, needs: Collection[str] = ANSWERS
) -> Pair | Unfit:
    """Return the pair in a JSON object, or why it is none.

    Args:
        value: The object.
        line: Its line.
        needs: Which of the two answers there must be; another one that is absent is empty.
    """
    texts: dict[str, str] = {}
    for name in ("prompt", *ANSWERS):
        if name in ANSWERS and name not in needs and name not in value:
            texts[name] = ""
            continue
        text = read_text(value, name)
        if isinstance(text, Unfit):
            return text
        texts[name] = text
    counts: dict[str, int | None] = {}
    for name in _COUNTS:
        if name not in value:
            continue
        count = read_count(value, name)
        if isinstance(count, Unfit):
            return count
        counts[name] = count
    ift = strip_empty_thought(texts["ift"])
    if ift is None:
        return Unfit("'ift' holds a thought, expected a direct answer")
    if texts["ift"] and not ift.strip():
        return Unfit("'ift' is an empty thought without an answer")
    reasoning = _NO_REASONING
    if texts["reasoning"]:
        reasoning = read_reasoning(value, texts["reasoning"])
    if isinstance(reasoning, Unfit):
        return reasoning
    pair = Pair(
        prompt=texts["prompt"],
        ift=ift,
        reasoning=reasoning.text,
        line=line,
        is_tagged=reasoning.is_tagged,
        is_apart=reasoning.is_apart,
        **counts,
    )
    return pair if reasoning.cut is None else Unfit(reasoning.cut, "cut", pair)


def read_text(value: Mapping[str, object], name: str) -> str | Unfit:
    """Return a text that is not empty and can be written as UTF-8, or what is wrong with it."""
    if name not in value:
        names = [repr(key[:30]) for key in list(value)[:5]]
        return Unfit(f"no {name!r}" + (f", only {', '.join(names)}" if names else ""))
    text = value[name]
    if not isinstance(text, str):
        return Unfit(f"{name!r} is {kind_of(text)}, expected a text")
    if not text.strip():
        return Unfit(f"{name!r} is empty")
    # Bytes that are UTF-8 hold no such half; an escape such as "\ud83d" may bring one.
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            return Unfit(f"{name!r} holds half of a surrogate pair, which UTF-8 cannot write")
    return text


def read_count(value: Mapping[str, object], name: str) -> int | Unfit | None:
    """Return a number of tokens, `None` if none is given, or what is wrong with it."""
    count = value.get(name)
    if count is None:
        return None
    if isinstance(count, float) and count.is_integer():
        count = int(count)
    if isinstance(count, bool) or not isinstance(count, int):
        found = f"{count:g}" if isinstance(count, float) else kind_of(count)
        return Unfit(f"{name!r} is {found}, expected a whole number of tokens")
    if not 0 < count < 2**40:
        return Unfit(f"{name!r} is {count}, expected a positive number of tokens")
    return count


def read_reasoning(value: Mapping[str, object], text: str) -> ReasoningText | Unfit:
    """Return the reasoning text of an object, with the answer that may stand apart from it.

    `answer` counts only where `reasoning` is a thought alone: without tags, or in tags with
    nothing behind them. Elsewhere it is another column, such as a gold answer.
    """
    trace = split_trace(text)
    if isinstance(trace, str) or trace.thought is None:
        joined = _join_apart(value, text, is_tagged=isinstance(trace, str))
        if joined is not None:
            return joined
    if isinstance(trace, str):
        return ReasoningText(text, is_tagged=False, is_apart=False, cut=trace)
    if trace.thought is None:
        return ReasoningText(text, is_tagged=False, is_apart=False)
    return ReasoningText(join_trace(trace.thought, trace.answer), is_tagged=True, is_apart=False)


def _join_apart(
    value: Mapping[str, object], thought: str, *, is_tagged: bool
) -> ReasoningText | Unfit | None:
    """Return thought and answer joined; `None` if there is no answer, or the thought is cut."""
    if value.get("answer") is None:
        return None
    answer = read_text(value, "answer")
    if isinstance(answer, Unfit):
        return answer
    trace = split_trace(f"{thought}\n{answer}" if is_tagged else join_trace(thought, answer))
    if isinstance(trace, str) or trace.thought is None:
        return None
    return ReasoningText(join_trace(trace.thought, trace.answer), is_tagged=True, is_apart=True)
