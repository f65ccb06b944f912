"""Predictions for every question by routers that never saw its group: the costly part, done once."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from policies import UnknownNameError

from .._decision import choose
from .._objective import CostUnit, Objective, Price
from .._outcomes import OutcomeMatrix
from .._router import Router
from ..cascade._cascade import Cascade
from ..model._fit import group_folds
from ._baselines import BASELINES

__all__ = ["HINT_LAYERS", "Foresight", "Predicted", "Progress", "cross_fit", "predict_fresh"]

HINT_LAYERS = ("global rate", "text", "task type given", "task given")
"""What a prediction may know, from nothing about the question to the name of its task."""

Progress = Callable[[int, int], None]
"""Called with the number of fits that are done and of all."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Foresight(NamedTuple):
    """What was expected of every arm on every question.

    Attributes:
        p: Probability of a correct answer, shape `(n_questions, n_arms)`.
        cost: Expected cost in the unit of the objective, same shape.
        tokens: Expected generated tokens, same shape.
    """

    p: Floats
    cost: Floats
    tokens: Floats


@dataclass(frozen=True, slots=True)
class Predicted:
    """All that was known of the questions without their outcomes.

    Attributes:
        layers: Expectations by hint layer; `text` is how a router is asked by default.
        own_choice: Arm by the objective of each fold's router, shape `(n_questions,)`.
        baselines: Arm by each baseline that learns, shapes `(n_questions,)`.
        objectives: Objective of each router.
        unit: Unit of the costs.
        n_folds: Folds; the baselines of a given router are cross-validated too.
        folds: Questions of each router; empty if nobody asks for cascades.
        cascades: What each router does with evidence, `None` for nothing.
    """

    layers: Mapping[str, Foresight]
    own_choice: Ints
    baselines: Mapping[str, Ints]
    objectives: tuple[Objective, ...]
    unit: CostUnit
    n_folds: int
    folds: tuple[Ints, ...] = ()
    cascades: tuple[Cascade | None, ...] = ()

    @property
    def text(self) -> Foresight:
        """What the router expects from the text alone."""
        return self.layers["text"]


class FitOptions(NamedTuple):
    """How the router of each fold is fitted; see `Router.fit`."""

    seed: int
    objective: Objective | None
    unit: CostUnit | None
    prices: Mapping[str, Price] | None


def cross_fit(
    matrix: OutcomeMatrix,
    *,
    n_folds: int,
    reference: int,
    margin: float,
    options: FitOptions,
    progress: Progress | None = None,
) -> Predicted:
    """Fit a router and the baselines on all folds but one, and predict that one, for each fold.

    Args:
        matrix: All outcomes; gaps are fine.
        n_folds: Number of folds; groups are never split.
        reference: Column of the reference arm.
        margin: Accuracy that baselines may lose against it.
        options: How to fit.
        progress: Called after each fit.
    """
    folds = group_folds(matrix.groups, n_folds, np.random.default_rng(options.seed))
    made = _Collected(matrix)
    for done, fold in enumerate(folds, start=1):
        train = matrix.rows(np.setdiff1d(np.arange(matrix.n_questions), fold))
        test = matrix.rows(fold)
        router = Router.fit(
            train,
            seed=options.seed,
            objective=options.objective,
            unit=options.unit,
            prices=options.prices,
        )
        made.add_router(fold, test, router)
        made.add_global_rate(fold, train)
        made.add_baselines(fold, train, test, reference, margin)
        if progress is not None:
            progress(done, len(folds))
    return made.result(len(folds))


def predict_fresh(
    matrix: OutcomeMatrix,
    router: Router,
    *,
    n_folds: int,
    reference: int,
    margin: float,
    seed: int,
) -> Predicted:
    """Predict all questions by one router that exists; only the baselines are cross-validated.

    They learn from the fresh outcomes, which is more than the router may.

    Args:
        matrix: Outcomes of the arms of the router, in any order.
        router: The router.
        n_folds: Folds of the baselines.
        reference: Column of the reference arm.
        margin: Accuracy that baselines may lose against it.
        seed: Seed of the folds.
    """
    made = _Collected(matrix)
    made.add_router(np.arange(matrix.n_questions), matrix, router)
    folds = group_folds(matrix.groups, n_folds, np.random.default_rng(seed))
    for fold in folds:
        train = matrix.rows(np.setdiff1d(np.arange(matrix.n_questions), fold))
        made.add_global_rate(fold, train)
        made.add_baselines(fold, train, matrix.rows(fold), reference, margin)
    return made.result(len(folds))


class _Collected:
    """Arrays that are filled fold by fold."""

    def __init__(self, matrix: OutcomeMatrix) -> None:
        shape = (matrix.n_questions, len(matrix.arms))
        self._names = [arm.name for arm in matrix.arms]
        self._layers = {
            name: Foresight(*(np.full(shape, np.nan) for _ in range(3))) for name in HINT_LAYERS
        }
        self._own = np.zeros(matrix.n_questions, dtype=np.int64)
        self._baselines = {
            baseline.name: np.zeros(matrix.n_questions, dtype=np.int64) for baseline in BASELINES
        }
        self._objectives: list[Objective] = []
        self._folds: list[Ints] = []
        self._cascades: list[Cascade | None] = []

    def add_router(self, fold: Ints, test: OutcomeMatrix, router: Router) -> None:
        self._objectives.append(router.objective)
        self._folds.append(fold)
        self._cascades.append(self._cascade_of(router))
        by_text = self._foresee(router, test.prompts, None)
        self._store("text", fold, by_text)
        self._own[fold] = choose(by_text.p, by_text.cost, router.objective)[0]
        hints = {"task type given": test.task_types, "task given": test.tasks}
        known = by_text
        for layer, names in hints.items():
            # What the router does not know falls back to the layer before.
            known = self._with_hints(router, test.prompts, names, known)
            self._store(layer, fold, known)

    def _cascade_of(self, router: Router) -> Cascade | None:
        # It knows arms by position.
        is_same = [arm.name for arm in router.arms] == self._names
        return router.cascade if is_same else None

    def _with_hints(
        self, router: Router, prompts: Sequence[str], hints: Sequence[str], before: Foresight
    ) -> Foresight:
        after = Foresight(*(values.copy() for values in before))
        labels = np.array(hints)
        for hint in sorted(set(hints)):
            rows: list[int] = np.flatnonzero(labels == hint).tolist()
            try:
                found = self._foresee(router, [prompts[row] for row in rows], hint)
            except UnknownNameError:
                continue
            for into, values in zip(after, found, strict=True):
                into[rows] = values
        return after

    def _foresee(self, router: Router, prompts: Sequence[str], task: str | None) -> Foresight:
        predictions = router.predict(prompts, task)
        cost = router.expected_cost(predictions, Objective.trade(0.0, self._objectives[0].unit))
        of_router = [arm.name for arm in router.arms]
        columns = [of_router.index(name) for name in self._names]
        return Foresight(
            predictions.p_correct[:, columns], cost[:, columns], predictions.tokens[:, columns]
        )

    def _store(self, layer: str, fold: Ints, values: Foresight) -> None:
        for into, part in zip(self._layers[layer], values, strict=True):
            into[fold] = part

    def add_global_rate(self, fold: Ints, train: OutcomeMatrix) -> None:
        known = train.is_measured
        counts = known.sum(axis=0)
        right = np.where(known, train.correct, 0.0).sum(axis=0)
        has_tokens = ~np.isnan(train.tokens)
        spent = np.where(has_tokens, train.tokens, 0.0).sum(axis=0)
        # Half an outcome of each kind keeps the log loss finite.
        p = (right + 0.5) / (counts + 1.0)
        tokens = spent / np.maximum(has_tokens.sum(axis=0), 1)
        self._store("global rate", fold, Foresight(p, tokens, tokens))

    def add_baselines(
        self, fold: Ints, train: OutcomeMatrix, test: OutcomeMatrix, reference: int, margin: float
    ) -> None:
        for baseline in BASELINES:
            self._baselines[baseline.name][fold] = baseline.choose(train, test, reference, margin)

    def result(self, n_folds: int) -> Predicted:
        return Predicted(
            layers=self._layers,
            own_choice=self._own,
            baselines=self._baselines,
            objectives=tuple(self._objectives),
            unit=self._objectives[0].unit,
            n_folds=n_folds,
            folds=tuple(self._folds),
            cascades=tuple(self._cascades),
        )
