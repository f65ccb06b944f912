"""Is IFT after reasoning harmful?"""

from collections.abc import Sequence

from .._student import TWO_STAGE_CORPUS, StudyOrder
from .._table import StudyTable
from ._finding import Check, Column, Finding, Row, claim_check, intervals_over, one_seed, tally
from ._finding import write_measure as write
from ._students import (
    REASONING,
    Group,
    Term,
    accuracy,
    contrast,
    corpora,
    group,
    mean_of,
    over_seeds,
    task_types,
)

__all__ = ["ift_after_reasoning"]

_PAPER = (
    "direct answers trained on top of a reasoning model give no gain; a direction only, whose "
    "numbers could not be checked and which version 2 does not repeat"
)
_SOURCE = "arXiv 2509.22193v1; its v2 does not repeat it"
_STAGES_ONLY = "; reported of stages, and taken here for the order of rows"
_ROWS_LAST = "IFT rows last, against mixed"
_ROWS_FIRST = "IFT rows last, against IFT rows first"
_STAGE_ADDED = "an IFT stage on mathematics, against stopping before it"
_STAGE_KIND = "the stage on mathematics as IFT, against as reasoning"


def ift_after_reasoning(table: StudyTable) -> Finding:
    """Compare students whose last rows, or last stage, are direct answers with their neighbours."""
    rows: list[Row] = []
    for size in table.sizes:
        for corpus in corpora(table):
            rows += _orders(table, size, corpus)
        rows += _stages(table, size)
    rows.sort(key=lambda row: row.labels[0] in (_STAGE_ADDED, _STAGE_KIND))
    return Finding(
        key="after",
        question="Is IFT after reasoning harmful?",
        verdict=(*_sentences(rows), *one_seed(rows)),
        method="Students asked as trained, paired by seed and question; task types of one "
        "domain together. A student with an added stage and the one that stopped before it share "
        "their first stage, and differ in the added questions as well as in their kind of answer. "
        f"{intervals_over(rows)} Shares are means over seeds.",
        label_columns=("compared", "trained on", "asked", "size"),
        columns=(
            Column("IFT last", "accuracy"),
            Column("the other", "accuracy"),
            Column("difference", "points"),
            Column("IFT last: answers that think", "share"),
        ),
        rows=tuple(rows),
        checks=tuple(_checks(rows)),
    )


def _domains(table: StudyTable) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for kind in task_types(table):
        found.setdefault(kind.rpartition("-")[0] or kind, []).append(kind)
    return found


def _orders(table: StudyTable, size: str, corpus: str) -> list[Row]:
    order = StudyOrder.REASONING_THEN_IFT
    ratios = sorted({one.student.ratio for one in table.select(order=order)})
    rows: list[Row] = []
    for ratio in ratios:
        last = group(table, size, corpus, f"{order.value}@{ratio:g}")
        for name, other in ((_ROWS_LAST, "mixed"), (_ROWS_FIRST, "ift_then_reasoning")):
            beside = group(table, size, corpus, f"{other}@{ratio:g}")
            rows += _compare(table, name, f"{corpus}, {ratio:.0%} reasoning", last, beside)
    return rows


def _stages(table: StudyTable, size: str) -> list[Row]:
    added = group(table, size, TWO_STAGE_CORPUS, StudyOrder.GENERAL_REASONING_MATH_IFT.value)
    twice = group(table, size, TWO_STAGE_CORPUS, StudyOrder.GENERAL_REASONING_MATH_REASONING.value)
    before = group(table, size, "general", REASONING)
    trained = "general reasoning, then mathematics"
    return [
        *_compare(table, _STAGE_ADDED, trained, added, before),
        *_compare(table, _STAGE_KIND, trained, added, twice),
    ]


def _compare(table: StudyTable, name: str, trained: str, last: Group, other: Group) -> list[Row]:
    rows: list[Row] = []
    for domain, kinds in _domains(table).items():
        found = contrast([Term(1.0, last), Term(-1.0, other)], kinds)
        if found is None:
            continue
        thinks = over_seeds(list(mean_of(last, kinds, lambda cell: cell.think_share).values()))
        measures = (
            accuracy(last, kinds),
            accuracy(other, kinds),
            found.measure,
            None if thinks is None else thinks._replace(low=None, high=None),
        )
        labels = (name, trained, domain, last.size)
        rows.append(Row(labels, found.n_seeds, found.n_questions, measures))
    return rows


def _sentences(rows: Sequence[Row]) -> list[str]:
    if not rows:
        return [
            "Not measured: the study has neither reasoning_then_ift students nor two-stage ones "
            "with their neighbours."
        ]
    sentences: list[str] = []
    for name in dict.fromkeys(row.labels[0] for row in rows):
        own = [row for row in rows if row.labels[0] == name]
        counts = tally(row.measures[2] for row in own)
        known = [one for row in own if (one := row.measures[2]) is not None]
        least, most = (pick(known, key=lambda one: one.estimate) for pick in (min, max))
        sentences.append(
            f"{name[0].upper()}{name[1:]}: behind in {counts.n_below} of {counts.n}, ahead in "
            f"{counts.n_above}; from {write(least, 'points')} to {write(most, 'points')} points."
        )
    return sentences


def _checks(rows: Sequence[Row]) -> list[Check]:
    names = {"rows": (_ROWS_LAST, _ROWS_FIRST), "stage": (_STAGE_ADDED,)}
    about = {
        "rows": "accuracies with IFT rows last less those of the same rows in another order",
        "stage": "accuracies after an IFT stage less those before it",
    }
    return [
        claim_check(
            f"after/{key}",
            "",
            about=about[key],
            measures=[row.measures[2] for row in rows if row.labels[0] in chosen],
            side="below",
            paper=_PAPER + (_STAGES_ONLY if key == "rows" else ""),
            source=_SOURCE,
        )
        for key, chosen in names.items()
    ]
