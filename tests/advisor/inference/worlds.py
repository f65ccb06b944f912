"""Tables made from tables: a size or a family less, the arms swapped, other accuracies."""

import dataclasses
from collections.abc import Callable

import numpy as np

from advisor.inference import Estimate, EvidenceRef, Measured, wilson
from calibration.published import (
    PublishedCorpus,
    PublishedRecipe,
    PublishedRow,
    PublishedTable,
    load_published_table,
)
from policies import ModelSize
from tests.advisor.inference.oracle import Floats

TABLE = load_published_table("scale_or_reason_table1")
CORPORA: tuple[PublishedCorpus, ...] = ("general", "math-centric")
"""In the order of `oracle.CORPORA`; so are the next two."""
TASK_TYPES = ("general-oe", "general-mc", "math-oe", "math-mc")
RECIPES: tuple[PublishedRecipe, ...] = ("ift", "reasoning")
SIZES = TABLE.sizes
INNER = SIZES[1:-1]


def other(corpus: PublishedCorpus) -> PublishedCorpus:
    return CORPORA[1 - CORPORA.index(corpus)]


def place(row: PublishedRow) -> tuple[int, int, int, int]:
    """Return where the oracle keeps a row."""
    return (
        CORPORA.index(row.corpus),
        TASK_TYPES.index(row.task_type),
        RECIPES.index(row.recipe),
        SIZES.index(row.size),
    )


def as_array(table: PublishedTable) -> Floats:
    """Return the accuracies of a table with all cells, in the oracle's shape."""
    accuracy = np.full((2, 4, 2, 5), np.nan)
    for row in table.rows:
        accuracy[place(row)] = row.accuracy
    return accuracy


def only(keep: Callable[[PublishedRow], bool], table: PublishedTable = TABLE) -> PublishedTable:
    return dataclasses.replace(table, rows=tuple(row for row in table.rows if keep(row)))


def without_size(size: ModelSize) -> PublishedTable:
    return only(lambda row: row.size != size)


def without_family(task_type: str) -> PublishedTable:
    return only(lambda row: row.task_type != task_type)


def with_accuracies(accuracy: Floats) -> PublishedTable:
    """Return the table with other figures in its cells."""
    rows = tuple(
        dataclasses.replace(row, accuracy=float(accuracy[place(row)])) for row in TABLE.rows
    )
    return dataclasses.replace(TABLE, rows=rows)


def measured(accuracy: float, n: int = 2000, label: str = "own") -> Estimate:
    """Return what a user who asked n questions would hand over."""
    low, high = wilson(accuracy, n)
    ref = EvidenceRef(label, "measured", label, "ift", accuracy, n)
    return Estimate(accuracy, low, high, "measured", (ref,))


def exact(accuracy: float) -> Estimate:
    """Return a measurement without error."""
    return Estimate(accuracy, accuracy, accuracy, "measured", measured(accuracy).refs)


def pair(size: ModelSize, ift: float, reasoning: float, n: int | None = None) -> Measured:
    as_estimate: Callable[[float], Estimate] = exact if n is None else lambda p: measured(p, n)
    return Measured(size, as_estimate(ift), as_estimate(reasoning))


def value(estimate: Estimate) -> float:
    assert estimate.value is not None
    return estimate.value


def ends(estimate: Estimate) -> tuple[float, float]:
    assert estimate.low is not None
    assert estimate.high is not None
    return estimate.low, estimate.high


def half_width(estimate: Estimate) -> float:
    low, high = ends(estimate)
    return (high - low) / 2
