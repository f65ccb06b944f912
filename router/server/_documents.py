"""Chat completion documents: made from our own completions, and read from upstreams."""

from collections.abc import Mapping, MutableMapping
from typing import Any, cast

from policies import Completion, FinishReason, Usage

__all__ = [
    "chunk",
    "document_of",
    "finish_reason_of",
    "read_usage",
    "show_thought",
    "usage_document",
]

_FINISH = {
    FinishReason.STOP: "stop",
    FinishReason.LENGTH: "length",
    FinishReason.REPETITION: "stop",
    FinishReason.FILTER: "content_filter",
}
_MOST_TOKENS = 2**31
_THOUGHTS = ("reasoning_content", "reasoning")
"""What servers call a thought; the first is what clients of this one are told."""


def finish_reason_of(completion: Completion) -> str:
    """Return the finish reason in the API's words."""
    return _FINISH[completion.finish_reason]


def usage_document(usage: Usage) -> dict[str, Any]:
    """Return tokens as the API tells them."""
    document: dict[str, Any] = {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
    }
    if usage.thinking_tokens is not None:
        document["completion_tokens_details"] = {"reasoning_tokens": usage.thinking_tokens}
    return document


def read_usage(document: object) -> Usage | None:
    """Return the tokens that a server tells, `None` where it tells none."""
    if not isinstance(document, Mapping):
        return None
    fields = cast("Mapping[str, Any]", document)
    prompt, completion = fields.get("prompt_tokens"), fields.get("completion_tokens")
    if not isinstance(prompt, int) or not isinstance(completion, int):
        return None
    if not (0 <= prompt < _MOST_TOKENS and 0 <= completion < _MOST_TOKENS):
        return None  # Nonsense, which no counter and no database takes.
    return Usage(
        prompt,
        completion,
        _detail(fields, "completion_tokens_details", "reasoning_tokens"),
        _detail(fields, "prompt_tokens_details", "cached_tokens") or 0,
    )


def _detail(fields: Mapping[str, Any], key: str, name: str) -> int | None:
    details = fields.get(key)
    value = cast("Mapping[str, Any]", details).get(name) if isinstance(details, Mapping) else None
    return value if isinstance(value, int) else None


def show_thought(message: MutableMapping[str, Any], *, is_shown: bool) -> None:
    """Give a message's (or a delta's) thought its usual name, or take it away; in place."""
    given = [message.pop(key, None) for key in _THOUGHTS]
    thought = next((each for each in given if each), None)
    if is_shown and thought is not None:
        message[_THOUGHTS[0]] = thought


def document_of(
    completions: list[Completion], *, answer_id: str, created: int, model: str, shows_thought: bool
) -> dict[str, Any]:
    """Return the document of one answer, or of several to the same question.

    Args:
        completions: The answers, at least one.
        answer_id: The document's id.
        created: When, seconds since 1970.
        model: The model that answered.
        shows_thought: Whether thoughts are told.
    """
    choices: list[dict[str, Any]] = []
    usage = completions[0].usage
    for index, completion in enumerate(completions):
        message: dict[str, Any] = {"role": "assistant", "content": completion.text}
        if shows_thought and completion.thinking:
            message[_THOUGHTS[0]] = completion.thinking
        choices.append(
            {
                "index": index,
                "message": message,
                "logprobs": None,
                "finish_reason": finish_reason_of(completion),
            }
        )
        if index:
            # One prompt, several answers to it.
            usage += Usage(0, completion.usage.completion_tokens, completion.usage.thinking_tokens)
    return {
        "id": answer_id,
        "object": "chat.completion",
        "created": created,
        "model": model,
        "choices": choices,
        "usage": usage_document(usage),
    }


def chunk(
    answer_id: str,
    created: int,
    model: str,
    delta: Mapping[str, Any] | None,
    *,
    index: int = 0,
    finish_reason: str | None = None,
    usage: Usage | None = None,
) -> dict[str, Any]:
    """Return a piece of a streamed answer; without a delta, one that tells the usage alone."""
    document: dict[str, Any] = {
        "id": answer_id,
        "object": "chat.completion.chunk",
        "created": created,
        "model": model,
        "choices": [],
    }
    if delta is not None:
        document["choices"] = [
            {
                "index": index,
                "delta": dict(delta),
                "logprobs": None,
                "finish_reason": finish_reason,
            }
        ]
    if usage is not None:
        document["usage"] = usage_document(usage)
    return document
