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

import math
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from policies import InvalidInputError

from ._group_ratios import GroupRatio, GroupSums
from ._guarantee import CostFinding, Guarantee, MeasuredCost, error_level

__all__ = ["certify"]

Floats = NDArray[np.float64]


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
        GroupSums(kept, [groups[row] for row in kept.tolist()], max_group_size),
        loss[kept],
        cost,
        max_loss,
        error_level(confidence),
        seed,
    )
    return tests.guarantee(confidence, reference, n_dropped=len(loss) - len(kept))


class _Tests:
    """Tests of every rule of the grid, and what follows from them."""

    def __init__(
        self,
        sums: GroupSums,
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
        self._loss = GroupRatio(sums.over(loss + 1.0), questions, 2.0, None, sums.largest)
        self._tested: list[tuple[GroupRatio, float]] = [(self._loss, 1.0 + max_loss)]
        self._spent: Floats | None = None
        if cost is None:
            return
        cap = math.inf if cost.cap is None else cost.cap
        spent = np.minimum(cost.values[sums.kept], cap)
        asked = np.minimum(cost.reference[sums.kept], cap)
        self._spent, self._asked = spent.mean(axis=0), float(asked.mean())
        if cost.cap is not None:
            top = sums.over(spent)
            self._per_question = GroupRatio(top, questions, cap, None, sums.largest)
            shares = sums.over(asked[:, np.newaxis])
            self._share = GroupRatio(top, shares, cap, cap, sums.largest)
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
