"""Fitting of boosted trees, the only use of LightGBM."""

import os
from collections.abc import Sequence
from importlib import import_module
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["fit_booster"]

_MAX_ROUNDS = 150
_PATIENCE = 20
# A thread costs more than it brings below this many rows.
_ROWS_PER_THREAD = 50_000
_PARAMETERS: dict[str, Any] = {
    "learning_rate": 0.06,
    "num_leaves": 12,
    "max_bin": 63,
    "lambda_l2": 5.0,
    "feature_fraction": 0.6,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "deterministic": True,
    "force_col_wise": True,
    "verbosity": -1,
}


def fit_booster(
    features: NDArray[np.float64],
    targets: NDArray[np.float64],
    base: NDArray[np.float64],
    folds: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]],
    *,
    objective: Literal["cross_entropy", "regression"],
    seed: int,
) -> str:
    """Fit trees on top of a base score and return them as a LightGBM text model.

    The number of trees is the one at which the mean validation loss over the folds is lowest;
    0 trees are returned as an empty string. Deterministic for a seed.

    Args:
        features: Finite features, shape `(n_rows, n_features)`.
        targets: In [0, 1] for `cross_entropy`, shape `(n_rows,)`.
        base: Score the trees are added to (a logit for `cross_entropy`), shape `(n_rows,)`.
        folds: Row indices `(fitting, validation)` per fold; a group lies on one side.
        objective: Loss.
        seed: Seed of feature and row sampling.
    """
    library: Any = import_module("lightgbm")
    parameters = _PARAMETERS | {
        "objective": objective,
        "metric": "cross_entropy" if objective == "cross_entropy" else "l2",
        "min_data_in_leaf": max(10, len(targets) // 200),
        "num_threads": min(os.cpu_count() or 1, 1 + len(targets) // _ROWS_PER_THREAD),
        "seed": seed,
    }

    def dataset() -> Any:
        return library.Dataset(features, targets, init_score=base, free_raw_data=False)

    history = library.cv(
        parameters,
        dataset(),
        num_boost_round=_MAX_ROUNDS,
        folds=list(folds),
        callbacks=[library.early_stopping(_PATIENCE, verbose=False)],
    )
    losses = next(values for name, values in history.items() if name.endswith("-mean"))
    n_rounds = int(np.argmin(losses)) + 1
    if not losses[n_rounds - 1] < _loss(targets, base, objective):
        return ""
    booster = library.train(parameters, dataset(), num_boost_round=n_rounds)
    return str(booster.model_to_string(num_iteration=n_rounds))


def _loss(targets: NDArray[np.float64], base: NDArray[np.float64], objective: str) -> float:
    """Return the mean loss of the base score alone, as LightGBM computes it."""
    if objective == "regression":
        return float(np.mean((targets - base) ** 2))
    return float(np.mean(np.logaddexp(0.0, base) - targets * base))
