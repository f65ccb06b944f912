"""Latency at a stated load, in a closed loop.

Seconds per request mean nothing without the load they were measured at: a batch of 64 answers
each request later and all of them sooner than a batch of 1. So a report carries its concurrency,
and the run holds exactly that many requests under way from the first measured one to the end of
the last.
"""

import asyncio
import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from policies import (
    Backend,
    BackendError,
    Capability,
    Completion,
    GenerationRequest,
    InvalidInputError,
    require,
)

from ..statistics import Interval
from ._quantiles import quantile_interval

__all__ = ["MIN_COMPLETIONS", "LoadReport", "measure_load"]

MIN_COMPLETIONS = 20
"""Fewest completions that a report is made of."""

_GIVE_UP_AFTER = 100
"""Errors in a row that mean that the server is down; each took a backend's retries."""
_PAUSE_AFTER_ERROR_S = 0.2


@dataclass(frozen=True, slots=True)
class LoadReport:
    """Latency and throughput of one backend at one load.

    Latencies of requests that run together depend on each other, which the intervals do not
    know: they tell how far the sample's size alone lets the quantile be known.

    Attributes:
        backend: Kind of backend.
        model: Name of the model.
        concurrency: Requests under way all the time.
        n_completions: Measured requests that were answered.
        n_errors: Measured requests that were not; they are in no figure below.
        n_warmup: Requests before them that were not measured.
        n_filler: Unmeasured requests that kept up the load to the end.
        n_unmeasured_errors: Failed ones among those two; each lowered the load for a while.
        first_error: What the first error said, `None` without errors.
        mean_s: Mean seconds from sending to the whole answer, retries included.
        p50_s: Median seconds, with its interval.
        p95_s: 95% quantile of seconds, with its interval; infinite above with few completions.
        prompt_tokens: Mean tokens of a measured prompt.
        completion_tokens: Mean generated tokens of a measured request.
        window_s: Seconds from the first measured start to the last measured end.
        tokens_per_s: Generated tokens of all requests that ended in the window, by its length.
        requests_per_s: Number of those requests, by its length.
    """

    backend: str
    model: str
    concurrency: int
    n_completions: int
    n_errors: int
    n_warmup: int
    n_filler: int
    n_unmeasured_errors: int
    first_error: str | None
    mean_s: float
    p50_s: Interval
    p95_s: Interval
    prompt_tokens: float
    completion_tokens: float
    window_s: float
    tokens_per_s: float
    requests_per_s: float

    @property
    def label(self) -> str:
        """What must stand beside the figures."""
        return f"closed loop, {self.concurrency} requests under way, n = {self.n_completions}"

    def to_json(self) -> dict[str, Any]:
        """Return all fields as JSON values; an infinite end is null."""
        document = asdict(self)
        for name in ("p50_s", "p95_s"):
            interval = document[name]
            interval["high"] = interval["high"] if math.isfinite(interval["high"]) else None
        return document


async def measure_load(
    backend: Backend,
    requests: Sequence[GenerationRequest],
    *,
    concurrency: int,
    n_warmup: int | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> LoadReport:
    """Measure latency and throughput with exactly `concurrency` requests under way.

    The first `n_warmup` requests fill the load and are not measured. When the last request has
    been sent, measured ones are sent again, unmeasured, until the last measured one is answered,
    and then cancelled: dropping the ones still under way instead would leave out the slow ones.
    So a few more requests are sent than given.

    Args:
        backend: Is asked; its own limit of concurrency must not be lower.
        requests: Warm-up requests, then at least 20 measured ones; prompts should differ, or a
            prefix cache answers for the model.
        concurrency: Requests under way at once, positive.
        n_warmup: Requests not to measure; `None` takes `concurrency`.
        clock: Seconds of a clock that only goes forward.

    Raises:
        InvalidInputError: Fewer than 20 requests to measure, or an argument is out of range.
        CapabilityError: The backend cannot do what a request needs.
        BackendError: Fewer than 20 requests were answered, or 100 in a row were not, which ends the
            load at once; says what the first error was.
    """
    n_warmup = concurrency if n_warmup is None else n_warmup
    if concurrency < 1 or n_warmup < 0:
        raise InvalidInputError(
            f"concurrency={concurrency!r}, n_warmup={n_warmup!r}: expected >= 1 and >= 0"
        )
    if concurrency > backend.max_concurrency:
        raise InvalidInputError(
            f"concurrency={concurrency} is more than the {backend.max_concurrency} that backend"
            f" {backend.name!r} takes at once: requests would queue inside it unseen"
        )
    if len(requests) - n_warmup < MIN_COMPLETIONS:
        raise InvalidInputError(
            f"{len(requests)} requests with {n_warmup} for warm-up leave"
            f" {max(0, len(requests) - n_warmup)} to measure, at least {MIN_COMPLETIONS} are needed"
        )
    needed: set[Capability] = set()
    for request in requests:
        needed |= request.needs()
    require(backend, frozenset(needed))
    run = _Run(backend, requests, n_warmup, clock)
    workers = [asyncio.create_task(run.work()) for _ in range(concurrency)]
    finish = asyncio.create_task(run.finished.wait())
    try:
        # A worker only ends by an error that is no backend's.
        await asyncio.wait([finish, *workers], return_when=asyncio.FIRST_COMPLETED)
    finally:
        finish.cancel()
        for worker in workers:
            worker.cancel()
        results = await asyncio.gather(*workers, return_exceptions=True)
    for result in results:
        if isinstance(result, Exception):
            raise result
    return run.report(concurrency)


@dataclass(slots=True)
class _Answered:
    started: float
    ended: float
    is_measured: bool
    completion: Completion


class _Run:
    """One measurement under way."""

    def __init__(
        self,
        backend: Backend,
        requests: Sequence[GenerationRequest],
        n_warmup: int,
        clock: Callable[[], float],
    ) -> None:
        self.backend = backend
        self.requests = requests
        self.n_warmup = n_warmup
        self.clock = clock
        self.finished = asyncio.Event()
        self.answered: list[_Answered] = []
        self.errors: list[BackendError] = []
        self.starts: list[float] = []
        self.last_end = 0.0
        self.n_open = len(requests) - n_warmup
        self.n_filler = 0
        self.n_unmeasured_errors = 0
        self.n_errors_in_a_row = 0
        fillers = itertools.cycle(requests[n_warmup:])
        self.queue: Iterator[tuple[int, GenerationRequest]] = enumerate(
            itertools.chain(requests, fillers)
        )

    async def work(self) -> None:
        for index, request in self.queue:
            is_measured = self.n_warmup <= index < len(self.requests)
            self.n_filler += index >= len(self.requests)
            started = self.clock()
            if is_measured:
                self.starts.append(started)
            try:
                completion = await self.backend.generate(request)
            except BackendError as error:
                if is_measured:
                    self.errors.append(error)
                    self.n_errors_in_a_row += 1
                    if self.n_errors_in_a_row == _GIVE_UP_AFTER:
                        self.finished.set()
                        return
                else:
                    self.n_unmeasured_errors += 1
                    # There is no end of fillers: a server that refuses must not be flooded.
                    await asyncio.sleep(_PAUSE_AFTER_ERROR_S)
            else:
                self.n_errors_in_a_row = 0
                self.answered.append(_Answered(started, self.clock(), is_measured, completion))
            if is_measured:
                self.n_open -= 1
                self.last_end = self.clock()
                if not self.n_open:
                    self.finished.set()

    def report(self, concurrency: int) -> LoadReport:
        measured = [one for one in self.answered if one.is_measured]
        is_down = self.n_errors_in_a_row >= _GIVE_UP_AFTER
        if is_down or len(measured) < MIN_COMPLETIONS:
            first = self.errors[0]
            raise BackendError(
                f"{len(measured)} of {len(self.starts)} requests were answered, "
                + (
                    f"and {self.n_errors_in_a_row} in a row were not"
                    if is_down
                    else f"at least {MIN_COMPLETIONS} are needed"
                )
                + f"; first error: {first.message}",
                backend=self.backend.name,
                model=self.backend.model,
                status_code=first.status_code,
                hint=first.hint,
            ) from first
        seconds = [one.ended - one.started for one in measured]
        begin, end = self.starts[0], self.last_end
        inside = [one for one in self.answered if begin <= one.ended <= end]
        window = max(end - begin, math.ulp(1.0))
        n = len(measured)
        return LoadReport(
            backend=self.backend.name,
            model=self.backend.model,
            concurrency=concurrency,
            n_completions=n,
            n_errors=len(self.errors),
            n_warmup=self.n_warmup,
            n_filler=self.n_filler,
            n_unmeasured_errors=self.n_unmeasured_errors,
            first_error=self.errors[0].message if self.errors else None,
            mean_s=sum(seconds) / n,
            p50_s=quantile_interval(seconds, 0.5),
            p95_s=quantile_interval(seconds, 0.95),
            prompt_tokens=sum(one.completion.usage.prompt_tokens for one in measured) / n,
            completion_tokens=sum(one.completion.usage.completion_tokens for one in measured) / n,
            window_s=end - begin,
            tokens_per_s=sum(one.completion.usage.completion_tokens for one in inside) / window,
            requests_per_s=len(inside) / window,
        )
