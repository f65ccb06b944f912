"""Figures printed in papers, with the place each one was printed at and how far to trust it.

`published_tables` lists what is shipped, `load_published` loads any table to be shown, and
`load_evidence` one to be reasoned from. `find_cell` finds a figure by the id it is cited under.
Accessors such as `load_claims` return what the advisor needs in its own types.

Example:
    >>> from policies import ModelSize
    >>> table = load_published_table("scale_or_reason_table1")
    >>> row = table.find("math-centric", "math-oe", ModelSize.parse("3B"), "reasoning")
    >>> row.accuracy
    0.575
    >>> find_cell(row.id).row.source
    'arXiv 2509.22193v2, Table 1'
"""

from ._cells import (
    CellValue,
    LoadedTable,
    PublishedCell,
    TableRow,
    find_cell,
    find_evidence,
    is_cell_id,
    load_evidence,
    load_published,
)
from ._claims import (
    Claim,
    Conflict,
    ConflictSide,
    ContestedFigure,
    load_claims,
    load_conflicts,
    load_contested,
)
from ._registry import Column, ColumnType, Grade, TableEntry, published_tables
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
from ._training import (
    DistillationGain,
    LearningRates,
    PublishedMethod,
    TopsResult,
    TopsStage,
    load_distillation_gains,
    load_learning_rates,
    load_methods,
    load_tops_results,
    load_tops_stages,
)

__all__ = [
    "CellValue",
    "Claim",
    "Column",
    "ColumnType",
    "Conflict",
    "ConflictSide",
    "ContestedFigure",
    "DistillationGain",
    "Grade",
    "InferenceFit",
    "LearningRates",
    "LoadedTable",
    "PublishedCell",
    "PublishedCorpus",
    "PublishedMethod",
    "PublishedRecipe",
    "PublishedRow",
    "PublishedTable",
    "TableEntry",
    "TableRow",
    "TopsResult",
    "TopsStage",
    "find_cell",
    "find_evidence",
    "is_cell_id",
    "load_claims",
    "load_conflicts",
    "load_contested",
    "load_distillation_gains",
    "load_evidence",
    "load_inference_fits",
    "load_learning_rates",
    "load_methods",
    "load_published",
    "load_published_table",
    "load_tops_results",
    "load_tops_stages",
    "published_table_names",
    "published_tables",
]
