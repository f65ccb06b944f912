"""Adaptive concurrency: fewer requests at once while a server refuses, never a storm."""

import asyncio
import threading
import time
from typing import Any

import pytest

from policies import BackendRateLimitError, GenerationRequest, user_message
from policies.backends._pace import Pace
from tests.policies.chat_server import Reply, Server, chat
from tests.policies.conftest import Connect


class Limited:
    """A server that works on a few requests at once and refuses the others."""

    def __init__(self, server: Server, n_at_once: int, *, work_s: float, status: int = 429) -> None:
        self.n_at_once = n_at_once
        self.work_s = work_s
        self.status = status
        self.n_working = self.n_refused = self.n_served = 0
        self.attempts: dict[str, int] = {}
        self.lock = threading.Lock()
        server.respond = self.respond

    def respond(self, path: str, body: Any) -> Reply:
        # Called under the server's own lock; the work is done outside of it.
        question = body["messages"][0]["content"]
        self.attempts[question] = self.attempts.get(question, 0) + 1
        if self.n_working >= self.n_at_once:
            self.n_refused += 1
            return Reply({}, status=self.status)
        with self.lock:
            self.n_working += 1
        threading.Timer(self.work_s, self.done).start()
        return Reply(chat(), delay_s=self.work_s)

    def done(self) -> None:
        with self.lock:
            self.n_working -= 1
            self.n_served += 1


@pytest.mark.parametrize(("status", "n_at_once"), [(429, 4), (503, 8)])
async def test_a_server_that_takes_few_at_once_is_neither_stormed_nor_left_idle(
    server: Server, connected: Connect, status: int, n_at_once: int
) -> None:
    n_requests, work_s = 40, 0.2
    limited = Limited(server, n_at_once, work_s=work_s, status=status)
    backend = connected(max_retries=6, max_concurrency=32)
    half_s = 0.0
    started = time.perf_counter()
    tasks = [asyncio.create_task(backend.generate(question(n))) for n in range(n_requests)]
    for n_done, task in enumerate(asyncio.as_completed(tasks), 1):
        assert (await task).text == "Answer: 6"
        if n_done == n_requests // 2:
            half_s = time.perf_counter() - started
    assert max(limited.attempts.values()) <= 7
    # The first wave finds the limit; after it few are refused.
    assert limited.n_refused <= 32 + n_requests
    share = n_requests / 2 * work_s / n_at_once / half_s
    assert share >= 0.25, f"{share:.0%} of what the server could have done"


async def test_attempts_stay_as_configured_under_refusals(
    server: Server, connected: Connect
) -> None:
    server.replies = [Reply({}, status=429)]
    backend = connected(max_retries=2, max_concurrency=8)
    errors = await asyncio.gather(
        *(backend.generate(question(n)) for n in range(8)), return_exceptions=True
    )
    assert all(isinstance(error, BackendRateLimitError) for error in errors)
    assert len(server.requests) == 8 * 3


async def test_a_pause_that_the_server_asks_for_holds_for_everybody(
    server: Server, connected: Connect
) -> None:
    times: list[float] = []

    def respond(path: str, body: Any) -> Reply:
        times.append(time.perf_counter())
        if len(times) == 1:
            return Reply({}, status=429, headers={"retry-after": "0.7"})
        return Reply(chat())

    server.respond = respond
    backend = connected(max_retries=1, max_concurrency=4)
    first = asyncio.create_task(backend.generate(question(0)))
    await asyncio.sleep(0.3)
    assert len(times) == 1
    await asyncio.gather(*(backend.generate(question(n)) for n in range(1, 6)))
    await first
    assert len(times) == 7
    assert min(times[1:]) - times[0] >= 0.69


def question(number: int) -> GenerationRequest:
    return GenerationRequest(user_message(f"question {number}"), max_tokens=9)


# The rule itself


async def test_requests_sent_before_a_cut_do_not_cut_again() -> None:
    pace = Pace(16)
    sent_at: list[float] = []
    for _ in range(3):
        async with pace.slot() as at:
            sent_at.append(at)
    await asyncio.sleep(0.01)
    for at in sent_at:
        pace.refused(at, None)
    assert pace.limit == 8
    async with pace.slot() as at:
        pace.refused(at, None)
    assert pace.limit == 4


async def test_the_limit_never_falls_below_one_and_never_rises_above_the_most() -> None:
    pace = Pace(3)
    for _ in range(5):
        async with pace.slot() as at:
            pace.refused(at, None)
        await asyncio.sleep(0.001)
    assert pace.limit == 1
    for _ in range(20):
        pace.succeeded()
    assert pace.limit == 3


async def test_a_window_of_successes_adds_one() -> None:
    pace = Pace(16)
    async with pace.slot() as at:
        pace.refused(at, None)
    limits: list[int] = []
    for _ in range(8 + 9):
        pace.succeeded()
        limits.append(pace.limit)
    assert limits == [8] * 7 + [9] * 9 + [10]


async def test_slots_are_given_in_order_and_a_cancelled_waiter_loses_none() -> None:
    pace = Pace(1)
    order: list[int] = []

    async def use(number: int) -> None:
        async with pace.slot():
            order.append(number)
            await asyncio.sleep(0.01)

    tasks = [asyncio.create_task(use(number)) for number in range(5)]
    await asyncio.sleep(0.002)
    tasks[2].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert order == [0, 1, 3, 4]
    async with asyncio.timeout(1), pace.slot():
        pass


async def test_a_waiter_that_is_cancelled_as_it_gets_its_slot_gives_it_back() -> None:
    pace = Pace(1)
    release = asyncio.Event()

    async def hold() -> None:
        async with pace.slot():
            await release.wait()

    holder = asyncio.create_task(hold())
    await asyncio.sleep(0)
    waiter = asyncio.create_task(hold())
    await asyncio.sleep(0)
    release.set()
    await holder
    waiter.cancel()
    await asyncio.gather(waiter, return_exceptions=True)
    async with asyncio.timeout(1), pace.slot():
        pass
