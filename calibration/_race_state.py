"""What a race counts and claims, and how it reports them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from types import NoneType
from typing import Any, Literal, NamedTuple, TypeVar

from .statistics import (
    Interval,
    anytime_mean_interval,
    anytime_paired_test,
    log_bets_against,
)

__all__ = [
    "ArmResult",
    "PairResult",
    "PairTally",
    "RaceOutcome",
    "RaceResult",
    "Relation",
    "StopReason",
    "Tally",
    "read_count",
    "read_fields",
]

StopReason = Literal["precise", "dominated", "settled"]
Relation = Literal["first-better", "second-better", "tie", "undecided"]

_Record = TypeVar("_Record", "Tally", "PairTally")


class RaceOutcome(NamedTuple):
    """One arm on one question.

    Attributes:
        is_correct: Whether the answer was right; a cut one was not.
        cost: What it took, in any one unit: tokens, FLOPs or money.
    """

    is_correct: bool
    cost: float


@dataclass(frozen=True, slots=True)
class ArmResult:
    """What the race knows of one arm.

    Attributes:
        arm: The arm's name.
        n: Questions it answered, until it stopped.
        accuracy: Its accuracy with an anytime interval, of the race's confidence for this arm
            alone.
        mean_cost: Mean cost of the n answers; NaN without any.
        stop_reason: Why it stopped, `None` while it is active.
        stopped_at: Questions the race had asked when it stopped, `None` while it is active.
        dominated_by: The arm that dominates it, where that is why it stopped.
        rank_low: Best rank the claims leave it: 1 plus the arms claimed to be better.
        rank_high: Worst one: the number of arms less those claimed to be worse.
    """

    arm: str
    n: int
    accuracy: Interval
    mean_cost: float
    stop_reason: StopReason | None
    stopped_at: int | None
    dominated_by: str | None
    rank_low: int
    rank_high: int


@dataclass(frozen=True, slots=True)
class PairResult:
    """What the race knows of two arms on the questions that both answered.

    Attributes:
        first: One arm.
        second: The other.
        n: Questions that both answered.
        n_first_only: Of those, right by the first only.
        n_second_only: Right by the second only.
        relation: What is claimed about their accuracy.
        decided_at: Questions the race had asked when that was first claimed, `None` if undecided.
        is_derived: Whether the claim follows from two others: better than one that is better.
        difference: First minus second accuracy, with the interval that all claims rest on: those
            of all pairs hold at once.
        cheaper: The arm claimed to be cheaper on average, `None` if undecided.
    """

    first: str
    second: str
    n: int
    n_first_only: int
    n_second_only: int
    relation: Relation
    decided_at: int | None
    is_derived: bool
    difference: Interval
    cheaper: str | None


@dataclass(frozen=True, slots=True)
class RaceResult:
    """Where a race stands.

    Attributes:
        arms: One per arm, in the race's order.
        pairs: One per pair of arms, in the race's order.
        n_questions: Questions fed.
        n_outcomes: Outcomes used: what the race cost.
        confidence: Probability that all claims of `pairs` and all dominations are right.
    """

    arms: tuple[ArmResult, ...]
    pairs: tuple[PairResult, ...]
    n_questions: int
    n_outcomes: int
    confidence: float

    @property
    def ranking(self) -> frozenset[tuple[str, str]]:
        """The order that is claimed: every (better, worse) pair of arms.

        It is a partial order by accuracy. Two arms in no pair are tied or undecided, which is not
        the same as equal; `pairs` tells which.
        """
        return frozenset(
            (pair.first, pair.second)
            if pair.relation == "first-better"
            else (pair.second, pair.first)
            for pair in self.pairs
            if pair.relation in ("first-better", "second-better")
        )

    @property
    def is_settled(self) -> bool:
        """Whether something is claimed about every pair."""
        return all(pair.relation != "undecided" for pair in self.pairs)


@dataclass(slots=True)
class Tally:
    """Counts of one arm; see `ArmResult`."""

    n: int = 0
    n_correct: int = 0
    cost: float = 0.0
    reason: StopReason | None = None
    stopped_at: int | None = None
    dominated_by: str | None = None


@dataclass(slots=True)
class PairTally:
    """Counts and claims of two arms, on the questions that both answered.

    Attributes:
        n: Such questions.
        n_first: Right by the first only.
        n_second: Right by the second only.
        cost_mean: Mean cost difference, first minus second.
        cost_squares: Sum of its squared deviations.
        relation: What is claimed of their accuracy; kept once claimed.
        decided_at: Questions the race had asked by then.
        is_derived: Whether it follows from other claims.
        first_is_tolerable: Whether the first is claimed to be at most the tolerance worse.
        second_is_tolerable: Whether the second is.
        cheaper: 0 if the first is claimed to be cheaper, 1 if the second is.
    """

    n: int = 0
    n_first: int = 0
    n_second: int = 0
    cost_mean: float = 0.0
    cost_squares: float = 0.0
    relation: Relation = "undecided"
    decided_at: int | None = None
    is_derived: bool = False
    first_is_tolerable: bool = False
    second_is_tolerable: bool = False
    cheaper: int | None = None

    @property
    def counts(self) -> tuple[int, int, int]:
        """Questions right by the first only, by the second only, and by both or neither."""
        return self.n_first, self.n_second, self.n - self.n_first - self.n_second

    def add(self, both: Sequence[tuple[RaceOutcome, RaceOutcome]]) -> None:
        """Count a block of questions.

        The sums of squares are merged as in Chan, Golub and LeVeque, American Statistician 37
        (1983), 242-247, since costs such as FLOPs are large against their differences.
        """
        differences = [first.cost - second.cost for first, second in both]
        mean = math.fsum(differences) / len(both)
        shift, total = mean - self.cost_mean, self.n + len(both)
        self.cost_squares += math.fsum((x - mean) ** 2 for x in differences)
        self.cost_squares += shift * shift * self.n * len(both) / total
        self.cost_mean += shift * len(both) / total
        self.n = total
        self.n_first += sum(first.is_correct and not second.is_correct for first, second in both)
        self.n_second += sum(second.is_correct and not first.is_correct for first, second in both)

    def find_relation(self, threshold: float, tie_margin: float | None) -> Relation:
        """Return the claim that bets with a log wealth of `threshold` support."""
        n_first, n_second, n_agree = self.counts
        for relation in ("first-better", "second-better"):
            test = anytime_paired_test(n_first, n_second, alternative=relation)
            if test.log_e_value >= threshold:
                return relation
        if tie_margin is not None and self.n:
            below = log_bets_against(-tie_margin, n_first, n_second, n_agree)
            if below >= threshold and (
                log_bets_against(-tie_margin, n_second, n_first, n_agree) >= threshold
            ):
                return "tie"
        return "undecided"

    def find_tolerable(self, threshold: float, tolerance: float) -> None:
        """Claim which arm is at most `tolerance` worse than the other, as far as bets support."""
        first, second, agree = self.counts
        if not self.first_is_tolerable:
            self.first_is_tolerable = (
                log_bets_against(-tolerance, first, second, agree) >= threshold
            )
        if not self.second_is_tolerable:
            self.second_is_tolerable = (
                log_bets_against(-tolerance, second, first, agree) >= threshold
            )

    def find_cheaper(self, confidence: float) -> int | None:
        """Return which arm the cost sequence shows to be cheaper on average."""
        if self.n < 2:
            return None
        std = math.sqrt(self.cost_squares / (self.n - 1))
        interval = anytime_mean_interval(self.n, self.cost_mean, std, confidence)
        if interval.high < 0:
            return 0
        return 1 if interval.low > 0 else None


_TYPES: dict[str, tuple[type, ...]] = {
    "n": (int,),
    "n_correct": (int,),
    "n_first": (int,),
    "n_second": (int,),
    "cost": (int, float),
    "cost_mean": (int, float),
    "cost_squares": (int, float),
    "reason": (str, NoneType),
    "relation": (str,),
    "stopped_at": (int, NoneType),
    "decided_at": (int, NoneType),
    "dominated_by": (str, NoneType),
    "is_derived": (bool,),
    "first_is_tolerable": (bool,),
    "second_is_tolerable": (bool,),
    "cheaper": (int, NoneType),
}
_ALLOWED: dict[str, tuple[object, ...]] = {
    "reason": (None, "precise", "dominated", "settled"),
    "relation": ("first-better", "second-better", "tie", "undecided"),
    "cheaper": (None, 0, 1),
}


def read_count(value: object) -> int:
    """Return a count as read from JSON.

    Raises:
        ValueError: It is none.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{value!r} is not a count")
    return value


def read_fields(kind: type[_Record], values: Sequence[Any]) -> _Record:
    """Return a tally from its fields in order, as read from JSON.

    Raises:
        ValueError: There are too few or too many of them, or one is of a wrong kind.
    """
    names = [field.name for field in fields(kind)]
    for name, value in zip(names, values, strict=True):
        is_bool = isinstance(value, bool) and bool not in _TYPES[name]
        if is_bool or not isinstance(value, _TYPES[name]):
            raise ValueError(f"{name} is {value!r}")
        if name in _ALLOWED and value not in _ALLOWED[name]:
            raise ValueError(f"{name} is {value!r}")
        if isinstance(value, int | float) and name != "cost_mean" and not 0 <= value < math.inf:
            raise ValueError(f"{name} is {value!r}")
    record = kind(*values)
    n_counted = record.n_correct if isinstance(record, Tally) else record.n_first + record.n_second
    if n_counted > record.n:
        raise ValueError(f"{n_counted} of {record.n} questions")
    return record
