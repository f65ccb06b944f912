"""What does mixed training above half of reasoning rows do to answers' length?"""

from collections.abc import Sequence

from .._table import StudyTable
from ._finding import (
    Check,
    Column,
    Finding,
    Measure,
    Row,
    claim_check,
    intervals_over,
    one_seed,
    tally,
)
from ._finding import write_measure as write
from ._students import (
    IFT,
    REASONING,
    Group,
    Term,
    contrast,
    corpora,
    group,
    mean_of,
    over_seeds,
    task_types,
)

__all__ = ["mixed_above_half"]

_ALWAYS = 0.9
"""From this share of thinking answers on a student counts as one that always thinks; ours."""


def mixed_above_half(table: StudyTable) -> Finding:
    """Measure how often and how long students of shuffled rows think, by share of such rows."""
    ratios = sorted(
        {
            one.student.ratio
            for one in table.results
            if one.student.order == "mixed" and 0 < one.student.ratio < 1
        }
    )
    rows = [
        row
        for corpus in corpora(table)
        for size in table.sizes
        for ratio in ratios
        if (row := _row(table, size, corpus, ratio)) is not None
    ]
    return Finding(
        key="mixed",
        question="What does mixed training above 50% of reasoning rows do to answers?",
        verdict=(*_sentences(rows, ratios), *one_seed(rows)),
        method="Means over all task types, asked as trained. Shares and tokens have intervals over "
        "seeds (the questions are the same), and none with one seed. Of accuracies: "
        f"{intervals_over(rows)} 'Over half-way' "
        "are tokens less the mean of both pure recipes'; 'sequential' has the IFT rows first.",
        label_columns=("corpus", "size", "ratio"),
        columns=(
            Column("answers that think", "share"),
            Column("tokens", "tokens"),
            Column("tokens over half-way", "tokens"),
            Column("accuracy minus sequential", "points"),
        ),
        rows=tuple(rows),
        checks=tuple(_checks(rows)),
    )


def _row(table: StudyTable, size: str, corpus: str, ratio: float) -> Row | None:
    kinds = task_types(table)
    mixed = group(table, size, corpus, f"mixed@{ratio:g}")
    sequential = group(table, size, corpus, f"ift_then_reasoning@{ratio:g}")
    own = contrast([Term(1.0, mixed)], kinds)
    if own is None:
        return None
    thinks = mean_of(mixed, kinds, lambda cell: cell.think_share)
    tokens = mean_of(mixed, kinds, lambda cell: cell.mean_tokens)
    pure = [group(table, size, corpus, label) for label in (IFT, REASONING)]
    behind = contrast([Term(1.0, mixed), Term(-1.0, sequential)], kinds)
    measures = (
        _within_one(over_seeds(list(thinks.values()), least=0.0)),
        over_seeds(list(tokens.values()), least=0.0),
        over_seeds(_over_half_way(tokens, pure, kinds)),
        None if behind is None else behind.measure,
    )
    return Row((corpus, size, f"{ratio:g}"), own.n_seeds, own.n_questions, measures)


def _over_half_way(
    tokens: dict[int, float], pure: Sequence[Group], kinds: Sequence[str]
) -> list[float]:
    first, second = (mean_of(one, kinds, lambda cell: cell.mean_tokens) for one in pure)
    shared = sorted(tokens.keys() & first.keys() & second.keys())
    return [tokens[seed] - (first[seed] + second[seed]) / 2 for seed in shared]


def _within_one(share: Measure | None) -> Measure | None:
    if share is None or share.high is None:
        return share
    return share._replace(high=min(1.0, share.high))


def _sentences(rows: Sequence[Row], ratios: Sequence[float]) -> list[str]:
    if not rows:
        return ["Not measured: there are no students of mixed rows."]
    sentences: list[str] = []
    for ratio in ratios:
        own = [row for row in rows if row.labels[2] == f"{ratio:g}"]
        shares = [one.estimate for row in own if (one := row.measures[0]) is not None]
        tokens = [one.estimate for row in own if (one := row.measures[1]) is not None]
        counts = tally(row.measures[2] for row in own)
        text = (
            f"At {ratio:.0%} of reasoning rows {_span(shares, '.0%')} of answers think, with "
            f"{_span(tokens, '.1f')} tokens on average"
        )
        if any(one is not None and one.low is not None for one in (row.measures[2] for row in own)):
            text += (
                f"; of {counts.n} combinations of corpus and size {counts.n_below} are nearer to "
                f"IFT in length, {counts.n_above} nearer to reasoning"
            )
        elif counts.n:
            text += "; lengths have no intervals with one seed"
        sentences.append(f"{text}.")
    behind = [
        f"{write(row.measures[3], 'points')} ({row.labels[1]}, {row.labels[0]} corpus)"
        for row in rows
        if row.labels[2] == "0.75" and row.measures[3] is not None
    ]
    if behind:
        sentences.append(f"At 75%, mixed minus sequential is {', '.join(behind)} points.")
    return sentences


def _span(values: Sequence[float], style: str) -> str:
    ends = [format(pick(values), style) for pick in (min, max)]
    return " to ".join(dict.fromkeys(ends))


def _checks(rows: Sequence[Row]) -> list[Check]:
    short = [row.measures[2] for row in rows if float(row.labels[2]) <= 0.5]
    above = [row for row in rows if float(row.labels[2]) > 0.5]
    return [
        claim_check(
            "mixed/short-to-50",
            "mixed-safe-band",
            about="lengths up to 50% of reasoning rows, less the mean of both pure recipes'",
            measures=short,
            side="below",
            unit="tokens",
        ),
        claim_check(
            "mixed/always-thinks",
            "mixed-phase-transition",
            about="shares of answers that think above 50% of reasoning rows",
            measures=[row.measures[0] for row in above],
            side="above",
            at=_ALWAYS,
            unit="share",
        ),
        claim_check(
            "mixed/behind-sequential",
            "mixed-phase-transition",
            about="accuracies of mixed less sequential training at 75%",
            measures=[row.measures[3] for row in above if row.labels[2] == "0.75"],
            side="below",
        ),
    ]
