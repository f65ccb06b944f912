"""The caps per caller hold whatever callers send; an own log of the calls is the second source."""

import threading
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies import InvalidInputError, NoAdmissibleArmError, UnknownNameError
from router._caps import CallerCaps, CapLimits, Reservation

CHEAP, DEAR = 0, 1
TOKENS = (10.0, 500.0)
DEAR_FIRST = (DEAR, CHEAP)


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class Call(NamedTuple):
    time_s: float
    is_dear: bool
    tokens: float


@dataclass
class Step:
    """One move of an adversary: wait, then call (and settle at once or later)."""

    caller: str
    wait_s: float
    order: tuple[int, int]
    used: float  # share of what was set aside that is really used
    is_late: bool = field(default=False)


STEPS = st.lists(
    st.builds(
        Step,
        st.sampled_from("abc"),
        st.sampled_from([0.0, 0.0, 0.5, 7.0, 100.0]),
        st.sampled_from([DEAR_FIRST, (CHEAP, DEAR)]),
        st.floats(0.0, 1.0),
        st.booleans(),
    ),
    max_size=80,
)
SHARES = st.one_of(st.floats(0.0, 1.0), st.sampled_from([0.0, 0.1, 1 / 3, 0.5, 0.9, 1.0]))


def play(caps: CallerCaps, clock: Clock, steps: list[Step]) -> dict[str, list[Call]]:
    """Return what each caller got, in order."""
    log: dict[str, list[Call]] = defaultdict(list)
    open_calls: list[tuple[Reservation, float]] = []
    for step in steps:
        clock.now_s += step.wait_s
        try:
            ticket = caps.reserve(step.caller, step.order, TOKENS)
        except NoAdmissibleArmError:
            continue
        used = step.used * ticket.tokens
        log[step.caller].append(Call(clock.now_s, ticket.is_dear, used))
        open_calls.append((ticket, used))
        if not step.is_late:
            for each, tokens in open_calls:
                caps.note(each, tokens)
            open_calls.clear()
    return log


@given(steps=STEPS, share=SHARES, burst=st.integers(1, 4))
def test_no_stretch_of_calls_exceeds_the_share(steps: list[Step], share: float, burst: int) -> None:
    clock = Clock()
    caps = CallerCaps(CapLimits(max_dear_share=share, burst=burst), clock=clock)
    for calls in play(caps, clock, steps).values():
        dear = [0]
        for call in calls:
            dear.append(dear[-1] + call.is_dear)
        for end in range(1, len(dear)):
            assert dear[end] <= share * end + 1e-9
            for start in range(end):
                assert dear[end] - dear[start] <= share * (end - start) + burst + 1e-9


@given(steps=STEPS, max_tokens=st.integers(1, 1500), window_s=st.floats(0.1, 1000))
def test_no_stretch_of_time_exceeds_the_tokens(
    steps: list[Step], max_tokens: int, window_s: float
) -> None:
    clock = Clock()
    caps = CallerCaps(CapLimits(max_tokens=max_tokens, window_s=window_s), clock=clock)
    for calls in play(caps, clock, steps).values():
        for start in range(len(calls)):
            used = 0.0
            for call in calls[start:]:
                used += call.tokens
                seconds = call.time_s - calls[start].time_s
                assert used <= max_tokens * (1 + seconds / window_s) * (1 + 1e-9)


@given(steps=STEPS, share=SHARES)
def test_being_forgotten_never_earns_a_dear_call(steps: list[Step], share: float) -> None:
    clock = Clock()
    caps = CallerCaps(CapLimits(max_dear_share=share), max_callers=1, clock=clock)
    for calls in play(caps, clock, steps).values():
        assert sum(call.is_dear for call in calls) <= share * len(calls) + 1e-9


@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 0.5, 1.0])
def test_a_caller_who_always_wants_the_dear_arm_gets_the_share_to_the_last_call(
    share: float,
) -> None:
    caps = CallerCaps(CapLimits(max_dear_share=share))
    got = [caps.reserve("a", DEAR_FIRST, TOKENS) for _ in range(1000)]
    assert sum(ticket.is_dear for ticket in got) == round(share * 1000)
    assert all(ticket.is_capped is not ticket.is_dear for ticket in got)
    assert caps.usage("a").n_dear == round(share * 1000)


def test_threads_together_get_no_more_than_one_caller_may() -> None:
    limits = CapLimits(max_dear_share=0.25, max_tokens=10**9)
    caps = CallerCaps(limits, clock=Clock())
    tickets: list[list[Reservation]] = [[] for _ in range(8)]

    def work(own: list[Reservation]) -> None:
        for _ in range(500):
            ticket = caps.reserve("a", DEAR_FIRST, TOKENS)
            own.append(ticket)
            caps.note(ticket, ticket.tokens)

    threads = [threading.Thread(target=work, args=(own,)) for own in tickets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    everything = [ticket for own in tickets for ticket in own]
    assert len(everything) == caps.usage("a").n_calls == 4000
    assert sum(ticket.is_dear for ticket in everything) == 1000
    spent = 10**9 - caps.usage("a").tokens_left
    assert spent == sum(ticket.tokens for ticket in everything)


def test_callers_do_not_pay_for_each_other() -> None:
    caps = CallerCaps(CapLimits(max_dear_share=0.5))
    for _ in range(100):
        caps.reserve("greedy", DEAR_FIRST, TOKENS)
    caps.reserve("modest", (CHEAP, DEAR), TOKENS)
    assert caps.reserve("modest", DEAR_FIRST, TOKENS).is_dear
    assert caps.usage("modest").n_calls == 2


def test_a_saved_up_burst_is_bounded() -> None:
    caps = CallerCaps(CapLimits(max_dear_share=0.5, burst=3))
    for _ in range(1000):
        caps.reserve("a", (CHEAP, DEAR), TOKENS)
    in_a_row = [caps.reserve("a", DEAR_FIRST, TOKENS).is_dear for _ in range(20)]
    assert in_a_row[:3] == [True] * 3
    assert sum(in_a_row) <= 3 + 10


def test_what_may_be_had_and_what_is_given_agree() -> None:
    caps = CallerCaps(CapLimits(max_dear_share=0.4))
    for _ in range(50):
        mask = caps.admissible("a", TOKENS)
        assert mask[CHEAP]
        assert caps.reserve("a", DEAR_FIRST, TOKENS).is_dear is mask[DEAR]


def test_spent_tokens_come_back_with_time_and_the_error_says_when() -> None:
    clock = Clock()
    caps = CallerCaps(CapLimits(max_tokens=600, window_s=60), clock=clock)
    caps.note(caps.reserve("a", DEAR_FIRST, TOKENS), 500)
    second = caps.reserve("a", DEAR_FIRST, TOKENS)
    assert (second.arm, second.is_capped) == (CHEAP, True)
    caps.note(second, 100)  # ten were expected: the rest uses up what was left
    with pytest.raises(NoAdmissibleArmError, match="try again in 1 s") as caught:
        caps.reserve("a", DEAR_FIRST, TOKENS)
    assert caught.value.code == "caller-cap"
    clock.now_s += 1.0
    assert caps.reserve("a", DEAR_FIRST, TOKENS).arm == CHEAP
    clock.now_s += 1000.0
    assert caps.usage("a").tokens_left == 590  # the open call's ten stay set aside


def test_a_call_that_never_ran_costs_no_tokens() -> None:
    caps = CallerCaps(CapLimits(max_tokens=600))
    caps.note(caps.reserve("a", DEAR_FIRST, TOKENS), 0)
    assert caps.usage("a").tokens_left == 600


def test_a_clock_that_goes_back_gives_nothing() -> None:
    clock = Clock()
    clock.now_s = 100.0
    caps = CallerCaps(CapLimits(max_tokens=500, window_s=10), clock=clock)
    caps.note(caps.reserve("a", DEAR_FIRST, TOKENS), 500)
    clock.now_s = 0.0
    assert caps.usage("a").tokens_left == 0
    clock.now_s = 100.0
    assert caps.usage("a").tokens_left == 0


def test_memory_stays_bounded_over_a_million_names() -> None:
    caps = CallerCaps(CapLimits(), max_callers=100)
    for index in range(20_000):
        caps.reserve(f"caller {index}", (CHEAP, DEAR), TOKENS)
    assert len(caps._accounts) == 100
    assert caps.usage("caller 0").n_calls == 0
    assert caps.usage("caller 19999").n_calls == 1


def test_dear_is_told_by_expected_tokens_or_by_name() -> None:
    by_ratio = CallerCaps(CapLimits(dear_ratio=4.0))
    assert by_ratio.dear([10, 40, 41, 500]) == [False, False, True, True]
    assert by_ratio.dear([7]) == [False]
    assert by_ratio.dear([0, 3, 5]) == [False, False, True]
    by_name = CallerCaps(CapLimits(dear_arms=frozenset({"big:direct"})))
    assert by_name.dear([10, 20], ["big:direct", "small:direct"]) == [True, False]
    with pytest.raises(UnknownNameError, match="big:direct"):
        by_name.dear([10], ["big:directly"])


def test_only_dear_arms_and_no_credit_is_an_error_with_a_way_out() -> None:
    caps = CallerCaps(CapLimits(max_dear_share=0.1, dear_arms=frozenset({"m:direct"})))
    with pytest.raises(NoAdmissibleArmError, match="dear_arms"):
        caps.reserve("a", (0,), [5], ["m:direct"])
    assert caps.usage("a").n_calls == 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_dear_share": 1.1},
        {"max_dear_share": float("nan")},
        {"burst": 0},
        {"dear_ratio": 0.5},
        {"max_tokens": 0},
        {"window_s": 0.0},
    ],
)
def test_limits_that_make_no_sense_are_refused_by_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match=next(iter(wrong))):
        CapLimits(**wrong)


@pytest.mark.parametrize("tokens", [[], [float("nan")], [-1.0], [float("inf")]])
def test_token_counts_that_make_no_sense_are_refused(tokens: list[float]) -> None:
    caps = CallerCaps(CapLimits())
    with pytest.raises(InvalidInputError, match="tokens"):
        caps.admissible("a", tokens)


def test_callers_and_settlements_are_checked() -> None:
    caps = CallerCaps(CapLimits())
    with pytest.raises(InvalidInputError, match="bytes"):
        caps.admissible(b"a", TOKENS)  # pyright: ignore[reportArgumentType] - the point
    with pytest.raises(InvalidInputError, match="used tokens"):
        caps.note(caps.reserve("a", DEAR_FIRST, TOKENS), -1.0)
    with pytest.raises(InvalidInputError, match="max_callers"):
        CallerCaps(CapLimits(), max_callers=0)
