"""A chat completion document, as servers send it, to a `Completion`."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ..._backend import GenerationRequest, ThoughtMarkers
from ..._messages import Completion, FinishReason, Usage
from ..http_errors import Origin
from ..thinking import Dialect
from ._chat_evidence import TokenLogprob, answer_evidence, count_to_end_tag, read_logprobs
from ._document import (
    as_object,
    check_model,
    first_choice,
    read_finish_reason,
    read_token_ids,
)
from ._thought import SplitText, split_thought
from ._usage import read_usage

__all__ = ["read_completion"]

_MAY_BE_EMPTY = (FinishReason.FILTER, FinishReason.REPETITION)


def read_completion(
    document: object,
    request: GenerationRequest,
    dialect: Dialect,
    origin: Origin,
    markers: ThoughtMarkers | None = None,
    *,
    said: str | None = None,
) -> Completion:
    """Return the completion that a server's JSON document describes.

    Args:
        document: The parsed JSON.
        request: What was asked.
        dialect: The kind of server.
        origin: Where it came from and how long that took.
        markers: How thoughts lie in the token ids, where that is known.
        said: All that was generated, as text, where a stop has ended it: the document's own
            text leaves the stop out.

    Raises:
        BackendResponseError: It is no completion, or it lacks what must not be guessed.
    """
    fields = as_object(document, "the document", origin)
    choice = first_choice(fields, origin)
    message = as_object(choice.get("message"), "choices[0].message", origin)
    if dialect.echoes_model:
        check_model(fields, origin)
    finish_reason = read_finish_reason(choice.get("finish_reason"), origin)
    usage = read_usage(fields.get("usage"), origin, counts_apart=dialect.counts_apart)
    content = _text(message, "content", origin) or ""
    thoughts = (_text(message, key, origin) for key in dialect.thought_keys)
    thought = next((thought for thought in thoughts if thought), None)
    if said is None:
        split = split_thought(
            content,
            thought,
            asked_to_think=request.thinking,
            was_cut=finish_reason is FinishReason.LENGTH,
            # Where the thought stays hidden, all content is answer.
            is_split=usage.thinking_tokens is not None or not dialect.thought_keys,
        )
        split = _check_empty(split, finish_reason, usage, request, origin)
    else:
        split = split_thought(
            said,
            None,
            asked_to_think=request.thinking,
            was_cut=thought is not None and not content,
            is_split=False,
        )
        content = said
    logprobs = read_logprobs(choice.get("logprobs"), origin) if request.logprobs else None
    token_ids = read_token_ids(choice.get("token_ids"))
    by_ids = None
    if markers is not None and request.thinking and token_ids is not None and split.thinking:
        by_ids = markers.n_thinking(token_ids)
        if not split.text and markers.is_closed(token_ids):
            split = replace(split, is_closed=True)  # An empty answer, not an endless thought.
    return Completion(
        text=split.text,
        finish_reason=finish_reason,
        usage=_with_thinking(usage, split, logprobs, by_ids),
        seconds=origin.seconds,
        thinking=split.thinking if said is None or not split.is_closed else split.thinking or None,
        thinking_closed=split.is_closed,
        token_ids=token_ids,
        evidence=answer_evidence(logprobs, split, content, finish_reason, origin)
        if logprobs is not None
        else None,
    )


def _text(message: Mapping[str, object], key: str, origin: Origin) -> str | None:
    value = message.get(key)
    if value is not None and not isinstance(value, str):
        raise origin.nonsense(f"message.{key} is no text")
    return value


def _check_empty(
    split: SplitText,
    finish_reason: FinishReason,
    usage: Usage,
    request: GenerationRequest,
    origin: Origin,
) -> SplitText:
    """Tell a model that said nothing from a server that lost what it said."""
    if split.text or split.thinking or finish_reason in _MAY_BE_EMPTY:
        if split.text and usage.completion_tokens == 0:
            raise origin.nonsense("it has text and yet usage.completion_tokens is 0")
        return split
    thinks = request.thinking or bool(usage.thinking_tokens)
    if finish_reason is FinishReason.LENGTH and thinks:
        return SplitText(split.thinking, "", is_closed=False)  # A hidden thought was cut.
    if usage.completion_tokens > 1:
        raise origin.nonsense(
            f"the content is empty although {usage.completion_tokens} tokens were generated",
            hint="the server keeps the output elsewhere or lost it; check its reasoning parser",
        )
    return split


def _with_thinking(
    usage: Usage,
    split: SplitText,
    logprobs: Sequence[TokenLogprob] | None,
    by_ids: int | None,
) -> Usage:
    """Complete the thinking tokens from the tokens where the server did not tell them."""
    thinking_tokens = usage.thinking_tokens
    if thinking_tokens == 0 and split.thinking:
        thinking_tokens = None  # It splits thoughts off but does not count them.
    if thinking_tokens is None:
        thinking_tokens = by_ids
    if thinking_tokens is None and split.thinking is not None and logprobs is not None:
        thinking_tokens = count_to_end_tag(logprobs)
    return replace(usage, thinking_tokens=thinking_tokens)
