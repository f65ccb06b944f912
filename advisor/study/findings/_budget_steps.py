"""What do larger budgets buy?"""

from collections.abc import Sequence
from itertools import pairwise

from .._table import StudyTable
from ._finding import Check, Column, Finding, Row, claim_check, intervals_over, one_seed, tally
from ._students import (
    AS_TRAINED,
    REASONING,
    Term,
    budgets,
    contrast,
    corpora,
    group,
    mean_of,
    over_seeds,
    task_types,
)

__all__ = ["larger_budgets"]


def larger_budgets(table: StudyTable) -> Finding:
    """Compare each budget of students of pure reasoning with the next larger one."""
    steps = list(pairwise([policy for _, policy in budgets(table)] + [AS_TRAINED]))
    rows = [
        row
        for corpus in corpora(table)
        for kind in task_types(table)
        for size in table.sizes
        for smaller, larger in steps
        if (row := _row(table, size, corpus, kind, smaller, larger)) is not None
    ]
    return Finding(
        key="budgets",
        question="What do larger budgets buy?",
        verdict=(*_sentences(table, rows), *one_seed(rows)),
        method="Students of pure reasoning, each budget against the next larger one that was "
        "measured, the last against none. Tokens are means over "
        "seeds. " + intervals_over(rows),
        label_columns=("corpus", "task type", "size", "from", "to"),
        columns=(
            Column("accuracy", "accuracy"),
            Column("gain", "points"),
            Column("tokens added", "tokens"),
        ),
        rows=tuple(rows),
        checks=tuple(_checks(rows)),
    )


def _row(
    table: StudyTable, size: str, corpus: str, kind: str, smaller: str, larger: str
) -> Row | None:
    students = group(table, size, corpus, REASONING)
    gain = contrast([Term(1.0, students, larger), Term(-1.0, students, smaller)], [kind])
    own = contrast([Term(1.0, students, larger)], [kind])
    if gain is None or own is None:
        return None
    before, after = (
        mean_of(students, [kind], lambda cell: cell.mean_tokens, policy)
        for policy in (smaller, larger)
    )
    added = over_seeds(
        [after[seed] - before[seed] for seed in sorted(before.keys() & after.keys())]
    )
    measures = (
        own.measure,
        gain.measure,
        None if added is None else added._replace(low=None, high=None),
    )
    return Row((corpus, kind, size, smaller, larger), gain.n_seeds, gain.n_questions, measures)


def _sentences(table: StudyTable, rows: Sequence[Row]) -> list[str]:
    if not budgets(table):
        return ["Not measured: the study asked by no budget, such as reasoning@8."]
    if not rows:
        return ["Not measured: no student of pure reasoning was asked by two budgets."]
    sentences: list[str] = []
    for step in dict.fromkeys(row.labels[3:] for row in rows):
        own = [row for row in rows if row.labels[3:] == step]
        counts = tally(row.measures[1] for row in own)
        sentences.append(
            f"From {step[0]} to {step[1]}: accuracy rises in {counts.n_above} of {counts.n}, "
            f"falls in {counts.n_below}."
        )
    counts = tally(row.measures[1] for row in rows)
    if not counts.n_below:
        return [
            *sentences,
            "No step to a larger budget loses accuracy that can be told from chance.",
        ]
    # Of 95% intervals around nothing, one in forty lies wholly below.
    by_chance = counts.n / 40
    told = (
        "accuracy is not monotone in the budget"
        if counts.n_below > 2 * by_chance + 2
        else "that is too few to tell from chance"
    )
    sentences.append(
        f"In {counts.n_below} of {counts.n} steps to a larger budget accuracy falls, where chance "
        f"alone gives about {by_chance:.1f}: {told}."
    )
    return sentences


def _checks(rows: Sequence[Row]) -> list[Check]:
    last = [row for row in rows if row.labels[4] == AS_TRAINED and row.labels[1].startswith("math")]
    return [
        claim_check(
            "budgets/last-step",
            "max-generation-16k-to-32k",
            about="gains of the last step, to no budget, on mathematics",
            measures=[row.measures[1] for row in last],
            side="above",
        )
    ]
