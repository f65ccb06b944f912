"""The items of a streamed Response, as far as they came, and the events that tell of them."""

import json
from collections.abc import Iterator, Sequence
from typing import Literal, Protocol

from ._fields import AnswerField, JsonObject
from ._responses_answer import first_given
from ._responses_object import (
    ItemStatus,
    call_item,
    item_id,
    message_item,
    output_text,
    reasoning_item,
    reasoning_text,
    refusal,
)

__all__ = ["Call", "Item", "PartKind", "Spoken"]

PartKind = Literal["reasoning_text", "output_text", "refusal"]


class _Part:
    """A piece of an item's text, as far as it came."""

    def __init__(self, kind: PartKind, index: int) -> None:
        self.kind: PartKind = kind
        self.index = index
        self.pieces: list[str] = []
        self.logprobs: list[JsonObject] = []

    def document(self) -> JsonObject:
        text = "".join(self.pieces)
        if self.kind == "output_text":
            return output_text(text, self.logprobs)
        return refusal(text) if self.kind == "refusal" else reasoning_text(text)

    def told(self, place: JsonObject) -> list[JsonObject]:
        """Return the events that end it."""
        document = self.document()
        text: JsonObject = {
            name: document[name] for name in ("text", "refusal") if name in document
        }
        if self.kind == "output_text":
            text["logprobs"] = self.logprobs
        place = {**place, "content_index": self.index}
        return [
            {"type": f"response.{self.kind}.done", **place, **text},
            {"type": "response.content_part.done", **place, "part": document},
        ]


class Item(Protocol):
    """An item of the output, as far as it came."""

    place: JsonObject
    status: ItemStatus

    def document(self) -> JsonObject:
        """Return it as it is now."""
        ...

    def last_words(self) -> list[JsonObject]:
        """Return the events that end what it holds."""
        ...

    def is_whole(self) -> bool:
        """Whether nothing can follow once another item has begun."""
        ...


class Spoken:
    """A thought or a message."""

    def __init__(self, response_id: str, index: int, kind: PartKind) -> None:
        self.is_thought = kind == "reasoning_text"
        self.identifier = item_id("rs" if self.is_thought else "msg", response_id, index)
        self.place: JsonObject = {"item_id": self.identifier, "output_index": index}
        self.parts: list[_Part] = []
        self.status: ItemStatus = "in_progress"

    def takes(self, kind: PartKind) -> bool:
        """Whether more of this kind belongs to it: what it says, then what it refuses with."""
        last = self.parts[-1].kind
        return kind == last or (last, kind) == ("output_text", "refusal")

    def say(
        self, kind: PartKind, piece: str, logprobs: Sequence[JsonObject]
    ) -> Iterator[JsonObject]:
        """Add to it, and return the events that tell so."""
        if not self.parts or self.parts[-1].kind != kind:
            yield from self.last_words()
            part = _Part(kind, len(self.parts))
            self.parts.append(part)
            yield {
                "type": "response.content_part.added",
                **self.place,
                "content_index": part.index,
                "part": part.document(),
            }
        part = self.parts[-1]
        part.pieces.append(piece)
        part.logprobs.extend(logprobs)
        event: JsonObject = {
            "type": f"response.{kind}.delta",
            **self.place,
            "content_index": part.index,
            "delta": piece,
        }
        yield event | ({"logprobs": list(logprobs)} if kind == "output_text" else {})

    def document(self) -> JsonObject:
        parts = [part.document() for part in self.parts]
        make = reasoning_item if self.is_thought else message_item
        return make(self.identifier, parts, self.status)

    def last_words(self) -> list[JsonObject]:
        return self.parts[-1].told(self.place) if self.parts else []

    def is_whole(self) -> bool:
        return True


class Call:
    """A function to be called."""

    def __init__(self, response_id: str, index: int, call: AnswerField) -> None:
        self.identifier = item_id("fc", response_id, index)
        self.place: JsonObject = {"item_id": self.identifier, "output_index": index}
        self.call_id = first_given(call, ("id",)) or item_id("call", response_id, index)
        self.name = call["function"]["name"].text()
        self.pieces: list[str] = []
        self.status: ItemStatus = "in_progress"

    def add(self, piece: str) -> JsonObject:
        """Add to its arguments, and return the event that tells so."""
        self.pieces.append(piece)
        return {"type": "response.function_call_arguments.delta", **self.place, "delta": piece}

    def document(self) -> JsonObject:
        return call_item(
            self.identifier, self.call_id, self.name, "".join(self.pieces), self.status
        )

    def last_words(self) -> list[JsonObject]:
        return [
            {
                "type": "response.function_call_arguments.done",
                **self.place,
                "name": self.name,
                "arguments": "".join(self.pieces),
            }
        ]

    def is_whole(self) -> bool:
        """Whether the arguments are a JSON object: servers may write several calls at a time."""
        try:
            return isinstance(json.loads("".join(self.pieces)), dict)
        except (ValueError, RecursionError):
            return False
