"""Folds over groups of questions."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["group_folds"]

Ints = NDArray[np.int64]


def group_folds(groups: Sequence[str], n_folds: int, rng: np.random.Generator) -> list[Ints]:
    """Split positions into folds of about equal size; a group is never split.

    Args:
        groups: Group of each position.
        n_folds: Number of folds wanted; fewer come back if there are fewer groups.
        rng: Decides which groups go together.
    """
    names, group_of = np.unique(np.array(groups, dtype=object), return_inverse=True)
    sizes = np.bincount(group_of)
    order = rng.permutation(len(names))
    order = order[np.argsort(-sizes[order], kind="stable")]
    loads = np.zeros(min(n_folds, len(names)), dtype=np.int64)
    fold_of_group = np.empty(len(names), dtype=np.int64)
    for group in order:
        fold_of_group[group] = loads.argmin()
        loads[fold_of_group[group]] += sizes[group]
    folds = fold_of_group[group_of]
    return [np.flatnonzero(folds == fold) for fold in range(len(loads))]
