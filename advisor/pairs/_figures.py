"""What a run says about a teacher's two modes: accuracy of both, and why questions are left out."""

import math
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from calibration import Outcome
from calibration.statistics import (
    ClusterSums,
    Interval,
    clustered_proportion_interval,
    wilson_interval,
)

from ._answers import Status

__all__ = ["Fate", "FateTable", "ModeFigures", "ModeTally"]


class Fate(NamedTuple):
    """How many questions came out alike.

    Attributes:
        ift: Status of the direct answer.
        reasoning: Status of the reasoning answer.
        n: Questions.
        n_kept: Of those, kept.
    """

    ift: Status
    reasoning: Status
    n: int
    n_kept: int


class FateTable:
    """Counts questions by what became of their two answers."""

    def __init__(self) -> None:
        """Start with no question."""
        self._n: Counter[tuple[Status, Status]] = Counter()
        self._n_kept: Counter[tuple[Status, Status]] = Counter()

    def add(self, ift: Status, reasoning: Status, *, is_kept: bool) -> None:
        """Count one question."""
        self._n[ift, reasoning] += 1
        self._n_kept[ift, reasoning] += is_kept

    def rows(self) -> tuple[Fate, ...]:
        """Return the counts, kept questions first, then the most frequent."""
        made = [Fate(*key, n, self._n_kept[key]) for key, n in self._n.items()]
        return tuple(sorted(made, key=lambda row: (-row.n_kept, -row.n, row.ift, row.reasoning)))


@dataclass(frozen=True, slots=True)
class ModeFigures:
    """How one mode did on the questions of a run.

    Attributes:
        model: Model that answered.
        policy: How it was asked.
        n: Answers with an outcome: correct, wrong and cut.
        n_correct: Right ones.
        n_cut: Ones that ran out of tokens; they count as not correct.
        n_error: Infrastructure errors and answers that could not be judged, outside n.
        accuracy: Share of right ones, with a 95% interval, clustered where questions were asked
            repeatedly or share a source; NaN if n is 0.
        mean_tokens: Mean generated tokens of the n answers, thought included, those that become
            no pair among them; NaN if the length of one is not known.
    """

    model: str
    policy: str
    n: int
    n_correct: int
    n_cut: int
    n_error: int
    accuracy: Interval
    mean_tokens: float

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        return asdict(self)


class ModeTally:
    """Counts the answers of one mode; memory grows by two numbers per group of questions."""

    def __init__(self) -> None:
        """Start with no answer."""
        self._outcomes: Counter[Outcome] = Counter()
        self._tokens = 0.0
        self._groups: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0])

    def add(self, group: str, outcome: Outcome, n_tokens: int | None) -> None:
        """Count one answer."""
        self._outcomes[outcome] += 1
        if outcome is not Outcome.ERROR:
            self._tokens += math.nan if n_tokens is None else n_tokens
            sums = self._groups[group]
            sums[0] += 1
            sums[1] += outcome is Outcome.CORRECT

    def figures(self, model: str, policy: str) -> ModeFigures:
        """Return the figures of all answers counted."""
        n = sum(n for n, _ in self._groups.values())
        k = self._outcomes[Outcome.CORRECT]
        if any(n_answers > 1 for n_answers, _ in self._groups.values()):
            sums = self._groups.values()
            accuracy = clustered_proportion_interval(
                ClusterSums(
                    n=n,
                    k=k,
                    n_clusters=len(sums),
                    sum_kk=sum(right * right for _, right in sums),
                    sum_kn=sum(right * answers for answers, right in sums),
                    sum_nn=sum(answers * answers for answers, _ in sums),
                )
            )
        else:
            accuracy = wilson_interval(k, n)
        cut, error = self._outcomes[Outcome.CUT], self._outcomes[Outcome.ERROR]
        mean_tokens = self._tokens / n if n else math.nan
        return ModeFigures(model, policy, n, k, cut, error, accuracy, mean_tokens)
