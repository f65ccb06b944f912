"""How each API shows an answer: whole, in pieces, and when it breaks off."""

import json
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from ._problems import ProblemError
from .translate import CompletionStream, ResponseStream, completion_of_chats, response_of_chat

__all__ = ["ChatShown", "CompletionShown", "Presenter", "ResponseShown"]

_DONE = b"data: [DONE]\n\n"


class Presenter(Protocol):
    """Turns chat documents into what clients of one API expect."""

    def whole(self, document: dict[str, Any], *more: dict[str, Any]) -> dict[str, Any]:
        """Return the body of an unstreamed answer; `more` are those to further prompts."""
        ...

    def piece(self, chunk: dict[str, Any], prompt_index: int = 0) -> bytes:
        """Return the events of a piece of the answer to a prompt; may be empty."""
        ...

    def end(self) -> bytes:
        """Return the last events."""
        ...

    def broken(self, problem: ProblemError) -> bytes:
        """Return the events that tell that no more will come."""
        ...


def _event(document: Mapping[str, Any], name: str = "") -> bytes:
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {json.dumps(document, separators=(',', ':'))}\n\n".encode()


class ChatShown:
    """Chat completions."""

    def __init__(self, body: Mapping[str, Any]) -> None:
        """Keep what the client wants to see."""
        options: Mapping[str, Any] = body.get("stream_options") or {}
        self._wants_usage = bool(options.get("include_usage"))

    def whole(self, document: dict[str, Any], *more: dict[str, Any]) -> dict[str, Any]:
        """Return the document as it is."""
        return document

    def piece(self, chunk: dict[str, Any], prompt_index: int = 0) -> bytes:
        """Return one event, none for the usage that only we asked for."""
        if not self._wants_usage:
            chunk.pop("usage", None)
            if not chunk.get("choices"):
                return b""
        return _event(chunk)

    def end(self) -> bytes:
        """Return the API's mark of the end."""
        return _DONE

    def broken(self, problem: ProblemError) -> bytes:
        """Return the error that SDKs raise; the mark of the end is left out."""
        return _event(problem.to_json())


class CompletionShown:
    """Legacy completions, of one prompt or several."""

    def __init__(
        self, body: Mapping[str, Any], completion_id: str, created: int, n_prompts: int
    ) -> None:
        """Keep what the documents repeat."""
        self._body = body
        self._id = completion_id
        self._created = created
        self._stream = CompletionStream(
            body, n_prompts=n_prompts, completion_id=completion_id, created=created
        )

    def whole(self, document: dict[str, Any], *more: dict[str, Any]) -> dict[str, Any]:
        """Return the document of all prompts."""
        return completion_of_chats(
            [document, *more], self._body, completion_id=self._id, created=self._created
        )

    def piece(self, chunk: dict[str, Any], prompt_index: int = 0) -> bytes:
        """Return the events of a piece of the answer to one prompt."""
        return b"".join(map(_event, self._stream.feed(chunk, prompt_index=prompt_index)))

    def end(self) -> bytes:
        """Return the usage, where the client wants it, and the API's mark of the end."""
        return b"".join(map(_event, self._stream.finish())) + _DONE

    def broken(self, problem: ProblemError) -> bytes:
        """Return the error that SDKs raise."""
        return _event(problem.to_json())


class ResponseShown:
    """Responses."""

    def __init__(self, body: Mapping[str, Any], response_id: str, created: int) -> None:
        """Keep what the documents repeat."""
        self._body = body
        self._id = response_id
        self._created = created
        self._stream = ResponseStream(body, response_id=response_id, created_at=created)

    def whole(self, document: dict[str, Any], *more: dict[str, Any]) -> dict[str, Any]:
        """Return the response object."""
        return response_of_chat(
            document, self._body, response_id=self._id, created_at=self._created
        )

    def piece(self, chunk: dict[str, Any], prompt_index: int = 0) -> bytes:
        """Return the events of a piece."""
        return _events(self._stream.feed(chunk))

    def end(self) -> bytes:
        """Return the events that close the response."""
        return _events(self._stream.finish())

    def broken(self, problem: ProblemError) -> bytes:
        """Return the events of a response that failed."""
        return _events(self._stream.fail(problem.code, problem.message))


def _events(events: Iterable[Mapping[str, Any]]) -> bytes:
    return b"".join(_event(event, str(event["type"])) for event in events)
