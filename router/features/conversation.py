"""What a conversation is routed on: the text of its last user turn, and numbers about the rest.

Both are fixed by `CONVERSATION_VERSION` and by nothing else: no table of the running Python's
Unicode version decides what they are.
"""

from collections.abc import Sequence
from unicodedata import ucd_3_2_0

import numpy as np
from numpy.typing import NDArray

from policies import InvalidInputError, Message

from .scripts import COMPOSING, IGNORED, classes_of

__all__ = [
    "CONVERSATION_FEATURES",
    "CONVERSATION_VERSION",
    "MAX_ROUTED_BYTES",
    "clean_text",
    "conversation_features",
    "routed_text",
]

CONVERSATION_VERSION = 1
"""Raised whenever the same conversation gives another text or other numbers."""

MAX_ROUTED_BYTES = 8192
"""How much of a turn is routed on, about 2,000 tokens of English."""

_ASCII_CONTROLS = bytes((*range(9), *range(14, 32), 127))
_JOINT = "\n"

CONVERSATION_FEATURES: tuple[str, ...] = (
    "n_earlier_turns",
    "n_earlier_user_turns",
    "n_assistant_turns",
    "n_system_turns",
    "n_history_bytes",
    "n_history_tokens",
    "n_system_bytes",
    "n_last_answer_bytes",
    "history_share",
    "n_history_code_fences",
    "n_clipped_bytes",
    "n_images",
    "n_other_attachments",
    "n_attachments_now",
)
"""Names of the columns of `conversation_features`."""


def routed_text(messages: Sequence[Message], max_bytes: int = MAX_ROUTED_BYTES) -> str:
    """Return the text that a conversation is routed on: its last user turn, as `clean_text`.

    Raises:
        InvalidInputError: Nobody but the model or the system has said anything.

    Example:
        >>> routed_text([Message("user", "Hi"), Message("assistant", "Hello"),
        ...              Message("user", "7\u200b+9?")])
        '7+9?'
    """
    return clean_text(messages[_last_user_turn(messages)].content, max_bytes)


def clean_text(text: str, max_bytes: int = MAX_ROUTED_BYTES) -> str:
    r"""Return a text without what cannot be seen, clipped to its beginning and its end.

    Controls (but tab, line breaks and page breaks), zero-width characters, marks of direction,
    lone surrogates and the like go. Letters written as letter and mark become one where
    Unicode 3.2 has one (NFC), which Python keeps unchanged for ever; NFC of the running Python
    would give other texts under other versions. Of a text that is longer than `max_bytes` of
    UTF-8, half of that is its beginning, the rest after a line break its end: long prompts tend
    to say what is wanted at either. The time is bounded whatever the length.

    The result is its own result: cleaning twice changes nothing.

    Args:
        text: Any text.
        max_bytes: Most bytes of the result, 8 or more.

    Raises:
        InvalidInputError: `max_bytes` is too small for a character at both ends.

    Example:
        >>> clean_text("a\x00b\ufeffc")
        'abc'
    """
    if max_bytes < 8:
        raise InvalidInputError(f"max_bytes is {max_bytes!r}, expected >= 8")
    if len(text) > 2 * max_bytes:
        # What is in between cannot be in the result.
        head, tail = _seen(text[:max_bytes]), _seen(text[-max_bytes:])
        text = f"{head}{_JOINT}{tail}" if head and tail else head or tail
    else:
        text = _seen(text)
    return text if 4 * len(text) <= max_bytes else _clipped(text, max_bytes)


def conversation_features(
    messages: Sequence[Message], max_bytes: int = MAX_ROUTED_BYTES
) -> NDArray[np.float64]:
    """Return numbers about all that `routed_text` leaves out, shape `(len(CONVERSATION_FEATURES),)`.

    A single user turn that is not clipped and has no attachments gives zeros, so that a router
    fitted on prompts sees nothing new in them. History is every turn but the last user's;
    `n_clipped_bytes` is how much longer than `max_bytes` the last user turn is, so its whole length
    is known from that and the routed text. Bytes are of UTF-8. `n_history_tokens` is a guess
    without a tokenizer: a token for four bytes of ASCII and one for each other character.

    Raises:
        InvalidInputError: There is no user turn.
    """
    last = _last_user_turn(messages)
    row = dict.fromkeys(CONVERSATION_FEATURES, 0.0)
    n_last = _n_bytes(messages[last].content)
    row["n_clipped_bytes"] = float(max(0, n_last - max_bytes))
    row["n_attachments_now"] = float(len(messages[last].attachments))
    for message in messages:
        for attachment in message.attachments:
            is_image = attachment.kind == "image"
            row["n_images" if is_image else "n_other_attachments"] += 1.0
    if len(messages) > 1:
        _add_history(row, messages, last, n_last)
    return np.fromiter(row.values(), np.float64, len(row))


def _add_history(
    row: dict[str, float], messages: Sequence[Message], last: int, n_last: int
) -> None:
    for index, message in enumerate(messages):
        if index == last:
            continue
        text = message.content
        n_bytes = _n_bytes(text)
        row["n_earlier_turns"] += index < last
        row["n_history_bytes"] += n_bytes
        row["n_history_tokens"] += _n_tokens(text, n_bytes)
        row["n_history_code_fences"] += text.count("```")
        if message.role == "user":
            row["n_earlier_user_turns"] += 1.0
        elif message.role == "assistant":
            row["n_assistant_turns"] += 1.0
            row["n_last_answer_bytes"] = float(n_bytes)
        else:
            row["n_system_turns"] += 1.0
            row["n_system_bytes"] += n_bytes
    row["history_share"] = row["n_history_bytes"] / max(1.0, row["n_history_bytes"] + n_last)


def _last_user_turn(messages: Sequence[Message]) -> int:
    for index in range(len(messages) - 1, -1, -1):
        if messages[index].role == "user":
            return index
    raise InvalidInputError(
        "the conversation has no user turn", hint="the last user turn is what is routed"
    )


def _seen(text: str) -> str:
    """Return a text without what cannot be seen, composed."""
    if text.isascii():
        data = text.encode()
        kept = data.translate(None, _ASCII_CONTROLS)
        return text if len(kept) == len(data) else kept.decode()
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    classes = classes_of(codes)
    if classes.max() < COMPOSING:
        return text
    is_seen = classes != IGNORED
    if not is_seen.all():
        text = codes[is_seen].tobytes().decode("utf-32-le")
    composes = bool((classes[is_seen] >= COMPOSING).any())
    return ucd_3_2_0.normalize("NFC", text) if composes else text


def _clipped(text: str, max_bytes: int) -> str:
    data = text.encode()
    if len(data) <= max_bytes:
        return text
    head = data[: max_bytes // 2].decode("utf-8", "ignore")
    n_tail = max_bytes - max_bytes // 2 - len(_JOINT)
    return head + _JOINT + data[-n_tail:].decode("utf-8", "ignore")


def _n_bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "replace"))


def _n_tokens(text: str, n_bytes: int) -> float:
    if len(text) == n_bytes:
        return n_bytes / 4.0
    n_ascii = len(text.encode("ascii", "ignore"))
    return n_ascii / 4.0 + (len(text) - n_ascii)
