"""How many requests may be under way at once, learnt from what the server refuses.

Additive increase, multiplicative decrease: a refusal (429 or 503) halves the number, but only
once per round trip, since requests sent before the last halving tell nothing new; a full window
of successes (8 at least) adds one. A pause that the server asks for holds for everybody who waits.

Source: Chiu and Jain, "Analysis of the Increase and Decrease Algorithms for Congestion Avoidance
in Computer Networks", 1989; the once-per-round-trip rule is TCP's.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

__all__ = ["Pace"]

# Where few requests are allowed, a window of that few would try for one more all the time.
_LEAST_WINDOW = 8

_LOG = logging.getLogger("thinkroute.policies")


class Pace:
    """Slots for requests; belongs to one event loop.

    Attributes:
        n_fruitless: How often the number was halved since the last success: 0 while the server
            serves others, so that a refused request soon comes back.
    """

    def __init__(self, most: int) -> None:
        """Begin with `most` slots, 1 or more; it is also the most there will ever be."""
        self._most = most
        self._limit = float(most)
        self._loop = asyncio.get_running_loop()
        self._n_under_way = 0
        self._n_successes = self.n_fruitless = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._cut_at = self._resume_at = -1.0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def limit(self) -> int:
        """How many requests may be under way now."""
        return int(self._limit)

    @asynccontextmanager
    async def slot(self) -> AsyncGenerator[float]:
        """Wait for a slot and hold it; yields the loop's time at which it was got."""
        await self._enter()
        try:
            yield self._loop.time()
        finally:
            self._leave()

    def succeeded(self) -> None:
        """Take note of an answer."""
        self.n_fruitless = 0
        if self.limit >= self._most:
            return
        self._n_successes += 1
        if self._n_successes >= max(_LEAST_WINDOW, self.limit):
            self._n_successes = 0
            self._limit = min(float(self._most), self._limit + 1.0)
            self._grant()

    def refused(self, sent_at: float, pause_s: float | None) -> None:
        """Take note that the server asked to slow down.

        Args:
            sent_at: When the refused request got its slot.
            pause_s: How long the server asked to wait, if it did.
        """
        now = self._loop.time()
        if pause_s:
            self._resume_at = max(self._resume_at, now + pause_s)
        if sent_at < self._cut_at:
            return
        self._cut_at = now
        self._n_successes = 0
        self.n_fruitless += 1
        self._limit = max(1.0, self._limit / 2.0)
        _LOG.info("the server asks to slow down: at most %d requests at once", self.limit)

    async def _enter(self) -> None:
        if not self._waiting and self._is_free():
            self._n_under_way += 1
            return
        place = self._loop.create_future()
        self._waiting.append(place)
        self._grant()
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self._leave()  # The slot came together with the cancellation.
            else:
                self._waiting.remove(place)
            raise

    def _leave(self) -> None:
        self._n_under_way -= 1
        self._grant()

    def _is_free(self) -> bool:
        return self._n_under_way < self.limit and self._loop.time() >= self._resume_at

    def _grant(self) -> None:
        """Give free slots to those who wait, first come, first served."""
        while self._waiting and self._is_free():
            place = self._waiting.popleft()
            if not place.done():
                self._n_under_way += 1
                place.set_result(None)
        pause_s = self._resume_at - self._loop.time()
        if self._waiting and pause_s > 0 and self._timer is None:
            self._timer = self._loop.call_later(pause_s, self._wake)

    def _wake(self) -> None:
        self._timer = None
        self._grant()
