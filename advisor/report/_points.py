"""What is plotted, and the same as text: axes, points, steps, and their tables."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ._blocks import Column, Table

__all__ = [
    "Axis",
    "Point",
    "Step",
    "few_steps",
    "is_placed",
    "point_table",
    "reached",
    "with_interval",
]


@dataclass(frozen=True, slots=True)
class Axis:
    """An axis.

    Attributes:
        title: What it is, with the unit.
        is_log: Whether it is logarithmic; values of 0 and less are then left out.
        kind: `share` for values in [0, 1], shown in percent; `points` for differences of them in
            percentage points, around a line at 0; `count` for large numbers, `number` for others;
            `name` for names in the order in which they come.
        level: Level of the intervals along it.
    """

    title: str
    kind: Literal["share", "points", "count", "number", "name"] = "number"
    is_log: bool = False
    level: str = "95%"

    def shown(self, value: float | str | None) -> str:
        """Return a value as text, "" where it is not known."""
        if value is None or (isinstance(value, float) and not math.isfinite(value)):
            return ""
        if isinstance(value, str):
            return value
        if self.kind == "share":
            return f"{value:.3f}"
        if self.kind == "points":
            return f"{value:+.1f}"
        return scaled(value) if self.kind == "count" else f"{value:.4g}"


@dataclass(frozen=True, slots=True)
class Point:
    """A point of a plot.

    Attributes:
        name: What it is.
        series: What it belongs to, such as its model.
        x: Where it lies; a name on an axis of names.
        y: How high.
        low: Lower end of its interval, `None` without one.
        high: Upper end.
        n: Observations behind it, `None` where that means nothing.
        is_marked: Whether it stands out.
        variant: What its shape, and the dash of its line, tell within its series, "" for nothing.
        label: What is written beside it, "" for nothing.
    """

    name: str
    series: str
    x: float | str
    y: float
    low: float | None = None
    high: float | None = None
    n: int | None = None
    is_marked: bool = False
    variant: str = ""
    label: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """A curve of steps: from each x on, the y beside it.

    Attributes:
        series: Its name.
        xs: Where the steps are, ascending.
        ys: Its values.
        n: Observations behind it.
    """

    series: str
    xs: Sequence[float]
    ys: Sequence[float]
    n: int


def is_placed(point: Point, x: Axis, y: Axis) -> bool:
    is_right = isinstance(point.x, str) or (
        math.isfinite(point.x) and (point.x > 0 or not x.is_log)
    )
    return is_right and math.isfinite(point.y) and (point.y > 0 or not y.is_log)


def point_table(title: str, points: Sequence[Point], x: Axis, y: Axis, mark: str) -> Table:
    has_variants = any(point.variant for point in points)
    columns = (
        Column("what"),
        Column("series"),
        *([Column("kind")] * has_variants),
        Column(x.title, is_number=x.kind != "name"),
        Column(f"{y.title} [{y.level}]", is_number=True),
        Column("n", is_number=True),
    )
    rows = tuple(
        (
            point.name,
            point.series,
            *([point.variant] * has_variants),
            x.shown(point.x),
            with_interval(point, y),
            "" if point.n is None else f"{point.n:,}",
        )
        for point in points
    )
    marked = frozenset(i for i, point in enumerate(points) if point.is_marked)
    return Table(title, columns, rows, marked, mark if marked else "")


def with_interval(point: Point, axis: Axis) -> str:
    value = axis.shown(point.y)
    if not value or point.low is None or point.high is None:
        return value
    return f"{value} [{axis.shown(point.low) or '?'}, {axis.shown(point.high) or '?'}]"


def few_steps(
    xs: Sequence[float], ys: Sequence[float], most: int = 300
) -> list[tuple[float, float]]:
    """Return at most so many steps, the last of each run: a screen shows no more."""
    pairs = list(zip(xs, ys, strict=True))
    if len(pairs) <= most:
        return pairs
    places = {round(i * (len(pairs) - 1) / (most - 1)) for i in range(most)}
    return [pairs[i] for i in sorted(places)]


def reached(curve: Step, share: float, axis: Axis) -> str:
    found = (x for x, y in zip(curve.xs, curve.ys, strict=True) if y >= share)
    return axis.shown(next(found, None))


def scaled(value: float) -> str:
    for suffix, scale in (("E", 1e18), ("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6)):
        if value >= scale:
            return f"{value / scale:.3g}{suffix}"
    return f"{value:,.4g}" if value < 1000 else f"{value:,.0f}"
