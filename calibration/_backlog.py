"""Answers that a crash would still lose: no more of them than a run may lose."""

import asyncio
import contextlib

from ._store import RunStore

__all__ = ["Backlog"]


class Backlog:
    """Counts finished answers that are not on the disk yet; new requests wait for room.

    What a crash loses has been paid for. Together with the requests under way that is at most
    `n_concurrent` and a quarter of it again, and where graders are slow twice `n_concurrent` and
    a quarter. The quarter keeps the backend busy while the disk writes. A disk that is slower
    than the backend slows the run down instead of filling the memory.
    """

    def __init__(self, store: RunStore, n_concurrent: int) -> None:
        """Start empty.

        Args:
            store: Where the samples go.
            n_concurrent: Most requests under way at once.
        """
        self._store = store
        self._most_grading = n_concurrent
        self._most_unwritten = max(1, n_concurrent // 4)
        self._n_grading = self._n_unwritten = 0
        self._changed = asyncio.Event()

    def attach(self) -> None:
        """Let the store's writer tell the running event loop what it has written."""
        loop = asyncio.get_running_loop()

        def tell(n_samples: int) -> None:
            # The loop may have ended while the last samples were being written.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(self._written, n_samples)

        self._store.on_written = tell

    def grading(self, change: int) -> None:
        """Count an answer that is handed to a slow grader, or one that comes back with -1."""
        self._n_grading += change
        self._changed.set()

    def queued(self) -> None:
        """Count a sample that was handed to the store."""
        self._n_unwritten += 1

    async def room(self) -> None:
        """Wait until another answer may be asked for.

        Raises:
            StoreError: Nothing can be written any more.
        """
        while self._n_unwritten > self._most_unwritten or self._n_grading > self._most_grading:
            self._changed.clear()
            self._store.check()
            await self._changed.wait()

    def _written(self, n_samples: int) -> None:
        self._n_unwritten = max(0, self._n_unwritten - n_samples)
        self._changed.set()
