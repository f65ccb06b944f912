"""A chat completion, to the Response object that says the same."""

from collections.abc import Mapping, Sequence
from typing import Final

from ._fields import AnswerField, JsonObject
from ._logprobs import read_logprobs, spelling
from ._responses_object import (
    Ending,
    call_item,
    item_id,
    message_item,
    output_text,
    reasoning_item,
    reasoning_text,
    refusal,
    response_object,
)

__all__ = [
    "GIVEN_UP",
    "THOUGHT_KEYS",
    "first_given",
    "own_fields",
    "read_ending",
    "read_usage",
    "response_of_chat",
    "service_tier_of",
]

# What older and newer servers call the thought.
THOUGHT_KEYS: Final = ("reasoning_content", "reasoning")
_INCOMPLETE: Final = {"length": "max_output_tokens", "content_filter": "content_filter"}
# The server gave up on this request.
GIVEN_UP: Final = ("abort", "error")


def response_of_chat(
    document: Mapping[str, object],
    request: Mapping[str, object],
    *,
    response_id: str,
    created_at: float,
) -> JsonObject:
    """Return the Response object of an answer that came in one piece.

    Args:
        document: The chat completion. Of several choices only the first is read.
        request: The request to `/v1/responses`, as it came; it was translated before, so that
            its fields are sound. The Response repeats its parameters.
        response_id: Name of the Response; those of its items are made from it.
        created_at: When it was made, seconds since 1970.

    Returns:
        The thought, the text and the calls, each an item of `output`; what is empty has none.

    Raises:
        BackendResponseError: The document is no chat completion.
    """
    answer = AnswerField(document)
    choices = answer["choices"].items()
    if not choices:
        raise answer["choices"].error("is empty")
    choice = choices[0]
    message = choice["message"]
    output: list[JsonObject] = []
    thought = first_given(message, THOUGHT_KEYS)
    if thought:
        output.append(reasoning_item(item_id("rs", response_id, 0), [reasoning_text(thought)]))
    parts: list[JsonObject] = []
    if text := first_given(message, ("content",)):
        logprobs, _ = spelling(text, read_logprobs(choice), after=thought)
        parts.append(output_text(text, logprobs))
    if refused := first_given(message, ("refusal",)):
        parts.append(refusal(refused))
    if parts:
        output.append(message_item(item_id("msg", response_id, len(output)), parts))
    for call in message["tool_calls"].items() if message["tool_calls"].is_given else []:
        function = call["function"]
        output.append(
            call_item(
                item_id("fc", response_id, len(output)),
                first_given(call, ("id",)) or item_id("call", response_id, len(output)),
                function["name"].text(),
                first_given(function, ("arguments",)),
            )
        )
    ending = read_ending(first_given(choice, ("finish_reason",)))
    if output:
        output[-1]["status"] = ending.last_item
    response = response_object(
        request,
        response_id=response_id,
        created_at=created_at,
        ending=ending,
        model=first_given(answer, ("model",)),
        output=output,
        usage=read_usage(answer),
        service_tier=service_tier_of(answer),
    )
    return response | own_fields(answer)


def first_given(field: AnswerField, names: Sequence[str]) -> str:
    """Return the first of an object's texts that is not empty, "" where all are.

    Raises:
        BackendResponseError: One of them is no text.
    """
    for name in names:
        given = field[name]
        if given.is_given and (text := given.text()):
            return text
    return ""


def own_fields(answer: AnswerField) -> JsonObject:
    """Return what an answer says of the decision behind it, where it was asked to."""
    return {"thinkroute": answer["thinkroute"].value} if answer["thinkroute"].is_given else {}


def service_tier_of(answer: AnswerField) -> str | None:
    """Return the tier that an answer was processed with, `None` where it does not tell."""
    return first_given(answer, ("service_tier",)) or None


def read_ending(finish_reason: str) -> Ending:
    """Return how an answer ended.

    Args:
        finish_reason: As the chat completion tells it; "" for one that does not count as cut.
    """
    if finish_reason in GIVEN_UP:
        message = f"the model's server gave up: finish_reason is {finish_reason!r}"
        return Ending("failed", error={"code": "server_error", "message": message})
    if finish_reason in _INCOMPLETE:
        return Ending("incomplete", reason=_INCOMPLETE[finish_reason])
    return Ending("completed")


def read_usage(answer: AnswerField) -> JsonObject | None:
    """Return the tokens that an answer took, `None` where it does not tell.

    The API knows no token counts that are unknown: details that the server left out are 0.

    Raises:
        BackendResponseError: They cannot be read.
    """
    usage = answer["usage"]
    if not usage.is_given:
        return None
    read, generated = usage["prompt_tokens"].count(), usage["completion_tokens"].count()
    total = usage["total_tokens"]
    return {
        "input_tokens": read,
        "input_tokens_details": {
            "cached_tokens": _detail(usage["prompt_tokens_details"], "cached_tokens"),
            "cache_write_tokens": _detail(usage["prompt_tokens_details"], "cache_write_tokens"),
        },
        "output_tokens": generated,
        "output_tokens_details": {
            "reasoning_tokens": _detail(usage["completion_tokens_details"], "reasoning_tokens"),
        },
        "total_tokens": total.count() if total.is_given else read + generated,
    }


def _detail(details: AnswerField, name: str) -> int:
    return details[name].count() if details.is_given and details[name].is_given else 0
