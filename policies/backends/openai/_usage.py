"""The token counts that a server reports; what it does not tell is never guessed."""

from collections.abc import Mapping
from typing import cast

from ..._messages import Usage
from .._json import fields_of
from ..http_errors import Origin

__all__ = ["read_usage"]

_NEVER_GUESSED = "tokens are never guessed; use a server that reports them"


def read_usage(value: object, origin: Origin, *, counts_apart: bool = False) -> Usage:
    """Return the usage of an answer.

    Args:
        value: The document's `usage`.
        origin: For errors.
        counts_apart: Whether the server leaves thinking tokens out of `completion_tokens` and
            tells them through `total_tokens` alone.

    Raises:
        BackendResponseError: A count is missing or no count, or the counts contradict each
            other: more reasoning than completion tokens, more cached than prompt tokens, or a
            total above the sum. Costs computed from such numbers would be wrong.
    """
    if not isinstance(value, Mapping):
        raise origin.nonsense("it has no usage", hint=_NEVER_GUESSED)
    usage = cast("Mapping[str, object]", value)
    prompt_tokens = _count(usage, "prompt_tokens", origin)
    completion_tokens = _count(usage, "completion_tokens", origin)
    thinking_tokens = _optional(usage, "completion_tokens_details", "reasoning_tokens", origin)
    n_apart = _n_apart(usage, prompt_tokens + completion_tokens, origin)
    if n_apart and not counts_apart:
        raise origin.nonsense(
            f"usage.total_tokens is {n_apart} above prompt and completion tokens together",
            hint="the server counts thinking tokens apart: use a dialect such as gemini",
        )
    if counts_apart:
        completion_tokens += n_apart
        thinking_tokens = n_apart
    if thinking_tokens is not None and thinking_tokens > completion_tokens:
        raise origin.nonsense(
            f"usage tells {thinking_tokens} reasoning tokens of {completion_tokens} in all"
        )
    cached_tokens = _optional(usage, "prompt_tokens_details", "cached_tokens", origin) or 0
    if cached_tokens > prompt_tokens:
        raise origin.nonsense(
            f"usage tells {cached_tokens} cached tokens of {prompt_tokens} prompt tokens",
            hint="a proxy in between may count cached tokens apart",
        )
    return Usage(prompt_tokens, completion_tokens, thinking_tokens, cached_tokens)


def _n_apart(usage: Mapping[str, object], known: int, origin: Origin) -> int:
    if usage.get("total_tokens") is None:
        return 0
    return max(0, _count(usage, "total_tokens", origin) - known)


def _optional(usage: Mapping[str, object], key: str, detail: str, origin: Origin) -> int | None:
    details = fields_of(usage.get(key))
    return None if details.get(detail) is None else _count(details, detail, origin)


def _count(usage: Mapping[str, object], key: str, origin: Origin) -> int:
    value = usage.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise origin.nonsense(f"usage.{key} is {value!r}, expected a count", hint=_NEVER_GUESSED)
    return value
