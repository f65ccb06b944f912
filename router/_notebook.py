"""How decisions and explanations look in a notebook; none of it holds any part of a prompt."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from policies.html_tables import (
    Entry,
    Figure,
    amount,
    bullets,
    definitions,
    figure,
    interval,
    paragraph,
    table,
    view,
)

if TYPE_CHECKING:
    from ._decision import Decision
    from ._explanation import ExplainedCandidate, Explanation
    from ._objective import CostUnit, Objective

__all__ = ["decision_html", "explanation_html"]

_FORECAST = "a forecast for this prompt"
_UNITS = {"flops": "FLOPs", "usd": "USD", "seconds": "s"}


def decision_html(decision: "Decision") -> str:
    """Return a decision as HTML: the arm, why, and what every candidate was expected to do."""
    columns = ["arm", "p(correct)", "expected tokens", "FLOPs", "seconds", *_cost_head(decision)]
    chances = decision.propensities
    columns += ["chance"] * (chances is not None)
    rows = [
        (
            _marked(each.arm, decision),
            figure(each.p, ".3f", title=_FORECAST),
            figure(each.tokens, ",.1f"),
            amount(each.flops),
            figure(each.seconds, ".3g"),
            *_cost(each.cost, decision),
            *(() if chances is None else (figure(chances[at], ".3f"),)),
        )
        for at, each in enumerate(decision.candidates)
    ]
    return view(
        *_head(decision, decision.reasons),
        table("candidates", columns, rows),
        bullets(["p is a forecast: Router.explain tells its interval and the n behind it"]),
    )


def explanation_html(explanation: "Explanation") -> str:
    """Return an explanation as HTML: the decision, with intervals, and what resembles it."""
    decision = explanation.decision
    columns = ("arm", "n", "p(correct) [95%]", "tokens [10%, 90%]", "FLOPs", "seconds")
    rows = [_explained(each, decision) for each in explanation.candidates]
    notes = ["interval: outcomes of the n measured questions with the most similar p"]
    if explanation.is_known:
        notes.append("the router was fitted on this very prompt: its p is no forecast")
    if not explanation.neighbours:
        notes.append("no measured question resembles this prompt")
    reasons = [
        f"{code}: {words}"
        for code, words in zip(decision.reasons, explanation.reasons, strict=True)
    ]
    return view(
        *_head(decision, reasons),
        table("what was expected of every arm", [*columns, *_cost_head(decision)], rows),
        bullets(notes),
        _neighbours(explanation) if explanation.neighbours else "",
    )


def _explained(each: "ExplainedCandidate", decision: "Decision") -> Sequence[Entry]:
    return (
        _marked(each.arm, decision),
        figure(each.n_similar, ",d"),
        interval(each.p, each.p_low, each.p_high, title=_FORECAST),
        interval(each.tokens, each.tokens_p10, each.tokens_p90, ",.1f"),
        amount(each.flops),
        figure(each.seconds, ".3g"),
        *_cost(each.cost, decision),
    )


def _neighbours(explanation: "Explanation") -> str:
    arms = [each.arm for each in explanation.candidates]
    rows = [
        (
            each.question_id,
            each.task,
            figure(each.similarity, ".2f"),
            *(
                figure(each.correct.get(arm), ".2f", title="of the answers to this one question")
                for arm in arms
            ),
        )
        for each in explanation.neighbours
    ]
    caption = "nearest measured questions, and the share of each one's answers that was right"
    return table(caption, ("question", "task", "similarity", *arms), rows)


def _head(decision: "Decision", reasons: Sequence[str]) -> tuple[str, str]:
    facts: list[tuple[str, Entry]] = [("why", "; ".join(reasons))]
    facts.append(("objective", _objective(decision.objective)))
    likely = sorted(decision.task_posterior.items(), key=lambda item: -item[1])
    if likely:
        facts.append(("task type", ", ".join(f"{name} {share:.2f}" for name, share in likely[:4])))
    then = decision.escalation
    if then is not None:
        text = f"p {then.p:.3f}, cost {then.cost:,.4g} {_unit(decision.objective.unit)}, both calls"
        facts.append((f"may go on to {', '.join(then.arms)}", text))
    facts.append(("router", f"{decision.artifact_id[:12]}, features {decision.features_version}"))
    return paragraph(f"arm: {decision.arm.name}", is_strong=True), definitions(facts)


def _objective(objective: "Objective") -> str:
    unit = _unit(objective.unit)
    if objective.tradeoff is not None:
        text = f"highest p - {objective.tradeoff:g} * {unit}"
    elif objective.target_accuracy is not None:
        text = f"least {unit} with p >= {objective.target_accuracy:g}"
    elif objective.max_cost is not None:
        text = f"highest p with at most {objective.max_cost:,.4g} {unit}"
    else:
        text = f"most accuracy for {objective.max_mean_cost or 0.0:,.4g} {unit} on average"
    return text if objective.max_seconds is None else f"{text}, within {objective.max_seconds:g} s"


def _unit(unit: "CostUnit") -> str:
    return _UNITS.get(unit, unit)


def _marked(arm: str, decision: "Decision") -> str:
    return f"{arm} (chosen)" if arm == decision.arm.name else arm


def _cost_head(decision: "Decision") -> tuple[str, ...]:
    return ("cost in USD",) if decision.objective.unit == "usd" else ()


def _cost(cost: float, decision: "Decision") -> tuple[Figure | None, ...]:
    """Return a price; every other unit has a column of its own."""
    return (figure(cost, ".3g"),) if decision.objective.unit == "usd" else ()
