"""Sends requests to the servers of a model; the one place where they are sent again."""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Collection, Mapping, Sequence

from policies import (
    BackendConnectionError,
    BackendError,
    BackendRateLimitError,
    InvalidInputError,
)

from ._answer import Trail, UpstreamAnswer
from ._budget import RetryBudget
from ._failures import BACKEND
from ._health import HealthCheck
from ._request import UpstreamRequest, checked_request
from ._settings import BreakerSettings, RetrySettings, UpstreamSettings
from ._upstream import Upstream, UpstreamState

__all__ = ["UpstreamPool"]

_LOG = logging.getLogger("thinkroute.server")

# When to come again where nothing says so: a request ends, or a trial is over, at any time.
_SOON_S = 1.0


class UpstreamPool:
    """Servers that answer alike, each request going to the one with the least to do.

    Belongs to the event loop in which it was started. What is promised, for every request:

    - it is sent at most `max_retries + 1` times, never after `give_up_s`, and never again once
      bytes of an answer were handed on;
    - all requests together are sent again at most as often as `RetryBudget` allows;
    - a server with an open breaker, or that asked to be left alone, is not sent anything but
      health checks;
    - where its caller is cancelled, the server is disconnected at once.
    """

    def __init__(
        self,
        settings: Sequence[UpstreamSettings],
        *,
        retry: RetrySettings | None = None,
        breaker: BreakerSettings | None = None,
        clock: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
    ) -> None:
        """Connect to nothing yet.

        Args:
            settings: The servers.
            retry: When a request is sent again; the usual values by default.
            breaker: When a server is left alone; the usual values by default.
            clock: Seconds that never go back.
            rng: Draws pauses and breaks ties; seeded by the system by default.

        Raises:
            InvalidInputError: There is no server, or one twice.
        """
        urls = [each.base_url for each in settings]
        if not urls or len(set(urls)) < len(urls):
            raise InvalidInputError(f"upstreams are {urls!r}, expected one or more, each once")
        self._retry = retry or RetrySettings()
        self._breaker = breaker or BreakerSettings()
        self._clock = clock
        self._rng = rng or random.Random()
        self._upstreams = [Upstream(each, self._breaker, clock, self._rng) for each in settings]
        self._budget = RetryBudget(self._retry, clock)
        self._checks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Make the connection pools and begin to check; no server needs to be up.

        Raises:
            MissingPrerequisiteError: aiohttp is not installed.
        """
        if self._checks:
            return
        for upstream in self._upstreams:
            await upstream.open()
            check = HealthCheck(upstream, self._breaker, self._clock, self._rng)
            self._checks.append(asyncio.create_task(check.watch()))

    async def aclose(self) -> None:
        """Stop checking, break off what is under way and close all connections."""
        checks, self._checks = self._checks, []
        for check in checks:
            check.cancel()
        outcomes = await asyncio.gather(*checks, return_exceptions=True)
        for upstream in self._upstreams:
            await upstream.aclose()
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome

    async def send(
        self,
        path: str,
        body: bytes,
        *,
        headers: Mapping[str, str] | None = None,
        model: str = "",
        is_whole: bool = False,
        trail: Trail | None = None,
    ) -> UpstreamAnswer:
        """Post a JSON document and return the answer as soon as its first bytes are there.

        Args:
            path: Path below the base URL, such as `/chat/completions`.
            body: The document.
            headers: More headers; those that are ours to set, keys among them, are left out.
            model: Model that is asked, for errors.
            is_whole: Whether to wait for the whole answer, which is sent for again if it breaks
                off in the middle. For answers that are not streamed.
            trail: Filled with what the request went through.

        Raises:
            UpstreamRefusalError: A server refused the request for a reason that is the client's.
            BackendConnectionError: No server could be reached, or all are left alone (code
                `no-upstream`).
            BackendRateLimitError: The servers ask to slow down, or are full (code
                `upstreams-busy`).
            BackendTimeoutError: The server was too slow.
            BackendRequestError: A server denies us access (code `upstream-denied`).
            BackendResponseError: A server failed, or answered nonsense.
            InvalidInputError: The path or a header would break HTTP.
        """
        request = checked_request("POST", path, body, headers or {}, model, is_whole=is_whole)
        return await self._sent(request, trail or Trail())

    async def get(self, path: str, *, trail: Trail | None = None) -> UpstreamAnswer:
        """Get a document, read whole; otherwise like `send`.

        Args:
            path: Path below the base URL, such as `/models`.
            trail: Filled with what the request went through.

        Raises:
            BackendError: See `send`.
            InvalidInputError: The path is none.
        """
        request = checked_request("GET", path, b"", {}, "", is_whole=True)
        return await self._sent(request, trail or Trail())

    def states(self) -> list[UpstreamState]:
        """Return how each server is doing, in the order in which they were given."""
        return [upstream.state for upstream in self._upstreams]

    async def _sent(self, request: UpstreamRequest, trail: Trail) -> UpstreamAnswer:
        deadline_s = self._clock() + self._retry.give_up_s
        self._budget.note_request()
        tried: list[Upstream] = []
        failure: BackendError | None = None
        while True:
            upstream = self._least_loaded(tried)
            if upstream is None:
                pause_s = self._pause_s()
                if pause_s is None or self._clock() + pause_s > deadline_s:
                    raise failure or self._refusal(request.model)
                await self._sleep(pause_s + self._draw_s(0), trail)
                continue
            try:
                return await upstream.attempt(
                    request, trail, is_excused=failure is not None and failure.status_code == 500
                )
            except BackendError as error:
                failure = error
            tried.append(upstream)
            if failure.retryable and failure.retry_after_s:
                upstream.pause(min(failure.retry_after_s, self._retry.longest_pause_s))
            wait_s = self._wait_s(tried)
            if (
                not failure.retryable
                or len(tried) > self._retry.max_retries
                or wait_s is None
                or self._clock() + wait_s > deadline_s
                or not self._budget.spend()
            ):
                failure.add_note(f"attempts made: {len(tried)}, the last at {upstream.url}")
                raise failure
            _LOG.debug("attempt %d at %s failed: %s", len(tried), upstream.url, failure)
            if wait_s:
                await self._sleep(wait_s, trail)

    def _wait_s(self, tried: Sequence[Upstream]) -> float | None:
        """Return the pause before the next attempt, `None` if there is no server for it.

        It spares a server that has failed this request; another one can be asked at once.
        """
        usable = [each for each in self._upstreams if self._is_usable(each)]
        if any(each not in tried for each in usable):
            return 0.0
        own_s = self._draw_s(len(tried) - 1)
        if usable:
            return own_s
        pause_s = self._pause_s()
        return None if pause_s is None else pause_s + own_s

    def _draw_s(self, n_failed: int) -> float:
        longest_s = min(self._retry.first_wait_s * 2.0**n_failed, self._retry.longest_wait_s)
        return longest_s * self._rng.random()

    @staticmethod
    async def _sleep(seconds: float, trail: Trail) -> None:
        started = time.perf_counter()
        try:
            await asyncio.sleep(seconds)
        finally:
            trail.wait_s += time.perf_counter() - started

    @staticmethod
    def _is_usable(upstream: Upstream) -> bool:
        return upstream.breaker.allows and not upstream.is_full and not upstream.pause_s

    def _least_loaded(self, tried: Collection[Upstream]) -> Upstream | None:
        """Return the server to ask: not tried yet, then least to do, fewest failures, by lot."""
        best: Upstream | None = None
        best_key = (True, 0, 0)
        n_ties = 0
        for upstream in self._upstreams:
            if not self._is_usable(upstream):
                continue
            key = (upstream in tried, upstream.n_in_flight, upstream.breaker.n_recent_failures)
            if best is None or key < best_key:
                best, best_key, n_ties = upstream, key, 1
            elif key == best_key:
                n_ties += 1
                if self._rng.random() * n_ties < 1.0:
                    best = upstream
        return best

    def _pause_s(self) -> float | None:
        """Return when a server that asked to be left alone can be asked, `None` if none did."""
        pauses = [
            upstream.pause_s
            for upstream in self._upstreams
            if upstream.breaker.allows and not upstream.is_full and upstream.pause_s
        ]
        return min(pauses, default=None)

    def _refusal(self, model: str) -> BackendError:
        """Return the error for a request that no server can be sent now."""
        allowed = [each for each in self._upstreams if each.breaker.allows]
        if not allowed:
            first_s = min(each.breaker.wait_s for each in self._upstreams)
            error: BackendError = BackendConnectionError(
                "no server of the model can be reached now: all failed and are left alone",
                backend=BACKEND,
                model=model,
                retry_after_s=first_s or _SOON_S,
            )
            error.code = "no-upstream"
            return error
        pause_s = self._pause_s()
        if pause_s is not None:
            return BackendRateLimitError(
                "the model's servers ask to slow down",
                backend=BACKEND,
                model=model,
                retry_after_s=pause_s,
            )
        error = BackendRateLimitError(
            "the model's servers have as much to do as they may",
            backend=BACKEND,
            model=model,
            retry_after_s=_SOON_S,
        )
        error.code = "upstreams-busy"
        return error
