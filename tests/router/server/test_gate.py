"""Back-pressure: nobody is lost, nobody overtakes, and too many are told so."""

import asyncio

import pytest

from policies import InvalidInputError
from router.server._gate import Gate, GateLimits
from router.server._problems import ProblemError


async def test_requests_enter_in_the_order_in_which_they_came() -> None:
    gate = Gate(GateLimits(max_in_flight=1, max_waiting=5))
    await gate.enter()
    order: list[int] = []

    async def one(number: int) -> None:
        await gate.enter()
        order.append(number)
        gate.leave()

    tasks = [asyncio.create_task(one(number)) for number in range(5)]
    await asyncio.sleep(0)
    assert (gate.n_in_flight, gate.n_waiting) == (1, 5)
    gate.leave()
    await asyncio.gather(*tasks)
    assert order == [0, 1, 2, 3, 4]
    assert (gate.n_in_flight, gate.n_waiting) == (0, 0)


async def test_one_too_many_is_refused_at_once_and_told_when_to_come_again() -> None:
    gate = Gate(GateLimits(max_in_flight=1, max_waiting=0))
    await gate.enter()
    with pytest.raises(ProblemError) as raised:
        await gate.enter()
    assert raised.value.status == 429
    assert raised.value.headers()["retry-after"] == "1"


async def test_a_wait_that_is_too_long_ends() -> None:
    gate = Gate(GateLimits(max_in_flight=1, max_waiting=1, wait_s=0.01))
    await gate.enter()
    with pytest.raises(ProblemError) as raised:
        await gate.enter()
    assert raised.value.status == 503
    gate.leave()
    assert (gate.n_in_flight, gate.n_waiting) == (0, 0)


async def test_places_of_clients_that_left_go_to_others() -> None:
    gate = Gate(GateLimits(max_in_flight=2, max_waiting=50))
    for _ in range(2):
        await gate.enter()
    waiting = [asyncio.create_task(gate.enter()) for _ in range(20)]
    await asyncio.sleep(0)
    for task in waiting[::2]:
        task.cancel()
    gate.leave()
    waiting[1].cancel()  # Its turn has just come.
    await asyncio.sleep(0)
    for _ in range(30):
        if gate.n_in_flight:
            gate.leave()
        await asyncio.sleep(0)
    done = await asyncio.gather(*waiting, return_exceptions=True)
    assert sum(one is None for one in done) == 9
    assert (gate.n_in_flight, gate.n_waiting) == (0, 0)


@pytest.mark.parametrize("limits", [(0, 1, 1.0), (1, -1, 1.0), (1, 1, float("nan"))])
def test_limits_under_which_nobody_is_served_are_refused(limits: tuple[int, int, float]) -> None:
    with pytest.raises(InvalidInputError, match="serve nobody"):
        GateLimits(*limits)
