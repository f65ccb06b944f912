"""Are wrong answers longer?"""

from collections.abc import Sequence

from calibration.published import load_claims

from .._results import StudyCell
from .._table import StudyTable
from ._finding import Agreement, Check, Column, Finding, Measure, Row, claim_check, one_seed, tally
from ._finding import write_measure as write
from ._students import (
    AS_TRAINED,
    REASONING,
    corpora,
    group,
    over_seeds,
    ratio_over_seeds,
    task_types,
)

__all__ = ["wrong_answers_are_longer"]

_CLAIM = "wrong-right-length-ratio"


def wrong_answers_are_longer(table: StudyTable) -> Finding:
    """Compare the lengths of wrong and right answers of students of pure reasoning."""
    rows = [
        row
        for corpus in corpora(table)
        for kind in task_types(table)
        for size in table.sizes
        if (row := _row(table, size, corpus, kind)) is not None
    ]
    ratios = [row.measures[2] for row in rows]
    longer = claim_check(
        "wrong/longer",
        _CLAIM,
        about="ratios of the lengths of wrong and right answers",
        measures=ratios,
        side="above",
        at=1.0,
        unit="ratio",
    )
    return Finding(
        key="wrong",
        question="Are wrong answers longer?",
        verdict=(*_sentences(rows), *one_seed(rows)),
        method="Generated tokens of wrong over those of right answers of students of pure "
        "reasoning, asked as trained; answers that were cut off count as neither. Ratios are "
        "geometric means with intervals over seeds, and none with one seed; the questions are the same, and are not of "
        "one difficulty: harder ones have longer solutions, right or wrong.",
        label_columns=("corpus", "task type", "size"),
        columns=(
            Column("tokens, right", "tokens"),
            Column("tokens, wrong", "tokens"),
            Column("wrong over right", "ratio"),
        ),
        rows=tuple(rows),
        checks=(longer, _range_check(ratios, longer.paper, longer.source)) if rows else (longer,),
    )


def _row(table: StudyTable, size: str, corpus: str, kind: str) -> Row | None:
    cells = [
        cell
        for result in group(table, size, corpus, REASONING).by_seed.values()
        for cell in result.cells
        if (cell.task_type, cell.policy) == (kind, AS_TRAINED)
    ]
    lengths = [both for cell in cells if (both := _lengths(cell)) is not None]
    if not lengths:
        return None
    measures = (
        over_seeds([right for right, _ in lengths], least=0.0),
        over_seeds([wrong for _, wrong in lengths], least=0.0),
        ratio_over_seeds([wrong / right for right, wrong in lengths]),
    )
    return Row((corpus, kind, size), len(lengths), cells[0].n, measures)


def _lengths(cell: StudyCell) -> tuple[float, float] | None:
    right, wrong = cell.mean_tokens_correct, cell.mean_tokens_wrong
    return (right, wrong) if right and wrong else None


def _sentences(rows: Sequence[Row]) -> list[str]:
    if not rows:
        return ["Not measured: no student of pure reasoning has both right and wrong answers."]
    known = [(row, one) for row in rows if (one := row.measures[2]) is not None]
    counts = tally((one for _, one in known), 1.0)
    (least, low), (most, high) = (
        pick(known, key=lambda pair: pair[1].estimate) for pick in (min, max)
    )
    n_longer = sum(one.estimate > 1 for _, one in known)
    return [
        f"Wrong answers are longer than right ones in {counts.n_above} of {counts.n} cells, "
        f"shorter in {counts.n_below}; in the rest seeds do not tell."
        if any(one.low is not None for _, one in known)
        else f"In the mean wrong answers are longer than right ones in {n_longer} of {counts.n} "
        "cells; with one seed no ratio has an interval.",
        f"The ratio goes from {write(low, 'ratio')} ({_place(least)}) to {write(high, 'ratio')} "
        f"({_place(most)}).",
    ]


def _place(row: Row) -> str:
    corpus, kind, size = row.labels
    return f"{kind}, {size}, {corpus} corpus"


def _range_check(ratios: Sequence[Measure | None], paper: str, source: str) -> Check:
    """Return whether ratios are of the printed size."""
    claim = next(one for one in load_claims() if one.key == _CLAIM)
    low, high = claim.low or 0.0, claim.high or 0.0
    known = [one for one in ratios if one is not None]
    inside = sum(
        one.low is not None and one.high is not None and low <= one.low and one.high <= high
        for one in known
    )
    outside = sum(
        one.low is not None and one.high is not None and (one.high < low or one.low > high)
        for one in known
    )
    if 2 * outside > len(known):
        agreement = Agreement.DIFFERS
    else:
        agreement = Agreement.AGREES if 2 * inside > len(known) else Agreement.CANNOT_TELL
    return Check(
        "wrong/factor",
        paper,
        source,
        f"more than half of the intervals of ratios lie wholly in {low:g}-{high:g}; it differs if "
        "more than half lie wholly outside",
        f"of {len(known)} intervals {inside} lie wholly in {low:g}-{high:g}, {outside} wholly "
        "outside",
        agreement,
    )
