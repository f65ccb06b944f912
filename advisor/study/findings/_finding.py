"""What a finding of a study consists of, and the one rule that compares it with a paper."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Literal, NamedTuple, TypeAlias

from calibration.published import load_claims
from policies import UnknownNameError

__all__ = [
    "Agreement",
    "Check",
    "Column",
    "Finding",
    "Measure",
    "Row",
    "Tally",
    "Unit",
    "claim_check",
    "intervals_over",
    "one_seed",
    "settle",
    "tally",
    "write_measure",
    "write_value",
]

Unit: TypeAlias = Literal["accuracy", "points", "share", "ratio", "tokens", "flops"]
"""How a number is written: `points` are differences of accuracies, of which 0.01 is one."""

_FLOPS = (("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6))

Side: TypeAlias = Literal["above", "below"]


class Agreement(StrEnum):
    """Whether the study found what the paper reports."""

    AGREES = "agrees"
    DIFFERS = "differs"
    CANNOT_TELL = "cannot be told"


class Measure(NamedTuple):
    """A number with its 95% interval; without ends where there is only one seed to tell from."""

    estimate: float
    low: float | None
    high: float | None


class Column(NamedTuple):
    """A column of a finding's table: what it holds, and its unit."""

    name: str
    unit: Unit


class Row(NamedTuple):
    """A row of a finding's table.

    Attributes:
        labels: What was compared, one text per label column.
        n_seeds: Training seeds that all of its students share.
        n_questions: Questions that each of them was asked.
        measures: One per column, `None` where there is nothing to compare.
    """

    labels: tuple[str, ...]
    n_seeds: int
    n_questions: int
    measures: tuple[Measure | None, ...]


class Tally(NamedTuple):
    """How many intervals lie wholly above a value, wholly below it, and how many there are."""

    n_above: int
    n_below: int
    n: int


@dataclass(frozen=True, slots=True)
class Check:
    """One statement of the paper against the study.

    Attributes:
        key: Name of the check, such as `frontier/open-ended/training`.
        paper: What the paper reports.
        source: Where it does.
        rule: When the study agrees and when it differs.
        measured: What the study found.
        agreement: Outcome of the rule.
    """

    key: str
    paper: str
    source: str
    rule: str
    measured: str
    agreement: Agreement


@dataclass(frozen=True, slots=True)
class Finding:
    """The answer of a study to one question.

    Attributes:
        key: Name of the finding, such as `frontier`.
        question: The question.
        verdict: Sentences, made from the numbers.
        method: What was compared, and what the intervals are over.
        label_columns: Names of the rows' labels.
        columns: Columns of the rows' measures.
        rows: The numbers; empty where nothing of it was measured.
        checks: Statements of the paper against them.
    """

    key: str
    question: str
    verdict: tuple[str, ...]
    method: str
    label_columns: tuple[str, ...]
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    checks: tuple[Check, ...]

    @property
    def agreement(self) -> Agreement:
        """Return `differs` if any check does, else `agrees` if any does, else `cannot be told`."""
        found = {check.agreement for check in self.checks}
        for one in (Agreement.DIFFERS, Agreement.AGREES):
            if one in found:
                return one
        return Agreement.CANNOT_TELL

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object with all fields and the agreement."""
        document = asdict(self)
        document["columns"] = [one._asdict() for one in self.columns]
        document["rows"] = [
            {
                **dict(zip(self.label_columns, row.labels, strict=True)),
                "n_seeds": row.n_seeds,
                "n_questions": row.n_questions,
                **{
                    column.name: None if one is None else one._asdict()
                    for column, one in zip(self.columns, row.measures, strict=True)
                },
            }
            for row in self.rows
        ]
        return {**document, "agreement": self.agreement.value}

    def _repr_html_(self) -> str:
        """Return the finding as a notebook shows it."""
        from ._notebook import finding_html

        return finding_html(self)


def intervals_over(rows: Sequence[Row]) -> str:
    """Return the sentence that says what intervals of accuracies are over."""
    seeds = {row.n_seeds for row in rows}
    if seeds == {1}:
        return "With one seed intervals are over questions alone, paired by question."
    text = "Intervals are over seeds and questions, paired by both"
    return f"{text}; of rows with one seed over questions alone." if 1 in seeds else f"{text}."


def one_seed(rows: Sequence[Row]) -> tuple[str, ...]:
    """Return the sentence that belongs to a verdict on one seed, nothing where there are more."""
    if {row.n_seeds for row in rows} != {1}:
        return ()
    return (
        "All of this is one training seed: intervals are over questions alone, and another seed "
        "may lie outside of them.",
    )


def tally(measures: Iterable[Measure | None], at: float = 0.0) -> Tally:
    """Count intervals wholly above and wholly below a value.

    What is `None` does not count at all; a number without interval counts as neither.
    """
    given = [one for one in measures if one is not None]
    n_above = sum(one.low is not None and one.low > at for one in given)
    n_below = sum(one.high is not None and one.high < at for one in given)
    return Tally(n_above, n_below, len(given))


def settle(counts: Tally, side: Side) -> Agreement:
    """Apply the rule that every check follows.

    The study agrees if more than half of the intervals lie wholly on the paper's side, differs if
    more than half lie wholly on the other, and else it cannot be told.
    """
    for_paper, against = (counts.n_above, counts.n_below)[:: 1 if side == "above" else -1]
    if 2 * for_paper > counts.n:
        return Agreement.AGREES
    return Agreement.DIFFERS if 2 * against > counts.n else Agreement.CANNOT_TELL


def claim_check(
    key: str,
    claim: str,
    *,
    about: str,
    measures: Iterable[Measure | None],
    side: Side,
    at: float = 0.0,
    unit: Unit = "points",
    paper: str | None = None,
    source: str | None = None,
) -> Check:
    """Check a shipped claim of arXiv 2509.22193v2 by where intervals lie.

    Args:
        key: Name of the check.
        claim: Last part of the claim's id, such as `early-stopping-on-length`.
        about: What the intervals are of, in the plural: "gains of 25% over IFT".
        measures: The intervals.
        side: Where the paper expects them.
        at: The value they are compared with.
        unit: Unit of `at`.
        paper: What is reported, in place of the claim's own words.
        source: Where, likewise.

    Raises:
        UnknownNameError: No such claim is shipped.
    """
    if paper is None or source is None:
        paper, source = _claim_text(claim)
    counts = tally(measures, at)
    value = write_value(at, unit)
    measured = (
        f"of {counts.n} {about}, {counts.n_above} lie above {value}, {counts.n_below} below, "
        f"{counts.n - counts.n_above - counts.n_below} cannot be told from it"
        if counts.n
        else "nothing of it was measured"
    )
    rule = f"more than half of the intervals ({about}) lie wholly {side} {value}"
    return Check(key, paper, source, rule, measured, settle(counts, side))


def write_value(value: float, unit: Unit) -> str:
    """Return a number as the page and the sentences write it."""
    if math.isnan(value):
        return "-"
    if unit == "points":
        rounded = round(100 * value, 1)
        return f"{rounded:+.1f}" if rounded else "0"
    if unit == "flops":
        suffix, scale = next((one for one in _FLOPS if value >= one[1]), ("", 1.0))
        return f"{value / scale:.3g}{suffix}"
    if unit == "tokens":
        return f"{value:,.1f}"
    return f"{value:.2f}x" if unit == "ratio" else f"{value:.3f}"


def write_measure(measure: Measure | None, unit: Unit) -> str:
    """Return a number with its interval, `-` where there is none."""
    if measure is None:
        return "-"
    text = write_value(measure.estimate, unit)
    if measure.low is None or measure.high is None:
        return text
    return f"{text} [{write_value(measure.low, unit)}, {write_value(measure.high, unit)}]"


def _claim_text(key: str) -> tuple[str, str]:
    for claim in load_claims():
        if claim.key == key:
            return f"{claim.claim}: {claim.value}" if claim.value else claim.claim, claim.source
    raise UnknownNameError("claim", key, [claim.key for claim in load_claims()])
