"""How upstream servers are reached, and when they are asked again or left alone."""

import math
import re
from dataclasses import dataclass

from pydantic import SecretStr

from policies import InvalidInputError
from policies.backends.openai import checked_url

from ._addresses import denial_of_host, is_odd_number

__all__ = ["BreakerSettings", "RetrySettings", "UpstreamSettings"]

_URL = re.compile(
    r"https?://(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::\d+)?(?:/[\w.~:@!$&'()*+,;=-]+)*", re.ASCII
)


@dataclass(frozen=True, slots=True)
class UpstreamSettings:
    """One OpenAI-compatible server.

    Attributes:
        base_url: Root of the API, which usually ends in `/v1`; kept in one spelling.
        key: Sent as a bearer token; `None` sends none.
        connect_s: Longest time until a connection stands, name look-up and TLS included.
        timeout_s: Longest time of a whole attempt, the last byte of its answer included.
        silence_s: Longest wait for the next byte, the first one included. A server that thinks
            before it answers in one piece is silent all that time.
        max_in_flight: Most requests under way at once; more are refused, not queued, since
            inference servers queue themselves.
        denies_private: Whether addresses that are not of the public internet are refused: for
            servers that were named by somebody who is not trusted.
    """

    base_url: str
    key: SecretStr | None = None
    connect_s: float = 5.0
    timeout_s: float = 600.0
    silence_s: float = 300.0
    max_in_flight: int = 512
    denies_private: bool = False

    def __post_init__(self) -> None:
        """Check everything that can be checked without asking the server.

        Raises:
            InvalidInputError: The URL or a number makes no sense, or the URL names an address
                that `denies_private` refuses.
        """
        url = checked_url(self.base_url)
        if not _URL.fullmatch(url) or ".." in url or is_odd_number(url):
            raise InvalidInputError(
                f"base_url {url!r} is not spelled in a way that all parsers read alike",
                hint="write the host as a plain name or address, and no .. in the path",
                code="invalid-base-url",
            )
        object.__setattr__(self, "base_url", url)
        _check_positive(
            connect_s=self.connect_s, timeout_s=self.timeout_s, silence_s=self.silence_s
        )
        _check_least(1, max_in_flight=self.max_in_flight)
        if self.key is not None and not _is_token(self.key.get_secret_value()):
            raise InvalidInputError(
                "the key of an upstream is empty or holds spaces or control characters",
                hint="check the variable or file that it is read from",
                code="invalid-key",
            )
        denial = denial_of_host(url) if self.denies_private else ""
        if denial:
            raise InvalidInputError(
                f"base_url {url!r} names {denial}",
                hint="denies_private allows only addresses of the public internet",
                code="invalid-base-url",
            )


@dataclass(frozen=True, slots=True)
class RetrySettings:
    """When a request that failed is sent again.

    Attributes:
        max_retries: Attempts after the first.
        give_up_s: No attempt begins later than this after the request came. An attempt that is
            under way then may still succeed.
        first_wait_s: Longest pause before a server is asked again that has failed this request
            once; it doubles each time. The pause is uniform between 0 and that.
        longest_wait_s: Where the doubling ends.
        longest_pause_s: Longest time that a server is left alone because it asked for it.
        budget_share: Retries allowed per request, over the last `budget_window_s`.
        budget_window_s: See `budget_share`.
        n_free: Retries that are allowed in each window whatever the share.

    Source:
        Full jitter: Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015. A
        budget of 20%: Finagle's `RetryBudget`, which Linkerd and Envoy took over.
    """

    max_retries: int = 2
    give_up_s: float = 30.0
    first_wait_s: float = 0.25
    longest_wait_s: float = 8.0
    longest_pause_s: float = 60.0
    budget_share: float = 0.2
    budget_window_s: float = 10.0
    n_free: int = 3

    def __post_init__(self) -> None:
        """Refuse numbers that make no sense.

        Raises:
            InvalidInputError: A number is out of its range.
        """
        _check_least(0, max_retries=self.max_retries, n_free=self.n_free)
        _check_least(
            0.0,
            give_up_s=self.give_up_s,
            first_wait_s=self.first_wait_s,
            longest_wait_s=self.longest_wait_s,
            longest_pause_s=self.longest_pause_s,
            budget_share=self.budget_share,
        )
        _check_positive(budget_window_s=self.budget_window_s)


@dataclass(frozen=True, slots=True)
class BreakerSettings:
    """When a server is left alone because it fails, and how it comes back.

    Attributes:
        n_failures: Failures in a row that open the breaker.
        failure_share: Share of failures among the recent outcomes above which it opens.
        n_recent: How many outcomes are recent at most.
        n_least: Outcomes below which the share says nothing.
        recent_s: Age at which an outcome is no longer recent.
        open_s: How long it stays open the first time; doubles whenever the trial fails.
        longest_open_s: Where the doubling ends.
        jitter: Share of the time that is added at random, so that servers which failed together
            are not tried together.
        check_every_s: How often every server is checked; 0 checks only those with an open
            breaker.
        recheck_every_s: How often a server is checked that has an open breaker or failed its
            last check.
        check_timeout_s: Longest time of a check.
    """

    n_failures: int = 5
    failure_share: float = 0.5
    n_recent: int = 20
    n_least: int = 10
    recent_s: float = 30.0
    open_s: float = 5.0
    longest_open_s: float = 60.0
    jitter: float = 0.2
    check_every_s: float = 10.0
    recheck_every_s: float = 1.0
    check_timeout_s: float = 5.0

    def __post_init__(self) -> None:
        """Refuse numbers that make no sense.

        Raises:
            InvalidInputError: A number is out of its range.
        """
        _check_least(1, n_failures=self.n_failures, n_recent=self.n_recent, n_least=self.n_least)
        _check_least(0.0, jitter=self.jitter, check_every_s=self.check_every_s)
        _check_positive(
            recent_s=self.recent_s,
            open_s=self.open_s,
            longest_open_s=self.longest_open_s,
            recheck_every_s=self.recheck_every_s,
            check_timeout_s=self.check_timeout_s,
        )
        if not 0.0 < self.failure_share <= 1.0:
            raise InvalidInputError(f"failure_share is {self.failure_share!r}, expected in (0, 1]")
        if self.n_least > self.n_recent:
            raise InvalidInputError(
                f"n_least is {self.n_least!r}, expected at most n_recent={self.n_recent!r}"
            )


def _check_positive(**values: float) -> None:
    for name, value in values.items():
        if not 0.0 < value < math.inf:
            raise InvalidInputError(f"{name} is {value!r}, expected a finite number > 0")


def _check_least(least: float, **values: float) -> None:
    for name, value in values.items():
        if not least <= value < math.inf:
            raise InvalidInputError(f"{name} is {value!r}, expected a finite number >= {least}")


def _is_token(key: str) -> bool:
    return bool(key) and key.isascii() and key.isprintable() and " " not in key
