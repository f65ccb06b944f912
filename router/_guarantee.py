"""A promise about what a decision rule can lose: Learn-then-Test on held-back questions.

*Accuracy loss against the reference at most epsilon, with probability at least `confidence`.* In
plain words:

- The promise is about one fitted model and one grid of rules, both fixed before the calibration
  questions were looked at. It is not about what another fit would have chosen.
- The probability is over the draw of the calibration questions: of a hundred people who measure
  their own questions and follow the procedure, at most `100 (1 - confidence)` end up with a rule
  that loses more than epsilon. Once the questions are drawn, the rule either loses more or not.
- It holds for questions of the kind that the calibration questions are of: the groups of questions
  are independent draws from the same source as those to come (exchangeable). Drift ends it, and
  so does feedback, where the rule itself changes which questions are asked. It is about the mean
  over all questions and promises nothing for a subgroup.

There is no assumption on the model being right, on the losses falling or rising along the grid, or
on the number of questions: with few of them nothing is promised.

Source: Angelopoulos, Bates, Candes, Jordan and Lei, Learn then Test (arXiv 2110.01052), fixed
sequence testing; the tests are bets (`calibration.statistics.bet_against_mean`).
"""

import json
import math
from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from statistics import NormalDist
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, TypeAdapter, ValidationError

from calibration.statistics import betting_p_values, largest_standing
from policies import InvalidInputError

__all__ = ["METHOD", "CostFinding", "Guarantee", "MeasuredCost", "certify"]

METHOD = "learn-then-test, fixed sequence, betting"
"""How the promise was tested."""

_POWER = 0.8
"""Chance of success for which `n_needed` is computed."""

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]
_STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


@dataclass(frozen=True, slots=True, eq=False)
class MeasuredCost:
    """What the rules spent, and what they may spend.

    Attributes:
        values: Cost of what each rule chose, 0 or more, shape `(n_questions, n_grid)`.
        reference: Cost of the reference, shape `(n_questions,)`.
        unit: Unit of the costs.
        cap: Costs above it count as the cap, in estimates and promises. To be fixed before the
            calibration data are seen, best at what a request can cost at most: then nothing is
            cut off. Bounds and limits need one, because no number of questions bounds the mean
            of costs that could be arbitrarily high.
        max_mean: Limit on the mean cost of the chosen rule.
        max_share: Limit on it as a share of the reference's mean cost.
    """

    values: Floats
    reference: Floats
    unit: str = "tokens"
    cap: float | None = None
    max_mean: float | None = None
    max_share: float | None = None

    def __post_init__(self) -> None:
        """Refuse negative costs, limits without a cap, and two limits at once.

        Raises:
            InvalidInputError: One of these.
        """
        if np.any(self.values < 0) or np.any(self.reference < 0):
            raise InvalidInputError("a cost is negative")
        limits = [x for x in (self.max_mean, self.max_share) if x is not None]
        if len(limits) == 2:
            raise InvalidInputError(
                f"max_mean={self.max_mean!r} and max_share={self.max_share!r}: expected one of them"
            )
        if not all(0 < x < math.inf for x in [*limits, 1.0 if self.cap is None else self.cap]):
            raise InvalidInputError(
                f"cap={self.cap!r}, max_mean={self.max_mean!r}, max_share={self.max_share!r}: "
                "expected finite numbers > 0"
            )
        if limits and self.cap is None:
            raise InvalidInputError(
                "a limit on the mean cost needs `cap`",
                hint="give the most that one request can cost",
            )
        if self.max_mean is not None and self.cap is not None and self.max_mean >= self.cap:
            raise InvalidInputError(
                f"max_mean={self.max_mean!r} is not below cap={self.cap!r}: it holds anyway"
            )


@dataclass(frozen=True, slots=True)
class CostFinding:
    """What a rule spends on the calibration questions, costs clipped at `cap`.

    Attributes:
        unit: Unit of the costs.
        cap: Where costs were clipped; None if they were not.
        mean: Mean cost of the rule.
        mean_upper_bound: Upper confidence bound of it, for a rule fixed beforehand; None without
            a cap.
        reference_mean: Mean cost of the reference.
        saved: `1 - mean / reference_mean`; 0 if the reference costs nothing.
        saved_low: Lower confidence bound of the share saved, for a rule fixed beforehand; None
            without a cap, or where not even half as much again as the reference can be excluded.
        max_mean: The limit that was tested, or None.
        max_share: The limit that was tested, or None.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    unit: str
    cap: float | None
    mean: float
    mean_upper_bound: float | None
    reference_mean: float
    saved: float
    saved_low: float | None
    max_mean: float | None = None
    max_share: float | None = None


@dataclass(frozen=True, slots=True)
class Guarantee:
    """What is promised about one rule of a grid, or why nothing can be promised.

    Attributes:
        holds: Whether a rule cheaper than the reference is certified.
        epsilon: Largest accuracy loss promised, in [0, 1).
        confidence: Probability with which the promise is kept, over calibration samples.
        reference: Name of what the loss is measured against.
        n_calibration: Questions it rests on.
        n_groups: Independent groups of questions among them.
        n_dropped: Questions left out because something they need was not measured.
        n_needed: Calibration questions with which something would be certified with a chance of
            about 80%, if mean and variance are as estimated; None if it holds already, or if no
            number would do: see `reason`.
        index: Position of the certified rule in the grid; None if there is none.
        estimated_loss: Mean loss of the certified rule, else of the best candidate.
        loss_upper_bound: Upper confidence bound of that loss. It is the bound for a rule that was
            fixed beforehand; what is promised about the selected one is `epsilon`.
        cost: What that rule spends; None if costs were not given.
        p_value: p-value of "it loses more than epsilon, or costs more than its limit".
        reason: Why it does not hold; empty if it does.
        seed: Seed of the order in which questions were looked at.
        method: How it was tested.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    holds: bool
    epsilon: float
    confidence: float
    reference: str
    n_calibration: int
    n_groups: int
    n_dropped: int
    n_needed: int | None
    index: int | None
    estimated_loss: float
    loss_upper_bound: float
    cost: CostFinding | None
    p_value: float
    reason: str
    seed: int
    method: str = METHOD

    def __post_init__(self) -> None:
        """Refuse what `certify` cannot have found.

        Raises:
            InvalidInputError: Fields are out of range or contradict each other.
        """
        cost = self.cost
        claims = {
            "0 <= epsilon < 1": 0 <= self.epsilon < 1,
            "0 < confidence < 1": 0 < self.confidence < 1,
            "1 <= n_groups <= n_calibration": 1 <= self.n_groups <= self.n_calibration,
            "n_dropped >= 0": self.n_dropped >= 0,
            "index only if it holds": self.holds == (self.index is not None),
            "index >= 0": self.index is None or self.index >= 0,
            "n_needed only if it does not hold": not (self.holds and self.n_needed is not None),
            "n_needed > n_calibration": (self.n_needed or math.inf) > self.n_calibration,
            "a reason if it does not hold": self.holds == (not self.reason),
            "0 <= p_value <= 1": 0 <= self.p_value <= 1,
            "p_value <= 1 - confidence if it holds": not self.holds
            or self.p_value <= _alpha(self.confidence),
            "-1 <= estimated_loss <= loss_upper_bound <= 1": -1
            <= self.estimated_loss
            <= self.loss_upper_bound
            <= 1,
            "estimated_loss <= epsilon if it holds": not self.holds
            or self.estimated_loss <= self.epsilon,
            "costs >= 0": cost is None or min(cost.mean, cost.reference_mean) >= 0,
            "a cheaper rule if it holds": not self.holds or cost is None or cost.saved > 0,
        }
        wrong = [claim for claim, is_kept in claims.items() if not is_kept]
        if wrong:
            raise InvalidInputError(f"a guarantee must have {'; '.join(wrong)}: {self!r}")

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: object) -> "Guarantee":
        """Read the form written by `to_json`.

        Raises:
            InvalidInputError: A field is missing, unknown, of another type, or makes no sense.
        """
        try:
            return _reader().validate_json(json.dumps(document))
        except ValidationError as error:
            faults = (
                f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()
            )
            raise InvalidInputError(f"this is no guarantee: {'; '.join(faults)}") from error
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidInputError(f"this is no guarantee: {error}") from error


@cache
def _reader() -> TypeAdapter[Guarantee]:
    return TypeAdapter(Guarantee)


def certify(
    loss: Floats,
    groups: Sequence[Hashable],
    *,
    max_loss: float,
    confidence: float,
    reference: str,
    cost: MeasuredCost | None = None,
    max_group_size: int | None = None,
    seed: int = 0,
) -> Guarantee:
    """Certify the cheapest rule of a grid whose accuracy loss is at most `max_loss`.

    The rules are tested in the order of the grid, each at level `1 - confidence`, until the first
    that cannot be certified; one that is cheaper than the reference and certified holds the
    promise. No correction for the size of the grid is needed, because the order was fixed
    beforehand. Begin with rules that hardly differ from the reference: where the first one fails
    nothing is certified. Chains with several starting points and Holm's procedure are valid too,
    and were weaker on nearly all cases of `benchmarks/guarantee.py`.

    A group is the unit and is never split: `sum over the group of (loss - max_loss) / largest group
    size` is bounded, and its mean is above 0 exactly where the mean loss over questions exceeds
    `max_loss`.

    With a limit on the cost both must be shown. Accuracy is then tested from the dear end and cost
    from the cheap end, each at half the level (a rule at the dear end breaks the limit for
    certain, so one common sequence could not start), and a rule in both chains is chosen.

    A question with a gap in any column is left out of all columns and counted in `n_dropped`:
    otherwise rules would be judged on different questions. Counting gaps as losses would
    be wrong (an arm that was not run, or an infrastructure error, is no wrong answer). The promise
    is then about questions like those that were measured in full, which is all questions
    if gaps have nothing to do with the answers.

    Args:
        loss: Share correct of the reference minus that of what each rule chose, in [-1, 1], NaN for
            gaps, shape `(n_questions, n_grid)`; rules from the safest (dearest) to the cheapest.
        groups: Group of each question, such as the document or the question in any language.
        max_loss: Largest loss to promise (epsilon), in [0, 1).
        confidence: Probability of keeping the promise, in (0, 1).
        reference: Name of what the loss is against, for the record.
        cost: Costs of the same questions and rules. Without, every rule counts as cheaper than
            the reference, and cheapness as growing along the grid.
        max_group_size: Most questions that a group can have, known without looking at answers,
            such as the largest group of the whole data set; by default the largest given.
        seed: Seed of the order in which the bets see the groups; to be fixed beforehand.

    Raises:
        InvalidInputError: Shapes differ, a number is out of range, or no question is complete.

    Example:
        >>> never_worse = np.zeros((400, 1))
        >>> found = certify(
        ...     never_worse, range(400), max_loss=0.02, confidence=0.95, reference="reasoning@max"
        ... )
        >>> found.holds, found.index, found.n_calibration
        (True, 0, 400)
    """
    _check(loss, groups, cost, max_loss, confidence)
    gaps = np.isnan(loss).any(axis=1)
    if cost is not None:
        gaps |= np.isnan(cost.values).any(axis=1) | np.isnan(cost.reference)
    kept = np.flatnonzero(~gaps)
    if not len(kept):
        raise InvalidInputError(
            f"none of {len(loss)} calibration questions was measured with every arm it needs",
            hint="run the missing arms, or leave them out",
        )
    tests = _Tests(
        _Sums(kept, [groups[row] for row in kept.tolist()], max_group_size),
        loss[kept],
        cost,
        max_loss,
        _alpha(confidence),
        seed,
    )
    return tests.guarantee(confidence, reference, n_dropped=len(loss) - len(kept))


class _Sums:
    """Adds up over groups."""

    def __init__(self, kept: Ints, groups: Sequence[Hashable], max_group_size: int | None) -> None:
        numbers: dict[Hashable, int] = {}
        self._of = np.array([numbers.setdefault(g, len(numbers)) for g in groups], dtype=np.intp)
        self.kept = kept
        self.sizes = np.bincount(self._of).astype(np.float64)
        largest = int(self.sizes.max())
        if max_group_size is not None and max_group_size < largest:
            raise InvalidInputError(
                f"max_group_size={max_group_size!r}, but a group has {largest} questions"
            )
        self.largest = float(max_group_size or largest)

    def over(self, values: Floats) -> Floats:
        """Return sums over groups, `(n_questions, ...)` to `(n_groups, ...)`."""
        sums = np.zeros((len(self.sizes), *values.shape[1:]))
        np.add.at(sums, self._of, values)
        return sums


class _Ratio(NamedTuple):
    """A mean over questions, or a ratio of two, as sums over groups.

    `E[top] / E[bottom]`, where a question adds [0, `high`] to the top. The bottom counts
    questions, or a question adds [0, `bottom_high`] to it, whatever it adds to the top.

    Attributes:
        top: Shape `(n_groups, n_grid)`.
        bottom: Shape `(n_groups, 1)`.
        high: Most that a question adds to the top.
        bottom_high: Most that a question adds to the bottom; None if it counts questions.
        largest: Questions in the largest group.
    """

    top: Floats
    bottom: Floats
    high: float
    bottom_high: float | None
    largest: float

    def excess(self, ratio: Floats) -> tuple[Floats, Floats]:
        """Return `top - ratio * bottom` and the 0 of it, both moved and scaled into [0, 1].

        Args:
            ratio: Ratios to compare with; one, or one a column.
        """
        below = ratio * (1.0 if self.bottom_high is None else self.bottom_high)
        span = self.high if self.bottom_high is None else self.high + below
        values = (self.top - ratio * self.bottom) / self.largest + below
        return values / span, below / span

    def p_values(self, ratio: Floats, alpha: float, seed: int) -> Floats:
        """Return p-values of "the ratio is at least `ratio`", shape `(n_columns,)`."""
        values, null = self.excess(ratio)
        return betting_p_values(values, null, low=0.0, high=1.0, alpha=alpha, seed=seed)

    def upper_bound(self, column: int, top: float, alpha: float, seed: int) -> float:
        """Return an upper confidence bound of a column's ratio, `top` if there is none below."""
        one = self._replace(top=self.top[:, [column]])
        return largest_standing(
            lambda ratios: one.p_values(ratios, alpha, seed), 0.0, top, alpha=alpha
        )

    def n_groups_needed(self, ratio: float, alpha: float) -> Floats:
        """Return how many groups show that a column's ratio is below, infinite where it is not.

        Those that a z-test needs, plus those that the bets need if nothing varies: with nine
        tenths of the wealth at stake a group wins `.9 gap / worst`.

        Source: own formula. It is .87 to 1.04 of simulated numbers for losses with shares of
        discordant questions from 0 to .5, at confidence .9 and .95.
        """
        values, null = self.excess(np.array([ratio]))
        gap = null - values.mean(axis=0)
        z = NormalDist().inv_cdf(1 - alpha) + NormalDist().inv_cdf(_POWER)
        with np.errstate(divide="ignore", invalid="ignore"):
            needed = z * z * values.var(axis=0) / gap**2
            needed += -math.log(alpha) / np.log1p(0.9 * np.maximum(gap, 0.0) / (1 - null))
        return np.where(gap > 0, needed, np.inf)


class _Tests:
    """Tests of every rule of the grid, and what follows from them."""

    def __init__(
        self,
        sums: _Sums,
        loss: Floats,
        cost: MeasuredCost | None,
        max_loss: float,
        alpha: float,
        seed: int,
    ) -> None:
        self._sums, self._max_loss, self._alpha, self._seed = sums, max_loss, alpha, seed
        self._cost = cost
        self._n_grid = int(loss.shape[1])
        questions = sums.sizes[:, np.newaxis]
        self._mean_loss = loss.mean(axis=0)
        # From [-1, 1] to [0, 2].
        self._loss = _Ratio(sums.over(loss + 1.0), questions, 2.0, None, sums.largest)
        self._tested: list[tuple[_Ratio, float]] = [(self._loss, 1.0 + max_loss)]
        self._spent: Floats | None = None
        if cost is None:
            return
        cap = math.inf if cost.cap is None else cost.cap
        spent = np.minimum(cost.values[sums.kept], cap)
        asked = np.minimum(cost.reference[sums.kept], cap)
        self._spent, self._asked = spent.mean(axis=0), float(asked.mean())
        if cost.cap is not None:
            top = sums.over(spent)
            self._per_question = _Ratio(top, questions, cap, None, sums.largest)
            shares = sums.over(asked[:, np.newaxis])
            self._share = _Ratio(top, shares, cap, cap, sums.largest)
            if cost.max_mean is not None:
                self._tested.append((self._per_question, cost.max_mean))
            if cost.max_share is not None:
                self._tested.append((self._share, cost.max_share))

    def guarantee(self, confidence: float, reference: str, *, n_dropped: int) -> Guarantee:
        level = self._alpha / len(self._tested)
        p = [
            test.p_values(np.array([limit]), level, self._seed) * len(self._tested)
            for test, limit in self._tested
        ]
        is_shown = _leading(p[0] <= self._alpha)
        if len(p) == 2:
            is_shown &= _leading(p[1][::-1] <= self._alpha)[::-1]
        # Wealth may have peaked before the losses came; what then looks bad is not promised.
        is_shown &= self._is_cheaper() & (self._mean_loss <= self._max_loss)
        index, needed = self._cheapest(is_shown), None
        column, reason = index, ""
        if column is None:
            column, needed, reason = self._what_is_missing(level)
        estimate = float(self._mean_loss[column])
        bound = self._loss.upper_bound(column, 2.0, self._alpha, self._seed) - 1.0
        return Guarantee(
            holds=index is not None,
            epsilon=self._max_loss,
            confidence=confidence,
            reference=reference,
            n_calibration=len(self._sums.kept),
            n_groups=len(self._sums.sizes),
            n_dropped=n_dropped,
            n_needed=needed,
            index=index,
            estimated_loss=estimate,
            loss_upper_bound=max(estimate, bound),
            cost=self._finding(column),
            p_value=min(1.0, max(float(each[column]) for each in p)),
            reason=reason,
            seed=self._seed,
        )

    def _is_cheaper(self) -> NDArray[np.bool_]:
        if self._spent is None:
            return np.ones(self._n_grid, dtype=np.bool_)
        return self._spent < self._asked * (1 - 1e-9)

    def _cheapest(self, among: NDArray[np.bool_]) -> int | None:
        positions = np.flatnonzero(among)
        if not len(positions):
            return None
        if self._spent is None:
            return int(positions[-1])
        return int(positions[self._spent[positions].argmin()])

    def _what_is_missing(self, level: float) -> tuple[int, int | None, str]:
        """Return the best candidate, how many questions it needs, and why it is none yet."""
        cheaper = self._is_cheaper()
        if not cheaper.any():
            return 0, None, f"none of {self._n_grid} rules costs less than the reference"
        # A rule needs all rules that are tested before it.
        test, limit = self._tested[0]
        needed = np.maximum.accumulate(test.n_groups_needed(limit, level))
        if len(self._tested) == 2:
            test, limit = self._tested[1]
            of_cost = test.n_groups_needed(limit, level)[::-1]
            needed = np.maximum(needed, np.maximum.accumulate(of_cost)[::-1])
        needed[~cheaper] = np.inf
        least = float(needed.min())
        candidate = self._cheapest(needed == least)
        if candidate is None or not math.isfinite(least):
            return self._hopeless(cheaper)
        n = len(self._sums.kept)
        questions = math.ceil(least * n / len(self._sums.sizes))
        questions = max(questions, n + 1)
        return (
            candidate,
            questions,
            f"{n} calibration questions are too few; with about {questions} it would succeed in "
            f"four of five cases",
        )

    def _hopeless(self, cheaper: NDArray[np.bool_]) -> tuple[int, None, str]:
        """Return the first cheaper rule and what is wrong with it or with those before it."""
        first = int(np.flatnonzero(cheaper)[0])
        worst = float(self._mean_loss[: first + 1].max())
        if worst >= self._max_loss:
            reason = (
                f"the estimated loss of the safest rules is {worst:.4f}, not below "
                f"{self._max_loss:g}: more questions would not help"
            )
        else:
            reason = (
                "no rule is estimated to keep both the loss and the cost limit: more questions "
                "would not help"
            )
        return first, None, reason

    def _finding(self, column: int) -> CostFinding | None:
        if self._cost is None or self._spent is None:
            return None
        cost, mean = self._cost, float(self._spent[column])
        mean_bound = saved_low = None
        if cost.cap is not None:
            mean_bound = self._per_question.upper_bound(column, cost.cap, self._alpha, self._seed)
            if self._asked > 0:
                share = self._share.upper_bound(column, 1.5, self._alpha, self._seed)
                saved_low = 1 - share if share < 1.5 else None
        return CostFinding(
            unit=cost.unit,
            cap=cost.cap,
            mean=mean,
            mean_upper_bound=mean_bound,
            reference_mean=self._asked,
            saved=1 - mean / self._asked if self._asked > 0 else 0.0,
            saved_low=saved_low,
            max_mean=cost.max_mean,
            max_share=cost.max_share,
        )


def _alpha(confidence: float) -> float:
    # `1 - .95` is below .05 by rounding; a p-value that is .05 shall count.
    return round(1 - confidence, 12)


def _leading(flags: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the flags up to the first that is not set, the rest unset."""
    return np.asarray(np.logical_and.accumulate(flags), dtype=np.bool_)


def _check(
    loss: Floats,
    groups: Sequence[Hashable],
    cost: MeasuredCost | None,
    max_loss: float,
    confidence: float,
) -> None:
    if loss.ndim != 2 or not loss.shape[1]:
        raise InvalidInputError(
            f"losses of shape {loss.shape}: expected (n_questions, n_grid) with a rule at least"
        )
    shapes = {"groups": (len(groups),)}
    wanted = {"groups": loss.shape[:1]}
    if cost is not None:
        shapes |= {"costs": cost.values.shape, "reference costs": cost.reference.shape}
        wanted |= {"costs": loss.shape, "reference costs": loss.shape[:1]}
    for name, shape in shapes.items():
        if shape != wanted[name]:
            raise InvalidInputError(f"{name} of shape {shape} for losses of shape {loss.shape}")
    if np.any(np.abs(loss) > 1.0):
        raise InvalidInputError("a loss is not in [-1, 1]")
    if cost is not None and (np.isinf(cost.values).any() or np.isinf(cost.reference).any()):
        raise InvalidInputError("a cost is infinite")
    if not 0 <= max_loss < 1:
        raise InvalidInputError(
            f"max_loss={max_loss!r} is not in [0, 1)", hint="write 0.01 for one point"
        )
    if not 0 < confidence < 1:
        raise InvalidInputError(
            f"confidence={confidence!r} is not between 0 and 1", hint="write 0.95 for 95%"
        )
