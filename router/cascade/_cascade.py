"""Two-stage decisions: a cheap answer first, another arm where that answer looks doubtful.

Probabilities and costs come in as arrays, one row per prompt and one column per arm; nothing
here knows prompts or backends. See `_cascade_fit` for how the parameters come about.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from policies import Evidence, InvalidInputError

from .._decision import choose
from .._objective import Objective
from .._outcomes import OutcomeMatrix, evidence_row
from ._cascade_parameters import CascadeParameters

__all__ = ["Cascade", "CascadePlan", "Simulation", "features_of", "logit"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

_BATCH = 512
_LEAST_P = 1e-5
_LARGEST_Z = 4.0
_LEAST_GAIN = 1e-5


class CascadePlan(NamedTuple):
    """What to do with each prompt before anything was asked.

    Attributes:
        choice: The arm to ask first, shape `(n_rows,)`.
        is_cascade: Whether its answer's evidence then decides on a second arm, same shape.
        p: Expected probability that the final answer is right, same shape.
        cost: Expected cost of all calls together, same shape.
        is_met: Whether the objective's condition is expected to hold, same shape.
    """

    choice: Ints
    is_cascade: Bools
    p: Floats
    cost: Floats
    is_met: Bools


class Simulation(NamedTuple):
    """What a cascade would have done on recorded outcomes; NaN where they are not recorded.

    Attributes:
        correct: Whether the final answer was right, in [0, 1], shape `(n_questions,)`.
        tokens: Generated tokens of all calls together, same shape.
        cost: Cost of all calls together in the objective's unit, same shape.
        n_calls: 1 or 2, same shape.
    """

    correct: Floats
    tokens: Floats
    cost: Floats
    n_calls: Ints


class Cascade:
    """Decides in two stages. Immutable and safe to share among threads; deterministic."""

    def __init__(self, parameters: CascadeParameters) -> None:
        """Keep the parameters of `fit_cascade`."""
        self.parameters = parameters
        self._firsts = np.array(parameters.firsts, dtype=np.int64)
        self._places = np.arange(len(parameters.firsts))
        self._place_of = {arm: place for place, arm in enumerate(parameters.firsts)}
        self._columns = self._firsts[:, np.newaxis]
        self._scenarios = np.arange(parameters.shifts.shape[2])

    def plan(
        self,
        p: Floats,
        cost: Floats,
        objective: Objective,
        *,
        plain: tuple[Ints, Bools] | None = None,
    ) -> CascadePlan:
        """Return for each prompt the arm to ask first, and whether a second may follow.

        A first arm is worth what the objective gives on average over the evidence that its
        answers have shown on prompts of about this probability; a cascade is chosen only where
        that beats the best arm alone. Under a cost cap the two calls together must fit.

        Args:
            p: Probabilities of a right answer, shape `(n_rows, n_arms)`.
            cost: Expected costs, same shape, all known.
            objective: The rule.
            plain: What `choose` says for them, if that is known already.
        """
        choice, is_met = choose(p, cost, objective) if plain is None else plain
        if len(p) <= _BATCH:
            return self._plan(p, cost, objective, choice, is_met)
        parts = [
            self._plan(p[part], cost[part], objective, choice[part], is_met[part])
            for part in (slice(start, start + _BATCH) for start in range(0, len(p), _BATCH))
        ]
        return CascadePlan(*map(np.concatenate, zip(*parts, strict=True)))

    def revised_many(self, p: Floats, first: int, evidence: Floats) -> Floats:
        """Return what `revised` does for many prompts, shape `(n_rows, n_arms)`.

        Args:
            p: Probabilities before, shape `(n_rows, n_arms)`.
            first: The arm that answered all of them.
            evidence: Its answers' evidence by the kinds in `EVIDENCE`, `(n_rows, n_kinds)`.

        Raises:
            InvalidInputError: The cascade was not fitted with this arm as the first.
        """
        return self._revised(p, self._place(first), evidence)

    def revised(self, p: Floats, first: int, evidence: Evidence, n_tokens: int | None) -> Floats:
        """Return the probabilities of all arms after the first answer was seen, `(n_arms,)`.

        They are `p` itself where the evidence lacks a kind that the fit relies on.

        Args:
            p: Probabilities before, shape `(n_arms,)`.
            first: The arm that answered.
            evidence: What its answer says about itself.
            n_tokens: Generated tokens of that answer.

        Raises:
            InvalidInputError: The cascade was not fitted with this arm as the first.
        """
        row = np.array([evidence_row(evidence, n_tokens)])
        return self.revised_many(p[np.newaxis], first, row)[0]

    def escalate(
        self,
        p: Floats,
        cost: Floats,
        first: int,
        evidence: Evidence | None,
        objective: Objective,
        *,
        n_tokens: int | None = None,
        spent: float | None = None,
    ) -> int:
        """Return the arm to ask after the first answer, or the first itself to keep that answer.

        Args:
            p: Probabilities as they were for `plan`, shape `(n_arms,)`.
            cost: Expected costs, same shape.
            first: The arm that answered.
            evidence: What its answer says about itself; `None` for a call that gave no answer
                (it was cut): it is then taken as wrong.
            objective: The rule.
            n_tokens: Generated tokens of the first call.
            spent: What the first call has really cost; its expected cost by default.

        Raises:
            InvalidInputError: The cascade was not fitted with this arm as the first.
        """
        if evidence is None:
            revised = p.copy()
            revised[first] = 0.0
        else:
            revised = self.revised(p, first, evidence, n_tokens)
        paid = float(cost[first]) if spent is None else spent
        total = cost + paid
        total[first] = paid
        return _second(revised[np.newaxis], total[np.newaxis], first, objective)[0]

    def simulate(
        self,
        p: Floats,
        cost: Floats,
        matrix: OutcomeMatrix,
        objective: Objective,
        *,
        true_cost: Floats | None = None,
    ) -> Simulation:
        """Return what the cascade would have reached and spent on recorded outcomes.

        Args:
            p: Probabilities from a model that was not fitted on these questions, shape
                `(n_questions, n_arms)`.
            cost: Expected costs, same shape.
            matrix: The outcomes.
            objective: The rule.
            true_cost: Measured costs, same shape; by default those of the objective's unit.

        Raises:
            InvalidInputError: The unit is money and `true_cost` is not given.
        """
        measured = _measured(matrix, objective) if true_cost is None else true_cost
        plan = self.plan(p, cost, objective)
        rows = np.arange(len(p))
        correct = matrix.correct[rows, plan.choice].copy()
        tokens = matrix.tokens[rows, plan.choice].copy()
        spent = measured[rows, plan.choice].copy()
        n_calls = np.ones(len(p), dtype=np.int64)
        for place, first in enumerate(self.parameters.firsts):
            seen = np.flatnonzero(plan.is_cascade & (plan.choice == first))
            if not len(seen):
                continue
            revised = self._revised(p[seen], place, matrix.evidence[seen, first])
            # Without evidence there was no answer to look at: it counts as wrong.
            revised[~matrix.has_evidence[seen, first], first] = 0.0
            paid = measured[seen, first]
            total = cost[seen] + paid[:, np.newaxis]
            total[:, first] = paid
            second = np.array(_second(revised, total, first, objective), dtype=np.int64)
            own = matrix.evidence_correct[seen, first]
            # The very answer whose evidence was looked at, where there is one.
            correct[seen] = np.where(np.isnan(own), correct[seen], own)
            on, arms = seen[second != first], second[second != first]
            correct[on] = matrix.correct[on, arms]
            tokens[on] += matrix.tokens[on, arms]
            spent[on] += measured[on, arms]
            n_calls[on] = 2
        return Simulation(correct, tokens, spent, n_calls)

    def _place(self, first: int) -> int:
        if first not in self._place_of:
            raise InvalidInputError(
                f"the cascade knows no evidence of the arm at position {first}",
                hint=f"it was fitted with the first arms {list(self.parameters.firsts)}",
            )
        return self._place_of[first]

    def _revised(self, p: Floats, place: int, evidence: Floats) -> Floats:
        """Return the probabilities after evidence, shape `(n_rows, n_arms)`."""
        parameters = self.parameters
        first = parameters.firsts[place]
        used = parameters.scale[place] > 0.0
        features = features_of(evidence, parameters.center[place], parameters.scale[place])
        before = logit(p)
        weights = parameters.weights[place]  # (n_arms, 3 + 2 * n_kinds)
        after = weights[:, 0] + weights[:, 1] * before + weights[:, 2] * before[:, [first]]
        after = after + features @ weights[:, 3:].T
        is_told: Bools = np.logical_and.reduce(~np.isnan(evidence[:, used]), axis=1)
        return np.where(is_told[:, np.newaxis], _sigmoid(after), p)

    def _plan(
        self, p: Floats, cost: Floats, objective: Objective, choice: Ints, is_met: Bools
    ) -> CascadePlan:
        rows = np.arange(len(p))
        best_p, best_cost = p[rows, choice], cost[rows, choice]
        then_p, then_cost, goes_on = self._expected(p, cost, objective)
        place: Ints
        if objective.target_accuracy is None:
            if objective.tradeoff is not None:
                meets = np.ones_like(goes_on)
                value = then_p - objective.tradeoff * then_cost
                plain = best_p - objective.tradeoff * best_cost
            else:
                meets = cost[:, self._firsts] <= np.float64(objective.max_cost or 0.0)
                value, plain = then_p, np.where(is_met, best_p, np.inf)
            value = np.where(goes_on & meets, value, -np.inf)
            place = np.argmax(value, axis=1)
            is_cascade = value[rows, place] > plain + _LEAST_GAIN
        else:
            # Who reaches the target is judged by cost, who does not by probability.
            meets = goes_on & (then_p >= objective.target_accuracy)
            reaches = meets.any(axis=1)
            price = np.where(meets, then_cost, np.inf)
            chance = np.where(goes_on, then_p, -np.inf)
            cheapest: Ints = np.argmin(price, axis=1)
            likeliest: Ints = np.argmax(chance, axis=1)
            place = np.where(reaches, cheapest, likeliest)
            is_cheaper = price[rows, place] < best_cost * (1.0 - _LEAST_GAIN)
            is_likelier = chance[rows, place] > best_p + _LEAST_GAIN
            is_cascade = np.where(reaches, ~is_met | is_cheaper, ~is_met & is_likelier)
        if not is_cascade.any():
            return CascadePlan(choice, is_cascade, best_p, best_cost, is_met)
        return CascadePlan(
            np.where(is_cascade, self._firsts[place], choice),
            is_cascade,
            np.where(is_cascade, then_p[rows, place], best_p),
            np.where(is_cascade, then_cost[rows, place], best_cost),
            np.where(is_cascade, meets[rows, place], is_met),
        )

    def _expected(
        self, p: Floats, cost: Floats, objective: Objective
    ) -> tuple[Floats, Floats, Bools]:
        """Return probability, cost and whether anything is ever escalated, `(n_rows, n_firsts)`."""
        firsts, n_rows = self._firsts, len(p)
        before = logit(p)
        bins = np.add.reduce(before[:, firsts, np.newaxis] > self.parameters.edges, axis=2)
        # (n_rows, n_firsts, n_scenarios, n_arms)
        shifts = self.parameters.shifts[self._places, bins]
        after = _sigmoid(before[:, np.newaxis, np.newaxis, :] + shifts)
        own = cost[:, firsts]
        total = cost[:, np.newaxis, :] + own[:, :, np.newaxis]  # (n_rows, n_firsts, n_arms)
        total[:, self._places, firsts] = own
        second = _best(after, total[:, :, np.newaxis, :], self._columns, objective)
        # Flat indices, because `take_along_axis` takes longer than everything else together.
        n_scenarios, n_arms = after.shape[2:]
        flat = second.reshape(n_rows * len(firsts), n_scenarios)
        starts = np.arange(len(flat))[:, np.newaxis]
        then_p = after.reshape(-1)[(starts * n_scenarios + self._scenarios) * n_arms + flat]
        then_cost = total.reshape(-1)[starts * n_arms + flat]
        goes_on = np.logical_or.reduce(second != self._columns, axis=2)
        shape = (n_rows, len(firsts))
        return (
            np.add.reduce(then_p, axis=1).reshape(shape) / n_scenarios,
            np.add.reduce(then_cost, axis=1).reshape(shape) / n_scenarios,
            goes_on,
        )


def logit(p: Floats) -> Floats:
    """Return log-odds; probabilities are kept a thousandth of a percent away from 0 and 1."""
    inside = np.minimum(np.maximum(p, _LEAST_P), 1.0 - _LEAST_P)
    return np.log(inside / (1.0 - inside))


def features_of(evidence: Floats, center: Floats, scale: Floats) -> Floats:
    """Return standardised evidence and its squares, 0 for kinds that are not used.

    Args:
        evidence: Shape `(n_rows, n_kinds)`.
        center: What counts as usual, shape `(n_kinds,)`.
        scale: One standard deviation of each kind; 0 for those that are not used.

    Returns:
        Shape `(n_rows, 2 * n_kinds)`: values in standard deviations, clipped to +-4, then their
        squares less one.
    """
    used = (scale > 0.0) & ~np.isnan(evidence)
    z = np.where(used, (evidence - center) / np.where(scale > 0.0, scale, 1.0), 0.0)
    z = z.clip(-_LARGEST_Z, _LARGEST_Z)
    return np.concatenate((z, np.where(used, z * z - 1.0, 0.0)), axis=1)


def _sigmoid(x: Floats) -> Floats:
    # exp would overflow further out; nothing that was fitted comes near.
    return 1.0 / (1.0 + np.exp(-np.maximum(x, -700.0)))


def _best(p: Floats, total: Floats, first: NDArray[np.int64], objective: Objective) -> Ints:
    """Return the best arm of each row of any leading shape, the first answer being there already.

    A target that nobody reaches falls back to the highest probability. A cap that only the
    first call fits, or that not even that fits, keeps the first answer.
    """
    if objective.tradeoff is not None:
        return np.argmax(p - objective.tradeoff * total, axis=-1)
    if objective.target_accuracy is not None:
        reaches = p >= objective.target_accuracy
        cheapest: Ints = np.argmin(np.where(reaches, total, np.inf), axis=-1)
        likeliest: Ints = np.argmax(p, axis=-1)
        return np.where(np.logical_or.reduce(reaches, axis=-1), cheapest, likeliest)
    fits = np.broadcast_to(total <= np.float64(objective.max_cost or 0.0), p.shape)
    likeliest = np.argmax(np.where(fits, p, -1.0), axis=-1)
    return np.where(np.logical_or.reduce(fits, axis=-1), likeliest, first)


def _second(revised: Floats, total: Floats, first: int, objective: Objective) -> Sequence[int]:
    """Return the arm after which each row is done, `(n_rows,)`."""
    return _best(revised, total, np.full(len(revised), first), objective).tolist()


def _measured(matrix: OutcomeMatrix, objective: Objective) -> Floats:
    known = {"tokens": matrix.tokens, "flops": matrix.flops, "seconds": matrix.seconds}
    if objective.unit not in known:
        raise InvalidInputError(
            f"the cost of recorded outcomes in {objective.unit} is not known",
            hint="pass true_cost=",
        )
    return known[objective.unit]
