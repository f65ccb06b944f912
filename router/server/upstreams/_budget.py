"""Keeps retries a small share of requests, so that a brown-out is not amplified."""

from collections import deque
from collections.abc import Callable

from ._settings import RetrySettings

__all__ = ["RetryBudget"]

_N_SLICES = 10


class _Slice:
    """What happened in one stretch of time."""

    __slots__ = ("n_requests", "n_retries", "number")

    def __init__(self, number: int) -> None:
        self.number = number
        self.n_requests = 0
        self.n_retries = 0


class RetryBudget:
    """Counts requests and retries over a sliding window; belongs to one event loop.

    At any time, the retries spent in the window are at most `budget_share` times its requests,
    plus `n_free`. The window slides by tenths of its length, and so may be up to a tenth shorter
    than asked.
    """

    def __init__(self, settings: RetrySettings, clock: Callable[[], float]) -> None:
        """Start with an empty window.

        Args:
            settings: The share, the window and the constant.
            clock: Seconds that never go back.
        """
        self._share = settings.budget_share
        self._n_free = settings.n_free
        self._slice_s = settings.budget_window_s / _N_SLICES
        self._clock = clock
        self._slices: deque[_Slice] = deque()
        self._n_requests = self._n_retries = 0

    def note_request(self) -> None:
        """Count a request, whatever becomes of it."""
        self._now().n_requests += 1
        self._n_requests += 1

    def spend(self) -> bool:
        """Count a retry and return whether it is allowed; one that is not is not counted."""
        current = self._now()
        if self._n_retries + 1 > self._n_free + self._share * self._n_requests:
            return False
        current.n_retries += 1
        self._n_retries += 1
        return True

    def _now(self) -> _Slice:
        """Return the current slice, after those that left the window were dropped."""
        number = int(self._clock() / self._slice_s)
        slices = self._slices
        if slices and slices[-1].number == number:
            return slices[-1]
        while slices and slices[0].number <= number - _N_SLICES:
            old = slices.popleft()
            self._n_requests -= old.n_requests
            self._n_retries -= old.n_retries
        slices.append(_Slice(number))
        return slices[-1]
