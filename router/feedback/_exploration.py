"""Exploration: now and then another arm than the best-looking one, so that the log can teach.

Off unless asked for. A deterministic router only ever learns about the arms that it chooses;
nothing in its log can tell how another one would have done. Thompson sampling tries each arm as
often as it may be the best one in the light of what is known.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from policies import InvalidInputError

from .._decision import choose
from .._objective import Objective

__all__ = ["Explored", "ThompsonSampling", "exploration_probabilities", "explore"]

Floats = NDArray[np.float64]
# Keeps the draws of a batch in a few megabytes.
_BATCH = 256


@dataclass(frozen=True, slots=True)
class ThompsonSampling:
    """How much may be explored.

    Attributes:
        effective_samples: Outcomes that one predicted probability is worth: p is thought of as
            Beta distributed with this many pseudo-outcomes around the model's. More explores
            less.
        floor: Least probability of every arm that may be explored, in [0, 1/n_arms]. Weights in
            off-policy evaluation are at most 1/floor; at 0 arms may lack support.
        max_regret: Probability of a correct answer that one decision may give up against the arm
            that would be chosen without exploration, in [0, 1]; arms below are never explored.
        max_extra_cost: Expected cost that one decision may add, in the objective's unit; `None`
            for no limit. A cost cap of the objective always holds.
        n_draws: Draws that the probabilities are computed from.
    """

    effective_samples: float = 50.0
    floor: float = 0.02
    max_regret: float = 0.1
    max_extra_cost: float | None = None
    n_draws: int = 256

    def __post_init__(self) -> None:
        """Refuse numbers that make no sense."""
        problems = {
            "effective_samples": 0.0 < self.effective_samples < math.inf,
            "floor": 0.0 <= self.floor <= 1.0,
            "max_regret": 0.0 <= self.max_regret <= 1.0,
            "max_extra_cost": self.max_extra_cost is None or self.max_extra_cost >= 0.0,
            "n_draws": self.n_draws >= 1,
        }
        for name, is_sound in problems.items():
            if not is_sound:
                raise InvalidInputError(f"{name}={getattr(self, name)!r} is out of range")


class Explored(NamedTuple):
    """Choices with the probabilities that they were made with.

    Attributes:
        choice: Position of the chosen arm of each row, shape `(n_rows,)`.
        greedy: Position of the arm that would be chosen without exploration, same shape.
        propensities: Probability of each arm, shape `(n_rows, n_arms)`; rows sum to 1. Exact:
            the choice was drawn from it.
    """

    choice: NDArray[np.int64]
    greedy: NDArray[np.int64]
    propensities: Floats


def explore(
    p: Floats,
    cost: Floats,
    objective: Objective,
    settings: ThompsonSampling,
    rng: np.random.Generator,
) -> Explored:
    """Choose an arm for each row at random; deterministic for a state of `rng`.

    Args:
        p: Predicted probabilities of a correct answer, shape `(n_rows, n_arms)`.
        cost: Expected costs in the objective's unit, same shape.
        objective: The rule that is followed.
        settings: How much may be explored.
        rng: All the chance there is.

    Raises:
        InvalidInputError: The floor is more than an equal share of the arms.
    """
    propensities = exploration_probabilities(p, cost, objective, settings, rng)
    greedy, _ = choose(p, cost, objective)
    ladder = np.cumsum(propensities, axis=1)
    # Scaled to its own end, which may be an ulp off 1.
    steps = rng.random(len(p))[:, np.newaxis] * ladder[:, -1:]
    choice = (ladder <= steps).sum(axis=1)
    return Explored(choice.astype(np.int64), greedy, propensities)


def exploration_probabilities(
    p: Floats,
    cost: Floats,
    objective: Objective,
    settings: ThompsonSampling,
    rng: np.random.Generator,
) -> Floats:
    """Return the probability with which each arm is to be chosen, shape `(n_rows, n_arms)`.

    Probabilities of all arms are drawn from their Beta distributions `n_draws` times, and the
    objective chooses each time; the shares of these choices are cut to the arms that may be
    explored, and each of those is raised to the floor. Because the choice is then drawn from
    these shares, and not from the distributions, the logged propensity is exact.

    Source: Thompson, Biometrika 25 (1933), 285-294; Beta posteriors as in Chapelle and Li, NIPS
    2011, with the model's prediction in the place of counts of one arm. Floor and limits are
    ours.

    Raises:
        InvalidInputError: The floor is more than an equal share of the arms.
    """
    n_arms: int = p.shape[1]
    if settings.floor * n_arms > 1.0:
        raise InvalidInputError(
            f"a floor of {settings.floor} for each of {n_arms} arms is more than everything",
            hint=f"choose at most {1.0 / n_arms:.3f}",
        )
    greedy, _ = choose(p, cost, objective)
    rows = np.arange(len(p))
    parts = range(0, len(p), _BATCH)
    counts = np.concatenate(
        [np.zeros((0, n_arms))]
        + [
            _count_draws(p[at : at + _BATCH], cost[at : at + _BATCH], objective, settings, rng)
            for at in parts
        ]
    )
    allowed = _allowed(p, cost, greedy, objective, settings)
    shares = np.where(allowed, counts, 0.0)
    # Where every draw went to arms that may not be explored, nothing is explored.
    shares[rows, greedy] += shares.sum(axis=1) == 0.0
    shares /= shares.sum(axis=1, keepdims=True)
    reserved = settings.floor * allowed
    return reserved + (1.0 - reserved.sum(axis=1, keepdims=True)) * shares


def _count_draws(
    p: Floats,
    cost: Floats,
    objective: Objective,
    settings: ThompsonSampling,
    rng: np.random.Generator,
) -> Floats:
    """Return how many of the draws make the objective choose each arm, `(n_rows, n_arms)`."""
    strength, n_draws = settings.effective_samples, settings.n_draws
    sure = np.clip(p, 1e-6, 1.0 - 1e-6)
    drawn = rng.beta(sure * strength, (1.0 - sure) * strength, (n_draws, *p.shape))
    costs = np.broadcast_to(cost, drawn.shape)
    # (n_draws * n_rows, n_arms)
    choice, _ = choose(drawn.reshape(-1, p.shape[1]), costs.reshape(-1, p.shape[1]), objective)
    counts = np.zeros(p.shape)
    np.add.at(counts, (np.tile(np.arange(len(p)), n_draws), choice), 1.0)
    return counts


def _allowed(
    p: Floats,
    cost: Floats,
    greedy: NDArray[np.int64],
    objective: Objective,
    settings: ThompsonSampling,
) -> NDArray[np.bool_]:
    rows = np.arange(len(p))
    lost = p[rows, greedy][:, np.newaxis] - p
    allowed = lost <= settings.max_regret
    if settings.max_extra_cost is not None:
        allowed &= cost - cost[rows, greedy][:, np.newaxis] <= settings.max_extra_cost
    if objective.max_cost is not None:
        allowed &= cost <= objective.max_cost
    if objective.is_strict and objective.target_accuracy is not None:
        allowed &= p >= objective.target_accuracy
    allowed[rows, greedy] = True
    return allowed
