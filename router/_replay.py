"""What a router decides on the questions of its own fit, beside what was measured of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from policies import NoAdmissibleArmError

from ._decider import Asked, Decider
from ._decision import Decision, choose
from ._explanation import Explanation, explain_decision
from ._objective import Objective
from ._selection import candidate_tradeoffs
from .model._model import OutcomeModel, Predictions

__all__ = ["Replay", "replay"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Replay:
    """The questions that a router remembers of its fit, without their texts.

    Expectations are out of fold: made by models that had not seen the question. The default
    objective may have been chosen with these questions, so that what was measured at it is
    somewhat optimistic; `evaluate` judges on others.

    Attributes:
        question_ids: Question identifiers.
        tasks: Their tasks.
        task_types: Their task types.
        decisions: What is decided on each, `None` where no arm satisfies the objective; what
            types the text alone suggests is not stored, so that `task_posterior` is empty.
        p_correct: Calibrated p of every arm, shape `(n_questions, n_arms)`.
        tokens_expected: Expected generated tokens, same shape.
        cost_expected: Expected cost in the objective's unit, same shape.
        correct: Measured share of correct answers, NaN where not measured, same shape.
        tokens: Measured generated tokens, NaN where not measured, same shape.
        tradeoffs: Trade-offs from free to prohibitive in the objective's unit, ascending, with
            the objective's own, shape `(n_tradeoffs,)`.
        choices: Column of the arm chosen by a single call at each, shape
            `(n_questions, n_tradeoffs)`.
        tradeoff: The objective's own, also that of a mean cost; `None` for other rules.
        is_out_of_fold: Whether expectations are out of fold; with too few questions or groups
            for folds they have seen the outcomes.
    """

    question_ids: tuple[str, ...]
    tasks: tuple[str, ...]
    task_types: tuple[str, ...]
    decisions: tuple[Decision | None, ...]
    p_correct: Floats
    tokens_expected: Floats
    cost_expected: Floats
    correct: Floats
    tokens: Floats
    tradeoffs: Floats
    choices: NDArray[np.int64]
    tradeoff: float | None
    is_out_of_fold: bool
    _model: OutcomeModel = field(repr=False)

    def explain(self, row: int) -> Explanation | None:
        """Return why the decision on a question fell as it did, without similar questions.

        Args:
            row: Position of the question.
        """
        decision = self.decisions[row]
        if decision is None:
            return None
        return explain_decision(decision, "", self._model, 0, is_known=True)


def replay(
    model: OutcomeModel,
    decider: Decider,
    objective: Objective,
    task_type_of: Mapping[str, str],
    *,
    is_out_of_fold: bool,
) -> Replay:
    """Return what a decider makes of the questions that its model remembers.

    Args:
        model: The model.
        decider: Decides by it.
        objective: What to optimise.
        task_type_of: Task type of every task of the fit.
        is_out_of_fold: Whether the model's expectations of them are out of fold.

    Raises:
        InvalidInputError: An arm has no cost in the objective's unit.
        NoAdmissibleArmError: Even the cheapest arms cost more than the objective's mean cost.
    """
    expected, reference = model.expected_for_reference(), model.parameters.reference
    rule = decider.resolve(objective)
    cost = decider.cost(expected, rule)
    tradeoffs = np.union1d(candidate_tradeoffs(cost), [rule.tradeoff or 0.0])
    chosen = [
        choose(expected.p_correct, cost, Objective.trade(tradeoff, rule.unit))[0]
        for tradeoff in tradeoffs.tolist()
    ]
    correct, tokens = (
        np.where(values < 0, np.nan, values.astype(np.float64))
        for values in (reference.correct, reference.tokens)
    )
    return Replay(
        question_ids=reference.ids,
        tasks=reference.tasks,
        task_types=tuple(task_type_of[task] for task in reference.tasks),
        decisions=_decisions(decider, objective, expected),
        p_correct=expected.p_correct,
        tokens_expected=expected.tokens,
        cost_expected=cost,
        correct=correct,
        tokens=tokens,
        tradeoffs=tradeoffs,
        choices=np.stack(chosen, axis=1),
        tradeoff=rule.tradeoff,
        is_out_of_fold=is_out_of_fold,
        _model=model,
    )


def _decisions(
    decider: Decider, objective: Objective, expected: Predictions
) -> tuple[Decision | None, ...]:
    asked = Asked(objective)
    n = len(expected.p_correct)
    if not n:
        return ()
    try:
        made = [each for each, _ in decider.decide([""] * n, asked, expected)]
        return tuple(map(_without_prompt, made))
    except NoAdmissibleArmError:
        pass  # of one question at least: which of them, each tells for itself
    found: list[Decision | None] = []
    for row in range(n):
        one = Predictions(*(values[row : row + 1] for values in expected))
        try:
            found.append(_without_prompt(decider.decide([""], asked, one)[0][0]))
        except NoAdmissibleArmError:
            found.append(None)
    return tuple(found)


def _without_prompt(decision: Decision) -> Decision:
    return replace(decision, task_posterior={}, prompt=None)
