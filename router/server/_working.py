"""Work for a client who may go away, on a server that may have to stop."""

import asyncio
import contextlib
from collections.abc import (
    AsyncGenerator,
    Awaitable,
    Callable,
    Coroutine,
    Generator,
    Mapping,
    MutableMapping,
)
from typing import Any, TypeVar

from ._problems import ClientGoneError, ProblemError

__all__ = ["EventStream", "Working", "stopping"]

_T = TypeVar("_T")
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_KEEPALIVE_S = 10.0
_LOOK_S = 0.01
"""How long after work has begun its client is looked after."""
_COMMENT = b": working\n\n"


class Working:
    """Everything that is being worked on, so that it can be ended. Belongs to one event loop."""

    def __init__(self) -> None:
        """Start with nothing."""
        self._tasks: set[asyncio.Task[Any]] = set()
        self.is_stopping = False

    def __len__(self) -> int:
        """Return how much there is."""
        return len(self._tasks)

    def start(self, work: Coroutine[Any, Any, _T]) -> asyncio.Task[_T]:
        """Start a piece of work."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def stop(self) -> None:
        """End everything that is left; its clients are told so."""
        self.is_stopping = True
        for task in list(self._tasks):
            task.cancel()

    async def for_client(self, receive: Receive, work: Coroutine[Any, Any, _T]) -> _T:
        """Return what a piece of work comes to, as long as its client waits for it.

        The work is done in the caller's own task: most of it is over before a look at the client
        is due, and tasks of their own for both would cost more than the rest of this.

        Raises:
            ClientGoneError: The client has gone; the work was cancelled.
            ProblemError: The server stops (503).
        """
        task = asyncio.current_task()
        assert task is not None, "every coroutine runs in a task"
        client = _Client(receive, task)
        self._tasks.add(task)
        try:
            return await work
        except asyncio.CancelledError:
            if client.has_gone:
                task.uncancel()
                raise ClientGoneError from None
            if self.is_stopping:
                task.uncancel()
                raise stopping() from None
            raise
        finally:
            self._tasks.discard(task)
            client.forget()


class _Client:
    """Looks after a client from a little later on, and cancels a task once it has gone."""

    def __init__(self, receive: Receive, task: "asyncio.Task[Any]") -> None:
        self.has_gone = False
        self._receive = receive
        self._task = task
        self._watch: asyncio.Task[None] | None = None
        self._begin = task.get_loop().call_later(_LOOK_S, self._look)

    def forget(self) -> None:
        self._begin.cancel()
        if self._watch is not None:
            self._watch.cancel()

    def _look(self) -> None:
        self._watch = asyncio.ensure_future(self._cancel())

    async def _cancel(self) -> None:
        await _until_gone(self._receive)
        self.has_gone = True
        self._task.cancel()


def stopping() -> ProblemError:
    """Return what clients are told when the server stops before their answer is whole."""
    return ProblemError(503, "shutting-down", "the server is shutting down", retry_after_s=1)


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class EventStream:
    """A response of server-sent events; the ASGI part of it."""

    def __init__(
        self,
        events: AsyncGenerator[bytes],
        working: Working,
        *,
        headers: Mapping[str, str],
        on_broken: Callable[[ProblemError], bytes],
        on_end: Callable[[str], Awaitable[None]],
        comment: bytes = _COMMENT,
    ) -> None:
        """Prepare to send.

        Args:
            events: The events; errors are caught inside.
            working: Where the work is kept track of.
            headers: Headers of the response.
            on_broken: Returns the events that tell of a problem.
            on_end: Called once when nothing more will be sent, with the code of the error or "".
            comment: Sent where nothing else was for a while; none where it is empty.
        """
        self._events = events
        self._working = working
        self._headers = headers
        self._on_broken = on_broken
        self._on_end = on_end
        self._comment = comment
        self._is_silent = True

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Send events until there are no more, or nobody reads them."""
        own = {
            "content-type": "text/event-stream; charset=utf-8",
            "cache-control": "no-cache",
            "x-accel-buffering": "no",
            **self._headers,
        }
        raw = [(name.encode(), value.encode("latin-1", "replace")) for name, value in own.items()]
        error = "client-disconnected"
        try:
            await send({"type": "http.response.start", "status": 200, "headers": raw})
            with self._kept_alive(send):
                await self._working.for_client(receive, self._pump(send))
            error = ""
        except ClientGoneError:
            pass
        except ProblemError as problem:
            error = problem.code
            await send(_body(self._on_broken(problem), more=False))
        except OSError:
            pass  # The client has gone while something was being sent.
        finally:
            await self._events.aclose()
            await self._on_end(error)

    async def _pump(self, send: Send) -> None:
        is_first = True
        async for data in self._events:
            if data:
                self._is_silent = False
                await send(_body(data, more=True))
            if data and is_first:
                # What was sent is written at the end of a turn of the event loop: pieces that are
                # there already would keep the first one back.
                is_first = False
                await asyncio.sleep(0)
        await send(_body(b"", more=False))

    @contextlib.contextmanager
    def _kept_alive(self, send: Send) -> Generator[None]:
        """Say something now and then where nothing is said, so that nobody closes the connection."""
        loop = asyncio.get_running_loop()
        comments: set[asyncio.Task[None]] = set()

        def has_ended(comment: asyncio.Task[None]) -> None:
            comments.discard(comment)
            if not comment.cancelled():
                comment.exception()  # Looked at: the next piece will meet it too.

        def tick() -> None:
            nonlocal next_tick
            if self._is_silent and self._comment:
                comment = asyncio.ensure_future(send(_body(self._comment, more=True)))
                comments.add(comment)
                comment.add_done_callback(has_ended)
            self._is_silent = True
            next_tick = loop.call_later(_KEEPALIVE_S, tick)

        next_tick = loop.call_later(_KEEPALIVE_S, tick)
        try:
            yield
        finally:
            next_tick.cancel()
            for comment in comments:
                comment.cancel()


def _body(data: bytes, *, more: bool) -> Message:
    return {"type": "http.response.body", "body": data, "more_body": more}
