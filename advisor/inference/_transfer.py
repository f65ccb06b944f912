"""The published curve moved by what the user measured at another size.

Used on another corpus, published signs of "reasoning pays" were right in 24 of 40 cases. One pair
measured at a smaller size repairs them: its distance from the published curve, on the logit scale,
is carried to larger sizes. Carried to smaller sizes it does not help, so that is refused.

Source: the shipped table itself, one of its two corpora taken as published and the other as the
user's (`transfer_errors`); two corpora, one teacher, one student family.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations, permutations
from typing import NamedTuple

from calibration.published import PublishedCorpus, PublishedRecipe, PublishedRow, PublishedTable
from policies import ModelSize

from ._estimate import NO_ESTIMATE, Estimate, EvidenceRef, Z, around
from ._interpolation import (
    accuracy_at,
    conformal_quantile,
    curves_of,
    expit,
    gain_at,
    interpolate,
    leave_one_size_out_errors,
    log_ratio,
    logit,
    nominal_size,
)

__all__ = [
    "Measured",
    "SignCount",
    "between_own",
    "carrying_sd",
    "prior_gain",
    "prior_signs",
    "transfer_errors",
    "transfer_signs",
    "transferred",
]

_BETWEEN_CORPORA = 0.15
"""Variance, on the logit scale, of a corpus around the published ones.

Source: half the mean squared distance of the two published corpora is 0.07 for IFT and 0.20 for
reasoning, over 20 cells each; 0.15 lies between.
"""

_WITHIN_CORPUS = 0.05
"""Variance of one size around its corpus's offset, on the logit scale; an assumption."""

_DECAY = 5.0
"""Log size over which an offset falls to 1/e.

Corpora come closer as models grow: the two published ones differ by 22 points of gain at 0.5B and
by 7 at 14B. Chosen as the largest whole number with a nearly minimal error on the shipped table:
4.7 points (root mean square) against 7.8 without decay, and one sign of 80 is lost.
"""

_WIDEST_BRACKET = math.log(5.5)
"""Log ratio of two measured sizes between which the user's own curve is interpolated: 5 in
printed sizes, a little more in true ones."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A pair that the user measured at one size.

    Attributes:
        size: The size.
        ift: Accuracy after training on direct answers, with its interval.
        reasoning: Accuracy after training on reasoning traces.
    """

    size: ModelSize
    ift: Estimate
    reasoning: Estimate


def transferred(
    table: PublishedTable,
    corpora: Sequence[PublishedCorpus],
    task_type: str,
    size: ModelSize,
    measured: Sequence[Measured],
) -> tuple[Estimate, Estimate, Estimate]:
    """Return IFT accuracy, reasoning accuracy and gain at a size, carried from smaller ones.

    z(size) = z_published(size) + w * mean(d_i * offset_i), with offset_i the distance of the
    user's cell i from the published curve, d_i = exp(-log(size / size_i) / 5) and
    w = n tau2 / (n tau2 + s2), all on the logit scale. Pairs at larger sizes are not used.

    Args:
        table: The published table.
        corpora: Published corpora whose mean curve is the prior.
        task_type: Task type, one of the table's.
        size: Where to read it, within the printed sizes.
        measured: The user's pairs.

    Returns:
        Three times `NO_ESTIMATE` if `measured` has no pair within the printed sizes and below
        `size`, if nothing is published at `size`, or if the table has one corpus only, so that
        nothing is known about carrying.

    Source: shrinkage toward a prior, James-Stein in its empirical Bayes form, Efron and Morris,
        JASA 68 (1973) 117-130; the constants are stated above.
    """
    target = nominal_size(table, size)
    below = [
        pair
        for pair in measured
        if nominal_size(table, pair.size) < target
        and _prior(table, corpora, task_type, "ift", pair.size) is not None
    ]
    curves = [
        _carry(table, corpora, task_type, target, recipe, below) for recipe in ("ift", "reasoning")
    ]
    if not below or None in curves or not transfer_errors(table):
        return NO_ESTIMATE, NO_ESTIMATE, NO_ESTIMATE
    ift, reasoning = (curve for curve in curves if curve is not None)
    refs = tuple(dict.fromkeys((*ift.refs, *reasoning.refs)))
    single = _carrying_quantile(table, target, gains=False)
    both = _carrying_quantile(table, target, gains=True)
    gain_sd = math.hypot(ift.sd, reasoning.sd)
    return (
        around(ift.value, math.hypot(single, Z * ift.sd), "transferred", refs),
        around(reasoning.value, math.hypot(single, Z * reasoning.sd), "transferred", refs),
        around(
            reasoning.value - ift.value,
            math.hypot(both, Z * gain_sd),
            "transferred",
            refs,
            lowest=-1.0,
        ),
    )


def between_own(
    table: PublishedTable, size: ModelSize, measured: Sequence[Measured]
) -> tuple[Estimate, Estimate, Estimate]:
    """Return IFT accuracy, reasoning accuracy and gain between two sizes that the user measured.

    The user's own curve, interpolated as published ones are; used where the two nearest pairs are
    within a factor of 5 in size. The published curve would only add error there: 2.1 to 3.5
    points of gain in the mean against 4.1 to 5.8 on the shipped table.

    Args:
        table: The published table, whose interpolation errors give the intervals.
        size: Where to read the curve.
        measured: The user's pairs.

    Returns:
        Three times `NO_ESTIMATE` if no two pairs enclose `size` so closely.
    """
    below = [pair for pair in measured if pair.size < size]
    above = [pair for pair in measured if pair.size > size]
    if not below or not above:
        return NO_ESTIMATE, NO_ESTIMATE, NO_ESTIMATE
    low = max(below, key=lambda pair: pair.size)
    high = min(above, key=lambda pair: pair.size)
    if log_ratio(high.size, low.size) > _WIDEST_BRACKET:
        return NO_ESTIMATE, NO_ESTIMATE, NO_ESTIMATE
    errors, gain_errors = (
        conformal_quantile(leave_one_size_out_errors(table, gains=gains)) for gains in (False, True)
    )
    found: list[Estimate] = []
    for first, second in ((low.ift, high.ift), (low.reasoning, high.reasoning)):
        if first.value is None or second.value is None:
            return NO_ESTIMATE, NO_ESTIMATE, NO_ESTIMATE
        value = interpolate({low.size: first.value, high.size: second.value}, size)
        sampling = Z * max(first.sd, second.sd)
        spread = expit(logit(value) + errors) - expit(logit(value) - errors)
        refs = tuple(dict.fromkeys((*first.refs, *second.refs)))
        found.append(around(value, math.hypot(spread / 2, sampling), "interpolated", refs))
    ift, reasoning = found
    gain = (reasoning.value or 0.0) - (ift.value or 0.0)
    sampling = Z * max(math.hypot(pair.ift.sd, pair.reasoning.sd) for pair in (low, high))
    refs = tuple(dict.fromkeys((*ift.refs, *reasoning.refs)))
    half = math.hypot(gain_errors, sampling)
    return ift, reasoning, around(gain, half, "interpolated", refs, lowest=-1.0)


def prior_gain(
    table: PublishedTable, corpora: Sequence[PublishedCorpus], task_type: str, size: ModelSize
) -> Estimate:
    """Return what the published corpora say about the gain on another corpus: next to nothing.

    The mean of their gains, with the conformal quantile of the distance between two corpora over
    all sizes and task types (36 points). The distance shrinks with size, from 40 points at most
    at 0.5B to 10 at 14B, but it is that of one pair of corpora: another may lie farther off, so
    nothing narrower is claimed. Good for telling what loses least and what is worth measuring.
    """
    gains = [gain_at(table, corpus, task_type, size) for corpus in corpora]
    values = [gain.value for gain in gains if gain.value is not None]
    errors = _corpus_errors(table.rows)
    if not values or not errors:
        return NO_ESTIMATE
    refs = tuple(dict.fromkeys(ref for gain in gains for ref in gain.refs))
    mean = sum(values) / len(values)
    return around(mean, conformal_quantile(errors), "transferred", refs, lowest=-1.0)


@lru_cache(maxsize=16)
def _corpus_errors(rows: tuple[PublishedRow, ...]) -> tuple[float, ...]:
    """Return the distances between two corpora's gains, sorted."""
    curves = curves_of(rows)
    corpora = dict.fromkeys(row.corpus for row in rows)
    errors: list[float] = []
    for task_type in dict.fromkeys(row.task_type for row in rows):
        for size in sorted({row.size for row in rows}):
            gains = [
                curves[corpus, task_type, "reasoning"][size]
                - curves[corpus, task_type, "ift"][size]
                for corpus in corpora
            ]
            errors += [abs(a - b) for a, b in combinations(gains, 2)]
    return tuple(sorted(errors))


def carrying_sd(table: PublishedTable, size: ModelSize) -> float | None:
    """Return how uncertain a gain carried up to `size` is, as the sd of a normal law.

    Returns:
        `None` if the table has one corpus only, so that nothing is known about carrying.
    """
    if not transfer_errors(table):
        return None
    return _carrying_quantile(table, nominal_size(table, size), gains=True) / Z


def transfer_errors(table: PublishedTable, *, gains: bool = True) -> tuple[float, ...]:
    """Return absolute errors of carrying one pair upward from corpus to corpus, sorted.

    Each corpus in turn is the user's and another the published one; the pair at each size
    predicts every larger size of each task type.

    Args:
        table: The published table, two corpora or more.
        gains: Errors of reasoning minus IFT; else of each accuracy.

    Returns:
        Errors in [0, 1]; 80 gains or 160 accuracies for the shipped table.
    """
    cases = _carried_cases(table.rows)
    if gains:
        return tuple(sorted(abs(case.gain_error) for case in cases))
    return tuple(sorted(abs(miss) for case in cases for miss in (case.ift, case.reasoning)))


class SignCount(NamedTuple):
    """How often a sign was right.

    Attributes:
        n_right: Right ones.
        n: All.
    """

    n_right: int
    n: int


def transfer_signs(table: PublishedTable) -> SignCount:
    """Return how often a gain that was carried upward had the right sign."""
    cases = _carried_cases(table.rows)
    return SignCount(sum(case.is_sign_right for case in cases), len(cases))


def prior_signs(table: PublishedTable) -> SignCount:
    """Return how often the sign of one corpus's gain was right for another, nothing carried."""
    curves = curves_of(table.rows)
    right = n = 0
    for own, published in permutations(table.corpora, 2):
        for task_type in table.task_types:
            for size in table.sizes:
                gains = [
                    curves[corpus, task_type, "reasoning"][size]
                    - curves[corpus, task_type, "ift"][size]
                    for corpus in (own, published)
                ]
                right += gains[0] * gains[1] > 0
                n += 1
    return SignCount(right, n)


def _carrying_quantile(table: PublishedTable, target: ModelSize, *, gains: bool) -> float:
    """Return the conformal quantile of carrying errors, over all sizes or those near the target.

    The larger of the two: errors at 7B are larger than those at 14B, and 79% of them would lie
    within the quantile over all sizes.
    """
    near = set(_near(table, target))
    errors: list[float] = []
    for case in _carried_cases(table.rows):
        if case.large in near:
            errors += [case.gain_error] if gains else [case.ift, case.reasoning]
    there = conformal_quantile(sorted(map(abs, errors))) if errors else 0.0
    return max(there, conformal_quantile(transfer_errors(table, gains=gains)))


def _near(table: PublishedTable, size: ModelSize) -> tuple[ModelSize, ...]:
    """Return the printed size, or the two around a size between."""
    if size in table.sizes:
        return (size,)
    below = [one for one in table.sizes if one < size]
    above = [one for one in table.sizes if one > size]
    return (*below[-1:], *above[:1])


class _Case(NamedTuple):
    """One pair carried upward in the shipped table, and how far it missed.

    Attributes:
        large: Size it was carried to.
        ift: Predicted minus true accuracy of direct answers.
        reasoning: The same of reasoning.
        is_sign_right: Whether the predicted gain has the true sign.
    """

    large: ModelSize
    ift: float
    reasoning: float
    is_sign_right: bool

    @property
    def gain_error(self) -> float:
        return self.reasoning - self.ift


@lru_cache(maxsize=16)
def _carried_cases(rows: tuple[PublishedRow, ...]) -> tuple[_Case, ...]:
    curves = curves_of(rows)
    corpora = dict.fromkeys(row.corpus for row in rows)
    sizes = sorted({row.size for row in rows})
    weight = _BETWEEN_CORPORA / (_BETWEEN_CORPORA + _WITHIN_CORPUS)
    cases: list[_Case] = []
    for own, published in permutations(corpora, 2):
        for task_type in dict.fromkeys(row.task_type for row in rows):
            for small, large in combinations(sizes, 2):
                moved = weight * math.exp(-log_ratio(large, small) / _DECAY)
                guesses: list[float] = []
                truths: list[float] = []
                for recipe in ("ift", "reasoning"):
                    mine = curves[own, task_type, recipe]
                    theirs = curves[published, task_type, recipe]
                    offset = logit(mine[small]) - logit(theirs[small])
                    guesses.append(expit(logit(theirs[large]) + moved * offset))
                    truths.append(mine[large])
                right = (guesses[1] - guesses[0]) * (truths[1] - truths[0]) > 0
                cases.append(_Case(large, guesses[0] - truths[0], guesses[1] - truths[1], right))
    return tuple(cases)


class _Carried(NamedTuple):
    """A published curve moved by the user's cells, at one size.

    Attributes:
        value: Accuracy.
        sd: What the sampling error of the user's cells adds to its uncertainty.
        refs: Figures used.
    """

    value: float
    sd: float
    refs: tuple[EvidenceRef, ...]


def _carry(
    table: PublishedTable,
    corpora: Sequence[PublishedCorpus],
    task_type: str,
    target: ModelSize,
    recipe: PublishedRecipe,
    below: Sequence[Measured],
) -> _Carried | None:
    prior = _prior(table, corpora, task_type, recipe, target)
    if prior is None:
        return None
    offsets: list[float] = []
    variances: list[float] = []
    refs: list[EvidenceRef] = [*prior.refs]
    for pair in below:
        own = pair.ift if recipe == "ift" else pair.reasoning
        there = _prior(table, corpora, task_type, recipe, pair.size)
        if there is None or own.value is None or own.low is None or own.high is None:
            return None
        decay = math.exp(-log_ratio(target, nominal_size(table, pair.size)) / _DECAY)
        offsets.append(decay * (logit(own.value) - there.logit))
        variances.append(((logit(own.high) - logit(own.low)) / (2 * Z)) ** 2)
        refs += [*there.refs, *own.refs]
    if not offsets:
        return None
    n = len(offsets)
    within = _WITHIN_CORPUS + sum(variances) / n
    weight = n * _BETWEEN_CORPORA / (n * _BETWEEN_CORPORA + within)
    value = expit(prior.logit + weight * sum(offsets) / n)
    sd = value * (1.0 - value) * weight * math.sqrt(sum(variances)) / n
    return _Carried(value, sd, tuple(dict.fromkeys(refs)))


class _Prior(NamedTuple):
    """The mean published curve at one size: its logit and the figures it comes from."""

    logit: float
    refs: tuple[EvidenceRef, ...]


def _prior(
    table: PublishedTable,
    corpora: Sequence[PublishedCorpus],
    task_type: str,
    recipe: PublishedRecipe,
    size: ModelSize,
) -> _Prior | None:
    """Return the mean published logit at a size, `None` where nothing is published."""
    found = [accuracy_at(table, corpus, task_type, recipe, size) for corpus in corpora]
    values = [estimate.value for estimate in found if estimate.value is not None]
    if not values or len(values) < len(found):
        return None
    refs = tuple(ref for estimate in found for ref in estimate.refs)
    return _Prior(sum(logit(value) for value in values) / len(values), refs)
