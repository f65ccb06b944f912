"""The endpoints that answer: chat completions, completions and responses, over one path."""

import asyncio
import json
import math
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from secrets import token_hex
from typing import Any, NamedTuple, NoReturn, cast
from urllib.parse import quote

from pydantic import BaseModel
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from policies import BackendError

from ._callers import Caller, Callers
from ._gate import Gate
from ._presenting import ChatShown, CompletionShown, Presenter, ResponseShown
from ._problems import GONE, ClientGoneError, ProblemError, log_unexpected, told
from ._record import Endpoint, ServedRequest
from ._schema import ChatRequest, CompletionRequest, ResponseRequest, check
from ._service import ChatService
from ._serving import IN_HEADERS, Call, Serving
from ._working import EventStream, Working, stopping
from .translate import chat_body_of_completion, chat_body_of_response

__all__ = ["Endpoints", "read_json"]

_HEADERS_AFTER_S = 2.0
"""How long an error may still become the status of a stream, before its headers are sent."""
RAW = "raw"
"""In the place of a policy: a text completion was passed on as it is."""
_SCHEMAS: Mapping[Endpoint, type[BaseModel]] = {
    "chat": ChatRequest,
    "completions": CompletionRequest,
    "responses": ResponseRequest,
}


@dataclass(frozen=True, slots=True)
class _Arrived:
    """A request that was let in.

    Attributes:
        endpoint: By which API it came.
        body: Its body, checked.
        headers: Its headers, names in lower case.
        caller: Whose it is.
        time_s: When it arrived, seconds since 1970.
        started: The same by `time.perf_counter`.
        rows: What is written down about it.
    """

    endpoint: Endpoint
    body: dict[str, Any]
    headers: Mapping[str, str]
    caller: Caller
    time_s: float
    started: float
    rows: "_Rows"

    def calls(self, chats: Sequence[Mapping[str, Any]]) -> list[Call]:
        """Return one call for each chat it comes to."""
        who = (self.headers, self.caller, self.time_s, self.started, self.rows.put)
        return [Call(self.endpoint, chat, *who) for chat in chats]


class _Rows:
    """Counts what is written down about one request, so that nothing is written twice."""

    def __init__(self, note: Callable[[ServedRequest], None], working: Working) -> None:
        self._note = note
        self._working = working
        self.n = 0

    def put(self, record: ServedRequest) -> None:
        self.n += 1
        if record.error == "client-disconnected" and self._working.is_stopping:
            # It was the server that left.
            problem = stopping()
            record = replace(record, status=problem.status, error=problem.code)
        self._note(record)


class Endpoints:
    """Serves the three APIs. Belongs to one event loop."""

    def __init__(
        self,
        service: ChatService,
        *,
        callers: Callers,
        gate: Gate,
        working: Working,
        max_body_bytes: int,
        note: Callable[[ServedRequest], None],
    ) -> None:
        """Prepare to serve.

        Args:
            service: Decides and answers.
            callers: Who may call.
            gate: How many at once.
            working: Where running work is kept track of.
            max_body_bytes: Largest body; a larger one is refused before it is read.
            note: Called for requests that were refused before any decision.
        """
        self._service = service
        self._callers = callers
        self._gate = gate
        self._working = working
        self._max_body_bytes = max_body_bytes
        self._note = note

    async def chat(self, request: Request) -> Any:
        """`POST /v1/chat/completions`."""
        return await self._serve(request, "chat")

    async def completions(self, request: Request) -> Any:
        """`POST /v1/completions`."""
        return await self._serve(request, "completions")

    async def responses(self, request: Request) -> Any:
        """`POST /v1/responses`."""
        return await self._serve(request, "responses")

    async def _serve(self, request: Request, endpoint: Endpoint) -> Any:
        started, time_s = time.perf_counter(), time.time()
        headers = dict(request.headers)
        caller, asked, rows = Caller(), "", _Rows(self._note, self._working)
        body: dict[str, Any] = {}
        is_in = False
        try:
            caller = self._callers.identify(headers)
            body = await read_json(request, headers, self._max_body_bytes)
            check(_SCHEMAS[endpoint], body)
            asked = body["model"]
            caller.admit(_n_prompts(body))
            arrived = _Arrived(endpoint, body, headers, caller, time_s, started, rows)
            if not self._gate.enter_at_once():
                await self._working.for_client(request.receive, self._gate.enter())
            is_in = True
            return await self._answered(request, arrived)
        except BaseException as error:
            if is_in:
                self._gate.leave()
            if not isinstance(error, Exception):
                raise
            log_unexpected(error)
            problem, code = told(error)
            if not rows.n:
                rows.put(
                    ServedRequest(
                        decision_id=token_hex(16),
                        time_s=time_s,
                        endpoint=endpoint,
                        asked=asked,
                        arm="",
                        status=problem.status,
                        seconds=time.perf_counter() - started,
                        caller=caller.name,
                        is_streamed=bool(body.get("stream")),
                        error=code,
                    )
                )
            return AsciiJSON(problem.to_json(), problem.status, problem.headers())

    async def _answered(self, request: Request, arrived: _Arrived) -> Any:
        """Return the response; whoever sends it leaves the gate, unless this raises."""
        body, endpoint = arrived.body, arrived.endpoint
        created = int(arrived.time_s)
        if endpoint == "completions":
            raw = await self._raw(request, arrived)
            if raw is not None:
                return raw
            chats = chat_body_of_completion(body)
            shown: Presenter = CompletionShown(body, f"cmpl-{token_hex(12)}", created, len(chats))
        elif endpoint == "responses":
            chats = [chat_body_of_response(body)]
            shown = ResponseShown(body, f"resp_{token_hex(12)}", created)
        else:
            chats = [body]
            shown = ChatShown(body)
        if endpoint != "chat":
            for chat in chats:
                check(ChatRequest, chat)
        calls = arrived.calls(chats)
        if body.get("stream"):
            return await self._streamed(request, calls, shown)
        return await self._whole(request, calls, shown)

    async def _whole(self, request: Request, calls: Sequence[Call], shown: Presenter) -> Response:
        answers: list[_Whole] = []

        async def work() -> bytes:
            try:
                # One after the other: the gate let one request through.
                for call in calls:
                    answers.append(await self._document(call, shown))
                if len(answers) == 1:
                    return answers[0].content
                return rendered(shown.whole(*(one.document for one in answers)))
            except BaseException as error:
                for one in answers:  # Nobody will be told what they say.
                    self._finish(one.serving, error, is_streamed=False)
                raise

        content = await self._working.for_client(request.receive, work())

        def on_sent() -> None:
            try:
                for one in answers:
                    one.serving.finish(status=200, is_streamed=False)
            finally:
                self._gate.leave()

        return _Answered(content, answers[0].serving.headers(), on_sent)

    async def _document(self, call: Call, shown: Presenter) -> "_Whole":
        serving = await self._service.begin(call)
        try:
            document = await serving.answer.document()
            if serving.explains:
                document["thinkroute"] = serving.explanation()
            # What cannot be shown is no answer, and the log must not call it one.
            content = rendered(shown.whole(document))
        except BaseException as error:
            self._finish(serving, error, is_streamed=False)
            raise
        finally:
            await serving.answer.aclose()
        return _Whole(serving, document, content)

    async def _streamed(
        self, request: Request, calls: Sequence[Call], shown: Presenter
    ) -> "EventStream":
        serving = await self._working.for_client(request.receive, self._service.begin(calls[0]))
        ended = _Ended(serving)
        pieces = serving.answer.chunks()
        first: asyncio.Task[dict[str, Any] | None] | None = None
        if not serving.answer.has_begun:
            first = self._working.start(_first(pieces))
            try:
                await self._working.for_client(request.receive, _seen(first))
                if first.done():
                    first.result()
            except BaseException as error:
                # A model in this process is stopped by whoever reads it.
                await _ended_well(first)
                self._finish(serving, error, is_streamed=True)
                await serving.answer.aclose()
                raise

        async def events() -> AsyncGenerator[bytes]:
            try:
                for index, call in enumerate(calls):
                    if index:
                        now_s = time.perf_counter()
                        ended.serving = await self._service.begin(replace(call, started=now_s))
                    now = ended.serving
                    each = pieces if not index else now.answer.chunks()
                    if not index and first is not None:
                        each = _resumed(first, pieces)
                    untold = now.explains
                    async with aclosing(each):
                        async for chunk in each:
                            ended.note_first(call.started)
                            if untold:
                                chunk["thinkroute"] = now.explanation()
                                untold = False
                            yield shown.piece(chunk, index)
                    now.finish(status=200, is_streamed=True, first_token_s=ended.first_token_s)
                    await now.answer.aclose()
                yield shown.end()
            except Exception as error:  # noqa: BLE001 - the headers are sent: it becomes an event
                log_unexpected(error)
                problem, ended.error = told(error)
                yield shown.broken(problem)

        async def on_end(error: str) -> None:
            if first is not None:
                await _ended_well(first)
            code = ended.error or error
            status = GONE if code == "client-disconnected" else 200
            try:
                ended.serving.finish(
                    status=status, error=code, is_streamed=True, first_token_s=ended.first_token_s
                )
            finally:
                self._gate.leave()
                await ended.serving.answer.aclose()

        return EventStream(
            events(),
            self._working,
            headers=serving.headers(),
            on_broken=shown.broken,
            on_end=on_end,
        )

    def _finish(self, serving: Serving, error: BaseException, *, is_streamed: bool) -> None:
        if isinstance(error, asyncio.CancelledError) and self._working.is_stopping:
            error = stopping()
        problem, code = told(error)
        serving.finish(status=problem.status, error=code, is_streamed=is_streamed)

    async def _raw(self, request: Request, arrived: _Arrived) -> "EventStream | None":
        """Pass a completion on as it is where it names a model behind a server, not the router.

        Such a prompt is no question but a text to go on with, and there is no mode to choose.
        """
        name = self._service.wishes.model_named(arrived.body["model"])
        model = self._service.models.get(name or "")
        if model is None:
            return None
        if arrived.caller.is_metered:
            raise ProblemError(
                403,
                "permission-denied",
                f"texts that {model.name!r} goes on with are not counted, and your key has caps;"
                " name the router or an arm, or use chat completions",
                param="model",
            )
        self._service.check_limits(arrived.body, len(json.dumps(arrived.body["prompt"])))
        sent = {key: value for key, value in arrived.body.items() if key != "thinkroute"}
        sent["model"] = model.name
        answer = await self._working.for_client(
            request.receive,
            model.pool.send(
                "/completions",
                json.dumps(sent).encode(),
                model=model.name,
                is_whole=not sent.get("stream"),
            ),
        )
        own = {
            "x-thinkroute-decision": token_hex(16),
            "x-thinkroute-arm": quote(f"{model.name}:{RAW}", safe=IN_HEADERS),
        }
        if (kind := answer.headers.get("content-type")) is not None:
            own["content-type"] = kind

        ended = ""

        async def passed() -> AsyncGenerator[bytes]:
            nonlocal ended
            try:
                async for data in answer.chunks():
                    yield data
            except BackendError as error:
                problem, ended = told(error)
                # After an empty line: the upstream may have broken off within one.
                yield f"\n\ndata: {json.dumps(problem.to_json())}\n\n".encode()

        async def on_end(error: str) -> None:
            error = ended or error
            await answer.aclose()
            self._gate.leave()
            arrived.rows.put(
                ServedRequest(
                    decision_id=own["x-thinkroute-decision"],
                    time_s=arrived.time_s,
                    endpoint="completions",
                    asked=arrived.body["model"],
                    arm=f"{model.name}:{RAW}",
                    status=GONE if error == "client-disconnected" else 200,
                    seconds=time.perf_counter() - arrived.started,
                    caller=arrived.caller.name,
                    is_streamed=bool(arrived.body.get("stream")),
                    error=error,
                    upstream=answer.url,
                    n_attempts=answer.n_attempts,
                )
            )

        return EventStream(
            passed(),
            self._working,
            headers=own,
            on_broken=lambda problem: b"",
            on_end=on_end,
            comment=b"",
        )


def rendered(content: Any) -> bytes:
    """Return a document in ASCII.

    Models and clients say halves of surrogate pairs, which UTF-8 has not.

    Raises:
        ValueError: It holds NaN or an infinity.
    """
    return json.dumps(content, allow_nan=False, separators=(",", ":")).encode()


class AsciiJSON(JSONResponse):
    """A document in ASCII."""

    def render(self, content: Any) -> bytes:
        """Return the bytes.

        Raises:
            ValueError: It holds NaN or an infinity.
        """
        return rendered(content)


class _Answered(Response):
    """An answer; what remains to be done about it must not keep its client waiting."""

    media_type = "application/json"

    def __init__(
        self, content: bytes, headers: Mapping[str, str], on_sent: Callable[[], None]
    ) -> None:
        super().__init__(content, headers=headers)
        self._on_sent = on_sent

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
            # What was sent is written at the end of this turn of the event loop; a next request
            # over the same connection is read in a later one.
            await asyncio.sleep(0)
        finally:
            self._on_sent()


class _Whole(NamedTuple):
    """An unstreamed answer: the chat's document, and how it is shown alone."""

    serving: Serving
    document: dict[str, Any]
    content: bytes


class _Ended:
    """What is known about a stream when it ends."""

    def __init__(self, serving: Serving) -> None:
        self.serving = serving
        self.error = ""
        self.first_token_s: float | None = None

    def note_first(self, started: float) -> None:
        if self.first_token_s is None:
            self.first_token_s = time.perf_counter() - started


async def read_json(request: Request, headers: Mapping[str, str], max_bytes: int) -> dict[str, Any]:
    """Return the JSON object that a request holds.

    Raises:
        ProblemError: It is too large, of another type, or none.
    """
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        # Pages of other sites can send the types that browsers call simple, but not this one.
        raise ProblemError(
            415, "unsupported-type", f"content-type is {kind!r}, expected application/json"
        )
    coding = headers.get("content-encoding", "identity")
    if coding != "identity":
        raise ProblemError(
            415, "unsupported-type", f"content-encoding is {coding!r}, expected none"
        )
    length = headers.get("content-length", "0")
    if length.isdecimal() and int(length) > max_bytes:
        raise _too_large(max_bytes)
    parts: list[bytes] = []
    n_bytes = 0
    try:
        async for part in request.stream():
            n_bytes += len(part)
            if n_bytes > max_bytes:
                raise _too_large(max_bytes)
            parts.append(part)
    except ClientDisconnect:
        raise ClientGoneError from None
    try:
        # Bytes that are no UTF-8 are a ValueError too.
        body: Any = _JSON.decode(b"".join(parts).decode("utf-8", "surrogatepass"))
    except (ValueError, RecursionError) as error:
        raise ProblemError(400, "invalid-json", f"the body is no JSON: {error}") from None
    if not isinstance(body, dict):
        raise ProblemError(400, "invalid-request", "the body is no JSON object")
    return cast("dict[str, Any]", body)


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _no_number(text)


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number in JSON")


# Made once: that takes as long as to read a small document.
_JSON = json.JSONDecoder(parse_constant=_no_number, parse_float=_finite)


def _n_prompts(body: Mapping[str, Any]) -> int:
    prompts = body.get("prompt")
    return max(len(cast("list[Any]", prompts)), 1) if isinstance(prompts, list) else 1


def _too_large(max_bytes: int) -> ProblemError:
    return ProblemError(
        413, "body-too-large", f"the body has more than the {max_bytes:,} bytes allowed"
    )


async def _first(pieces: AsyncIterator[dict[str, Any]]) -> dict[str, Any] | None:
    return await anext(pieces, None)


async def _seen(first: "asyncio.Task[Any]") -> None:
    """Wait for the first piece, but not for long: a method of many calls may think for minutes."""
    await asyncio.wait({first}, timeout=_HEADERS_AFTER_S)


async def _ended_well(first: "asyncio.Task[Any]") -> None:
    """End the waiting for a first piece, and look at how it went, so that nothing is reported."""
    first.cancel()
    await asyncio.wait({first})
    if not first.cancelled():
        first.exception()


async def _resumed(
    first: "asyncio.Task[dict[str, Any] | None]", pieces: AsyncGenerator[dict[str, Any]]
) -> AsyncGenerator[dict[str, Any]]:
    async with aclosing(pieces):
        head = await first
        if head is not None:
            yield head
            async for piece in pieces:
                yield piece
