"""A conversation as it is decided about: what is routed on, what goes along, and its name."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, cast

__all__ = ["Conversation", "read_conversation"]

_DIGEST_BYTES = 16


@dataclass(frozen=True, slots=True)
class Conversation:
    """What is known about a conversation without asking a model.

    Attributes:
        text: What is routed on: the last user turn, without its images and files.
        n_bytes: Length of the text of all turns.
        more_bytes: Length of that of all turns but the routed one.
        key: Name of this very conversation, all turns included.
        earlier: Names it had when it ended with an earlier turn that asked for an answer, the
            latest first.
        first: Name of its beginning up to the first user turn, which all later turns share.
        has_parts: Whether turns carry anything but text.
        has_tools: Whether turns call tools or hold their results.
    """

    text: str
    n_bytes: int
    more_bytes: int
    key: str
    earlier: tuple[str, ...]
    first: str
    has_parts: bool
    has_tools: bool


def read_conversation(
    messages: Sequence[Mapping[str, Any]], *, caller: str = "", name: str = ""
) -> Conversation:
    """Read the messages of a request.

    Args:
        messages: Turns as clients send them, checked.
        caller: Whose they are: conversations of two callers never share a name.
        name: The client's own name for the conversation; it then stands for all of its turns.
    """
    running = blake2b(caller.encode(), digest_size=_DIGEST_BYTES)
    ends: list[str] = []
    first = ""
    last_user, lengths, texts = -1, list[int](), list[str]()
    has_parts = has_tools = False
    for place, turn in enumerate(messages):
        role, content = turn.get("role"), turn.get("content")
        if role == "assistant" and place:
            ends.append(running.hexdigest())
        text, is_plain = _text_of(content)
        has_parts = has_parts or not is_plain
        has_tools = has_tools or role == "tool" or bool(turn.get("tool_calls"))
        texts.append(text)
        lengths.append(len(text) if text.isascii() else len(text.encode("utf-8", "replace")))
        if role == "user":
            last_user = place
        running.update(_identity(str(role), content, turn))
        if role == "user" and not first:
            first = running.hexdigest()
    routed = last_user if last_user >= 0 else len(texts) - 1
    key = running.hexdigest()
    if name:
        named = blake2b(f"{caller}\0{name}".encode(), digest_size=_DIGEST_BYTES).hexdigest()
        key, first, ends = named, named, [named]
    return Conversation(
        text=texts[routed],
        n_bytes=sum(lengths),
        more_bytes=sum(lengths) - lengths[routed],
        key=key,
        earlier=tuple(reversed(ends)),
        first=first or key,
        has_parts=has_parts,
        has_tools=has_tools,
    )


def _text_of(content: object) -> tuple[str, bool]:
    """Return the text of a turn, and whether it is nothing else."""
    if isinstance(content, str):
        return content, True
    if not isinstance(content, list):
        return "", content is None
    parts = cast("list[Mapping[str, Any]]", content)
    texts = [str(part.get("text") or "") for part in parts]
    is_plain = all(part.get("type") == "text" for part in parts)
    return "\n".join(text for text in texts if text), is_plain


def _identity(role: str, content: object, turn: Mapping[str, Any]) -> bytes:
    """Return what tells a turn from another one.

    Thoughts are left out: clients send them back or not, and templates drop those of old turns.
    """
    said: object = content
    if role == "assistant":
        said = [_text_of(content)[0], turn.get("tool_calls")]
    return json.dumps([role, said], sort_keys=True).encode()
