"""Token ids on their way from the thread that generates them to the task that waits for them."""

import asyncio
from collections.abc import AsyncGenerator, Sequence

from .._backend import Delta
from .._messages import Completion
from ._pieces import PieceSplitter

__all__ = ["Outbox", "TokenFeed", "streamed"]


class TokenFeed:
    """Ids of one answer that have come and were not taken yet.

    Everything but `is_lost` belongs to the loop. A consumer that is slow gets more ids at once;
    none are lost, and there are never more than the request's `max_tokens`.

    Attributes:
        loop: The loop of the task that takes them.
        is_lost: Whether the loop was found closed, so that nobody will ever take any.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin an answer for a task of `loop`."""
        self.loop = loop
        self.is_lost = False
        self._ids: list[int] = []
        self._has_news = asyncio.Event()
        self._is_ended = False

    def put(self, token_ids: Sequence[int]) -> None:
        """Add ids, if there are any."""
        if token_ids:
            self._ids += token_ids
            self._has_news.set()

    def end(self) -> None:
        """Say that the answer has ended, well or not."""
        self._is_ended = True
        self._has_news.set()

    async def take(self) -> list[int]:
        """Return all ids since the last call, at least one; none once the answer has ended."""
        await self._has_news.wait()
        ids, self._ids = self._ids, []
        if not self._is_ended:
            self._has_news.clear()
        return ids


class Outbox:
    """Ids of many answers, gathered in one thread and sent with one call to each loop."""

    def __init__(self) -> None:
        """Begin empty."""
        self._waiting: dict[asyncio.AbstractEventLoop, list[tuple[TokenFeed, Sequence[int]]]] = {}

    def add(self, feed: TokenFeed, token_ids: Sequence[int]) -> bool:
        """Keep ids until `flush`; tell whether they are the first since the last one."""
        is_first = not self._waiting
        self._waiting.setdefault(feed.loop, []).append((feed, token_ids))
        return is_first

    def flush(self) -> None:
        """Send what was added; feeds of loops that are closed are marked as lost."""
        waiting, self._waiting = self._waiting, {}
        for loop, parcels in waiting.items():
            try:
                loop.call_soon_threadsafe(_put_all, parcels)
            except RuntimeError:  # The loop is closed.
                for feed, _ in parcels:
                    feed.is_lost = True


def _put_all(parcels: Sequence[tuple[TokenFeed, Sequence[int]]]) -> None:
    for feed, token_ids in parcels:
        feed.put(token_ids)


async def streamed(
    feed: TokenFeed,
    pieces: PieceSplitter,
    outcome: "asyncio.Future[Completion]",
    *,
    backend: str,
    model: str,
) -> AsyncGenerator[Delta | Completion]:
    """Yield what ids say as they come, last of all the completion they have become.

    Args:
        feed: Where the ids come in.
        pieces: Turns them into text.
        outcome: The completion, or the error; cancelled if the consumer leaves before.
        backend: Name of the backend, for errors.
        model: Name of the model, for errors.

    Raises:
        BackendError: The outcome is one, or the pieces are not those of the completion.
    """
    outcome.add_done_callback(lambda _: feed.end())
    try:
        while ids := await feed.take():
            delta = pieces.feed(ids)
            if delta.thinking or delta.text:
                yield delta
        completion = await outcome
        rest = pieces.rest(completion, backend=backend, model=model)
        if rest.thinking or rest.text:
            yield rest
        yield completion
    finally:
        if not outcome.cancel() and not outcome.cancelled():
            outcome.exception()  # Nobody else asks for it, and asyncio would complain.
