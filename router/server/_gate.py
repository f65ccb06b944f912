"""Back-pressure: how many requests are served at once, and how many may wait for their turn."""

import asyncio
from collections import deque
from dataclasses import dataclass

from policies import InvalidInputError

from ._problems import ProblemError

__all__ = ["Gate", "GateLimits"]


@dataclass(frozen=True, slots=True)
class GateLimits:
    """How many requests there may be.

    Attributes:
        max_in_flight: Served at once, 1 or more.
        max_waiting: Waiting for their turn, 0 or more; the next one is refused at once.
        wait_s: Longest wait, in seconds.
    """

    max_in_flight: int = 256
    max_waiting: int = 512
    wait_s: float = 30.0

    def __post_init__(self) -> None:
        """Refuse limits under which nothing would be served."""
        if self.max_in_flight < 1 or self.max_waiting < 0 or not self.wait_s >= 0:
            raise InvalidInputError(
                f"max_in_flight={self.max_in_flight}, max_waiting={self.max_waiting} and"
                f" wait_s={self.wait_s:g} serve nobody, expected at least 1, 0 and 0"
            )


class Gate:
    """Lets requests through in the order in which they came. Belongs to one event loop."""

    def __init__(self, limits: GateLimits) -> None:
        """Start empty."""
        self.limits = limits
        self.n_in_flight = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def n_waiting(self) -> int:
        """Requests that wait for their turn."""
        return sum(not turn.done() for turn in self._waiting)

    def enter_at_once(self) -> bool:
        """Take a turn if there is one now; return whether there was. Call `leave` after it."""
        if self.n_in_flight >= self.limits.max_in_flight or self._waiting:
            return False
        self.n_in_flight += 1
        return True

    async def enter(self) -> None:
        """Wait for a turn; call `leave` when the request has ended.

        Raises:
            ProblemError: There are too many requests already (429), or the wait was too long (503).
        """
        if self.enter_at_once():
            return
        if len(self._waiting) >= self.limits.max_waiting:
            raise ProblemError(
                429,
                "too-many-requests",
                f"{self.n_in_flight} requests are being served and {len(self._waiting)} wait",
                retry_after_s=1,
            )
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout(self.limits.wait_s):
                await turn
        except TimeoutError:
            self._forget(turn)
            raise ProblemError(
                503,
                "waited-too-long",
                f"no turn came within {self.limits.wait_s:g} s",
                retry_after_s=self.limits.wait_s,
            ) from None
        except asyncio.CancelledError:
            self._forget(turn)
            raise

    def leave(self) -> None:
        """End a request, and give its place to the one that has waited longest."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self.n_in_flight -= 1

    def _forget(self, turn: asyncio.Future[None]) -> None:
        """Drop a place in the queue; a turn that came too late to be taken goes to the next."""
        if turn.done() and not turn.cancelled():
            self.leave()
        elif turn in self._waiting:
            self._waiting.remove(turn)
