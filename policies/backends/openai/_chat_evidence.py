"""Log-probabilities of a chat completion, those of the answer apart from the thought's."""

import math
from collections.abc import Sequence
from typing import NamedTuple, cast

from ..._messages import Evidence, FinishReason
from .._json import fields_of
from ..http_errors import Origin
from ._thought import END, START, SplitText

__all__ = [
    "TokenLogprob",
    "answer_evidence",
    "count_to_end_tag",
    "evidence_of",
    "gap_of_top_two",
    "read_logprobs",
    "token_logprob",
]


class TokenLogprob(NamedTuple):
    """One generated token.

    Attributes:
        token: Its text.
        logprob: Its natural-log probability, at most 0.
        margin: Gap between the two most likely tokens at its place; `None` where the server
            does not tell them.
    """

    token: str
    logprob: float
    margin: float | None = None


def read_logprobs(value: object, origin: Origin) -> list[TokenLogprob]:
    """Return the generated tokens with their log-probabilities.

    Raises:
        BackendResponseError: They were asked for and are missing or no numbers.
    """
    content = fields_of(value).get("content")
    if not isinstance(content, list):
        raise origin.nonsense(
            "log-probabilities were asked for and none came",
            hint="run without logprobs, or use a server that returns them",
        )
    tokens: list[TokenLogprob] = []
    for entry in cast("list[object]", content):
        fields = fields_of(entry)
        listed = fields.get("top_logprobs")
        likely = cast("list[object]", listed) if isinstance(listed, list) else []
        margin = gap_of_top_two([fields_of(one).get("logprob") for one in likely])
        tokens.append(token_logprob(fields.get("token"), fields.get("logprob"), origin, margin))
    return tokens


def gap_of_top_two(logprobs: Sequence[object]) -> float | None:
    """Return how far the largest lies above the second, `None` if two are not told."""
    known = [float(one) for one in logprobs if isinstance(one, int | float)]
    if len(known) < max(2, len(logprobs)) or not all(map(math.isfinite, known)):
        return None
    first, second = sorted(known, reverse=True)[:2]
    return first - second


def token_logprob(
    token: object, logprob: object, origin: Origin, margin: float | None = None
) -> TokenLogprob:
    """Return one entry of a list of log-probabilities.

    Args:
        token: Its text.
        logprob: Its natural-log probability.
        origin: For errors.
        margin: Gap between the two most likely tokens at its place.

    Raises:
        BackendResponseError: It has no token or no number.
    """
    is_number = isinstance(logprob, int | float) and math.isfinite(logprob)
    if not isinstance(token, str) or not is_number:
        raise origin.nonsense("an entry of the log-probabilities has no token or no number")
    # Rounding can lift a certain token a little above 0.
    return TokenLogprob(token, min(0.0, float(cast("float", logprob))), margin)


def answer_evidence(
    tokens: Sequence[TokenLogprob],
    split: SplitText,
    content: str,
    finish_reason: FinishReason,
    origin: Origin,
) -> Evidence | None:
    """Return log-probabilities and margin of the answer's tokens.

    Args:
        tokens: All generated tokens, or only the answer's where the server hides the thought.
        split: The thought and the answer.
        content: The message's content as it came.
        finish_reason: Why the model stopped.
        origin: For errors.

    Returns:
        `None` if there is no answer, or if its first token cannot be told for sure.
    """
    if not split.text:
        return None
    if not tokens:
        raise origin.nonsense("the answer has text but no log-probabilities")
    answer = list(tokens)
    end = _last_end_tag(tokens)
    # At budget 0 the tags stand around nothing, and the server shows no thought.
    if end is not None and (split.thinking is not None or END not in content):
        answer = answer[end + 1 :]
    elif split.thinking is not None and not _is_only_answer(tokens, content):
        return None
    return evidence_of(answer, content, finish_reason)


def evidence_of(
    answer: Sequence[TokenLogprob], content: str, finish_reason: FinishReason
) -> Evidence | None:
    """Return log-probabilities and margin of an answer's tokens, `None` without any.

    Args:
        answer: The answer's tokens; the one that ends the turn may come last.
        content: The text they spell.
        finish_reason: Why the model stopped.
    """
    # The token that ends the turn is no part of the answer.
    if answer and finish_reason is FinishReason.STOP and not content.endswith(answer[-1].token):
        answer = answer[:-1]
    return Evidence.of_tokens(
        [token.logprob for token in answer], [token.margin for token in answer]
    )


def count_to_end_tag(tokens: Sequence[TokenLogprob]) -> int | None:
    """Return the number of tokens inside the thought, `None` if the list does not show it."""
    end = _last_end_tag(tokens)
    if end is None and not (tokens and tokens[0].token == START):
        return None
    return sum(token.token not in (START, END) for token in tokens[:end])


def _last_end_tag(tokens: Sequence[TokenLogprob]) -> int | None:
    places = [index for index, token in enumerate(tokens) if token.token == END]
    return places[-1] if places else None


def _is_only_answer(tokens: Sequence[TokenLogprob], content: str) -> bool:
    """Tell whether the tokens spell the content and nothing before it."""
    return "".join(token.token for token in tokens).startswith(content)
