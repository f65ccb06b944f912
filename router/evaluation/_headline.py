"""The first line: tokens saved at non-inferior accuracy, as certified and as read off."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ._certification import PairedMoments, certify, start_weights
from ._realised import Realised
from ._resampling import GroupBootstrap, group_sums

__all__ = ["Headline", "Walk", "certified", "point_estimate", "unselected"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Headline:
    """Tokens saved against a reference arm, and what that costs in accuracy.

    Attributes:
        tokens_saved: Share of the reference arm's tokens that is not spent; 0 where the
            reference arm itself is the answer.
        tokens_saved_low: Lower end of its two-sided bootstrap interval over groups, at the
            point given: that the point was chosen is not in it.
        tokens_saved_high: Upper end.
        accuracy_difference: Accuracy minus the reference arm's.
        ci_low: One-sided lower bound of that difference, clustered by group.
        margin: Accuracy that may be lost.
        confidence: Confidence of `ci_low` and of the interval.
        reference: The reference arm.
        choice: What saves them: an arm, a trade-off, or the reference arm if nothing does.
        tradeoff: The trade-off, where there is one.
        is_certified: Whether `difference >= -margin` may be relied on at the confidence, the
            choice among all points included.
        n: Questions.
        n_groups: Independent groups of questions.
    """

    tokens_saved: float
    tokens_saved_low: float
    tokens_saved_high: float
    accuracy_difference: float
    ci_low: float
    margin: float
    confidence: float
    reference: str
    choice: str
    tradeoff: float | None
    is_certified: bool
    n: int
    n_groups: int


@dataclass(frozen=True, slots=True)
class Walk:
    """Alternatives to a reference arm, from dear to cheap, on the same questions.

    Attributes:
        names: What to call each alternative.
        tradeoffs: Its trade-off, `None` for a fixed arm.
        correct: Share correct, shape `(n_questions, n_alternatives)`.
        tokens: Generated tokens, same shape.
        expected_cost: Expected mean cost of each alternative in any unit, known without the
            outcomes of these questions, shape `(n_alternatives,)`.
        reference: What the reference arm did.
        reference_name: Its name.
        bootstrap: The groups of the questions.
        margin: Accuracy that may be lost.
        confidence: One-sided confidence of bounds, in (0.5, 1).
    """

    names: tuple[str, ...]
    tradeoffs: tuple[float | None, ...]
    correct: Floats
    tokens: Floats
    expected_cost: Floats
    reference: Realised
    reference_name: str
    bootstrap: GroupBootstrap
    margin: float
    confidence: float

    @property
    def differences(self) -> Floats:
        """Accuracy minus the reference's, shape `(n_questions, n_alternatives)`."""
        return self.correct - self.reference.correct[:, np.newaxis]

    @property
    def saved(self) -> Floats:
        """Share of the reference's tokens saved by each alternative, `(n_alternatives,)`."""
        total = max(float(self.reference.tokens.sum()), 1e-12)
        return 1.0 - self.tokens.sum(axis=0) / total


def certified(walk: Walk) -> Headline:
    """Return the most tokens saved among alternatives that are certified to be non-inferior.

    The claim holds although the same questions chose the alternative: see `certify`.
    """
    if not walk.names:
        return _headline(walk, None, is_certified=False)
    moments = PairedMoments.of(walk.differences, walk.bootstrap.index)
    weights = start_weights(walk.expected_cost)
    passed = certify(moments, weights, margin=walk.margin, error=1.0 - walk.confidence)
    best = _most_saved(walk, passed)
    return _headline(walk, best, is_certified=best is not None)


def point_estimate(walk: Walk) -> Headline:
    """Return the most tokens saved among alternatives that lost at most the margin as measured.

    Optimistic: it is read off the predictions that it is judged by.
    """
    allowed = walk.differences.mean(axis=0) >= -walk.margin - 1e-12
    return _headline(walk, _most_saved(walk, allowed), is_certified=False)


def unselected(walk: Walk) -> Headline:
    """Return the figures of a walk of one alternative that was chosen without these questions."""
    moments = PairedMoments.of(walk.differences, walk.bootstrap.index)
    holds = bool(moments.low(1.0 - walk.confidence)[0] >= -walk.margin)
    return _headline(walk, 0, is_certified=holds)


def _most_saved(walk: Walk, allowed: NDArray[np.bool_]) -> int | None:
    saved = np.where(allowed, walk.saved, -np.inf)
    best = int(saved.argmax()) if len(saved) else 0
    return best if len(saved) and saved[best] > 0.0 else None


def _headline(walk: Walk, best: int | None, *, is_certified: bool) -> Headline:
    n, n_groups = len(walk.reference.correct), walk.bootstrap.n_groups
    saved = low = high = difference = bound = 0.0
    if best is not None:
        differences = walk.differences[:, best : best + 1]
        saved, difference = float(walk.saved[best]), float(differences.mean())
        moments = PairedMoments.of(differences, walk.bootstrap.index)
        bound = max(float(moments.low(1.0 - walk.confidence)[0]), -1.0)
        low, high = _saved_ends(walk, best)
    return Headline(
        tokens_saved=saved,
        tokens_saved_low=low,
        tokens_saved_high=high,
        accuracy_difference=difference,
        ci_low=bound,
        margin=walk.margin,
        confidence=walk.confidence,
        reference=walk.reference_name,
        choice=walk.reference_name if best is None else walk.names[best],
        tradeoff=None if best is None else walk.tradeoffs[best],
        is_certified=is_certified,
        n=n,
        n_groups=n_groups,
    )


def _saved_ends(walk: Walk, best: int) -> tuple[float, float]:
    index, n_groups = walk.bootstrap.index, walk.bootstrap.n_groups
    spent = np.stack([walk.tokens[:, best], walk.reference.tokens], axis=1)
    sums = group_sums(spent, index, n_groups)
    drawn = [weights @ sums for weights in walk.bootstrap.batches()]
    ours, theirs = np.concatenate(drawn).T
    shares = 1.0 - ours / np.maximum(theirs, 1e-12)
    tail = (1.0 - walk.confidence) / 2.0
    low, high = np.quantile(shares, [tail, 1.0 - tail]).tolist()
    return low, high
