"""The circuit breaker and the retry budget, moved by a clock of the tests."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies import InvalidInputError
from router.server.upstreams import BreakerSettings, RetrySettings
from router.server.upstreams._breaker import Breaker
from router.server.upstreams._budget import RetryBudget


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return new_breaker(clock)


def new_breaker(clock: Clock, **changes: float) -> Breaker:
    settings = BreakerSettings(**{"jitter": 0.0, **changes})  # pyright: ignore[reportArgumentType] - counts and seconds mixed
    return Breaker(settings, clock, random.Random(0))


def fail(breaker: Breaker, n: int = 1) -> None:
    for _ in range(n):
        breaker.failed(breaker.begin(), "it broke")


def succeed(breaker: Breaker, n: int = 1) -> None:
    for _ in range(n):
        breaker.succeeded(breaker.begin())


def test_five_failures_in_a_row_open_and_four_do_not(breaker: Breaker) -> None:
    fail(breaker, 4)
    succeed(breaker)
    fail(breaker, 4)
    assert breaker.allows
    fail(breaker)
    assert not breaker.allows
    assert (breaker.state, breaker.reason, breaker.wait_s) == ("open", "it broke", 5.0)


def test_more_than_half_of_the_recent_outcomes_open(breaker: Breaker) -> None:
    for _ in range(4):
        succeed(breaker)
        fail(breaker)
    succeed(breaker)
    fail(breaker)  # 5 of 10: not above half.
    assert breaker.state == "closed"
    fail(breaker)  # 6 of 11.
    assert breaker.state == "open"


def test_few_outcomes_say_nothing(breaker: Breaker) -> None:
    succeed(breaker)
    fail(breaker, 4)
    succeed(breaker)
    fail(breaker, 3)  # 7 of 9, never 5 in a row.
    assert breaker.state == "closed"
    assert breaker.n_recent_failures == 7


def test_outcomes_are_forgotten_after_30_s(breaker: Breaker, clock: Clock) -> None:
    for _ in range(3):
        fail(breaker, 2)
        succeed(breaker)
    clock.now_s += 30.1
    assert breaker.n_recent_failures == 0
    fail(breaker, 4)
    assert breaker.state == "closed"


def test_only_the_last_20_outcomes_count(breaker: Breaker) -> None:
    succeed(breaker, 100)
    for _ in range(5):
        fail(breaker, 2)
        succeed(breaker)
    assert breaker.state == "closed"  # 10 of 20.
    fail(breaker)
    assert breaker.state == "open"


def test_half_open_lets_exactly_one_through(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 5)
    clock.now_s += 4.9
    assert not breaker.allows
    clock.now_s += 0.1
    assert breaker.state == "half-open"
    assert breaker.allows
    trial = breaker.begin()
    assert not breaker.allows
    breaker.abandoned(trial)  # Its caller left: the next one is the trial.
    assert breaker.allows
    trial = breaker.begin()
    breaker.responded(trial)
    assert (breaker.state, breaker.reason) == ("closed", "")


def test_each_failed_trial_doubles_the_time_up_to_a_minute(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 5)
    waits: list[float] = []
    for _ in range(6):
        waits.append(breaker.wait_s)
        clock.now_s += breaker.wait_s
        fail(breaker)
    assert waits == [5.0, 10.0, 20.0, 40.0, 60.0, 60.0]


def test_a_server_that_begins_answers_and_breaks_off_keeps_its_long_times(
    breaker: Breaker, clock: Clock
) -> None:
    fail(breaker, 5)
    clock.now_s += breaker.wait_s
    permit = breaker.responded(breaker.begin())
    assert breaker.state == "closed"
    breaker.failed(permit, "cut")
    fail(breaker, 4)
    assert breaker.wait_s == 10.0
    clock.now_s += breaker.wait_s
    succeed(breaker)
    fail(breaker, 5)
    assert breaker.wait_s == 5.0


def test_what_was_sent_before_a_change_says_nothing_after_it(
    breaker: Breaker, clock: Clock
) -> None:
    old = [breaker.begin() for _ in range(8)]
    for permit in old[:5]:
        breaker.failed(permit, "down")
    breaker.succeeded(old[5])
    assert breaker.state == "open"
    clock.now_s += breaker.wait_s
    trial = breaker.begin()
    breaker.succeeded(old[6])
    breaker.failed(old[7], "late")
    assert breaker.state == "half-open"
    assert not breaker.allows
    breaker.succeeded(trial)
    assert breaker.state == "closed"


def test_a_check_that_passes_brings_the_trial_forward_but_not_twice(
    breaker: Breaker, clock: Clock
) -> None:
    fail(breaker, 5)
    breaker.check_passed()
    assert breaker.state == "half-open"
    fail(breaker)
    assert breaker.wait_s == 10.0
    # The check sees less than requests do.
    breaker.check_passed()
    assert breaker.state == "open"
    # A check that failed meanwhile did see something.
    breaker.check_failed("down")
    breaker.check_passed()
    assert breaker.state == "half-open"


def test_failing_checks_open_and_keep_open(breaker: Breaker, clock: Clock) -> None:
    breaker.check_failed("no answer")
    assert (breaker.state, breaker.wait_s) == ("open", 5.0)
    clock.now_s += 5.0
    breaker.check_failed("no answer")
    assert breaker.wait_s == 10.0
    clock.now_s += 10.0
    breaker.begin()
    breaker.check_failed("no answer")  # A trial is under way: it decides.
    assert breaker.state == "half-open"


def test_jitter_only_adds_and_spreads(clock: Clock) -> None:
    waits: set[float] = set()
    for seed in range(50):
        breaker = Breaker(BreakerSettings(jitter=0.2), clock, random.Random(seed))
        fail(breaker, 5)
        waits.add(breaker.wait_s)
    assert len(waits) > 40
    assert min(waits) >= 5.0
    assert max(waits) <= 6.0


MOVES = st.lists(
    st.tuples(
        st.sampled_from(["begin", "ok", "fail", "drop", "respond", "check+", "check-"]),
        st.integers(0, 5),
        st.sampled_from([0.0, 0.0, 0.1, 5.0, 31.0]),
    ),
    max_size=200,
)


@given(moves=MOVES)
def test_whatever_happens_at_most_one_trial_is_under_way_and_nothing_passes_while_open(
    moves: list[tuple[str, int, float]],
) -> None:
    clock = Clock()
    breaker = new_breaker(clock)
    permits: list[int] = []
    trials: list[int] = []
    for move, place, wait_s in moves:
        clock.now_s += wait_s
        state = breaker.state
        if move == "begin" and breaker.allows:
            assert state != "open"
            permits.append(breaker.begin())
            if state == "half-open":
                trials.append(permits[-1])
        elif move == "check+":
            breaker.check_passed()
        elif move == "check-":
            breaker.check_failed("ill")
        elif permits and move != "begin":
            permit = permits.pop(place % len(permits))
            if move == "respond":
                permits.append(breaker.responded(permit))
            elif move == "ok":
                breaker.succeeded(permit)
            elif move == "fail":
                breaker.failed(permit, "down")
            else:
                breaker.abandoned(permit)
                trials = [trial for trial in trials if trial != permit]
        assert 0.0 <= breaker.wait_s <= 60.0
        assert (breaker.state == "closed") == (not breaker.reason)
        assert len(trials) == len(set(trials)), "two trials in one half-open state"


@given(
    steps=st.lists(st.tuples(st.booleans(), st.sampled_from([0.0, 0.01, 0.3, 4.0])), max_size=300),
    share=st.sampled_from([0.0, 0.2, 1.0]),
    n_free=st.integers(0, 3),
)
def test_retries_never_exceed_their_share_of_any_window(
    steps: list[tuple[bool, float]], share: float, n_free: int
) -> None:
    clock = Clock()
    budget = RetryBudget(RetrySettings(budget_share=share, n_free=n_free), clock)
    log: list[tuple[float, bool]] = []
    for is_retry, wait_s in steps:
        clock.now_s += wait_s
        if not is_retry:
            budget.note_request()
            log.append((clock.now_s, False))
        elif budget.spend():
            log.append((clock.now_s, True))
            # The second source: a log of all that was counted. A window of 9 s lies within the
            # 9 to 10 s that are counted, one of 10 s holds them.
            retries = sum(one for at, one in log if at > clock.now_s - 9.0)
            requests = sum(not one for at, one in log if at >= clock.now_s - 10.0)
            assert retries <= n_free + share * requests + 1e-9


def test_the_budget_allows_a_fifth_and_recovers(clock: Clock) -> None:
    budget = RetryBudget(RetrySettings(), clock)
    for _ in range(100):
        budget.note_request()
    assert sum(budget.spend() for _ in range(100)) == 23
    clock.now_s += 10.0
    assert sum(budget.spend() for _ in range(100)) == 3


@pytest.mark.parametrize(
    "changes",
    [
        {"n_failures": 0},
        {"failure_share": 0.0},
        {"failure_share": 1.1},
        {"n_least": 21},
        {"open_s": 0.0},
        {"recent_s": float("nan")},
        {"check_every_s": -1.0},
    ],
)
def test_breaker_settings_that_make_no_sense_are_refused(changes: dict[str, float]) -> None:
    name, value = next(iter(changes.items()))
    with pytest.raises(InvalidInputError, match=f"{name} is {value}"):
        BreakerSettings(**changes)  # pyright: ignore[reportArgumentType] - counts and seconds mixed


@pytest.mark.parametrize("name", ["max_retries", "give_up_s", "budget_share", "n_free"])
def test_retry_settings_that_make_no_sense_are_refused(name: str) -> None:
    with pytest.raises(InvalidInputError, match=f"{name} is -1"):
        RetrySettings(**{name: -1})
