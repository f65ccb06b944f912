"""The input of a Responses request, to the messages of a chat."""

from collections.abc import Callable
from typing import Final

from ._fields import Field, JsonObject

__all__ = ["messages_of"]

_ROLES: Final = ("user", "assistant", "system", "developer")
_TEXT_PARTS: Final = ("input_text", "output_text")


def messages_of(request: Field) -> list[JsonObject]:
    """Return the messages of a request: its instructions, then its input, a turn each.

    What a model said and what it called belong to one message of the chat, so that items of the
    same turn are put together again. Reasoning items are dropped: models are not shown what they
    thought in earlier turns.

    Raises:
        InvalidInputError: Something in it cannot be said in a chat.
    """
    instructions, source = request["instructions"], request["input"]
    system: list[JsonObject] = []
    if instructions.is_given:
        system.append({"role": "system", "content": instructions.text()})
    if isinstance(source.value, str):
        return [*system, {"role": "user", "content": source.value}]
    if not isinstance(source.value, list | tuple):
        raise source.wrong_type("a text or a list of items")
    turns = _Turns()
    for item in source.items():
        turns.add(item)
    if not turns.messages:
        raise source.error("has no message", "send at least one")
    return [*system, *turns.messages]


class _Turns:
    """The messages so far, and the calls that results may answer."""

    def __init__(self) -> None:
        self.messages: list[JsonObject] = []
        self._calls: list[JsonObject] = []  # of the last message
        self._call_ids: set[str] = set()

    def add(self, item: Field) -> None:
        kind = item["type"]
        if not kind.is_given and item["role"].is_given:
            return self._add_message(item)
        if kind.value == "item_reference":
            raise kind.error(
                "is 'item_reference', which is not supported",
                "no item is stored here: send the item itself",
            )
        match kind.choice(("message", "function_call", "function_call_output", "reasoning")):
            case "message":
                self._add_message(item)
            case "function_call":
                self._add_call(item)
            case "function_call_output":
                self._add_result(item)
            case _:
                pass  # A thought of an earlier turn.

    def _append(self, message: JsonObject) -> None:
        self.messages.append(message)
        self._calls = []

    def _add_message(self, item: Field) -> None:
        role, content = item["role"].choice(_ROLES), item["content"]
        if role != "assistant":
            return self._append({"role": role, "content": _content_of(content)})
        said, refused = _said_in(content)
        if not self._calls:
            self._append({"role": role, "content": said})
        elif said:
            # The results have to follow the calls, so that nothing may come between.
            self.messages[-1]["content"] = f"{self.messages[-1]['content'] or ''}{said}"
        if refused:
            last = self.messages[-1]
            last |= {"content": last["content"] or None, "refusal": refused}

    def _add_call(self, item: Field) -> None:
        call_id = item["call_id"].text()
        if not self.messages or self.messages[-1]["role"] != "assistant":
            self._append({"role": "assistant", "content": None})
        function: JsonObject = {"name": item["name"].text(), "arguments": item["arguments"].text()}
        self._calls.append({"id": call_id, "type": "function", "function": function})
        self._call_ids.add(call_id)
        self.messages[-1]["tool_calls"] = self._calls

    def _add_result(self, item: Field) -> None:
        call_id, output = item["call_id"], item["output"]
        if call_id.text() not in self._call_ids:
            raise call_id.error(
                f"is {call_id.text()[:60]!r}, which no function_call before it has",
                "nothing is stored here: send the function_call items of earlier turns too",
            )
        if not isinstance(output.value, str):
            for part in _parts_of(output):
                part["type"].choice(("input_text",), "a chat takes only text as a tool's result")
        self._append(
            {"role": "tool", "tool_call_id": call_id.text(), "content": _content_of(output)}
        )


def _said_in(content: Field) -> tuple[str, str]:
    """Return what a model said, and what it refused with."""
    if isinstance(content.value, str):
        return content.value, ""
    said: list[str] = []
    refused: list[str] = []
    for part in _parts_of(content):
        if part["type"].choice((*_TEXT_PARTS, "refusal")) == "refusal":
            refused.append(part["refusal"].text())
        else:
            said.append(part["text"].text())
    return "".join(said), "".join(refused)


def _content_of(content: Field) -> object:
    """Return the content of a turn: a text where it is nothing but one."""
    if isinstance(content.value, str):
        return content.value
    parts = [_part_of(part) for part in _parts_of(content)]
    if len(parts) == 1 and parts[0].keys() == {"type", "text"}:
        return parts[0]["text"]
    return parts


def _parts_of(content: Field) -> list[Field]:
    if not isinstance(content.value, list | tuple):
        raise content.wrong_type("a text or a list of parts")
    return content.items()


def _part_of(part: Field) -> JsonObject:
    kind = part["type"].choice(_PARTS)
    translated = _PARTS[kind](part)
    if part["prompt_cache_breakpoint"].is_given:
        translated["prompt_cache_breakpoint"] = dict(part["prompt_cache_breakpoint"].fields())
    return translated


def _text_part(part: Field) -> JsonObject:
    return {"type": "text", "text": part["text"].text()}


def _image_part(part: Field) -> JsonObject:
    if part["file_id"].is_given:
        raise part["file_id"].error(
            "is not supported", "no file is stored here: send image_url, a data: URL if need be"
        )
    image: JsonObject = {"url": part["image_url"].text()}
    if part["detail"].is_given:
        image["detail"] = part["detail"].choice(("auto", "low", "high"))
    return {"type": "image_url", "image_url": image}


def _file_part(part: Field) -> JsonObject:
    for name in ("file_id", "file_url"):
        if part[name].is_given:
            raise part[name].error(
                "is not supported", "no file is stored or fetched here: send file_data"
            )
    file: JsonObject = {"file_data": part["file_data"].text()}
    if part["filename"].is_given:
        file["filename"] = part["filename"].text()
    return {"type": "file", "file": file}


def _audio_part(part: Field) -> JsonObject:
    audio = part["input_audio"]
    return {
        "type": "input_audio",
        "input_audio": {"data": audio["data"].text(), "format": audio["format"].text()},
    }


_PARTS: Final[dict[str, Callable[[Field], JsonObject]]] = {
    "input_text": _text_part,
    "output_text": _text_part,
    "input_image": _image_part,
    "input_file": _file_part,
    "input_audio": _audio_part,
}
