"""Pages that show what was measured, fitted, studied or advised."""

from ._advised import recommendation_page
from ._blocks import Block, Chart, Column, Facts, Page, Prose, Section, Table
from ._html import render, write_page
from ._sources import Source, compared_page, page_of, source_of

__all__ = [
    "Block",
    "Chart",
    "Column",
    "Facts",
    "Page",
    "Prose",
    "Section",
    "Source",
    "Table",
    "compared_page",
    "page_of",
    "recommendation_page",
    "render",
    "source_of",
    "write_page",
]
