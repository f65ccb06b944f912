"""Does cutting thoughts at a length move the frontier?"""

from collections.abc import Sequence

from .._table import StudyTable
from ._finding import Column, Finding, Measure, Row, claim_check, intervals_over, one_seed, tally
from ._students import (
    AS_TRAINED,
    IFT,
    REASONING,
    Group,
    Term,
    budgets,
    contrast,
    corpora,
    group,
    mean_of,
    task_types,
)

__all__ = ["cutting_by_length"]


def cutting_by_length(table: StudyTable) -> Finding:
    """Compare cut thoughts with a random mix of direct and uncut answers of equal cost."""
    rows = [
        row
        for corpus in corpora(table)
        for kind in task_types(table)
        for size in table.sizes
        for _, policy in budgets(table)
        if (row := _row(table, size, corpus, kind, policy)) is not None
    ]
    return Finding(
        key="cut",
        question="Does cutting by length move the frontier?",
        verdict=(*_sentences(table, rows), *one_seed(rows)),
        method="Students of pure reasoning with their thoughts cut at a budget, then made to "
        "answer. 'Over the mix' is their accuracy less that of asking the IFT student of the same "
        "size for some questions, drawn at random, and the uncut reasoning student for the rest, "
        "at the same mean inference FLOPs: anybody can have that, so only what lies above moves "
        "the frontier. " + intervals_over(rows) + " Cells in which a "
        "budget saves nothing, or costs less than IFT, are left out.",
        label_columns=("corpus", "task type", "size", "budget"),
        columns=(
            Column("accuracy", "accuracy"),
            Column("minus uncut", "points"),
            Column("FLOPs of uncut", "share"),
            Column("over the mix", "points"),
        ),
        rows=tuple(rows),
        checks=(
            claim_check(
                "cut/frontier",
                "early-stopping-on-length",
                about="accuracies of cut thoughts less those of a mix of equal cost",
                measures=[row.measures[3] for row in rows],
                side="below",
            ),
        ),
    )


def _row(table: StudyTable, size: str, corpus: str, kind: str, policy: str) -> Row | None:
    reasoning, ift = (group(table, size, corpus, label) for label in (REASONING, IFT))
    costs = [
        _flops(one, kind, by)
        for one, by in ((ift, AS_TRAINED), (reasoning, policy), (reasoning, AS_TRAINED))
    ]
    direct, cut, uncut = costs
    if not direct or not cut or not uncut or not direct <= cut < uncut:
        return None
    share = (cut - direct) / (uncut - direct)
    terms = [Term(1.0, reasoning, policy), Term(-share, reasoning), Term(share - 1.0, ift)]
    own = contrast(terms[:1], [kind])
    change = contrast([terms[0], Term(-1.0, reasoning)], [kind])
    over = contrast(terms, [kind])
    if own is None or change is None or over is None:
        return None
    ratio = Measure(cut / uncut, None, None)
    measures = (own.measure, change.measure, ratio, over.measure)
    return Row((corpus, kind, size, policy), over.n_seeds, over.n_questions, measures)


def _flops(one: Group, kind: str, policy: str) -> float | None:
    found = mean_of(one, [kind], lambda cell: cell.mean_flops, policy)
    return sum(found.values()) / len(found) if found else None


def _sentences(table: StudyTable, rows: Sequence[Row]) -> list[str]:
    if not budgets(table):
        return ["Not measured: the study asked by no budget, such as reasoning@8."]
    if not rows:
        return ["Not measured: no budget of the study saves FLOPs of a student of pure reasoning."]
    counts = tally(row.measures[3] for row in rows)
    change = tally(row.measures[1] for row in rows)
    return [
        f"Of {counts.n} combinations of student, task type and budget, {counts.n_above} lie above "
        f"a random mix of direct and uncut answers of the same cost, {counts.n_below} below it.",
        f"Cutting loses accuracy in {change.n_below} of {change.n} and gains it in "
        f"{change.n_above}.",
    ]
