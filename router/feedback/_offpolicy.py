"""Off-policy evaluation: how a new router would have done on the decisions of an old one.

Only the chosen arm's outcome is in a log. Where arms were chosen with known probabilities, the
outcomes can be weighted so that they stand for the new router's choices. Where they were not, the
log says something about the decisions on which both agree, and nothing about the others; then no
estimate of the whole is given, only what it must lie between.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.statistics import Interval, clustered_mean_interval
from policies import InvalidInputError

__all__ = ["Estimate", "LoggedChoices", "OffPolicyReport", "evaluate_offpolicy"]

Floats = NDArray[np.float64]
_NONE = 1e-9


@dataclass(frozen=True, slots=True)
class LoggedChoices:
    """Logged decisions whose outcomes are known, as arrays.

    Attributes:
        choice: Position of the chosen arm, shape `(n,)`.
        propensities: Probability with which each arm would have been chosen, shape
            `(n, n_arms)`; the chosen one's is positive.
        reward: What came of the chosen arm, such as its score in [0, 1], shape `(n,)`.
        predicted: What was expected of each arm when the decision was made, in the unit of the
            reward, shape `(n, n_arms)`. It must not have been fitted on these outcomes.
        groups: What rows of one prompt, user or document share, shape `(n,)`.
    """

    choice: NDArray[np.int64]
    propensities: Floats
    reward: Floats
    predicted: Floats
    groups: Sequence[str]

    def __post_init__(self) -> None:
        """Refuse arrays that do not fit each other."""
        n, n_arms = self.propensities.shape
        shapes = (self.choice.shape, self.reward.shape, (len(self.groups),), self.predicted.shape)
        if shapes != ((n,), (n,), (n,), (n, n_arms)):
            raise InvalidInputError(f"shapes {shapes} do not fit {(n, n_arms)}")
        rows = np.arange(len(self.choice))
        is_sound = (
            np.isfinite(self.reward).all()
            and np.isfinite(self.predicted).all()
            and (self.propensities >= 0.0).all()
            and np.allclose(self.propensities.sum(axis=1), 1.0, atol=1e-6)
            and (self.propensities[rows, self.choice] > 0.0).all()
        )
        if not is_sound:
            raise InvalidInputError(
                "rewards and predictions must be finite, propensities a distribution in which "
                "the chosen arm can be chosen"
            )


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its interval.

    Attributes:
        value: The point estimate.
        ci_low: Lower end of the interval, clustered by group.
        ci_high: Upper end.
    """

    value: float
    ci_low: float
    ci_high: float


@dataclass(frozen=True, slots=True)
class OffPolicyReport:
    """What a log says about another policy.

    Attributes:
        n: Decisions with an outcome.
        n_groups: Groups of them.
        confidence: Coverage of all intervals.
        refusal: Why the value cannot be estimated; `None` if it can be. Then `ips`, `snips`,
            `doubly_robust` and `difference` are there, else they are `None`.
        supported: Share of the new policy's choices that the old one could have made.
        effective_n: Decisions of the new policy itself that would tell as much (Kish's number);
            far below n the estimates are rough.
        max_weight: Largest weight after clipping.
        clip: Limit of the weights, `None` for none. Clipping trades variance for bias.
        clipped_mass: Share of the weight that clipping has taken away: with rewards in [0, 1]
            the bias it brings to `ips` is at most about this.
        logged: Mean reward of the decisions as they were made.
        ips: Inverse propensity scoring.
        snips: Self-normalised inverse propensity scoring.
        doubly_robust: Predictions, corrected by the weighted errors of the predictions; the one
            to read.
        difference: `doubly_robust` minus `logged`, paired.
        agreed: Mean reward of the decisions on which both choose the same arm, of these alone.
        n_agreed: How many those are, as the expected number for random policies.
        bounds: What the value must lie between, if only rewards in [0, 1] are assumed of the
            choices without support: ends of the interval included. `None` for other rewards.
        model_based: Direct method: what the predictions say, no evidence of this log at all.
    """

    n: int
    n_groups: int
    confidence: float
    refusal: str | None
    supported: float
    effective_n: float
    max_weight: float
    clip: float | None
    clipped_mass: float
    logged: Estimate
    ips: Estimate | None
    snips: Estimate | None
    doubly_robust: Estimate | None
    difference: Estimate | None
    agreed: Estimate | None
    n_agreed: float
    bounds: tuple[float, float] | None
    model_based: float

    def to_json(self) -> dict[str, Any]:
        """Return one JSON object."""
        return asdict(self)


def evaluate_offpolicy(
    logged: LoggedChoices,
    policy: Floats,
    *,
    clip: float | None = None,
    confidence: float = 0.95,
    has_unit_rewards: bool = True,
) -> OffPolicyReport:
    """Estimate the mean reward that another policy would have had on logged decisions.

    With w = new probability / old probability of the chosen arm, r the reward and q the
    predictions: IPS is the mean of `w r`; the self-normalised one `sum(w r) / sum(w)`; doubly
    robust the mean of `sum_a new(a) q(a) + w (r - q(chosen))`, which is unbiased because the
    propensities are known, whatever q is, and has the smaller variance the better q is. The value
    is refused as soon as any choice of the new policy has no support. All of it takes for granted
    that outcomes were reported (or not) regardless of how they were.

    Source: Horvitz and Thompson, JASA 47 (1952), 663-685; Dudik, Langford and Li, ICML 2011
    (arXiv 1103.4601), equation 2; self-normalised: Swaminathan and Joachims, NIPS 2015; effective
    number: Kish, Survey Sampling (1965). Intervals: t over groups of the terms, for the
    self-normalised one of their linearisation.

    Args:
        logged: The log.
        policy: Probability with which the new policy chooses each arm, shape `(n, n_arms)`.
        clip: Weights above this are cut to it; `None` leaves them.
        confidence: Coverage of the intervals, in (0, 1).
        has_unit_rewards: Whether rewards lie in [0, 1], so that `bounds` can be given.

    Raises:
        InvalidInputError: There is no decision, the policy is no distribution over the arms, or
            rewards are not in [0, 1] although they are said to be.
    """
    _check(logged, policy, clip, has_unit_rewards=has_unit_rewards)
    n = len(logged.choice)
    rows = np.arange(n)
    chance = logged.propensities[rows, logged.choice]
    raw = policy[rows, logged.choice] / chance
    weights = raw if clip is None else np.minimum(raw, clip)
    missing = np.where(logged.propensities > 0.0, 0.0, policy).sum(axis=1)
    expected = (policy * logged.predicted).sum(axis=1)
    robust = expected + weights * (logged.reward - logged.predicted[rows, logged.choice])
    refusal = _refusal(logged, missing)

    def estimate(terms: Floats) -> Estimate:
        return _estimate(clustered_mean_interval(terms.tolist(), logged.groups, confidence))

    is_known = refusal is None
    bounds = None
    if has_unit_rewards:
        # Without weights above 1 the sample keeps to the bounds by itself.
        low, high = estimate(raw * logged.reward), estimate(raw * logged.reward + missing)
        bounds = (max(low.ci_low, 0.0), min(high.ci_high, 1.0))
    return OffPolicyReport(
        n=n,
        n_groups=len(set(logged.groups)),
        confidence=confidence,
        refusal=refusal,
        supported=1.0 - float(missing.mean()),
        effective_n=_effective_number(weights),
        max_weight=float(weights.max()),
        clip=clip,
        clipped_mass=float((raw - weights).mean()),
        logged=estimate(logged.reward),
        ips=estimate(weights * logged.reward) if is_known else None,
        snips=_self_normalised(weights, logged, confidence) if is_known else None,
        doubly_robust=estimate(robust) if is_known else None,
        difference=estimate(robust - logged.reward) if is_known else None,
        agreed=_self_normalised(policy[rows, logged.choice], logged, confidence),
        n_agreed=float(policy[rows, logged.choice].sum()),
        bounds=bounds,
        model_based=float(expected.mean()),
    )


def _check(
    logged: LoggedChoices, policy: Floats, clip: float | None, *, has_unit_rewards: bool
) -> None:
    if not len(logged.choice):
        raise InvalidInputError(
            "there is no logged decision with an outcome", hint="record outcomes first"
        )
    if policy.shape != logged.propensities.shape:
        raise InvalidInputError(
            f"a policy of shape {policy.shape} for decisions of {logged.propensities.shape}"
        )
    if not ((policy >= 0.0).all() and np.allclose(policy.sum(axis=1), 1.0, atol=1e-6)):
        raise InvalidInputError("the new policy's probabilities do not sum to 1")
    if clip is not None and not clip > 0.0:
        raise InvalidInputError(f"clip={clip!r}: expected a number > 0")
    if has_unit_rewards and not ((logged.reward >= 0.0) & (logged.reward <= 1.0)).all():
        raise InvalidInputError(
            "a reward is not in [0, 1]", hint="say has_unit_rewards=False for tokens and costs"
        )


def _refusal(logged: LoggedChoices, missing: Floats) -> str | None:
    if missing.mean() <= _NONE:
        return None
    share = f"{missing.mean():.1%} of the new router's choices"
    if (logged.propensities.max(axis=1) >= 1.0 - _NONE).all():
        return (
            f"the log was written without exploration: nothing in it tells how {share}, those "
            "that differ from the logged ones, would have done"
        )
    return f"{share} could not have been made by the logging router (probability 0)"


def _estimate(interval: Interval) -> Estimate:
    return Estimate(interval.estimate, interval.low, interval.high)


def _effective_number(weights: Floats) -> float:
    squares = float(weights @ weights)
    return float(weights.sum()) ** 2 / squares if squares > 0.0 else 0.0


def _self_normalised(weights: Floats, logged: LoggedChoices, confidence: float) -> Estimate | None:
    """Return the weighted mean with the interval of its linearisation; `None` without weight."""
    mean_weight = float(weights.mean())
    if mean_weight <= 0.0:
        return None
    value = float((weights * logged.reward).mean()) / mean_weight
    influence = value + weights * (logged.reward - value) / mean_weight
    interval = clustered_mean_interval(influence.tolist(), logged.groups, confidence)
    half = interval.width / 2.0
    if not math.isfinite(half):
        return Estimate(value, -math.inf, math.inf)
    return Estimate(value, value - half, value + half)
