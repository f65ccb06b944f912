"""Bootstrap over groups: weights for whole groups, made in batches that fit into memory."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["GroupBootstrap", "group_sums"]

_MAX_BATCH_VALUES = 1_000_000
"""Weights held at once: 8 MB; what is computed from them takes about ten times as much."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def group_sums(values: Floats, index: Ints, n_groups: int) -> Floats:
    """Return sums over the rows of each group, shape `(n_groups, ...)`.

    Args:
        values: One row per question, shape `(n_questions, ...)`.
        index: Group number of each question, shape `(n_questions,)`.
        n_groups: Number of groups; one without a question sums to 0.
    """
    sums = np.zeros((n_groups, *values.shape[1:]))
    if len(index) == 0:
        return sums
    order = np.argsort(index, kind="stable")
    ordered = index[order]
    starts = np.flatnonzero(np.diff(ordered, prepend=-1))
    sums[ordered[starts]] = np.add.reduceat(values[order], starts, axis=0)
    return sums


class GroupBootstrap:
    """How often each group is drawn, resample by resample; equal for equal groups and seed.

    Attributes:
        index: Group number of each question, shape `(n_questions,)`.
        n_groups: Number of groups.
    """

    def __init__(self, groups: Sequence[str], *, n_resamples: int, seed: int) -> None:
        """Number the groups.

        Args:
            groups: Group of each question.
            n_resamples: Resamples in all.
            seed: Seed of the draws.
        """
        names, index = np.unique(np.array(groups, dtype=object), return_inverse=True)
        self.index: Ints = index.astype(np.int64)
        self.n_groups: int = len(names)
        self._n_resamples = n_resamples
        self._seed = seed

    def batches(self) -> Iterator[Floats]:
        """Yield weights of groups, shape `(n_in_batch, n_groups)`; each row sums to `n_groups`."""
        rng = np.random.default_rng(self._seed)
        size = max(1, _MAX_BATCH_VALUES // max(len(self.index), self.n_groups, 1))
        for start in range(0, self._n_resamples, size):
            n_rows = min(size, self._n_resamples - start)
            drawn = rng.integers(self.n_groups, size=(n_rows, self.n_groups))
            drawn += self.n_groups * np.arange(n_rows)[:, np.newaxis]
            counts = np.bincount(drawn.ravel(), minlength=n_rows * self.n_groups)
            yield counts.reshape(n_rows, self.n_groups).astype(np.float64)
