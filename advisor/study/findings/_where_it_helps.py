"""Where does reasoning help, by task type and size?"""

from collections.abc import Sequence

from calibration.published import PublishedCorpus, load_published_table

from .._table import StudyTable
from ._finding import (
    Agreement,
    Check,
    Column,
    Finding,
    Measure,
    Row,
    claim_check,
    intervals_over,
    one_seed,
    settle,
    tally,
)
from ._finding import write_measure as write
from ._students import (
    IFT,
    REASONING,
    Term,
    accuracy,
    contrast,
    corpora,
    group,
    task_types,
)

__all__ = ["where_reasoning_helps"]

_CORPORA: dict[str, PublishedCorpus] = {"general": "general", "math": "math-centric"}
"""The paper's corpora, by the study's names of them."""
_TABLE = "scale_or_reason_table1"


def where_reasoning_helps(table: StudyTable) -> Finding:
    """Compare students of pure reasoning with students of pure IFT, at equal size and questions."""
    rows: list[Row] = []
    checks: list[Check] = []
    sentences: list[str] = []
    kinds, sizes = task_types(table), list(table.sizes)
    for corpus in corpora(table):
        for kind in kinds:
            own = [row for size in sizes if (row := _row(table, size, corpus, kind)) is not None]
            rows += own
            growth = _growth(table, corpus, kind)
            checks += _family_check(corpus, kind, own, growth)
        sentences.append(_sentence(corpus, [row for row in rows if row.labels[0] == corpus]))
    sentences += [_by_kind(kind, rows) for kind in kinds if any(r.labels[1] == kind for r in rows)]
    gains = [row.measures[2] for row in rows]
    checks.append(
        claim_check(
            "where/overall",
            "share-reasoning-wins-at-equal-size",
            about="gains of reasoning over IFT at equal size",
            measures=gains,
            side="above",
        )
    )
    return Finding(
        key="where",
        question="Where does reasoning help, by task type and size?",
        verdict=(*sentences, *one_seed(rows))
        if rows
        else ("Not measured: no size has both pure recipes.",),
        method="Students trained on reasoning rows alone against students trained on direct "
        "answers (IFT) to the same questions, both asked as trained. " + intervals_over(rows),
        label_columns=("corpus", "task type", "size"),
        columns=(
            Column("IFT", "accuracy"),
            Column("reasoning", "accuracy"),
            Column("gain", "points"),
        ),
        rows=tuple(rows),
        checks=tuple(checks),
    )


def _row(table: StudyTable, size: str, corpus: str, kind: str) -> Row | None:
    reasoning, ift = (group(table, size, corpus, label) for label in (REASONING, IFT))
    gain = contrast([Term(1.0, reasoning), Term(-1.0, ift)], [kind])
    if gain is None:
        return None
    measures = (accuracy(ift, [kind]), accuracy(reasoning, [kind]), gain.measure)
    return Row((corpus, kind, size), gain.n_seeds, gain.n_questions, measures)


def _growth(table: StudyTable, corpus: str, kind: str) -> Measure | None:
    """Return the gain at the largest size minus that at the smallest."""
    sizes = list(table.sizes)
    if len(sizes) < 2:
        return None
    terms = [
        Term(size_sign * label_sign, group(table, size, corpus, label))
        for size, size_sign in ((sizes[-1], 1.0), (sizes[0], -1.0))
        for label, label_sign in ((REASONING, 1.0), (IFT, -1.0))
    ]
    found = contrast(terms, [kind])
    return None if found is None else found.measure


def _family_check(
    corpus: str, kind: str, rows: Sequence[Row], growth: Measure | None
) -> list[Check]:
    """Return whether gains have the sign that Table 1 prints for a corpus and task type."""
    published = load_published_table(_TABLE)
    if corpus not in _CORPORA or kind not in published.task_types:
        return []
    curves = [published.curve(_CORPORA[corpus], kind, one) for one in ("ift", "reasoning")]
    pairs = list(zip(*curves, strict=True))
    printed = [second.accuracy - first.accuracy for first, second in pairs]
    paper = ", ".join(
        f"{100 * gain:+.1f} at {first.size}"
        for gain, (first, _) in zip(printed, pairs, strict=True)
    )
    source = f"{published.source}, {_CORPORA[corpus]} corpus (its accuracies subtracted)"
    key = f"where/{corpus}/{kind}"
    measures = [row.measures[2] for row in rows]
    if min(printed) > 0 or max(printed) < 0:
        side = "above" if min(printed) > 0 else "below"
        counts = tally(measures)
        agreement = settle(counts, side)
        rule = f"more than half of the sizes' gains lie wholly {side} 0"
    else:
        agreement = settle(tally([growth]), "above")
        rule = "the gain at the largest size minus that at the smallest lies wholly above 0"
    found = ", ".join(f"{write(row.measures[2], 'points')} at {row.labels[2]}" for row in rows)
    if not (min(printed) > 0 or max(printed) < 0) and growth is not None:
        found += f"; largest minus smallest {write(growth, 'points')}"
    if not rows:
        found, agreement = "nothing of it was measured", Agreement.CANNOT_TELL
    return [Check(key, f"{kind}: gains of {paper}", source, rule, found, agreement)]


def _sentence(corpus: str, rows: Sequence[Row]) -> str:
    if not rows:
        return (
            f"On the {corpus} corpus nothing can be compared: one of the pure recipes is missing."
        )
    counts = tally(row.measures[2] for row in rows)
    return (
        f"Trained on the {corpus} corpus, reasoning is ahead of IFT in {counts.n_above} of "
        f"{counts.n} combinations of task type and size, behind in {counts.n_below}, and in "
        f"{counts.n - counts.n_above - counts.n_below} it cannot be told."
    )


def _by_kind(kind: str, rows: Sequence[Row]) -> str:
    own = [row for row in rows if row.labels[1] == kind]
    known = [(row, gain) for row in own if (gain := row.measures[2]) is not None]
    counts = tally(gain for _, gain in known)
    (least, smallest), (most, largest) = (
        pick(known, key=lambda one: one[1].estimate) for pick in (min, max)
    )
    return (
        f"{kind}: ahead in {counts.n_above} of {counts.n}, behind in {counts.n_below}; from "
        f"{write(smallest, 'points')} points ({least.labels[2]}, {least.labels[0]} corpus) to "
        f"{write(largest, 'points')} ({most.labels[2]}, {most.labels[0]} corpus)."
    )
