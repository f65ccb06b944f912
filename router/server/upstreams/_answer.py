"""An answer of an upstream, and what a request went through to get it."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from policies import BackendError

if TYPE_CHECKING:
    from aiohttp import ClientResponse

__all__ = ["MOST_BYTES", "Attempt", "Trail", "UpstreamAnswer"]

MOST_BYTES = 64 * 2**20
"""An answer that is read whole may not be longer."""


@dataclass(slots=True)
class Trail:
    """What one request went through so far.

    Given to `UpstreamPool.send` it is filled as the request goes, so that it is also known of one
    that failed or was cancelled.

    Attributes:
        n_attempts: How often it was sent.
        url: Base URL of the server that it was sent to last.
        wait_s: Seconds spent waiting for servers, pauses between attempts included.
    """

    n_attempts: int = 0
    url: str = ""
    wait_s: float = 0.0


class Attempt(Protocol):
    """One attempt at one server, which ends exactly once; later calls do nothing."""

    def succeeded(self) -> None:
        """End it: the answer is complete."""
        ...

    def failed(self, cause: Exception) -> BackendError:
        """End it, and return the error for what the client library raised."""
        ...

    def refused(self, problem: str) -> BackendError:
        """End it, and return the error for an answer that is sound but of no use to us."""
        ...

    def abandoned(self) -> None:
        """End it: whoever asked wants no more of it."""
        ...


class UpstreamAnswer:
    """An answer with a status in 200..299 whose first bytes are there.

    Read it to its end with `read` or `chunks`, or close it; as a context manager it closes
    itself. Belongs to one event loop and one reader.

    Attributes:
        status: HTTP status.
        headers: As the server sent them, looked up in any case. Those about the encoding and the
            length say nothing about what is read here, which is already decoded.
        trail: What the request went through.
    """

    __slots__ = ("_attempt", "_first", "_response", "headers", "status", "trail")

    def __init__(
        self, response: "ClientResponse", first: bytes, attempt: Attempt, trail: Trail
    ) -> None:
        """Take over a response.

        Args:
            response: Its head has been read.
            first: What of its body has been read; empty if there is none.
            attempt: Told how the answer ends.
            trail: What the request went through; the waiting for what follows is added.
        """
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers
        self.trail = trail
        self._response = response
        self._first = first
        self._attempt = attempt
        if not first:
            attempt.succeeded()

    @property
    def url(self) -> str:
        """Base URL of the server that answers."""
        return self.trail.url

    @property
    def n_attempts(self) -> int:
        """How often the request was sent."""
        return self.trail.n_attempts

    @property
    def wait_s(self) -> float:
        """Seconds spent waiting for servers so far."""
        return self.trail.wait_s

    async def read(self) -> bytes:
        """Return the rest of the body.

        Raises:
            BackendError: The server broke off or was too slow, or there is more than `MOST_BYTES`.
        """
        pieces = [self._first]
        n_bytes = len(self._first)
        while n_bytes <= MOST_BYTES and (piece := await self._next()):
            pieces.append(piece)
            n_bytes += len(piece)
        self._first = b""
        if n_bytes > MOST_BYTES:
            error = self._attempt.refused(f"it is longer than {MOST_BYTES // 2**20} MiB")
            self._response.close()
            raise error
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body as it arrives.

        Raises:
            BackendError: The server broke off or was too slow.
        """
        piece, self._first = self._first, b""
        while piece:
            yield piece
            piece = await self._next()

    async def read_ahead(self) -> None:
        """Read the body to its end now; `read` and `chunks` then have it without waiting.

        Raises:
            BackendError: See `read`.
        """
        self._first = await self.read()

    async def aclose(self) -> None:
        """Let go of the answer; the server is disconnected if it has not ended."""
        if self._response.content.is_eof():
            self._attempt.succeeded()
            self._response.release()
        else:
            self._attempt.abandoned()
            self._response.close()

    async def __aenter__(self) -> Self:
        """Return the answer itself."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the answer."""
        await self.aclose()

    async def _next(self) -> bytes:
        """Return the next bytes, none at the end."""
        import aiohttp

        started = time.perf_counter()
        try:
            piece = await self._response.content.readany()
        except asyncio.CancelledError:
            self._attempt.abandoned()
            self._response.close()
            raise
        except (aiohttp.ClientError, OSError) as cause:
            error = self._attempt.failed(cause)
        else:
            if not piece:
                self._attempt.succeeded()
            return piece
        finally:
            self.trail.wait_s += time.perf_counter() - started
        # Outside of the handler, so that the cause, which holds the sent headers, is not chained.
        self._response.close()
        raise error
