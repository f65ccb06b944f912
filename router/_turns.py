"""What callers hand in: texts and conversations, checked, and the part that is routed on."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from policies import InvalidInputError, Message, user_message

__all__ = ["Turns", "check_texts", "read_turns"]


class Turns(NamedTuple):
    """A conversation, ready to be routed.

    Attributes:
        messages: All turns.
        text: What is routed on: the last user turn, as it is, without its attachments.
        more_bytes: Length of all other turns, which are paid for too.
    """

    messages: tuple[Message, ...]
    text: str
    more_bytes: int


def read_turns(prompt: str | Sequence[Message]) -> Turns:
    """Check what a caller hands in.

    Raises:
        InvalidInputError: It is neither a text nor a conversation with a user turn.
    """
    if isinstance(prompt, str):
        return Turns(user_message(prompt), prompt, 0)
    if not isinstance(prompt, Iterable) or isinstance(prompt, bytes | bytearray):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise _no_text(prompt)
    turns: tuple[Any, ...] = tuple(prompt)
    for turn in turns:
        if not (isinstance(turn, Message) and isinstance(turn.content, str)):  # pyright: ignore[reportUnnecessaryIsInstance]
            found = type(turn.content if isinstance(turn, Message) else turn).__name__
            raise InvalidInputError(
                f"a turn of the conversation is a {found}, expected a Message with text",
                hint='give one text, or a sequence such as [Message("user", "...")]',
            )
    last = _last_user_turn(turns)
    more = sum(_n_bytes(turn.content) for place, turn in enumerate(turns) if place != last)
    return Turns(turns, turns[last].content, more)


def check_texts(prompts: Sequence[str]) -> None:
    """Check that prompts are several texts.

    Raises:
        InvalidInputError: They are one text, or one of them is none.
    """
    if isinstance(prompts, str):
        raise InvalidInputError(
            "prompts is one text, expected a sequence of them",
            hint="decide takes one text, decide_many and predict take several",
        )
    for prompt in prompts:
        if not isinstance(prompt, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise _no_text(prompt)


def _last_user_turn(turns: Sequence[Message]) -> int:
    for place in range(len(turns) - 1, -1, -1):
        if turns[place].role == "user":
            return place
    raise InvalidInputError(
        "the conversation has no user turn", hint="the last user turn is what is routed"
    )


def _n_bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "replace"))


def _no_text(value: object) -> InvalidInputError:
    return InvalidInputError(
        f"a prompt is a {type(value).__name__}, expected a text",
        hint="decode bytes first; give a conversation as a sequence of Message",
    )
