"""Plots as Vega-Lite specifications, each with the same in words and as a table."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ._blocks import Chart, Column, Table
from ._chart_layers import DASHES, DIAGONAL, curve_layers, label_layers

__all__ = [
    "Axis",
    "Point",
    "Step",
    "dot_chart",
    "line_chart",
    "share_chart",
    "step_chart",
    "xy_chart",
]

_SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"
# Okabe and Ito's palette without black and yellow, which are lost on dark and on white paper;
# shapes and dashes say the same again. Source: Okabe and Ito, "Color Universal Design" (2008).
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6D31", "#7F7F7F")
_HEIGHT = 300
_CAP = 6
_WIDE, _MANY = 32, 8
"""Characters of all names on an axis from which on they stand at a slope, and names from which on
some are left out where there is no room."""


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
        return _scaled(value) if self.kind == "count" else f"{value:.4g}"


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


def xy_chart(
    title: str,
    words: str,
    points: Sequence[Point],
    *,
    x: Axis,
    y: Axis,
    mark: str = "",
    joins: Literal["marked", "series", "nothing"] = "nothing",
    curves: Sequence[str] = (),
    has_diagonal: bool = False,
) -> Chart:
    """Return points with their intervals.

    Points that several series have at one x are drawn beside each other, so that their intervals
    can be told apart; tables and tips have the true x.

    Args:
        title: What is shown.
        words: What is to be seen.
        points: The points; those that cannot be placed are in the table alone, and told.
        x: Horizontal axis.
        y: Vertical axis.
        mark: What is said of marked points.
        joins: Which points a line joins, from left to right.
        curves: Series that are curves: a line, with a band where its points have intervals.
        has_diagonal: Whether a line shows where both axes are equal.
    """
    placed = [point for point in points if _is_placed(point, x, y)]
    rows = [_datum(point, x, y, curves) for point in placed]
    series = list(dict.fromkeys(point.series for point in placed))
    variants = list(dict.fromkeys(point.variant for point in placed if point.variant))
    across = _across(x, [str(point.x) for point in placed])
    beside: dict[str, Any] = {"x": across}
    if x.kind == "name" and len({(point.x, point.series) for point in placed}) > len(
        {point.x for point in placed}
    ):
        beside["xOffset"] = {"field": "series", "type": "nominal", "sort": series}
    elif x.kind != "name" and joins == "series" and not x.is_log:
        _move_apart(rows)
    up = _up(y)
    colour = _colour(series)
    interval = {"field": "low", **up}
    layers: list[dict[str, Any]] = [
        {
            "mark": {"type": "rule", "strokeWidth": 1.2, "opacity": 0.55},
            "transform": [{"filter": "isValid(datum.low) && !isValid(datum.dash)"}],
            "encoding": {**beside, "y": interval, "y2": {"field": "high"}, "color": colour},
        },
    ]
    if curves:
        layers[:0] = curve_layers(across, up, colour, len(curves))
    if has_diagonal:
        layers.insert(0, dict(DIAGONAL))
    if joins != "nothing":
        line: dict[str, Any] = {
            "mark": {"type": "line", "strokeWidth": 1.5, "opacity": 0.8},
            "encoding": {
                **beside,
                "y": {"field": "y", **up},
                "detail": [{"field": "series"}, {"field": "variant"}],
            },
        }
        if joins == "marked":
            line["transform"] = [{"filter": "datum.marked"}]
            line["mark"] |= {"color": "#888888", "strokeDash": [5, 3]}
            del line["encoding"]["detail"]
        else:
            line["encoding"]["color"] = colour
            if variants:
                line["encoding"]["strokeDash"] = _told_by(variants, "variant", DASHES, **_GREY)
        layers.insert(0, line)
    layers.append(
        {
            "mark": {"type": "point", "filled": True, "size": 70, "opacity": 1},
            "encoding": {
                **beside,
                "y": {"field": "y", **up},
                "color": colour,
                "shape": _told_by(variants, "variant", _SHAPES, **_GREY)
                if variants
                else {**colour, "scale": {"domain": series, "range": _SHAPES}},
                "size": {
                    "condition": [
                        {"test": "datum.marked", "value": 150},
                        {"test": "isValid(datum.dash)", "value": 9},
                    ],
                    "value": 55,
                },
                "tooltip": _tooltip(x, y, has_variants=bool(variants)),
            },
        }
    )
    if y.kind == "points":
        zero = {
            "mark": {"type": "rule", "color": "#888888", "aria": False},
            "encoding": {"y": {"datum": 0}},
        }
        layers.insert(0, zero)
    if any(point.label for point in placed):
        layers += label_layers(rows, across, up, is_log=x.is_log)
    table = _table(title, points, x, y, mark)
    n_left = len(points) - len(placed)
    if n_left:
        words += f" {n_left} of {len(points)} points cannot be placed; they are in the table."
    spec: dict[str, Any] = {
        "$schema": _SCHEMA,
        "height": _HEIGHT,
        "data": {"values": rows},
        "layer": layers,
    }
    if variants:
        # Two keys side by side are wider than a narrow screen.
        spec["config"] = {"legend": {"layout": {"bottom": {"direction": "vertical"}}}}
    return Chart(title, words, spec, table)


def line_chart(
    title: str, words: str, points: Sequence[Point], *, x: Axis, y: Axis, mark: str = ""
) -> Chart:
    """Return one line for each series; see `xy_chart`."""
    return xy_chart(title, words, points, x=x, y=y, mark=mark, joins="series")


def share_chart(title: str, words: str, points: Sequence[Point], *, x: Axis, y: Axis) -> Chart:
    """Return parts of wholes: a bar for each name on the axis of names, parted by series.

    Args:
        title: What is shown.
        words: What is to be seen.
        points: The parts, as shares.
        x: The axis of names, which runs downwards.
        y: The axis of shares, which runs to the right.
    """
    placed = [point for point in points if _is_placed(point, x, y)]
    names = list(dict.fromkeys(str(point.x) for point in placed))
    down = {"field": "x", "type": "ordinal", "sort": names, "title": None}
    spec: dict[str, Any] = {
        "$schema": _SCHEMA,
        "height": 34 * max(len(names), 1),
        "data": {"values": [_datum(point, x, y, ()) for point in placed if point.y > 0]},
        "mark": {"type": "bar"},
        "encoding": {
            "y": {**down, "axis": {"labelLimit": 140}},
            "x": {
                "field": "y",
                "type": "quantitative",
                "stack": "zero",
                "scale": {"domain": [0, 1]},
                "title": y.title,
                "axis": {"format": "%", "tickCount": _CAP},
            },
            "color": _colour(list(dict.fromkeys(point.series for point in placed))),
            "tooltip": _tooltip(x, y, has_variants=False),
        },
    }
    return Chart(title, words, spec, _table(title, points, x, y, ""))


def dot_chart(
    title: str, words: str, points: Sequence[Point], *, x: Axis, y: Axis, mark: str = ""
) -> Chart:
    """Return a row for each point with its interval across, and a line at 0: for long names.

    Args:
        title: What is shown.
        words: What is to be seen.
        points: The points; their `x` names the row, their `y` is drawn across.
        x: What the rows are.
        y: The values.
        mark: What is said of marked points.
    """
    placed = [point for point in points if _is_placed(point, x, y)]
    rows = [_datum(point, x, y, ()) for point in placed]
    order = list(dict.fromkeys(str(point.x) for point in placed))
    look = {"labelLimit": 260, "grid": True}
    down = {"field": "x", "type": "ordinal", "sort": order, "title": None, "axis": look}
    across = _up(y)
    shade = {"condition": {"test": "datum.marked", "value": _COLOURS[1]}, "value": _COLOURS[0]}
    interval = {"field": "low", **across}
    layers: list[dict[str, Any]] = [
        {
            "mark": {"type": "rule", "color": "#888888", "aria": False},
            "encoding": {"x": {"datum": 0}},
        },
        {
            "mark": {"type": "rule", "strokeWidth": 1.5},
            "transform": [{"filter": "isValid(datum.low)"}],
            "encoding": {"y": down, "x": interval, "x2": {"field": "high"}, "color": shade},
        },
        {
            "mark": {"type": "point", "filled": True, "size": 60, "opacity": 1},
            "encoding": {
                "y": down,
                "x": {"field": "y", **across},
                "color": shade,
                "tooltip": _tooltip(x, y),
            },
        },
    ]
    spec = {
        "$schema": _SCHEMA,
        "height": {"step": 20},
        "data": {"values": rows},
        "layer": layers,
    }
    return Chart(title, words, spec, _table(title, points, x, y, mark))


def step_chart(title: str, words: str, steps: Iterable[Step], *, x: Axis, y: Axis) -> Chart:
    """Return curves of steps, such as distributions.

    Args:
        title: What is shown.
        words: What is to be seen.
        steps: The curves.
        x: Horizontal axis.
        y: Vertical axis.
    """
    curves = list(steps)
    rows = [
        {"series": one.series, "x": across, "y": up}
        for one in curves
        for across, up in _few(one.xs, one.ys)
        if across > 0 or not x.is_log
    ]
    series = [one.series for one in curves]
    spec = {
        "$schema": _SCHEMA,
        "height": _HEIGHT,
        "data": {"values": rows},
        "mark": {"type": "line", "interpolate": "step-after", "strokeWidth": 2},
        "encoding": {
            "x": _across(x, []),
            "y": {"field": "y", **_up(y)},
            "color": _colour(series),
            "strokeDash": _told_by(series, "series", DASHES),
            "tooltip": [
                {"field": "series", "type": "nominal", "title": "curve"},
                {"field": "x", "type": "quantitative", "title": x.title},
                {"field": "y", "type": "quantitative", "title": y.title, "format": ".1%"},
            ],
        },
    }
    shares = (0.1, 0.25, 0.5, 0.75, 0.9)
    columns = (
        Column("curve"),
        Column("n", is_number=True),
        *(Column(f"{share:.0%}", is_number=True, hint=x.title) for share in shares),
    )
    table = Table(
        f"{title}: {x.title} at which each share is reached",
        columns,
        tuple(
            (one.series, f"{one.n:,}", *(_reached(one, share, x) for share in shares))
            for one in curves
        ),
    )
    return Chart(title, words, spec, table)


_SHAPES = ["circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "wedge", "arrow"]
# Of keys whose colour tells nothing: seen on white and on dark paper.
_GREY = {"symbolFillColor": "#7F7F7F", "symbolStrokeWidth": 0, "columns": 2}


def _is_placed(point: Point, x: Axis, y: Axis) -> bool:
    is_right = isinstance(point.x, str) or (
        math.isfinite(point.x) and (point.x > 0 or not x.is_log)
    )
    return is_right and math.isfinite(point.y) and (point.y > 0 or not y.is_log)


def _datum(point: Point, x: Axis, y: Axis, curves: Sequence[str]) -> dict[str, Any]:
    ends = {
        key: value
        for key, value in (("low", point.low), ("high", point.high))
        if value is not None and math.isfinite(value)
    }
    return {
        "name": point.name,
        "series": point.series,
        "variant": point.variant,
        "x": point.x,
        "y": point.y,
        **(ends if len(ends) == 2 else {}),
        "marked": point.is_marked,
        "shown_x": x.shown(point.x),
        "shown_y": _with_interval(point, y),
        "n": "" if point.n is None else f"{point.n:,}",
        **({"label": point.label} if point.label else {}),
        **({"dash": curves.index(point.series)} if point.series in curves else {}),
    }


def _move_apart(rows: Sequence[dict[str, Any]]) -> None:
    lines = list(dict.fromkeys((row["series"], row["variant"]) for row in rows))
    places = [row["x"] for row in rows]
    apart = 0.04 * (max(places) - min(places)) / len(lines) if lines else 0.0
    for row in rows:
        place = lines.index((row["series"], row["variant"]))
        row["x"] += apart * (place - (len(lines) - 1) / 2)


def _across(axis: Axis, names: Sequence[str]) -> dict[str, Any]:
    if axis.kind == "name":
        order = list(dict.fromkeys(names))
        look: dict[str, Any] = {"labelAngle": 0, "labelOverlap": True}
        if sum(map(len, order)) > _WIDE:
            look = {"labelAngle": -35, "labelLimit": 150, "labelOverlap": len(order) > _MANY}
        return {"field": "x", "type": "ordinal", "sort": order, "title": axis.title, "axis": look}
    return {"field": "x", **_scale(axis)}


def _up(axis: Axis) -> dict[str, Any]:
    return _scale(axis)


def _scale(axis: Axis) -> dict[str, Any]:
    look: dict[str, Any] = {"tickCount": _CAP}
    if axis.kind == "share":
        look["format"] = "%"
    elif axis.kind == "points":
        look["format"] = "+~r"
    elif axis.kind == "count":
        look["format"] = "~s"
    scale: dict[str, Any] = {"zero": False, "nice": True}
    if axis.is_log:
        scale = {"type": "log", "nice": False, "padding": 12}
    return {"type": "quantitative", "title": axis.title, "scale": scale, "axis": look}


def _colour(series: Sequence[str]) -> dict[str, Any]:
    colours = [_COLOURS[i % len(_COLOURS)] for i in range(len(series))]
    # A key shows what a colour stands for, not how faint a band or an interval is drawn.
    columns = {"expr": "max(1, floor(width / 190))"}
    legend = None if len(series) < 2 else {"symbolOpacity": 1, "columns": columns}
    return {
        "field": "series",
        "type": "nominal",
        "scale": {"domain": list(series), "range": colours},
        "title": None,
        "legend": legend,
    }


def _told_by(
    names: Sequence[str], field: str, looks: Sequence[Any], **look: object
) -> dict[str, Any]:
    """Return shapes or dashes by name; one name needs no key."""
    legend = {"legend": None} if len(names) < 2 else {"legend": look} if look else {}
    scale = {"domain": list(names), "range": [looks[i % len(looks)] for i in range(len(names))]}
    return {"field": field, "type": "nominal", "scale": scale, "title": None, **legend}


def _tooltip(x: Axis, y: Axis, *, has_variants: bool = False) -> list[dict[str, str]]:
    kinds = (("name", "arm"), ("series", "series"), *([("variant", "kind")] * has_variants))
    fields = (*kinds, ("shown_x", x.title), ("shown_y", y.title))
    told = [{"field": field, "type": "nominal", "title": title} for field, title in fields]
    return [*told, {"field": "n", "type": "nominal", "title": "n"}]


def _table(title: str, points: Sequence[Point], x: Axis, y: Axis, mark: str) -> Table:
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
            _with_interval(point, y),
            "" if point.n is None else f"{point.n:,}",
        )
        for point in points
    )
    marked = frozenset(i for i, point in enumerate(points) if point.is_marked)
    return Table(title, columns, rows, marked, mark if marked else "")


def _with_interval(point: Point, axis: Axis) -> str:
    value = axis.shown(point.y)
    if not value or point.low is None or point.high is None:
        return value
    return f"{value} [{axis.shown(point.low) or '?'}, {axis.shown(point.high) or '?'}]"


def _few(xs: Sequence[float], ys: Sequence[float], most: int = 300) -> list[tuple[float, float]]:
    """Return at most so many steps, the last of each run: a screen shows no more."""
    pairs = list(zip(xs, ys, strict=True))
    if len(pairs) <= most:
        return pairs
    places = {round(i * (len(pairs) - 1) / (most - 1)) for i in range(most)}
    return [pairs[i] for i in sorted(places)]


def _reached(curve: Step, share: float, axis: Axis) -> str:
    found = (x for x, y in zip(curve.xs, curve.ys, strict=True) if y >= share)
    return axis.shown(next(found, None))


def _scaled(value: float) -> str:
    for suffix, scale in (("E", 1e18), ("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6)):
        if value >= scale:
            return f"{value / scale:.3g}{suffix}"
    return f"{value:,.4g}" if value < 1000 else f"{value:,.0f}"
