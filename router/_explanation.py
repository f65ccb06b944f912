"""Why a decision fell as it did: intervals, spread of tokens, similar measured questions."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ._decision import Decision
from .features.text import read_text
from .model._model import OutcomeModel
from .model._reference import Neighbour

__all__ = ["ExplainedCandidate", "Explanation", "explain_decision"]

_TEXTS = {
    "best-tradeoff": "p minus the price of the cost is highest",
    "target-met": "the cheapest arm that reaches the target",
    "target-unreachable": "no arm reaches the target: the most accurate one",
    "within-cap": "the most accurate arm within the cap",
    "only-arm": "there is no other arm",
    "cheapest": "no arm is cheaper",
    "most-accurate": "no arm is more likely right",
    "explored": "chosen by chance, to learn",
    "caller-cap": "the caller may not have a better arm now",
    "arm-unavailable": "the model of a better arm is not served",
    "look-first": "its answer will tell whether another arm is asked",
    "answer-kept": "its answer looked sound",
    "escalated": "the first answer looked doubtful",
    "task-given": "the caller named the task",
    "task-guessed": "the task was guessed from the text",
    "few-outcomes": "fitted on fewer than 50 questions",
}


class ExplainedCandidate(NamedTuple):
    """One arm in an explanation.

    Attributes:
        arm: Name of the arm.
        p: Calibrated probability of a correct answer.
        p_low: Lower end of the 95% interval of the share correct among measured questions with
            a similar predicted p, widened to hold p.
        p_high: Upper end.
        n_similar: Measured questions behind the interval.
        tokens: Expected generated tokens.
        tokens_p10: 10% quantile of the tokens, from how measured tokens spread around expected.
        tokens_p90: 90% quantile.
        tokens_p99: 99% quantile: a cap above it leaves room for the answer.
        flops: Expected FLOPs, `None` if unknown.
        seconds: Expected seconds, `None` if unknown.
        cost: Cost in the objective's unit.
    """

    arm: str
    p: float
    p_low: float
    p_high: float
    n_similar: int
    tokens: float
    tokens_p10: float
    tokens_p90: float
    tokens_p99: float
    flops: float | None
    seconds: float | None
    cost: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """A decision and what it rests on.

    Attributes:
        decision: The decision.
        candidates: All arms with intervals, in the order of the router's.
        reasons: The decision's reason codes in words.
        neighbours: Measured questions closest to the prompt, closest first.
        is_known: Whether the router was fitted on this very prompt.
    """

    decision: Decision
    candidates: tuple[ExplainedCandidate, ...]
    reasons: tuple[str, ...]
    neighbours: tuple[Neighbour, ...]
    is_known: bool

    def to_json(self) -> dict[str, Any]:
        """Return one JSON object: the decision's, with more about each candidate."""
        return self.decision.to_json() | {
            # NamedTuple's only way to a dictionary has an underscore.
            "candidates": [candidate._asdict() for candidate in self.candidates],
            "explanation": list(self.reasons),
            "neighbours": [neighbour._asdict() for neighbour in self.neighbours],
            "is_known": self.is_known,
        }

    def _repr_html_(self) -> str:
        """Return the explanation as a notebook shows it; it holds no part of the prompt."""
        from ._notebook import explanation_html

        return explanation_html(self)


def explain_decision(
    decision: Decision, prompt: str, model: OutcomeModel, n_neighbours: int, is_known: bool
) -> Explanation:
    """Explain a decision; takes milliseconds, as it looks through the measured questions.

    Args:
        decision: The decision.
        prompt: The text it was made about.
        model: The model it was made by.
        n_neighbours: Most measured questions to name.
        is_known: Whether the router was fitted on this prompt.
    """
    parameters = model.parameters
    p = np.array([candidate.p for candidate in decision.candidates])
    spread = parameters.token_spread
    low, high, counts = parameters.reference.intervals(p)
    candidates = tuple(
        ExplainedCandidate(
            each.arm,
            each.p,
            float(low[arm]),
            float(high[arm]),
            int(counts[arm]),
            each.tokens,
            float(each.tokens * spread[arm, 0]),
            float(each.tokens * spread[arm, 2]),
            float(each.tokens * spread[arm, 3]),
            each.flops,
            each.seconds,
            each.cost,
        )
        for arm, each in enumerate(decision.candidates)
    )
    neighbours = parameters.reference.nearest(
        model.topics([read_text(prompt)])[0], [each.arm for each in candidates], n_neighbours
    )
    reasons = tuple(_TEXTS.get(code, code) for code in decision.reasons)
    return Explanation(decision, candidates, reasons, tuple(neighbours), is_known)
