"""Cells of a study with the seeds of a recipe pooled, as the advisor reads them."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from ._results import StudentResult, StudyCell
from ._table import StudyTable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from calibration import Cell

__all__ = ["Recipe", "matrix_of", "pooled_cells", "task_name"]

_POCKET = "pocket-"


class Recipe(NamedTuple):
    """What the seeds of one recipe have in common.

    Attributes:
        size: Name of the base size.
        corpus: Training corpus.
        label: Label of the recipe.
    """

    size: str
    corpus: str
    label: str


def task_name(size: str, task_type: str) -> str:
    """Return the task that a study asked: the pocket tasks carry the family's name."""
    return f"{_POCKET}{task_type}" if size.startswith(_POCKET) else task_type


def pooled_cells(
    table: StudyTable, *, corpus: str, task_type: str | None = None
) -> "tuple[Cell, ...]":
    """Return one cell per (size, recipe, task type, policy) of a corpus, its seeds pooled.

    Counts are sums over the seeds, means are over all answers, and the 95% interval is over seeds
    and questions both (`calibration.statistics.crossed_proportion`); with one seed it is over
    questions alone.

    Args:
        table: The study.
        corpus: Corpus of the students.
        task_type: Only cells of this one.
    """
    recipes: dict[Recipe, list[StudentResult]] = {}
    for one in table.select(corpus=corpus):
        student = one.student
        recipes.setdefault(Recipe(student.size, corpus, student.label), []).append(one)
    found: list[Cell] = []
    for recipe, students in recipes.items():
        cells: dict[tuple[str, str], list[StudyCell]] = {}
        for one in students:
            for cell in one.cells:
                if task_type in {None, cell.task_type}:
                    cells.setdefault((cell.task_type, cell.policy), []).append(cell)
        found += [_pooled(recipe, students[0].n_params, seeds) for seeds in cells.values()]
    return tuple(found)


def matrix_of(cells: Sequence[StudyCell]) -> "NDArray[np.float64]":
    """Return answers as ones and zeros, shape `(n_seeds, n_questions)`."""
    import numpy as np

    bits = [np.frombuffer(cell.correct.encode(), dtype=np.uint8) for cell in cells]
    return (np.stack(bits) == ord("1")).astype(np.float64)


def _pooled(recipe: Recipe, n_params: int, seeds: Sequence[StudyCell]) -> "Cell":
    from calibration import Cell
    from calibration.statistics import crossed_proportion

    first, n = seeds[0], sum(cell.n for cell in seeds)
    n_correct = sum(cell.n_correct for cell in seeds)
    interval = crossed_proportion(matrix_of(seeds)).interval
    accuracy = n_correct / n
    return Cell(
        task=task_name(recipe.size, first.task_type),
        task_type=first.task_type,
        model=recipe.size,
        size=n_params,
        policy=first.policy,
        recipe=recipe.label,
        n=n,
        n_correct=n_correct,
        n_cut=sum(cell.n_cut for cell in seeds),
        n_error=0,
        accuracy=accuracy,
        ci_low=min(max(0.0, interval.low), accuracy),
        ci_high=max(min(1.0, interval.high), accuracy),
        mean_prompt_tokens=math.nan,
        mean_tokens=sum(cell.n * cell.mean_tokens for cell in seeds) / n,
        mean_flops=sum(cell.n * cell.mean_flops for cell in seeds) / n,
        mean_seconds=math.nan,
        interval="crossed" if len(seeds) > 1 else "wilson",
    )
