"""One upstream server: its connections, its breaker and what is under way to it."""

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING

from policies import BackendError, MissingPrerequisiteError

from ._addresses import checked_resolver, checked_socket
from ._answer import Trail, UpstreamAnswer
from ._breaker import Breaker, BreakerState
from ._failures import Failures, is_blamed
from ._request import UpstreamRequest
from ._settings import BreakerSettings, UpstreamSettings

if TYPE_CHECKING:
    from aiohttp import ClientResponse, ClientSession
    from yarl import URL

__all__ = ["Upstream", "UpstreamState"]

_LOG = logging.getLogger("thinkroute.server")

# Below the 5 s of uvicorn, on which vLLM and SGLang are built: a request must not meet a
# connection that the server is about to close.
_KEEP_ALIVE_S = 4.0
# Larger bodies are written piece by piece, for which aiohttp wants a file.
_MOST_AT_ONCE = 2**20
_MOST_ERROR_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class UpstreamState:
    """How one upstream server is doing.

    Attributes:
        url: Base URL.
        is_up: Whether requests are sent to it, if only a trial.
        in_flight: Requests under way to it.
        state: State of its breaker.
        reason: Why its breaker opened; empty while it is closed.
        n_failed: Attempts that failed through its fault.
    """

    url: str
    is_up: bool
    in_flight: int
    state: BreakerState
    reason: str
    n_failed: int


class Upstream:
    """A server and all we know about it; belongs to one event loop.

    Attributes:
        url: Base URL.
        breaker: Whether it may be asked.
        clock: Seconds that never go back.
        n_in_flight: Requests under way.
        n_failed: Attempts that failed through its fault.
        answered_s: When a good answer began last, by the clock.
    """

    def __init__(
        self,
        settings: UpstreamSettings,
        breaker: BreakerSettings,
        clock: Callable[[], float],
        rng: random.Random,
    ) -> None:
        """Connect to nothing yet."""
        self.url = settings.base_url
        self.breaker = Breaker(breaker, clock, rng)
        self.n_in_flight = self.n_failed = 0
        self.answered_s = -1.0
        self._settings = settings
        self._failures = Failures(settings)
        self.clock = clock
        self._resume_s = -1.0
        self._urls: dict[str, URL] = {}
        self._session: ClientSession | None = None

    @property
    def is_full(self) -> bool:
        """Whether as much is under way as may be."""
        return self.n_in_flight >= self._settings.max_in_flight

    @property
    def pause_s(self) -> float:
        """Seconds for which the server asked to be left alone; 0 for none."""
        return max(self._resume_s - self.clock(), 0.0) if self._resume_s > 0.0 else 0.0

    @property
    def state(self) -> UpstreamState:
        """How it is doing."""
        state = self.breaker.state
        return UpstreamState(
            url=self.url,
            is_up=state != "open",
            in_flight=self.n_in_flight,
            state=state,
            reason=self.breaker.reason,
            n_failed=self.n_failed,
        )

    def pause(self, pause_s: float) -> None:
        """Leave the server alone for a while, as it asked."""
        self._resume_s = max(self._resume_s, self.clock() + pause_s)

    async def open(self) -> None:
        """Make the connection pool; nothing is sent.

        Raises:
            MissingPrerequisiteError: aiohttp is not installed.
        """
        try:
            import aiohttp
        except ImportError as error:
            raise MissingPrerequisiteError.extra("serve", "aiohttp") from error

        settings = self._settings
        is_checked = settings.denies_private
        connector = aiohttp.TCPConnector(
            limit=0,  # `is_full` is the limit.
            keepalive_timeout=_KEEP_ALIVE_S,
            resolver=checked_resolver(aiohttp.ThreadedResolver()) if is_checked else None,
            socket_factory=checked_socket() if is_checked else None,
        )
        headers = {"User-Agent": "thinkroute", "Accept-Encoding": "identity"}
        if settings.key is not None:
            headers["Authorization"] = f"Bearer {settings.key.get_secret_value()}"
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=headers,
            timeout=aiohttp.ClientTimeout(
                total=settings.timeout_s, connect=settings.connect_s, sock_read=settings.silence_s
            ),
            trust_env=False,
        )

    async def aclose(self) -> None:
        """Break off what is under way and close all connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def attempt(
        self, request: UpstreamRequest, trail: Trail, *, is_excused: bool = False
    ) -> UpstreamAnswer:
        """Send a request once and return its answer, as soon as its first bytes are there.

        Args:
            request: What is sent.
            trail: Told who was asked and how long it took.
            is_excused: Whether a plain 500 is not held against this server, since another
                attempt at the same request had one too: the request may be to blame.

        Raises:
            BackendError: There was no answer, or its status is not in 200..299.
        """
        attempt = _Attempt(self, self.breaker.begin(), request.model)
        trail.n_attempts += 1
        trail.url = self.url
        started = time.perf_counter()
        try:
            answer = await self._exchange(request, attempt, trail, is_excused=is_excused)
        finally:
            # What has ended already is not changed by this; what was cancelled ends here.
            if not attempt.has_answered:
                attempt.abandoned()
            trail.wait_s += time.perf_counter() - started
        if request.is_whole:
            await answer.read_ahead()
        return answer

    async def probe(self, url: str, timeout_s: float) -> int | None:
        """Return the status of a GET, `None` if there is no answer in time."""
        import aiohttp

        try:
            async with self._connected().get(
                url, allow_redirects=False, timeout=aiohttp.ClientTimeout(total=timeout_s)
            ) as response:
                return response.status
        except (aiohttp.ClientError, OSError):
            return None

    def error_of(self, cause: Exception, model: str) -> BackendError:
        """Return the error for what the client library raised; counts it."""
        return self._failures.of_exception(cause, model)

    def nonsense(self, problem: str, model: str) -> BackendError:
        """Return the error for an answer that is of no use to us."""
        return self._failures.nonsense(problem, model)

    async def _exchange(
        self, request: UpstreamRequest, attempt: "_Attempt", trail: Trail, *, is_excused: bool
    ) -> UpstreamAnswer:
        import aiohttp

        body: bytes | BytesIO | None = request.body or None
        if len(request.body) > _MOST_AT_ONCE:
            body = BytesIO(request.body)
        error: BackendError
        response: ClientResponse | None = None
        is_kept = False
        try:
            response = await self._connected().request(
                request.method,
                self._url(request.path),
                data=body,
                headers=request.headers,
                allow_redirects=False,
            )
            if 200 <= response.status < 300:
                first = await response.content.readany()
                attempt.answered()
                is_kept = True
                return UpstreamAnswer(response, first, attempt, trail)
            document = await _error_document(response)
            error = self._failures.of_status(
                response.status, response.headers, document, request.model
            )
            attempt.ended(error, is_excused=is_excused)
        except (aiohttp.ClientError, OSError) as cause:
            error = attempt.failed(cause)
        finally:
            if response is not None and not is_kept:
                response.close()
        # Outside of the handler, so that the cause, which holds the sent headers, is not chained.
        raise error

    def _connected(self) -> "ClientSession":
        if self._session is None:
            raise BackendError(
                "the upstreams are not started, or closed", backend="upstream", model=""
            )
        return self._session

    def _url(self, path: str) -> "URL":
        url = self._urls.get(path)
        if url is None:
            from yarl import URL

            if len(self._urls) >= 100:  # Clients may name models in paths.
                self._urls.clear()
            url = self._urls[path] = URL(self.url + path, encoded=True)
        return url


class _Attempt:
    """Keeps the books of one attempt: whatever happens, it ends once."""

    __slots__ = ("_model", "_permit", "_upstream", "has_answered", "has_ended")

    def __init__(self, upstream: Upstream, permit: int, model: str) -> None:
        self.has_answered = self.has_ended = False
        self._upstream = upstream
        self._permit = permit
        self._model = model
        upstream.n_in_flight += 1

    def answered(self) -> None:
        """Take note that a good answer has begun."""
        upstream = self._upstream
        was_open = upstream.breaker.state != "closed"
        self.has_answered = True
        self._permit = upstream.breaker.responded(self._permit)
        upstream.answered_s = upstream.clock()
        if was_open and upstream.breaker.state == "closed":
            _LOG.info("upstream %s serves again", upstream.url)

    def succeeded(self) -> None:
        if self._end():
            self._upstream.breaker.succeeded(self._permit)

    def failed(self, cause: Exception) -> BackendError:
        error = self._upstream.error_of(cause, self._model)
        self.ended(error)
        return error

    def refused(self, problem: str) -> BackendError:
        self.succeeded()
        return self._upstream.nonsense(problem, self._model)

    def abandoned(self) -> None:
        if self._end():
            self._upstream.breaker.abandoned(self._permit)

    def ended(self, error: BackendError, *, is_excused: bool = False) -> None:
        """End it with an error, which may or may not be the server's fault."""
        if not self._end():
            return
        upstream = self._upstream
        if not is_blamed(error):
            upstream.breaker.succeeded(self._permit)
            return
        upstream.n_failed += 1
        if is_excused and error.status_code == 500:
            upstream.breaker.abandoned(self._permit)
            return
        was_open = upstream.breaker.state == "open"
        upstream.breaker.failed(self._permit, error.message)
        if not was_open and upstream.breaker.state == "open":
            _LOG.warning(
                "upstream %s is left alone for %.0f s: %s",
                upstream.url,
                upstream.breaker.wait_s,
                error.message,
            )

    def _end(self) -> bool:
        if self.has_ended:
            return False
        self.has_ended = True
        self._upstream.n_in_flight -= 1
        return True


async def _error_document(response: "ClientResponse") -> bytes:
    """Return the body of an error; nothing if it is too long or breaks off."""
    import aiohttp

    pieces: list[bytes] = []
    n_bytes = 0
    try:
        while piece := await response.content.readany():
            pieces.append(piece)
            n_bytes += len(piece)
            if n_bytes > _MOST_ERROR_BYTES:
                return b""
    except (aiohttp.ClientError, OSError):
        return b""
    return b"".join(pieces)
