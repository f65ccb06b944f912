"""Pictures made of plain characters, for a glance at a terminal; nothing in them is coloured.

Every series has a mark of one ASCII character, told in a legend below; where all of a series lies
under the marks of others the legend says where. Beyond ASCII are only the axes, and names.
"""

import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from ._output import harmless

__all__ = ["Axis", "Series", "draw", "draw_intervals", "letters", "plain_name", "writes_ascii"]

_STEPS = (1, 2, 5, 10)
_SUFFIXES = (("E", 1e18), ("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3))
_SAME = 1e-9
"""Share of their size by which numbers differ that are drawn at one place."""
_LEAST, _MOST = 1e-300, 1e300
"""Sizes between which numbers are drawn: their differences and products are finite."""
_LONGEST_NAME = 48


@dataclass(frozen=True, slots=True)
class Series:
    """What is drawn with one mark.

    Attributes:
        name: What the legend says; "" for nothing.
        mark: One printable ASCII character, another one for each series.
        points: Pairs of x and y, of a line in its order; what is not finite, or larger than
            1e300, is left out.
        is_line: Whether points are joined, straight in the data's units; else they stand alone.
    """

    name: str
    mark: str
    points: Sequence[tuple[float, float]]
    is_line: bool = False


@dataclass(frozen=True, slots=True)
class Axis:
    """An axis.

    Attributes:
        label: What it shows, with its unit.
        is_log: Whether it is logarithmic; what is below 1e-300 is then left out.
        ticks: Values and their labels, ascending; round numbers by default.
    """

    label: str
    is_log: bool = False
    ticks: tuple[tuple[float, str], ...] | None = None


def letters(n_capital: int, n_small: int) -> list[str]:
    """Return marks a, b, ... of which the first are capitals, at most 26."""
    return [
        chr(ord("A" if at < n_capital else "a") + at) for at in range(min(n_capital + n_small, 26))
    ]


def writes_ascii() -> bool:
    """Return whether stdout can hold nothing but ASCII."""
    return not (sys.stdout.encoding or "").lower().replace("-", "").startswith("utf")


def draw(
    series: Sequence[Series],
    x: Axis,
    y: Axis,
    *,
    width: int,
    height: int = 14,
    is_ascii: bool = False,
) -> list[str]:
    """Return a picture as lines that fit a width; where series meet the first is on top.

    Args:
        series: What is drawn.
        x: The axis to the right.
        y: The axis upwards.
        width: Columns, at least 60.
        height: Lines between the axes.
        is_ascii: Whether nothing but ASCII is written.
    """
    kept = [[p for p in one.points if _fits(p[0], x) and _fits(p[1], y)] for one in series]
    n_lost = sum(len(one.points) for one in series) - sum(map(len, kept))
    lost = [f"left out: {n_lost:,} without a value that can be drawn"] if n_lost else []
    points = [point for found in kept for point in found]
    if not points:
        return ["nothing to draw", *lost]
    up = _Scale([point[1] for point in points], height, is_log=y.is_log, is_round=not y.ticks)
    y_ticks = y.ticks or up.ticks(max(height // 2, 2))
    gutter = max((len(label) for _, label in y_ticks), default=0) + 2
    along = _Scale([point[0] for point in points], width - gutter, is_log=x.is_log)
    grid = [[" "] * along.n for _ in range(height)]
    order = sorted(range(len(series)), key=lambda at: (not series[at].is_line, -at))
    for at in order:
        for column, row in _places(kept[at], along, up, is_line=series[at].is_line):
            grid[row][column] = series[at].mark
    lines = _frame(grid, x, y, along, up, y_ticks, gutter, is_ascii=is_ascii)
    names = [
        f"{one.mark} {plain_name(one.name, is_ascii=is_ascii)}{_hidden(one, found, along, up, grid)}"
        for one, found in zip(series, kept, strict=True)
        if found and one.name
    ]
    return [*lines, *_packed(names, width), *lost]


def draw_intervals(
    rows: Sequence[tuple[str, float, float, float]], *, label: str, width: int
) -> list[str]:
    """Return one line per estimate with its interval, such as `A  [---o----]`, and their axis.

    Args:
        rows: Name, estimate and both ends, all finite.
        label: Unit of the axis.
        width: Columns.
    """
    gutter = max(len(label), *(len(row[0]) for row in rows)) + 2
    scale = _Scale([value for row in rows for value in row[1:]], width - gutter, is_round=True)
    lines: list[str] = []
    for name, value, low, high in rows:
        cells = [" "] * scale.n
        start, end = scale.place(low), scale.place(high)
        cells[start : end + 1] = "-" * (end - start + 1)
        cells[start], cells[end] = "[", "]"
        cells[scale.place(value)] = "o"
        lines.append(f"{name:<{gutter}}{''.join(cells)}".rstrip())
    ticks = _under(scale, scale.ticks(max(scale.n // 12, 2)), gutter, width)
    return [*lines, f"{label:<{gutter}}{ticks[gutter:]}"]


class _Scale:
    """Numbers as places 0 to n - 1."""

    def __init__(
        self, values: Sequence[float], n: int, *, is_log: bool = False, is_round: bool = False
    ) -> None:
        self.n = n
        self.is_log = is_log
        low, high = min(map(self._along, values)), max(map(self._along, values))
        if high - low <= max(_SAME * max(abs(low), abs(high)), _LEAST):
            pad = 0.3 if is_log else abs(low) / 10 if abs(low) > _LEAST else 1.0
            low, high = low - pad, high + pad
        elif is_round and not is_log:
            step = _round_step(low, high, max(n // 2, 2))
            low, high = math.floor(low / step) * step, math.ceil(high / step) * step
        self.low, self.high = low, high

    def _along(self, value: float) -> float:
        return math.log10(value) if self.is_log else value

    def place(self, value: float) -> int:
        share = (self._along(value) - self.low) / (self.high - self.low)
        return min(max(round(share * (self.n - 1)), 0), self.n - 1)

    def between(self, first: float, second: float, share: float) -> float:
        """Return the value at a share of the way between two as they are seen."""
        start, end = self._along(first), self._along(second)
        found = (1 - share) * start + share * end
        return 10.0**found if self.is_log else found

    def ticks(self, n_most: int) -> tuple[tuple[float, str], ...]:
        """Return round numbers within the range, at most about so many, with their labels."""
        if self.is_log:
            first, last = math.floor(self.low), math.ceil(self.high)
            rows = [[(m, e) for e in range(first, last + 1) for m in (1, 2, 5)]]
            rows += [
                [(1, e) for e in range(first, last + 1) if e % k == 0] for k in (1, 3, 10, 30, 100)
            ]
            for row in rows:
                found = [value for m, e in row if self._is_within(value := float(f"{m}e{e}"))]
                if 2 <= len(found) <= n_most:
                    return tuple(zip(found, _labels(found), strict=True))
        low, high = (10**self.low, 10**self.high) if self.is_log else (self.low, self.high)
        step = _round_step(low, high, n_most)
        places = range(math.ceil(low / step - _SAME), math.floor(high / step + _SAME) + 1)
        found = [at * step for at in places if at > 0 or not self.is_log]
        return tuple(zip(found, _labels(found, step), strict=True))

    def _is_within(self, value: float) -> bool:
        return value > 0 and self.low - _SAME <= math.log10(value) <= self.high + _SAME


def _fits(value: float, axis: Axis) -> bool:
    return abs(value) <= _MOST and (value >= _LEAST or not axis.is_log)


def _round_step(low: float, high: float, n_most: int) -> float:
    least = (high - low) / n_most
    size = 10.0 ** math.floor(math.log10(least))
    return next((m * size for m in _STEPS if m * size >= least * (1 - _SAME)), 10 * size)


def _labels(values: Sequence[float], step: float | None = None) -> list[str]:
    """Return numbers in as few digits as tell them apart."""
    largest = max(map(abs, values), default=0.0)
    if step is not None and 1e-4 <= step < 1 and largest < 1000:
        return [f"{value:.{-math.floor(math.log10(step))}f}" for value in values]
    found: list[str] = []
    for n_digits in range(3, 17):
        found = [_short(value, n_digits) for value in values]
        if len(set(found)) == len(found):
            break
    return found


def _short(value: float, n_digits: int) -> str:
    for suffix, scale in _SUFFIXES:
        if scale <= abs(value) < 1e21:
            return f"{value / scale:.{n_digits}g}{suffix}"
    return f"{value + 0.0:.{n_digits}g}"


def _places(
    points: Sequence[tuple[float, float]], along: _Scale, up: _Scale, *, is_line: bool
) -> Iterable[tuple[int, int]]:
    def place(x: float, y: float) -> tuple[int, int]:
        return along.place(x), up.n - 1 - up.place(y)

    yield from (place(*point) for point in points)
    for (x0, y0), (x1, y1) in pairwise(points) if is_line else ():
        (column0, row0), (column1, row1) = place(x0, y0), place(x1, y1)
        n_steps = 4 * max(abs(column1 - column0), abs(row1 - row0))
        for step in range(1, n_steps):
            x = along.between(x0, x1, step / n_steps)
            # On a logarithmic axis a straight line is bent.
            share = (x - x0) / (x1 - x0) if x1 != x0 else step / n_steps
            yield place(x, y0 if y0 == y1 else (1 - share) * y0 + share * y1)


def _frame(
    grid: Sequence[Sequence[str]],
    x: Axis,
    y: Axis,
    along: _Scale,
    up: _Scale,
    y_ticks: Sequence[tuple[float, str]],
    gutter: int,
    *,
    is_ascii: bool,
) -> list[str]:
    side, mark, corner, bottom, tick = "|++-+" if is_ascii else "│┤└─┬"
    named = {up.n - 1 - up.place(value): label for value, label in reversed(y_ticks)}
    lines = [y.label]
    for row, cells in enumerate(grid):
        label = named.get(row, "")
        edge = mark if label else side
        lines.append(f"{label:>{gutter - 2}} {edge}{''.join(cells)}".rstrip())
    x_ticks = x.ticks or along.ticks(max(along.n // 9, 2))
    marked = {along.place(value) for value, _ in x_ticks}
    floor = "".join(tick if column in marked else bottom for column in range(along.n))
    lines.append(f"{' ' * (gutter - 1)}{corner}{floor}")
    lines.append(_under(along, x_ticks, gutter, gutter + along.n))
    lines.append(f"{' ' * gutter}{x.label}{' (logarithmic)' * x.is_log}")
    return lines


def _under(scale: _Scale, ticks: Sequence[tuple[float, str]], gutter: int, width: int) -> str:
    """Return labels under their ticks as far as there is room; the last one comes first."""
    cells = [" "] * width
    for value, label in [*ticks[-1:], *ticks[:-1]]:
        start = gutter + scale.place(value) - len(label) // 2
        start = max(min(start, width - len(label)), gutter)
        around = cells[max(start - 1, 0) : start + len(label) + 1]
        if all(cell == " " for cell in around) and start + len(label) <= width:
            cells[start : start + len(label)] = label
    return "".join(cells).rstrip()


def _hidden(
    one: Series,
    points: Sequence[tuple[float, float]],
    along: _Scale,
    up: _Scale,
    grid: Sequence[Sequence[str]],
) -> str:
    places = [*_places(points, along, up, is_line=one.is_line)]
    seen = [grid[row][column] for column, row in places]
    return "" if one.mark in seen else f" (under {seen[0]})"


def plain_name(name: str, *, is_ascii: bool) -> str:
    r"""Return a name in one line of at most 48 columns, without what steers a terminal.

    Args:
        name: The name.
        is_ascii: Whether other characters are written out, such as `\xe9`.
    """
    from rich.cells import cell_len, set_cell_size

    text = " ".join(harmless(name).split())
    if is_ascii:
        text = text.encode("ascii", "backslashreplace").decode()
    if cell_len(text) <= _LONGEST_NAME:
        return text
    return f"{set_cell_size(text, _LONGEST_NAME - 3).rstrip()}..."


def _packed(names: Sequence[str], width: int) -> list[str]:
    """Return names side by side in lines, none of them broken."""
    from rich.cells import cell_len

    lines: list[str] = []
    for name in names:
        if lines and cell_len(lines[-1]) + 3 + cell_len(name) <= width:
            lines[-1] += f"   {name}"
        else:
            lines.append(name)
    return lines
