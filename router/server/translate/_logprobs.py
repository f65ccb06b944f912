"""Log probabilities of tokens, as the Responses API writes them."""

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

from ._fields import AnswerField, JsonObject

__all__ = ["TokenLogprob", "behind", "read_logprobs", "spelling"]


class TokenLogprob(NamedTuple):
    """A generated token.

    Attributes:
        spelled: Its bytes.
        entry: What is said about it; `None` for the end of a token whose beginning was told.
    """

    spelled: bytes
    entry: JsonObject | None


def read_logprobs(choice: AnswerField) -> list[TokenLogprob]:
    """Return the generated tokens of a choice, none where it does not tell them.

    Raises:
        BackendResponseError: They cannot be read.
    """
    if not choice["logprobs"].is_given or not choice["logprobs"]["content"].is_given:
        return []
    tokens: list[TokenLogprob] = []
    for token in choice["logprobs"]["content"].items():
        spelled, entry = _entry(token)
        others = token["top_logprobs"].items() if token["top_logprobs"].is_given else []
        entry["top_logprobs"] = [_entry(other)[1] for other in others]
        tokens.append(TokenLogprob(spelled, entry))
    return tokens


def _entry(token: AnswerField) -> tuple[bytes, JsonObject]:
    text = token["token"].text()
    if token["bytes"].is_given:
        spelled = bytes(each.count(most=255) for each in token["bytes"].items())
    else:
        spelled = _utf8(text)
    entry: JsonObject = {
        "token": text,
        "logprob": token["logprob"].number(),
        "bytes": list(spelled),
    }
    return spelled, entry


def spelling(
    text: str, tokens: Sequence[TokenLogprob], *, after: str = ""
) -> tuple[list[JsonObject], Sequence[TokenLogprob]]:
    """Return what is said about the tokens that spell a text, and the tokens behind them.

    Servers list all generated tokens: those of the thought, the text and what ends it.

    Args:
        text: The text, not empty.
        tokens: Tokens that hold it.
        after: Thought that lies before it, where it is told. A hidden one may have said the same,
            so that without one the last tokens count that spell the text.

    Returns:
        All tokens behind the thought where they do not spell the text, as when a server gives
        the replacement character for tokens that are parts of one; then nothing is behind them.
    """
    rest = behind(after, tokens) if after else ()
    tokens = rest or tokens
    spelled, sought = _spelled(tokens), _utf8(text)
    begin = spelled.find(sought) if rest else spelled.rfind(sought)
    if begin < 0:
        return _entries(tokens), ()
    _, rest = _parted(tokens, begin)
    inside, rest = _parted(rest, len(sought))
    return _entries(inside), rest


def behind(text: str, tokens: Sequence[TokenLogprob]) -> Sequence[TokenLogprob]:
    """Return the tokens behind those that spell a text; none if they do not spell it."""
    spelled, sought = _spelled(tokens), _utf8(text)
    begin = spelled.find(sought)
    return _parted(tokens, begin + len(sought))[1] if begin >= 0 else ()


def _parted(
    tokens: Sequence[TokenLogprob], n_bytes: int
) -> tuple[Sequence[TokenLogprob], Sequence[TokenLogprob]]:
    """Return the tokens that hold the first bytes, and the others.

    A token that holds both, as servers cut texts within tokens, is told with the first bytes.
    """
    ends = list(accumulate(len(token.spelled) for token in tokens))
    last = bisect_left(ends, n_bytes) + 1 if n_bytes else 0
    over = ends[last - 1] - n_bytes if last else 0
    split = [TokenLogprob(tokens[last - 1].spelled[-over:], None)] if over else []
    return tokens[:last], [*split, *tokens[last:]]


def _entries(tokens: Sequence[TokenLogprob]) -> list[JsonObject]:
    return [token.entry for token in tokens if token.entry is not None]


def _spelled(tokens: Sequence[TokenLogprob]) -> bytes:
    return b"".join(token.spelled for token in tokens)


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
