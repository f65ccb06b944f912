"""Where the thought ends and the answer begins, in every form in which servers return it."""

from dataclasses import dataclass

__all__ = ["END", "START", "SplitText", "split_thought"]

START = "<think>"
END = "</think>"


@dataclass(frozen=True, slots=True)
class SplitText:
    """A thought and an answer.

    Attributes:
        thinking: The thought, `None` if there is none.
        text: The answer; empty if the thought never ended.
        is_closed: Whether the thought ended.
    """

    thinking: str | None
    text: str
    is_closed: bool = True


def split_thought(
    content: str, reasoning: str | None, *, asked_to_think: bool, was_cut: bool, is_split: bool
) -> SplitText:
    """Tell the thought from the answer.

    A thought is looked for only where one can be: at the very beginning (and again right after
    it, since a model may think anew), so that an answer may speak of the tags. If the prompt
    template wrote the start tag, text up to a lone end tag is the thought; if even that is
    missing, a cut text is a thought that never ended.

    Args:
        content: The message's content, "" for none.
        reasoning: The thought that the server has split off already.
        asked_to_think: Whether thinking was on.
        was_cut: Whether the output ended at the token cap.
        is_split: Whether the server itself tells thought and answer apart, so that content
            without tags is an answer.
    """
    if reasoning:
        # After a forced end, some models write the end tag once more.
        rest = content.lstrip().removeprefix(END)
        after = _split_tags(rest)
        thinking = "\n".join(part for part in (_trim(reasoning), after.thinking) if part)
        return SplitText(thinking, after.text, after.is_closed and bool(after.text))
    split = _split_tags(content)
    if split.thinking is not None or not asked_to_think:
        if not asked_to_think and not split.thinking:
            return SplitText(None, split.text, split.is_closed)
        return split
    end, start = content.find(END), content.find(START)
    if end >= 0 and not 0 <= start < end:
        after = _split_tags(content[end + len(END) :])
        parts = (_trim(content[:end]), after.thinking)
        return SplitText("\n".join(part for part in parts if part), after.text, after.is_closed)
    if was_cut and not is_split:
        return SplitText(_trim(content), "", is_closed=False)
    return split


def _split_tags(content: str) -> SplitText:
    """Split off the tagged thoughts that `content` begins with."""
    thoughts: list[str] = []
    rest = content
    while rest.lstrip().startswith(START):
        body, end, rest = rest.lstrip().removeprefix(START).partition(END)
        thoughts.append(_trim(body))
        if not end:
            return SplitText(_join(thoughts), "", is_closed=False)
    return SplitText(_join(thoughts), rest.lstrip("\n") if thoughts else _trim_start(rest))


def _join(thoughts: list[str]) -> str | None:
    return "\n".join(thought for thought in thoughts if thought) if thoughts else None


def _trim(thought: str) -> str:
    return thought.strip("\n")


def _trim_start(text: str) -> str:
    return text.lstrip("\n")
