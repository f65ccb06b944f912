"""Decisions made together are those made alone."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies import Mode, NoAdmissibleArmError
from router import Conditions, Objective, Router
from router.server._deciding import Deciding

TEXTS = st.sampled_from(
    ["Compute, left to right: 1+2*3-4*5+6", "Who is the boss of Ada?", "", "Compute 1+1"]
) | st.text(max_size=30)
CONDITIONS = st.sampled_from(
    [
        Conditions(),
        Conditions(objective=Objective.trade(0.0)),
        Conditions(among=frozenset({"toy:direct", "toy:reasoning@64"})),
        Conditions(cached=("toy", Mode.REASONING)),
        Conditions(task="math-oe"),
    ]
)
ASKED = st.lists(st.tuples(TEXTS, CONDITIONS, st.integers(0, 5000)), min_size=1, max_size=12)


@settings(max_examples=40)
@given(asked=ASKED)
def test_each_gets_the_decision_it_would_get_alone(
    asked: list[tuple[str, Conditions, int]], router: Router
) -> None:
    from dataclasses import replace

    each = [(text, replace(wish, more_bytes=more)) for text, wish, more in asked]

    async def run() -> None:
        deciding = Deciding(router)
        together = await asyncio.gather(*(deciding.admit(*one) for one in each))
        for one, admission in zip(each, together, strict=True):
            alone = (await router.admit(*one)).decision
            own = admission.decision
            assert own.arm == alone.arm
            assert own.reasons == alone.reasons
            assert [c.cost for c in own.candidates] == pytest.approx(
                [c.cost for c in alone.candidates]
            )

    asyncio.run(run())


async def test_a_crowd_is_decided_as_one_by_one(router: Router) -> None:
    deciding = Deciding(router)
    texts = [f"Compute, left to right: {i % 10}+{i % 7}*{i % 5}" for i in range(150)]
    wishes = [Conditions(more_bytes=7 * i) for i in range(150)]
    together = await asyncio.gather(*map(deciding.admit, texts, wishes))
    for text, wish, admission in zip(texts, wishes, together, strict=True):
        alone = (await router.admit(text, wish)).decision
        assert admission.decision.arm == alone.arm
        costs = [one.cost for one in admission.decision.candidates]
        assert costs == pytest.approx([one.cost for one in alone.candidates])


async def test_one_that_cannot_be_decided_fails_alone(router: Router) -> None:
    deciding = Deciding(router)
    strict = Conditions(objective=Objective.at_least(0.93, is_strict=True))
    texts = ["Who is the boss of Ada?", "Compute, left to right: 1+2*3-4*5+6*7-8*9"] * 3
    alone = [await _outcome(router.admit(text, strict)) for text in texts]
    together = await asyncio.gather(*(_outcome(deciding.admit(text, strict)) for text in texts))
    assert alone == together
    assert len(set(together)) == 2


async def _outcome(admission: object) -> str:
    try:
        return (await admission).decision.arm.name  # type: ignore[misc]
    except NoAdmissibleArmError as error:
        return error.code


async def test_a_request_that_is_cancelled_holds_up_no_other(router: Router) -> None:
    deciding = Deciding(router)
    tasks = [asyncio.ensure_future(deciding.admit("Hi", Conditions())) for _ in range(3)]
    await asyncio.sleep(0)
    tasks[1].cancel()
    done = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(done[1], asyncio.CancelledError)
    assert all(not isinstance(one, BaseException) for one in (done[0], done[2]))
