"""Decisions of one model: predictions, costs, ranking, reasons, and what evidence changes."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from policies import Evidence, InvalidInputError, Mode, NoAdmissibleArmError, Usage

from ._caps import CallerCaps, Reservation
from ._decision import Candidate, Decision, Escalation, check_known, cost_of_arms, explain, rank
from ._objective import Objective, Price
from ._selection import tradeoff_within
from .cascade._cascade import Cascade, CascadePlan
from .features.task_type import resolve_hint
from .model._model import OutcomeModel, Predictions

if TYPE_CHECKING:
    from .feedback._exploration import ThompsonSampling

__all__ = ["Asked", "Decider", "Identity"]

Floats = NDArray[np.float64]
_MOST_RESOLVED = 1000


class Identity(NamedTuple):
    """What every decision says about where it comes from.

    Attributes:
        artifact_id: Content hash of the router.
        features_version: Versions of its features.
        is_small: Whether it was fitted on too few questions for anything but means.
    """

    artifact_id: str
    features_version: str
    is_small: bool


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked of a decider besides the prompts.

    Attributes:
        objective: What to optimise.
        task: The caller's hint.
        more_bytes: Length of what is sent along with each prompt; where it differs, shape
            `(n_prompts, 1)`.
        caller: Whom the call is for.
        gone: Models that are not served.
        extra: Extra features of the prompts, shape `(n_prompts, n_extra)`.
        exploration: How much may be explored, with the source of chance.
        among: Names of the arms that may be chosen, `None` for all.
        caps: What the caller may have, in the place of the router's own.
        cached: Model and mode in whose prefix cache the conversation lies; other arms have to
            read its `more_bytes` again.
    """

    objective: Objective
    task: str | None = None
    more_bytes: "int | Floats" = 0
    caller: str | None = None
    gone: Collection[str] = ()
    extra: Floats | None = None
    exploration: "tuple[ThompsonSampling, np.random.Generator] | None" = None
    among: Collection[str] | None = None
    caps: CallerCaps | None = None
    cached: tuple[str, Mode] | None = None

    @property
    def is_free(self) -> bool:
        """Whether nothing narrows the choice, so that a second call may follow the first."""
        narrowed = (self.caller, self.among, self.cached)
        return all(each is None for each in narrowed) and not self.gone


class Decider:
    """Decides by a model, a cascade and caps. Safe to share among threads."""

    def __init__(
        self,
        model: OutcomeModel,
        cascade: Cascade | None,
        tasks: Mapping[str, str],
        prices: Mapping[str, Price],
        caps: CallerCaps | None,
        identity: Identity,
    ) -> None:
        """Prepare decisions.

        Args:
            model: Predicts p, tokens and cost.
            cascade: What evidence of a first answer means, if that is known.
            tasks: Task type of every task of the fit.
            prices: US dollars per token by model.
            caps: What each caller may have.
            identity: Where the decisions come from.
        """
        parameters = model.parameters
        self.arms = parameters.arms
        self.names = [arm.name for arm in self.arms]
        self.task_types = tuple(sorted({label.task_type for label in parameters.labels}))
        self._model = model
        self._cascade = cascade
        self._tasks = tasks
        self.prices = dict(prices)
        self._caps = caps
        self._identity = identity
        self._type_of_label = np.eye(len(self.task_types))[
            [self.task_types.index(label.task_type) for label in parameters.labels]
        ]
        self._without_flops = np.flatnonzero(np.isnan(parameters.flops_per_token)).tolist()
        self._without_seconds = np.flatnonzero(np.isnan(parameters.seconds_per_token)).tolist()
        self._resolved: dict[Objective, Objective] = {}

    def predict(self, prompts: Sequence[str], asked: Asked) -> Predictions:
        """Return the predictions for prompts.

        Raises:
            UnknownNameError: The router was fitted on no such task or task type.
        """
        allowed = None
        if asked.task is not None:
            allowed = resolve_hint(asked.task, self._model.parameters.labels, self._tasks)
        return self._model.predict(prompts, allowed, asked.extra, asked.more_bytes)

    def cost(self, predictions: Predictions, objective: Objective) -> Floats:
        """Return the cost of all arms in an objective's unit, shape `(n_prompts, n_arms)`.

        Raises:
            InvalidInputError: An arm has no cost in this unit.
        """
        cost = cost_of_arms(predictions, self.arms, objective.unit, self.prices)
        check_known(cost, self.arms, objective.unit)
        return cost

    def resolve(self, objective: Objective) -> Objective:
        """Return an objective with a mean cost as the trade-off that keeps it.

        Raises:
            NoAdmissibleArmError: Even the cheapest arms cost more.
        """
        if objective.max_mean_cost is None:
            return objective
        if objective not in self._resolved:
            if len(self._resolved) >= _MOST_RESOLVED:
                self._resolved.clear()  # Clients of a server name what they like.
            expected = self._model.expected_for_reference()
            cost = self.cost(expected, objective)
            tradeoff = tradeoff_within(expected.p_correct, cost, objective.max_mean_cost)
            if tradeoff is None:
                raise NoAdmissibleArmError(
                    f"a mean cost of {objective.max_mean_cost:g} {objective.unit} is below that "
                    f"of the cheapest arms, {cost.min(axis=1).mean():g}",
                    hint="raise it, or fit a router with a cheaper arm",
                )
            resolved = replace(objective, max_mean_cost=None, tradeoff=tradeoff)
            self._resolved[objective] = resolved
            return resolved
        return self._resolved[objective]

    def decide(
        self, prompts: Sequence[str], asked: Asked, expected: Predictions | None = None
    ) -> list[tuple[Decision, Reservation | None]]:
        """Return the decision for each prompt, and what was booked on the caller's account.

        Args:
            prompts: The texts that are routed.
            asked: What is asked besides.
            expected: What is expected of them, by the model if `None`.

        Raises:
            UnknownNameError: The router was fitted on no such task or task type.
            InvalidInputError: An arm has no cost in the objective's unit.
            NoAdmissibleArmError: No arm satisfies the objective, or the caller may have none.
        """
        start = perf_counter()
        rule = self.resolve(asked.objective)
        predictions = self.predict(prompts, asked) if expected is None else expected
        p_correct, cost = predictions.p_correct, self.cost(predictions, rule)
        late = self._late(predictions, rule)
        allowed = None if late is None else ~late
        ranks, reaches = rank(p_correct, cost, rule, allowed)
        plain = ranks
        # A cap on generated tokens does not count those that are read again.
        is_kept = asked.cached is not None and (rule.max_cost is None or rule.unit != "tokens")
        if is_kept:
            paid = cost + self._of_cache(predictions, rule, asked)
            ranks, reaches = rank(p_correct, paid, rule, allowed)
        orders = ranks.tolist()
        propensities: list[list[float]] | None = None
        plan: CascadePlan | None = None
        if asked.exploration is not None:
            from .feedback._exploration import explore

            explored = explore(p_correct, cost, rule, *asked.exploration)
            propensities = explored.propensities.tolist()
            chosen = explored.choice.tolist()
            orders = [[arm, *order] for arm, order in zip(chosen, orders, strict=True)]
        elif self._cascade is not None and late is None and asked.is_free:
            plan = self._cascade.plan(
                p_correct, cost, rule, plain=(ranks[:, 0], np.logical_or.reduce(reaches, axis=1))
            )
        posterior = np.einsum("nl,lt->nt", predictions.posterior, self._type_of_label)
        latency_s = (perf_counter() - start) / len(prompts)
        flops = _as_lists(predictions.flops, self._without_flops)
        seconds = _as_lists(predictions.seconds, self._without_seconds)
        tail = ["task-guessed" if asked.task is None else "task-given"]
        tail += ["few-outcomes"] * self._identity.is_small
        decisions: list[tuple[Decision, Reservation | None]] = []
        of_arms = zip(p_correct.tolist(), predictions.tokens.tolist(), cost.tolist(), strict=True)
        rows = zip(orders, reaches.tolist(), posterior.tolist(), of_arms, strict=True)
        for row, (order, is_met, types, (p, tokens, price)) in enumerate(rows):
            choice, between, ticket = self._pick(order, tokens, asked)
            if (
                is_kept
                and choice != self._served(plain[row].tolist(), asked)[0]
                and not (ticket is not None and ticket.is_capped)
            ):
                between = ["conversation-kept", *between]
            then = None
            if plan is not None and plan.is_cascade[row]:
                choice, between = int(plan.choice[row]), ["look-first"]
                then = self._escalation(plan, row)
            try:
                is_late = late is not None and bool(late[row, choice])
                reasons = explain(
                    rule, p, price, choice, then is not None or is_met[choice], is_late
                )
            except NoAdmissibleArmError:
                self.settle(ticket, 0, asked.caps)
                raise
            if asked.exploration is not None and choice != ranks[row, 0]:
                reasons = ["explored"]
            decision = Decision(
                arm=self.arms[choice],
                candidates=tuple(
                    map(Candidate, self.names, p, tokens, flops[row], seconds[row], price)
                ),
                objective=asked.objective,
                reasons=(*reasons, *between, *tail),
                task_posterior=dict(zip(self.task_types, types, strict=True)),
                features_version=self._identity.features_version,
                artifact_id=self._identity.artifact_id,
                latency_s=latency_s,
                escalation=then,
                propensities=None if propensities is None else tuple(propensities[row]),
                prompt=prompts[row],
            )
            decisions.append((decision, ticket))
        return decisions

    def escalate(self, decision: Decision, evidence: Evidence | None, usage: Usage) -> Decision:
        """Return what to do after the first answer of a two-stage decision.

        Raises:
            InvalidInputError: The decision is for a single call.
        """
        if decision.escalation is None or self._cascade is None:
            raise InvalidInputError(
                "the decision is for a single call", hint="look at decision.escalation"
            )
        first = self.names.index(decision.arm.name)
        p = np.array([candidate.p for candidate in decision.candidates])
        cost = np.array([candidate.cost for candidate in decision.candidates])
        n_tokens = usage.completion_tokens
        spent = float(n_tokens) if decision.objective.unit == "tokens" else None
        objective = self.resolve(decision.objective)
        second = self._cascade.escalate(
            p, cost, first, evidence, objective, n_tokens=n_tokens, spent=spent
        )
        if evidence is None:
            p[first] = 0.0
        else:
            p = self._cascade.revised(p, first, evidence, n_tokens)
        rest = tuple(code for code in decision.reasons if code != "look-first")
        return replace(
            decision,
            arm=self.arms[second],
            candidates=tuple(
                candidate._replace(p=value)
                for candidate, value in zip(decision.candidates, p.tolist(), strict=True)
            ),
            reasons=("answer-kept" if second == first else "escalated", *rest),
            escalation=None,
        )

    def settle(
        self, ticket: Reservation | None, tokens: int | None, caps: CallerCaps | None = None
    ) -> None:
        """Close a booking with the tokens that were used, the expected ones if `None`."""
        books = caps or self._caps
        if ticket is not None and books is not None:
            books.note(ticket, ticket.tokens if tokens is None else tokens)

    def describe_cascade(self) -> dict[str, Any] | None:
        """Return what evidence of which first arms brings, `None` without a cascade."""
        if self._cascade is None:
            return None
        parameters = self._cascade.parameters
        return {
            self.names[first]: {"gain_nats": gain, "n_questions": n}
            for first, gain, n in zip(
                parameters.firsts, parameters.gain.tolist(), parameters.n_questions, strict=True
            )
        }

    def _pick(
        self, order: list[int], tokens: list[float], asked: Asked
    ) -> tuple[int, list[str], Reservation | None]:
        """Return the best arm that is served and that the caller may have, and what came between."""
        reasons: list[str] = []
        if asked.gone:
            order = [arm for arm in order if self.arms[arm].model not in asked.gone]
            reasons.append("arm-unavailable")
        if asked.among is not None:
            best, order = order[:1], [arm for arm in order if self.names[arm] in asked.among]
            if not order:
                raise NoAdmissibleArmError(
                    "none of the arms that were asked for can be chosen",
                    hint=f"the router has {', '.join(self.names)}",
                )
            reasons += ["arms-restricted"] * (best != order[:1])
        caps = asked.caps or self._caps
        if asked.caller is None or caps is None:
            return order[0], reasons, None
        ticket = caps.reserve(asked.caller, order, tokens, self.names)
        return ticket.arm, reasons + ["caller-cap"] * ticket.is_capped, ticket

    def _served(self, order: list[int], asked: Asked) -> list[int]:
        """Return the arms of an order that are served and were asked for."""
        return [
            arm
            for arm in order
            if self.arms[arm].model not in asked.gone
            and (asked.among is None or self.names[arm] in asked.among)
        ]

    def _of_cache(self, predictions: Predictions, rule: Objective, asked: Asked) -> Floats:
        """Return what the prefix cache changes about the costs, shape `(n_prompts, n_arms)`.

        Costs in FLOPs and money include reading the whole prompt, which the cache saves; costs in
        tokens count generated ones alone, so that an arm outside the cache is charged a token for
        each that it has to read: both take the same FLOPs, twice the parameters
        (arXiv 2001.08361, section 2.1). How long reading takes was not measured, so that costs
        in seconds stay as they are.
        """
        ratio = self._model.parameters.prompt_tokens_per_byte
        history = np.broadcast_to(asked.more_bytes * ratio, predictions.tokens.shape)
        is_cached = np.array([(arm.model, arm.mode) == asked.cached for arm in self.arms])
        if rule.unit == "tokens":
            return np.where(is_cached, 0.0, history)
        if rule.unit == "flops":
            saved = history * self._model.parameters.flops_per_token
        elif rule.unit == "usd":
            saved = history * np.array([self.prices[arm.model].prompt_usd for arm in self.arms])
        else:
            return np.zeros(predictions.tokens.shape)
        return np.where(is_cached, -saved, 0.0)

    def _late(self, predictions: Predictions, rule: Objective) -> NDArray[np.bool_] | None:
        """Return which arms break the latency ceiling, `None` without one."""
        if rule.max_seconds is None:
            return None
        if self._without_seconds:
            names = ", ".join(self.names[arm] for arm in self._without_seconds)
            raise InvalidInputError(
                f"seconds of {names} were never measured", hint="leave max_seconds out"
            )
        spread = self._model.parameters.token_spread[:, 2]
        return predictions.seconds * np.maximum(spread, 1.0) > rule.max_seconds

    def _escalation(self, plan: CascadePlan, row: int) -> Escalation:
        first = self.names[int(plan.choice[row])]
        others = tuple(name for name in self.names if name != first)
        return Escalation(others, float(plan.p[row]), float(plan.cost[row]))


def _as_lists(values: NDArray[np.float64], unknown: Sequence[int]) -> list[list[Any]]:
    """Return rows of numbers, `None` for the arms in `unknown`."""
    lists = values.tolist()
    for arm in unknown:
        for row in lists:
            row[arm] = None
    return lists
