"""What a feedback log holds: decisions as they were made, and what became of them."""

import hashlib
import hmac
import json
import math
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from calibration import Outcome
from policies import InvalidInputError, StoreError

from .._decision import Decision

__all__ = [
    "LoggedDecision",
    "LoggedOutcome",
    "check_logged",
    "decision_from_row",
    "hash_prompt",
    "log_decision",
    "read_outcome",
    "score_of",
]

_SCORES = {Outcome.CORRECT: 1.0, Outcome.WRONG: 0.0, Outcome.CUT: 0.0, Outcome.ERROR: None}


@dataclass(frozen=True, slots=True)
class LoggedOutcome:
    """What became of a decision.

    Attributes:
        time_s: When it was reported, seconds since 1970.
        outcome: What became of the answer; `None` for partial credit.
        score: 1 for correct, 0 for wrong and cut, or partial credit in between; `None` for an
            infrastructure error, which is no wrong answer.
        completion_tokens: Generated tokens, `None` if not reported.
        seconds: Wall seconds, `None` if not reported.
    """

    time_s: float
    outcome: Outcome | None
    score: float | None
    completion_tokens: int | None = None
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class LoggedDecision:
    """One decision, with what was known when it was made.

    Attributes:
        decision_id: Its name.
        time_s: When it was logged, seconds since 1970.
        artifact_id: Content hash of the router that decided.
        arms: Names of all arms.
        arm: Name of the chosen arm.
        p: Predicted probability of a correct answer of each arm.
        tokens: Expected generated tokens of each arm.
        cost: Expected cost of each arm, in `unit`.
        unit: Unit of the objective's cost.
        propensities: Probability with which each arm would have been chosen; `None` if the
            choice was deterministic.
        posterior: Probability of each task type.
        is_hinted: Whether the caller gave the task, so that `posterior` is no guess.
        features: Numbers that the drift monitor watches; may be empty.
        prompt_sha256: Hash of the prompt, `None` if no prompt was given.
        prompt_bytes: Length of the prompt.
        prompt: The prompt, where prompts are stored.
        outcome: What became of it, `None` if nobody has told.
    """

    decision_id: str
    time_s: float
    artifact_id: str
    arms: tuple[str, ...]
    arm: str
    p: tuple[float, ...]
    tokens: tuple[float, ...]
    cost: tuple[float, ...]
    unit: str
    propensities: tuple[float, ...] | None = None
    posterior: Mapping[str, float] = field(default_factory=dict[str, float])
    is_hinted: bool = False
    features: Mapping[str, float] = field(default_factory=dict[str, float])
    prompt_sha256: str | None = None
    prompt_bytes: int | None = None
    prompt: str | None = None
    outcome: LoggedOutcome | None = None

    @property
    def position(self) -> int:
        """Position of the chosen arm in `arms`."""
        return self.arms.index(self.arm)

    @property
    def propensity(self) -> float:
        """Probability with which the chosen arm was chosen; 1 for a deterministic choice."""
        return 1.0 if self.propensities is None else self.propensities[self.position]


def log_decision(
    decision: Decision,
    *,
    decision_id: str,
    time_s: float,
    prompt: str | None = None,
    features: Mapping[str, float] | None = None,
    propensities: Sequence[float] | None = None,
) -> LoggedDecision:
    """Return what is logged of a decision.

    Args:
        decision: What the router said.
        decision_id: Its name.
        time_s: The time, seconds since 1970.
        prompt: The prompt, if it or its hash is to be logged.
        features: Numbers for the drift monitor.
        propensities: Probability of each arm, in the order of the candidates.

    Raises:
        InvalidInputError: The propensities are no distribution over the candidates, or the
            chosen arm has none.
    """
    arms = tuple(candidate.arm for candidate in decision.candidates)
    if propensities is not None:
        _check_propensities(propensities, arms.index(decision.arm.name), len(arms))
    return LoggedDecision(
        decision_id=decision_id,
        time_s=time_s,
        artifact_id=decision.artifact_id,
        arms=arms,
        arm=decision.arm.name,
        # By position: probability, tokens, FLOPs, seconds, cost.
        p=tuple(float(candidate[1]) for candidate in decision.candidates),
        tokens=tuple(float(candidate.tokens) for candidate in decision.candidates),
        cost=tuple(float(candidate.cost) for candidate in decision.candidates),
        unit=decision.objective.unit,
        propensities=None if propensities is None else tuple(map(float, propensities)),
        posterior=dict(decision.task_posterior),
        is_hinted="task-given" in decision.reasons,
        features=dict(features or {}),
        prompt=prompt,
    )


def check_logged(decision: LoggedDecision) -> None:
    """Refuse a decision that could not be read back.

    Raises:
        InvalidInputError: Numbers and arms do not fit each other, or the score is not in [0, 1].
    """
    n_arms, outcome = len(decision.arms), decision.outcome
    if decision.arm not in decision.arms:
        raise InvalidInputError(f"{decision.arm!r} is none of the arms {decision.arms!r}")
    if not len(decision.p) == len(decision.tokens) == len(decision.cost) == n_arms:
        raise InvalidInputError(
            f"decision {decision.decision_id!r} needs p, tokens and cost of {n_arms} arms"
        )
    if decision.propensities is not None:
        _check_propensities(decision.propensities, decision.position, n_arms)
    if outcome is not None and outcome.score is not None and not 0.0 <= outcome.score <= 1.0:
        raise InvalidInputError(f"score {outcome.score!r} is not between 0 and 1")


def score_of(outcome: Outcome | str | bool | float) -> tuple[Outcome | None, float | None]:
    """Return an outcome and its score in [0, 1]; errors have no score.

    Args:
        outcome: An `Outcome` or its name, whether the answer was right, or a score.

    Raises:
        InvalidInputError: It is none of these.

    Example:
        >>> score_of(True)
        (<Outcome.CORRECT: 'correct'>, 1.0)
        >>> score_of(0.25)
        (None, 0.25)
    """
    if isinstance(outcome, str):
        try:
            known = Outcome(outcome)
        except ValueError:
            raise InvalidInputError(
                f"outcome {outcome!r} is unknown",
                hint="write correct, wrong, cut or error, True or False, or a score in [0, 1]",
            ) from None
        return known, _SCORES[known]
    score = float(outcome)
    if not 0.0 <= score <= 1.0:
        raise InvalidInputError(f"score {outcome!r} is not between 0 and 1")
    return {1.0: Outcome.CORRECT, 0.0: Outcome.WRONG}.get(score), score


def read_outcome(
    outcome: Outcome | str | bool | float,
    *,
    time_s: float,
    completion_tokens: int | None = None,
    seconds: float | None = None,
) -> LoggedOutcome:
    """Return what is logged of an outcome.

    Raises:
        InvalidInputError: The outcome is unknown, or tokens or seconds are negative or infinite.
    """
    for name, value in (("completion_tokens", completion_tokens), ("seconds", seconds)):
        if value is not None and not (0 <= value < math.inf):
            raise InvalidInputError(f"{name}={value!r}: expected a finite number >= 0")
    kind, score = score_of(outcome)
    return LoggedOutcome(time_s, kind, score, completion_tokens, seconds)


def hash_prompt(prompt: str, salt: bytes) -> str:
    """Return the SHA-256 of a prompt, keyed with a salt if there is one (HMAC).

    Without a salt whoever guesses a prompt can tell that it was asked.
    """
    data = prompt.encode("utf-8", "surrogatepass")
    if not salt:
        return hashlib.sha256(data).hexdigest()
    return hmac.new(salt, data, hashlib.sha256).hexdigest()


def decision_from_row(row: sqlite3.Row) -> LoggedDecision:
    """Rebuild a decision from a row of the log.

    Raises:
        StoreError: The row is damaged.
    """
    try:
        arms: list[str] = json.loads(row["arms"])
        chosen: int = row["arm"]
        outcome = None
        if row["outcome_time_s"] is not None:
            kind = row["outcome"]
            outcome = LoggedOutcome(
                row["outcome_time_s"],
                None if kind is None else Outcome(kind),
                row["score"],
                row["completion_tokens"],
                row["seconds"],
            )
        return LoggedDecision(
            decision_id=row["id"],
            time_s=row["time_s"],
            artifact_id=row["artifact_id"],
            arms=tuple(arms),
            arm=arms[chosen],
            p=_numbers(row["p"], len(arms)),
            tokens=_numbers(row["tokens"], len(arms)),
            cost=_numbers(row["cost"], len(arms)),
            unit=row["unit"],
            propensities=(
                None if row["propensities"] is None else _numbers(row["propensities"], len(arms))
            ),
            posterior=_named(row["posterior"]),
            is_hinted=bool(row["is_hinted"]),
            features=_named(row["features"]),
            prompt_sha256=row["prompt_sha256"],
            prompt_bytes=row["prompt_bytes"],
            prompt=row["prompt"],
            outcome=outcome,
        )
    except (ValueError, TypeError, IndexError) as error:
        raise StoreError(
            f"decision {row['id']!r} of the feedback log is damaged: {error}", code="store-damaged"
        ) from error


def _check_propensities(propensities: Sequence[float], chosen: int, n_arms: int) -> None:
    is_sound = (
        len(propensities) == n_arms
        and all(0.0 <= value <= 1.0 for value in propensities)
        and abs(math.fsum(propensities) - 1.0) < 1e-6
        and propensities[chosen] > 0.0
    )
    if not is_sound:
        raise InvalidInputError(
            f"propensities {tuple(propensities)!r} are no distribution over {n_arms} arms in "
            "which the chosen one can be chosen"
        )


def _numbers(text: str, n: int) -> tuple[float, ...]:
    values: list[Any] = json.loads(text)
    if len(values) != n:
        raise ValueError(f"{len(values)} numbers for {n} arms")
    return tuple(map(float, values))


def _named(text: str) -> dict[str, float]:
    document: dict[str, Any] = json.loads(text)
    return {name: float(value) for name, value in document.items()}
