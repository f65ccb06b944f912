"""Parts of plots beyond points: curves with their bands, the diagonal, names beside points."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["DASHES", "DIAGONAL", "curve_layers", "label_layers"]

DASHES = [[1, 0], [6, 3], [2, 2], [8, 2, 2, 2]]
"""Dashes of lines, by which they are told apart without colours."""

DIAGONAL: Mapping[str, Any] = {
    "data": {"values": [{"x": 0.0, "y": 0.0}, {"x": 1.0, "y": 1.0}]},
    "mark": {"type": "line", "color": "#888888", "strokeDash": [5, 3]},
    "encoding": {
        "x": {"field": "x", "type": "quantitative"},
        "y": {"field": "y", "type": "quantitative"},
    },
}
"""Where both axes are equal, from 0 to 1."""

_SLOPE = 30


def curve_layers(
    across: Mapping[str, Any], up: Mapping[str, Any], colour: Mapping[str, Any], n_curves: int
) -> list[dict[str, Any]]:
    """Return the bands and the lines of those rows of a plot that have a `dash`.

    Args:
        across: Encoding of the horizontal axis.
        up: The vertical axis, without its field.
        colour: Encoding of the colour.
        n_curves: How many curves there are; `dash` counts them from 0.
    """
    dash = {
        "field": "dash",
        "type": "nominal",
        "scale": {
            "domain": list(range(n_curves)),
            "range": [DASHES[i % len(DASHES)] for i in range(n_curves)],
        },
        "legend": None,
    }
    shared = {"x": across, "color": colour}
    return [
        {
            "mark": {"type": "area", "opacity": 0.18},
            "transform": [{"filter": "isValid(datum.low) && isValid(datum.dash)"}],
            "encoding": {**shared, "y": {"field": "low", **up}, "y2": {"field": "high"}},
        },
        {
            "mark": {"type": "line", "strokeWidth": 2},
            "transform": [{"filter": "isValid(datum.dash)"}],
            "encoding": {**shared, "y": {"field": "y", **up}, "strokeDash": dash},
        },
    ]


def label_layers(
    rows: Sequence[dict[str, Any]],
    across: Mapping[str, Any],
    up: Mapping[str, Any],
    *,
    is_log: bool,
) -> list[dict[str, Any]]:
    """Write the `label` of rows beside their points, and return the layers that do.

    Names run towards the middle of the plot, so that none leaves it, and at a slope, so that
    neighbours do not hide each other.

    Args:
        rows: The rows of the plot; those with a label are told their `corner`.
        across: Encoding of the horizontal axis, which has numbers.
        up: The vertical axis, without its field.
        is_log: Whether the horizontal axis is logarithmic.
    """
    xs = [_place(row["x"], is_log=is_log) for row in rows]
    ys: list[float] = [end for row in rows for end in (row["y"], row.get("low", row["y"]))]
    corners: set[tuple[bool, bool]] = set()
    for row, x in zip(rows, xs, strict=True):
        if "label" in row:
            is_right = x > (min(xs) + max(xs)) / 2
            is_high = row["y"] > (min(ys) + max(ys)) / 2
            row["corner"] = 2 * is_right + is_high
            corners.add((is_right, is_high))
    return [_labels(across, up, *corner) for corner in sorted(corners)]


def _place(x: float, *, is_log: bool) -> float:
    return math.log(x) if is_log else x


def _labels(
    across: Mapping[str, Any], up: Mapping[str, Any], is_right: bool, is_high: bool
) -> dict[str, Any]:
    return {
        "mark": {
            "type": "text",
            "align": "right" if is_right else "left",
            "baseline": "top" if is_high else "bottom",
            "angle": (_SLOPE if is_right != is_high else -_SLOPE) % 360,
            "dx": -5 if is_right else 5,
            "dy": 5 if is_high else -5,
            "fontSize": 10.5,
            "limit": 130,
        },
        "transform": [{"filter": f"datum.corner === {2 * is_right + is_high}"}],
        "encoding": {"x": across, "y": {"field": "y", **up}, "text": {"field": "label"}},
    }
