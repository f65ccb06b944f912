"""What a ranking of questions is worth, and what a default decision is worth.

A router of two arms gives every question a score; sending the highest scores to the dear arm
first draws a curve of accuracy over what that costs. Questions with equal scores are a block:
inside it nobody says who goes first, so the curve is the straight line of a random order, and a
router with three scores gets no credit for the order in which its questions happen to lie.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "MARGIN",
    "Interval",
    "Labels",
    "Metrics",
    "Resampled",
    "measure",
    "pooled_ranks",
]

MARGIN = 0.01
"""Accuracy that `saved` may lose against the dear arm: one point."""
N_RESAMPLES = 500
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Labels:
    """What really happened on the test questions.

    Attributes:
        weak: Share of correct answers of the cheap arm, shape `(n,)`.
        strong: The dear arm's, same shape.
        weak_tokens: Its generated tokens, same shape; None where they were not recorded.
        strong_tokens: The dear arm's.
        groups: Number of each question's group, same shape; groups are resampled whole.
    """

    weak: Floats
    strong: Floats
    weak_tokens: Floats | None
    strong_tokens: Floats | None
    groups: NDArray[np.int64]


class Interval(NamedTuple):
    """A figure with its 95% bootstrap interval over groups."""

    value: float
    low: float
    high: float


class Resampled(NamedTuple):
    """The figures of one ranking on one weighting of the questions; NaN where undefined.

    Attributes:
        apgr: Area under the share of the gap between both arms recovered, over the share of
            questions sent to the dear arm: 0.5 for a random order.
        cpt50: Smallest share of dear calls that recovers half of the gap.
        cpt80: The same for four fifths.
        headroom: Area under accuracy over the share of extra tokens, as a share of what the
            oracle gains over a random order.
        saved: Share of the dear arm's tokens saved at no more than `MARGIN` lost; the threshold
            is read off the same questions, which flatters everybody alike.
        strong_share: Share of questions that the default decision sends to the dear arm.
        accuracy: Accuracy of the default decision.
        lift: The same minus that of a coin with this share.
        default_saved: Share of the dear arm's tokens that the default decision saves.
    """

    apgr: float
    cpt50: float
    cpt80: float
    headroom: float
    saved: float
    strong_share: float
    accuracy: float
    lift: float
    default_saved: float


@dataclass(frozen=True, slots=True)
class Metrics:
    """Figures on the questions as they are, and on resampled groups of them.

    Attributes:
        point: On the questions as they are.
        resamples: One row per resample, columns as in `Resampled`; the same resamples for every
            router on the same labels, so that differences are paired.
    """

    point: Resampled
    resamples: Floats

    def interval(self, name: str) -> Interval:
        """Return a figure with its interval; NaN ends where it is undefined too often."""
        return _interval(getattr(self.point, name), self._column(name))

    def difference(self, other: "Metrics", name: str) -> Interval:
        """Return this router's figure minus another's, with the interval of the difference."""
        value = getattr(self.point, name) - getattr(other.point, name)
        return _interval(value, self._column(name) - other._column(name))

    def _column(self, name: str) -> Floats:
        return self.resamples[:, Resampled._fields.index(name)]


def measure(
    labels: Labels,
    score: Floats | None,
    score_by_cost: Floats | None,
    is_strong: Bools | None,
    *,
    n_resamples: int = N_RESAMPLES,
) -> Metrics:
    """Judge one router.

    Args:
        labels: What really happened.
        score: Who goes to the dear arm first, highest first, shape `(n,)`; None if unknown.
        score_by_cost: The same where calls are paid by the token; `score` if None.
        is_strong: The default decision, shape `(n,)`; None if there is none.
        n_resamples: Bootstrap resamples.
    """
    by_tokens = score if score_by_cost is None else score_by_cost
    judge = _Judge(labels, score, by_tokens, is_strong)
    counts = _resampled_counts(labels.groups, n_resamples)
    rows = [judge.figures(count[labels.groups]) for count in counts]
    resamples = np.array(rows, dtype=np.float64).reshape(-1, len(Resampled._fields))
    return Metrics(judge.figures(np.ones(len(labels.weak))), resamples)


def pooled_ranks(scores: list[Floats]) -> Floats:
    """Return the scores of all folds as one ranking: each as its mid-rank within its fold.

    Each fold has a model of its own, so that only the order within a fold means anything.
    """
    parts: list[Floats] = []
    for score in scores:
        _, block, size = np.unique(score, return_inverse=True, return_counts=True)
        middle = np.cumsum(size) - (size - 1) / 2.0
        parts.append((middle[block] - 0.5) / max(len(score), 1))
    return np.concatenate(parts)


class _Judge:
    """One router's rankings, sorted once; every weighting of the questions reuses them."""

    def __init__(
        self,
        labels: Labels,
        score: Floats | None,
        score_by_cost: Floats | None,
        is_strong: Bools | None,
    ) -> None:
        self._labels = labels
        self._by_calls = None if score is None else _Order(score)
        self._by_tokens = None if score_by_cost is None else _Order(score_by_cost)
        self._is_strong = is_strong
        self._extra: Floats | None = None
        self._oracle: _Order | None = None
        if labels.weak_tokens is not None and labels.strong_tokens is not None:
            self._extra = labels.strong_tokens - labels.weak_tokens
            gain = labels.strong - labels.weak
            self._oracle = _Order(gain / np.maximum(self._extra, 1.0))

    def figures(self, weight: Floats) -> Resampled:
        labels, total = self._labels, weight.sum()
        weak, strong = ((weight @ values) / total for values in (labels.weak, labels.strong))
        gain = weight * (labels.strong - labels.weak) / total
        gap = strong - weak
        apgr = cpt50 = cpt80 = headroom = saved = np.nan
        if self._by_calls is not None and abs(gap) > 1e-12:
            share, won = self._by_calls.curve(weight / total), self._by_calls.curve(gain)
            apgr = _area(share, won / gap)
            cpt50, cpt80 = (_reached(share, won / gap, level) for level in (0.5, 0.8))
        if self._by_tokens is not None and self._extra is not None and self._oracle is not None:
            assert labels.strong_tokens is not None
            spent = weight * self._extra / total
            span = max(spent.sum(), 1e-12)
            random = gap / 2.0
            x, y = self._by_tokens.curve(spent / span), self._by_tokens.curve(gain)
            best = _area(self._oracle.curve(spent / span), self._oracle.curve(gain))
            if best - random > 1e-9:
                headroom = (_area(x, y) - random) / (best - random)
            dear = (weight @ labels.strong_tokens) / total
            saved = float(spent.sum() * (1.0 - _cheapest(x, y, gap - MARGIN)) / dear)
        share = accuracy = lift = default_saved = np.nan
        if self._is_strong is not None:
            share = (weight @ self._is_strong) / total
            accuracy = weak + gain @ self._is_strong
            lift = accuracy - weak - share * gap
            if self._extra is not None and labels.strong_tokens is not None:
                kept = weight * self._extra @ ~self._is_strong
                default_saved = kept / (weight @ labels.strong_tokens)
        return Resampled(
            *map(
                float,
                (apgr, cpt50, cpt80, headroom, saved, share, accuracy, lift, default_saved),
            )
        )


class _Order:
    """Positions in descending order of a score, and where its blocks of equal scores begin."""

    def __init__(self, score: Floats) -> None:
        self._order = np.argsort(-score, kind="stable")
        ranked = score[self._order]
        self._starts = np.flatnonzero(np.concatenate([[True], ranked[1:] != ranked[:-1]]))

    def curve(self, values: Floats) -> Floats:
        """Return 0 and the running sum of values after each block, shape `(n_blocks + 1,)`."""
        blocks = np.add.reduceat(values[self._order], self._starts)
        return np.concatenate([[0.0], np.cumsum(blocks)])


def _area(x: Floats, y: Floats) -> float:
    return float(np.trapezoid(y, x))


def _reached(x: Floats, y: Floats, level: float) -> float:
    """Return the first x at which the line through the points reaches a level."""
    above = np.flatnonzero(y >= level - 1e-12)
    if not len(above):
        return float("nan")
    end = int(above[0])
    if end == 0:
        return float(x[0])
    rise = y[end] - y[end - 1]
    return float(x[end - 1] + (x[end] - x[end - 1]) * (level - y[end - 1]) / rise)


def _cheapest(x: Floats, y: Floats, level: float) -> float:
    """Return the smallest x of any point on the line with y at or above a level.

    The last point, everything sent to the dear arm, always is; x may run backwards where an
    answer of the dear arm was shorter, so every segment is looked at.
    """
    points = x[y >= level - 1e-12]
    low, high = np.minimum(y[1:], y[:-1]), np.maximum(y[1:], y[:-1])
    crossing = np.flatnonzero((low < level) & (high >= level))
    share = (level - y[crossing]) / (y[crossing + 1] - y[crossing])
    between = x[crossing] + share * (x[crossing + 1] - x[crossing])
    return float(np.concatenate([points, between, x[-1:]]).min())


def _resampled_counts(groups: NDArray[np.int64], n_resamples: int) -> NDArray[np.int64]:
    """Return how often each group is drawn, shape `(n_resamples, n_groups)`."""
    n_groups = int(groups.max()) + 1
    rng = np.random.default_rng(0)
    return rng.multinomial(n_groups, np.full(n_groups, 1.0 / n_groups), size=n_resamples)


def _interval(value: float, resamples: Floats) -> Interval:
    known = resamples[np.isfinite(resamples)]
    if not np.isfinite(value) or len(known) < 0.9 * max(len(resamples), 1) or not len(known):
        return Interval(float(value), float("nan"), float("nan"))
    low, high = np.percentile(known, (2.5, 97.5))
    return Interval(float(value), float(low), float(high))
