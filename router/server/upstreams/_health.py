"""Background checks, so that a dead server is known before a client meets it."""

import asyncio
import logging
import random
from collections.abc import Callable

from ._settings import BreakerSettings
from ._upstream import Upstream

__all__ = ["HealthCheck"]

_LOG = logging.getLogger("thinkroute.server")

# One may fail by chance, or since the server was busy for a moment.
_N_FAILED = 2
_NO_SUCH_ENDPOINT = 501


class HealthCheck:
    """Checks one server again and again: often while it is left alone, else now and then."""

    def __init__(
        self,
        upstream: Upstream,
        settings: BreakerSettings,
        clock: Callable[[], float],
        rng: random.Random,
    ) -> None:
        """Check nothing yet.

        Args:
            upstream: What is checked.
            settings: How often, and how long a check may take.
            clock: Seconds that never go back.
            rng: Spreads the checks of several servers.
        """
        self._upstream = upstream
        self._settings = settings
        self._clock = clock
        self._rng = rng
        self._next_s = clock() if settings.check_every_s > 0 else float("inf")
        self._n_failed = 0
        self._ill_since_s = 0.0

    async def watch(self) -> None:
        """Check until cancelled."""
        while True:
            if self._is_due():
                await self.check()
            await asyncio.sleep(self._settings.recheck_every_s * self._rng.uniform(0.9, 1.1))

    async def check(self) -> None:
        """Check once and tell the breaker what follows from it.

        Checks that fail open it only while no request succeeds: an answer says more than
        `/health`, which may be slow on a server that works hard.
        """
        began_s = self._clock()
        reason = await self._reason()
        if self._settings.check_every_s > 0:
            self._next_s = self._clock() + self._settings.check_every_s
        breaker = self._upstream.breaker
        if not reason:
            self._n_failed = 0
            breaker.check_passed()
            return
        if not self._n_failed:
            self._ill_since_s = began_s
        self._n_failed += 1
        if self._n_failed < _N_FAILED or self._upstream.answered_s >= self._ill_since_s:
            return
        was_closed = breaker.state == "closed"
        breaker.check_failed(reason)
        if was_closed:
            _LOG.warning("upstream %s is left alone: %s", self._upstream.url, reason)

    def _is_due(self) -> bool:
        is_ill = self._n_failed > 0 or self._upstream.breaker.state != "closed"
        return is_ill or self._clock() >= self._next_s

    async def _reason(self) -> str:
        """Return what is wrong with the server, nothing if it is well.

        `/health` is what vLLM, SGLang and llama.cpp have; of others the list of models is asked,
        which any server that is well answers or refuses.
        """
        url, timeout_s = self._upstream.url, self._settings.check_timeout_s
        status = await self._upstream.probe(f"{url.removesuffix('/v1')}/health", timeout_s)
        if status is not None and _is_elsewhere(status):
            status = await self._upstream.probe(f"{url}/models", timeout_s)
        if status is None:
            return "a check got no answer"
        if status >= 500 and status != _NO_SUCH_ENDPOINT:
            return f"a check was answered {status}"
        return ""


def _is_elsewhere(status: int) -> bool:
    return 300 <= status < 500 or status == _NO_SUCH_ENDPOINT
