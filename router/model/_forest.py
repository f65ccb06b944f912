"""Boosted trees read from LightGBM's text format and evaluated for all arms of a query at once.

Serving so needs no LightGBM, and takes less time than its `predict`. Every tree's leaves are bits
of a word, numbered from left to right. A split that sends a query to the right rules out the
leaves on its left, so each value of each feature allows a set of leaves in each tree, and the exit
leaf is the lowest bit that all features allow. The sets are tabulated per feature at load time.
Features of the arm are known in advance and features of the query are equal for all arms, so
neither is evaluated per arm.

Source:
    QuickScorer (Lucchese et al., SIGIR 2015), section 3; the tables per feature and the split
    into query, pair and arm features are ours.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, groupby, pairwise
from math import isfinite
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["MAX_LEAVES", "FeatureTable", "Forest", "Splits", "Tree", "parse_trees"]

MAX_LEAVES = 64
_MAX_VALUE = 1e6
_MAX_TREES = 5000
# The tables grow with splits times trees; 128 MiB is ten times what fitting ever makes.
_MAX_TABLE_WORDS = 2**24
_MAX_CELLS = 2**18

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Tree:
    """One tree: inner nodes by index, a negative child `c` is leaf `~c`.

    Attributes:
        features: Feature of each inner node.
        thresholds: A value `<=` the threshold goes left.
        left: Left child of each inner node.
        right: Right child.
        values: Value of each leaf.
    """

    features: tuple[int, ...]
    thresholds: tuple[float, ...]
    left: tuple[int, ...]
    right: tuple[int, ...]
    values: tuple[float, ...]


def parse_trees(text: str) -> tuple[Tree, ...]:
    """Read the trees of a LightGBM text model with numerical splits and no missing values.

    Raises:
        ValueError: The text is no such model.
    """
    end = text.find("end of trees")
    if not text.startswith("tree\n") or end < 0:
        raise ValueError("not a LightGBM text model")
    head, *parts = text[:end].split("\nTree=")
    if len(parts) > _MAX_TREES:
        raise ValueError(f"{len(parts)} trees are more than {_MAX_TREES}")
    # A random forest's prediction is the mean of its trees.
    divisor = len(parts) if "\naverage_output\n" in head else 1
    return tuple(_parse_tree(part, divisor) for part in parts)


def _parse_tree(part: str, divisor: int) -> Tree:
    fields = dict(line.split("=", 1) for line in part.split("\n")[1:] if "=" in line)
    if fields.get("num_cat", "0") != "0" or fields.get("is_linear", "0") != "0":
        raise ValueError("categorical splits and linear leaves are not supported")
    values = tuple(map(float, fields["leaf_value"].split()))
    # `max` and `min` may pass over a NaN, their sum does not.
    if not (isfinite(sum(values)) and max(values) <= _MAX_VALUE and min(values) >= -_MAX_VALUE):
        raise ValueError(f"a leaf's value is not a number up to {_MAX_VALUE:g}")
    if divisor > 1:
        values = tuple(value / divisor for value in values)
    if fields["num_leaves"] == "1" and len(values) == 1:
        return Tree((), (), (), (), values)
    tree = Tree(
        tuple(map(int, fields["split_feature"].split())),
        tuple(map(float, fields["threshold"].split())),
        tuple(map(int, fields["left_child"].split())),
        tuple(map(int, fields["right_child"].split())),
        values,
    )
    _check_tree(tree)
    return tree


def _check_tree(tree: Tree) -> None:
    """Check that each node but the first is some node's child, and that numbers are finite."""
    n_inner = len(tree.features)
    lengths = {len(tree.thresholds), len(tree.left), len(tree.right), len(tree.values) - 1}
    children = sorted(tree.left + tree.right)
    expected = [*range(-n_inner - 1, 0), *range(1, n_inner)]
    if lengths != {n_inner} or children != expected or not np.isfinite(tree.thresholds).all():
        raise ValueError("a tree's nodes do not form a tree of finite numbers")
    if n_inner >= MAX_LEAVES or min(tree.features) < 0:
        raise ValueError(f"a tree has more than {MAX_LEAVES} leaves or a negative feature")


class Splits(NamedTuple):
    """The splits of several trees.

    Attributes:
        features: Feature of each split, shape `(n_splits,)`.
        thresholds: A value above the threshold goes right, same shape.
        trees: Tree of each split, same shape.
        masks: Leaves of the tree that are left for a value above the threshold, same shape;
            unsigned, one bit for each leaf.
    """

    features: Ints
    thresholds: Floats
    trees: Ints
    masks: NDArray[Any]

    def within(self, columns: range) -> "Splits":
        """Return the splits on some features, which are then counted from 0, ascending."""
        kept = np.flatnonzero((self.features >= columns.start) & (self.features < columns.stop))
        order = kept[np.lexsort((self.thresholds[kept], self.features[kept]))]
        return Splits(
            self.features[order] - columns.start,
            self.thresholds[order],
            self.trees[order],
            self.masks[order],
        )


class FeatureTable:
    """Allowed leaves of all trees by the values of some of the features.

    Attributes:
        n_trees: Number of trees.
        n_rows: Number of sets that are tabulated, 0 where no tree uses the features.
    """

    def __init__(self, splits: Splits, n_trees: int) -> None:
        """Tabulate splits.

        Args:
            splits: Splits by ascending feature and threshold, see `Splits.within`; features are
                counted as the values given to `allowed` are.
            n_trees: Number of trees.
        """
        self.n_trees = n_trees
        # A feature's number and a threshold as one complex number: NumPy orders them by the
        # real part first, so one binary search finds the levels of all features.
        keys = splits.features + 1j * splits.thresholds
        is_new = np.ones(len(keys), dtype=np.bool_)
        np.not_equal(keys[1:], keys[:-1], out=is_new[1:])
        level = np.cumsum(is_new)
        self._keys = keys[is_new]
        self._columns = np.unique(splits.features)
        # Each feature has one more row than it has thresholds: rows are levels plus these.
        self._shift = np.arange(len(self._columns))
        self.n_rows = n_rows = len(self._keys) + len(self._columns)
        if n_rows * n_trees > _MAX_TABLE_WORDS:
            raise ValueError(f"{n_rows} splits in {n_trees} trees are too many")
        self._table = np.full((n_rows, n_trees), ~splits.masks.dtype.type(0))
        shift = np.searchsorted(self._columns, splits.features)
        np.bitwise_and.at(self._table, (level + shift, splits.trees), splits.masks)
        starts = self._keys.real.searchsorted(self._columns) + self._shift
        for start, end in pairwise((*starts.tolist(), n_rows)):
            part = self._table[start:end]
            np.bitwise_and.accumulate(part, axis=0, out=part)

    def allowed(self, values: Floats) -> NDArray[Any]:
        """Return the leaves that these features allow, one bit each.

        Args:
            values: Features of this table, shape `(n_rows, n_features)`, finite.

        Returns:
            Bit sets, shape `(n_rows, n_trees)`.
        """
        table, n_columns = self._table, len(self._columns)
        if not n_columns:
            return np.full((len(values), self.n_trees), ~table.dtype.type(0))
        keys = np.empty((len(values), n_columns), dtype=np.complex128)
        keys.real = self._columns
        keys.imag = values.take(self._columns, axis=1)
        levels = self._keys.searchsorted(keys) + self._shift
        # Either loop gives the same; the shorter one is faster.
        if n_columns < len(values):
            sets = table.take(levels[:, 0], axis=0)
            for column in range(1, n_columns):
                sets &= table.take(levels[:, column], axis=0)
            return sets
        sets = np.empty((len(values), self.n_trees), dtype=table.dtype)
        for row, of_row in zip(sets, levels, strict=True):
            np.bitwise_and.reduce(table.take(of_row, axis=0), axis=0, out=row)
        return sets


class Forest:
    """Several boosted models over the same features, evaluated together.

    Features come in three blocks, in this order: of the query, of the pair of query and arm,
    of the arm.
    """

    def __init__(
        self,
        models: Sequence[Sequence[Tree]],
        n_query: int,
        n_pair: int,
        arm_features: Floats,
    ) -> None:
        """Tabulate the trees.

        Args:
            models: Trees of each model; a model without trees predicts 0.
            n_query: Number of query features.
            n_pair: Number of pair features.
            arm_features: Features of the arms, shape `(n_arms, n_arm_features)`.

        Raises:
            ValueError: A tree uses a feature that is not there, or its nodes are in disorder.
        """
        trees = list(chain.from_iterable(models))
        if len(trees) * len(arm_features) > _MAX_CELLS:
            raise ValueError(f"{len(trees)} trees of {len(arm_features)} arms are too many")
        n_features = n_query + n_pair + arm_features.shape[1]
        splits, values = _tabulate(trees)
        if (splits.features >= n_features).any():
            raise ValueError(f"a tree uses a feature beyond the {n_features} there are")
        self._models = tuple(_runs_of_models(list(map(len, models))))
        self._n_models = len(models)
        self._values: Floats = values.ravel()
        self._offsets = np.arange(len(trees)) * values.shape[1]
        self._one = splits.masks.dtype.type(1)
        tables = (
            FeatureTable(splits.within(range(start, end)), len(trees))
            for start, end in pairwise((0, n_query, n_query + n_pair, n_features))
        )
        self._query, self._pair, of_arms = tables
        self._arm_allowed = of_arms.allowed(arm_features)

    def raw_scores(self, query: Floats, pair: Floats) -> list[Floats]:
        """Return the sum of the trees of each model, one array `(n_queries, n_arms)` each.

        Args:
            query: Query features, shape `(n_queries, n_query)`.
            pair: Pair features, shape `(n_queries, n_arms, n_pair)`.
        """
        return list(np.moveaxis(self.sums(query, pair), 2, 0))

    def sums(self, query: Floats, pair: Floats | None = None) -> Floats:
        """Return the sum of the trees of each model, shape `(n_queries, n_arms, n_models)`.

        Args:
            query: Query features, shape `(n_queries, n_query)`.
            pair: Pair features, shape `(n_queries, n_arms, n_pair)`; `None` if there are none.
        """
        sums = np.zeros((len(query), len(self._arm_allowed), self._n_models))
        if not len(self._offsets):
            return sums
        allowed = self._query.allowed(query)[:, np.newaxis, :] & self._arm_allowed
        if pair is not None and self._pair.n_rows:
            of_pairs = self._pair.allowed(pair.reshape(-1, pair.shape[2]))
            allowed &= of_pairs.reshape(allowed.shape)
        # `allowed - 1` turns the bits below the lowest one on: their count is its position.
        leaves: NDArray[np.uint8] = np.bitwise_count((allowed - self._one) & ~allowed)
        places: Ints = leaves + self._offsets
        values = self._values.take(places)
        for models, trees, length in self._models:
            # Models of one length at once; each sum is over its own trees, in their order.
            shape = (*sums.shape[:2], models.stop - models.start, length)
            values[:, :, trees].reshape(shape).sum(axis=3, out=sums[:, :, models])
        return sums


def _runs_of_models(lengths: Sequence[int]) -> Iterator[tuple[slice, slice, int]]:
    """Return models of equal length in a row, all of their trees, and that length."""
    model = tree = 0
    for length, run in groupby(lengths):
        n_models = len(list(run))
        if length:
            trees = slice(tree, tree + length * n_models)
            yield slice(model, model + n_models), trees, length
        model, tree = model + n_models, tree + length * n_models


def _tabulate(trees: Sequence[Tree]) -> tuple[Splits, Floats]:
    """Return the splits of trees, and the values of their leaves from left to right."""
    n_leaves = max((len(tree.values) for tree in trees), default=1)
    bits: Any = next(
        kind
        for kind in (np.uint16, np.uint32, np.uint64)
        if np.dtype(kind).itemsize * 8 >= n_leaves
    )
    n_inner = np.array([len(tree.features) for tree in trees], dtype=np.int64)
    tree_of = np.repeat(np.arange(len(trees)), n_inner)
    node_of = np.arange(len(tree_of)) - np.repeat(np.cumsum(n_inner) - n_inner, n_inner)
    # Nodes in columns, then leaves from the right: -1 is leaf 0, as the children say it.
    width = 2 * n_leaves
    left, right = (np.full((width, len(trees)), -1) for _ in range(2))
    for side, children in (
        (left, np.fromiter(chain.from_iterable(tree.left for tree in trees), np.int64)),
        (right, np.fromiter(chain.from_iterable(tree.right for tree in trees), np.int64)),
    ):
        if ((children >= 0) & (children <= node_of)).any():
            raise ValueError("a tree's node stands before its parent")
        side[node_of, tree_of] = children
    every = np.arange(len(trees))
    size = np.ones((width, len(trees)), dtype=np.int64)
    for node in range(int(n_inner.max(initial=0)) - 1, -1, -1):
        both = size[left[node], every] + size[right[node], every]
        size[node] = np.where(node < n_inner, both, 1)
    first = np.zeros((width, len(trees)), dtype=np.int64)
    for node in range(int(n_inner.max(initial=0))):
        is_node = np.flatnonzero(node < n_inner)
        here, to_left, to_right = first[node, is_node], left[node, is_node], right[node, is_node]
        first[to_left, is_node] = here
        first[to_right, is_node] = here + size[to_left, is_node]
    values = np.zeros((len(trees), n_leaves))
    for index, tree in enumerate(trees):
        n = len(tree.values)
        values[index, first[-1 : -n - 1 : -1, index]] = tree.values
    n_left = size[left[node_of, tree_of], tree_of].astype(np.uint64)
    below = ((np.uint64(1) << n_left) - np.uint64(1)) << first[node_of, tree_of].astype(np.uint64)
    splits = Splits(
        np.fromiter(chain.from_iterable(tree.features for tree in trees), np.int64),
        np.fromiter(chain.from_iterable(tree.thresholds for tree in trees), np.float64),
        tree_of,
        (~below).astype(bits),
    )
    return splits, values
