"""Students of a study by recipe, and contrasts of their answers over seeds and questions."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from calibration.statistics import (
    CrossedMean,
    crossed_difference,
    crossed_mean,
    crossed_proportion,
)
from policies import PolicySpec

from .._results import StudentResult, StudyCell
from .._student import TWO_STAGE_CORPUS
from .._table import StudyTable
from ._finding import Measure

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "AS_TRAINED",
    "IFT",
    "REASONING",
    "Contrast",
    "Group",
    "Term",
    "accuracy",
    "budgets",
    "contrast",
    "corpora",
    "group",
    "mean_of",
    "over_seeds",
    "ratio_over_seeds",
    "task_types",
]

AS_TRAINED = "reasoning@max"
"""The policy by which recipes are compared: a student may think, and decides by itself."""
IFT = "ift"
REASONING = "reasoning"


class Group(NamedTuple):
    """The students of one recipe, by seed; empty where none was trained."""

    size: str
    corpus: str
    label: str
    by_seed: Mapping[int, StudentResult]


class Term(NamedTuple):
    """A group's answers by one policy, and the weight that they enter a contrast with."""

    weight: float
    group: Group
    policy: str = AS_TRAINED


class Contrast(NamedTuple):
    """A weighted sum of accuracies.

    Attributes:
        measure: The sum with its interval over seeds and questions.
        n_seeds: Seeds that all terms share.
        n_questions: Questions.
    """

    measure: Measure
    n_seeds: int
    n_questions: int


def group(table: StudyTable, size: str, corpus: str, label: str) -> Group:
    """Return the students of one size, corpus and recipe label."""
    found = {
        one.student.seed: one
        for one in table.select(size=size, corpus=corpus)
        if one.student.label == label
    }
    return Group(size, corpus, label, found)


def corpora(table: StudyTable) -> tuple[str, ...]:
    """Return the corpora of students that were trained in one run."""
    return tuple(one for one in table.corpora if one != TWO_STAGE_CORPUS)


def task_types(table: StudyTable) -> tuple[str, ...]:
    """Return the task types that were measured, in the table's order."""
    return tuple(dict.fromkeys(cell.task_type for one in table.results for cell in one.cells))


def budgets(table: StudyTable) -> tuple[tuple[int, str], ...]:
    """Return thinking budgets that were measured, smallest first, with their policies."""
    policies = {cell.policy for one in table.results for cell in one.cells}
    found: list[tuple[int, str]] = []
    for text in policies:
        spec = PolicySpec.parse(text)
        if spec.name == "reasoning" and isinstance(spec.budget, int) and not spec.params:
            found.append((spec.budget, text))
    return tuple(sorted(found))


def contrast(terms: Sequence[Term], kinds: Sequence[str]) -> Contrast | None:
    """Return a weighted sum of accuracies on some task types, paired by seed and question.

    Questions of several task types count as one sample of questions.

    Args:
        terms: Groups with weights.
        kinds: Task types.

    Returns:
        The sum; `None` if no seed has all of the terms' cells.
    """
    seeds = [
        seed
        for seed in sorted(terms[0].group.by_seed)
        if all(_cells(term, seed, kinds) is not None for term in terms)
    ]
    if not seeds:
        return None
    matrices = [_matrix(term, seeds, kinds) for term in terms]
    if len({one.shape for one in matrices}) > 1:
        return None
    weights = [term.weight for term in terms]
    if weights == [1.0]:
        found = crossed_proportion(matrices[0])
    elif weights == [1.0, -1.0]:
        found = crossed_difference(matrices[0], matrices[1])
    else:
        found = crossed_mean(_weighted_sum(weights, matrices))
    return Contrast(_measure(found), found.n_seeds, found.n_questions)


def accuracy(one: Group, kinds: Sequence[str], policy: str = AS_TRAINED) -> Measure | None:
    """Return a group's accuracy, over all of its own seeds."""
    found = contrast([Term(1.0, one, policy)], kinds)
    return None if found is None else found.measure


def over_seeds(values: Sequence[float], *, least: float = -math.inf) -> Measure | None:
    """Return the mean of one number per seed, with a t interval over seeds alone.

    Args:
        values: One number per seed; the questions behind each are the same ones.
        least: The smallest value that the number can have; the lower end is not below it.
    """
    if not values:
        return None
    found = crossed_mean([[value] for value in values])
    if found.over == "nothing":
        return Measure(found.estimate, None, None)
    return Measure(found.estimate, max(found.low, least), found.high)


def ratio_over_seeds(ratios: Sequence[float]) -> Measure | None:
    """Return the geometric mean of one ratio per seed, its interval found on the log scale."""
    found = over_seeds([math.log(one) for one in ratios])
    if found is None:
        return None
    ends = [None if end is None else math.exp(end) for end in (found.low, found.high)]
    return Measure(math.exp(found.estimate), *ends)


def mean_of(
    one: Group, kinds: Sequence[str], value: Callable[[StudyCell], float], policy: str = AS_TRAINED
) -> dict[int, float]:
    """Return the mean of a cell's number over task types, by seed that has all of them."""
    found: dict[int, float] = {}
    for seed in one.by_seed:
        cells = _cells(Term(1.0, one, policy), seed, kinds)
        if cells is not None:
            found[seed] = sum(map(value, cells)) / len(cells)
    return found


def _cells(term: Term, seed: int, kinds: Iterable[str]) -> list[StudyCell] | None:
    result = term.group.by_seed.get(seed)
    if result is None:
        return None
    own = {cell.task_type: cell for cell in result.cells if cell.policy == term.policy}
    return [own[kind] for kind in kinds] if all(kind in own for kind in kinds) else None


def _matrix(term: Term, seeds: Sequence[int], kinds: Sequence[str]) -> "NDArray[np.float64]":
    """Return answers of shape (seeds, questions of all kinds): 1 for right."""
    import numpy as np

    answers = "".join(
        cell.correct for seed in seeds for cell in _cells(term, seed, kinds) or ()
    ).encode()
    # One digit per answer: (seeds * questions) -> (seeds, questions)
    bits = np.frombuffer(answers, dtype=np.uint8) - ord("0")
    return bits.astype(np.float64).reshape(len(seeds), -1)


def _weighted_sum(
    weights: Sequence[float], matrices: Sequence["NDArray[np.float64]"]
) -> "NDArray[np.float64]":
    import numpy as np

    # (terms) x (terms, seeds, questions) -> (seeds, questions)
    return np.tensordot(np.asarray(weights), np.stack(matrices), axes=1)


def _measure(found: CrossedMean) -> Measure:
    if found.over == "nothing":
        return Measure(found.estimate, None, None)
    return Measure(found.estimate, found.low, found.high)
