"""Reads what a notebook would show, and refuses HTML that it should never be given."""

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

from hypothesis import strategies as st

from policies.html_tables import clean

GOLDEN = Path(__file__).parent / "golden" / "notebook"
TAGS = frozenset(
    {"div", "p", "strong", "ul", "li", "dl", "dt", "dd", "bdi", "span"}
    | {"table", "caption", "thead", "tbody", "tr", "th", "td"}
)
ATTRIBUTES = frozenset({"style", "title", "scope", "colspan"})
STYLES = frozenset({"text-align", "padding", "font-variant-numeric", "white-space"})
_UNSEEN = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
ATTACKS = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</td></table><h1>mine</h1>",
    "<!-- never closed",
    "</bdi></th>",
    "&lt;b&gt;&#60;i&#62;&amp;",
    "javascript:alert(1)",
    "\x1b[31mred\x1b[0m",
    "\x1b]8;;http://evil.invalid\x07click\x1b]8;;\x07",
    "\x9b2Jgone\x00\x07\x7f",
    "\u202egnp.exe",
    "\u05d0\u05d1\u05d2 (\u0661\u0662)",
    "line\nbreak\r\ttab\u2028",
    "half \ud800 pair",
    "x" * 5_000,
    "]]><![CDATA[",
    "",
)
names = st.one_of(
    st.sampled_from(ATTACKS),
    st.text(alphabet=st.characters(exclude_categories=()), max_size=40),
    st.lists(st.sampled_from(ATTACKS), min_size=2, max_size=3).map("".join),
)


def shown(name: str) -> str:
    """Return a name as a table shows it."""
    plain = clean(name)
    return plain if len(plain) <= 200 else f"{plain[:199]}\u2026"


@dataclass
class Table:
    """A table as it was read: its caption, the names of its columns, its rows."""

    captions: list[str] = field(default_factory=list[str])
    heads: list[str] = field(default_factory=list[str])
    rows: list[list[str]] = field(default_factory=list[list[str]])
    n_more: str = ""

    def column(self, name: str) -> list[str]:
        at = self.heads.index(name)
        return [row[at] for row in self.rows]


class _Reader(HTMLParser):
    """Reads a view and asserts that its tags close in order and are the ones we write."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tables: list[Table] = []
        self.texts: list[str] = []
        self.isolated: list[str] = []
        self._span = 1

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in TAGS, tag
        found = dict(attrs)
        assert set(found) <= ATTRIBUTES, found
        for part in filter(None, (found.get("style") or "").split(";")):
            assert part.partition(":")[0] in STYLES, part
        self.open.append(tag)
        if tag == "table":
            self.tables.append(Table())
        elif tag == "caption":
            self.tables[-1].captions.append("")
        elif tag == "tr" and "tbody" in self.open:
            self.tables[-1].rows.append([])
        elif tag in {"th", "td"}:
            in_head = "thead" in self.open
            scope = "col" if in_head else "row" if tag == "th" else None
            assert found.get("scope") == scope
            self._span = int(found.get("colspan") or 1)
            (self.tables[-1].heads if in_head else self.tables[-1].rows[-1]).append("")
        elif tag == "bdi":
            self.isolated.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        if tag == "tr" and "tbody" in self.open:
            table = self.tables[-1]
            if self._span > 1:
                assert self._span == len(table.heads)
                table.n_more = table.rows.pop()[0]
            else:
                assert len(table.rows[-1]) == len(table.heads)
            self._span = 1

    def handle_data(self, data: str) -> None:
        assert self.open, "text outside of everything"
        self.texts.append(data)
        if "bdi" in self.open:
            self.isolated[-1] += data
        if "caption" in self.open:
            self.tables[-1].captions[-1] += data
        elif "thead" in self.open:
            self.tables[-1].heads[-1] += data
        elif "tbody" in self.open:
            self.tables[-1].rows[-1][-1] += data

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data!r}")

    def handle_decl(self, decl: str) -> None:
        raise AssertionError(f"a declaration: {decl!r}")

    def handle_pi(self, data: str) -> None:
        raise AssertionError(f"an instruction: {data!r}")


@dataclass(frozen=True)
class Page:
    """A view as it was read: its tables, all of its text, and the texts that are isolated."""

    tables: list[Table]
    text: str
    isolated: list[str]


def read_page(view: object) -> Page:
    """Read what `_repr_html_` of an object returns, or HTML itself.

    Raises:
        AssertionError: It is not well-formed, or holds what a view may not hold.
    """
    page = view if isinstance(view, str) else str(getattr(view, "_repr_html_")())  # noqa: B009
    page.encode("utf-8")
    assert not _UNSEEN.search(page)
    reader = _Reader()
    reader.feed(page)
    reader.close()
    assert not reader.open
    for table in reader.tables:
        assert len(table.captions) == 1
        assert table.captions[0]
        assert table.heads
        assert len(table.rows) <= 200
    return Page(reader.tables, " ".join(reader.texts), reader.isolated)


def check_golden(name: str, view: object, *, is_update: bool) -> None:
    """Compare a view with `tests/golden/notebook/NAME.html`, or write that."""
    page = str(getattr(view, "_repr_html_")()).replace("</tr>", "</tr>\n")  # noqa: B009
    path = GOLDEN / f"{name}.html"
    if is_update:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page, encoding="utf-8")
    assert path.exists(), f"{path} is missing: run pytest with --update-golden"
    assert path.read_text("utf-8") == page
