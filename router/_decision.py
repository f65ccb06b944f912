"""From predictions to a choice, with its reasons."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from policies import InvalidInputError, NoAdmissibleArmError

from ._arms import Arm
from ._objective import CostUnit, Objective, Price
from .model._model import Predictions

__all__ = [
    "Candidate",
    "Decision",
    "Escalation",
    "check_known",
    "choose",
    "cost_of_arms",
    "explain",
    "rank",
]

Floats = NDArray[np.float64]
_ID_LOCK = threading.Lock()


class Candidate(NamedTuple):
    """What one arm was expected to do for one prompt.

    Attributes:
        arm: Name of the arm, `model:policy`.
        p: Calibrated probability of a correct answer in [0, 1].
        tokens: Expected generated tokens.
        flops: Expected inference FLOPs, `None` if the arm's were never measured.
        seconds: Expected wall seconds, `None` if never measured.
        cost: Cost in the unit of the decision's objective.
    """

    arm: str
    p: float
    tokens: float
    flops: float | None
    seconds: float | None
    cost: float


class Escalation(NamedTuple):
    """That the chosen arm is a first one, after whose answer another may be asked.

    Attributes:
        arms: Names of the arms that may follow, `model:policy`.
        p: Probability that the final answer is right, over the evidence to be expected.
        cost: Expected cost of both calls together, in the unit of the objective.
    """

    arms: tuple[str, ...]
    p: float
    cost: float


@dataclass(frozen=True, slots=True)
class Decision:
    """The arm chosen for one prompt, and why.

    Attributes:
        arm: The chosen arm.
        candidates: All arms, in the order of the router's.
        objective: What was optimised.
        reasons: Stable codes: `best-tradeoff`, `target-met`, `target-unreachable`,
            `within-cap`; `only-arm`, `cheapest`, `most-accurate` where they hold; `explored`
            for a choice by chance; `caller-cap` where the caller may not have a better arm now,
            `arm-unavailable` where the model of a better one is not served, `arms-restricted`
            where the caller asked for others, `conversation-kept` where what another one would
            gain is less than reading the conversation again costs; `look-first` where
            the answer's evidence will decide whether another arm is asked, `answer-kept` and
            `escalated` once it has; `task-given` or `task-guessed`; `few-outcomes` for a router
            of fewer than 50 questions.
        task_posterior: Probability of each task type; certainty for a given task.
        features_version: Version of the features behind the probabilities.
        artifact_id: Content hash of the router.
        latency_s: Seconds the decision took; in a batch, its share.
        escalation: That the chosen arm is a first one, after whose answer another may be asked;
            `None` for a single call.
        propensities: Probability with which each candidate would have been chosen, in their
            order, where arms are explored; `None` for a deterministic choice.
        prompt: What was decided about, for the feedback log; in no JSON and no representation.
    """

    arm: Arm
    candidates: tuple[Candidate, ...]
    objective: Objective
    reasons: tuple[str, ...]
    task_posterior: Mapping[str, float]
    features_version: str
    artifact_id: str
    latency_s: float
    escalation: Escalation | None = None
    propensities: tuple[float, ...] | None = None
    prompt: str | None = field(default=None, repr=False, compare=False)
    _id: str | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def decision_id(self) -> str:
        """Name of this decision in the feedback log: random, equal at every reading.

        Made when it is first asked for, so that deciding does not pay for it.
        """
        if self._id is None:
            from secrets import token_hex

            with _ID_LOCK:
                if self._id is None:
                    object.__setattr__(self, "_id", token_hex(16))
        return self._id or ""

    @property
    def model(self) -> str:
        """Model of the chosen arm."""
        return self.arm.model

    @property
    def policy(self) -> str:
        """Policy string of the chosen arm."""
        return self.arm.policy

    @property
    def chosen(self) -> Candidate:
        """The chosen arm's predictions."""
        name = self.arm.name
        return next(candidate for candidate in self.candidates if candidate.arm == name)

    def to_json(self) -> dict[str, Any]:
        """Return one JSON object; it holds no part of the prompt."""
        return {
            "arm": self.arm.name,
            "model": self.model,
            "policy": self.policy,
            # NamedTuple's only way to a dictionary has an underscore.
            "candidates": [candidate._asdict() for candidate in self.candidates],
            "objective": self.objective.to_json(),
            "reasons": list(self.reasons),
            "task_posterior": dict(self.task_posterior),
            "features_version": self.features_version,
            "artifact_id": self.artifact_id,
            "latency_s": self.latency_s,
            "escalation": None if self.escalation is None else self.escalation._asdict(),
        }

    def _repr_html_(self) -> str:
        """Return the decision as a notebook shows it; it holds no part of the prompt."""
        from ._notebook import decision_html

        return decision_html(self)


def cost_of_arms(
    predictions: Predictions, arms: tuple[Arm, ...], unit: CostUnit, prices: Mapping[str, Price]
) -> Floats:
    """Return the cost in a unit, shape `(n_prompts, n_arms)`; NaN where it is unknown.

    Raises:
        InvalidInputError: A model has no price.
    """
    if unit == "tokens":
        return predictions.tokens
    if unit == "flops":
        return predictions.flops
    if unit == "seconds":
        return predictions.seconds
    unpriced = sorted({arm.model for arm in arms} - set(prices))
    if unpriced:
        raise InvalidInputError(
            f"there is no price for {', '.join(unpriced)}",
            hint="give prices= when fitting, or choose another cost unit",
        )
    prompt = np.array([prices[arm.model].prompt_usd for arm in arms])
    completion = np.array([prices[arm.model].completion_usd for arm in arms])
    return predictions.prompt_tokens * prompt + predictions.tokens * completion


def check_known(cost: Floats, arms: tuple[Arm, ...], unit: CostUnit) -> None:
    """Check that every arm has a cost.

    Raises:
        InvalidInputError: The costs of some arms are unknown; they are named.
    """
    if np.isnan(cost).any():
        unknown = np.isnan(cost.sum(axis=0)).tolist()
        names = [arm.name for arm, is_unknown in zip(arms, unknown, strict=True) if is_unknown]
        raise InvalidInputError(
            f"{unit} of {', '.join(names)} were never measured",
            hint="choose tokens as the cost unit",
        )


def choose(
    p_correct: Floats, cost: Floats, objective: Objective
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the best arm of each row and whether the objective's condition holds for it.

    See `rank`.
    """
    order, reaches = rank(p_correct, cost, objective)
    return order[:, 0], np.logical_or.reduce(reaches, axis=1)


def rank(
    p_correct: Floats,
    cost: Floats,
    objective: Objective,
    allowed: NDArray[np.bool_] | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the arms of each row, the best first, and for which the objective's condition holds.

    Both have shape `(n_rows, n_arms)`; the second is in the order of the arms.

    Nothing is assumed about the order of arms: more budget may be worse. Among equally good arms
    the cheaper one is chosen, then the one that is more likely right, then the first.

    Args:
        p_correct: Probabilities, shape `(n_rows, n_arms)`.
        cost: Costs, same shape.
        objective: The rule; `max_mean_cost` must be resolved to a trade-off before. A target that
            no arm reaches falls back to the highest probability, a cap that every arm exceeds to
            the lowest cost; neither then holds.
        allowed: Arms within the latency ceiling, same shape; the others come last.
    """
    if objective.tradeoff is not None:
        keys = (objective.tradeoff * cost - p_correct, cost, -p_correct)
        reaches = np.ones(cost.shape, dtype=bool)
    elif objective.target_accuracy is not None:
        reaches = p_correct >= objective.target_accuracy
        # Where the target is out of reach all arms tie on the first key: the second decides.
        keys = (np.where(reaches, cost, np.inf), -p_correct, cost)
    else:
        reaches = cost <= np.float64(objective.max_cost or 0.0)
        keys = (np.where(reaches, -p_correct, np.inf), cost, -p_correct)
    if allowed is not None:
        reaches = reaches & allowed
        keys = (~allowed, *keys)
    return _ranked(*keys), reaches


def _ranked(*keys: NDArray[Any]) -> NDArray[np.int64]:
    """Return the columns of each row, smallest by the first key first, then the second, ..."""
    return np.lexsort(keys[::-1])


def explain(
    objective: Objective,
    p_correct: list[float],
    cost: list[float],
    choice: int,
    is_met: bool,
    is_late: bool = False,
) -> list[str]:
    """Return the reason codes of one choice.

    Args:
        objective: The rule.
        p_correct: Probabilities of the arms.
        cost: Their costs.
        choice: The chosen arm.
        is_met: Whether the rule's condition holds for it.
        is_late: Whether it breaks the latency ceiling.

    Raises:
        NoAdmissibleArmError: The objective cannot be met and does not allow to fall short.
    """
    if not is_met:
        if is_late:
            raise NoAdmissibleArmError(
                f"every arm is expected to need more than {objective.max_seconds:g} s",
                hint="raise max_seconds or fit a router with a faster arm",
            )
        if objective.max_cost is not None:
            raise NoAdmissibleArmError(
                f"every arm is expected to cost more than {objective.max_cost:g} "
                f"{objective.unit}; the cheapest costs {min(cost):g}",
                hint="raise the cap or fit a router with a cheaper arm",
            )
        if objective.is_strict:
            raise NoAdmissibleArmError(
                f"no arm is expected to reach an accuracy of {objective.target_accuracy:g}; "
                f"the best reaches {max(p_correct):.3f}",
                hint="lower the target, or allow the best arm with is_strict=False",
            )
    if objective.tradeoff is not None:
        reasons = ["best-tradeoff"]
    elif objective.max_cost is not None:
        reasons = ["within-cap"]
    else:
        reasons = ["target-met" if is_met else "target-unreachable"]
    if len(cost) == 1:
        return [*reasons, "only-arm"]
    if cost[choice] == min(cost):
        reasons.append("cheapest")
    if p_correct[choice] == max(p_correct):
        reasons.append("most-accurate")
    return reasons
