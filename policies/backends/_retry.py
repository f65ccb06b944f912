"""The one owner of retries: how often a request is sent, and how long to wait in between."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

from .._errors import BackendError

__all__ = ["MAX_RETRY_AFTER_S", "backoff_s", "read_retry_after", "retrying"]

_T = TypeVar("_T")

_FIRST_WAIT_S = 0.25
_LONGEST_WAIT_S = 30.0

MAX_RETRY_AFTER_S = 120.0
"""A server that asks for a longer pause than this is not waited for."""


async def retrying(
    attempt: Callable[[], Awaitable[_T]],
    *,
    max_retries: int,
    pause_s: "Callable[[BackendError, int], float] | None" = None,
) -> _T:
    """Return the first success of `attempt`, which is called at most `max_retries + 1` times.

    Args:
        attempt: Sends the request once.
        max_retries: Attempts after the first.
        pause_s: Returns the pause after a failure and its number (from 0), in seconds; by
            default `backoff_s` with a random draw. What the server asks for is the least.

    Raises:
        BackendError: It is not retryable, the attempts are used up, or the server asked for a
            pause beyond `MAX_RETRY_AFTER_S`; a note says how many attempts were made.
    """
    for n_failed in range(max_retries + 1):
        try:
            return await attempt()
        except BackendError as error:
            is_last = n_failed == max_retries
            asked_s = error.retry_after_s or 0.0
            if is_last or not error.retryable or asked_s > MAX_RETRY_AFTER_S:
                error.add_note(f"attempts made: {n_failed + 1}")
                raise
            own_s = backoff_s(n_failed) if pause_s is None else pause_s(error, n_failed)
            wait_s = max(asked_s, own_s)
        await asyncio.sleep(wait_s)
    raise AssertionError("unreachable: the last attempt returns or raises")


def backoff_s(n_failed: int, draw: float | None = None) -> float:
    """Return the pause after the failure number `n_failed` (from 0), in seconds.

    It doubles from one failure to the next up to 30 s; `draw`, uniform in [0, 1) and random by
    default, takes off up to a half, so that clients that failed together do not come back
    together.
    """
    if draw is None:
        draw = random.random()
    longest = min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2.0**n_failed)
    return longest * (1.0 - draw / 2.0)


def read_retry_after(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Return the seconds that a response asks to wait, `None` if it does not or not legibly.

    Args:
        headers: Response headers, looked up in lower case.
        now: The time that a date is compared with; the clock by default.
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000.0
    value = headers.get("retry-after")
    seconds = _number(value)
    if seconds is not None or value is None:
        return seconds
    try:
        until = parsedate_to_datetime(value)
    except ValueError:
        return None
    if until.tzinfo is None:
        until = until.replace(tzinfo=UTC)
    return max(0.0, (until - (now or datetime.now(UTC))).total_seconds())


def _number(text: str | None) -> float | None:
    try:
        number = float(text) if text is not None else -1.0
    except ValueError:
        return None
    return number if 0.0 <= number < float("inf") else None
