"""What a report page consists of: plain data, without a word of HTML."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = [
    "Block",
    "Chart",
    "Column",
    "Facts",
    "Page",
    "Prose",
    "Section",
    "Table",
    "is_link",
    "link_to",
]

_PAPER = re.compile(r"\barXiv[ :]([0-9]{4}\.[0-9]{4,5}(?:v[0-9]+)?)(?![0-9])")
_ADDRESS = re.compile(r"https://[A-Za-z0-9.-]+(?:/[A-Za-z0-9._~/?#&=%+,;:@-]*)?")


def link_to(source: str) -> str:
    """Return the address of a source, "" where it has none.

    Args:
        source: A source that is an https address, or one that names papers of arXiv, such as
            `arXiv 2509.22193v2, section 5`; of several papers the first one.

    Example:
        >>> link_to("arXiv 2509.22193v2, section 5")
        'https://arxiv.org/abs/2509.22193v2'
        >>> link_to("my notes")
        ''
    """
    if is_link(source):
        return source
    paper = _PAPER.search(source)
    return f"https://arxiv.org/abs/{paper[1]}" if paper else ""


def is_link(address: str) -> bool:
    """Return whether an address is a plain https one, the only kind that a page leads to."""
    return _ADDRESS.fullmatch(address) is not None


@dataclass(frozen=True, slots=True)
class Prose:
    """Paragraphs.

    Attributes:
        paragraphs: Plain text each.
        is_warning: Whether they say what is missing or must not be relied on.
    """

    paragraphs: tuple[str, ...]
    is_warning: bool = False


@dataclass(frozen=True, slots=True)
class Facts:
    """Names with what they stand for, in a row each.

    Attributes:
        rows: Name and value.
        links: Address that each value leads to, "" for none, see `link_to`; one for each row, or
            none at all.
    """

    rows: tuple[tuple[str, str], ...]
    links: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    Attributes:
        name: Its head.
        is_number: Whether its cells are numbers, which stand to the right.
        hint: What it means, where the head alone does not say it.
    """

    name: str
    is_number: bool = False
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A table.

    Attributes:
        caption: What it shows.
        columns: Its columns; the first one names the row.
        rows: A text for each column, "" where nothing is known.
        marked: Numbers of the rows that stand out, counted from 0.
        mark: What is said of these.
        is_folded: Whether it is shown on demand alone.
    """

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    marked: frozenset[int] = frozenset()
    mark: str = ""
    is_folded: bool = False


@dataclass(frozen=True, slots=True)
class Chart:
    """A plot, the same in words, and the same as a table.

    Attributes:
        title: What it shows.
        words: What is to be seen, for those who do not see it.
        spec: A Vega-Lite specification with its data, without width, title and theme.
        table: The numbers.
    """

    title: str
    words: str
    spec: Mapping[str, Any]
    table: Table


Block = Prose | Facts | Table | Chart


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a page.

    Attributes:
        title: Its heading.
        blocks: What is in it.
    """

    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class Page:
    """A report.

    Attributes:
        title: Its heading.
        lead: What matters most, a sentence each.
        sections: Its parts.
        notes: What is missing, a sentence each.
        sources: Where it comes from: files, versions, hashes.
    """

    title: str
    lead: tuple[str, ...]
    sections: tuple[Section, ...]
    notes: tuple[str, ...] = ()
    sources: Sequence[tuple[str, str]] = field(default_factory=tuple[tuple[str, str], ...])
