"""Off-policy evaluation from a feedback log: of another router, or of another objective."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from policies import InvalidInputError

from .._decision import choose
from .._objective import Objective
from .._router import Router
from ._feedback import FeedbackLog
from ._logged import LoggedDecision
from ._offpolicy import LoggedChoices, OffPolicyReport, evaluate_offpolicy

__all__ = ["OffPolicyStudy", "evaluate_log"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class OffPolicyStudy:
    """What a log says about another router.

    Attributes:
        policy: What was evaluated: the new router's artifact id, or the objective.
        accuracy: Its mean score.
        tokens: Its mean generated tokens, `None` if no outcome said how many there were.
        n_decisions: Decisions in the log.
        n_without_outcome: Those left out because nobody told what became of them, or because
            the infrastructure failed.
        n_without_prompt: Those left out because their prompt was not stored.
    """

    policy: str
    accuracy: OffPolicyReport
    tokens: OffPolicyReport | None
    n_decisions: int
    n_without_outcome: int
    n_without_prompt: int

    @property
    def refusal(self) -> str | None:
        """Why accuracy cannot be estimated, `None` if it can."""
        return self.accuracy.refusal

    def to_json(self) -> dict[str, Any]:
        """Return one JSON object."""
        return asdict(self)


class _Arrays(NamedTuple):
    choice: NDArray[np.int64]
    propensities: Floats
    p: Floats
    tokens: Floats
    policy: Floats


def evaluate_log(
    log: FeedbackLog,
    *,
    router: Router | None = None,
    objective: Objective | None = None,
    artifact_id: str | None = None,
    clip: float | None = None,
    confidence: float = 0.95,
) -> OffPolicyStudy:
    """Estimate how a router, or an objective, would have done on the decisions of a log.

    Another objective of the same router needs no prompts: what was expected of every arm is in
    the log. Another router has to read the prompts.

    Args:
        log: The log.
        router: The new router; `None` takes the logged predictions.
        objective: The new objective; the router's default if `None`.
        artifact_id: Only decisions of this router; by default all of the log.
        clip: See `evaluate_offpolicy`.
        confidence: Coverage of the intervals, in (0, 1).

    Raises:
        InvalidInputError: Neither router nor objective is given; there are no outcomes; a router
            is given but no prompts were stored; or an arm has no cost in the objective's unit.
        UnknownNameError: The router does not know a task that a caller gave.
        StoreError: The log is damaged.
    """
    if router is None and objective is None:
        raise InvalidInputError("give a router, an objective, or both")
    decisions = list(log.decisions(artifact_id=artifact_id))
    known = [d for d in decisions if d.outcome is not None and d.outcome.score is not None]
    usable = known if router is None else [d for d in known if d.prompt is not None]
    if known and not usable:
        raise InvalidInputError(
            "the log holds no prompts, and another router would have to read them",
            hint="open the log with store_prompts=True, or evaluate another objective only",
            code="prompts-not-stored",
        )
    if not usable:
        raise InvalidInputError(
            f"none of {len(decisions)} logged decisions has an outcome",
            hint="record what became of them: router.record(decision, outcome)",
        )
    arrays = _arrays(usable, router, objective)
    groups = [d.prompt_sha256 or d.decision_id for d in usable]
    scores = np.array([np.nan if d.outcome is None else d.outcome.score for d in usable])
    chosen = LoggedChoices(arrays.choice, arrays.propensities, scores, arrays.p, groups)
    name = router.artifact_id if router is not None else str(objective and objective.to_json())
    return OffPolicyStudy(
        policy=name,
        accuracy=evaluate_offpolicy(chosen, arrays.policy, clip=clip, confidence=confidence),
        tokens=_tokens(usable, arrays, groups, clip, confidence),
        n_decisions=len(decisions),
        n_without_outcome=len(decisions) - len(known),
        n_without_prompt=len(known) - len(usable),
    )


def _arrays(
    decisions: Sequence[LoggedDecision], router: Router | None, objective: Objective | None
) -> _Arrays:
    own = [] if router is None else [arm.name for arm in router.arms]
    names = list(dict.fromkeys([*(arm for d in decisions for arm in d.arms), *own]))
    column = {name: position for position, name in enumerate(names)}
    shape = (len(decisions), len(names))
    propensities, p, tokens, policy = (np.zeros(shape) for _ in range(4))
    if router is None:
        choices = [_choose_again(decision, objective) for decision in decisions]
    else:
        choices = _choose_anew(decisions, router, objective, column, (p, tokens))
    for row, (decision, choice) in enumerate(zip(decisions, choices, strict=True)):
        columns = [column[arm] for arm in decision.arms]
        certain = [float(arm == decision.arm) for arm in decision.arms]
        propensities[row, columns] = decision.propensities or certain
        # What the logging router expected never saw the outcome; it comes before the new one's.
        p[row, columns] = decision.p
        tokens[row, columns] = decision.tokens
        policy[row, column[choice]] = 1.0
    chosen = np.array([column[decision.arm] for decision in decisions], dtype=np.int64)
    return _Arrays(chosen, propensities, p, tokens, policy)


def _choose_again(decision: LoggedDecision, objective: Objective | None) -> str:
    """Return the arm that an objective chooses by the logged predictions."""
    if objective is None or objective.unit not in (decision.unit, "tokens"):
        raise InvalidInputError(
            f"the log holds costs in {decision.unit} and tokens only",
            hint="choose one of these units, or give the router and log prompts",
        )
    if objective.max_mean_cost is not None:
        raise InvalidInputError(
            "a mean cost needs the router's measured questions", hint="give the router, too"
        )
    cost = decision.cost if objective.unit == decision.unit else decision.tokens
    choice, _ = choose(np.array([decision.p]), np.array([cost]), objective)
    return decision.arms[int(choice[0])]


def _choose_anew(
    decisions: Sequence[LoggedDecision],
    router: Router,
    objective: Objective | None,
    column: dict[str, int],
    estimates: tuple[Floats, Floats],
) -> list[str]:
    """Return the arms that a router chooses; fill in what it expects of every arm of its own."""
    hints = [
        max(d.posterior, key=d.posterior.__getitem__) if d.is_hinted else None for d in decisions
    ]
    choices = [""] * len(decisions)
    for hint in dict.fromkeys(hints):
        rows = [row for row, own in enumerate(hints) if own == hint]
        prompts = [decisions[row].prompt or "" for row in rows]
        made = router.decide_many(prompts, hint, objective=objective)
        for row, decision in zip(rows, made, strict=True):
            choices[row] = decision.arm.name
            for candidate in decision.candidates:
                estimates[0][row, column[candidate.arm]] = candidate[1]
                estimates[1][row, column[candidate.arm]] = candidate.tokens
    return choices


def _tokens(
    decisions: Sequence[LoggedDecision],
    arrays: _Arrays,
    groups: Sequence[str],
    clip: float | None,
    confidence: float,
) -> OffPolicyReport | None:
    spent = [None if d.outcome is None else d.outcome.completion_tokens for d in decisions]
    rows = [row for row, value in enumerate(spent) if value is not None]
    if not rows:
        return None
    chosen = LoggedChoices(
        arrays.choice[rows],
        arrays.propensities[rows],
        np.array([spent[row] for row in rows], dtype=np.float64),
        arrays.tokens[rows],
        [groups[row] for row in rows],
    )
    return evaluate_offpolicy(
        chosen, arrays.policy[rows], clip=clip, confidence=confidence, has_unit_rewards=False
    )
