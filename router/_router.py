"""The router: fit it from outcomes, save it, ask it for decisions and completions."""

import copy
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from calibration import Outcome, OutcomeRecord
from policies import (
    ArtifactCorruptError,
    Backend,
    BackendRequestError,
    ConfigError,
    DecodingOptions,
    Evidence,
    InvalidInputError,
    Message,
    NoAdmissibleArmError,
    Usage,
)
from policies.embedding import Embedder

from ._admission import Admission, Conditions
from ._arms import Arm
from ._artifact import one_line
from ._asking import answer, is_gone
from ._caps import CallerCaps
from ._completion import BackendPool, BackendSpec, RoutedCompletion
from ._decider import Asked
from ._decision import Decision
from ._document import RouterDocument
from ._explanation import Explanation, explain_decision
from ._guarantee import Guarantee
from ._objective import CostUnit, Objective, Price
from ._outcomes import OutcomeMatrix
from ._parts import read_parts
from ._replay import Replay, replay
from ._selection import tradeoff_losing
from ._stored import read_router, write_router
from ._sync import run_sync
from ._turns import check_texts, read_turns
from .cascade._cascade import Cascade
from .model._model import Predictions
from .model._reference import prompt_hashes

if TYPE_CHECKING:
    from .feedback._exploration import ThompsonSampling
    from .feedback._feedback import FeedbackLog

__all__ = ["Router"]


class Router:
    """Chooses model and policy for a prompt, and runs the choice.

    Build one with `Router.fit` or `Router.load`. Immutable and safe to share among threads;
    decisions are deterministic unless exploration is asked for.
    """

    def __init__(
        self,
        document: RouterDocument,
        members: Mapping[str, bytes],
        *,
        backends: Mapping[str, Backend] | None = None,
        caps: CallerCaps | None = None,
        fallback: bool = False,
        embedder: Embedder | None = None,
    ) -> None:
        """Build from the content of an artifact; `fit` and `load` do this for you.

        Args:
            document: What the manifest says.
            members: The model.
            backends: Backends by model name, used instead of the stored descriptions.
            caps: What each caller may have.
            fallback: Whether the best arm of another model answers where a model is not served.
            embedder: What the router's embeddings come from, if it was fitted with any.

        Raises:
            ArtifactCorruptError: Manifest and members do not fit each other.
            ArtifactTooNewError: The features are of a newer version.
            ArtifactError: The features are of an older version.
            InvalidInputError: The embedder is another one than the router was fitted with.
        """
        self._document = document
        self._members = dict(members)
        parts = read_parts(document, members, caps=caps, embedder=embedder)
        self._model = parts.model
        self._embedding = parts.embedding
        self.needs_embedder: bool = parts.embedding is not None
        """Whether its features are partly embeddings, which a server or an encoder makes."""
        self._decider = parts.decider
        self.options: DecodingOptions = parts.options
        """How the outcomes were decoded, and answers are where nobody says otherwise."""
        self.prices: Mapping[str, Price] = parts.decider.prices
        """US dollars per token by model; empty where none were given."""
        self.arms: tuple[Arm, ...] = parts.model.parameters.arms
        """The arms it chooses from."""
        self.task_types: tuple[str, ...] = parts.decider.task_types
        """The task types it tells apart."""
        self.objective: Objective = parts.objective
        """The default objective."""
        self.guarantee: Guarantee | None = parts.guarantee
        """What is promised about the default objective; `None` for nothing."""
        self.artifact_id: str = parts.artifact_id
        """Hash of everything that decides, equal before saving and after loading."""
        self.cascade: Cascade | None = parts.cascade
        """What evidence of a first answer means; `None` where no evidence was recorded."""
        self.reached: Mapping[str, BackendSpec] = parts.backends
        """How each model is reached, as the artifact has it."""
        self._backends = BackendPool(backends or {}, parts.backends)
        self._fallback = fallback
        self._feedback: FeedbackLog | None = None

    @classmethod
    def fit(  # noqa: PLR0913 - everything that decides what is fitted
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
        max_loss: float | None = None,
        confidence: float = 0.95,
        reference: str | None = None,
        max_cost_share: float | None = None,
        embedder: Embedder | None = None,
    ) -> Self:
        """Fit a router from measured outcomes; deterministic for a seed.

        Args:
            records: Outcomes of every arm to choose from; gaps are fine.
            seed: Seed of all splits and of the trees.
            objective: Default objective. By default the trade-off that is cheapest out of fold
                while losing about one point at most against the best fixed arm.
            unit: Cost unit of that default; FLOPs where all arms' were measured, else tokens.
            backends: How each model is reached, `{"m": {"backend": "openai", "options": {}}}`.
            prices: US dollars per token by model, for the cost unit `usd`.
            options: How the outcomes were decoded; the router decodes the same way.
            created: Time to write into the artifact, now by default.
            max_loss: Accuracy that may be lost against the reference, to be guaranteed: two
                fifths of the questions are then held back to certify the default objective.
            confidence: Probability with which the guarantee is kept.
            reference: The arm it is about, by name or policy; by default the most accurate one.
            max_cost_share: Mean cost to be guaranteed too, as a share of the reference's.
            embedder: Where embeddings of the prompts come from, as more features.

        Raises:
            InvalidInputError: The records contradict each other or hold no graded outcome.
            NoGuaranteeError: The outcomes do not support the guarantee.

        Example:
            >>> router = Router.fit(records)  # doctest: +SKIP
            >>> router.decide("What is 17 * 24?").policy  # doctest: +SKIP
            'reasoning@1024'
        """
        from ._fitting import asked_promise, fit_router

        fitted = fit_router(
            records,
            seed=seed,
            objective=objective,
            unit=unit,
            backends=backends or {},
            prices=prices or {},
            options=options,
            created=created,
            promise=asked_promise(max_loss, confidence, reference, max_cost_share, objective),
            embedder=embedder,
        )
        router = cls(fitted.document, fitted.members, embedder=embedder)
        router._check_objective()
        return router

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        backends: Mapping[str, Backend] | None = None,
        embedder: Embedder | None = None,
    ) -> Self:
        """Load a router that `save` wrote; needs neither scikit-learn nor LightGBM.

        Args:
            path: The artifact's folder.
            backends: Backends by model name, used instead of the stored descriptions.
            embedder: What the router's embeddings come from, if it was fitted with any.

        Raises:
            ArtifactError: There is no artifact, or one of another kind.
            ArtifactTooNewError: A newer version wrote it.
            ArtifactCorruptError: A byte was changed, or a member is missing or added.
        """
        document, members = read_router(Path(path))
        router = cls(document, members, backends=backends, embedder=embedder)
        try:
            router._check_objective()
        except (InvalidInputError, NoAdmissibleArmError) as error:
            raise ArtifactCorruptError(
                f"'manifest.json': the default objective cannot be used: {one_line(error)}"
            ) from error
        return router

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write the router as an artifact folder, whole or not at all.

        Args:
            path: The folder to create.
            overwrite: Whether a router that is already there is replaced.

        Raises:
            ArtifactError: There is something at `path` that may not be replaced.
        """
        write_router(Path(path), self._document, self._members, overwrite=overwrite)

    def bind(
        self,
        backends: Mapping[str, Backend] | None = None,
        *,
        caps: CallerCaps | None = None,
        fallback: bool = False,
        embedder: Embedder | None = None,
    ) -> Self:
        """Return the same router with backends by model name in the place of stored ones.

        Args:
            backends: Backends by model name.
            caps: What each caller may have, for calls that name theirs; without, no limit.
            fallback: Whether a model that is not served (the server answers 404, or nobody said
                how it is reached) is replaced by the best arm of another one, with the reason
                `arm-unavailable`, instead of being an error. Any other failure stays an error.
            embedder: What the router's embeddings come from; the present one by default.
        """
        present = None if self._embedding is None else self._embedding.embedder
        return type(self)(
            self._document,
            self._members,
            backends=backends,
            caps=caps,
            fallback=fallback,
            embedder=embedder or present,
        )

    def with_feedback(self, log: "FeedbackLog | str | Path") -> Self:
        """Return the same router with a log that `record` writes to.

        Args:
            log: An open log, or the path of one; a path is opened without storing prompts.

        Raises:
            StoreError: The log cannot be written.
        """
        from .feedback._feedback import FeedbackLog

        router = copy.copy(self)
        router._feedback = log if isinstance(log, FeedbackLog) else FeedbackLog.open(log)
        return router

    def record(
        self,
        decision: Decision | RoutedCompletion,
        outcome: Outcome | str | bool | float | None = None,
        *,
        completion_tokens: int | None = None,
        seconds: float | None = None,
        log: "FeedbackLog | None" = None,
    ) -> str:
        """Write a decision, and what became of it, into the feedback log.

        The outcome may come later: by recording the same decision again, or by its id with
        `FeedbackLog.record_outcome`. Takes as long as the disk takes to flush.

        Args:
            decision: A decision of this router, or the answer it led to; the latter brings its
                tokens and seconds along.
            outcome: `correct`, `wrong`, `cut` or `error`, True or False, or a score in [0, 1];
                `None` if it is not known yet.
            completion_tokens: Tokens that were generated.
            seconds: Wall seconds that it took.
            log: Where to write, by default the log given to `with_feedback`.

        Returns:
            The decision's id.

        Raises:
            ConfigError: There is no log.
            InvalidInputError: The decision is another router's, or a value cannot be used.
            StoreError: The log cannot be written.
        """
        from .feedback._feedback_entry import write_entry

        if (target := log or self._feedback) is None:
            raise ConfigError(
                "the router has no feedback log",
                hint="router = router.with_feedback(FeedbackLog.open(PATH)), or pass log=",
                code="missing-feedback-log",
            )
        made = decision.decision if isinstance(decision, RoutedCompletion) else decision
        self._check_own(made)
        words = self.known_words()
        return write_entry(target, decision, outcome, words, completion_tokens, seconds)

    def describe(self) -> dict[str, Any]:
        """Return what the router is made of, as a JSON object."""
        parameters = self._model.parameters
        return {
            "artifact_id": self.artifact_id,
            "created": self._document.created,
            "producer": self._document.producer,
            "arms": [arm.name for arm in self.arms],
            "task_types": list(self.task_types),
            "objective": self.objective.to_json(),
            "guarantee": None if self.guarantee is None else self.guarantee.to_json(),
            "learners": dict(parameters.blend),
            "contenders": self._document.contenders,
            "calibration": parameters.calibration.method,
            "cascade": self._decider.describe_cascade(),
            **self._document.data.model_dump(),
        }

    def known_words(self) -> Collection[bytes]:
        """Return the words and word pairs that the router was fitted on, for drift monitors."""
        return self._model.parameters.vocabulary.words

    def seen(self, prompts: Sequence[str]) -> NDArray[np.bool_]:
        """Return which prompts the router was fitted on, up to case and white space, `(n,)`."""
        check_texts(prompts)
        known = self._model.parameters.reference.seen
        hashes = [int(prompt_hashes([prompt])[0]) for prompt in prompts]
        return np.isin(np.array(hashes, dtype=np.uint64), known)

    def replay(self, objective: Objective | None = None) -> Replay:
        """Return what it decides on the questions that it remembers of its fit, at most 4,000.

        By what was expected of them out of fold, beside what was measured; takes a second at most.

        Args:
            objective: What to optimise, the router's default if `None`.

        Raises:
            InvalidInputError: An arm has no cost in the objective's unit.
            NoAdmissibleArmError: Even the cheapest arms cost more than its mean cost.
        """
        return replay(
            self._model,
            self._decider,
            objective or self.objective,
            self._document.tasks,
            # With too few questions for folds no blends are compared.
            is_out_of_fold=len(self._document.contenders) > 1,
        )

    def decide(
        self,
        prompt: str | Sequence[Message],
        task: str | None = None,
        *,
        objective: Objective | None = None,
        caller: str | None = None,
        exploration: "ThompsonSampling | None" = None,
        rng: np.random.Generator | None = None,
    ) -> Decision:
        """Return the arm to use for a prompt, without calling any model.

        Args:
            prompt: The user's text, or a conversation; its last user turn is what is routed, and
                the other turns count for the cost of reading them.
            task: Its task type, or a task the router was fitted on; `None` guesses it.
            objective: What to optimise, the router's default if `None`.
            caller: Whom the call is for, where the router has caps; the call then counts, with
                its expected tokens.
            exploration: How much may be explored; nothing by default, and decisions are then
                deterministic.
            rng: Chance for the exploration; fresh entropy if `None`.

        Raises:
            UnknownNameError: The router was fitted on no such task or task type.
            InvalidInputError: An arm has no cost in the objective's unit, or the prompt is no
                text.
            NoAdmissibleArmError: No arm satisfies the objective, or the caller may have none now.
            ConfigError: The router needs an embedder.
        """
        turns = read_turns(prompt)
        decision, ticket = self._decider.decide(
            [turns.text],
            Asked(
                objective or self.objective,
                task,
                turns.more_bytes,
                caller,
                extra=self._features([turns.text]),
                exploration=_chance(exploration, rng),
            ),
        )[0]
        self._decider.settle(ticket, None)
        return decision

    async def admit(self, prompt: str, conditions: Conditions) -> Admission:
        """Decide for a call that the caller then makes itself, and settles.

        For servers: where there are caps, the expected tokens are set aside until then.

        Args:
            prompt: The text that is routed.
            conditions: What is asked besides.

        Raises:
            UnknownNameError: The router was fitted on no such task or task type.
            InvalidInputError: An arm has no cost in the objective's unit.
            NoAdmissibleArmError: No arm satisfies the conditions, or the caller may have none now.
            ConfigError: The router needs an embedder.
            BackendError: The embedder could not be asked.
        """
        extra = None if self._embedding is None else await self._embedding.afeatures(prompt)
        asked = self._asked(conditions, extra, conditions.more_bytes)
        decision, ticket = self._decider.decide([prompt], asked)[0]
        return Admission(decision, self._decider, ticket, conditions.caps)

    def admit_together(
        self, prompts: Sequence[str], more_bytes: Sequence[int], conditions: Conditions
    ) -> list[Admission]:
        """Do what `admit` does for calls without a caller, in one go, at a fraction of the time.

        Args:
            prompts: The texts that are routed.
            more_bytes: Length of the conversation that is sent along with each.
            conditions: What is asked besides, alike for all; its `more_bytes` does not count.

        Raises:
            InvalidInputError: There is a caller, or see `admit`, as for all others.
            NoAdmissibleArmError: No arm satisfies the conditions for one of the prompts.
            ConfigError: The router needs an embedder.
        """
        if conditions.caller is not None:
            raise InvalidInputError("calls of a caller are let through one by one")
        lengths = np.array(more_bytes, dtype=np.float64)[:, np.newaxis]
        asked = self._asked(conditions, self._features(prompts), lengths)
        return [
            Admission(decision, self._decider, ticket, None)
            for decision, ticket in self._decider.decide(prompts, asked)
        ]

    def _asked(
        self,
        conditions: Conditions,
        extra: NDArray[np.float64] | None,
        more_bytes: int | NDArray[np.float64],
    ) -> Asked:
        return Asked(
            conditions.objective or self.objective,
            conditions.task,
            more_bytes,
            conditions.caller,
            conditions.gone,
            extra,
            among=conditions.among,
            caps=conditions.caps,
            cached=conditions.cached,
        )

    def objective_losing(self, max_loss: float, unit: CostUnit | None = None) -> Objective:
        """Return the cheapest trade-off that is expected to lose little accuracy.

        Expected by the model, over the questions the router was fitted on: no guarantee.

        Args:
            max_loss: Accuracy in [0, 1] that may be lost against choosing, for each question,
                the arm most likely to be right.
            unit: Unit of cost, that of the default objective if `None`.

        Raises:
            InvalidInputError: `max_loss` is out of range, or an arm has no cost in the unit.
        """
        if not 0.0 <= max_loss <= 1.0:
            raise InvalidInputError(f"max_loss is {max_loss!r}, expected a share in [0, 1]")
        expected = self._model.expected_for_reference()
        best = Objective.trade(0.0, unit or self.objective.unit)
        cost = self._decider.cost(expected, best)
        return replace(best, tradeoff=tradeoff_losing(expected.p_correct, cost, max_loss))

    def decide_many(
        self, prompts: Sequence[str], task: str | None = None, *, objective: Objective | None = None
    ) -> list[Decision]:
        """Return the decision for each prompt, as `decide` would, at a fraction of the time.

        Raises:
            UnknownNameError: The router was fitted on no such task or task type.
            InvalidInputError: An arm has no cost in the objective's unit, or a prompt is no text.
            NoAdmissibleArmError: No arm satisfies the objective for one of the prompts.
            ConfigError: The router needs an embedder.
        """
        check_texts(prompts)
        if not prompts:
            return []
        asked = Asked(objective or self.objective, task, extra=self._features(prompts))
        return [decision for decision, _ in self._decider.decide(prompts, asked)]

    def explain(
        self,
        prompt: str | Sequence[Message],
        task: str | None = None,
        *,
        objective: Objective | None = None,
        n_neighbours: int = 5,
    ) -> Explanation:
        """Decide and say why: intervals, spread of tokens, similar measured questions.

        Args:
            prompt: See `decide`.
            task: See `decide`.
            objective: See `decide`.
            n_neighbours: Most measured questions to name.

        Raises:
            InvalidInputError: See `decide`, as for all others.
            NoAdmissibleArmError: No arm satisfies the objective.
        """
        decision = self.decide(prompt, task, objective=objective)
        text = read_turns(prompt).text
        known = bool(self.seen([text])[0])
        return explain_decision(decision, text, self._model, n_neighbours, known)

    def predict(self, prompts: Sequence[str], task: str | None = None) -> Predictions:
        """Return p(correct), tokens, FLOPs and seconds of all arms for prompts, as arrays.

        Raises:
            UnknownNameError: The router was fitted on no such task or task type.
            InvalidInputError: A prompt is no text.
            ConfigError: The router needs an embedder.
        """
        check_texts(prompts)
        return self._decider.predict(
            prompts, Asked(self.objective, task, extra=self._features(prompts))
        )

    def expected_cost(
        self, predictions: Predictions, objective: Objective | None = None
    ) -> NDArray[np.float64]:
        """Return the cost of all arms in an objective's unit, shape `(n_prompts, n_arms)`.

        Raises:
            InvalidInputError: An arm has no cost in this unit.
        """
        return self._decider.cost(predictions, objective or self.objective)

    def escalate(self, decision: Decision, evidence: Evidence | None, usage: Usage) -> Decision:
        """Return what to do after the first answer of a two-stage decision.

        Args:
            decision: What `decide` returned; its `escalation` is set.
            evidence: What the first answer says about itself; `None` if there is no answer.
            usage: What the first call took.

        Returns:
            A decision for the arm to ask now (`escalated`), or for the same arm, to keep its
            answer (`answer-kept`).

        Raises:
            InvalidInputError: The decision is for a single call, or of another router.
        """
        self._check_own(decision)
        return self._decider.escalate(decision, evidence, usage)

    async def acomplete(
        self,
        prompt: str | Sequence[Message],
        *,
        task: str | None = None,
        objective: Objective | None = None,
        options: DecodingOptions | None = None,
        caller: str | None = None,
        exploration: "ThompsonSampling | None" = None,
        rng: np.random.Generator | None = None,
    ) -> RoutedCompletion:
        """Decide, run the chosen policy on the chosen model, and return the answer.

        Where the decision is to look at the first answer's evidence, a second arm may be asked;
        all tokens count.

        Args:
            prompt: See `decide`.
            task: See `decide`.
            objective: See `decide`.
            options: How to decode; by default as the outcomes were measured.
            caller: See `decide`; its tokens are those that were really used.
            exploration: See `decide`.
            rng: See `decide`.

        Raises:
            InvalidInputError: The conversation has no user turn, or see `decide`.
            NoAdmissibleArmError: No arm satisfies the objective.
            ConfigError: Nobody said how the chosen model is reached.
            CapabilityError: The conversation has attachments and the chosen model takes none.
            BackendError: The model could not be asked.
        """
        turns = read_turns(prompt)
        chance = _chance(exploration, rng)
        extra = None
        if self._embedding is not None:
            extra = await self._embedding.afeatures(turns.text)
        gone: dict[str, Exception] = {}
        rule = objective or self.objective
        chosen = options or self.options
        while True:
            decision, ticket = self._decider.decide(
                [turns.text],
                Asked(rule, task, turns.more_bytes, caller, tuple(gone), extra, chance),
            )[0]
            used = 0
            try:
                routed = await answer(
                    decision, turns.messages, self._backends, chosen, self.escalate
                )
                used = routed.usage.completion_tokens
            except (BackendRequestError, ConfigError) as error:
                gone[decision.model] = error
                if not (self._fallback and is_gone(error)):
                    raise
                if gone.keys() >= {arm.model for arm in self.arms}:
                    raise next(iter(gone.values())) from None
                continue
            finally:
                self._decider.settle(ticket, used)
            return routed

    def complete(
        self,
        prompt: str | Sequence[Message],
        *,
        task: str | None = None,
        objective: Objective | None = None,
        options: DecodingOptions | None = None,
        caller: str | None = None,
        exploration: "ThompsonSampling | None" = None,
        rng: np.random.Generator | None = None,
    ) -> RoutedCompletion:
        """Do what `acomplete` does, blocking; also callable while an event loop is running.

        Raises:
            InvalidInputError: See `acomplete`, as for all others.
            NoAdmissibleArmError: No arm satisfies the objective.
            ConfigError: Nobody said how the chosen model is reached.
            BackendError: The model could not be asked.
        """
        return run_sync(
            self.acomplete(
                prompt,
                task=task,
                objective=objective,
                options=options,
                caller=caller,
                exploration=exploration,
                rng=rng,
            )
        )

    async def aclose(self) -> None:
        """Close the backends that this router built for the running event loop."""
        await self._backends.aclose()

    def _features(self, prompts: Sequence[str]) -> NDArray[np.float64] | None:
        return None if self._embedding is None else self._embedding.features(prompts)

    def _check_objective(self) -> None:
        """Check that the default objective can be followed."""
        self._decider.cost(self._model.predict([""]), self.objective)
        self._decider.resolve(self.objective)

    def _check_own(self, decision: Decision) -> None:
        if decision.artifact_id != self.artifact_id:
            raise InvalidInputError(
                f"the decision was made by the router {decision.artifact_id!r}, not by "
                f"{self.artifact_id!r}"
            )


def _chance(
    exploration: "ThompsonSampling | None", rng: np.random.Generator | None
) -> "tuple[ThompsonSampling, np.random.Generator] | None":
    return None if exploration is None else (exploration, rng or np.random.default_rng())
