"""From predictions to a choice, with its reasons."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from policies import InvalidInputError, NoAdmissibleArmError

from ._arms import Arm
from ._model import Predictions
from ._objective import CostUnit, Objective, Price

__all__ = ["Candidate", "Decision", "check_known", "choose", "cost_of_arms", "explain"]

Floats = NDArray[np.float64]


class Candidate(NamedTuple):
    """What one arm was expected to do for one prompt.

    Attributes:
        arm: Name of the arm, `model:policy`.
        p_correct: Calibrated probability of a correct answer in [0, 1].
        tokens: Expected generated tokens.
        flops: Expected inference FLOPs, `None` if the arm's were never measured.
        seconds: Expected wall seconds, `None` if never measured.
        cost: Cost in the unit of the decision's objective.
    """

    arm: str
    p_correct: float
    tokens: float
    flops: float | None
    seconds: float | None
    cost: float


@dataclass(frozen=True, slots=True)
class Decision:
    """The arm chosen for one prompt, and why.

    Attributes:
        arm: The chosen arm.
        candidates: All arms, in the order of the router's.
        objective: What was optimised.
        reasons: Stable codes: `best-tradeoff`, `target-met`, `target-unreachable`,
            `within-cap`; then `only-arm`, `cheapest`, `most-accurate` where they hold;
            `task-given` or `task-guessed`; `few-outcomes` for a router without trees.
        task_posterior: Probability of each task type; certainty for a given task.
        features_version: Version of the features behind the probabilities.
        artifact_id: Content hash of the router.
        latency_s: Seconds the decision took; in a batch, its share.
    """

    arm: Arm
    candidates: tuple[Candidate, ...]
    objective: Objective
    reasons: tuple[str, ...]
    task_posterior: Mapping[str, float]
    features_version: str
    artifact_id: str
    latency_s: float

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
        }


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

    Nothing is assumed about the order of arms: more budget may be worse. Among equally good arms
    the cheaper one is chosen, then the one that is more likely right, then the first.

    Args:
        p_correct: Probabilities, shape `(n_rows, n_arms)`.
        cost: Costs, same shape.
        objective: The rule. A target that no arm reaches falls back to the highest probability,
            a cap that every arm exceeds to the lowest cost; neither then holds.
    """
    if objective.tradeoff is not None:
        score = p_correct - objective.tradeoff * cost
        return _first_best(-score, cost, -p_correct), np.ones(len(score), dtype=bool)
    if objective.target_accuracy is not None:
        reaches = p_correct >= objective.target_accuracy
        # Where the target is out of reach all arms tie on the first key: the second decides.
        first = np.where(reaches, cost, np.inf)
        choice = _first_best(first, -p_correct, cost)
    else:
        reaches = cost <= np.float64(objective.max_cost or 0.0)
        first = np.where(reaches, -p_correct, np.inf)
        choice = _first_best(first, cost, -p_correct)
    return choice, np.logical_or.reduce(reaches, axis=1)


def _first_best(*keys: Floats) -> NDArray[np.int64]:
    """Return the column of each row that is smallest by the first key, then the second, ..."""
    return np.lexsort(keys[::-1])[:, 0]


def explain(
    objective: Objective, p_correct: list[float], cost: list[float], choice: int, is_met: bool
) -> list[str]:
    """Return the reason codes of one choice.

    Raises:
        NoAdmissibleArmError: The objective cannot be met and does not allow to fall short.
    """
    if not is_met:
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
