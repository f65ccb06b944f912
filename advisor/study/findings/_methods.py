"""Training methods against each other: distillation or GRPO, TOPS, preference pairs."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from calibration.statistics import CrossedMean, crossed_difference, crossed_proportion

from ._finding import Check, Column, Finding, Measure, Row, Unit, claim_check, tally, write_value
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
        "takes; sampling counts. What making the start took comes on top, for both.",
        "distillation",
        "grpo",
    ),
    _Experiment(
        "tops",
        "Is the shortest right answer the better teacher (TOPS)?",
        "A model with skills is tuned on its own right answers to the same questions: the "
        "shortest, or one at random. There is one round, and the answers of the shorter teacher "
        "take fewer FLOPs to learn from.",
        "shortest",
        "random",
    ),
    _Experiment(
        "dpo",
        "Which pairs for Iter-DPO?",
        "A model with skills is tuned on pairs of its own answers. Chosen is the shortest right "
        "one; rejected are, by the rule of TOPS, the longest wrong one and a wrong one that is "
        "shorter still, or, by length alone, a right one that is more than 1.5 times as long. "
        "There is one round.",
        "pairs-tops",
        "pairs-length",
    ),
)
"""Experiments with what they compare.

Source: of the rules for pairs: arXiv 2502.18080, Iter-DPO, and arXiv 2501.12599, long2short DPO.
"""

_DIFFERENCE, _FIRST_GAIN, _SECOND_GAIN, _FIRST_TOKENS, _SECOND_TOKENS = 3, 4, 5, 7, 8
"""Places of measures in a row."""


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
        verdict=tuple(_sentences(experiment, rows, own)),
        method=f"{experiment.method} Intervals are over seeds and questions, differences paired by "
        "both; tokens and FLOPs are means over seeds. Learning rates were chosen on another draw of "
        "questions.",
        label_columns=("size", "budget, rows", "task type", "temperature"),
        columns=(
            Column("start", "accuracy"),
            Column(experiment.first, "accuracy"),
            Column(experiment.second, "accuracy"),
            Column(f"{experiment.first} minus {experiment.second}", "points"),
            Column(f"{experiment.first} minus start", "points"),
            Column(f"{experiment.second} minus start", "points"),
            Column("tokens, start", "tokens"),
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
    made = {cell.seed: cell for cell in alike if cell.method == "start"}
    # A shipped model is one start for all seeds.
    starts = [made.get(seed, made.get(0)) for seed in seeds]
    known = [one for one in starts if one is not None]
    sides = [[side[seed] for seed in seeds] for side in (first, second)]
    has_start = len(known) == len(seeds)
    difference = crossed_difference(_matrix(sides[0]), _matrix(sides[1]))
    measures = (
        _measure(crossed_proportion(_matrix(_different(known)))) if has_start else None,
        *(_measure(crossed_proportion(_matrix(side))) for side in sides),
        _measure(difference),
        *(
            _measure(crossed_difference(_matrix(side), _matrix(known))) if has_start else None
            for side in sides
        ),
        *(_plain([cell.mean_tokens for cell in side]) for side in (known, *sides)),
        *(_plain([cell.train_flops for cell in side]) for side in sides),
    )
    labels = (size, f"{budget:,}" if budget else "-", task_type, f"{temperature:g}")
    return Row(labels, len(seeds), difference.n_questions, measures)


def _different(cells: Sequence[MethodCell]) -> list[MethodCell]:
    return list({cell.seed: cell for cell in cells}.values())


def _sentences(
    experiment: _Experiment, rows: Sequence[Row], cells: Sequence[MethodCell]
) -> Iterator[str]:
    if not rows:
        yield "Not measured: the experiment has no table."
        return
    known = [(row, one) for row in rows if (one := row.measures[_DIFFERENCE]) is not None]
    counts = tally(one for _, one in known)
    (least, low), (most, high) = (
        pick(known, key=lambda pair: pair[1].estimate) for pick in (min, max)
    )
    first, second = f"`{experiment.first}`", f"`{experiment.second}`"
    yield (
        f"{first} is more accurate than {second} in {counts.n_above} of {counts.n} comparisons and "
        f"less in {counts.n_below}; from {write(low, 'points')} points ({least.labels[2]}, "
        f"{least.labels[0]}) to {write(high, 'points')} ({most.labels[2]}, {most.labels[0]})."
    )
    for name, place in ((first, _FIRST_GAIN), (second, _SECOND_GAIN)):
        gains = tally(row.measures[place] for row in rows)
        if gains.n:
            yield (
                f"Against its start, {name} is more accurate in {gains.n_above} of {gains.n} "
                f"comparisons and less in {gains.n_below}."
            )
    shorter = sum(
        one.estimate < other.estimate
        for row in rows
        if (one := row.measures[_FIRST_TOKENS]) is not None
        and (other := row.measures[_SECOND_TOKENS]) is not None
    )
    yield f"Answers of {first} are shorter than those of {second} in {shorter} of {len(rows)}."
    yield from _told(experiment, cells)


def _told(experiment: _Experiment, cells: Sequence[MethodCell]) -> Iterator[str]:
    """Say what the runs themselves have told; a run that told nothing is passed over."""
    first, second = (
        [cell for cell in cells if cell.method == method]
        for method in (experiment.first, experiment.second)
    )
    if experiment.name == "grpo":
        starts = [cell for cell in cells if cell.method == "start"]
        if starts:
            yield (
                "Making a start took "
                f"{_range([cell.train_flops for cell in starts], 'flops')} FLOPs."
            )
        if signal := _facts(second, "signal"):
            yield (
                "GRPO learns only from questions that it answers both right and wrong: "
                f"{_range(signal, 'share')} of those that it sampled. Its reward went from "
                f"{_range(_facts(second, 'reward_first'), 'share')} in the first quarter of steps "
                f"to {_range(_facts(second, 'reward_last'), 'share')} in the last."
            )
        sampled = starts
    else:
        sampled = [*first, *second]
    if differing := _facts(sampled, "differing"):
        yield (
            "Right answers to one question differ in length for "
            f"{_range(differing, 'share')} of the questions that have any; they take "
            f"{_range(_facts(sampled, 'mean_right_tokens'), 'tokens')} tokens in the mean, the "
            f"shortest {_range(_facts(sampled, 'mean_shortest_tokens'), 'tokens')}."
        )
    if experiment.name == "dpo":
        for name, side in ((experiment.first, first), (experiment.second, second)):
            if chosen := _facts(side, "mean_chosen_tokens"):
                counts = sorted({cell.n_examples for cell in side})
                n = f"{counts[0]:,}" + (f" to {counts[-1]:,}" if len(counts) > 1 else "")
                yield (
                    f"`{name}` found {n} pairs: {_range(chosen, 'tokens')} tokens chosen, "
                    f"{_range(_facts(side, 'mean_rejected_tokens'), 'tokens')} rejected."
                )


def _facts(cells: Sequence[MethodCell], name: str) -> list[float]:
    return [cell.facts[name] for cell in cells if name in cell.facts]


def _range(values: Sequence[float], unit: Unit) -> str:
    low, high = (write_value(pick(values), unit) for pick in (min, max))
    return low if low == high else f"{low} to {high}"


def _checks(experiment: _Experiment, rows: Sequence[Row]) -> list[Check]:
    if experiment.name != "grpo":
        return []
    return [
        claim_check(
            "methods/grpo/distillation",
            "r1-distillation-vs-rl",
            about="differences of distillation and GRPO at equal training FLOPs",
            measures=[row.measures[_DIFFERENCE] for row in rows],
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
