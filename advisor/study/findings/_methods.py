"""Training methods against each other: distillation or GRPO, TOPS, preference pairs."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from calibration.statistics import CrossedMean, crossed_difference, crossed_proportion

from ._finding import Check, Column, Finding, Measure, Row, claim_check, tally
from ._finding import write_measure as write
from ._method_table import MethodCell
from ._students import over_seeds

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["method_findings"]


class _Experiment(NamedTuple):
    name: str
    question: str
    method: str
    first: str
    second: str


_EXPERIMENTS = (
    _Experiment(
        "grpo",
        "Distillation or GRPO, at equal training FLOPs?",
        "A weak reasoning student goes on from one start, by a teacher's traces or by GRPO on its "
        "own samples, until both have used the FLOPs that the given number of supervised rows "
        "takes; sampling counts.",
        "distillation",
        "grpo",
    ),
    _Experiment(
        "tops",
        "Is the shortest right answer the better teacher (TOPS)?",
        "A model with skills is tuned on its own right answers to the same questions: the "
        "shortest, or one at random.",
        "shortest",
        "random",
    ),
    _Experiment(
        "dpo",
        "Which pairs for Iter-DPO?",
        "A model with skills is tuned on pairs of its own answers. Chosen is the shortest right "
        "one; rejected are, by the rule of TOPS, the longest wrong one and a wrong one that is "
        "shorter still, or, by length alone, a right one that is much longer.",
        "pairs-tops",
        "pairs-length",
    ),
)
"""Experiments with what they compare.

Source: of the rules for pairs: arXiv 2502.18080, Iter-DPO, and arXiv 2501.12599, section 2.4.
"""


def method_findings(cells: Sequence[MethodCell]) -> tuple[Finding, ...]:
    """Return one finding per experiment; of an experiment without cells, that it was not run."""
    return tuple(_finding(one, cells) for one in _EXPERIMENTS)


def _finding(experiment: _Experiment, cells: Sequence[MethodCell]) -> Finding:
    own = [cell for cell in cells if cell.experiment == experiment.name]
    keys = dict.fromkeys(
        (cell.size, cell.budget, cell.task_type, cell.temperature)
        for cell in own
        if cell.method == experiment.first
    )
    rows = [row for key in keys if (row := _row(experiment, cells, *key)) is not None]
    return Finding(
        key=f"methods/{experiment.name}",
        question=experiment.question,
        verdict=tuple(_sentences(experiment, rows)),
        method=f"{experiment.method} Intervals are over seeds and questions, differences paired by "
        "both; tokens and FLOPs are means over seeds.",
        label_columns=("size", "budget, rows", "task type", "temperature"),
        columns=(
            Column("start", "accuracy"),
            Column(experiment.first, "accuracy"),
            Column(experiment.second, "accuracy"),
            Column(f"{experiment.first} minus {experiment.second}", "points"),
            Column(f"tokens, {experiment.first}", "tokens"),
            Column(f"tokens, {experiment.second}", "tokens"),
            Column(f"FLOPs, {experiment.first}", "flops"),
            Column(f"FLOPs, {experiment.second}", "flops"),
        ),
        rows=tuple(rows),
        checks=tuple(_checks(experiment, rows)),
    )


def _row(
    experiment: _Experiment,
    cells: Sequence[MethodCell],
    size: str,
    budget: int,
    task_type: str,
    temperature: float,
) -> Row | None:
    alike = [
        cell
        for cell in cells
        if (cell.size, cell.task_type, cell.temperature) == (size, task_type, temperature)
    ]
    first, second = (
        {
            cell.seed: cell
            for cell in alike
            if (cell.experiment, cell.method, cell.budget) == (experiment.name, method, budget)
        }
        for method in (experiment.first, experiment.second)
    )
    seeds = sorted(first.keys() & second.keys())
    if not seeds:
        return None
    start = {cell.seed: cell for cell in alike if cell.method == "start"}
    # A shipped model is one start for all seeds.
    starts = [start[seed] for seed in (seeds if set(seeds) <= set(start) else [0]) if seed in start]
    sides = [[side[seed] for seed in seeds] for side in (first, second)]
    difference = crossed_difference(_matrix(sides[0]), _matrix(sides[1]))
    measures = (
        _measure(crossed_proportion(_matrix(starts))) if starts else None,
        *(_measure(crossed_proportion(_matrix(side))) for side in sides),
        _measure(difference),
        *(_plain([cell.mean_tokens for cell in side]) for side in sides),
        *(_plain([cell.train_flops for cell in side]) for side in sides),
    )
    labels = (size, f"{budget:,}" if budget else "-", task_type, f"{temperature:g}")
    return Row(labels, len(seeds), difference.n_questions, measures)


def _sentences(experiment: _Experiment, rows: Sequence[Row]) -> list[str]:
    if not rows:
        return ["Not measured: the experiment has no table."]
    known = [(row, one) for row in rows if (one := row.measures[3]) is not None]
    counts = tally(one for _, one in known)
    (least, low), (most, high) = (
        pick(known, key=lambda pair: pair[1].estimate) for pick in (min, max)
    )
    shorter = sum(
        one.estimate < other.estimate
        for row in rows
        if (one := row.measures[4]) is not None and (other := row.measures[5]) is not None
    )
    return [
        f"`{experiment.first}` is more accurate than `{experiment.second}` in {counts.n_above} of "
        f"{counts.n} comparisons and less in {counts.n_below}; from {write(low, 'points')} points "
        f"({least.labels[2]}, {least.labels[0]}) to {write(high, 'points')} ({most.labels[2]}, "
        f"{most.labels[0]}).",
        f"Its answers are the shorter ones in {shorter} of {len(rows)}.",
    ]


def _checks(experiment: _Experiment, rows: Sequence[Row]) -> list[Check]:
    if experiment.name != "grpo":
        return []
    return [
        claim_check(
            "methods/grpo/distillation",
            "r1-distillation-vs-rl",
            about="differences of distillation and GRPO at equal training FLOPs",
            measures=[row.measures[3] for row in rows],
            side="above",
        )
    ]


def _matrix(cells: Sequence[MethodCell]) -> "NDArray[np.float64]":
    """Return answers of shape (seeds, questions): 1 for right."""
    import numpy as np

    return np.array([[one == "1" for one in cell.answers] for cell in cells], dtype=np.float64)


def _measure(found: CrossedMean) -> Measure:
    return Measure(found.estimate, found.low, found.high)


def _plain(values: Sequence[float]) -> Measure | None:
    found = over_seeds(values)
    return None if found is None else Measure(found.estimate, None, None)
