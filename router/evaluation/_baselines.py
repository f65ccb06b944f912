"""What needs no router: the choices that a router must beat, made on training questions only."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._outcomes import OutcomeMatrix

__all__ = [
    "BASELINES",
    "Baseline",
    "best_mixture",
    "cheapest_arm",
    "most_accurate_arm",
    "oracle_choice",
]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Baseline(NamedTuple):
    """A way of choosing arms without a model of the question.

    Attributes:
        name: What the row is called.
        choose: From training outcomes, test outcomes (of which only what is known beforehand may
            be used), the reference's column and the margin to an arm per test question.
    """

    name: str
    choose: Callable[[OutcomeMatrix, OutcomeMatrix, int, float], Ints]


def _fixed_cap(train: OutcomeMatrix, test: OutcomeMatrix, reference: int, margin: float) -> Ints:
    """Return the cheapest arm that loses at most the margin on the training questions."""
    best, lowest = reference, np.inf
    for arm in range(len(train.arms)):
        pair = [arm, reference]
        both = ~np.isnan(train.correct[:, pair] + train.tokens[:, pair]).any(axis=1)
        if not both.any():
            continue
        loss = (train.correct[both, reference] - train.correct[both, arm]).mean()
        spent = train.tokens[both, arm].sum() / max(train.tokens[both, reference].sum(), 1e-12)
        if loss <= margin + 1e-12 and spent < lowest:
            best, lowest = arm, spent
    return np.full(test.n_questions, best, dtype=np.int64)


def _length_rule(train: OutcomeMatrix, test: OutcomeMatrix, reference: int, margin: float) -> Ints:
    """Send prompts above a length to the reference, the others to the cheapest arm.

    The threshold is the one that saves most on the training questions within the margin.
    """
    cheapest = cheapest_arm(train)
    pair = [cheapest, reference]
    known = ~np.isnan(train.correct[:, pair] + train.tokens[:, pair]).any(axis=1)
    if cheapest == reference or not known.any():
        return np.full(test.n_questions, reference, dtype=np.int64)
    lengths = _lengths(train.prompts)[known]
    order = np.argsort(lengths, kind="stable")
    gain = (train.correct[:, cheapest] - train.correct[:, reference])[known][order]
    saved = (train.tokens[:, reference] - train.tokens[:, cheapest])[known][order]
    # The first `count` of the shortest prompts get the cheap arm; ties in length stay together.
    ordered = lengths[order]
    is_end = np.append(ordered[1:] > ordered[:-1], True)
    is_allowed = is_end & (np.cumsum(gain) / len(gain) >= -margin - 1e-12)
    total_saved = np.where(is_allowed, np.cumsum(saved), -np.inf)
    best = int(total_saved.argmax())
    threshold = ordered[best] if total_saved[best] > 0 else -1
    return np.where(_lengths(test.prompts) <= threshold, cheapest, reference).astype(np.int64)


def _best_per_task_type(
    train: OutcomeMatrix, test: OutcomeMatrix, reference: int, margin: float
) -> Ints:
    del reference, margin
    return _best_per(train, train.task_types, test.task_types)


def _best_per_task(
    train: OutcomeMatrix, test: OutcomeMatrix, reference: int, margin: float
) -> Ints:
    """Return the best arm of the task; of the task type where the task was not trained on."""
    by_type = _best_per_task_type(train, test, reference, margin)
    by_task = _best_per(train, train.tasks, test.tasks)
    return np.where(np.isin(test.tasks, train.tasks), by_task, by_type)


BASELINES = (
    Baseline("length rule", _length_rule),
    Baseline("best arm per task type", _best_per_task_type),
    Baseline("best arm per task", _best_per_task),
    Baseline("fixed cap", _fixed_cap),
)


def cheapest_arm(matrix: OutcomeMatrix) -> int:
    """Return the column with the fewest mean tokens."""
    means = _column_means(matrix.tokens)
    return int(np.where(np.isnan(means), np.inf, means).argmin())


def most_accurate_arm(matrix: OutcomeMatrix) -> int:
    """Return the most accurate column of outcomes without gaps; of several, the cheapest."""
    return int(np.lexsort((matrix.tokens.mean(axis=0), -matrix.correct.mean(axis=0)))[0])


def oracle_choice(correct: Floats, tokens: Floats) -> Ints:
    """Return the cheapest among the arms that did best on each question, `(n_questions,)`."""
    return np.lexsort((tokens, -correct))[:, 0]


def best_mixture(correct: Floats, tokens: Floats, budget: float) -> Floats:
    """Return arm probabilities, blind to the question, most accurate within mean tokens.

    The best such mixture takes at most two arms. Below the cheapest arm it is the cheapest arm.
    """
    accuracy, spent = correct.mean(axis=0), tokens.mean(axis=0)
    best = np.zeros(len(accuracy))
    best[spent.argmin()] = 1.0
    highest = accuracy @ best
    for low in np.flatnonzero(spent <= budget):
        for high in range(len(spent)):
            reach = (budget - spent[low]) / max(spent[high] - spent[low], 1e-12)
            share = min(reach, 1.0) if spent[high] > spent[low] else 0.0
            value = (1.0 - share) * accuracy[low] + share * accuracy[high]
            if value > highest:
                best, highest = np.zeros(len(accuracy)), value
                best[low] += 1.0 - share
                best[high] += share
    return best


def _best_per(train: OutcomeMatrix, trained: Sequence[str], asked: Sequence[str]) -> Ints:
    """Return the most accurate arm of each label; of all training questions for a new label."""
    labels = np.array(trained)
    overall = _column_means(train.correct)
    best: dict[str, int] = {}
    for label in set(asked):
        means = _column_means(train.correct[labels == label])
        means = np.where(np.isnan(means), overall - 1.0, means)
        best[label] = int(np.where(np.isnan(means), -np.inf, means).argmax())
    return np.array([best[label] for label in asked], dtype=np.int64)


def _lengths(prompts: Sequence[str]) -> Ints:
    return np.array([len(prompt) for prompt in prompts], dtype=np.int64)


def _column_means(values: Floats) -> Floats:
    known = ~np.isnan(values)
    counts = np.count_nonzero(known, axis=0)
    totals = np.where(known, values, 0.0).sum(axis=0)
    return np.divide(totals, counts, out=np.full(len(counts), np.nan), where=counts > 0)
