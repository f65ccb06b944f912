"""The chunks of a streamed chat completion, to the events of a streamed Response."""

from collections.abc import Mapping, Sequence
from typing import Final

from ._fields import AnswerField, JsonObject
from ._logprobs import TokenLogprob, behind, read_logprobs, spelling
from ._responses_answer import (
    THOUGHT_KEYS,
    first_given,
    own_fields,
    read_ending,
    read_usage,
    service_tier_of,
)
from ._responses_items import Call, Item, PartKind, Spoken
from ._responses_object import Ending, ItemStatus, response_object

__all__ = ["ResponseStream"]

_ERROR_CODES: Final = {
    "backend-rate-limit": "rate_limit_exceeded",
    "caller-cap": "rate_limit_exceeded",
    "context-exceeded": "invalid_prompt",
    "context_length_exceeded": "invalid_prompt",
    "invalid-input": "invalid_prompt",
}
# Text comes later than its tokens only where they are parts of a character, or may begin a stop.
_MOST_UNSAID: Final = 64


class ResponseStream:
    """Turns the chunks of one chat completion into the events of one Response, in order.

    The events of a whole stream are those of its chunks, then those of `finish`; if anything goes
    wrong, those of `fail` end it instead. After either of them there are no more. Each event is to
    be sent as it is, under the event name that its `type` says.

    The Response at the end is the one that `response_of_chat` makes of the same answer in one
    piece, provided the answer came in its order there: thought, text, refusal, calls. What comes
    late, as a second thought after some text does, becomes an item of its own.

    Not thread-safe. Takes time in proportion to what is fed.
    """

    def __init__(
        self, request: Mapping[str, object], *, response_id: str, created_at: float
    ) -> None:
        """Start without any event.

        Args:
            request: See `response_of_chat`.
            response_id: See `response_of_chat`.
            created_at: See `response_of_chat`.
        """
        self._request = request
        self._response_id = response_id
        self._created_at = created_at
        self._items: list[Item] = []
        self._calls: dict[int, Call] = {}
        self._unsaid: Sequence[TokenLogprob] = ()  # tokens whose text has not come
        self._model = ""
        self._service_tier: str | None = None
        self._usage: JsonObject | None = None
        self._own_fields: JsonObject = {}
        self._finish_reason = ""
        self._n_events = 0
        self._is_over = False

    def feed(self, chunk: Mapping[str, object]) -> list[JsonObject]:
        """Return the events of a chunk, in order; often there is one, sometimes none.

        Of several choices only the first is read.

        Raises:
            BackendResponseError: It is no chunk of a chat completion; `fail` tells the client.
        """
        if self._is_over:
            return []
        answer = AnswerField(chunk)
        self._model = first_given(answer, ("model",)) or self._model
        self._service_tier = service_tier_of(answer) or self._service_tier
        self._usage = read_usage(answer) or self._usage
        self._own_fields |= own_fields(answer)
        events = self._begun()
        for choice in answer["choices"].items() if answer["choices"].is_given else []:
            if not choice["index"].is_given or choice["index"].count() == 0:
                events += self._read(choice)
        return self._numbered(events)

    def finish(self) -> list[JsonObject]:
        """Return the events that end the Response, once the last chunk was fed.

        A stream that ends without saying why has broken off: its Response fails.
        """
        if not self._finish_reason:
            return self.fail("backend-nonsense", "the stream broke off before the answer ended")
        if self._is_over:
            return []
        ending = read_ending(self._finish_reason)
        events = self._begun()
        for item in self._items:
            is_last = item is self._items[-1]
            events += self._closed(item, ending.last_item if is_last else "completed")
        return self._over(events, ending)

    def fail(self, code: str, message: str) -> list[JsonObject]:
        """Return the events that end the Response because it failed.

        Args:
            code: What went wrong: a code of this product or of the API, which has few of them;
                others become `server_error`.
            message: What is told to the client.
        """
        if self._is_over:
            return []
        known = set(_ERROR_CODES.values())
        api_code = code if code in known else _ERROR_CODES.get(code, "server_error")
        ending = Ending("failed", error={"code": api_code, "message": message})
        return self._over(self._begun(), ending)

    def _begun(self) -> list[JsonObject]:
        if self._n_events:
            return []
        response = self._response(Ending("in_progress"))
        return [
            {"type": "response.created", "response": response},
            {"type": "response.in_progress", "response": response},
        ]

    def _over(self, events: list[JsonObject], ending: Ending) -> list[JsonObject]:
        self._is_over = True
        for item in self._items:
            if item.status == "in_progress":
                item.status = "incomplete"
        event: JsonObject = {
            "type": f"response.{ending.status}",
            "response": self._response(ending),
        }
        return self._numbered([*events, event])

    def _numbered(self, events: list[JsonObject]) -> list[JsonObject]:
        first = self._n_events
        self._n_events += len(events)
        return [event | {"sequence_number": first + n} for n, event in enumerate(events)]

    def _read(self, choice: AnswerField) -> list[JsonObject]:
        delta = choice["delta"]
        events: list[JsonObject] = []
        thought, text = first_given(delta, THOUGHT_KEYS), first_given(delta, ("content",))
        calls = delta["tool_calls"].items() if delta["tool_calls"].is_given else []
        tokens: Sequence[TokenLogprob] = [*self._unsaid, *read_logprobs(choice)]
        logprobs: list[JsonObject] = []
        if text:
            logprobs, tokens = spelling(text, tokens, after=thought)
        elif thought:
            tokens = behind(thought, tokens)
        elif calls:
            tokens = ()
        self._unsaid = tokens[-_MOST_UNSAID:]
        if thought:
            events += self._say("reasoning_text", thought)
        if text:
            events += self._say("output_text", text, logprobs)
        if refused := first_given(delta, ("refusal",)):
            events += self._say("refusal", refused)
        for call in calls:
            events += self._call(call)
        self._finish_reason = first_given(choice, ("finish_reason",)) or self._finish_reason
        return events

    def _say(
        self, kind: PartKind, piece: str, logprobs: Sequence[JsonObject] = ()
    ) -> list[JsonObject]:
        events: list[JsonObject] = []
        last = self._items[-1] if self._items else None
        if not isinstance(last, Spoken) or not last.takes(kind):
            last = Spoken(self._response_id, len(self._items), kind)
            events += self._opened(last)
        return [*events, *last.say(kind, piece, logprobs)]

    def _call(self, delta: AnswerField) -> list[JsonObject]:
        number = delta["index"].count()
        events: list[JsonObject] = []
        if number not in self._calls:
            self._calls[number] = Call(self._response_id, len(self._items), delta)
            events += self._opened(self._calls[number])
        call = self._calls[number]
        function = delta["function"]
        piece = first_given(function, ("arguments",)) if function.is_given else ""
        if piece and call.status != "in_progress":
            raise function["arguments"].error("goes on although they were complete")
        return [*events, call.add(piece)] if piece else events

    def _opened(self, item: Item) -> list[JsonObject]:
        """Add an item; the ones before it end, unless more of them may come."""
        events = [
            event
            for earlier in self._items
            if earlier.is_whole()
            for event in self._closed(earlier, "completed")
        ]
        self._items.append(item)
        added: JsonObject = {
            "type": "response.output_item.added",
            "output_index": item.place["output_index"],
            "item": item.document(),
        }
        return [*events, added]

    def _closed(self, item: Item, status: ItemStatus) -> list[JsonObject]:
        if item.status != "in_progress":
            return []
        item.status = status
        done: JsonObject = {
            "type": "response.output_item.done",
            "output_index": item.place["output_index"],
            "item": item.document(),
        }
        return [*item.last_words(), done]

    def _response(self, ending: Ending) -> JsonObject:
        """Return the Response as it is now."""
        response = response_object(
            self._request,
            response_id=self._response_id,
            created_at=self._created_at,
            ending=ending,
            model=self._model,
            output=[item.document() for item in self._items],
            usage=self._usage if self._is_over else None,
            service_tier=self._service_tier,
        )
        return response | self._own_fields
