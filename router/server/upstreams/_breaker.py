"""A circuit breaker: leaves a server alone that fails, and lets it come back carefully.

    closed    --too many failures-->        open
    open      --time is up, or a check-->   half-open
    half-open --its one trial answers-->    closed
    half-open --its one trial fails-->      open, for twice as long

Source: Nygard, "Release It!", 2007, chapter 5; the share of recent outcomes is resilience4j's.
"""

import random
from collections import deque
from collections.abc import Callable
from typing import Literal, NamedTuple

from ._settings import BreakerSettings

__all__ = ["Breaker", "BreakerState"]

BreakerState = Literal["closed", "open", "half-open"]


class _Outcome(NamedTuple):
    time_s: float
    is_failure: bool


class Breaker:
    """The breaker of one server; belongs to one event loop, does no input or output.

    Each request that is let through takes a permit with `begin` and gives it back once with
    `succeeded`, `failed` or `abandoned`. A permit is only good until the state changes: what
    becomes of a request that was let through before says nothing of the server as it is now.

    Attributes:
        reason: Why it opened last; empty while it is closed.
    """

    def __init__(
        self, settings: BreakerSettings, clock: Callable[[], float], rng: random.Random
    ) -> None:
        """Start closed.

        Args:
            settings: When it opens and for how long.
            clock: Seconds that never go back.
            rng: Draws the jitter.
        """
        self.reason = ""
        self._settings = settings
        self._clock = clock
        self._rng = rng
        self._state: BreakerState = "closed"
        self._epoch = 0
        self._n_in_row = 0
        self._n_openings = 0
        self._recent: deque[_Outcome] = deque(maxlen=settings.n_recent)
        self._open_until_s = 0.0
        self._is_on_trial = False
        self._is_early = self._is_check_doubted = False

    @property
    def state(self) -> BreakerState:
        """What it is now; `open` ends by itself when its time is up."""
        if self._state == "open" and self._clock() >= self._open_until_s:
            self._enter("half-open")
        return self._state

    @property
    def allows(self) -> bool:
        """Whether a request may be sent now."""
        state = self.state
        return state == "closed" or (state == "half-open" and not self._is_on_trial)

    @property
    def wait_s(self) -> float:
        """Seconds until it may let something through; 0 unless it is open."""
        return self._open_until_s - self._clock() if self.state == "open" else 0.0

    @property
    def n_recent_failures(self) -> int:
        """Failures among the recent outcomes."""
        if not self._recent:
            return 0
        self._forget()
        return sum(outcome.is_failure for outcome in self._recent)

    def begin(self) -> int:
        """Return the permit of a request that is sent now; `allows` must hold."""
        self._is_on_trial = self.state == "half-open"
        return self._epoch

    def responded(self, permit: int) -> int:
        """Take note that a good answer has begun, and return the permit that is good from now.

        A trial ends here: an answer may take minutes, and that it has begun is what was asked.
        """
        if permit == self._epoch and self._state == "half-open":
            self._enter("closed")
            return self._epoch
        return permit

    def succeeded(self, permit: int) -> None:
        """Take note of an answer that is complete."""
        permit = self.responded(permit)
        if permit != self._epoch:
            return
        self._n_in_row = self._n_openings = 0
        self._recent.append(_Outcome(self._clock(), is_failure=False))

    def failed(self, permit: int, reason: str) -> None:
        """Take note of a failure that is the server's.

        Args:
            permit: What `begin` returned.
            reason: What happened, fit to be shown.
        """
        if permit != self._epoch:
            return
        if self._state == "half-open":
            self._is_check_doubted = self._is_early
            self.open(reason)
            return
        self._n_in_row += 1
        self._recent.append(_Outcome(self._clock(), is_failure=True))
        if self._n_in_row >= self._settings.n_failures or self._is_share_exceeded():
            self.open(reason)

    def abandoned(self, permit: int) -> None:
        """Take note of a request that ended without saying anything of the server."""
        if permit == self._epoch:
            self._is_on_trial = False

    def open(self, reason: str) -> None:
        """Leave the server alone for a while, longer each time until an answer is complete.

        Args:
            reason: Why, fit to be shown.
        """
        settings = self._settings
        open_s = min(settings.open_s * 2.0 ** min(self._n_openings, 30), settings.longest_open_s)
        self._n_openings += 1
        self._enter("open")
        self._open_until_s = self._clock() + open_s * (1.0 + settings.jitter * self._rng.random())
        self.reason = reason

    def check_passed(self) -> None:
        """Let one request through before the time is up: a check found the server well.

        Not again after that request failed: the check then sees less than requests do, and the
        waiting times would never grow.
        """
        if self.state == "open" and not self._is_check_doubted:
            self._enter("half-open")
            self._is_early = True

    def check_failed(self, reason: str) -> None:
        """Open, or stay open: checks have found the server ill.

        Args:
            reason: What happened, fit to be shown.
        """
        self._is_check_doubted = False
        if self.allows:
            self.open(reason)

    def _enter(self, state: BreakerState) -> None:
        self._state = state
        self._epoch += 1
        self._is_on_trial = self._is_early = False
        self._n_in_row = 0
        self._recent.clear()
        if state == "closed":
            self.reason = ""
            self._is_check_doubted = False

    def _is_share_exceeded(self) -> bool:
        self._forget()
        n = len(self._recent)
        n_failures = sum(outcome.is_failure for outcome in self._recent)
        return n >= self._settings.n_least and n_failures > self._settings.failure_share * n

    def _forget(self) -> None:
        oldest_s = self._clock() - self._settings.recent_s
        while self._recent and self._recent[0].time_s < oldest_s:
            self._recent.popleft()
