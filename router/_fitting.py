"""From outcomes to everything that a router consists of."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from calibration import OutcomeRecord
from policies import DecodingOptions, InvalidInputError, NoGuaranteeError
from policies.embedding import Embedder

from ._artifact import canonical_json
from ._certification import certify
from ._completion import BackendSpec
from ._decision import check_known, choose, cost_of_arms
from ._document import FEATURE_VERSIONS, DataDocument, RouterDocument
from ._guarantee import Guarantee, MeasuredCost
from ._members import model_to_members
from ._objective import CostUnit, Objective, Price
from ._outcomes import OutcomeMatrix
from ._reference_arm import find_arm
from ._selection import candidate_tradeoffs, select_tradeoff
from .cascade._cascade import Cascade
from .cascade._cascade_fit import fit_cascade
from .cascade._cascade_parameters import CASCADE_MEMBER, CascadeParameters
from .feedback._drift_reference import DRIFT_MEMBER, DriftReference, words_known_without_one
from .model._embedding import fit_projection
from .model._fit import FittedModel, fit_model
from .model._folds import group_folds
from .model._model import OutcomeModel, Predictions

__all__ = ["FittedRouter", "Promise", "fit_router"]

_CALIBRATION_SHARE = 0.4
_N_RULES = 40
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Promise(NamedTuple):
    """What a router is asked to guarantee.

    Attributes:
        max_loss: Largest accuracy that may be lost against the reference, in [0, 1).
        confidence: Probability of keeping it, in (0, 1).
        reference: The reference arm by name, or by its policy if that is unique; the most
            accurate arm of the fitting questions if `None`.
        max_cost_share: Largest mean cost, as a share of the reference's, to be guaranteed too.
    """

    max_loss: float
    confidence: float
    reference: str | None = None
    max_cost_share: float | None = None


def asked_promise(
    max_loss: float | None,
    confidence: float,
    reference: str | None,
    max_cost_share: float | None,
    objective: Objective | None,
) -> Promise | None:
    """Return the promise that a caller's arguments ask for, `None` for none.

    Raises:
        InvalidInputError: They contradict each other.
    """
    if max_loss is not None:
        if objective is not None:
            raise InvalidInputError(
                "max_loss chooses the objective, and one was given",
                hint="leave one of them out",
            )
        return Promise(max_loss, confidence, reference, max_cost_share)
    if reference is not None or max_cost_share is not None:
        raise InvalidInputError(
            f"reference={reference!r} and max_cost_share={max_cost_share!r} without max_loss: "
            "nothing is guaranteed without it",
            hint="give max_loss, or leave them out",
        )
    return None


class FittedRouter(NamedTuple):
    """The content of a router artifact.

    Attributes:
        document: The manifest.
        members: The model.
    """

    document: RouterDocument
    members: dict[str, bytes]


def fit_router(  # noqa: PLR0913 - what `Router.fit` takes
    records: Iterable[OutcomeRecord] | OutcomeMatrix,
    *,
    seed: int,
    objective: Objective | None,
    unit: CostUnit | None,
    backends: Mapping[str, BackendSpec | Mapping[str, Any]],
    prices: Mapping[str, Price],
    options: DecodingOptions | None,
    created: datetime | None,
    promise: Promise | None,
    embedder: Embedder | None,
) -> FittedRouter:
    """Fit a router's model, default objective, guarantee and cascade; see `Router.fit`.

    With a promise, two fifths of the groups are held back from everything else and only certify.

    Raises:
        InvalidInputError: The records contradict each other or hold no graded outcome.
        NoGuaranteeError: The outcomes do not support the promise.
    """
    matrix = records if isinstance(records, OutcomeMatrix) else OutcomeMatrix.from_records(records)
    everything = np.arange(matrix.n_questions)
    held_back = np.zeros(0, dtype=np.int64)
    if promise is not None:
        _check(promise, matrix)
        held_back = _held_back(matrix, np.random.default_rng([seed, 1]))
    fitting = matrix.rows(np.setdiff1d(everything, held_back))
    projection = None if embedder is None else fit_projection(embedder, fitting.prompts, seed)
    fitted = fit_model(
        fitting, seed=seed, extra=None if projection is None else projection.features
    )
    parameters, rows = fitted.parameters, fitted.out_of_fold.rows
    sample = fitting.rows(rows)
    expected = _predictions(fitted)
    if unit is None:
        unit = "tokens" if np.isnan(parameters.flops_per_token).any() else "flops"
    if objective is None:
        objective = _default_objective(expected, sample, unit, prices)
    cascade = fit_cascade(expected.p_correct, sample, seed=seed)
    guarantee = None
    if promise is not None:
        calibration = matrix.rows(held_back)
        extra = None if projection is None else projection.embedding.features(calibration.prompts)
        predicted = OutcomeModel(parameters).predict(calibration.prompts, extra=extra)
        trial = _Trial(calibration, predicted, cascade, objective.unit, prices)
        grid = _rules(cost_of_arms(expected, sample.arms, objective.unit, prices))
        objective, guarantee = trial.certify(
            grid,
            promise,
            reference=find_arm(sample.arms, promise.reference or _most_accurate(sample)),
            cap=_most_of_a_request(trial.true_cost_of(sample), cascade is not None),
            max_group_size=int(np.unique(np.array(matrix.groups), return_counts=True)[1].max()),
            seed=seed,
        )
    members = model_to_members(parameters) | {DRIFT_MEMBER: _drift_member(fitted, sample)}
    if cascade is not None:
        members[CASCADE_MEMBER] = canonical_json(cascade.to_json())
    if projection is not None:
        members |= projection.members
    specs = {name: BackendSpec.from_json(spec) for name, spec in backends.items()}
    document = RouterDocument(
        created=(created or datetime.now(UTC)).isoformat(),
        producer=_producer(),
        seed=seed,
        data=DataDocument(
            sha256=matrix.digest(),
            n_questions=matrix.n_questions,
            n_groups=len(set(matrix.groups)),
            n_fitted=sample.n_questions,
            n_calibration=len(held_back),
            n_errors=matrix.n_errors,
        ),
        arms=[arm.name for arm in parameters.arms],
        task_types=sorted({label.task_type for label in parameters.labels}),
        tasks=dict(sorted(zip(matrix.tasks, matrix.task_types, strict=True))),
        features=FEATURE_VERSIONS,
        objective=objective.to_json(),
        backends={name: spec.to_json() for name, spec in sorted(specs.items())},
        prices={name: asdict(price) for name, price in sorted(prices.items())},
        contenders=[_contender(each) for each in fitted.contenders],
        guarantee=None if guarantee is None else guarantee.to_json(),
        options=None if options is None else asdict(options),
    )
    return FittedRouter(document, members)


def _check(promise: Promise, matrix: OutcomeMatrix) -> None:
    """Refuse numbers that make no sense before the work begins."""
    share = promise.max_cost_share
    if not 0.0 <= promise.max_loss < 1.0:
        raise InvalidInputError(f"max_loss={promise.max_loss!r} is not in [0, 1)")
    if not 0.0 < promise.confidence < 1.0:
        raise InvalidInputError(
            f"confidence={promise.confidence!r} is not in (0, 1)", hint="write 0.95 for 95%"
        )
    if share is not None and not 0.0 < share < float("inf"):
        raise InvalidInputError(f"max_cost_share={share!r} is not a finite number above 0")
    if promise.reference is not None:
        find_arm(matrix.arms, promise.reference)


def _held_back(matrix: OutcomeMatrix, rng: np.random.Generator) -> Ints:
    folds = group_folds(matrix.groups, 5, rng)
    if len(folds) < 5:
        raise InvalidInputError(
            f"{len(folds)} groups of questions cannot be split to certify a guarantee",
            hint="measure more questions",
        )
    return np.sort(np.concatenate(folds[: round(5 * _CALIBRATION_SHARE)]))


def _predictions(fitted: FittedModel) -> Predictions:
    """Return the out-of-fold predictions in the form that costs are computed from."""
    p, tokens, prompt_tokens = fitted.out_of_fold[1:4]
    parameters = fitted.parameters
    return Predictions(
        p,
        tokens,
        prompt_tokens,
        (prompt_tokens + tokens) * parameters.flops_per_token,
        tokens * parameters.seconds_per_token,
        np.zeros((len(p), 0)),
    )


def _measured(matrix: OutcomeMatrix) -> Predictions:
    return Predictions(
        matrix.correct,
        matrix.tokens,
        matrix.prompt_tokens,
        matrix.flops,
        matrix.seconds,
        np.zeros((matrix.n_questions, 0)),
    )


def _default_objective(
    expected: Predictions, sample: OutcomeMatrix, unit: CostUnit, prices: Mapping[str, Price]
) -> Objective:
    cost = cost_of_arms(expected, sample.arms, unit, prices)
    check_known(cost, sample.arms, unit)
    true_cost = cost_of_arms(_measured(sample), sample.arms, unit, prices)
    return select_tradeoff(expected.p_correct, cost, sample.correct, true_cost, unit, sample.groups)


def _rules(cost: Floats) -> Floats:
    """Return the trade-offs to test, from dear to cheap, fixed before the test data are seen."""
    grid = candidate_tradeoffs(cost)
    return grid[np.linspace(0, len(grid) - 1, min(_N_RULES, len(grid))).astype(np.int64)]


class _Trial:
    """What trade-offs do on questions that nothing was tuned on."""

    def __init__(
        self,
        matrix: OutcomeMatrix,
        predicted: Predictions,
        cascade: CascadeParameters | None,
        unit: CostUnit,
        prices: Mapping[str, Price],
    ) -> None:
        self._matrix = matrix
        self._p = predicted.p_correct
        self._unit: CostUnit = unit
        self._prices = prices
        self._cascade = None if cascade is None else Cascade(cascade)
        self._cost = cost_of_arms(predicted, matrix.arms, unit, prices)
        check_known(self._cost, matrix.arms, unit)

    def true_cost_of(self, matrix: OutcomeMatrix) -> Floats:
        """Return measured costs, NaN for gaps, shape `(n_questions, n_arms)`."""
        return cost_of_arms(_measured(matrix), matrix.arms, self._unit, self._prices)

    def certify(
        self,
        grid: Floats,
        promise: Promise,
        *,
        reference: int,
        cap: float,
        max_group_size: int,
        seed: int,
    ) -> tuple[Objective, Guarantee]:
        """Return the cheapest trade-off that keeps the promise, and the guarantee.

        Raises:
            NoGuaranteeError: None does.
        """
        matrix = self._matrix
        objectives = [Objective.trade(tradeoff, self._unit) for tradeoff in grid.tolist()]
        results = [self._run(objective) for objective in objectives]
        correct = np.stack([result[0] for result in results], axis=1)
        spent = np.stack([result[1] for result in results], axis=1)
        true_cost = self.true_cost_of(matrix)[:, reference]
        loss = matrix.correct[:, [reference]] - correct
        loss[~np.isfinite(true_cost) | ~np.isfinite(spent).all(axis=1)] = np.nan
        guarantee = certify(
            loss,
            matrix.groups,
            max_loss=promise.max_loss,
            confidence=promise.confidence,
            reference=matrix.arms[reference].name,
            cost=MeasuredCost(
                np.nan_to_num(spent),
                np.nan_to_num(true_cost),
                unit=self._unit,
                cap=cap,
                max_share=promise.max_cost_share,
            ),
            max_group_size=max_group_size,
            seed=seed,
        )
        if not guarantee.holds or guarantee.index is None:
            raise NoGuaranteeError(guarantee.to_json())
        return objectives[guarantee.index], guarantee

    def _run(self, objective: Objective) -> tuple[Floats, Floats]:
        """Return share correct and cost of each question, NaN where not measured."""
        if self._cascade is not None:
            simulated = self._cascade.simulate(
                self._p,
                self._cost,
                self._matrix,
                objective,
                true_cost=self.true_cost_of(self._matrix),
            )
            return simulated.correct, simulated.cost
        rows = np.arange(self._matrix.n_questions)
        choice, _ = choose(self._p, self._cost, objective)
        return self._matrix.correct[rows, choice], self.true_cost_of(self._matrix)[rows, choice]


def _most_of_a_request(true_cost: Floats, has_cascade: bool) -> float:
    """Return the most that a request has cost on the fitting questions, of two calls if so."""
    return float(np.nanmax(true_cost)) * (2.0 if has_cascade else 1.0)


def _most_accurate(sample: OutcomeMatrix) -> str:
    complete = sample.is_complete
    correct = sample.correct[complete] if complete.any() else sample.correct
    return sample.arms[int(np.nanargmax(np.nanmean(correct, axis=0)))].name


def _drift_member(fitted: FittedModel, sample: OutcomeMatrix) -> bytes:
    """Return what the fitted prompts looked like, for the drift monitor."""
    vocabulary, labels = fitted.parameters.vocabulary, fitted.parameters.labels
    task_types = tuple(sorted({label.task_type for label in labels}))
    of_type = np.eye(len(task_types))[[task_types.index(label.task_type) for label in labels]]
    reference = DriftReference.measure(
        sample.prompts,
        groups=sample.groups,
        # A model knows the words of its own questions too well.
        known_words=words_known_without_one(vocabulary.words, vocabulary.idf, sample.n_questions),
        posteriors=fitted.out_of_fold.posterior @ of_type,
        task_types=task_types,
    )
    return reference.to_bytes()


def _contender(contender: Any) -> dict[str, Any]:
    document = contender._asdict()
    document["learners"] = list(contender.learners)
    document["loss"] = None if np.isnan(contender.loss) else contender.loss
    return document


def _producer() -> str:
    try:
        return f"thinkroute {version('thinkroute')}"
    except PackageNotFoundError:
        return "thinkroute (not installed)"
