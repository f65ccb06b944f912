"""HTML for notebooks: tables and lists made of texts that nobody vouches for.

Names of models and tasks, prompts and messages come from servers and files. Each is escaped,
freed of what steers a terminal, and isolated, so that writing from right to left turns nothing
around it. There are no scripts, links, classes or colours: views look right in light and dark
notebooks, also where those strip style sheets.

Example:
    >>> from policies.html_tables import Figure, table
    >>> "<td" in table("arms", ("arm", "n"), [("<b>", Figure("7"))])
    True
"""

import math
import re
from collections.abc import Iterable, Sequence
from html import escape
from itertools import islice
from typing import NamedTuple, TypeAlias

__all__ = [
    "MAX_ROWS",
    "Entry",
    "Figure",
    "amount",
    "bullets",
    "clean",
    "definitions",
    "figure",
    "interval",
    "paragraph",
    "rate",
    "table",
    "view",
]

MAX_ROWS = 200
"""Rows of a table that are shown; a last one says how many more there are."""

_LONGEST = 200
"""Characters of a text in a table."""

# Commands to terminals with what they carry along: ECMA-48 sections 5.4 and 5.6.
_COMMANDS = re.compile(
    "(?:\x1b\\[|\x9b)[0-?]*[ -/]*[@-~]"
    "|(?:\x1b[\\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x90\x98\x9c-\x9f]*(?:\x07|\x1b\\\\|\x9c)"
)
_BLANKS = re.compile("[\t\n\r\u2028\u2029]+")
# Control characters, those that turn the direction of writing, and what is no character.
_STEERING = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufdd0-\ufdef\ufffe\uffff]"
)
_HALVES = re.compile("[\ud800-\udfff]")
_TEXT = "text-align:left;padding:0.1em 0.6em"
_NUMBER = (
    "text-align:right;padding:0.1em 0.6em;font-variant-numeric:tabular-nums;white-space:nowrap"
)
_DASH = "\N{EN DASH}"
_SCALES = (("E", 1e18), ("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6))


class Figure(NamedTuple):
    """A number as it is shown, aligned to the right.

    Attributes:
        text: The number in words, such as `0.812 [0.790, 0.832]`.
        title: What to know about it, shown where the pointer rests; "" for nothing.
    """

    text: str
    title: str = ""


Entry: TypeAlias = str | Figure | None
"""What a table holds in one place: a text, a number, or `None` for what is not known."""


def clean(text: str) -> str:
    r"""Return a text without what steers terminals or the direction of writing.

    Line breaks and tabs become blanks, halves of surrogate pairs a replacement character.

    Example:
        >>> clean("a\x1b[31mred\x00")
        'ared'
    """
    plain = _BLANKS.sub(" ", _COMMANDS.sub("", text))
    return _HALVES.sub("\N{REPLACEMENT CHARACTER}", _STEERING.sub("", plain))


def figure(value: float | None, form: str = ",.3f", *, title: str = "") -> Figure | None:
    """Return a number in a format; `None` for what is unknown, not a number or infinite.

    Args:
        value: The number.
        form: How it is written, as the built-in `format` takes it.
        title: What to know about it.
    """
    if value is None or not math.isfinite(value):
        return None
    return Figure(format(value, form), title)


def amount(value: float | None) -> Figure | None:
    """Return FLOPs in three digits, such as `2.1G`; `None` for what is not known."""
    if value is None or not math.isfinite(value):
        return None
    for suffix, scale in _SCALES:
        if value >= scale:
            return Figure(f"{value / scale:.3g}{suffix}")
    return Figure(f"{value:.3g}")


def interval(
    value: float | None, low: float | None, high: float | None, form: str = ".3f", title: str = ""
) -> Figure | None:
    """Return an estimate with its interval; an end that is not known is a dash.

    Args:
        value: The estimate, in the unit of the column.
        low: Lower end.
        high: Upper end.
        form: How each of them is written.
        title: What to know about it.

    Example:
        >>> interval(0.81, 0.78, 0.84).text
        '0.810 [0.780, 0.840]'
    """
    middle = figure(value, form)
    if middle is None:
        return None
    ends = [_DASH if one is None else one.text for one in (figure(low, form), figure(high, form))]
    return Figure(f"{middle.text} [{ends[0]}, {ends[1]}]", title)


def rate(
    value: float | None, low: float | None, high: float | None, n: int, title: str = ""
) -> Figure | None:
    """Return a share with its interval and the number of questions behind it.

    Args:
        value: The share in [0, 1].
        low: Lower end of its interval.
        high: Upper end.
        n: Questions.
        title: What to know about it.

    Example:
        >>> rate(0.81, 0.78, 0.84, 640).text
        '0.810 [0.780, 0.840], n = 640'
    """
    found = interval(value, low, high, title=title)
    return None if found is None else Figure(f"{found.text}, n = {n:,}", title)


def table(caption: str, columns: Sequence[str], rows: Iterable[Sequence[Entry]]) -> str:
    """Return a table; its first column names the rows.

    Args:
        caption: What it shows.
        columns: Names of the columns.
        rows: One entry per column; of more than `MAX_ROWS` only so many are shown.
    """
    left = iter(rows)
    shown = [tuple(row) for row in islice(left, MAX_ROWS)]
    n_more = sum(1 for _ in left)
    is_number = [
        bool(shown) and not any(isinstance(row[at], str) for row in shown)
        for at in range(len(columns))
    ]
    heads = "".join(
        f'<th scope="col" style="{_NUMBER if is_right else _TEXT}">{_isolated(name)}</th>'
        for name, is_right in zip(columns, is_number, strict=True)
    )
    body = "".join(_row(row, is_number) for row in shown)
    if n_more:
        words = "1 more row" if n_more == 1 else f"{n_more:,} more rows"
        body += f'<tr><td colspan="{len(columns)}" style="{_TEXT}">and {words}</td></tr>'
    return (
        f'<table><caption style="{_TEXT}">{_isolated(caption)}</caption>'
        f"<thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>"
    )


def definitions(items: Iterable[tuple[str, Entry]]) -> str:
    """Return a list of names with what each stands for, none of it cut."""
    pairs = "".join(
        f"<dt>{_isolated(name)}</dt><dd>{_content(entry, None)}</dd>" for name, entry in items
    )
    return f"<dl>{pairs}</dl>" if pairs else ""


def bullets(texts: Iterable[str]) -> str:
    """Return texts as a list; nothing where there are none."""
    items = "".join(f"<li>{_isolated(text)}</li>" for text in texts)
    return f"<ul>{items}</ul>" if items else ""


def paragraph(text: str, *, is_strong: bool = False) -> str:
    """Return a paragraph of text.

    Args:
        text: The text.
        is_strong: Whether it matters most.
    """
    words = _isolated(text)
    return f"<p><strong>{words}</strong></p>" if is_strong else f"<p>{words}</p>"


def view(*parts: str) -> str:
    """Return parts that functions of this module made as one piece for a notebook."""
    return f"<div>{''.join(parts)}</div>"


def _row(row: Sequence[Entry], is_number: Sequence[bool]) -> str:
    cells: list[str] = []
    for at, (entry, is_right) in enumerate(zip(row, is_number, strict=True)):
        style = _NUMBER if is_right else _TEXT
        start, end = ('th scope="row"', "th") if at == 0 else ("td", "td")
        cells.append(f'<{start} style="{style}">{_content(entry, _LONGEST)}</{end}>')
    return f"<tr>{''.join(cells)}</tr>"


def _content(entry: Entry, longest: int | None) -> str:
    if entry is None:
        return f'<span title="not known">{_DASH}</span>'
    if isinstance(entry, Figure):
        text = escape(clean(entry.text))
        return f'<span title="{escape(clean(entry.title))}">{text}</span>' if entry.title else text
    return _isolated(entry, longest)


def _isolated(text: str, longest: int | None = None) -> str:
    plain = clean(text)
    if longest is not None and len(plain) > longest:
        plain = f"{plain[: longest - 1]}\N{HORIZONTAL ELLIPSIS}"
    return f"<bdi>{escape(plain)}</bdi>"
