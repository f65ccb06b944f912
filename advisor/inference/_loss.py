"""What it costs to act on an uncertain difference, and what it is worth to measure more."""

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

from policies import InvalidInputError

from ._estimate import Estimate

__all__ = ["Choice", "Side", "choose", "expected_loss", "questions_needed", "value_of_sample"]

Side: TypeAlias = Literal["ift", "reasoning", "abstain"]


@dataclass(frozen=True, slots=True)
class Choice:
    """Direct answers, reasoning, or neither, by accuracy alone.

    Attributes:
        side: What to do.
        is_shown: The interval of the gain excludes 0.
        regret: Accuracy expected to be lost against the better of the two by acting on `side`;
            when abstaining, by acting on `fallback`. `None` without an estimate.
        fallback: The side that loses least.
    """

    side: Side
    is_shown: bool
    regret: float | None
    fallback: Literal["ift", "reasoning"]


def choose(gain: Estimate, *, tolerance: float, prefer_cheap: bool = True) -> Choice:
    """Choose a side from the gain of reasoning over direct answers.

    A gain whose interval excludes 0 decides. Otherwise the side is taken that is expected to lose
    no more than `tolerance` against the better one, direct answers first if `prefer_cheap`,
    because they cost several times less; if neither is, the choice is to abstain.

    Args:
        gain: Accuracy of reasoning minus that of direct answers, with its interval.
        tolerance: Accuracy that may be lost in expectation, in [0, 1].
        prefer_cheap: Take direct answers wherever they lose no more than `tolerance`.

    Example:
        >>> choose(Estimate(0.03, -0.05, 0.11, "measured"), tolerance=0.02).side
        'reasoning'
        >>> choose(Estimate(0.03, -0.15, 0.21, "measured"), tolerance=0.01).side
        'abstain'
    """
    if gain.value is None:
        return Choice("abstain", is_shown=False, regret=None, fallback="ift")
    ift_loss = expected_loss(gain.value, gain.sd)
    reasoning_loss = expected_loss(-gain.value, gain.sd)
    if gain.is_above(0.0):
        return Choice("reasoning", is_shown=True, regret=reasoning_loss, fallback="reasoning")
    if gain.is_below(0.0):
        return Choice("ift", is_shown=True, regret=ift_loss, fallback="ift")
    sides: list[tuple[float, Literal["ift", "reasoning"]]] = [
        (ift_loss, "ift"),
        (reasoning_loss, "reasoning"),
    ]
    if not prefer_cheap:
        sides.sort()
    for loss, side in sides:
        if loss <= tolerance:
            return Choice(side, is_shown=False, regret=loss, fallback=side)
    # A difference within the tolerance is not worth the side that costs several times more.
    slack = tolerance if prefer_cheap else 0.0
    loss, side = sides[0] if sides[0][0] <= sides[1][0] + slack else sides[1]
    return Choice("abstain", is_shown=False, regret=loss, fallback=side)


def expected_loss(mean: float, sd: float) -> float:
    """Return E[max(X, 0)] for a normal X: what is lost by not taking an advantage X.

    Source: unit normal loss, Raiffa and Schlaifer, Applied Statistical Decision Theory (1961),
        section 5.4: sd * (phi(z) + z * Phi(z)), z = mean / sd.

    Example:
        >>> round(expected_loss(0.0, 1.0), 4)
        0.3989
    """
    if sd <= 0:
        return max(mean, 0.0)
    z = mean / sd
    density = math.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    # At -9 sd both terms are below 1e-17 and their sum is noise of rounding.
    return max(0.0, sd * (density + z * _normal_cdf(z)))


def value_of_sample(mean: float, sd: float, sd_after: float) -> float:
    """Return the expected value of sample information for a choice of two sides.

    How much accuracy is gained in expectation by a measurement that leaves the difference known
    to `sd_after` before choosing.

    Args:
        mean: Expected difference.
        sd: Its standard deviation now.
        sd_after: Its standard deviation once measured. Measuring the difference itself with
            standard error se leaves sd * se / sqrt(sd^2 + se^2); measuring it at another size
            leaves at least the error of carrying it over.

    Source: two-action problem with a linear loss and a normal prior, Raiffa and Schlaifer (1961),
        section 5.5: s * (phi(z) - z * (1 - Phi(z))) with the preposterior s^2 = sd^2 - sd_after^2
        and z = |mean| / s.

    Example:
        >>> sd, se = 5.2, 2.5
        >>> round(value_of_sample(2.0, sd, sd * se / math.hypot(sd, se)), 2)
        1.04
    """
    s = math.sqrt(max(0.0, sd * sd - sd_after * sd_after))
    return expected_loss(-abs(mean), s)


def questions_needed(gain: float, *, discordance: float = 0.3) -> int:
    """Return how many questions, asked of both arms, show a difference of `gain`.

    For a paired comparison, one-sided 5% error and 80% power.

    Args:
        gain: Difference in accuracy to be seen, in (0, 1].
        discordance: Share of questions that only one of the two arms gets right.

    Raises:
        InvalidInputError: `gain` is not in (0, 1].

    Source: normal approximation of McNemar's test, n = (z_.95 + z_.80)^2 (d - g^2) / g^2;
        d = 0.3 is an assumption.

    Example:
        >>> questions_needed(0.05)
        737
    """
    if not 0 < gain <= 1:
        raise InvalidInputError(f"gain {gain!r} is not in (0, 1]", hint="give it as a share")
    discordance = max(discordance, gain)
    return math.ceil((1.645 + 0.842) ** 2 * (discordance - gain**2) / gain**2)


def _normal_cdf(z: float) -> float:
    return 0.5 * math.erfc(-z / math.sqrt(2.0))
