"""A chat completion document, as servers send it, to a `Completion`."""

from collections.abc import Mapping, Sequence
from typing import cast

from ..._backend import GenerationRequest
from ..._messages import Completion, FinishReason, Usage
from .._http_errors import Origin, one_line
from .._json import fields_of
from ._chat_evidence import TokenLogprob, answer_evidence, count_to_end_tag, read_logprobs
from ._thought import SplitText, split_thought

__all__ = ["read_completion"]

_FINISH_REASONS = {
    "stop": FinishReason.STOP,
    "length": FinishReason.LENGTH,
    "repetition": FinishReason.REPETITION,
    "content_filter": FinishReason.FILTER,
}
# The server gave up on this request; the next one may fare better.
_PASSING_FAILURES = ("abort", "error")

_MAY_BE_EMPTY = (FinishReason.FILTER, FinishReason.REPETITION)


def read_completion(document: object, request: GenerationRequest, origin: Origin) -> Completion:
    """Return the completion that a server's JSON document describes.

    Args:
        document: The parsed JSON.
        request: What was asked.
        origin: Where it came from and how long that took.

    Raises:
        BackendResponseError: It is no completion, or it lacks what must not be guessed.
    """
    fields = _object(document, "the document", origin)
    choice = _first_choice(fields, origin)
    message = _object(choice.get("message"), "choices[0].message", origin)
    finish_reason = _finish_reason(choice.get("finish_reason"), origin)
    usage = _usage(fields.get("usage"), origin)
    content = _text(message, "content", origin) or ""
    reasoning = _text(message, "reasoning", origin) or _text(message, "reasoning_content", origin)
    split = split_thought(
        content,
        reasoning,
        asked_to_think=request.thinking,
        was_cut=finish_reason is FinishReason.LENGTH,
        is_split=usage.thinking_tokens is not None,
    )
    split = _check_empty(split, finish_reason, usage, request, origin)
    logprobs = read_logprobs(choice.get("logprobs"), origin) if request.logprobs else None
    return Completion(
        text=split.text,
        finish_reason=finish_reason,
        usage=_with_thinking(usage, split, logprobs),
        seconds=origin.seconds,
        thinking=split.thinking,
        thinking_closed=split.is_closed,
        token_ids=_token_ids(choice.get("token_ids")),
        evidence=answer_evidence(logprobs, split, content, finish_reason, origin)
        if logprobs is not None
        else None,
    )


def _object(value: object, what: str, origin: Origin) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise origin.nonsense(f"{what} is no JSON object", retryable=True)
    return cast("Mapping[str, object]", value)


def _first_choice(fields: Mapping[str, object], origin: Origin) -> Mapping[str, object]:
    choices = fields.get("choices")
    if not isinstance(choices, list) or not choices:
        reported = fields.get("error")
        detail = f"; it says {one_line(str(reported))!r}" if reported else ""
        raise origin.nonsense(f"it has no choices{detail}", retryable=True)
    return _object(cast("list[object]", choices)[0], "choices[0]", origin)


def _text(message: Mapping[str, object], key: str, origin: Origin) -> str | None:
    value = message.get(key)
    if value is not None and not isinstance(value, str):
        raise origin.nonsense(f"message.{key} is no text")
    return value


def _finish_reason(value: object, origin: Origin) -> FinishReason:
    if isinstance(value, str) and value in _FINISH_REASONS:
        return _FINISH_REASONS[value]
    raise origin.nonsense(
        f"finish_reason is {one_line(repr(value))}, expected one of {', '.join(_FINISH_REASONS)}",
        retryable=value in _PASSING_FAILURES or value is None,
    )


def _count(usage: Mapping[str, object], key: str, origin: Origin) -> int:
    value = usage.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise origin.nonsense(
            f"usage.{key} is {value!r}, expected a count",
            hint="tokens are never guessed; use a server that reports them",
        )
    return value


def _usage(value: object, origin: Origin) -> Usage:
    if not isinstance(value, Mapping):
        raise origin.nonsense(
            "it has no usage", hint="tokens are never guessed; use a server that reports them"
        )
    usage = cast("Mapping[str, object]", value)
    completion = fields_of(usage.get("completion_tokens_details"))
    prompt = fields_of(usage.get("prompt_tokens_details"))
    completion_tokens = _count(usage, "completion_tokens", origin)
    thinking_tokens = None
    if completion.get("reasoning_tokens") is not None:
        thinking_tokens = _count(completion, "reasoning_tokens", origin)
        if thinking_tokens > completion_tokens:
            raise origin.nonsense(
                f"usage tells {thinking_tokens} reasoning tokens of {completion_tokens} in all"
            )
    cached = prompt.get("cached_tokens")
    return Usage(
        prompt_tokens=_count(usage, "prompt_tokens", origin),
        completion_tokens=completion_tokens,
        thinking_tokens=thinking_tokens,
        cached_tokens=_count(prompt, "cached_tokens", origin) if cached is not None else 0,
    )


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
    usage: Usage, split: SplitText, logprobs: Sequence[TokenLogprob] | None
) -> Usage:
    """Complete the thinking tokens from the token list where the server did not tell them."""
    thinking_tokens = usage.thinking_tokens
    if thinking_tokens == 0 and split.thinking:
        thinking_tokens = None  # It splits thoughts off but does not count them.
    if thinking_tokens is None and split.thinking is not None and logprobs is not None:
        thinking_tokens = count_to_end_tag(logprobs)
    return Usage(usage.prompt_tokens, usage.completion_tokens, thinking_tokens, usage.cached_tokens)


def _token_ids(value: object) -> tuple[int, ...] | None:
    if not isinstance(value, list):
        return None
    ids = cast("list[object]", value)
    return tuple(item for item in ids if isinstance(item, int)) or None
