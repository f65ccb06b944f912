"""Is a quarter to a half of reasoning rows, after the IFT rows, enough?"""

from collections.abc import Sequence

from .._table import StudyTable
from ._finding import Column, Finding, Measure, Row, claim_check, intervals_over, one_seed, tally
from ._students import IFT, REASONING, Group, Term, contrast, corpora, group, task_types

__all__ = ["sequential_is_enough"]

_ORDER = "ift_then_reasoning"
_RATIOS = (0.25, 0.5)


def sequential_is_enough(table: StudyTable) -> Finding:
    """Compare IFT-then-reasoning students with both pure recipes of their size."""
    rows = [
        row
        for corpus in corpora(table)
        for kind in task_types(table)
        for size in table.sizes
        if (row := _row(table, size, corpus, kind)) is not None
    ]
    paying = [row for row in rows if (full := row.measures[0]) and full.low and full.low > 0]
    checks = [
        claim_check(
            "sequential/gain-at-25",
            "sequential-ratio",
            about="gains of 25% over IFT, where reasoning alone gains",
            measures=[row.measures[1] for row in paying],
            side="above",
        ),
        *(
            claim_check(
                f"sequential/most-at-{round(100 * ratio)}",
                "sequential-ratio",
                about=f"gains of {ratio:.0%} less half of what reasoning alone gains, where it does",
                measures=[row.measures[place] for row in paying],
                side="above",
            )
            for place, ratio in enumerate(_RATIOS, start=3)
        ),
    ]
    return Finding(
        key="sequential",
        question="Is 25-50% of reasoning rows, after the IFT rows, enough?",
        verdict=(*_sentences(table, rows, paying), *one_seed(rows)),
        method="Gains over pure IFT of the same size, corpus and questions, asked as trained. "
        "'Over half-way' is the accuracy less the mean of both pure recipes': above zero, more "
        "than half of the gain is there. " + intervals_over(rows),
        label_columns=("corpus", "task type", "size"),
        columns=(
            Column("gain of reasoning alone", "points"),
            *(Column(f"gain of {ratio:.0%}", "points") for ratio in _RATIOS),
            *(Column(f"{ratio:.0%} over half-way", "points") for ratio in _RATIOS),
        ),
        rows=tuple(rows),
        checks=tuple(checks),
    )


def _row(table: StudyTable, size: str, corpus: str, kind: str) -> Row | None:
    ift, reasoning = (group(table, size, corpus, label) for label in (IFT, REASONING))
    partial = [group(table, size, corpus, f"{_ORDER}@{ratio:g}") for ratio in _RATIOS]
    full = contrast([Term(1.0, reasoning), Term(-1.0, ift)], [kind])
    if full is None:
        return None
    gains = [contrast([Term(1.0, one), Term(-1.0, ift)], [kind]) for one in partial]
    if all(one is None for one in gains):
        return None
    halves = [
        contrast([Term(1.0, one), Term(-0.5, ift), Term(-0.5, reasoning)], [kind])
        for one in partial
    ]
    found = [full, *gains, *halves]
    return Row(
        (corpus, kind, size),
        min(one.n_seeds for one in found if one is not None),
        full.n_questions,
        tuple(None if one is None else one.measure for one in found),
    )


def _sentences(table: StudyTable, rows: Sequence[Row], paying: Sequence[Row]) -> list[str]:
    if not rows:
        return [f"Not measured: no {_ORDER} student of 25% or 50% has both pure recipes beside it."]
    sentences = [
        f"Reasoning alone gains over IFT in {len(paying)} of {len(rows)} combinations of corpus, "
        "task type and size; "
        + ("the next sentences are about these." if paying else "there is no gain to have most of.")
    ]
    for place, ratio in enumerate(_RATIOS):
        gain = tally(row.measures[1 + place] for row in paying)
        half = tally(row.measures[3 + place] for row in paying)
        if gain.n:
            sentences.append(
                f"With {ratio:.0%} of reasoning rows {gain.n_above} of {gain.n} are ahead of IFT; "
                f"{half.n_above} have more than half of the gain, {half.n_below} less than half."
            )
    costs = [_cost(table, ratio) for ratio in (*_RATIOS, 1.0)]
    known = [
        f"{cost.estimate:.2f} times at {ratio:.0%}"
        for ratio, cost in zip((*_RATIOS, 1.0), costs, strict=True)
        if cost is not None
    ]
    if known:
        sentences.append(f"Training FLOPs against pure IFT: {', '.join(known)}.")
    return sentences


def _cost(table: StudyTable, ratio: float) -> Measure | None:
    """Return training FLOPs over those of IFT, the mean over sizes, corpora and seeds."""
    label = REASONING if ratio == 1.0 else f"{_ORDER}@{ratio:g}"
    ratios = [
        one
        for corpus in corpora(table)
        for size in table.sizes
        for one in _ratios(group(table, size, corpus, label), group(table, size, corpus, IFT))
    ]
    return Measure(sum(ratios) / len(ratios), None, None) if ratios else None


def _ratios(dear: Group, cheap: Group) -> list[float]:
    shared = sorted(set(dear.by_seed) & set(cheap.by_seed))
    pairs = [(dear.by_seed[one].train_flops, cheap.by_seed[one].train_flops) for one in shared]
    return [first / second for first, second in pairs if first and second]
