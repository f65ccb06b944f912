"""Fitting of the linear scores, the only use of scikit-learn."""

from importlib import import_module
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from .sparse import LinearScores, Terms

__all__ = ["LinearFitter", "ScoreColumns"]

_RIDGE_ALPHA = 5.0
_LOGISTIC_C = 10.0
_MAX_DIMENSIONS = 48
_TEXTS_PER_DIMENSION = 8
# What is smaller is rounding.
_MIN_SINGULAR, _MIN_COMPONENT = 1e-3, 1e-6
# Logits of labels need no more texts than this.
_MAX_LABELLED = 8_000

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class ScoreColumns:
    """Where each kind of score stands among the columns of `LinearScores`.

    Attributes:
        correct: p(correct) of each arm.
        tokens: ln(1 + tokens) of each arm.
        labels: Logits of the labels.
        topics: Coordinates in the space of the leading singular vectors.
        n: Number of columns.
    """

    def __init__(self, n_arms: int, n_labels: int, n_dimensions: int) -> None:
        """Lay the columns out."""
        self.correct = slice(0, n_arms)
        self.tokens = slice(n_arms, 2 * n_arms)
        self.labels = slice(2 * n_arms, 2 * n_arms + n_labels)
        self.n = 2 * n_arms + n_labels + n_dimensions
        self.topics = slice(2 * n_arms + n_labels, self.n)


class LinearFitter:
    """Fits linear scores on the TF-IDF rows of one set of texts, whole or in part.

    Deterministic; the same terms give the same scores.

    Source:
        Latent semantic analysis (Deerwester et al. 1990) for the topics: truncated singular
        value decomposition of the TF-IDF rows, which needs no labels and so no folds.
    """

    def __init__(self, terms: Terms, n_texts: int, n_terms: int) -> None:
        """Take the texts and find their topics.

        Args:
            terms: TF-IDF rows of all texts.
            n_texts: Number of texts.
            n_terms: Number of columns of the TF-IDF rows.
        """
        entries = (terms.values, (terms.rows, terms.terms))
        self._rows = _library("scipy.sparse").csr_matrix(entries, shape=(n_texts, n_terms))
        wanted = min(_MAX_DIMENSIONS, n_texts // _TEXTS_PER_DIMENSION, n_terms - 1)
        self._components = self._topics(max(wanted, 0))

    @property
    def n_dimensions(self) -> int:
        """Number of topics."""
        return self._components.shape[1]

    def fit(self, targets: Floats, labels: Ints, n_labels: int, rows: Ints) -> LinearScores:
        """Fit ridge regressions of all targets and logits of the labels.

        Args:
            targets: One column per regression, NaN where not measured, `(n_texts, n_targets)`.
            labels: Label of each text in `[0, n_labels)`, shape `(n_texts,)`.
            n_labels: Number of labels; their logits follow the regressions, then the topics.
            rows: Texts to fit on.
        """
        n_terms, n_targets = self._rows.shape[1], targets.shape[1]
        regressions, biases = self._ridges(targets, rows)
        logits, label_biases = self._label_logits(labels, n_labels, rows)
        weights = np.zeros((n_terms, n_targets + n_labels + self.n_dimensions), dtype=np.float32)
        weights[:, :n_targets] = regressions
        weights[:, n_targets : n_targets + n_labels] = logits
        weights[:, n_targets + n_labels :] = self._components
        return LinearScores(
            weights, np.concatenate([biases, label_biases, np.zeros(self.n_dimensions)])
        )

    def apply(self, scores: LinearScores, rows: Ints) -> Floats:
        """Return the scores of some of the texts, shape `(len(rows), n_scores)`."""
        return np.asarray(self._rows[rows] @ scores.weights.astype(np.float64)) + scores.intercepts

    def _topics(self, n_dimensions: int) -> Floats:
        n_terms = self._rows.shape[1]
        if n_dimensions < 2:
            return np.zeros((n_terms, 0))
        with _library("threadpoolctl").threadpool_limits(1):
            _, lengths, components = _library("sklearn.utils.extmath").randomized_svd(
                self._rows, n_dimensions, n_iter=4, random_state=0
            )
        # Beyond the rank of the rows are vectors of rounding noise: all texts of a kind get the
        # same 1e-17, trees split on it, and a served text gets another one.
        found = components[lengths > _MIN_SINGULAR * lengths[0]]
        return np.ascontiguousarray(np.where(np.abs(found) < _MIN_COMPONENT, 0.0, found).T)

    def _ridges(self, targets: Floats, rows: Ints) -> tuple[Floats, Floats]:
        n_terms, n_targets = self._rows.shape[1], targets.shape[1]
        weights, biases = np.zeros((n_terms, n_targets)), np.zeros(n_targets)
        known = ~np.isnan(targets[rows])
        # Arms measured on the same questions share one factorisation.
        patterns: dict[bytes, list[int]] = {}
        for column in range(n_targets):
            patterns.setdefault(known[:, column].tobytes(), []).append(column)
        for columns in patterns.values():
            present = rows[known[:, columns[0]]]
            values = targets[present][:, columns]
            if not len(present):
                continue
            biases[columns] = values.mean(axis=0)
            # A handful of questions may share no word that occurs twice.
            if len(present) < 2 or n_terms == 0:
                continue
            weights[:, columns] = _ridge(self._rows[present], values - biases[columns])
        return weights, biases

    def _label_logits(self, labels: Ints, n_labels: int, rows: Ints) -> tuple[Floats, Floats]:
        """Fit a multinomial logistic regression; a label without texts gets a very low logit."""
        weights = np.zeros((self._rows.shape[1], n_labels))
        biases = np.full(n_labels, -30.0)
        used = rows[np.linspace(0, len(rows) - 1, min(len(rows), _MAX_LABELLED)).astype(np.int64)]
        found = cast("list[int]", np.unique(labels[used]).tolist())
        biases[found] = 0.0
        if len(found) < 2 or self._rows.shape[1] == 0:
            return weights, biases
        linear_model = _library("sklearn.linear_model")
        # One thread: sums then have one order on every machine.
        with _library("threadpoolctl").threadpool_limits(1):
            model = linear_model.LogisticRegression(C=_LOGISTIC_C, max_iter=200, tol=1e-3)
            model.fit(self._rows[used], labels[used])
        coefficients, intercepts = np.asarray(model.coef_), np.asarray(model.intercept_)
        if len(found) == 2:  # one row for the second label; the first one's logit is 0
            found = found[1:]
        weights[:, found] = coefficients.T
        biases[found] = intercepts
        return weights, biases


def _ridge(rows: Any, targets: Floats) -> Floats:
    """Return `argmin |rows w - targets|^2 + alpha |w|^2` for all targets at once.

    Conjugate gradients on the normal equations, all right-hand sides in step: the products with
    the sparse rows, which take the time, are shared by the targets.
    """
    weights = np.zeros((rows.shape[1], targets.shape[1]))
    transposed = rows.T.tocsr()
    residual = transposed @ targets
    direction, energy = residual.copy(), (residual * residual).sum(axis=0)
    goal = 1e-8 * energy
    for _ in range(100):
        if (energy <= goal).all():
            break
        image = transposed @ (rows @ direction) + _RIDGE_ALPHA * direction
        curvature = (direction * image).sum(axis=0)
        step = np.divide(energy, curvature, out=np.zeros_like(energy), where=curvature > 0)
        weights += step * direction
        residual -= step * image
        fresh = (residual * residual).sum(axis=0)
        direction = residual + direction * np.divide(
            fresh, energy, out=np.zeros_like(energy), where=energy > 0
        )
        energy = fresh
    return weights


def _library(module: str) -> Any:
    """Import an untyped library when it is needed."""
    return import_module(module)
