"""Rounds of load in which the targets take turns, and what is read from them."""

import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import NamedTuple

import numpy as np

from ._load import Order, Told
from ._processes import ServeError, busy_s, put_json
from ._targets import Target, World, decision_s
from ._upstream import Behaviour

__all__ = ["CONCURRENCY", "Figures", "Middle", "Plan", "Rounds", "Turn", "measure", "middle"]

LATENCY_S = 0.1
CONCURRENCY = 16
_MANY = 64
_PAUSE_S = 0.04
_N_LONG = 500
_ANSWER = Behaviour(n_pieces=32)
_AGO = Behaviour(latency_s=LATENCY_S, n_pieces=8)
_SOON = Behaviour(latency_s=0.01, n_pieces=8)


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured.

    Attributes:
        n_rounds: Rounds; in each one every target has its turn, the first one another each time.
        seconds: How long a turn lasts.
    """

    n_rounds: int = 9
    seconds: float = 4.0


class Middle(NamedTuple):
    """Median of rounds with its interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Turn:
    """A target's turn.

    Attributes:
        told: What the clients saw.
        cpu_s: Processor time of the target's process.
        decision_s: Mean time of a decision, 0 where there is none.
    """

    told: Told
    cpu_s: float
    decision_s: float

    @property
    def per_core(self) -> float:
        """Requests per second of processor time."""
        return len(self.told.latencies_s) / self.cpu_s

    @property
    def tokens_per_core(self) -> float:
        """Tokens per second of processor time."""
        return self.told.n_pieces / self.cpu_s

    @property
    def tokens_per_s(self) -> float:
        """Tokens per second."""
        return self.told.n_pieces / self.told.seconds

    def latency_ms(self, quantile: float) -> float:
        """Return a quantile of the time to the last byte."""
        return 1000 * float(np.quantile(self.told.latencies_s, quantile))

    def first_ms(self, quantile: float) -> float:
        """Return a quantile of the time to the first byte of the body."""
        return 1000 * float(np.quantile(self.told.first_s, quantile))


Rounds = dict[str, list[Turn]]


@dataclass(slots=True)
class Figures:
    """All turns, by what was measured and by target.

    Attributes:
        alone: One connection, an upstream that takes 10 ms: nobody queues behind anybody.
        waiting: 16 connections, an upstream that takes 100 ms.
        fast: 16 connections, an upstream that answers at once.
        crowded: The same with 64.
        streams: 16 connections, streams that begin after 100 ms.
        long: One connection, long streams as fast as they come.
        busy: The same with 16.
        others_share: Share of the machine's processors that other programs used meanwhile.
    """

    alone: Rounds = field(default_factory=Rounds)
    waiting: Rounds = field(default_factory=Rounds)
    fast: Rounds = field(default_factory=Rounds)
    crowded: Rounds = field(default_factory=Rounds)
    streams: Rounds = field(default_factory=Rounds)
    long: Rounds = field(default_factory=Rounds)
    busy: Rounds = field(default_factory=Rounds)
    others_share: float = 0.0


def measure(world: World, plan: Plan, say: Callable[[str], None]) -> Figures:
    """Measure everything.

    Args:
        world: What runs.
        plan: How much.
        say: Told how far it is.

    Raises:
        ServeError: A target gives wrong answers.
    """
    figures = Figures()
    started, busy, own = time.perf_counter(), busy_s(), _own_s(world)
    kinds: list[tuple[str, Rounds, Behaviour, int, bool, float]] = [
        ("one connection", figures.alone, _SOON, 1, False, 0.0),
        ("an upstream of 100 ms", figures.waiting, _AGO, CONCURRENCY, False, _PAUSE_S),
        ("requests per core", figures.fast, _ANSWER, CONCURRENCY, False, 0.0),
        ("requests per core, crowded", figures.crowded, _ANSWER, _MANY, False, 0.0),
        ("first tokens", figures.streams, _AGO, CONCURRENCY, True, _PAUSE_S),
        ("a long stream", figures.long, Behaviour(n_pieces=_N_LONG), 1, True, 0.0),
        ("long streams", figures.busy, Behaviour(n_pieces=_N_LONG), CONCURRENCY, True, 0.0),
    ]
    for target in world.targets:
        for is_streamed in (False, True):
            _turn(world, target, _ANSWER, 0.5, CONCURRENCY, is_streamed=is_streamed, pause_s=0.0)
    for name, rounds, behaviour, concurrency, is_streamed, pause_s in kinds:
        say(name)
        for number in range(plan.n_rounds):
            shift = number % len(world.targets)
            for target in (*world.targets[shift:], *world.targets[:shift]):
                turn = _turn(
                    world,
                    target,
                    behaviour,
                    plan.seconds,
                    concurrency,
                    is_streamed=is_streamed,
                    pause_s=pause_s,
                )
                rounds.setdefault(target.name, []).append(turn)
    passed_s = (time.perf_counter() - started) * (os.cpu_count() or 1)
    figures.others_share = max(busy_s() - busy - (_own_s(world) - own), 0.0) / passed_s
    return figures


def middle(values: Sequence[float], confidence: float = 0.95) -> Middle:
    """Return the median, and the narrowest pair of order statistics that covers it.

    Source: the sign test's interval; the coverage is at least `confidence` whatever the values'
    distribution, or as much as their number allows (five values: 94%).
    """
    ordered = sorted(values)
    n = len(ordered)
    inside = [math.comb(n, k) / 2**n for k in range(n + 1)]
    rank = 0
    while rank + 1 < n - rank - 1 and sum(inside[rank + 2 : n - rank - 1]) >= confidence:
        rank += 1
    return Middle(median(ordered), ordered[rank], ordered[n - 1 - rank])


def _turn(
    world: World,
    target: Target,
    behaviour: Behaviour,
    seconds: float,
    concurrency: int,
    *,
    is_streamed: bool,
    pause_s: float,
) -> Turn:
    put_json(f"{world.upstream}/behaviour", asdict(behaviour))
    order = Order(target.url, target.model, seconds, concurrency, is_streamed, pause_s)
    is_ours = target.name == "thinkroute"
    spent_s, n_decided = decision_s(target) if is_ours else (0.0, 0.0)
    cpu_s = target.process.cpu_s()
    told = Told(**world.load.ask(asdict(order)))
    cpu_s = target.process.cpu_s() - cpu_s
    if told.n_bad or not told.latencies_s:
        raise ServeError(f"{target.name}: {told.n_bad} answers are of no use: {told.problem}")
    mean_s = 0.0
    if is_ours:
        after_s, n_after = decision_s(target)
        mean_s = (after_s - spent_s) / (n_after - n_decided)
    return Turn(told, cpu_s, mean_s)


def _own_s(world: World) -> float:
    """Return the processor time that everything here has used, this process included."""
    processes = (world.load, *(target.process for target in world.targets))
    return sum(process.cpu_s() for process in processes) + time.process_time()
