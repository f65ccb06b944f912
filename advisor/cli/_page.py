"""A page of text: headings in a gutter, wrapped texts, aligned columns, commands to copy."""

import os
import re
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from ._output import harmless

__all__ = ["GUTTER", "Page", "page_width", "wrap_command"]

GUTTER = 10
"""Columns that headings take; texts stand to their right."""

_INDENT = _GAP = 2
_NUMBER = re.compile(r"[-+~$]?[0-9][0-9.,e%]*[KMBT]?( [\[(].*)?")
_LEAST = 30
"""Columns that a text in one line has at the least, whatever comes after it."""
_NARROWEST, _USUAL, _WIDEST = 60, 100, 120


@dataclass(frozen=True, slots=True)
class _Line:
    heading: str
    text: str
    style: str

    @property
    def plain(self) -> str:
        return f"{self.heading:<{GUTTER}}{self.text}".rstrip() if self.heading else self.text


def page_width() -> int:
    """Return the width to write at: the terminal's within reason, 100 into a pipe or a file."""
    columns = shutil.get_terminal_size((_USUAL, 24)).columns
    return min(max(columns, _NARROWEST), _WIDEST)


class Page:
    """Lines of text that fit a width.

    Nothing is cut off: what is too long is wrapped, and commands go on in a next line the way a
    shell reads them. Characters that would steer a terminal are written out.
    """

    def __init__(self, width: int) -> None:
        """Start an empty page.

        Args:
            width: Columns of a line.
        """
        self.width = width
        self._lines: list[_Line] = []
        self._heading = ""

    @property
    def lines(self) -> list[str]:
        """Return the lines without any style."""
        return [line.plain for line in self._lines]

    def section(self, heading: str, *, gap: bool = True) -> None:
        """Begin a section: its heading stands before the next line.

        Args:
            heading: The heading.
            gap: Leave an empty line before it.
        """
        if self._lines and gap:
            self._lines.append(_Line("", "", ""))
        self._heading = heading

    def text(self, text: str, *, bullet: str = "", style: str = "") -> None:
        """Add a text, wrapped; further lines stand under the first one.

        Args:
            text: The text, of one or more paragraphs.
            bullet: What the first line begins with.
            style: How it looks on a terminal, in the words of rich.
        """
        for index, paragraph in enumerate(harmless(text).splitlines() or [""]):
            lead = " " * len(bullet) if index else bullet
            for line in textwrap.wrap(
                paragraph,
                self.width - GUTTER,
                initial_indent=lead,
                subsequent_indent=" " * len(bullet),
                break_on_hyphens=False,
            ) or [""]:
                self._add(line, style)

    def line(self, text: str, *, bullet: str = "", tail: str = "") -> None:
        """Add a text in one line, cut between two words and marked by `...` if it is longer.

        Args:
            text: The text.
            bullet: What the line begins with.
            tail: What it ends with, never cut; it goes to a next line where it does not fit.
        """
        room = self.width - GUTTER - len(bullet) - len(tail)
        short = textwrap.shorten(harmless(text), max(room, _LEAST), placeholder=" ...")
        self.text(f"{short}{tail}", bullet=bullet)

    def drawing(self, lines: Iterable[str]) -> None:
        """Add lines as they are, under the texts."""
        for line in lines:
            self._add(harmless(line), "")

    def command(self, command: str, *, indent: int = 0) -> None:
        """Add a command that can be copied, over several lines if it is long."""
        for one in harmless(command).splitlines():
            for line in wrap_command(one, self.width - GUTTER - indent):
                self._add(" " * indent + line, "cyan")

    def columns(
        self,
        header: Sequence[str],
        rows: Iterable[Sequence[str]],
        *,
        marked: str = "",
        stacked: Sequence[str] | None = None,
    ) -> None:
        """Add rows under a header, in columns that are as wide as they need to be.

        Columns of numbers are aligned to the right. If they do not fit, each row is wrapped, its
        values with the names of their columns.

        Args:
            header: Names of the columns.
            rows: Values; the first one is what a row is called by.
            marked: The row that stands out on a terminal.
            stacked: Other names where rows are wrapped, for all columns but the first.
        """
        body = [[harmless(value) for value in row] for row in rows]
        widths = [max(map(len, column)) for column in zip(header, *body, strict=True)]
        fits = _INDENT + sum(widths) + _GAP * (len(widths) - 1) <= self.width
        lines = (
            _aligned(header, body, widths) if fits else self._wrapped(stacked or header[1:], body)
        )
        for name, line in lines:
            style = "bold" if name is None else ""
            if marked and name is not None and name.strip("> ") == marked:
                style = "bold green"
            self._lines.append(_Line("", line, style))

    def _wrapped(
        self, names: Sequence[str], rows: Sequence[Sequence[str]]
    ) -> Iterator[tuple[str | None, str]]:
        for first, *values in rows:
            named = [
                f"{name} {value}".strip()
                for name, value in zip(names, values, strict=True)
                if value and value != "-"
            ]
            lead = " " * _INDENT + first + " " * _GAP
            yield from (
                (first, line)
                for line in textwrap.wrap(
                    "; ".join(named),
                    self.width,
                    initial_indent=lead,
                    subsequent_indent=" " * len(lead),
                    break_on_hyphens=False,
                )
            )

    def _add(self, text: str, style: str) -> None:
        heading, self._heading = self._heading, ""
        indented = text if heading else " " * GUTTER + text
        self._lines.append(_Line(heading, indented.rstrip(), style))

    def print(self) -> None:
        """Write the page to stdout: in colour on a terminal that has some, else plain."""
        if not _has_colour():
            sys.stdout.write("\n".join([*self.lines, ""]))
            return
        from rich.console import Console
        from rich.text import Text

        console = Console(highlight=False, soft_wrap=True)
        for line in self._lines:
            heading = f"{line.heading:<{GUTTER}}" if line.heading else ""
            console.print(Text.assemble((heading, "bold"), (line.text, line.style)))


def _aligned(
    header: Sequence[str], rows: Sequence[Sequence[str]], widths: Sequence[int]
) -> Iterator[tuple[str | None, str]]:
    right = [bool(rows) and all(_is_number(row[i]) for row in rows) for i in range(len(header))]
    for values in (header, *rows):
        cells = [
            value.rjust(width) if is_right else value.ljust(width)
            for value, width, is_right in zip(values, widths, right, strict=True)
        ]
        line = " " * _INDENT + (" " * _GAP).join(cells)
        yield (None if values is header else values[0]), line.rstrip()


def wrap_command(command: str, width: int) -> list[str]:
    r"""Return a command as lines that a shell reads as one; a break comes before an option.

    Example:
        >>> wrap_command("advisor recommend --size 3B --task math-oe", 32)
        ['advisor recommend --size 3B \\', '    --task math-oe']
    """
    first, *options = command.split(" --")
    lines, line = list[str](), first
    for option in options:
        part = f"--{option}"
        if len(line) + len(part) + 3 > width and line.strip():
            lines.append(f"{line} \\")
            line = f"    {part}"
        else:
            line = f"{line} {part}"
    return [*lines, line]


def _has_colour() -> bool:
    is_plain = "NO_COLOR" in os.environ or os.environ.get("TERM") == "dumb"
    return sys.stdout.isatty() and not is_plain


def _is_number(text: str) -> bool:
    return text in {"-", ""} or _NUMBER.fullmatch(text) is not None
