"""Plots as Vega-Lite specifications, each with the same in words and as a table."""

from collections.abc import Iterable, Sequence
from typing import Any, Literal

from ._blocks import Chart, Column, Table
from ._chart_layers import DASHES, DIAGONAL, curve_layers, label_layers
from ._encodings import (
    CAP,
    COLOURS,
    GREY,
    SHAPES,
    across_of,
    colour_of,
    datum,
    move_apart,
    told_by,
    tooltip,
    up_of,
)
from ._points import Axis, Point, Step, few_steps, is_placed, point_table, reached

__all__ = ["dot_chart", "line_chart", "share_chart", "step_chart", "xy_chart"]

_SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"
_HEIGHT = 300


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
    placed = [point for point in points if is_placed(point, x, y)]
    rows = [datum(point, x, y, curves) for point in placed]
    series = list(dict.fromkeys(point.series for point in placed))
    variants = list(dict.fromkeys(point.variant for point in placed if point.variant))
    across = across_of(x, [str(point.x) for point in placed])
    beside: dict[str, Any] = {"x": across}
    if x.kind == "name" and len({(point.x, point.series) for point in placed}) > len(
        {point.x for point in placed}
    ):
        beside["xOffset"] = {"field": "series", "type": "nominal", "sort": series}
    elif x.kind != "name" and joins == "series" and not x.is_log:
        move_apart(rows)
    up = up_of(y)
    colour = colour_of(series)
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
                line["encoding"]["strokeDash"] = told_by(variants, "variant", DASHES, **GREY)
        layers.insert(0, line)
    layers.append(
        {
            "mark": {"type": "point", "filled": True, "size": 70, "opacity": 1},
            "encoding": {
                **beside,
                "y": {"field": "y", **up},
                "color": colour,
                "shape": told_by(variants, "variant", SHAPES, **GREY)
                if variants
                else {**colour, "scale": {"domain": series, "range": SHAPES}},
                "size": {
                    "condition": [
                        {"test": "datum.marked", "value": 150},
                        {"test": "isValid(datum.dash)", "value": 9},
                    ],
                    "value": 55,
                },
                "tooltip": tooltip(x, y, has_variants=bool(variants)),
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
    table = point_table(title, points, x, y, mark)
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
    placed = [point for point in points if is_placed(point, x, y)]
    names = list(dict.fromkeys(str(point.x) for point in placed))
    down = {"field": "x", "type": "ordinal", "sort": names, "title": None}
    spec: dict[str, Any] = {
        "$schema": _SCHEMA,
        "height": 34 * max(len(names), 1),
        "data": {"values": [datum(point, x, y, ()) for point in placed if point.y > 0]},
        "mark": {"type": "bar"},
        "encoding": {
            "y": {**down, "axis": {"labelLimit": 140}},
            "x": {
                "field": "y",
                "type": "quantitative",
                "stack": "zero",
                "scale": {"domain": [0, 1]},
                "title": y.title,
                "axis": {"format": "%", "tickCount": CAP},
            },
            "color": colour_of(list(dict.fromkeys(point.series for point in placed))),
            "tooltip": tooltip(x, y, has_variants=False),
        },
    }
    return Chart(title, words, spec, point_table(title, points, x, y, ""))


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
    placed = [point for point in points if is_placed(point, x, y)]
    rows = [datum(point, x, y, ()) for point in placed]
    order = list(dict.fromkeys(str(point.x) for point in placed))
    look = {"labelLimit": 260, "grid": True}
    down = {"field": "x", "type": "ordinal", "sort": order, "title": None, "axis": look}
    across = up_of(y)
    shade = {"condition": {"test": "datum.marked", "value": COLOURS[1]}, "value": COLOURS[0]}
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
                "tooltip": tooltip(x, y),
            },
        },
    ]
    spec = {
        "$schema": _SCHEMA,
        "height": 20 * max(len(order), 1),
        "data": {"values": rows},
        "layer": layers,
    }
    return Chart(title, words, spec, point_table(title, points, x, y, mark))


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
        for across, up in few_steps(one.xs, one.ys)
        if across > 0 or not x.is_log
    ]
    series = [one.series for one in curves]
    spec = {
        "$schema": _SCHEMA,
        "height": _HEIGHT,
        "data": {"values": rows},
        "mark": {"type": "line", "interpolate": "step-after", "strokeWidth": 2},
        "encoding": {
            "x": across_of(x, []),
            "y": {"field": "y", **up_of(y)},
            "color": colour_of(series),
            "strokeDash": told_by(series, "series", DASHES),
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
            (one.series, f"{one.n:,}", *(reached(one, share, x) for share in shares))
            for one in curves
        ),
    )
    return Chart(title, words, spec, table)
