"""How tables and comparisons look in a notebook."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from policies.html_tables import Entry, amount, bullets, figure, interval, paragraph, table, view

from ._front import pareto_front

if TYPE_CHECKING:
    from ._compare import ArmComparison, ComparisonRow, CostDifference
    from ._outcomes import Cell
    from ._table import MeasuredTable

__all__ = ["comparison_html", "measured_table_html"]

_CELLS = (
    "model",
    "task",
    "policy",
    "recipe",
    "n",
    "accuracy [95%]",
    "interval",
    "cut",
    "errors",
    "mean tokens",
    "mean FLOPs",
    "median s",
    "front",
)
_KINDS = {
    "wilson": "Wilson's interval over independent questions",
    "clustered": "answers share questions or documents: clustered by them",
    "anytime": "the run decided by looking when to stop: valid at any moment",
    "crossed": "over training seeds and questions together",
}


def measured_table_html(measured: "MeasuredTable") -> str:
    """Return a measured table as HTML, with what lies on each task's Pareto front."""
    cells = measured.cells
    front = pareto_front(cells)
    caption = f"{len(cells):,} measured cells; front: nothing else of the task beats it at its cost"
    rows = (_cell_row(cell, place in front) for place, cell in enumerate(cells))
    return view(table(caption, _CELLS, rows))


def _cell_row(cell: "Cell", is_on_front: bool) -> Sequence[Entry]:
    return (
        cell.model,
        f"{cell.task} ({cell.task_type})" if cell.task_type else cell.task,
        cell.policy,
        cell.recipe or None,
        figure(cell.n, ",d"),
        interval(cell.accuracy, cell.ci_low, cell.ci_high, title=_KINDS.get(cell.interval, "")),
        cell.interval,
        figure(cell.n_cut, ",d"),
        figure(cell.n_error, ",d"),
        figure(cell.mean_tokens, ",.1f"),
        amount(cell.mean_flops),
        figure(cell.p50_seconds, ".3g"),
        "front" if is_on_front else "",
    )


def comparison_html(comparison: "ArmComparison") -> str:
    """Return two arms compared as HTML: all tasks together, then each."""
    level = f"{100 * comparison.confidence:g}%"
    columns = (
        "task",
        "n",
        "clusters",
        "first",
        "second",
        f"difference [{level}]",
        "only first / second",
        "p",
        "p (Holm)",
        f"tokens [{level}]",
        f"FLOPs [{level}]",
        "unpaired",
        "errors",
    )
    rows = [_comparison_row("all tasks", comparison.overall)]
    rows += [_comparison_row(row.task, row) for row in comparison.tasks]
    notes = (
        "differences are first minus second, on the n questions that both answered",
        "an accuracy's own interval says little here, as both were asked the same questions: the"
        " interval is the paired difference's",
    )
    return view(
        paragraph(f"first: {comparison.first}", is_strong=True),
        paragraph(f"second: {comparison.second}", is_strong=True),
        table("two arms, question by question", columns, rows),
        bullets(notes),
    )


def _comparison_row(name: str, row: "ComparisonRow") -> Sequence[Entry]:
    is_known = row.n > 0
    return (
        name,
        figure(row.n, ",d"),
        figure(row.n_clusters, ",d"),
        figure(row.first_accuracy, ".3f", title="its interval is in the difference"),
        figure(row.second_accuracy, ".3f", title="its interval is in the difference"),
        interval(row.difference, row.ci_low, row.ci_high, "+.3f"),
        f"{row.n_first_better:,} / {row.n_second_better:,}" if is_known else None,
        figure(row.p_value if is_known else None, ".3g"),
        figure(row.p_holm if is_known else None, ".3g"),
        _cost(row.tokens, "+,.1f"),
        _cost(row.flops, "+.3g"),
        figure(row.n_unpaired, ",d"),
        figure(row.n_error, ",d"),
    )


def _cost(cost: "CostDifference | None", form: str) -> Entry:
    return None if cost is None else interval(cost.difference, cost.ci_low, cost.ci_high, form)
