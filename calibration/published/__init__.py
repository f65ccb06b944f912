"""Figures printed in papers, with the place each one was printed at.

Example:
    >>> from policies import ModelSize
    >>> table = load_published_table("scale_or_reason_table1")
    >>> table.find("math-centric", "math-oe", ModelSize.parse("3B"), "reasoning").accuracy
    0.575
"""

from ._tables import (
    InferenceFit,
    PublishedCorpus,
    PublishedRecipe,
    PublishedRow,
    PublishedTable,
    load_inference_fits,
    load_published_table,
    published_table_names,
)

__all__ = [
    "InferenceFit",
    "PublishedCorpus",
    "PublishedRecipe",
    "PublishedRow",
    "PublishedTable",
    "load_inference_fits",
    "load_published_table",
    "published_table_names",
]
