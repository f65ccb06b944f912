"""Writes the decision log behind the requests' backs, and survives a log that is down."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple

from policies import StoreError, ThinkrouteError

from .._record import ServedRequest
from ._store import LogStore

__all__ = ["LogWriter"]

_LOGGER = logging.getLogger("thinkroute.server")
_FIRST_WAIT_S = 0.1
_LONGEST_WAIT_S = 5.0


class _Waiting(NamedTuple):
    number: int
    record: ServedRequest


@dataclass(frozen=True, slots=True, eq=False)
class _Feedback:
    """Feedback to be written once all records up to a number are settled."""

    after: int
    decision_id: str
    outcome: str | None
    score: float | None
    done: "Future[None]" = field(default_factory=lambda: Future[None]())


class LogWriter:
    """Takes records at once and writes them in batches, from a thread of its own.

    The thread alone holds the store. While the store is down it is opened anew, first after 0.1 s,
    then ever more rarely, at last every 5 s; meanwhile records wait, and beyond `max_waiting` the
    oldest are dropped and counted. A record that the store will never take is dropped and counted
    as well, and holds up no other one.

    Safe to share among threads; not across a fork.
    """

    def __init__(
        self,
        store_factory: Callable[[], LogStore],
        *,
        max_waiting: int = 10_000,
        batch: int = 256,
        flush_s: float = 0.2,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start the thread, which opens the store; that it cannot is no error here.

        Args:
            store_factory: Opens the store; called again whenever it has failed.
            max_waiting: Records that may wait, those being written included.
            batch: Most records of one transaction.
            flush_s: Longest time that a record waits for others to be written with, seconds.
            clock: Monotonic seconds.
        """
        self._open = store_factory
        self._max_waiting = max_waiting
        self._batch = batch
        self._flush_s = flush_s
        self._clock = clock
        lock = threading.Lock()
        self._work = threading.Condition(lock)
        self._settled = threading.Condition(lock)
        # All below is only touched under the lock.
        self._waiting: deque[_Waiting] = deque()
        self._in_flight: deque[_Waiting] = deque()
        self._feedback: deque[_Feedback] = deque()
        self._n_put = self._n_written = self._n_dropped = 0
        self._flush_to = 0
        self._retry_at: float | None = clock()
        self._wait_s = _FIRST_WAIT_S
        self._is_down = False
        self._is_closing = False
        self._last_error = ""
        # Only touched by the thread.
        self._store: LogStore | None = None
        self._thread = threading.Thread(target=self._run, name="decision-log", daemon=True)
        self._thread.start()

    @property
    def n_written(self) -> int:
        """Records that the store has acknowledged."""
        return self._n_written

    @property
    def n_dropped(self) -> int:
        """Records that are lost: too many waited, the store refused them, or the writer closed."""
        return self._n_dropped

    @property
    def n_waiting(self) -> int:
        """Records that are not written yet."""
        with self._work:
            return len(self._waiting) + len(self._in_flight)

    @property
    def is_down(self) -> bool:
        """Whether the last attempt to reach the store failed."""
        return self._is_down

    @property
    def last_error(self) -> str:
        """What went wrong last, in one line; "" if nothing has."""
        return self._last_error

    def put(self, record: ServedRequest) -> None:
        """Take a record to be written soon; never waits and never fails."""
        with self._work:
            self._n_put += 1
            if self._is_closing:
                self._n_dropped += 1
                return
            self._waiting.append(_Waiting(self._n_put, record))
            self._drop_oldest()
            # The thread waits for the first record, then for a batch or for the time to pass.
            if len(self._waiting) in {1, self._batch}:
                self._work.notify()

    def flush(self, timeout_s: float) -> bool:
        """Wait until nothing is waiting of what was put before; return whether that came true.

        Dropped records wait no more: see `n_dropped`.
        """
        with self._work:
            target = self._n_put
            self._flush_to = max(self._flush_to, target)
            self._work.notify()
            return self._settled.wait_for(lambda: self._oldest() > target, timeout_s)

    def feedback(
        self,
        decision_id: str,
        *,
        outcome: str | None = None,
        score: float | None = None,
        timeout_s: float = 30.0,
    ) -> None:
        """Write down feedback, after all records that were put before; wait until it is written.

        Raises:
            StoreError: The log is down, or did not answer in time; nothing is kept for later.
            InvalidInputError: See `LogStore.record_feedback`.
        """
        with self._work:
            if self._is_closing or self._is_down:
                raise self._unavailable()
            job = _Feedback(self._n_put, decision_id, outcome, score)
            self._feedback.append(job)
            self._work.notify()
        try:
            job.done.result(timeout_s)
        except FutureTimeoutError:
            if job.done.cancel():
                raise StoreError(
                    f"the decision log did not answer within {timeout_s:g} s",
                    hint="send the feedback again later",
                    code="store-unavailable",
                ) from None
            # The thread is at it now, and every store gives up by itself.
            job.done.result()

    def close(self, timeout_s: float = 10.0) -> bool:
        """Write what is waiting, trying once, and stop; return whether all was written.

        What is left is dropped and counted.
        """
        with self._work:
            self._is_closing = True
            self._work.notify()
        self._thread.join(timeout_s)
        with self._work:
            left = len(self._waiting) + len(self._in_flight)
            self._n_dropped += left
            self._waiting.clear()
            self._in_flight.clear()
            self._settled.notify_all()
            self._fail_feedback(self._unavailable())
        return left == 0

    def _run(self) -> None:
        while True:
            with self._work:
                self._wait_for_work()
                is_last = self._is_closing
                while self._waiting and len(self._in_flight) < self._batch:
                    self._in_flight.append(self._waiting.popleft())
            is_up = self._attempt()
            with self._work:
                is_done = not self._waiting and not self._feedback
            if is_last and (is_done or not is_up):
                break
        if self._store is not None:
            with suppress(ThinkrouteError):
                self._store.close()

    def _wait_for_work(self) -> None:
        """Wait until something can be done; called under the lock."""
        due_s: float | None = None
        while not self._is_closing:
            now = self._clock()
            if self._retry_at is not None:
                due_s = self._retry_at
            elif self._feedback or len(self._waiting) >= self._batch:
                return
            elif self._waiting:
                if self._waiting[0].number <= self._flush_to:
                    return
                due_s = now + self._flush_s if due_s is None else due_s
            else:
                due_s = None
            if due_s is not None and due_s <= now:
                return
            self._work.wait(None if due_s is None else due_s - now)

    def _attempt(self) -> bool:
        """Write what is in flight, then the feedback that may follow; return whether it worked."""
        try:
            if self._store is None:
                self._store = self._open()
            self._write(self._store)
            self._write_feedback(self._store)
        # Whatever it is: a thread that ends here would lose every record to come.
        except Exception as error:  # noqa: BLE001
            self._fail(error)
            return False
        with self._work:
            was_down, self._is_down = self._is_down, False
            self._retry_at, self._wait_s = None, _FIRST_WAIT_S
        if was_down:
            _LOGGER.warning("the decision log is back; %d records were dropped", self._n_dropped)
        return True

    def _write(self, store: LogStore) -> None:
        records = [waiting.record for waiting in self._in_flight]
        if not records:
            return
        try:
            store.write(records)
        except StoreError:
            raise
        # A record that cannot be stored must not hold up the others: each by itself.
        except Exception:  # noqa: BLE001
            n_lost = len(records) - sum(self._write_one(store, record) for record in records)
            _LOGGER.warning("%d records cannot be logged: %s", n_lost, self._last_error)
        else:
            self._settle(n_written=len(records))

    def _write_one(self, store: LogStore, record: ServedRequest) -> bool:
        try:
            store.write([record])
        except StoreError:
            raise
        except Exception as error:  # noqa: BLE001 - as above
            self._last_error = _one_line(error)
            self._settle(n_dropped=1)
            return False
        self._settle(n_written=1)
        return True

    def _write_feedback(self, store: LogStore) -> None:
        while True:
            with self._work:
                if not self._feedback or self._feedback[0].after >= self._oldest():
                    return
                job = self._feedback.popleft()
            if not job.done.set_running_or_notify_cancel():
                continue
            try:
                store.record_feedback(job.decision_id, outcome=job.outcome, score=job.score)
            except StoreError as error:
                job.done.set_exception(error)
                raise
            except Exception as error:  # noqa: BLE001 - it is the caller's, who waits for it
                job.done.set_exception(error)
            else:
                job.done.set_result(None)

    def _fail(self, error: Exception) -> None:
        """Note that the store is down, and when to try again."""
        if self._store is not None:
            # What is broken may not even be closed.
            with suppress(Exception):
                self._store.close()
            self._store = None
        with self._work:
            was_down, self._is_down = self._is_down, True
            self._last_error = _one_line(error)
            self._waiting.extendleft(reversed(self._in_flight))
            self._in_flight.clear()
            self._drop_oldest()
            self._retry_at = self._clock() + self._wait_s
            self._wait_s = min(2 * self._wait_s, _LONGEST_WAIT_S)
            self._settled.notify_all()
            self._fail_feedback(self._unavailable())
        if not was_down:
            _LOGGER.warning("the decision log is down: %s", self._last_error)

    def _settle(self, n_written: int = 0, n_dropped: int = 0) -> None:
        """Count the first records in flight as done."""
        with self._work:
            # `close` may have given up on them and counted them already.
            for _ in range(min(n_written + n_dropped, len(self._in_flight))):
                self._in_flight.popleft()
            self._n_written += n_written
            self._n_dropped += n_dropped
            self._settled.notify_all()

    def _drop_oldest(self) -> None:
        while self._waiting and len(self._waiting) + len(self._in_flight) > self._max_waiting:
            self._waiting.popleft()
            self._n_dropped += 1

    def _oldest(self) -> int:
        """Return the number of the oldest record that is not settled."""
        for records in (self._in_flight, self._waiting):
            if records:
                return records[0].number
        return self._n_put + 1

    def _fail_feedback(self, error: StoreError) -> None:
        while self._feedback:
            job = self._feedback.popleft()
            if job.done.set_running_or_notify_cancel():
                job.done.set_exception(error)

    def _unavailable(self) -> StoreError:
        return StoreError(
            f"the decision log cannot be written: {self._last_error}"
            if self._is_down
            else "the decision log is closed",
            hint="send the feedback again later",
            code="store-unavailable",
        )


def _one_line(error: Exception) -> str:
    """Return an error without what may be secret: only our own texts are known to be clean."""
    if isinstance(error, ThinkrouteError):
        return " ".join(str(error).split())
    return type(error).__name__
