"""The order in which a run asks: fresh samples, and followers as soon as their trace has come."""

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from policies import Completion

from ._arm import Arm
from ._plan import Plan, Sample, SampleKeys
from ._replay import trace_leads
from ._store import RunStore

__all__ = ["Follower", "Work", "sort_work"]


@dataclass(slots=True)
class Follower:
    """A sample whose answer is told from a trace.

    Attributes:
        sample: The sample.
        lead_key: Key of the sample with the largest budget, whose trace it is.
        trace: The lead's answer, once it is there; `None` for one that an earlier run has kept,
            which stays in the store until it is needed.
    """

    sample: Sample
    lead_key: str
    trace: Completion | None = None


@dataclass(slots=True)
class Work:
    """What is to be asked.

    Attributes:
        fresh: Samples that wait for nothing.
        waiting: By the lead's key, the followers that wait for its trace.
        ready: Followers whose trace is there.
        n_running: Samples under way.
        changed: Set whenever one of them ends.
        idle: Workers that wait for followers.
    """

    fresh: Iterator[Sample]
    waiting: dict[str, list[Follower]] = field(default_factory=dict[str, list[Follower]])
    ready: deque[Follower] = field(default_factory=deque[Follower])
    n_running: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    idle: deque["asyncio.Future[None]"] = field(default_factory=deque["asyncio.Future[None]"])

    def end_one(self) -> None:
        """Count a sample as ended; wake those that wait for room, and at the end everybody."""
        self.n_running -= 1
        self.changed.set()
        self.changed = asyncio.Event()
        if not self.n_running:
            self._wake(len(self.idle))

    def release(self, followers: Iterable[Follower], trace: Completion) -> None:
        """Let followers be asked, now that their trace is there."""
        for follower in followers:
            follower.trace = trace
            self.ready.append(follower)
            self._wake(1)

    def _wake(self, n_idle: int) -> None:
        """Wake workers that found nothing to ask, no more of them than there is work for."""
        for _ in range(min(n_idle, len(self.idle))):
            future = self.idle.popleft()
            if not future.done():  # It is if its worker was cancelled.
                future.set_result(None)

    async def next(self) -> Sample | Follower | None:
        """Return what to ask next; waits while samples under way may bring followers."""
        while True:
            if self.ready:
                return self.ready.popleft()
            sample = next(self.fresh, None)
            if sample is not None or not self.n_running:
                return sample
            future = asyncio.get_running_loop().create_future()
            self.idle.append(future)
            await future


def sort_work(
    samples: list[Sample], plan: Plan, keys: SampleKeys, store: RunStore
) -> tuple[Work, list[Arm]]:
    """Tell samples to ask from those that a longer trace tells.

    Returns:
        The work, and the arms whose traces are used.
    """
    asked = {sample.key for sample in samples}
    leads = trace_leads(list({s.arm.name: s.arm for s in samples}.values()), plan.options)
    if len(leads) < len({s.arm.name for s in samples}):
        # An arm that has nothing left to ask leads too, if its traces were kept.
        leads = trace_leads(plan.arms, plan.options)
    kept = store.trace_keys() if leads else set[str]()
    work = Work(iter(()))
    fresh: list[Sample] = []
    for sample in samples:
        lead = leads.get(sample.arm.name)
        if lead is None:
            fresh.append(sample)
            continue
        follower = Follower(sample, keys.key_of(lead, sample.question, sample.repeat))
        if follower.lead_key in asked:
            work.waiting.setdefault(follower.lead_key, []).append(follower)
        elif follower.lead_key in kept:
            work.ready.append(follower)
        else:
            fresh.append(sample)
    work.fresh = iter(fresh)
    return work, list({arm.name: arm for arm in leads.values()}.values())
