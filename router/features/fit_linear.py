"""Fitting of the linear scores, the only use of scikit-learn."""

from collections.abc import Sequence
from importlib import import_module
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from .sparse import LinearScores, Terms

__all__ = ["fit_scores"]

_RIDGE_ALPHA = 5.0
_LOGISTIC_C = 10.0


def fit_scores(
    terms: Terms,
    targets: NDArray[np.float64],
    types: NDArray[np.int64],
    n_types: int,
    n_terms: int,
    rows: NDArray[np.int64] | None = None,
) -> LinearScores:
    """Fit ridge regressions of all targets and logits of the task types.

    Deterministic; the same terms give the same scores.

    Args:
        terms: TF-IDF rows of all texts.
        targets: One column per regression, NaN where not measured, shape `(n_texts, n_targets)`.
        types: Task type of each text in `[0, n_types)`, shape `(n_texts,)`.
        n_types: Number of task types; their logits follow the regressions.
        n_terms: Number of columns of the TF-IDF rows.
        rows: Texts to fit on, all by default.
    """
    matrix = _sparse_matrix(terms, len(targets), n_terms)
    used = np.arange(len(targets)) if rows is None else rows
    weights = np.zeros((n_terms, targets.shape[1] + n_types), dtype=np.float32)
    intercepts = np.zeros(targets.shape[1] + n_types)
    # One thread: these problems are small, and sums then have one order on every machine.
    with _library("threadpoolctl").threadpool_limits(1):
        for column in range(targets.shape[1]):
            present = used[~np.isnan(targets[used, column])]
            _fit_ridge(matrix, targets[:, column], present, column, weights, intercepts)
        _fit_types(matrix, types, used, targets.shape[1], weights, intercepts)
    return LinearScores(weights, intercepts)


def _fit_ridge(
    matrix: Any,
    target: NDArray[np.float64],
    rows: NDArray[np.int64],
    column: int,
    weights: NDArray[np.float32],
    intercepts: NDArray[np.float64],
) -> None:
    values = target[rows]
    intercepts[column] = values.mean() if len(values) else 0.0
    # A handful of questions may share no word that occurs twice.
    if len(values) < 2 or matrix.shape[1] == 0 or np.ptp(values) == 0.0:
        return
    linear_model = _library("sklearn.linear_model")
    model = linear_model.Ridge(alpha=_RIDGE_ALPHA, solver="sparse_cg").fit(matrix[rows], values)
    weights[:, column] = model.coef_
    intercepts[column] = model.intercept_


def _fit_types(
    matrix: Any,
    types: NDArray[np.int64],
    rows: NDArray[np.int64],
    first_column: int,
    weights: NDArray[np.float32],
    intercepts: NDArray[np.float64],
) -> None:
    """Fit a multinomial logistic regression; a type without texts gets a very low logit."""
    intercepts[first_column:] = -30.0
    classes = cast("Sequence[int]", np.unique(types[rows]).tolist())
    columns = [first_column + label for label in classes]
    intercepts[columns] = 0.0
    if len(classes) < 2:
        return
    linear_model = _library("sklearn.linear_model")
    model = linear_model.LogisticRegression(C=_LOGISTIC_C, max_iter=1000, tol=1e-3)
    model.fit(matrix[rows], types[rows])
    coefficients, biases = np.asarray(model.coef_), np.asarray(model.intercept_)
    if len(classes) == 2:  # one row for the second class; the first one's logit is 0
        columns = columns[1:]
    weights[:, columns] = coefficients.T
    intercepts[columns] = biases


def _library(module: str) -> Any:
    """Import an untyped library when it is needed."""
    return import_module(module)


def _sparse_matrix(terms: Terms, n_texts: int, n_terms: int) -> Any:
    entries = (terms.values, (terms.rows, terms.terms))
    return _library("scipy.sparse").csr_matrix(entries, shape=(n_texts, n_terms))
