"""The router: fit it from outcomes, save it, ask it for decisions and completions."""

import hashlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import perf_counter
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from calibration import OutcomeRecord
from policies import (
    ArtifactCorruptError,
    ArtifactError,
    ArtifactTooNewError,
    Backend,
    DecodingOptions,
    InvalidInputError,
    Message,
    build_policy,
    require,
    user_message,
)

from ._arms import Arm
from ._artifact import canonical_json, read_artifact, write_artifact
from ._completion import BackendPool, BackendSpec, RoutedCompletion
from ._decision import Candidate, Decision, check_known, choose, cost_of_arms, explain
from ._document import FEATURE_VERSIONS, DataDocument, RouterDocument
from ._fit import fit_model
from ._members import model_from_members, model_to_members
from ._model import OutcomeModel, Predictions
from ._objective import CostUnit, Objective, Price
from ._outcomes import OutcomeMatrix
from ._selection import select_tradeoff
from ._sync import run_sync
from .features.task_type import resolve_hint

__all__ = ["Router"]

KIND = "router"
SCHEMA_VERSION = 1
_LOG = logging.getLogger("thinkroute.router")
_LOG.addHandler(logging.NullHandler())


class Router:
    """Chooses model and policy for a prompt, and runs the choice.

    Build one with `Router.fit` or `Router.load`. Immutable and safe to share among threads;
    decisions are deterministic.
    """

    def __init__(
        self,
        document: RouterDocument,
        members: Mapping[str, bytes],
        *,
        backends: Mapping[str, Backend] | None = None,
    ) -> None:
        """Build from the content of an artifact; `fit` and `load` do this for you.

        Args:
            document: What the manifest says.
            members: The model.
            backends: Backends by model name, used instead of the stored descriptions.

        Raises:
            ArtifactCorruptError: Manifest and members do not fit each other.
            ArtifactTooNewError: The features are of a newer version.
            ArtifactError: The features are of an older version.
        """
        _check_features(document.features)
        self._document = document
        self._members = dict(members)
        self._model: OutcomeModel = model_from_members(members)
        self.arms: tuple[Arm, ...] = self._model.parameters.arms
        """The arms it chooses from."""
        self.task_types: tuple[str, ...] = self._model.parameters.task_types
        """The task types it tells apart."""
        self._names = [arm.name for arm in self.arms]
        self._features_version = document.features_version
        parameters = self._model.parameters
        self._without_flops = np.flatnonzero(np.isnan(parameters.flops_per_token)).tolist()
        self._without_seconds = np.flatnonzero(np.isnan(parameters.seconds_per_token)).tolist()
        if (document.arms, document.task_types) != (self._names, list(self.task_types)):
            raise ArtifactCorruptError(
                "manifest and 'model.json' name different arms or task types"
            )
        try:
            self.objective: Objective = Objective.from_json(document.objective)
            """The default objective."""
            self._prices = {name: Price(**price) for name, price in document.prices.items()}
            self._options = DecodingOptions(**(document.options or {}))
            specs = {name: BackendSpec.from_json(x) for name, x in document.backends.items()}
        except (InvalidInputError, TypeError) as error:
            raise ArtifactCorruptError(f"'manifest.json': {error}") from error
        self.artifact_id: str = _content_id(document, members)
        """Hash of everything that decides, equal before saving and after loading."""
        self._backends = BackendPool(backends or {}, specs)

    @classmethod
    def fit(
        cls,
        records: Iterable[OutcomeRecord] | OutcomeMatrix,
        *,
        seed: int = 0,
        objective: Objective | None = None,
        unit: CostUnit | None = None,
        backends: Mapping[str, BackendSpec | Mapping[str, Any]] | None = None,
        prices: Mapping[str, Price] | None = None,
        options: DecodingOptions | None = None,
        created: datetime | None = None,
    ) -> Self:
        """Fit a router from measured outcomes; deterministic for a seed.

        Args:
            records: Outcomes of every arm to choose from; gaps are fine.
            seed: Seed of all splits and of the trees.
            objective: Default objective. By default the trade-off that is cheapest on held-back
                questions while losing about one point at most against the best fixed arm.
            unit: Cost unit of that default; FLOPs where all arms' were measured, else tokens.
            backends: How each model is reached, `{"m": {"backend": "openai", "options": {}}}`.
            prices: US dollars per token by model, for the cost unit `usd`.
            options: How the outcomes were decoded; the router decodes the same way.
            created: Time to write into the artifact, now by default.

        Raises:
            InvalidInputError: The records contradict each other or hold no graded outcome.

        Example:
            >>> router = Router.fit(records)  # doctest: +SKIP
            >>> router.decide("What is 17 * 24?").policy  # doctest: +SKIP
            'reasoning@1024'
        """
        is_matrix = isinstance(records, OutcomeMatrix)
        matrix = records if is_matrix else OutcomeMatrix.from_records(records)
        parameters, held_back = fit_model(matrix, seed=seed)
        if unit is None:
            unit = "tokens" if np.isnan(parameters.flops_per_token).any() else "flops"
        if objective is None:
            model = OutcomeModel(parameters)
            objective = _default_objective(model, matrix.rows(held_back), unit, prices or {})
        specs = {name: BackendSpec.from_json(spec) for name, spec in (backends or {}).items()}
        document = RouterDocument(
            created=(created or datetime.now(UTC)).isoformat(),
            producer=_producer(),
            seed=seed,
            data=DataDocument(
                sha256=matrix.digest(),
                n_questions=matrix.n_questions,
                n_groups=len(set(matrix.groups)),
                n_calibration=len(held_back),
                n_errors=matrix.n_errors,
            ),
            arms=[arm.name for arm in parameters.arms],
            task_types=list(parameters.task_types),
            tasks=dict(sorted(zip(matrix.tasks, matrix.task_types, strict=True))),
            features=FEATURE_VERSIONS,
            objective=objective.to_json(),
            backends={name: spec.to_json() for name, spec in sorted(specs.items())},
            prices={name: asdict(price) for name, price in sorted((prices or {}).items())},
            options=None if options is None else asdict(options),
        )
        return cls(document, model_to_members(parameters))

    @classmethod
    def load(cls, path: str | Path, *, backends: Mapping[str, Backend] | None = None) -> Self:
        """Load a router that `save` wrote; needs neither scikit-learn nor LightGBM.

        Args:
            path: The artifact's folder.
            backends: Backends by model name, used instead of the stored descriptions.

        Raises:
            ArtifactError: There is no artifact, or one of another kind.
            ArtifactTooNewError: A newer version wrote it.
            ArtifactCorruptError: A byte was changed, or a member is missing or added.
        """
        artifact = read_artifact(Path(path), kind=KIND, schema_version=SCHEMA_VERSION)
        try:
            document = RouterDocument.model_validate(dict(artifact.body))
        except ValidationError as error:
            raise ArtifactCorruptError(f"'manifest.json': {error}") from error
        return cls(document, artifact.members, backends=backends)

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write the router as an artifact folder, whole or not at all.

        Args:
            path: The folder to create.
            overwrite: Whether a router that is already there is replaced.

        Raises:
            ArtifactError: There is something at `path` that may not be replaced.
        """
        write_artifact(
            Path(path),
            kind=KIND,
            schema_version=SCHEMA_VERSION,
            body=self._document.model_dump(),
            members=self._members,
            overwrite=overwrite,
        )

    def bind(self, backends: Mapping[str, Backend]) -> Self:
        """Return the same router with backends by model name in the place of stored ones."""
        return type(self)(self._document, self._members, backends=backends)

    def describe(self) -> dict[str, Any]:
        """Return what the router is made of, as a JSON object."""
        data = self._document.data
        return {
            "artifact_id": self.artifact_id,
            "created": self._document.created,
            "producer": self._document.producer,
            "arms": list(self._names),
            "task_types": list(self.task_types),
            "objective": self.objective.to_json(),
            **data.model_dump(),
        }

    def decide(
        self, prompt: str, task: str | None = None, *, objective: Objective | None = None
    ) -> Decision:
        """Return the arm to use for a prompt, without calling any model.

        Args:
            prompt: The user's text.
            task: Its task type, or a task the router was fitted on; `None` guesses the type.
            objective: What to optimise, the router's default if `None`.

        Raises:
            UnknownNameError: The router was fitted on no such task or task type.
            InvalidInputError: An arm has no cost in the objective's unit.
            NoAdmissibleArmError: No arm satisfies the objective.
        """
        return self._decide([prompt], task, objective)[0]

    def decide_many(
        self, prompts: Sequence[str], task: str | None = None, *, objective: Objective | None = None
    ) -> list[Decision]:
        """Return the decision for each prompt, as `decide` would, at a fraction of the time.

        Raises:
            UnknownNameError: The router was fitted on no such task or task type.
            InvalidInputError: An arm has no cost in the objective's unit.
            NoAdmissibleArmError: No arm satisfies the objective for one of the prompts.
        """
        return self._decide(prompts, task, objective) if prompts else []

    def predict(self, prompts: Sequence[str], task: str | None = None) -> Predictions:
        """Return p(correct), tokens, FLOPs and seconds of all arms for prompts, as arrays.

        Raises:
            UnknownNameError: The router was fitted on no such task or task type.
        """
        return self._model.predict(prompts, self._hint(task))

    def expected_cost(
        self, predictions: Predictions, objective: Objective | None = None
    ) -> NDArray[np.float64]:
        """Return the cost of all arms in an objective's unit, shape `(n_prompts, n_arms)`.

        Raises:
            InvalidInputError: An arm has no cost in this unit.
        """
        unit = (objective or self.objective).unit
        cost = cost_of_arms(predictions, self.arms, unit, self._prices)
        check_known(cost, self.arms, unit)
        return cost

    async def acomplete(
        self,
        prompt: str | Sequence[Message],
        *,
        task: str | None = None,
        objective: Objective | None = None,
        options: DecodingOptions | None = None,
    ) -> RoutedCompletion:
        """Decide, run the chosen policy on the chosen model, and return the answer.

        Args:
            prompt: The user's text, or a conversation; its last user turn is what is routed.
            task: See `decide`.
            objective: See `decide`.
            options: How to decode; by default as the outcomes were measured.

        Raises:
            InvalidInputError: The conversation has no user turn, or see `decide`.
            NoAdmissibleArmError: No arm satisfies the objective.
            ConfigError: Nobody said how the chosen model is reached.
            BackendError: The model could not be asked.
        """
        messages = user_message(prompt) if isinstance(prompt, str) else tuple(prompt)
        decision = self.decide(_routed_text(messages), task, objective=objective)
        _LOG.info(
            "%s chosen by %s (%s)", decision.arm.name, self.artifact_id, ", ".join(decision.reasons)
        )
        policy = build_policy(decision.policy)
        backend = self._backends.get(decision.model)
        require(backend, policy.needs)
        completion = await policy.run(messages, backend, options or self._options)
        return RoutedCompletion(decision, completion)

    def complete(
        self,
        prompt: str | Sequence[Message],
        *,
        task: str | None = None,
        objective: Objective | None = None,
        options: DecodingOptions | None = None,
    ) -> RoutedCompletion:
        """Do what `acomplete` does, blocking; also callable while an event loop is running.

        Raises:
            InvalidInputError: See `acomplete`, as for all others.
            NoAdmissibleArmError: No arm satisfies the objective.
            ConfigError: Nobody said how the chosen model is reached.
            BackendError: The model could not be asked.
        """
        return run_sync(self.acomplete(prompt, task=task, objective=objective, options=options))

    async def aclose(self) -> None:
        """Close the backends that this router built for the running event loop."""
        await self._backends.aclose()

    def _hint(self, task: str | None) -> int | None:
        if task is None:
            return None
        return resolve_hint(task, self.task_types, self._document.tasks)

    def _decide(
        self, prompts: Sequence[str], task: str | None, objective: Objective | None
    ) -> list[Decision]:
        start = perf_counter()
        objective = objective or self.objective
        predictions = self.predict(prompts, task)
        cost = self.expected_cost(predictions, objective)
        choice_of, met = choose(predictions.p_correct, cost, objective)
        chosen: list[int] = choice_of.tolist()
        tail = ["task-guessed" if task is None else "task-given"]
        tail += ["few-outcomes"] * (self._model.parameters.kind == "means")
        latency_s = (perf_counter() - start) / len(prompts)
        of_arms = zip(
            predictions.p_correct.tolist(),
            predictions.tokens.tolist(),
            _as_lists(predictions.flops, self._without_flops),
            _as_lists(predictions.seconds, self._without_seconds),
            cost.tolist(),
            strict=True,
        )
        of_prompts = zip(chosen, met.tolist(), predictions.posterior.tolist(), of_arms, strict=True)
        decisions: list[Decision] = []
        for choice, is_met, posterior, (p, tokens, flops, seconds, price) in of_prompts:
            decisions.append(
                Decision(
                    arm=self.arms[choice],
                    candidates=tuple(map(Candidate, self._names, p, tokens, flops, seconds, price)),
                    objective=objective,
                    reasons=(*explain(objective, p, price, choice, is_met), *tail),
                    task_posterior=dict(zip(self.task_types, posterior, strict=True)),
                    features_version=self._features_version,
                    artifact_id=self.artifact_id,
                    latency_s=latency_s,
                )
            )
        return decisions


def _as_lists(values: NDArray[np.float64], unknown: Sequence[int]) -> list[list[Any]]:
    """Return rows of numbers, `None` for the arms in `unknown`."""
    lists = values.tolist()
    for arm in unknown:
        for row in lists:
            row[arm] = None
    return lists


def _routed_text(messages: Sequence[Message]) -> str:
    for message in reversed(messages):
        if message.role == "user":
            return message.content
    raise InvalidInputError(
        "the conversation has no user turn", hint="the last user turn is what is routed"
    )


def _default_objective(
    model: OutcomeModel, matrix: OutcomeMatrix, unit: CostUnit, prices: Mapping[str, Price]
) -> Objective:
    """Select the default trade-off on questions the model was not fitted on."""
    predictions = model.predict(matrix.prompts)
    true = Predictions(
        matrix.correct,
        matrix.tokens,
        matrix.prompt_tokens,
        matrix.flops,
        matrix.seconds,
        predictions.posterior,
    )
    cost, true_cost = (
        cost_of_arms(values, matrix.arms, unit, prices) for values in (predictions, true)
    )
    check_known(cost, matrix.arms, unit)
    return select_tradeoff(predictions.p_correct, cost, matrix.correct, true_cost, unit)


def _check_features(features: Mapping[str, int]) -> None:
    if features == FEATURE_VERSIONS:
        return
    text = f"the router's features are {dict(features)}, this version computes {FEATURE_VERSIONS}"
    if any(number > FEATURE_VERSIONS.get(name, 0) for name, number in features.items()):
        raise ArtifactTooNewError(text, hint='pip install --upgrade "thinkroute"')
    raise ArtifactError(text, hint="fit the router again")


def _content_id(document: RouterDocument, members: Mapping[str, bytes]) -> str:
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in members.items()}
    content = document.model_dump(exclude={"created", "producer"}) | {"members": digests}
    return hashlib.sha256(canonical_json(content)).hexdigest()[:16]


def _producer() -> str:
    try:
        return f"thinkroute {version('thinkroute')}"
    except PackageNotFoundError:
        return "thinkroute (not installed)"
