"""Claims, disagreements between sources, and figures in circulation that no source prints."""

from dataclasses import asdict, dataclass
from functools import cache
from typing import Any, cast, get_args

from ._cells import CellValue, TableRow, find_cell, find_evidence, load_evidence, load_published
from ._registry import Grade, corrupt_table

__all__ = [
    "Claim",
    "Conflict",
    "ConflictSide",
    "ContestedFigure",
    "load_claims",
    "load_conflicts",
    "load_contested",
]

_CLAIMS = "scale_or_reason_claims"
_CONFLICTS = "conflicts"
_CONTESTED = "contested_figures"


@dataclass(frozen=True, slots=True)
class Claim:
    """A statement of a source: a ratio, a range, a rule or a piece of set-up.

    Attributes:
        id: Under which it is cited, such as `2509.22193v2/claims/trace-length-ratio`.
        claim: What is claimed.
        value: The figure, range or statement in words.
        low: Lower end of the range in `unit`, `None` where no range is stated or it is open.
        high: Upper end; equal to `low` for a single figure.
        unit: Unit of `low` and `high`.
        grade: How far it can be trusted. No accuracy may be made of a `rule`.
        source: Where it is stated.
    """

    id: str
    claim: str
    value: str
    low: float | None
    high: float | None
    unit: str
    grade: Grade
    source: str

    @property
    def key(self) -> str:
        """Return the last part of the id, such as `trace-length-ratio`."""
        return self.id.rpartition("/")[2]

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object with all fields."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class ConflictSide:
    """What one of two sources says.

    Attributes:
        claim: What it says.
        source: Where.
        grade: How far it can be trusted.
        cells: Ids of the shipped figures it is made of; may be empty.
    """

    claim: str
    source: str
    grade: Grade
    cells: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Conflict:
    """Two sources that disagree.

    Attributes:
        id: Under which it is cited, such as `conflicts/long-only-at-3b`.
        topics: Words to select by: `ratio`, `order`, `method`, `rl`, `corpus`, `cost`,
            `numbers`, `test-time`, or a size such as `3B`.
        about: The question.
        first: What one source says.
        second: What the other says.
        meaning: What it means for advice.
    """

    id: str
    topics: tuple[str, ...]
    about: str
    first: ConflictSide
    second: ConflictSide
    meaning: str

    @property
    def key(self) -> str:
        """Return the last part of the id, such as `long-only-at-3b`."""
        return self.id.rpartition("/")[2]

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object with all fields."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class ContestedFigure:
    """Figures that are copied around although their source does not print them. Never evidence.

    Attributes:
        id: Under which it is shown, such as `contested/general-oe-0.5b`.
        about: The quantity.
        claimed: What widely copied summaries say.
        printed: What the source prints.
        verdict: Outcome of the comparison.
        source: Where it was checked.
        refuted: Id of a shipped cell and the value wrongly given for it, pair by pair.
    """

    id: str
    about: str
    claimed: str
    printed: str
    verdict: str
    source: str
    refuted: tuple[tuple[str, str | float], ...]


@cache
def load_claims(name: str = _CLAIMS) -> tuple[Claim, ...]:
    """Return the claims of one table of claims.

    Args:
        name: `scale_or_reason_claims` (arXiv 2509.22193v2) or `other_recipe_claims`.

    Raises:
        UnknownNameError: No table has this name.
        ArtifactCorruptError: The shipped file is malformed, or gives a rule an accuracy.
    """
    return tuple(_claim(row) for row in load_evidence(name).rows)


@cache
def load_conflicts() -> tuple[Conflict, ...]:
    """Return where sources disagree; every cell that a side names exists and is evidence.

    Raises:
        ArtifactCorruptError: The shipped file is malformed.
        UnknownNameError: A cell that it names is not shipped.
    """
    return tuple(
        Conflict(
            row.id,
            tuple(row.text("topics").split()),
            row.text("about"),
            _side(row, "a"),
            _side(row, "b"),
            row.text("meaning"),
        )
        for row in load_evidence(_CONFLICTS).rows
    )


@cache
def load_contested() -> tuple[ContestedFigure, ...]:
    """Return figures in circulation that their source does not print, to warn of them.

    Raises:
        ArtifactCorruptError: The shipped file is malformed.
        UnknownNameError: A cell that it names is not shipped.
    """
    return tuple(
        ContestedFigure(
            row.id,
            row.text("about"),
            row.text("claimed"),
            row.text("printed"),
            row.text("verdict"),
            row.source,
            tuple(_refuted(pair) for pair in row.text("refuted").split("; ") if pair),
        )
        for row in load_published(_CONTESTED).rows
    )


def _claim(row: TableRow) -> Claim:
    if row.grade == "rule" and row.text("unit").startswith("accuracy"):
        raise corrupt_table(row.table, f"{row.id} is a rule, yet it has an accuracy")
    return Claim(
        row.id,
        row.text("claim"),
        row.text("value"),
        row.number("low"),
        row.number("high"),
        row.text("unit"),
        row.grade,
        row.source,
    )


def _side(row: TableRow, side: str) -> ConflictSide:
    grade = row.text(f"grade_{side}")
    if grade not in set(get_args(Grade)) - {"contested"} or not row.text(f"source_{side}"):
        raise corrupt_table(row.table, f"{row.id} has a side of grade {grade!r} or without source")
    cells = tuple(row.text(f"cells_{side}").split())
    for cell in cells:
        find_evidence(cell)
    return ConflictSide(
        row.text(f"claim_{side}"), row.text(f"source_{side}"), cast("Grade", grade), cells
    )


def _refuted(pair: str) -> tuple[str, str | float]:
    cell_id, _, text = pair.partition("=")
    held: CellValue = find_cell(cell_id).value
    return cell_id, text if isinstance(held, str) else float(text)
