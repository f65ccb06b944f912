"""Requests on their way through the worker, and what the worker tells of them at each token."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..._messages import Completion
from .._token_feed import Outbox, TokenFeed
from ._decoding import Row

__all__ = ["Job", "Telling"]

_OPENING_TOKENS = 4
"""The chat header's three tokens and the first of the user's own."""


@dataclass(slots=True)
class Job:
    """A request on its way through the worker.

    Attributes:
        row: What is decoded.
        started: When it was asked, as `time.perf_counter` counts.
        future: Takes the completion or the error.
        loop: The loop of the task that waits.
        feed: Takes the tokens as they come; `None` if only the completion is wanted.
    """

    row: Row
    started: float
    future: "asyncio.Future[Completion]"
    loop: asyncio.AbstractEventLoop
    feed: TokenFeed | None = None

    @property
    def is_abandoned(self) -> bool:
        """Whether nobody waits for it any more."""
        return self.future.done() or (self.feed is not None and self.feed.is_lost)

    def distance(self, other: "Job") -> tuple[int, bool, bool, int]:
        """Return how much the two are likely to differ in duration.

        A batch lasts as long as its longest row. Prompts that open with the same word usually
        come from one template, and within a template the length tells how much there is to do.
        """
        mine, its = self.row, other.row
        return (
            abs(mine.max_tokens - its.max_tokens),
            mine.needs_steps() != its.needs_steps(),
            mine.prompt[:_OPENING_TOKENS] != its.prompt[:_OPENING_TOKENS],
            abs(len(mine.prompt) - len(its.prompt)),
        )


class Telling:
    """Called after each token of a batch: sends tokens out, and ends rows nobody waits for."""

    def __init__(self, jobs: Sequence[Job], finish: Callable[[Sequence[Job]], None]) -> None:
        """Begin a batch.

        Args:
            jobs: Its jobs.
            finish: Hands the completions of jobs out. Those that are streamed need not wait for
                the longest row of the batch.
        """
        self._open = [(job, job.feed) for job in jobs]
        self._finish = finish
        self._outbox = Outbox()

    def __call__(self) -> None:
        """Look at what the last token changed."""
        ended: list[Job] = []
        for job, feed in self._open:
            row = job.row
            if job.is_abandoned:
                row.is_done = True
            elif feed is not None:
                if not row.stopped:  # The end of turn is no part of what was generated.
                    self._outbox.add(feed, row.generated[-1:])
                if row.is_done:
                    ended.append(job)
        self._outbox.flush()
        if ended:
            self._finish(ended)
        self._open = [pair for pair in self._open if not pair[0].row.is_done]
