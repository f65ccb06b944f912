"""What a trial holds back: the truth of a study, split so that the advisor never sees it.

A fold shows the advisor one training seed and every second question; the truth is the mean of the
other seeds over the other questions. Nothing is on both sides.
"""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

from calibration.statistics import wilson_interval
from policies import InvalidInputError

from .._results import StudentResult, StudyCell
from .._table import StudyTable

__all__ = ["Arm", "Fold", "Held", "HeldStudy", "Problem", "SeedVariance"]

_DIRECT, _AS_TRAINED = "direct", "reasoning@max"
_MOST_SEEDS = 3
"""Seeds that take their turn as the one that is shown: answers about one problem are alike."""


class Problem(NamedTuple):
    """What the advisor is asked: a recipe for one size, corpus and task type."""

    size: str
    corpus: str
    task_type: str


class Fold(NamedTuple):
    """Which part of a study is shown.

    Attributes:
        seed: The training seed that is shown; the others are the truth.
        half: 0 or 1: even or odd questions are shown, the others are the truth.
    """

    seed: int
    half: int


@dataclass(frozen=True, slots=True)
class Arm:
    """One recipe at one problem, all of its seeds.

    Attributes:
        label: Recipe label.
        ratio: Share of reasoning rows.
        n_params: Parameters of the size.
        train_flops: Mean training FLOPs over seeds.
        mean_flops: Mean inference FLOPs of an answer, as trained, over seeds.
        cells: Cells by seed and policy.
    """

    label: str
    ratio: float
    n_params: int
    train_flops: float
    mean_flops: float
    cells: Mapping[int, Mapping[str, StudyCell]]

    def right(self, seed: int) -> str:
        """Return one character per question, as trained: `1` right, `0` not."""
        return self.cells[seed][_AS_TRAINED].correct


class SeedVariance(NamedTuple):
    """Variance that training seeds add, pooled over all arms of a study.

    Attributes:
        accuracy: Of an accuracy.
        gap: Of the difference of two recipes with one seed.
    """

    accuracy: float
    gap: float


@dataclass(frozen=True, slots=True)
class Held:
    """Accuracies that were held back, for one problem.

    Attributes:
        scores: For each recipe the mean over seeds, question by question.
        n_seeds: Seeds in each mean.
        seeds: What a seed adds.
    """

    scores: Mapping[str, Sequence[float]]
    n_seeds: int
    seeds: SeedVariance

    def mean(self, label: str) -> float:
        """Return a recipe's accuracy in [0, 1]."""
        return sum(self.scores[label]) / len(self.scores[label])

    def stderr(self, label: str) -> float:
        """Return its standard error over questions and seeds."""
        return math.sqrt(_mean_variance(self.scores[label]) + self.seeds.accuracy / self.n_seeds)

    def gap(self, first: str, second: str) -> tuple[float, float]:
        """Return first - second, question by question, and its standard error."""
        if first == second:
            return 0.0, 0.0
        pairs = zip(self.scores[first], self.scores[second], strict=True)
        gaps = [a - b for a, b in pairs]
        variance = _mean_variance(gaps) + self.seeds.gap / self.n_seeds
        return sum(gaps) / len(gaps), math.sqrt(variance)

    def best(self, labels: Sequence[str] | None = None) -> str:
        """Return the most accurate recipe, of all or of some."""
        return max(labels or self.scores, key=lambda label: (self.mean(label), label))


class HeldStudy:
    """A study as the judge of a trial sees it.

    Recipes of one corpus only; two-stage students have no label that the advisor reads. A recipe
    counts at a problem if it was trained with every seed that direct answers and reasoning have.

    Raises:
        InvalidInputError: No problem has both pure recipes, asked directly and as trained.
    """

    def __init__(self, table: StudyTable) -> None:
        self.table = table
        self.arms: dict[Problem, dict[str, Arm]] = {}
        groups: dict[tuple[str, str], list[StudentResult]] = defaultdict(list)
        for one in table.results:
            if not one.student.order.is_two_stage:
                groups[one.student.size, one.student.corpus].append(one)
        for (size, corpus), results in groups.items():
            types = dict.fromkeys(cell.task_type for one in results for cell in one.cells)
            for task_type in types:
                arms = _arms(results, task_type)
                if {"ift", "reasoning"} <= set(arms):
                    self.arms[Problem(size, corpus, task_type)] = arms
        if not self.arms:
            raise InvalidInputError(
                f"the study {table.name!r} has no size with both pure recipes, asked by "
                f"{_DIRECT!r} and {_AS_TRAINED!r}",
                hint="train and measure the ratios 0 and 1 of one corpus at least",
                code="invalid-study",
            )
        self._held: dict[tuple[Problem, Fold | None], Held] = {}
        self._without: dict[Fold, StudyTable] = {}

    @property
    def problems(self) -> list[Problem]:
        """Return what can be asked, in the order of the table."""
        return list(self.arms)

    def n_params(self, problem: Problem) -> int:
        """Return the parameters of a problem's size."""
        return self.arms[problem]["ift"].n_params

    def folds(self, problem: Problem) -> list[Fold]:
        """Return the ways to split a problem: each of at most three seeds once, halves in turn."""
        seeds = sorted(self.arms[problem]["ift"].cells)[:_MOST_SEEDS]
        if len(seeds) == 1:
            return [Fold(seeds[0], half) for half in (0, 1)]
        return [Fold(seed, number % 2) for number, seed in enumerate(seeds)]

    def held(self, problem: Problem, fold: Fold | None = None) -> Held:
        """Return what a fold holds back; everything, without a fold.

        A study with one seed holds back questions only.
        """
        key = (problem, fold)
        if key not in self._held:
            arms = self.arms[problem]
            seeds = list(arms["ift"].cells)
            start, step = 0, 1
            if fold is not None:
                seeds = [seed for seed in seeds if seed != fold.seed] or seeds
                start, step = 1 - fold.half, 2
            scores = {
                label: _averaged([arm.right(seed)[start::step] for seed in seeds])
                for label, arm in arms.items()
            }
            self._held[key] = Held(scores, len(seeds), self.seed_variance)
        return self._held[key]

    def held_seed(self, problem: Problem, fold: Fold) -> Held:
        """Return the other way round what a fold holds back: its seed, on the half not shown."""
        scores = {
            label: _averaged([arm.right(fold.seed)[1 - fold.half :: 2]])
            for label, arm in self.arms[problem].items()
        }
        return Held(scores, 1, self.seed_variance)

    def without(self, fold: Fold) -> StudyTable:
        """Return the study without a fold's seed, and with its half of the questions alone."""
        if fold not in self._without:
            results = tuple(
                replace(one, cells=tuple(_half(cell, fold.half) for cell in one.cells))
                for one in self.table.results
                if one.student.seed != fold.seed
            )
            self._without[fold] = replace(self.table, results=results)
        return self._without[fold]

    @cached_property
    def seed_variance(self) -> SeedVariance:
        """Return what seeds add, by the method of moments; zero for a study of one seed.

        The variance of seeds' accuracies on the same questions, less what single answers add to it.

        Source: expected mean squares of a two-way layout, Searle, Casella and McCulloch, Variance
            Components (1992), section 4.3.
        """
        accuracies: list[float] = []
        gaps: list[float] = []
        for arms in self.arms.values():
            for label, arm in arms.items():
                rows = [[float(bit == "1") for bit in arm.right(seed)] for seed in arm.cells]
                accuracies += _seed_component(rows)
                if label != "ift":
                    ift = [[float(b == "1") for b in arms["ift"].right(seed)] for seed in arm.cells]
                    both = zip(rows, ift, strict=True)
                    gaps += _seed_component(
                        [
                            [a - b for a, b in zip(mine, theirs, strict=True)]
                            for mine, theirs in both
                        ]
                    )
        return SeedVariance(_floored_mean(accuracies), _floored_mean(gaps))

    def ift_gaps(self) -> Iterator[float]:
        """Yield how much better direct-answer students are as trained than with thinking off."""
        for arms in self.arms.values():
            for cells in arms["ift"].cells.values():
                yield cells[_AS_TRAINED].accuracy - cells[_DIRECT].accuracy


def _arms(results: Sequence[StudentResult], task_type: str) -> dict[str, Arm]:
    """Return the recipes of one size and corpus at a task type, those with all seeds."""
    found: dict[str, dict[int, tuple[StudentResult, dict[str, StudyCell]]]] = defaultdict(dict)
    for one in results:
        cells = {cell.policy: cell for cell in one.cells if cell.task_type == task_type}
        if {_DIRECT, _AS_TRAINED} <= set(cells):
            found[one.student.label][one.student.seed] = (one, cells)
    seeds = set(found.get("ift", {})) & set(found.get("reasoning", {}))
    arms: dict[str, Arm] = {}
    for label, by_seed in found.items():
        if not seeds or not seeds <= set(by_seed):
            continue
        used = [by_seed[seed] for seed in sorted(seeds)]
        arms[label] = Arm(
            label,
            used[0][0].student.ratio,
            used[0][0].n_params,
            sum(one.train_flops for one, _ in used) / len(used),
            sum(cells[_AS_TRAINED].mean_flops for _, cells in used) / len(used),
            {one.student.seed: cells for one, cells in used},
        )
    return arms


def _half(cell: StudyCell, half: int) -> StudyCell:
    """Return a cell of every second question; lengths and FLOPs are costs, and stay."""
    right = cell.correct[half::2]
    n, n_correct = len(right), right.count("1")
    interval = wilson_interval(n_correct, n)
    return replace(
        cell,
        n=n,
        n_correct=n_correct,
        n_cut=min(round(cell.n_cut * n / cell.n), n - n_correct),
        accuracy=n_correct / n,
        ci_low=interval.low,
        ci_high=interval.high,
        correct=right,
    )


def _averaged(rows: Sequence[str]) -> tuple[float, ...]:
    return tuple(column.count("1") / len(rows) for column in zip(*rows, strict=True))


def _mean_variance(values: Sequence[float]) -> float:
    """Return the variance of a mean of independent values."""
    n = len(values)
    mean = sum(values) / n
    return sum((value - mean) ** 2 for value in values) / max(n - 1, 1) / n


def _seed_component(rows: Sequence[Sequence[float]]) -> list[float]:
    """Return the variance component of the rows of a seeds x questions table, none for one row."""
    n_seeds, n = len(rows), len(rows[0])
    if n_seeds < 2:
        return []
    means = [sum(row) / n for row in rows]
    grand = sum(means) / n_seeds
    between = sum((mean - grand) ** 2 for mean in means) / (n_seeds - 1)
    columns = [sum(column) / n_seeds for column in zip(*rows, strict=True)]
    residual = sum(
        (value - means[i] - columns[j] + grand) ** 2
        for i, row in enumerate(rows)
        for j, value in enumerate(row)
    ) / max((n_seeds - 1) * (n - 1), 1)
    return [between - residual / n]


def _floored_mean(values: Sequence[float]) -> float:
    return max(0.0, sum(values) / len(values)) if values else 0.0
