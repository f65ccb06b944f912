"""What the samples say about the model's efforts, and what the shortest correct answers save."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from calibration.statistics import Interval, paired_difference_interval, wilson_interval

from ._reading import ReadCounts, SampledQuestion
from ._rules import Attempt, shortest_correct

__all__ = ["EffortFigures", "RankTable", "Saving", "Share", "Tally", "TopsReport"]


@dataclass(frozen=True, slots=True)
class Share:
    """A share of questions with its 95% Wilson interval; NaN without questions.

    Attributes:
        n: Questions.
        n_with: Those that count.
        share: `n_with / n`, in [0, 1].
        low: Lower end of the interval, in [0, 1].
        high: Upper end.
    """

    n: int
    n_with: int
    share: float
    low: float
    high: float

    @classmethod
    def of(cls, n_with: int, n: int) -> "Share":
        """Return the share of `n` questions."""
        interval = wilson_interval(n_with, n)
        return cls(n, n_with, interval.estimate, interval.low, interval.high)


@dataclass(frozen=True, slots=True)
class EffortFigures:
    """How one effort did.

    Attributes:
        name: Its name.
        n_correct: Right answers.
        n_wrong: Wrong ones.
        n_cut: Answers that ran out of tokens.
        n_error: Infrastructure errors; they are in no share.
        mean_tokens: Mean length of usable right and wrong answers; NaN without any.
        n_repeated: Questions with two or more usable answers.
        mean_samples: Mean number of usable answers to those.
        mean_distinct: Mean number of distinct final answers among them.
    """

    name: str
    n_correct: int
    n_wrong: int
    n_cut: int
    n_error: int
    mean_tokens: float
    n_repeated: int
    mean_samples: float
    mean_distinct: float


@dataclass(frozen=True, slots=True)
class RankTable:
    """How long the answers to each effort really were, as in the paper's Table 7.

    Attributes:
        n: Questions right under all efforts with lengths that all differ.
        n_tied: Questions right under all efforts with two answers of one length, left out.
        shares: Per effort, lowest first: share of questions in which its answer was the
            shortest, the second shortest, and so on; empty without questions.
    """

    n: int
    n_tied: int
    shares: tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True)
class Saving:
    """The shortest correct answer against a correct one drawn at random, question by question.

    The random one counts with its expected length, the mean of the question's correct answers.
    It is what the data are shorter by. What a model trained on them saves has to be measured.

    Attributes:
        n: Questions with a correct answer.
        n_several: Of those, with two or more; with one the two are the same.
        mean_shortest: Mean tokens of the shortest correct answers.
        mean_random: Mean tokens of random correct ones.
        saved_tokens: Their difference.
        low: Lower end of its 95% paired bootstrap interval over questions.
        high: Upper end.
        saved_share: Difference over `mean_random`.
    """

    n: int
    n_several: int
    mean_shortest: float
    mean_random: float
    saved_tokens: float
    low: float
    high: float
    saved_share: float


@dataclass(frozen=True, slots=True)
class TopsReport:
    """What the samples say.

    Attributes:
        efforts: Per effort, lowest first.
        ranks: How often the lowest effort was really shortest; `None` below two efforts.
        solved: Questions with a correct answer, of those with any graded answer.
        saving_per_effort: Over the first sample of each effort, as in self-improvement; `None`
            below two efforts.
        saving_all: Over all samples, as in the iterative steps.
        n_per_question: Fewest and most samples of a question that the iterative rules took.
    """

    efforts: tuple[EffortFigures, ...]
    ranks: RankTable | None
    solved: Share
    saving_per_effort: Saving | None
    saving_all: Saving
    n_per_question: tuple[int, int]

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object; NaN where there is nothing to average."""
        return asdict(self)


@dataclass
class _Lengths:
    """Per question the shortest and the expected random correct length, and its group."""

    shortest: list[float] = field(default_factory=list[float])
    random: list[float] = field(default_factory=list[float])
    groups: list[str] = field(default_factory=list[str])
    n_several: int = 0

    def add(self, group: str, attempts: Sequence[Attempt]) -> None:
        right = [one.n_tokens for one in attempts if one.is_correct and not one.is_copy]
        best = shortest_correct(attempts)
        if best is None:
            return
        self.shortest.append(best.n_tokens)
        self.random.append(math.fsum(right) / len(right))
        self.groups.append(group)
        self.n_several += len(right) > 1

    def saving(self) -> Saving:
        if not self.shortest:
            return Saving(0, 0, *(math.nan,) * 6)
        mean_shortest = math.fsum(self.shortest) / len(self.shortest)
        mean_random = math.fsum(self.random) / len(self.random)
        found: Interval = paired_difference_interval(
            self.random, self.shortest, clusters=self.groups
        )
        return Saving(
            n=len(self.shortest),
            n_several=self.n_several,
            mean_shortest=mean_shortest,
            mean_random=mean_random,
            saved_tokens=found.estimate,
            low=found.low,
            high=found.high,
            saved_share=found.estimate / mean_random if mean_random else math.nan,
        )


class Tally:
    """Collects the figures question by question; memory grows by a few numbers per question."""

    def __init__(self, n_efforts: int) -> None:
        """Start with no question."""
        self._n_efforts = n_efforts
        self._ranks: Counter[tuple[int, int]] = Counter()
        self._n_ranked = self._n_tied = self._n_graded = self._n_solved = 0
        self._per_effort, self._all = _Lengths(), _Lengths()
        self._tokens: Counter[int] = Counter()
        self._n_lengths: Counter[int] = Counter()
        self._n_repeated: Counter[int] = Counter()
        self._n_samples: Counter[int] = Counter()
        self._n_distinct: Counter[int] = Counter()
        self._fewest, self._most = 0, 0

    def add(self, question: SampledQuestion) -> None:
        """Count one question."""
        own = [one for one in question.attempts if not one.is_copy]
        if not own:
            return
        self._n_graded += 1
        self._n_solved += any(one.is_correct for one in own)
        self._fewest = len(own) if self._n_graded == 1 else min(self._fewest, len(own))
        self._most = max(self._most, len(own))
        self._all.add(question.group, own)
        first = [one for one in question.attempts if one.repeat == 0]
        self._per_effort.add(question.group, first)
        self._rank([one for one in first if one.is_correct])
        for effort in range(self._n_efforts):
            self._answers([one for one in question.attempts if one.effort == effort], effort)

    def report(self, names: Sequence[str], counts: ReadCounts) -> TopsReport:
        """Return the figures of all questions counted.

        Args:
            names: Names of the efforts, lowest first.
            counts: What became of the samples.
        """
        several = self._n_efforts > 1
        return TopsReport(
            efforts=tuple(self._effort(number, name, counts) for number, name in enumerate(names)),
            ranks=self._rank_table() if several else None,
            solved=Share.of(self._n_solved, self._n_graded),
            saving_per_effort=self._per_effort.saving() if several else None,
            saving_all=self._all.saving(),
            n_per_question=(self._fewest, self._most),
        )

    def _rank(self, right: Sequence[Attempt]) -> None:
        if len(right) < self._n_efforts or self._n_efforts < 2:
            return
        ordered = sorted(right, key=lambda one: one.n_tokens)
        if len({one.n_tokens for one in ordered}) < len(ordered):
            self._n_tied += 1
            return
        self._n_ranked += 1
        self._ranks.update((one.effort, place) for place, one in enumerate(ordered))

    def _rank_table(self) -> RankTable:
        places = range(self._n_efforts if self._n_ranked else 0)
        shares = tuple(
            tuple(self._ranks[effort, place] / self._n_ranked for place in places)
            for effort in places
        )
        return RankTable(self._n_ranked, self._n_tied, shares)

    def _answers(self, attempts: Sequence[Attempt], effort: int) -> None:
        answered = [one for one in attempts if one.is_correct or one.is_wrong]
        self._tokens[effort] += sum(one.n_tokens for one in answered)
        self._n_lengths[effort] += len(answered)
        if len(answered) > 1:
            self._n_repeated[effort] += 1
            self._n_samples[effort] += len(answered)
            self._n_distinct[effort] += len({one.answer for one in answered})

    def _effort(self, number: int, name: str, counts: ReadCounts) -> EffortFigures:
        outcomes = counts.outcomes.get(number, Counter())
        n_repeated = self._n_repeated[number]
        return EffortFigures(
            name=name,
            n_correct=outcomes["correct"],
            n_wrong=outcomes["wrong"],
            n_cut=outcomes["cut"],
            n_error=outcomes["error"],
            mean_tokens=_ratio(self._tokens[number], self._n_lengths[number]),
            n_repeated=n_repeated,
            mean_samples=_ratio(self._n_samples[number], n_repeated),
            mean_distinct=_ratio(self._n_distinct[number], n_repeated),
        )


def _ratio(total: float, n: int) -> float:
    return total / n if n else math.nan
