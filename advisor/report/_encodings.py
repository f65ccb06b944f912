"""Vega-Lite's words for axes, colours, shapes and tips."""

import math
from collections.abc import Sequence
from typing import Any

from ._points import Axis, Point, with_interval

__all__ = [
    "CAP",
    "COLOURS",
    "GREY",
    "SHAPES",
    "across_of",
    "colour_of",
    "datum",
    "move_apart",
    "told_by",
    "tooltip",
    "up_of",
]

# Okabe and Ito's palette without black and yellow, which are lost on dark and on white paper;
# shapes and dashes say the same again. Source: Okabe and Ito, "Color Universal Design" (2008).
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6D31", "#7F7F7F")
"""Colours of series, in their order."""

SHAPES = ["circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "wedge", "arrow"]
"""Shapes of points, in the order of what they tell."""

GREY = {"symbolFillColor": "#7F7F7F", "symbolStrokeWidth": 0, "columns": 2}
"""Of keys whose colour tells nothing: seen on white and on dark paper."""

CAP = 6
"""About how many ticks an axis has."""

_WIDE, _MANY = 32, 8
"""Characters of all names on an axis from which on they stand at a slope, and names from which on
some are left out where there is no room."""


def datum(point: Point, x: Axis, y: Axis, curves: Sequence[str]) -> dict[str, Any]:
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
        "shown_y": with_interval(point, y),
        "n": "" if point.n is None else f"{point.n:,}",
        **({"label": point.label} if point.label else {}),
        **({"dash": curves.index(point.series)} if point.series in curves else {}),
    }


def move_apart(rows: Sequence[dict[str, Any]]) -> None:
    lines = list(dict.fromkeys((row["series"], row["variant"]) for row in rows))
    places = [row["x"] for row in rows]
    apart = 0.04 * (max(places) - min(places)) / len(lines) if lines else 0.0
    for row in rows:
        place = lines.index((row["series"], row["variant"]))
        row["x"] += apart * (place - (len(lines) - 1) / 2)


def across_of(axis: Axis, names: Sequence[str]) -> dict[str, Any]:
    if axis.kind == "name":
        order = list(dict.fromkeys(names))
        look: dict[str, Any] = {"labelAngle": 0, "labelOverlap": True}
        if sum(map(len, order)) > _WIDE:
            look = {"labelAngle": -35, "labelLimit": 150, "labelOverlap": len(order) > _MANY}
        return {"field": "x", "type": "ordinal", "sort": order, "title": axis.title, "axis": look}
    return {"field": "x", **_scale(axis)}


def up_of(axis: Axis) -> dict[str, Any]:
    return _scale(axis)


def _scale(axis: Axis) -> dict[str, Any]:
    look: dict[str, Any] = {"tickCount": CAP}
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


def colour_of(series: Sequence[str]) -> dict[str, Any]:
    colours = [COLOURS[i % len(COLOURS)] for i in range(len(series))]
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


def told_by(
    names: Sequence[str], field: str, looks: Sequence[Any], **look: object
) -> dict[str, Any]:
    """Return shapes or dashes by name; one name needs no key."""
    legend = {"legend": None} if len(names) < 2 else {"legend": look} if look else {}
    scale = {"domain": list(names), "range": [looks[i % len(looks)] for i in range(len(names))]}
    return {"field": field, "type": "nominal", "scale": scale, "title": None, **legend}


def tooltip(x: Axis, y: Axis, *, has_variants: bool = False) -> list[dict[str, str]]:
    kinds = (("name", "arm"), ("series", "series"), *([("variant", "kind")] * has_variants))
    fields = (*kinds, ("shown_x", x.title), ("shown_y", y.title))
    told = [{"field": field, "type": "nominal", "title": title} for field, title in fields]
    return [*told, {"field": "n", "type": "nominal", "title": "n"}]
