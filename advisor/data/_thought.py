"""A reasoning text taken apart into thought and answer, and put together as it is trained on."""

import re
from dataclasses import dataclass

__all__ = ["CLOSE", "OPEN", "Trace", "join_trace", "split_trace", "strip_empty_thought"]

OPEN, CLOSE = "<think>", "</think>"
_TAG = re.compile(r"</?think>")
_EMPTY = re.compile(r"\s*<think>\s*</think>\s*")


@dataclass(frozen=True, slots=True)
class Trace:
    """A thought and the answer after it.

    Attributes:
        thought: The thought, without tags; `None` if the text has no tags, so that where a
            thought would end is not known.
        answer: What follows it, or the whole text.
    """

    thought: str | None
    answer: str


def split_trace(text: str) -> Trace | str:
    """Return a reasoning text as thought and answer, or why it must not be trained on.

    The opening tag may be missing, as in the output of servers whose template writes it. A text
    without tags is no thought and all answer.
    """
    tags = _TAG.findall(text)
    if not tags:
        return Trace(None, text)
    if tags == [CLOSE]:
        text, tags = f"{OPEN}{text}", [OPEN, CLOSE]
    if tags == [OPEN]:
        return "the thought is not closed: a cut trace"
    if tags != [OPEN, CLOSE]:
        shown = " ".join(tags[:4]) + (" ..." if len(tags) > 4 else "")
        return f"expected one {OPEN} and one {CLOSE}, found {shown}"
    before, _, rest = text.partition(OPEN)
    thought, _, answer = rest.partition(CLOSE)
    if before.strip():
        return f"text before {OPEN}"
    if not answer.strip():
        return "no answer after the thought: a cut trace"
    if not thought.strip():
        return "the thought is empty"
    return Trace(thought.strip(), answer.strip())


def join_trace(thought: str, answer: str) -> str:
    """Return thought and answer as literal text, spaced as by the templates of Qwen3."""
    return f"{OPEN}\n{thought}\n{CLOSE}\n\n{answer}"


def strip_empty_thought(text: str) -> str | None:
    """Return a direct answer without the empty thought before it; `None` if it holds tags."""
    text = _EMPTY.sub("", text, count=1) if text.lstrip().startswith(OPEN) else text
    return None if _TAG.search(text) else text
