"""A request of the Responses API, to the body of a chat completion request."""

from collections.abc import Mapping
from typing import Final

from ._fields import LEAST_SEED, Field, JsonObject
from ._responses_input import messages_of
from ._responses_tools import tools_of

__all__ = ["chat_body_of_response"]

_TEXTS: Final = (
    "model",
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
    "service_tier",
    "user",
)
_NUMBERS: Final = ("temperature", "top_p")

# Fields that are refused, with what to do instead.
_REFUSED: Final = {
    "previous_response_id": "no response is stored here: send the whole conversation as input",
    "conversation": "no conversation is stored here: send all of it as input",
    "context_management": "nothing is compacted here: send a shorter input",
    "moderation": "nothing is moderated here: leave it out",
    "prompt": "no prompt template is stored here: send its text as instructions and input",
}
# Fields of the other API, with what they are called in this one.
_MISNAMED: Final = {
    "messages": "input",
    "max_tokens": "max_output_tokens",
    "max_completion_tokens": "max_output_tokens",
    "response_format": "text.format",
    "reasoning_effort": "reasoning.effort",
    "verbosity": "text.verbosity",
    "logprobs": "include: ['message.output_text.logprobs']",
    "functions": "tools",
    "function_call": "tool_choice",
    "n": "one request for each answer",
}
# Fields that are translated, or concern only the answer.
_KNOWN: Final = frozenset(
    (
        *_TEXTS,
        *_NUMBERS,
        *_REFUSED,
        *_MISNAMED,
        "background",
        "include",
        "input",
        "instructions",
        "max_output_tokens",
        "max_tool_calls",
        "metadata",
        "parallel_tool_calls",
        "prompt_cache_options",
        "reasoning",
        "seed",
        "store",
        "stream",
        "stream_options",
        "text",
        "tool_choice",
        "tools",
        "top_logprobs",
        "truncation",
    )
)
_LOGPROBS: Final = "message.output_text.logprobs"
# Thoughts are sent as they are, so that there is nothing to encrypt.
_INCLUDABLE: Final = (_LOGPROBS, "reasoning.encrypted_content")


def chat_body_of_response(body: Mapping[str, object]) -> JsonObject:
    """Return the chat completion request that asks the same.

    Fields that neither API knows, `thinkroute` among them, are passed along untouched. Values of
    fields that both have by the same name are checked for their types alone.

    Args:
        body: Body of a request to `/v1/responses`.

    Raises:
        InvalidInputError: A field has the wrong type, or means something that a chat completion
            cannot do.

    Example:
        >>> chat_body_of_response({"model": "m", "input": "7+9?", "max_output_tokens": 50})
        {'model': 'm', 'max_completion_tokens': 50, 'messages': [{'role': 'user', 'content': '7+9?'}]}
    """
    request = Field(body)
    _refuse(request)
    chat: JsonObject = {name: request[name].text() for name in _given(request, _TEXTS)}
    chat |= {name: request[name].number() for name in _given(request, _NUMBERS)}
    if request["seed"].is_given:
        chat["seed"] = request["seed"].count(least=LEAST_SEED)
    if request["max_output_tokens"].is_given:
        chat["max_completion_tokens"] = request["max_output_tokens"].count(least=1)
    if request["prompt_cache_options"].is_given:
        chat["prompt_cache_options"] = dict(request["prompt_cache_options"].fields())
    chat["messages"] = messages_of(request)
    chat |= _logprobs(request)
    chat |= _reasoning(request)
    chat |= _text(request)
    chat |= tools_of(request)
    if request["stream"].is_given and request["stream"].flag():
        chat |= {"stream": True, "stream_options": {"include_usage": True}}
    _check_unused(request)
    chat |= {
        name: value
        for name, value in request.fields().items()
        if name not in _KNOWN and value is not None
    }
    return chat


def _given(request: Field, names: tuple[str, ...]) -> list[str]:
    return [name for name in names if request[name].is_given]


def _refuse(request: Field) -> None:
    for name in _given(request, tuple(_REFUSED)):
        raise request[name].error("is not supported", _REFUSED[name])
    for name in _given(request, tuple(_MISNAMED)):
        raise request[name].error("is no field of this API", f"use {_MISNAMED[name]}")
    if request["background"].is_given and request["background"].flag():
        raise request["background"].error(
            "is true, which is not supported", "no response is stored here: use stream"
        )
    if request["truncation"].is_given:
        request["truncation"].choice(
            ("disabled",), "no part of the input is ever dropped: send what fits the context"
        )


def _check_unused(request: Field) -> None:
    """Check what has no effect on the chat: what concerns only the answer, or storing it."""
    if request["store"].is_given:
        request["store"].flag()
    if request["max_tool_calls"].is_given:  # It counts calls of built-in tools.
        request["max_tool_calls"].count(least=1)
    if request["stream_options"].is_given:
        request["stream_options"].fields()
    if request["metadata"].is_given:
        for name in request["metadata"].fields():
            request["metadata"][name].text()


def _logprobs(request: Field) -> JsonObject:
    chat: JsonObject = {}
    if request["include"].is_given:
        included = [item.choice(_INCLUDABLE) for item in request["include"].items()]
        if _LOGPROBS in included:
            chat["logprobs"] = True
    if request["top_logprobs"].is_given and request["top_logprobs"].count():
        chat |= {"logprobs": True, "top_logprobs": request["top_logprobs"].count()}
    return chat


def _reasoning(request: Field) -> JsonObject:
    """Return the effort; a summary may be asked for, but thoughts are sent whole."""
    reasoning = request["reasoning"]
    if not reasoning.is_given:
        return {}
    if reasoning["mode"].is_given:
        reasoning["mode"].choice(("standard",))
    if reasoning["context"].is_given:
        reasoning["context"].choice(("auto",), "models are not shown earlier thoughts")
    for name in ("summary", "generate_summary"):
        if reasoning[name].is_given:
            reasoning[name].text()
    effort = reasoning["effort"]
    return {"reasoning_effort": effort.text()} if effort.is_given else {}


def _text(request: Field) -> JsonObject:
    text = request["text"]
    if not text.is_given:
        return {}
    chat: JsonObject = {}
    if text["verbosity"].is_given:
        chat["verbosity"] = text["verbosity"].text()
    form = text["format"]
    if not form.is_given:
        return chat
    kind = form["type"].choice(("text", "json_object", "json_schema"))
    if kind == "json_object":
        chat["response_format"] = {"type": kind}
    elif kind == "json_schema":
        schema: JsonObject = {
            "name": form["name"].text(),
            "schema": dict(form["schema"].fields()),
        }
        if form["description"].is_given:
            schema["description"] = form["description"].text()
        if form["strict"].is_given:
            schema["strict"] = form["strict"].flag()
        chat["response_format"] = {"type": kind, "json_schema": schema}
    return chat
