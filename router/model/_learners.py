"""The learners that p(correct) is blended from, each cross-fitted the same way."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ._boosting import BoostingRows, Loss, cross_fit_trees, fit_forest, fit_trees
from ._calibration import soft_clip
from ._forest import Forest, parse_trees
from ._model import forest_p, neighbour_rates
from ._reference import MAX_REFERENCE
from ._training import TrainingData

__all__ = ["JointTrees", "RandomForest", "TreesPerArm", "linear_p", "neighbours_p", "unit_rows"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Trees gain nothing from more outcomes than this, and their time grows with them.
_MAX_CELLS = 150_000
_MAX_FOREST_QUESTIONS = 10_000
_FOREST_TREES = 160


@dataclass(slots=True)
class JointTrees:
    """One boosted model over all arms, which knows each row's arm by its features.

    Attributes:
        data: What it is fitted on.
        loss: `cross_entropy` for p(correct), `regression` for log tokens.
        seed: Seed.
        text: The fitted trees, after `fit`.
    """

    data: TrainingData
    loss: Loss
    seed: int
    _n_trees: int = 0

    def cross_fit(self) -> Floats:
        """Return what the trees add to the plain base scores, out of fold, `(n, n_arms)`."""
        data = self.data
        n_arms = len(data.matrix.arms)
        self._n_trees, parts = cross_fit_trees(
            self._rows(),
            len(data.folds),
            self.loss,
            self.seed,
            lambda fold: self._held_out(data.folds[fold]),
        )
        added = np.empty((data.matrix.n_questions, n_arms))
        for fold, part in zip(data.folds, parts, strict=True):
            added[fold] = part.reshape(len(fold), n_arms)
        return added

    def fit(self) -> str:
        """Return the trees fitted on all questions; call `cross_fit` first."""
        return fit_trees(self._rows(), self._n_trees, self.loss, self.seed)

    def _rows(self) -> BoostingRows:
        data = self.data
        targets, base = (
            (data.matrix.correct, data.logits)
            if self.loss == "cross_entropy"
            else (data.log_tokens, data.base_tokens)
        )
        questions, arms = np.nonzero(np.isfinite(targets))
        kept = _thin(len(questions), _MAX_CELLS)
        questions, arms = questions[kept], arms[kept]
        return BoostingRows(
            np.hstack([data.query[questions], data.pair[questions, arms], data.of_arms[arms]]),
            targets[questions, arms],
            base[questions, arms],
            _fold_of(data)[questions],
        )

    def _held_out(self, fold: Ints) -> Floats:
        data = self.data
        n_arms = len(data.matrix.arms)
        return np.hstack(
            [
                np.repeat(data.plain_query[fold], n_arms, axis=0),
                data.pair[fold].reshape(len(fold) * n_arms, -1),
                np.tile(data.of_arms, (len(fold), 1)),
            ]
        )


@dataclass(slots=True)
class TreesPerArm:
    """One boosted model of p(correct) for each arm.

    Attributes:
        data: What it is fitted on.
        seed: Seed.
    """

    data: TrainingData
    seed: int
    _n_trees: list[int] = field(default_factory=list[int])

    def cross_fit(self) -> Floats:
        """Return what the trees add to the plain base log-odds, out of fold, `(n, n_arms)`."""
        data = self.data
        plain = np.hstack([data.plain_query, data.scores])
        added = np.zeros_like(data.plain_logits)
        self._n_trees = []
        for arm in range(len(data.matrix.arms)):
            n_trees, parts = cross_fit_trees(
                self._rows(arm),
                len(data.folds),
                "cross_entropy",
                self.seed,
                lambda fold: plain[data.folds[fold]],
            )
            self._n_trees.append(n_trees)
            for fold, part in zip(data.folds, parts, strict=True):
                added[fold, arm] = part
        return added

    def fit(self) -> tuple[str, ...]:
        """Return each arm's trees fitted on all questions; call `cross_fit` first."""
        return tuple(
            fit_trees(self._rows(arm), n_trees, "cross_entropy", self.seed)
            for arm, n_trees in enumerate(self._n_trees)
        )

    def _rows(self, arm: int) -> BoostingRows:
        data = self.data
        rows = np.flatnonzero(data.matrix.is_measured[:, arm])
        rows = rows[_thin(len(rows), _MAX_CELLS)]
        return BoostingRows(
            np.hstack([data.query[rows], data.scores[rows]]),
            data.matrix.correct[rows, arm],
            data.logits[rows, arm],
            _fold_of(data)[rows],
        )


@dataclass(slots=True)
class RandomForest:
    """Extremely randomised trees for how a question's arms differ, and for what they share.

    One forest has the mean outcome of a question's arms as its target, one per arm how far the
    arm's outcome is from that mean: differences decide, and are learned as such.

    Attributes:
        data: What it is fitted on.
        seed: Seed.
    """

    data: TrainingData
    seed: int

    def cross_fit(self) -> Floats:
        """Return p out of fold, shape `(n_questions, n_arms)`."""
        data = self.data
        plain = np.hstack([data.plain_query, data.scores])
        everything = np.arange(len(plain))
        p = np.empty_like(data.p_base)
        for fold in data.folds:
            forest = Forest(
                [
                    parse_trees(text) if text else ()
                    for text in self._fit(np.setdiff1d(everything, fold))
                ],
                plain.shape[1],
                0,
                np.zeros((1, 0)),
            )
            for start in range(0, len(fold), 256):
                rows = fold[start : start + 256]
                parts = forest.raw_scores(plain[rows], np.zeros((len(rows), 1, 0)))
                p[rows] = forest_p(np.hstack(parts))
        return p

    def fit(self) -> tuple[str, ...]:
        """Return the forests of each arm, then the common one, fitted on all questions."""
        return self._fit(np.arange(self.data.matrix.n_questions))

    def _fit(self, rows: Ints) -> tuple[str, ...]:
        data = self.data
        rows = rows[_thin(len(rows), _MAX_FOREST_QUESTIONS)]
        correct = data.matrix.correct[rows]
        features = np.hstack([data.query[rows], data.scores[rows]])
        known = ~np.isnan(correct)
        common = np.where(known, correct, 0.0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
        n_arms = correct.shape[1]
        n_trees = max(_FOREST_TREES // (n_arms + 1), 10)
        texts: list[str] = []
        for arm in range(n_arms):
            of_arm = np.flatnonzero(known[:, arm])
            targets = correct[of_arm, arm] - common[of_arm]
            texts.append(fit_forest(features[of_arm], targets, n_trees, self.seed + arm))
        return (*texts, fit_forest(features, common, n_trees, self.seed + n_arms))


def linear_p(data: TrainingData) -> Floats:
    """Return p by the ridge regressions alone, out of fold, `(n_questions, n_arms)`."""
    return soft_clip(data.scores)


def neighbours_p(data: TrainingData, known: Ints) -> Floats:
    """Return p by the nearest measured questions of the other folds, `(n_questions, n_arms)`.

    Args:
        data: The questions.
        known: Questions that the router will remember.
    """
    correct = np.nan_to_num(data.matrix.correct, nan=-1.0).astype(np.float32)
    topics = unit_rows(data.topics)
    fold_of = _fold_of(data)
    rates = np.empty_like(data.p_base)
    for number, fold in enumerate(data.folds):
        others = known[fold_of[known] != number][:MAX_REFERENCE]
        rates[fold] = (
            neighbour_rates(data.topics[fold], topics[others], correct[others], data.p_base[fold])
            if len(others)
            else data.p_base[fold]
        )
    return rates


def unit_rows(values: Floats) -> NDArray[np.float32]:
    """Return rows of length 1 (0 for rows of zeros)."""
    lengths = np.sqrt((values * values).sum(axis=1, keepdims=True))
    return np.divide(values, lengths, out=np.zeros_like(values), where=lengths > 0).astype(
        np.float32
    )


def _fold_of(data: TrainingData) -> Ints:
    fold_of = np.zeros(data.matrix.n_questions, dtype=np.int64)
    for number, fold in enumerate(data.folds):
        fold_of[fold] = number
    return fold_of


def _thin(n: int, limit: int) -> Ints:
    """Return at most `limit` of `n` positions, evenly spread."""
    return np.arange(n) if n <= limit else np.linspace(0, n - 1, limit).astype(np.int64)
