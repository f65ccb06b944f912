"""Ceilings on what a run may spend, enforced before a request is sent."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from policies import InvalidInputError

__all__ = ["Ceilings", "Meter", "Reservation"]


@dataclass(frozen=True, slots=True)
class Ceilings:
    """The most a run may spend, over all its resumptions; `None` is no ceiling.

    Attributes:
        tokens: Prompt and generated tokens together.
        usd: Money, at the price of each arm.
        seconds: Wall time of one resumption; requests under way at its end are finished.
    """

    tokens: int | None = None
    usd: float | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        """Refuse ceilings that nothing fits under."""
        for name, value in (("tokens", self.tokens), ("usd", self.usd), ("seconds", self.seconds)):
            if value is not None and not value > 0:
                raise InvalidInputError(f"the ceiling of {name} is {value!r}, expected above 0")


@dataclass(frozen=True, slots=True)
class Reservation:
    """What a request may cost at most, or has cost.

    Attributes:
        tokens: Prompt and generated tokens.
        generated: Of those, generated ones.
        usd: Money, 0 without a price.
    """

    tokens: int
    generated: int = 0
    usd: float = 0.0


class Meter:
    """Keeps what is spent and what requests under way may still cost below the ceilings."""

    def __init__(
        self,
        ceilings: Ceilings,
        *,
        spent_tokens: int = 0,
        spent_usd: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start with what earlier resumptions have spent."""
        self._ceilings = ceilings
        self._clock = clock
        self._started = clock()
        self._tokens, self._usd = spent_tokens, spent_usd
        self._reserved_tokens, self._reserved_usd = 0, 0.0

    def is_over_time(self) -> bool:
        """Return whether nothing more may be sent because of the time."""
        limit = self._ceilings.seconds
        return limit is not None and self._clock() - self._started >= limit

    def blocking(self, worst: Reservation) -> str | None:
        """Return which ceiling a request could break, `None` if it fits under all of them."""
        limits = self._ceilings
        tokens = self._tokens + self._reserved_tokens + worst.tokens
        if limits.tokens is not None and tokens > limits.tokens:
            return f"the ceiling of {limits.tokens:,} tokens"
        usd = self._usd + self._reserved_usd + worst.usd
        if limits.usd is not None and usd > limits.usd:
            return f"the ceiling of {limits.usd:g} USD"
        return None

    def reserve(self, worst: Reservation) -> None:
        """Count a request that is being sent."""
        self._reserved_tokens += worst.tokens
        self._reserved_usd += worst.usd

    def settle(self, worst: Reservation, spent: Reservation) -> None:
        """Replace what a request might have cost by what it did."""
        self._reserved_tokens -= worst.tokens
        self._reserved_usd -= worst.usd
        self._tokens += spent.tokens
        self._usd += spent.usd
