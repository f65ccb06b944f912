"""Boosted trees read from LightGBM's text format and evaluated for all arms of a query at once.

Serving so needs no LightGBM, and takes less time than its `predict`. Every tree's leaves are bits
of a 64-bit word, numbered from left to right. A split that sends a query to the right rules out
the leaves on its left, so each value of each feature allows a set of leaves in each tree, and the
exit leaf is the lowest bit that all features allow. The sets are tabulated per feature at load
time. Features of the arm are known in advance and features of the query are equal for all arms,
so neither is evaluated per arm.

Source:
    QuickScorer (Lucchese et al., SIGIR 2015), section 3; the tables per feature and the split
    into query, pair and arm features are ours.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

__all__ = ["MAX_LEAVES", "FeatureTable", "Forest", "Tree", "parse_trees"]

MAX_LEAVES = 64
_ALL = np.uint64(2**64 - 1)
_MAX_VALUE = 1e6
_MAX_TREES = 5000
# The tables grow with splits times trees; 128 MiB is ten times what fitting ever makes.
_MAX_TABLE_WORDS = 2**24


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
    trees = tuple(map(_parse_tree, parts))
    if "\naverage_output\n" not in head:
        return trees
    # A random forest's prediction is the mean of its trees.
    return tuple(
        replace(tree, values=tuple(value / len(trees) for value in tree.values)) for tree in trees
    )


def _parse_tree(part: str) -> Tree:
    fields = dict(line.split("=", 1) for line in part.splitlines()[1:] if "=" in line)
    if fields.get("num_cat", "0") != "0" or fields.get("is_linear", "0") != "0":
        raise ValueError("categorical splits and linear leaves are not supported")
    values = tuple(map(float, fields["leaf_value"].split()))
    if not all(abs(value) <= _MAX_VALUE for value in values):  # false for NaN, too
        raise ValueError(f"a leaf's value is not a number up to {_MAX_VALUE:g}")
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
    """Check that the nodes form one binary tree with finite numbers."""
    n_inner = len(tree.features)
    children = sorted((*tree.left, *tree.right))
    expected = [*range(-n_inner - 1, 0), *range(1, n_inner)]
    lengths = {len(tree.thresholds), len(tree.left), len(tree.right), len(tree.values) - 1}
    parents_first = all(
        child < 0 or child > node
        for side in (tree.left, tree.right)
        for node, child in enumerate(side)
    )
    is_finite = np.isfinite(tree.thresholds).all() and np.isfinite(tree.values).all()
    if lengths != {n_inner} or children != expected or not parents_first or not is_finite:
        raise ValueError("a tree's nodes do not form a tree of finite numbers")
    if n_inner >= MAX_LEAVES or min(tree.features) < 0:
        raise ValueError(f"a tree has more than {MAX_LEAVES} leaves or a negative feature")


class FeatureTable:
    """Allowed leaves of all trees by the values of some of the features.

    Attributes:
        n_trees: Number of trees.
    """

    def __init__(
        self, splits: Mapping[int, Sequence[tuple[float, int, int]]], columns: range, n_trees: int
    ) -> None:
        """Tabulate the splits on the features in `columns`.

        Args:
            splits: Splits `(threshold, tree, allowed leaves to the right)` by feature.
            columns: Features of this table, in the order of the values given to `allowed`.
            n_trees: Number of trees.
        """
        used = [column for column in columns if splits.get(column)]
        n_rows = sum(len(splits[column]) + 1 for column in used)
        if n_rows * n_trees > _MAX_TABLE_WORDS:
            raise ValueError(f"{n_rows} splits in {n_trees} trees are too many")
        self.n_trees = n_trees
        self._columns = np.array([column - columns.start for column in used], dtype=np.int64)
        thresholds: list[float] = []
        owners: list[int] = []
        starts: list[int] = []
        table: list[NDArray[np.uint64]] = []
        bases: list[int] = []
        for position, column in enumerate(used):
            starts.append(len(thresholds))
            bases.append(len(table))
            row = np.full(n_trees, _ALL)
            table.append(row)
            levels: list[float] = []
            for threshold, tree, mask in sorted(splits[column]):
                if not levels or levels[-1] != threshold:
                    levels.append(threshold)
                    row = row.copy()
                    table.append(row)
                row[tree] &= np.uint64(mask)
            thresholds += levels
            owners += [position] * len(levels)
        self._thresholds = np.array(thresholds)
        self._owners = self._columns[owners] if used else np.zeros(0, dtype=np.int64)
        self._starts = np.array(starts, dtype=np.int64)
        self._bases = np.array(bases, dtype=np.int64)
        self._table = np.array(table) if used else np.zeros((0, n_trees), dtype=np.uint64)

    def allowed(self, values: NDArray[np.float64]) -> NDArray[np.uint64]:
        """Return the leaves that these features allow, one bit each.

        Args:
            values: Features of this table, shape `(n_rows, len(columns))`, finite.

        Returns:
            Bit sets, shape `(n_rows, n_trees)`.
        """
        if not len(self._columns):
            return np.full((len(values), self.n_trees), _ALL)
        exceeded = values[:, self._owners] > self._thresholds
        levels = np.add.reduceat(exceeded, self._starts, axis=1, dtype=np.int64) + self._bases
        if len(values) == 1:
            return np.bitwise_and.reduce(self._table[levels[0]], axis=0, keepdims=True)
        result = self._table[levels[:, 0]]
        for feature in range(1, levels.shape[1]):
            result &= self._table[levels[:, feature]]
        return result


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
        arm_features: NDArray[np.float64],
    ) -> None:
        """Tabulate the trees.

        Args:
            models: Trees of each model; a model without trees predicts 0.
            n_query: Number of query features.
            n_pair: Number of pair features.
            arm_features: Features of the arms, shape `(n_arms, n_arm_features)`.

        Raises:
            ValueError: A tree uses a feature that is not there.
        """
        trees = [tree for model in models for tree in model]
        n_features = n_query + n_pair + arm_features.shape[1]
        splits: dict[int, list[tuple[float, int, int]]] = {}
        values = np.zeros((len(trees), MAX_LEAVES))
        for index, tree in enumerate(trees):
            order = _tabulate(tree, index, splits)
            values[index, : len(order)] = [tree.values[leaf] for leaf in order]
        if any(feature >= n_features for feature in splits):
            raise ValueError(f"a tree uses a feature beyond the {n_features} there are")
        ends = np.cumsum([0, *map(len, models)]).tolist()
        self._models = tuple(slice(start, end) for start, end in pairwise(ends))
        self._values = values.ravel()
        self._offsets = np.arange(len(trees)) * MAX_LEAVES
        self._query = FeatureTable(splits, range(n_query), len(trees))
        self._pair = FeatureTable(splits, range(n_query, n_query + n_pair), len(trees))
        arms = FeatureTable(splits, range(n_query + n_pair, n_features), len(trees))
        self._arm_allowed = arms.allowed(arm_features)

    def raw_scores(
        self, query: NDArray[np.float64], pair: NDArray[np.float64]
    ) -> list[NDArray[np.float64]]:
        """Return the sum of the trees of each model, one array `(n_queries, n_arms)` each.

        Args:
            query: Query features, shape `(n_queries, n_query)`.
            pair: Pair features, shape `(n_queries, n_arms, n_pair)`.
        """
        n_queries, n_arms, n_pair = pair.shape
        if not len(self._offsets):
            return [np.zeros((n_queries, n_arms)) for _ in self._models]
        allowed = self._pair.allowed(pair.reshape(n_queries * n_arms, n_pair))
        allowed = allowed.reshape(n_queries, n_arms, len(self._offsets))
        allowed &= self._arm_allowed
        allowed &= self._query.allowed(query)[:, np.newaxis, :]
        # `allowed - 1` turns the bits below the lowest one on: their count is its position.
        leaves = np.bitwise_count((allowed - np.uint64(1)) & ~allowed)
        values = self._values[leaves + self._offsets]
        return [values[:, :, trees].sum(axis=2) for trees in self._models]


def _tabulate(tree: Tree, index: int, splits: dict[int, list[tuple[float, int, int]]]) -> list[int]:
    """Add the splits of a tree to `splits` and return its leaves from left to right."""

    def visit(node: int, first: int) -> list[int]:
        if node < 0:
            return [~node]
        left = visit(tree.left[node], first)
        right = visit(tree.right[node], first + len(left))
        on_the_left = ((1 << len(left)) - 1) << first
        split = (tree.thresholds[node], index, ~on_the_left & int(_ALL))
        splits.setdefault(tree.features[node], []).append(split)
        return left + right

    return visit(0 if tree.features else -1, 0)
