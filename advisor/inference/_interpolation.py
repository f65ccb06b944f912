"""Published accuracy at a size: printed, or between two printed sizes.

The logit of accuracy is interpolated linearly in the log of the students' true sizes; nothing assumes that accuracy grows.
The interval of an interpolated value is conformal: it comes from the errors made when each inner
size of the shipped table is predicted from its neighbours. Outside the printed sizes there is no
value at all: leaving out the smallest size and extrapolating to it misses by 6 points in the mean
and 16 at worst.
"""

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache

from calibration.published import PublishedCorpus, PublishedRecipe, PublishedRow, PublishedTable
from policies import ModelSize

from ._estimate import (
    CONFIDENCE_LEVEL,
    NO_ESTIMATE,
    Estimate,
    EvidenceRef,
    difference,
    wilson,
)

__all__ = [
    "accuracy_at",
    "conformal_quantile",
    "curves_of",
    "expit",
    "gain_at",
    "interpolate",
    "leave_one_size_out_errors",
    "log_ratio",
    "logit",
    "nominal_size",
    "within_range",
]

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

_MOST_EXTREME = 0.001
"""Accuracies are kept this far from 0 and 1 before their logit is taken."""


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

    A printed figure gets a Wilson interval for the sampling error of the usual test sets. An
    interpolated one gets the 90% conformal quantile of `leave_one_size_out_errors`, on the logit
    scale, or the sampling error if that is wider. The former errs on the wide side: leaving a
    size out doubles the gap that is bridged.

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
    value = interpolate(_curve(rows), size)
    half = conformal_quantile(leave_one_size_out_errors(table))
    sampling_low, sampling_high = wilson(value, _EFFECTIVE_QUESTIONS.get(task_type, 249.0))
    return Estimate(
        round(value, 6),
        round(min(expit(logit(value) - half), sampling_low), 6),
        round(max(expit(logit(value) + half), sampling_high), 6),
        "interpolated",
        tuple(_ref(row) for row in _neighbours(rows, size)),
    )


def gain_at(
    table: PublishedTable, corpus: PublishedCorpus, task_type: str, size: ModelSize
) -> Estimate:
    """Return reasoning accuracy minus IFT accuracy at a size.

    At a printed size the interval is that of `difference`; between sizes it is the 90% conformal
    quantile of the error made when each size's gain is computed from curves without that size,
    or the sampling error if that is wider.
    """
    ift = accuracy_at(table, corpus, task_type, "ift", size)
    reasoning = accuracy_at(table, corpus, task_type, "reasoning", size)
    gain = difference(reasoning, ift)
    if gain.value is None or gain.basis == "measured":
        return gain
    half = conformal_quantile(leave_one_size_out_errors(table, gains=True))
    n = _EFFECTIVE_QUESTIONS.get(task_type, 249.0)
    sampling = difference(_sampled(reasoning, n), _sampled(ift, n))
    down = max(half, gain.value - (sampling.low if sampling.low is not None else gain.value))
    up = max(half, (sampling.high if sampling.high is not None else gain.value) - gain.value)
    low, high = max(-1.0, gain.value - down), min(1.0, gain.value + up)
    return Estimate(gain.value, round(low, 6), round(high, 6), "interpolated", gain.refs)


def leave_one_size_out_errors(table: PublishedTable, *, gains: bool = False) -> tuple[float, ...]:
    """Return absolute errors of predicting each inner size from its neighbours, sorted.

    Args:
        table: The table to test interpolation on.
        gains: Errors of reasoning minus IFT, in accuracy, instead of errors of each accuracy, on
            the logit scale.

    Returns:
        For the shipped table 48 logit errors (2.4 points of accuracy in the mean), or 24 errors
        of a gain (3.4 points in the mean).
    """
    return _leave_one_out(table.rows, gains)


@lru_cache(maxsize=16)
def _leave_one_out(rows: tuple[PublishedRow, ...], gains: bool) -> tuple[float, ...]:
    curves = curves_of(rows)
    errors: list[float] = []
    for corpus, task_type in dict.fromkeys((row.corpus, row.task_type) for row in rows):
        ift = curves[corpus, task_type, "ift"]
        reasoning = curves[corpus, task_type, "reasoning"]
        for size in sorted(ift)[1:-1]:
            guesses = [interpolate(_without(curve, size), size) for curve in (ift, reasoning)]
            if gains:
                truth = reasoning[size] - ift[size]
                errors.append(abs(guesses[1] - guesses[0] - truth))
            else:
                truths = (ift[size], reasoning[size])
                errors += [
                    abs(logit(guess) - logit(true))
                    for guess, true in zip(guesses, truths, strict=True)
                ]
    return tuple(sorted(errors))


def curves_of(
    rows: Sequence[PublishedRow],
) -> dict[tuple[str, str, str], dict[ModelSize, float]]:
    """Return accuracy by size, for each corpus, task type and recipe."""
    curves: dict[tuple[str, str, str], dict[ModelSize, float]] = {}
    for row in rows:
        curves.setdefault((row.corpus, row.task_type, row.recipe), {})[row.size] = row.accuracy
    return curves


def interpolate(curve: Mapping[ModelSize, float], size: ModelSize) -> float:
    """Return the accuracy at `size`, its logit linear in log size between the nearest sizes.

    Printed sizes count with the true parameters of their student: 3B with 3.086 billion.

    Args:
        curve: Accuracy in [0, 1] by size; at least one smaller and one larger than `size`.
        size: Where to read it.

    Example:
        >>> B = 1_000_000_000
        >>> round(interpolate({ModelSize(B): 0.2, ModelSize(4 * B): 0.8}, ModelSize(2 * B)), 3)
        0.5
    """
    below = max(known for known in curve if known < size)
    above = min(known for known in curve if known > size)
    weight = log_ratio(size, below) / log_ratio(above, below)
    return expit((1.0 - weight) * logit(curve[below]) + weight * logit(curve[above]))


def log_ratio(a: ModelSize, b: ModelSize) -> float:
    """Return log(a / b), printed sizes with the true parameters of their student."""
    exact = [_EXACT_PARAMETERS.get(size.n_params, size.n_params) for size in (a, b)]
    return math.log(exact[0] / exact[1])


def conformal_quantile(errors: Sequence[float], level: float = CONFIDENCE_LEVEL) -> float:
    """Return the conformal quantile of sorted absolute errors, the largest if there are too few.

    Source: split conformal prediction, rank ceil((n + 1) * level), Lei et al., JASA 113 (2018)
        1094-1111. That the errors of one table are exchangeable with the next is an assumption.
    """
    rank = math.ceil((len(errors) + 1) * level)
    return errors[min(rank, len(errors)) - 1]


def logit(p: float) -> float:
    """Return the logit of an accuracy, kept finite at 0 and 1."""
    kept = min(max(p, _MOST_EXTREME), 1.0 - _MOST_EXTREME)
    return math.log(kept / (1.0 - kept))


def expit(z: float) -> float:
    """Return the accuracy with logit `z`."""
    return 1.0 / (1.0 + math.exp(-z))


def _printed(row: PublishedRow) -> Estimate:
    low, high = wilson(row.accuracy, _EFFECTIVE_QUESTIONS.get(row.task_type, 249.0))
    return Estimate(row.accuracy, round(low, 6), round(high, 6), "measured", (_ref(row),))


def _sampled(estimate: Estimate, n: float) -> Estimate:
    """Return the same value with no more than its sampling error."""
    value = estimate.value or 0.0
    return Estimate(value, *wilson(value, n), estimate.basis, estimate.refs)


def _ref(row: PublishedRow) -> EvidenceRef:
    return EvidenceRef(row.id, row.source, row.cell, row.recipe, row.accuracy)


def _curve(rows: Sequence[PublishedRow]) -> dict[ModelSize, float]:
    return {row.size: row.accuracy for row in rows}


def _without(curve: Mapping[ModelSize, float], size: ModelSize) -> dict[ModelSize, float]:
    return {known: value for known, value in curve.items() if known != size}


def _neighbours(rows: Sequence[PublishedRow], size: ModelSize) -> tuple[PublishedRow, PublishedRow]:
    ordered = sorted(rows, key=lambda row: row.size)
    above = next(index for index, row in enumerate(ordered) if row.size > size)
    return ordered[above - 1], ordered[above]
