"""What is drawn at a terminal: a table's cells, its budgets, a router beside fixed arms."""

import math
import textwrap
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from ._page import page_width
from ._text_plot import Axis, Series, draw, draw_intervals, letters, plain_name, writes_ascii

if TYPE_CHECKING:
    from calibration import Cell
    from policies import PolicySpec
    from router import Evaluation

    from .._recommendation import Recommendation

__all__ = ["cells_plots", "evaluation_plot", "recommendation_plot"]

_MOST_MARKS = 26
_MOST_INTERVALS = 10
_FEWEST_BUDGETS = 2
_MIN_TOKENS = 0.5
"""Where an axis of tokens starts for arms that generate next to nothing."""
_DIRECT = -1.0
"""Where an answer without any thought stands among budgets."""
_WIDEST = 100
_ACCURACY = Axis("accuracy")
_POINTS = (
    ("router (certified)", "@"),
    ("oracle (noise-corrected)", "~"),
    ("oracle", "^"),
)


class _Curve(NamedTuple):
    """What the cells of a curve over budgets have in common."""

    model: str
    recipe: str
    shape: str


def cells_plots(cells: "Sequence[Cell]") -> list[str]:
    """Return the pictures of a table: per task accuracy over cost, and over budgets where it has any.

    Args:
        cells: Cells of any tasks, models and policies.
    """
    lines: list[str] = []
    for task in dict.fromkeys((cell.task, cell.task_type) for cell in cells):
        found = [cell for cell in cells if (cell.task, cell.task_type) == task]
        name = plain_name(task[0], is_ascii=writes_ascii())
        title = f"{name} ({task[1] or 'no type'}), n = {_counts(found)}"
        lines += [*_title(title), *_over_cost(found), ""]
        curves = _curves(found)
        if curves:
            lines += [*_title(f"{title}, over thinking budgets"), *_over_budgets(curves), ""]
    return lines


def _over_cost(cells: "Sequence[Cell]") -> list[str]:
    from calibration import pareto_front

    by_flops = all(cell.mean_flops is not None for cell in cells if cell.n)
    front = pareto_front(cells)
    order = sorted(range(len(cells)), key=lambda at: at not in front)
    shown = order[:_MOST_MARKS]
    marks = letters(len(front), len(cells) - len(front))
    points = [(_cost(cell, by_flops=by_flops), cell.accuracy) for cell in cells]
    names = _names(cells)
    series = [Series(names[at], mark, [points[at]]) for at, mark in zip(shown, marks, strict=True)]
    best = sorted(points[at] for at in front)
    steps = [corner for one, two in pairwise(best) for corner in (one, (two[0], one[1]))]
    series.append(Series("", ".", [*steps, *best[-1:]], is_line=True))
    unit = "FLOPs" if by_flops else "generated tokens"
    lines = _drawn(series, Axis(f"mean {unit} per question", is_log=True))
    if best:
        words = "capitals, joined by dots: the Pareto front, the best accuracy at each cost"
        lines += textwrap.wrap(words, _width())
    n_more = len(cells) - len(shown)
    return [*lines, *([f"not drawn: {n_more:,} more cells, see the table"] if n_more else [])]


def _cost(cell: "Cell", *, by_flops: bool) -> float:
    cost = cell.mean_flops if by_flops else cell.mean_tokens
    return math.nan if cost is None else cost if by_flops else max(cost, _MIN_TOKENS)


def _names(cells: "Sequence[Cell]") -> list[str]:
    """Return what tells the cells of a task apart: policies, models and recipes where several."""
    has_models = len({cell.model for cell in cells}) > 1
    has_recipes = len({cell.recipe for cell in cells}) > 1
    return [
        f"{cell.model}:{cell.policy}" * has_models
        + cell.policy * (not has_models)
        + f" ({cell.recipe or 'no recipe'})" * has_recipes
        for cell in cells
    ]


def _curves(cells: "Sequence[Cell]") -> dict[_Curve, dict[float, float]]:
    """Return accuracy by budget of what was measured with several, direct answers beside them."""
    from policies import InvalidPolicyError, PolicySpec

    found: dict[_Curve, dict[float, float]] = {}
    direct: dict[tuple[str, str], float] = {}
    for cell in cells:
        try:
            shape, budget = _split(PolicySpec.parse(cell.policy))
        except InvalidPolicyError:  # A table of another tool may call its arms as it likes.
            continue
        if budget is not None and cell.n:
            found.setdefault(_Curve(cell.model, cell.recipe, shape), {})[budget] = cell.accuracy
        elif shape == "direct" and cell.n:
            direct[cell.model, cell.recipe] = cell.accuracy
    kept = {key: by for key, by in found.items() if len(by) >= _FEWEST_BUDGETS}
    for key, by in kept.items():
        if key.shape == "reasoning" and (key.model, key.recipe) in direct:
            by[_DIRECT] = direct[key.model, key.recipe]
    return kept


def _split(spec: "PolicySpec") -> tuple[str, float | None]:
    """Return a policy without its budget, and the budget, infinite for `max`."""
    inner = spec
    while inner.inner is not None:
        inner = inner.inner
    if inner.budget is None:
        return str(spec), None
    size = float(inner.budget) if isinstance(inner.budget, int) else math.inf
    return str(spec).removesuffix(f"@{inner.budget}"), size


def _over_budgets(curves: dict[_Curve, dict[float, float]]) -> list[str]:
    budgets = sorted({budget for by in curves.values() for budget in by})
    marks = letters(0, len(curves))
    series: list[Series] = []
    lines: list[Series] = []
    for (key, by), mark in zip(list(curves.items())[:_MOST_MARKS], marks, strict=True):
        points = [(float(budgets.index(budget)), by[budget]) for budget in sorted(by)]
        recipe = f" ({key.recipe})" if key.recipe else ""
        series.append(Series(f"{key.model}:{key.shape}{recipe}", mark, points))
        lines.append(Series("", ".", points, is_line=True))
    words = {_DIRECT: "direct", math.inf: "max"}
    ticks = tuple(
        (float(at), words.get(budget) or f"{budget:.0f}") for at, budget in enumerate(budgets)
    )
    axis = Axis("thinking budget in tokens, evenly spaced", ticks=ticks)
    drawn = _drawn([*series, *lines], axis)
    n_more = len(curves) - len(series)
    return [*drawn, *([f"not drawn: {n_more:,} more curves, see the table"] if n_more else [])]


def evaluation_plot(result: "Evaluation") -> list[str]:
    """Return the router's curve beside the fixed arms, their hull and the oracle.

    Args:
        result: The evaluation.
    """
    arms = result.rows[: result.n_arms]
    shown = arms[:_MOST_MARKS]
    rows = {row.name: row for row in result.rows}
    # Where all arms are of one model the reference names it.
    is_one_model = len({row.name.partition(":")[0] for row in arms}) == 1
    series = [
        Series(
            row.name.partition(":")[2] if is_one_model else row.name,
            mark,
            [(_tokens(row.mean_tokens), row.accuracy)],
        )
        for row, mark in zip(shown, letters(0, len(arms)), strict=True)
    ]
    series += [
        Series(name, mark, [(_tokens(rows[name].mean_tokens), rows[name].accuracy)])
        for name, mark in _POINTS
        if name in rows
    ]
    curve = sorted((_tokens(row.mean_tokens), row.accuracy) for row in result.curve)
    hull = [(_tokens(tokens), accuracy) for tokens, accuracy in result.hull]
    series.append(Series("router at every trade-off", "*", curve, is_line=True))
    series.append(Series("hull of the fixed arms", ".", hull, is_line=True))
    lines = _drawn(series, Axis("mean generated tokens per question", is_log=True))
    n_more = len(arms) - len(shown)
    reference = plain_name(result.reference, is_ascii=writes_ascii())
    return [
        *_title(f"{result.n:,} held-out questions, against {reference}"),
        *lines,
        *([f"not drawn: {n_more:,} more arms, see the table"] if n_more else []),
    ]


def _tokens(mean_tokens: float) -> float:
    return max(mean_tokens, _MIN_TOKENS)


def recommendation_plot(answer: "Recommendation", *, width: int) -> list[str]:
    """Return the options' accuracies with their intervals, one line each and an axis.

    Args:
        answer: The recommendation; without two accuracies there is nothing to draw.
        width: Columns.
    """
    rows: list[tuple[str, float, float, float]] = []
    for option in answer.options:
        known = option.accuracy
        if known.value is not None and known.low is not None and known.high is not None:
            mark = "> " if option.id == answer.verdict.option else "  "
            figures = (100 * known.value, 100 * known.low, 100 * known.high)
            rows.append((f"{mark}{option.id}", *figures))
    if len(rows) < 2 or len(rows) > _MOST_INTERVALS:
        return []
    return draw_intervals(rows, label="%", width=width)


def _drawn(series: Iterable[Series], x: Axis) -> list[str]:
    return draw([*series], x, _ACCURACY, width=_width(), is_ascii=writes_ascii())


def _title(text: str) -> list[str]:
    return [*textwrap.wrap(text, _width(), break_on_hyphens=False), ""]


def _width() -> int:
    return min(page_width(), _WIDEST)


def _counts(cells: "Sequence[Cell]") -> str:
    low, high = min(cell.n for cell in cells), max(cell.n for cell in cells)
    return f"{low:,}" if low == high else f"{low:,}-{high:,}"
