"""What pages consist of, for tests that read them: texts, tables, plots, and what a browser sees."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from html.parser import HTMLParser
from typing import Any

from advisor.report import Chart, Page, Table, render


def texts(page: Page) -> str:
    """Return all that a page says, a text a line."""
    return "\n".join(_texts(asdict(page)))


def charts(page: Page, section: str) -> list[Chart]:
    """Return the plots of the section with a title."""
    (found,) = [one for one in page.sections if one.title == section]
    return [block for block in found.blocks if isinstance(block, Chart)]


def all_charts(page: Page) -> list[Chart]:
    """Return the plots of a page."""
    return [b for section in page.sections for b in section.blocks if isinstance(b, Chart)]


def tables(page: Page, section: str) -> list[Table]:
    """Return the tables of the section with a title, those of plots left out."""
    (found,) = [one for one in page.sections if one.title == section]
    return [block for block in found.blocks if isinstance(block, Table)]


def rows(table: Table) -> list[dict[str, str]]:
    """Return a table as rows by the names of its columns."""
    names = [column.name for column in table.columns]
    return [dict(zip(names, row, strict=True)) for row in table.rows]


def values(chart: Chart) -> list[dict[str, Any]]:
    """Return the data of a plot."""
    return list(chart.spec["data"]["values"])


def compiles(chart: Chart) -> bool:
    """Return whether Vega-Lite takes a plot; raises what it says if not."""
    import vl_convert

    return bool(vl_convert.vegalite_to_vega({**chart.spec, "width": 600}))


class Seen(HTMLParser):
    """What a browser makes of a page.

    Attributes:
        tags: Names of the elements.
        links: Addresses that elements lead to or load from.
        text: What is shown.
    """

    def __init__(self, page: Page) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(render(page))

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in {"href", "src"}]
        assert not any(name.startswith("on") for name, _ in attrs), (tag, attrs)

    def handle_data(self, data: str) -> None:
        self.text += data


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from _texts(one)
    elif isinstance(value, Sequence):
        for one in value:
            yield from _texts(one)
