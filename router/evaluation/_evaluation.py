"""Does routing pay? Held-out accuracy and cost beside every baseline that could do it."""

import logging
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from calibration import OutcomeRecord
from policies import InvalidInputError, UnknownNameError

from .._arms import Arm
from .._objective import CostUnit, Objective, Price
from .._outcomes import OutcomeMatrix
from .._router import Router
from .._selection import MAX_LOSS
from ._assessment import Assessment
from ._baselines import most_accurate_arm
from ._comparable import arms_in_common, with_arms
from ._crossfit import FitOptions, Progress, cross_fit, predict_fresh
from ._evaluation_result import Comparison, CurveRow, Evaluation
from ._headline import Headline
from ._hints import HintLayer
from ._metrics import Metrics
from ._noise import NoiseCeiling
from ._realised import EvaluationRow, comparable_cells
from ._reliability import Reliability

__all__ = [
    "Comparison",
    "CurveRow",
    "Evaluation",
    "EvaluationRow",
    "Headline",
    "HintLayer",
    "Metrics",
    "NoiseCeiling",
    "Reliability",
    "evaluate",
]

_MIN_COMPLETE_GROUPS = 2
_LOG = logging.getLogger("thinkroute.router")
_LOG.addHandler(logging.NullHandler())


# All but the first are keywords that stand for an option of the command each.
def evaluate(  # noqa: PLR0913
    records: Iterable[OutcomeRecord] | OutcomeMatrix,
    *,
    reference: str | None = None,
    margin: float = MAX_LOSS,
    confidence: float = 0.95,
    n_folds: int = 5,
    seed: int = 0,
    objective: Objective | None = None,
    unit: CostUnit | None = None,
    prices: Mapping[str, Price] | None = None,
    router: Router | None = None,
    n_resamples: int = 1000,
    progress: Progress | None = None,
) -> Evaluation:
    """Judge routing on questions that the router was not fitted on; deterministic for a seed.

    By default routers are fitted and judged by cross-validation, in which no group of questions
    is on both sides; where too few questions have an answer of every arm, arms are left out, and
    the result names them. A `router` that exists is judged on the outcomes as they are: give it fresh
    ones.

    Args:
        records: Outcomes of every arm. Of records, a given router ignores arms it does not know.
        reference: Arm to compare with, `model:policy`, or its policy alone where that is unique;
            by default the most accurate arm.
        margin: Accuracy that may be lost against it, in [0, 1).
        confidence: One-sided confidence of the headline, in (0.5, 1).
        n_folds: Number of folds, at least 2.
        seed: Seed of the folds, of each fit and of the bootstrap.
        objective: The router's; by default each fold chooses its trade-off as `Router.fit` does.
        unit: Cost unit of that default.
        prices: US dollars per token by model, for the unit `usd`.
        router: A fitted router to judge in the place of cross-validation.
        n_resamples: Bootstrap resamples of each interval, at least 100.
        progress: Called with the number of folds done and of all.

    Raises:
        InvalidInputError: The records contradict each other, there are too few groups or
            questions on which every arm was measured, an arm of the router was not measured, or
            a number is out of its range.
        UnknownNameError: There is no such reference arm.

    Example:
        >>> result = evaluate(records, reference="reasoning@max")  # doctest: +SKIP
        >>> result.headline.tokens_saved  # doctest: +SKIP
        0.61
    """
    _check(margin, confidence, n_folds, n_resamples)
    matrix = _matrix(records, router)
    needed = _MIN_COMPLETE_GROUPS if router is not None else max(n_folds, _MIN_COMPLETE_GROUPS)
    left_out: tuple[str, ...] = ()
    if router is None:
        matrix, left_out = _comparable(matrix, reference, needed)
    cells = comparable_cells(matrix)
    complete = matrix.rows(np.logical_and.reduce(cells, axis=1))
    n_groups = len(set(complete.groups))
    if n_groups < needed:
        raise InvalidInputError(
            f"{n_folds} folds need {needed} groups of questions on which every arm was measured, "
            f"with its tokens; there are {n_groups} ({_coverage(matrix, cells)})",
            hint="measure more questions, use fewer folds, or leave out arms with many gaps",
        )
    column = most_accurate_arm(complete) if reference is None else _find_arm(reference, matrix.arms)
    if router is None:
        predicted = cross_fit(
            matrix,
            n_folds=n_folds,
            reference=column,
            margin=margin,
            options=FitOptions(seed, objective, unit, prices),
            progress=progress,
        )
    else:
        predicted = predict_fresh(
            matrix, router, n_folds=n_folds, reference=column, margin=margin, seed=seed
        )
    return Assessment(
        matrix,
        predicted,
        reference=column,
        margin=margin,
        confidence=confidence,
        n_resamples=n_resamples,
        seed=seed,
        n_seen=None if router is None else int(np.count_nonzero(router.seen(matrix.prompts))),
        left_out=left_out,
    ).result()


def _comparable(
    matrix: OutcomeMatrix, reference: str | None, n_groups: int
) -> tuple[OutcomeMatrix, tuple[str, ...]]:
    """Return the outcomes of the arms that can be compared, and the names of the others."""
    column = None if reference is None else _find_arm(reference, matrix.arms)
    kept = arms_in_common(matrix, column, n_groups)
    if len(kept) == len(matrix.arms):
        return matrix, ()
    left_out = tuple(arm.name for place, arm in enumerate(matrix.arms) if place not in kept)
    cut = with_arms(matrix, kept)
    complete = cut.rows(np.logical_and.reduce(comparable_cells(cut), axis=1))
    if len(set(complete.groups)) < n_groups:
        return matrix, ()  # leaving arms out does not help: say what is missing of all of them
    _LOG.warning("left out, to have questions with all arms: %s", ", ".join(left_out))
    return cut, left_out


def _check(margin: float, confidence: float, n_folds: int, n_resamples: int) -> None:
    if not 0.0 <= margin < 1.0:
        raise InvalidInputError(
            f"margin is {margin!r}, expected a share of the questions in [0, 1)",
            hint="one point is 0.01",
        )
    if not 0.5 < confidence < 1.0:
        raise InvalidInputError(f"confidence is {confidence!r}, expected a number in (0.5, 1)")
    if n_folds < 2:
        raise InvalidInputError(f"{n_folds} folds: expected 2 or more")
    if n_resamples < 100:
        raise InvalidInputError(f"n_resamples is {n_resamples!r}, expected 100 or more")


def _matrix(
    records: Iterable[OutcomeRecord] | OutcomeMatrix, router: Router | None
) -> OutcomeMatrix:
    """Return the outcomes; for a given router those of its arms, which must all be there."""
    known = None if router is None else {arm.name for arm in router.arms}
    if isinstance(records, OutcomeMatrix):
        matrix = records
    elif known is None:
        matrix = OutcomeMatrix.from_records(records)
    else:
        matrix = OutcomeMatrix.from_records(record for record in records if _name(record) in known)
    measured = {arm.name for arm in matrix.arms}
    if known is not None and measured != known:
        odd = ", ".join(sorted(measured ^ known))
        raise InvalidInputError(
            f"the router's arms and the measured ones differ in {odd}",
            hint="measure every arm of the router on the fresh questions",
        )
    return matrix


def _name(record: OutcomeRecord) -> str:
    return Arm.parse(record.model, record.policy, record.size).name


def _find_arm(name: str, arms: tuple[Arm, ...]) -> int:
    """Return the column of an arm given by its name, or by its policy if that is unique."""
    names = [arm.name for arm in arms]
    if name in names:
        return names.index(name)
    meant = [column for column, arm in enumerate(arms) if arm.policy == name]
    if len(meant) > 1:
        choices = " or ".join(names[column] for column in meant)
        raise InvalidInputError(
            f"{name!r} was measured with {len(meant)} models", hint=f"write {choices}"
        )
    if not meant:
        policies = {arm.policy for arm in arms}
        raise UnknownNameError("arm", name, {*names, *policies} if ":" not in name else names)
    return meant[0]


def _coverage(matrix: OutcomeMatrix, cells: NDArray[np.bool_]) -> str:
    counts = cells.sum(axis=0).tolist()
    sparse = sorted(zip(counts, (arm.name for arm in matrix.arms), strict=True))[:3]
    fewest = ", ".join(f"{name} on {count:,}" for count, name in sparse)
    return f"{matrix.n_questions:,} questions; fewest: {fewest}"
