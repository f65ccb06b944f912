"""What chat answers and text completions have in common."""

from collections.abc import Mapping
from typing import cast

from ..._backend import GenerationRequest
from ..._messages import FinishReason
from ..http_errors import Origin, one_line

__all__ = [
    "as_object",
    "check_model",
    "first_choice",
    "ids_to_stop",
    "read_finish_reason",
    "read_token_ids",
]

_FINISH_REASONS = {
    "stop": FinishReason.STOP,
    "length": FinishReason.LENGTH,
    "repetition": FinishReason.REPETITION,
    "content_filter": FinishReason.FILTER,
}
# The server gave up on this request; the next one may fare better.
_PASSING_FAILURES = ("abort", "error")


def as_object(value: object, what: str, origin: Origin) -> Mapping[str, object]:
    """Return a JSON object.

    Raises:
        BackendResponseError: It is something else.
    """
    if not isinstance(value, Mapping):
        raise origin.nonsense(f"{what} is no JSON object", retryable=True)
    return cast("Mapping[str, object]", value)


def first_choice(fields: Mapping[str, object], origin: Origin) -> Mapping[str, object]:
    """Return the first of a document's choices.

    Raises:
        BackendResponseError: There is none.
    """
    choices = fields.get("choices")
    if not isinstance(choices, list) or not choices:
        reported = fields.get("error")
        detail = f"; it says {one_line(str(reported))!r}" if reported else ""
        raise origin.nonsense(f"it has no choices{detail}", retryable=True)
    return as_object(cast("list[object]", choices)[0], "choices[0]", origin)


def check_model(fields: Mapping[str, object], origin: Origin) -> None:
    """Refuse the answer of another model than was asked.

    Raises:
        BackendResponseError: The document names another one.
    """
    answered = fields.get("model")
    if isinstance(answered, str) and answered != origin.model:
        raise origin.nonsense(
            f"the model {one_line(answered)!r} answered", hint="check what the server serves"
        )


def read_finish_reason(value: object, origin: Origin) -> FinishReason:
    """Return why the model stopped.

    Raises:
        BackendResponseError: It is missing or means that the server gave up.
    """
    if isinstance(value, str) and value in _FINISH_REASONS:
        return _FINISH_REASONS[value]
    raise origin.nonsense(
        f"finish_reason is {one_line(repr(value))}, expected one of {', '.join(_FINISH_REASONS)}",
        retryable=value in _PASSING_FAILURES or value is None,
    )


def ids_to_stop(
    fields: Mapping[str, object], request: GenerationRequest, origin: Origin
) -> tuple[int, ...] | None:
    """Return the generated ids of an answer that one of the request's stops has ended.

    The text that servers return ends before the stop; the ids hold it.

    Returns:
        `None` if the model ended the answer by itself, or the cap did.

    Raises:
        BackendResponseError: The server does not tell the ids.
    """
    if not (request.stop or request.stop_ids):
        return None
    choice = first_choice(fields, origin)
    if choice.get("finish_reason") != "stop":
        return None
    ids = read_token_ids(choice.get("token_ids"))
    if ids is None:
        raise origin.nonsense(
            "it has no token ids, and stops were named",
            hint="stopping needs a vLLM that knows return_token_ids",
        )
    reason = choice.get("stop_reason")
    is_hit = reason in request.stop if isinstance(reason, str) else ids[-1] in request.stop_ids
    return ids if is_hit else None


def read_token_ids(value: object) -> tuple[int, ...] | None:
    """Return token ids, `None` if they are missing or something else."""
    if not isinstance(value, list):
        return None
    ids = cast("list[object]", value)
    if not all(isinstance(item, int) and not isinstance(item, bool) for item in ids):
        return None
    return tuple(cast("list[int]", ids)) or None
