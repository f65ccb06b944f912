"""The Pareto front of a measured table: which arms nothing else beats at their price."""

import math
from collections.abc import Sequence

from ._outcomes import Cell

__all__ = ["front_of", "pareto_front"]


def pareto_front(cells: Sequence[Cell]) -> frozenset[int]:
    """Return the positions of the cells that lie on their task's front.

    A cell is beaten if another one of its task is at least as accurate and costs no more, and is
    better in one of them; arms that tie in both are on the front together. The cost is in FLOPs
    if all cells of the task have them, else in generated tokens. Point estimates are compared: a
    cell just below the front may well belong to it, which its interval tells.

    Args:
        cells: Cells of any tasks, models and policies; one without answers is on no front.
    """
    found: set[int] = set()
    for task in {(cell.task, cell.task_type) for cell in cells}:
        rows = [i for i, cell in enumerate(cells) if (cell.task, cell.task_type) == task]
        rows = [i for i in rows if cells[i].n]
        by_flops = all(cells[i].mean_flops is not None for i in rows)
        costs = {i: _cost(cells[i], by_flops=by_flops) for i in rows}
        front = front_of([costs[i] for i in rows], [cells[i].accuracy for i in rows])
        found.update(rows[place] for place in front)
    return frozenset(found)


def front_of(costs: Sequence[float], accuracies: Sequence[float]) -> frozenset[int]:
    """Return the positions of the points that no other one beats; see `pareto_front`.

    Args:
        costs: Their costs; a point of NaN is on no front.
        accuracies: Their accuracies.
    """
    known = [i for i, cost in enumerate(costs) if not math.isnan(cost)]
    # From the cheapest on, and the most accurate first among equal costs.
    known.sort(key=lambda i: (costs[i], -accuracies[i]))
    found: set[int] = set()
    best, best_cost = -math.inf, math.nan
    for i in known:
        is_tie = accuracies[i] == best and costs[i] == best_cost
        if accuracies[i] > best or is_tie:
            found.add(i)
            best, best_cost = accuracies[i], costs[i]
    return frozenset(found)


def _cost(cell: Cell, *, by_flops: bool) -> float:
    flops = cell.mean_flops
    return flops if by_flops and flops is not None else cell.mean_tokens
