"""Fitting of boosted trees, the only use of LightGBM."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ._tree_text import slim_text

__all__ = ["BoostingRows", "Loss", "cross_fit_trees", "fit_forest", "fit_trees"]

Loss = Literal["cross_entropy", "regression"]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_MAX_ROUNDS = 150
# No tree can split fewer rows, with at least ten in each leaf.
_MIN_ROWS = 20
_PATIENCE = 15
# A thread costs more than it brings below this many rows.
_ROWS_PER_THREAD = 20_000
_PARAMETERS: dict[str, Any] = {
    "learning_rate": 0.06,
    "num_leaves": 12,
    "max_bin": 63,
    "lambda_l2": 5.0,
    "feature_fraction": 0.4,
    "bagging_fraction": 0.7,
    "bagging_freq": 1,
    "deterministic": True,
    "force_col_wise": True,
    "verbosity": -1,
}

_FOREST: dict[str, Any] = {
    "objective": "regression",
    "boosting": "rf",
    "extra_trees": True,
    "num_leaves": 32,
    "min_data_in_leaf": 10,
    "max_bin": 63,
    "feature_fraction": 0.3,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "deterministic": True,
    "force_col_wise": True,
    "verbosity": -1,
}


@dataclass(frozen=True, slots=True)
class BoostingRows:
    """Rows to fit trees on.

    Attributes:
        features: Finite features, shape `(n_rows, n_features)`.
        targets: In [0, 1] for `cross_entropy`, shape `(n_rows,)`.
        base: Score the trees are added to (a logit for `cross_entropy`), shape `(n_rows,)`.
        fold: Fold of each row, shape `(n_rows,)`; a group lies in one fold.
    """

    features: Floats
    targets: Floats
    base: Floats
    fold: Ints


def cross_fit_trees(
    rows: BoostingRows,
    n_folds: int,
    loss: Loss,
    seed: int,
    held_out: Callable[[int], Floats],
) -> tuple[int, list[Floats]]:
    """Find the number of trees by cross-validation and predict each fold by the others' trees.

    The number is the one at which the mean validation loss over the folds is lowest; 0 if no
    tree helps. Deterministic for a seed.

    Args:
        rows: What to fit on; some folds may have no rows.
        n_folds: Number of folds.
        loss: Loss.
        seed: Seed of feature and row sampling.
        held_out: Features to predict for a fold, from its number.

    Returns:
        Number of trees, and per fold what they add to the base scores of its held-out features.
    """
    numbers = np.unique(rows.fold).tolist()
    predictions = [np.zeros(len(held_out(fold))) for fold in range(n_folds)]
    if len(rows.targets) < _MIN_ROWS or len(numbers) < 2:
        return 0, predictions
    library: Any = import_module("lightgbm")
    parts = [(np.flatnonzero(rows.fold != k), np.flatnonzero(rows.fold == k)) for k in numbers]
    history = library.cv(
        _parameters(len(rows.targets), loss, seed),
        _dataset(library, rows),
        num_boost_round=_MAX_ROUNDS,
        folds=parts,
        callbacks=[library.early_stopping(_PATIENCE, verbose=False)],
        return_cvbooster=True,
    )
    boosters = history.pop("cvbooster").boosters
    losses = next(values for name, values in history.items() if name.endswith("-mean"))
    n_trees = int(np.argmin(losses)) + 1
    if not losses[n_trees - 1] < _loss(rows, loss):
        n_trees = 0
    for number, booster in zip(numbers, boosters, strict=True):
        features = held_out(number)
        if n_trees and len(features):
            predictions[number] = np.asarray(
                booster.predict(features, num_iteration=n_trees, raw_score=True)
            )
    return n_trees, predictions


def fit_trees(rows: BoostingRows, n_trees: int, loss: Loss, seed: int) -> str:
    """Fit trees on all rows and return them as a LightGBM text model, "" without trees."""
    if n_trees == 0:
        return ""
    library: Any = import_module("lightgbm")
    booster = library.train(
        _parameters(len(rows.targets), loss, seed), _dataset(library, rows), n_trees
    )
    return slim_text(booster.model_to_string(num_iteration=n_trees))


def fit_forest(features: Floats, targets: Floats, n_trees: int, seed: int) -> str:
    """Fit a forest of extremely randomised trees and return it as a LightGBM text model.

    With fewer than two rows there are no trees, and the text is "".

    Args:
        features: Finite features, shape `(n_rows, n_features)`.
        targets: What the leaves average, shape `(n_rows,)`.
        n_trees: Number of trees.
        seed: Seed.

    Source:
        Geurts, Ernst and Wehenkel (Machine Learning 2006), with 32 leaves at most.
    """
    if len(targets) < 2:
        return ""
    library: Any = import_module("lightgbm")
    data = library.Dataset(features, targets, free_raw_data=False)
    booster = library.train(_FOREST | {"seed": seed, "num_threads": 1}, data, n_trees)
    return slim_text(booster.model_to_string())


def _parameters(n_rows: int, loss: Loss, seed: int) -> dict[str, Any]:
    return _PARAMETERS | {
        "objective": loss,
        "metric": "cross_entropy" if loss == "cross_entropy" else "l2",
        "min_data_in_leaf": int(np.clip(n_rows // 200, 10, 100)),
        "num_threads": min(os.cpu_count() or 1, 1 + n_rows // _ROWS_PER_THREAD),
        "seed": seed,
    }


def _dataset(library: Any, rows: BoostingRows) -> Any:
    return library.Dataset(rows.features, rows.targets, init_score=rows.base, free_raw_data=False)


def _loss(rows: BoostingRows, loss: Loss) -> float:
    """Return the mean loss of the base score alone, as LightGBM computes it."""
    if loss == "regression":
        return float(np.mean((rows.targets - rows.base) ** 2))
    return float(np.mean(np.logaddexp(0.0, rows.base) - rows.targets * rows.base))
