"""The Response object: its items, and what stands around them."""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, cast

from ._fields import JsonObject

__all__ = [
    "Ending",
    "ItemStatus",
    "call_item",
    "item_id",
    "message_item",
    "output_text",
    "reasoning_item",
    "reasoning_text",
    "refusal",
    "response_object",
]

ItemStatus = Literal["in_progress", "completed", "incomplete"]


class Ending(NamedTuple):
    """How an answer ended, as the fields of a Response tell it."""

    status: Literal["in_progress", "completed", "incomplete", "failed"]
    reason: str | None = None
    error: JsonObject | None = None

    @property
    def last_item(self) -> ItemStatus:
        """Status of the last item; the ones before it are complete."""
        return "completed" if self.status == "completed" else "incomplete"


def item_id(prefix: str, response_id: str, index: int) -> str:
    """Return the name of a Response's item."""
    return f"{prefix}_{response_id.removeprefix('resp_')}_{index}"


def reasoning_item(
    identifier: str, parts: Sequence[JsonObject], status: ItemStatus = "completed"
) -> JsonObject:
    """Return an item that holds what the model thought, in `content`; nothing is summarized."""
    return {
        "id": identifier,
        "type": "reasoning",
        "summary": [],
        "content": list(parts),
        "status": status,
    }


def reasoning_text(text: str) -> JsonObject:
    """Return a part of a reasoning item."""
    return {"type": "reasoning_text", "text": text}


def message_item(
    identifier: str, parts: Sequence[JsonObject], status: ItemStatus = "completed"
) -> JsonObject:
    """Return an item that holds what the model said."""
    return {
        "id": identifier,
        "type": "message",
        "role": "assistant",
        "content": list(parts),
        "status": status,
    }


def output_text(text: str, logprobs: Sequence[JsonObject]) -> JsonObject:
    """Return a part of a message: text."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": list(logprobs)}


def refusal(text: str) -> JsonObject:
    """Return a part of a message: why the model does not answer."""
    return {"type": "refusal", "refusal": text}


def call_item(
    identifier: str, call_id: str, name: str, arguments: str, status: ItemStatus = "completed"
) -> JsonObject:
    """Return an item that asks for a function to be called."""
    return {
        "id": identifier,
        "type": "function_call",
        "call_id": call_id,
        "name": name,
        "arguments": arguments,
        "status": status,
    }


def response_object(
    request: Mapping[str, object],
    *,
    response_id: str,
    created_at: float,
    ending: Ending,
    model: str,
    output: Sequence[JsonObject],
    usage: JsonObject | None,
    service_tier: str | None,
) -> JsonObject:
    """Return a Response object.

    Args:
        request: The request whose parameters it repeats. `store` is false, whatever was asked.
        response_id: See `response_of_chat`.
        created_at: See `response_of_chat`.
        ending: How it ended, if it has.
        model: What answered; "" for what was asked.
        output: Its items.
        usage: Tokens it took, where known.
        service_tier: Tier it was processed with, where known.
    """
    reason = ending.reason
    return {
        "id": response_id,
        "object": "response",
        "created_at": created_at,
        "status": ending.status,
        "background": False,
        "error": ending.error,
        "incomplete_details": {"reason": reason} if reason else None,
        "instructions": request.get("instructions"),
        "max_output_tokens": request.get("max_output_tokens"),
        "max_tool_calls": request.get("max_tool_calls"),
        "metadata": request.get("metadata") or {},
        "model": model or request.get("model") or "",
        "output": list(output),
        "parallel_tool_calls": request.get("parallel_tool_calls") is not False,
        "previous_response_id": None,
        "prompt_cache_key": request.get("prompt_cache_key"),
        "reasoning": _filled({"effort": None, "summary": None}, request.get("reasoning")),
        "safety_identifier": request.get("safety_identifier"),
        "service_tier": service_tier or request.get("service_tier"),
        "store": False,
        "temperature": request.get("temperature"),
        "text": _filled({"format": {"type": "text"}}, request.get("text")),
        "tool_choice": request.get("tool_choice") or "auto",
        "tools": _tools(request.get("tools")),
        "top_logprobs": request.get("top_logprobs") or 0,
        "top_p": request.get("top_p"),
        "truncation": "disabled",
        "usage": usage,
        "user": request.get("user"),
    }


def _filled(defaults: JsonObject, given: object) -> JsonObject:
    """Return an object with its defaults filled in."""
    fields = cast("Mapping[str, object]", given or {})
    return defaults | {name: value for name, value in fields.items() if value is not None}


def _tools(given: object) -> list[JsonObject]:
    tools = cast("Sequence[object]", given or ())
    return [_filled({"parameters": None, "strict": None}, tool) for tool in tools]
