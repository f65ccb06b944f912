"""Configurations that say why: YAML with headings, and a reason beside each key."""

from collections.abc import Sequence
from dataclasses import dataclass

from ._yaml import YamlValue, yaml_document

__all__ = ["Entry", "Section", "commented_yaml"]

_WIDTH = 100
_COMMENT_COLUMN = 48
"""Reasons of a section are aligned up to this column; behind longer lines they follow directly."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One key.

    Attributes:
        key: Its name.
        value: Its value; a section makes a map, one key per line.
        why: Why it is there or has this value, in one line; may be empty.
    """

    key: str
    value: "YamlValue | Section"
    why: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """Entries that belong together.

    Attributes:
        heading: One line above them; may be empty, and is for a section that is a value.
        entries: At least one.
    """

    heading: str
    entries: Sequence[Entry]


def commented_yaml(header: Sequence[str], sections: Sequence[Section]) -> str:
    """Return a YAML mapping in sections, with reasons as comments.

    Args:
        header: Lines of comment at the top.
        sections: The keys, in order; no key may come twice.

    Example:
        >>> print(commented_yaml(["A run."], [Section("Data", [Entry("seed", 0, "of the order")])]))
        # A run.
        <BLANKLINE>
        # Data
        seed: 0  # of the order
        <BLANKLINE>
    """
    blocks = ["\n".join(f"# {line}".rstrip() for line in header)]
    blocks += ["\n".join(_section(section)) for section in sections]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _section(section: Section) -> list[str]:
    heading = [f"# {section.heading}"] if section.heading else []
    return heading + _lines(section.entries)


def _lines(entries: Sequence[Entry], indent: str = "") -> list[str]:
    rendered = [(entry, _entry(entry, indent)) for entry in entries]
    widths = [len(lines[0]) for entry, lines in rendered if entry.why]
    column = max((width for width in widths if width <= _COMMENT_COLUMN), default=0)
    out: list[str] = []
    for entry, (first, *rest) in rendered:
        commented = f"{first.ljust(column)}  # {entry.why}" if entry.why else first
        # Too long for one line: the reason goes above.
        out += [commented] if len(commented) <= _WIDTH else [f"{indent}# {entry.why}", first]
        out += rest
    return out


def _entry(entry: Entry, indent: str) -> list[str]:
    if isinstance(entry.value, Section):
        return [f"{indent}{entry.key}:", *_lines(entry.value.entries, indent + "  ")]
    return [indent + line for line in yaml_document({entry.key: entry.value}).splitlines()]
