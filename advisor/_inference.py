"""Accuracy at a size, with an interval and the basis it stands on.

A printed size has the printed accuracy (`measured`). Between two printed sizes the value is
linear in log size, on the accuracy scale and without assuming that accuracy grows
(`interpolated`). Outside the printed sizes, and for recipes whose accuracy is printed nowhere,
there is no value at all (`rule`).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from calibration.published import PublishedCorpus, PublishedRecipe, PublishedRow, PublishedTable
from policies import ModelSize

__all__ = [
    "NO_ESTIMATE",
    "Basis",
    "Estimate",
    "EvidenceRef",
    "accuracy_at",
    "difference",
    "gain_at",
    "leave_one_size_out_error",
    "mean_estimate",
    "nominal_size",
    "questions_needed",
    "within_range",
]

Basis: TypeAlias = Literal["measured", "interpolated", "rule"]

CONFIDENCE_LEVEL = 0.95
_Z = 1.959963984540054
"""Normal quantile of a two-sided 95% interval, the level of `calibration.Cell` too."""

_EXACT_PARAMETERS = {
    500_000_000: 494_032_768,
    1_500_000_000: 1_543_714_304,
    3_000_000_000: 3_085_938_688,
    7_000_000_000: 7_615_616_512,
    14_000_000_000: 14_770_033_664,
}
"""Parameters of the students by printed size.

Source: the architectures of Qwen2.5-{0.5,1.5,3,7,14}B, counted without weights.
"""

_EFFECTIVE_QUESTIONS = {
    "general-mc": 2213.0,
    "general-oe": 2077.0,
    "math-mc": 1536.0,
    "math-oe": 249.0,
}
"""Independent questions whose accuracy would be as uncertain as a family's mean accuracy.

9 / sum(1 / n_i) for the unweighted mean of three benchmarks of one accuracy. An assumption:
the paper prints neither error bars nor how many questions it asked, so n_i are the usual test
sets asked once: winogrande 1267, openbookqa 500, mmlu-misc 783; squad 2067 and coqa 500
passages (questions on one passage are not independent), ifeval 541; aqua-rat 254, mmlu-math
848, mmlu-pro-math 1351; gsm8k 1319, math-500 500, aime 2025 30.

Source: benchmarks per family: arXiv 2509.22193v2, section 2.2.
"""


@dataclass(frozen=True, slots=True)
class EvidenceRef:
    """One figure that something rests on.

    Attributes:
        source: The paper, or `measured` for the user's own cells.
        cell: Where in it: a table cell, or task, model and policy.
        recipe: Recipe label of the figure, such as `ift`.
        value: Accuracy in [0, 1] as printed or measured.
    """

    source: str
    cell: str
    recipe: str
    value: float


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with a 95% interval.

    Attributes:
        value: Accuracy in [0, 1] or a difference in [-1, 1]; `None` if nothing supports one.
        low: Lower end; `None` if there is no value.
        high: Upper end.
        basis: What it stands on.
        refs: The figures it was computed from.
    """

    value: float | None
    low: float | None
    high: float | None
    basis: Basis
    refs: tuple[EvidenceRef, ...] = ()

    def is_above(self, bound: float) -> bool:
        """Return whether the whole interval lies above `bound`; false without a value."""
        return self.low is not None and self.low > bound

    def is_below(self, bound: float) -> bool:
        """Return whether the whole interval lies below `bound`; false without a value."""
        return self.high is not None and self.high < bound


NO_ESTIMATE = Estimate(None, None, None, "rule")


def nominal_size(table: PublishedTable, size: ModelSize) -> ModelSize:
    """Return the printed size that `size` is another name of, else `size` itself.

    A student printed as 3B has 3.086B parameters: sizes within 1% of a student's true
    parameter count mean that student.
    """
    for printed in table.sizes:
        exact = _EXACT_PARAMETERS.get(printed.n_params)
        if exact is not None and abs(size.n_params / exact - 1.0) <= 0.01:
            return printed
    return size


def within_range(table: PublishedTable, size: ModelSize) -> bool:
    """Return whether `size` is a printed size or lies between two."""
    return table.sizes[0] <= nominal_size(table, size) <= table.sizes[-1]


def accuracy_at(
    table: PublishedTable,
    corpus: PublishedCorpus,
    task_type: str,
    recipe: PublishedRecipe,
    size: ModelSize,
) -> Estimate:
    """Return the accuracy of a published recipe at a size.

    A printed figure gets a Wilson interval for the sampling error of the usual test sets, an
    interpolated one the 95% quantile of `leave_one_size_out_error`, clipped to [0, 1]. The
    latter errs on the wide side: leaving a size out doubles the gap that is bridged.

    Returns:
        `NO_ESTIMATE` outside the printed sizes and for task types the table does not have.
    """
    rows = table.curve(corpus, task_type, recipe)
    size = nominal_size(table, size)
    if not rows or not rows[0].size <= size <= rows[-1].size:
        return NO_ESTIMATE
    for row in rows:
        if row.size == size:
            return _printed(row)
    below, above = _neighbours(rows, size)
    value = _interpolate(_curve(rows), size)
    half = _quantile(leave_one_size_out_error(table))
    return Estimate(
        round(value, 6),
        round(max(0.0, value - half), 6),
        round(min(1.0, value + half), 6),
        "interpolated",
        (_ref(below), _ref(above)),
    )


def gain_at(
    table: PublishedTable, corpus: PublishedCorpus, task_type: str, size: ModelSize
) -> Estimate:
    """Return reasoning accuracy minus IFT accuracy at a size.

    At a printed size the interval is that of `difference`; between sizes it is the 95% quantile
    of the error made when each size's gain is interpolated from the others.
    """
    ift = accuracy_at(table, corpus, task_type, "ift", size)
    reasoning = accuracy_at(table, corpus, task_type, "reasoning", size)
    gain = difference(reasoning, ift)
    if gain.value is None or gain.basis == "measured":
        return gain
    half = _quantile(leave_one_size_out_error(table, gains=True))
    low, high = max(-1.0, gain.value - half), min(1.0, gain.value + half)
    return Estimate(gain.value, round(low, 6), round(high, 6), "interpolated", gain.refs)


def difference(a: Estimate, b: Estimate) -> Estimate:
    """Return a - b with an interval for two independent estimates.

    Square-and-add of the two intervals. Questions asked of both would narrow it; without the
    pairs this is the wide, safe side.

    Source: Newcombe, Statistics in Medicine 17 (1998) 873-890, method 10.
    """
    if a.value is None or b.value is None:
        return NO_ESTIMATE
    if a.low is None or a.high is None or b.low is None or b.high is None:
        return NO_ESTIMATE
    value = a.value - b.value
    low = value - math.hypot(a.value - a.low, b.high - b.value)
    high = value + math.hypot(a.high - a.value, b.value - b.low)
    basis: Basis = "measured" if a.basis == b.basis == "measured" else "interpolated"
    return Estimate(
        round(value, 6),
        round(max(-1.0, low), 6),
        round(min(1.0, high), 6),
        basis,
        tuple(dict.fromkeys((*b.refs, *a.refs))),
    )


def mean_estimate(estimates: Sequence[Estimate]) -> Estimate:
    """Return the unweighted mean of measured accuracies of different tasks.

    Source: intervals by square-and-add, Zou and Donner, Statistics in Medicine 27 (2008)
        1693-1702.
    """
    values = [
        (estimate.value, estimate.low, estimate.high)
        for estimate in estimates
        if estimate.value is not None and estimate.low is not None and estimate.high is not None
    ]
    if not values:
        return NO_ESTIMATE
    n = len(values)
    mean = sum(value for value, _, _ in values) / n
    down = math.hypot(*(value - low for value, low, _ in values)) / n
    up = math.hypot(*(high - value for value, _, high in values)) / n
    refs = tuple(ref for estimate in estimates for ref in estimate.refs)
    return Estimate(round(mean, 6), round(mean - down, 6), round(mean + up, 6), "measured", refs)


def leave_one_size_out_error(table: PublishedTable, *, gains: bool = False) -> tuple[float, ...]:
    """Return absolute errors of interpolating each inner size from its neighbours, sorted.

    Args:
        table: The table to test interpolation on.
        gains: Test reasoning minus IFT instead of each accuracy.

    Returns:
        Errors in [0, 1]: 48 accuracies or 24 gains for the shipped table (mean 2.5 and 3.5
        points).
    """
    errors: list[float] = []
    for corpus in table.corpora:
        for task_type in table.task_types:
            ift = _curve(table.curve(corpus, task_type, "ift"))
            reasoning = _curve(table.curve(corpus, task_type, "reasoning"))
            if gains:
                errors += _errors_of({size: reasoning[size] - ift[size] for size in ift})
            else:
                errors += _errors_of(ift) + _errors_of(reasoning)
    return tuple(sorted(errors))


def questions_needed(gain: float, *, discordance: float = 0.3) -> int:
    """Return how many questions, asked of both arms, show a difference of `gain`.

    For a paired comparison, one-sided 5% error and 80% power.

    Args:
        gain: Difference in accuracy to be seen, in (0, 1].
        discordance: Share of questions that only one of the two arms gets right.

    Source: normal approximation of McNemar's test, n = (z_.95 + z_.80)^2 (d - g^2) / g^2;
        d = 0.3 is an assumption.

    Example:
        >>> questions_needed(0.05)
        737
    """
    discordance = max(discordance, gain)
    return math.ceil((1.645 + 0.842) ** 2 * (discordance - gain**2) / gain**2)


def _printed(row: PublishedRow) -> Estimate:
    low, high = _wilson(row.accuracy, _EFFECTIVE_QUESTIONS.get(row.task_type, 249.0))
    return Estimate(row.accuracy, round(low, 6), round(high, 6), "measured", (_ref(row),))


def _wilson(p: float, n: float) -> tuple[float, float]:
    """Return the 95% Wilson interval of a proportion.

    Source: Wilson, JASA 22 (1927) 209-212.
    """
    centre = (p + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z * math.sqrt(p * (1 - p) / n + _Z**2 / (4 * n * n)) / (1 + _Z**2 / n)
    return max(0.0, min(p, centre - half)), min(1.0, max(p, centre + half))


def _ref(row: PublishedRow) -> EvidenceRef:
    return EvidenceRef(row.source, row.cell, row.recipe, row.accuracy)


def _curve(rows: Sequence[PublishedRow]) -> dict[ModelSize, float]:
    return {row.size: row.accuracy for row in rows}


def _neighbours(rows: Sequence[PublishedRow], size: ModelSize) -> tuple[PublishedRow, PublishedRow]:
    ordered = sorted(rows, key=lambda row: row.size)
    above = next(index for index, row in enumerate(ordered) if row.size > size)
    return ordered[above - 1], ordered[above]


def _interpolate(curve: Mapping[ModelSize, float], size: ModelSize) -> float:
    """Return the value at `size`, linear in log size between the two nearest sizes."""
    below = max(known for known in curve if known < size)
    above = min(known for known in curve if known > size)
    weight = math.log(size.n_params / below.n_params) / math.log(above.n_params / below.n_params)
    return (1.0 - weight) * curve[below] + weight * curve[above]


def _errors_of(curve: Mapping[ModelSize, float]) -> list[float]:
    return [
        abs(_interpolate({s: v for s, v in curve.items() if s != size}, size) - curve[size])
        for size in sorted(curve)[1:-1]
    ]


def _quantile(errors: Sequence[float]) -> float:
    """Return the conformal 95% quantile of sorted errors, the largest if there are too few.

    Source: split conformal prediction, rank ceil((n + 1) * level), Lei et al., JASA 113 (2018)
        1094-1111. That the errors of one table are exchangeable with the next is an assumption.
    """
    rank = math.ceil((len(errors) + 1) * CONFIDENCE_LEVEL)
    return errors[min(rank, len(errors)) - 1]
