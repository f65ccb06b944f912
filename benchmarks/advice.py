"""What following the advice loses, beside two rules that need no advice.

The rules are "always reasoning" and "always IFT" at a fixed size. Loss is regret: points of
accuracy below the better of the two arms of that cell, averaged over the 8 cells of a size
(2 corpora x 4 task families). Whatever the advice is judged on was left out before it was given:

- the size: its printed figures are removed, the other four remain;
- the corpus: one of the two counts as published, the other as the user's, who knows nothing of
  it or has measured both arms at one size with so many questions, drawn again and again.

The advice is what the inference says by accuracy, costs aside. Where it abstains, its fallback is
followed, so that an abstention is not free. No printed cell is predicted from itself, but the
constants and the interval width of the transfer come from this very table: chosen without the
judged family they cover 80-85% of the gains instead of 91%. What this cannot show: other teachers,
other base models, a third corpus. The table prints no error bars, and its own sampling error is 1
to 4 points per gain.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TypeAlias

import numpy as np

from advisor.inference import (
    CONFIDENCE_LEVEL,
    NO_ESTIMATE,
    Choice,
    Estimate,
    EvidenceRef,
    Measured,
    choose,
    difference,
    gain_at,
    prior_gain,
    transfer_errors,
    transferred,
    wilson,
)
from benchmarks._report import Report
from calibration.published import PublishedCorpus, load_published_table
from policies import ModelSize

TABLE = load_published_table("scale_or_reason_table1")
Cell: TypeAlias = tuple[PublishedCorpus, str]
CELLS: tuple[Cell, ...] = tuple(product(TABLE.corpora, TABLE.task_types))
TOLERANCE = 0.01
N_QUESTIONS = 740
"""What a gain of 5 points needs; see `advisor.inference.questions_needed`."""
N_DRAWS = 20
TARGETED = ("0.5B", "1.5B")
"""Where the advice must beat both rules; at 3B and above "always reasoning" is hard to beat."""


@dataclass(frozen=True, slots=True)
class Judged:
    """One piece of advice and the gain that was left out."""

    choice: Choice
    gain: float

    @property
    def regret(self) -> float:
        """Return points lost by following it."""
        side = self.choice.fallback if self.choice.side == "abstain" else self.choice.side
        return 100 * max(self.gain if side == "ift" else -self.gain, 0.0)


Advise = Callable[[Cell, np.random.Generator], Estimate]


def run(report: Report) -> None:
    """Judge the advice by size, in each experiment."""
    for size in TABLE.sizes:
        _size_left_out(report, size)
    for size in TABLE.sizes:
        _corpus_left_out(report, size)
    for measured_at in TABLE.sizes[:2]:
        for size in TABLE.sizes:
            if size >= measured_at:
                _one_pair(report, measured_at, size)
    _intervals(report)


def _size_left_out(report: Report, size: ModelSize) -> None:
    case = f"{size}, this size left out"
    table = dataclasses.replace(TABLE, rows=tuple(row for row in TABLE.rows if row.size != size))

    def advise(cell: Cell, _: np.random.Generator) -> Estimate:
        return gain_at(table, *cell, size)

    if advise(CELLS[0], np.random.default_rng(0)) == NO_ESTIMATE:
        report.skip(case, "the smallest and the largest size are not extrapolated to")
        return
    _compare(report, case, size, advise, n_draws=1)


def _corpus_left_out(report: Report, size: ModelSize) -> None:
    """Report what the other corpus alone is good for; the advice is to abstain."""
    case = f"{size}, corpus left out, nothing measured"

    def advise(cell: Cell, _: np.random.Generator) -> Estimate:
        return prior_gain(TABLE, [_other(cell[0])], cell[1], size)

    _compare(report, case, size, advise, n_draws=1)


def _one_pair(report: Report, measured_at: ModelSize, size: ModelSize) -> None:
    def advise(cell: Cell, rng: np.random.Generator) -> Estimate:
        corpus, task_type = cell
        ift, reasoning = (
            _asked(TABLE.find(corpus, task_type, measured_at, recipe).accuracy, rng)
            for recipe in ("ift", "reasoning")
        )
        if size == measured_at:
            return difference(reasoning, ift)
        pair = Measured(measured_at, ift, reasoning)
        return transferred(TABLE, [_other(corpus)], task_type, size, [pair])[2]

    case = f"{size}, corpus left out, own pair at {measured_at}"
    _compare(report, case, size, advise, n_draws=N_DRAWS)


def _compare(report: Report, case: str, size: ModelSize, advise: Advise, *, n_draws: int) -> None:
    """Add a row for each naive rule: the advice beside it, and in words where it is no better."""
    judged = _judge(size, advise, n_draws)
    regret = float(np.mean([one.regret for one in judged]))
    is_advice = any(one.choice.side != "abstain" for one in judged)
    is_targeted = is_advice and str(size) in TARGETED
    for number, (name, naive) in enumerate(_naive(size)):
        counted = f"; {_count(judged, n_draws)}" if number == 0 else ""
        report.add(
            case,
            regret,
            "points lost",
            baseline=(name, naive),
            at_most=1.0 if is_targeted else None,
            of_ratio=True,
            note=_verdict(regret, naive) + counted,
        )


def _count(judged: Sequence[Judged], n_draws: int) -> str:
    n = len(judged)
    shown = [one for one in judged if one.choice.is_shown]
    abstained = sum(one.choice.side == "abstain" for one in judged)
    drawn = f" x {n_draws} draws of {N_QUESTIONS} questions an arm" if n_draws > 1 else ""
    if abstained == n:
        return f"n = {len(CELLS)} cells{drawn}: it ABSTAINS on all; this is its fallback's regret"
    return (
        f"n = {len(CELLS)} cells{drawn}: {len(shown) / n:.0%} shown "
        f"({sum(one.regret > 0 for one in shown)} of {len(shown)} wrong), "
        f"{abstained / n:.0%} abstained"
    )


def _intervals(report: Report) -> None:
    """Report how often intervals hold what their quantile never saw."""
    covered: list[bool] = []
    decided: list[bool] = []
    wrong: list[bool] = []
    for left_out in TABLE.task_types:
        rows = tuple(row for row in TABLE.rows if row.task_type != left_out)
        errors = transfer_errors(dataclasses.replace(TABLE, rows=rows))
        half = _conformal(errors)
        for guess, truth in _carried(left_out):
            covered.append(abs(guess - truth) <= half)
            decided.append(abs(guess) > half)
            wrong.append(abs(guess) > half and guess * truth < 0)
    note = (
        f"n = {len(covered)} from 4 families and two corpora that mirror each other: "
        f"{sum(decided)} decided, {sum(wrong)} wrong; constants chosen on all families"
    )
    share = float(np.mean(covered))
    report.add(
        "coverage, task family and corpus left out", share, "share", at_least=0.85, note=note
    )


def _carried(task_type: str) -> Iterator[tuple[float, float]]:
    """Yield (carried gain, printed gain) for every pair of one family measured without error."""
    for own, small, large in product(TABLE.corpora, TABLE.sizes, TABLE.sizes):
        if small < large:
            ift, reasoning = (
                _known(TABLE.find(own, task_type, small, recipe).accuracy)
                for recipe in ("ift", "reasoning")
            )
            pair = Measured(small, ift, reasoning)
            guess = transferred(TABLE, [_other(own)], task_type, large, [pair])[2].value
            if guess is not None:
                yield guess, _truth(own, task_type, large)


def _judge(size: ModelSize, advise: Advise, n_draws: int) -> list[Judged]:
    rng = np.random.default_rng(0)
    return [
        Judged(
            choose(advise(cell, rng), tolerance=TOLERANCE, prefer_cheap=False),
            _truth(*cell, size),
        )
        for cell in CELLS
        for _ in range(n_draws)
    ]


def _naive(size: ModelSize) -> tuple[tuple[str, float], tuple[str, float]]:
    gains = 100 * np.array([_truth(corpus, task_type, size) for corpus, task_type in CELLS])
    return (
        ("always reasoning", float(np.maximum(-gains, 0).mean())),
        ("always IFT", float(np.maximum(gains, 0).mean())),
    )


def _verdict(regret: float, naive: float) -> str:
    if regret < naive:
        return f"better by {naive - regret:.2f} points"
    return f"WORSE by {regret - naive:.2f} points" if regret > naive else "NO BETTER"


def _truth(corpus: PublishedCorpus, task_type: str, size: ModelSize) -> float:
    reasoning = TABLE.find(corpus, task_type, size, "reasoning").accuracy
    return reasoning - TABLE.find(corpus, task_type, size, "ift").accuracy


def _other(corpus: PublishedCorpus) -> PublishedCorpus:
    return next(other for other in TABLE.corpora if other != corpus)


def _asked(accuracy: float, rng: np.random.Generator) -> Estimate:
    """Return what a user sees who asks so many questions."""
    seen = int(rng.binomial(N_QUESTIONS, accuracy)) / N_QUESTIONS
    return Estimate(seen, *wilson(seen, N_QUESTIONS), "measured", (_ref(seen),))


def _known(accuracy: float) -> Estimate:
    return Estimate(accuracy, accuracy, accuracy, "measured", (_ref(accuracy),))


def _ref(accuracy: float) -> EvidenceRef:
    return EvidenceRef("simulated", "measured", "simulated", "ift", accuracy)


def _conformal(errors: Sequence[float]) -> float:
    return float(np.quantile(errors, CONFIDENCE_LEVEL, method="higher"))
