"""Read and check the published tables that ship with the package."""

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import cache, cached_property
from typing import Literal, TypeAlias, cast

from policies import ModelSize, ThinkrouteError, UnknownNameError

from ._cells import load_published
from ._registry import corrupt_table, read_shipped

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

PublishedCorpus: TypeAlias = Literal["general", "math-centric"]
"""Training corpus of arXiv 2509.22193v2: 1.3M general pairs, or 300K math pairs."""

PublishedRecipe: TypeAlias = Literal["ift", "reasoning"]
"""Trained on direct answers alone, or on reasoning traces alone."""

_TABLES = ("scale_or_reason_table1",)
_FITS = "scale_or_reason_fig14_fits"
_CORPORA: Mapping[str, PublishedCorpus] = {
    "general-purpose": "general",
    "math-centric": "math-centric",
}
_RECIPES: tuple[PublishedRecipe, ...] = ("ift", "reasoning")
_FAMILIES = ("General-MC", "General-OE", "Math-MC", "Math-OE")
_TABLE_COLUMNS = (
    "training_corpus",
    "task_family",
    "student_size",
    "ift_acc",
    "reasoning_acc",
    "delta_printed",
    "teacher_acc",
    "source",
)
_FIT_COLUMNS = ("task_family", "mode", "coef_a", "exponent_b", "source")
_ID_PREFIX = "2509.22193v2/T1"
_ROUNDING = Decimal("0.1")
"""Largest difference, in points, between a printed delta and that of two rounded accuracies."""


@dataclass(frozen=True, slots=True)
class PublishedRow:
    """One printed accuracy.

    Attributes:
        corpus: What the student was trained on.
        task_type: Task family it was tested on, such as `math-oe`.
        size: The student's size as printed.
        recipe: How it was trained.
        accuracy: Printed accuracy in [0, 1], the unweighted mean of the family's benchmarks.
        source: The paper and table.
        cell: Place in it, such as `Table 1, math-centric, Math-OE, 3B`; shared by both recipes.
    """

    corpus: PublishedCorpus
    task_type: str
    size: ModelSize
    recipe: PublishedRecipe
    accuracy: float
    source: str
    cell: str

    @property
    def id(self) -> str:
        """Return the id `find_cell` knows it by, such as `2509.22193v2/T1/general/math-oe/3B/ift`.

        One per accuracy, unlike `cell`.
        """
        return f"{_ID_PREFIX}/{self.corpus}/{self.task_type}/{self.size}/{self.recipe}"

    def to_json(self) -> dict[str, str | float]:
        """Return a JSON object; the size is written as printed, such as `3B`."""
        return {
            "id": self.id,
            "corpus": self.corpus,
            "task_type": self.task_type,
            "size": str(self.size),
            "recipe": self.recipe,
            "accuracy": self.accuracy,
            "source": self.source,
            "cell": self.cell,
        }


@dataclass(frozen=True)  # no slots: what is derived from the rows is kept
class PublishedTable:
    """Accuracies printed in one table of a paper.

    Attributes:
        name: Name it is loaded by.
        version: Raised whenever a figure in it changes.
        source: The paper and table it was copied from.
        rows: All printed accuracies, in the order of the paper.
        teacher_accuracy: The teacher's accuracy in [0, 1] per task type.
    """

    name: str
    version: int
    source: str
    rows: tuple[PublishedRow, ...]
    teacher_accuracy: Mapping[str, float]

    @cached_property
    def corpora(self) -> tuple[PublishedCorpus, ...]:
        """Return the training corpora, in the order of the paper."""
        found: dict[PublishedCorpus, None] = {row.corpus: None for row in self.rows}
        return tuple(found)

    @cached_property
    def sizes(self) -> tuple[ModelSize, ...]:
        """Return the printed sizes, smallest first."""
        return tuple(sorted({row.size for row in self.rows}))

    @cached_property
    def task_types(self) -> tuple[str, ...]:
        """Return the task types in it, sorted."""
        return tuple(sorted({row.task_type for row in self.rows}))

    @cached_property
    def cells(self) -> tuple[str, ...]:
        """Return every cell reference once, in the order of the paper."""
        return tuple(dict.fromkeys(row.cell for row in self.rows))

    @cached_property
    def _curves(self) -> dict[tuple[str, str, str], tuple[PublishedRow, ...]]:
        curves: dict[tuple[str, str, str], tuple[PublishedRow, ...]] = {}
        for row in sorted(self.rows, key=lambda row: row.size):
            key = (row.corpus, row.task_type, row.recipe)
            curves[key] = (*curves.get(key, ()), row)
        return curves

    def curve(
        self, corpus: PublishedCorpus, task_type: str, recipe: PublishedRecipe
    ) -> tuple[PublishedRow, ...]:
        """Return the rows of one corpus, task type and recipe, smallest size first."""
        return self._curves.get((corpus, task_type, recipe), ())

    def find(
        self, corpus: PublishedCorpus, task_type: str, size: ModelSize, recipe: PublishedRecipe
    ) -> PublishedRow:
        """Return one row.

        Raises:
            UnknownNameError: The table prints no such accuracy.
        """
        for row in self.curve(corpus, task_type, recipe):
            if row.size == size:
                return row
        known = {f"{row.corpus}/{row.task_type}/{row.size}/{row.recipe}" for row in self.rows}
        raise UnknownNameError("table cell", f"{corpus}/{task_type}/{size}/{recipe}", known)


@dataclass(frozen=True, slots=True)
class InferenceFit:
    """A printed power law for inference FLOPs per query.

    Attributes:
        task_type: Task family.
        recipe: How the student was trained.
        coefficient: FLOPs per query at 1B parameters.
        exponent: Power of the size in billions of parameters.
        source: The paper and figure, and how its panel was identified.
    """

    task_type: str
    recipe: PublishedRecipe
    coefficient: float
    exponent: float
    source: str

    def flops(self, size: ModelSize) -> float:
        """Return inference FLOPs per query at `size`, without a check of the fitted range.

        Source: arXiv 2509.22193v2, Figure 14: F = a * x^b, x in billions of parameters.
        """
        return self.coefficient * (size.n_params / 1e9) ** self.exponent


def published_table_names() -> tuple[str, ...]:
    """Return the names `load_published_table` knows."""
    return _TABLES


@cache
def load_published_table(name: str) -> PublishedTable:
    """Return a published table, read from the package and checked.

    Every accuracy must be a percentage, every cell must be there once with both recipes, and
    every printed difference must recompute within rounding. The table is immutable and read
    once per process.

    Args:
        name: One of `published_table_names()`.

    Raises:
        UnknownNameError: No table has this name.
        ArtifactCorruptError: The shipped file is missing, changed or malformed.
    """
    if name not in _TABLES:
        raise UnknownNameError("table", name, _TABLES)
    rows: list[PublishedRow] = []
    teachers: dict[str, float] = {}
    for line, record in _records(name, _TABLE_COLUMNS):
        try:
            rows += _parse_cell(record)
            teacher = _fraction(record["teacher_acc"])
            if teachers.setdefault(record["task_family"].lower(), teacher) != teacher:
                raise ValueError("another row of this family has another teacher accuracy")
        except (ValueError, InvalidOperation, KeyError, ThinkrouteError) as error:
            raise corrupt_table(name, f"line {line}: {error}") from error
    source = f"{rows[0].source}, Table 1" if rows else ""
    # Refuses a file that the register was not written for, however well it reads.
    version = load_published(name).entry.version
    table = PublishedTable(name, version, source, tuple(rows), teachers)
    expected = len(_CORPORA) * len(table.task_types) * len(table.sizes) * len(_RECIPES)
    keys = {(row.corpus, row.task_type, row.size, row.recipe) for row in rows}
    if not rows or len(rows) != expected or len(keys) != expected:
        raise corrupt_table(
            name, f"{len(keys)} distinct accuracies in {len(rows)} rows, not {expected}"
        )
    return table


@cache
def load_inference_fits() -> tuple[InferenceFit, ...]:
    """Return the printed inference-FLOPs fits, one per task type and recipe.

    They are a weak prior: which panel is which family was inferred, and the General-MC fit
    implies fewer tokens than a prompt has. See `SOURCE.md` beside the file.

    Raises:
        ArtifactCorruptError: The shipped file is missing, changed or malformed.

    Source: arXiv 2509.22193v2, Figure 14.
    """
    fits: list[InferenceFit] = []
    for line, record in _records(_FITS, _FIT_COLUMNS):
        try:
            coefficient, exponent = float(record["coef_a"]), float(record["exponent_b"])
            if not (0 < coefficient < math.inf and 0 < exponent < math.inf):
                raise ValueError("coefficient and exponent must be positive")
            recipe = _RECIPES[_RECIPES.index(cast("PublishedRecipe", record["mode"]))]
            task_type = _FAMILIES[_FAMILIES.index(record["task_family"])].lower()
        except ValueError as error:
            raise corrupt_table(_FITS, f"line {line}: {error}") from error
        fits.append(InferenceFit(task_type, recipe, coefficient, exponent, record["source"]))
    if len({(fit.task_type, fit.recipe) for fit in fits}) != len(_FAMILIES) * len(_RECIPES):
        raise corrupt_table(_FITS, "not one fit per task family and recipe")
    load_published(_FITS)
    return tuple(fits)


def _parse_cell(record: Mapping[str, str]) -> list[PublishedRow]:
    """Return the two rows of one printed cell."""
    corpus = _CORPORA[record["training_corpus"]]
    family = _FAMILIES[_FAMILIES.index(record["task_family"])]
    size = ModelSize.parse(record["student_size"])
    delta = Decimal(record["reasoning_acc"]) - Decimal(record["ift_acc"])
    if abs(delta - Decimal(record["delta_printed"])) > _ROUNDING:
        raise ValueError(f"delta {record['delta_printed']} does not recompute: {delta}")
    cell = f"Table 1, {corpus}, {family}, {size}"
    source = f"arXiv {record['source'].removesuffix(' Table 1')}"
    return [
        PublishedRow(
            corpus=corpus,
            task_type=family.lower(),
            size=size,
            recipe=recipe,
            accuracy=_fraction(record[f"{recipe}_acc"]),
            source=source,
            cell=cell,
        )
        for recipe in _RECIPES
    ]


def _fraction(percent: str) -> float:
    """Return the float nearest to the printed percentage / 100."""
    value = float(Decimal(percent) / 100)
    if not 0 <= value <= 1:
        raise ValueError(f"accuracy {percent!r} is not a percentage")
    return value


def _records(name: str, columns: tuple[str, ...]) -> list[tuple[int, dict[str, str]]]:
    """Return (line number, record) pairs of a shipped CSV file."""
    try:
        text = read_shipped(f"{name}.csv").decode("utf-8")
    except UnicodeDecodeError as error:
        raise corrupt_table(name, str(error)) from error
    reader = csv.DictReader(text.splitlines())
    missing = set(columns) - set(reader.fieldnames or ())
    if missing:
        raise corrupt_table(name, f"missing columns {sorted(missing)}")
    records = [(line, record) for line, record in enumerate(reader, start=2)]
    for line, record in records:
        if None in record or None in record.values():
            raise corrupt_table(name, f"line {line} has another number of fields than the header")
    return records
