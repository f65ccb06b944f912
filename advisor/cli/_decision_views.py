"""How a decision is shown: the arm, why, every candidate, and what it rests on."""

from typing import TYPE_CHECKING

from ._output import format_flops, format_interval, format_share, print_table, print_text, table

if TYPE_CHECKING:
    from router import Decision, Explanation, Neighbour, Objective, RoutedCompletion

__all__ = ["describe_objective", "show_decision", "show_explanation"]

_MOST_ARMS = 8
_MOST_TYPES = 4


def describe_objective(objective: "Objective") -> str:
    """Return an objective in words, such as `one point of accuracy is worth 12 tokens`."""
    unit = {"flops": "FLOPs", "usd": "USD"}.get(objective.unit, objective.unit)
    if objective.tradeoff:
        text = f"one point of accuracy is worth {format_amount(0.01 / objective.tradeoff)} {unit}"
    elif objective.tradeoff is not None:
        text = "the highest p; cost breaks ties"
    elif objective.target_accuracy is not None:
        text = f"least {unit} with p >= {objective.target_accuracy:g}"
        text += ", or an error" * objective.is_strict
    elif objective.max_cost is not None:
        text = f"highest p with at most {format_amount(objective.max_cost)} {unit} a query"
    else:
        amount = format_amount(objective.max_mean_cost or 0.0)
        text = f"most accuracy for {amount} {unit} a query on average"
    if objective.max_seconds is not None:
        text += f", answered within {objective.max_seconds:g} s nine times out of ten"
    return text


def format_amount(cost: float) -> str:
    """Return a cost in three digits, large ones such as `4.46M`."""
    return format_flops(cost) if cost >= 1e6 else f"{cost:.3g}" if cost < 1e3 else f"{cost:,.0f}"


def show_decision(decision: "Decision") -> None:
    """Print the chosen arm, the reasons and every candidate."""
    print_text(f"arm: {decision.arm.name} ({', '.join(decision.reasons)})")
    print_table(
        table(
            "candidates",
            ("arm", "p(correct)", "tokens", "FLOPs"),
            [
                (c.arm, format_share(c.p), f"{c.tokens:.1f}", format_flops(c.flops))
                for c in decision.candidates
            ],
        )
    )


def show_explanation(explanation: "Explanation", routed: "RoutedCompletion | None" = None) -> None:
    """Print a decision and what it rests on.

    Args:
        explanation: Of the decision made from the prompt alone.
        routed: What came of it, where a model was asked.
    """
    decision = explanation.decision
    print_text(f"arm: {decision.arm.name}")
    for code, words in zip(decision.reasons, explanation.reasons, strict=True):
        print_text(f"  {code}: {words}")
    print_text(f"objective: {describe_objective(decision.objective)}")
    _show_second(decision, routed)
    _show_types(decision)
    _show_candidates(explanation)
    if explanation.is_known:
        print_text("the router was fitted on this very prompt: its p is no forecast")
    if explanation.neighbours:
        _show_neighbours(explanation.neighbours, [each.arm for each in explanation.candidates])
    else:
        print_text("no measured question resembles this prompt")


def _show_second(decision: "Decision", routed: "RoutedCompletion | None") -> None:
    then = decision.escalation
    if then is None:
        return
    print_text(
        f"expected of both calls together: p {then.p:.3f}, cost {format_amount(then.cost)} "
        f"{decision.objective.unit}"
    )
    if routed is not None and routed.n_calls > 1:
        print_text(f"its answer looked doubtful: {routed.decision.arm.name} was asked too")
    elif routed is not None:
        print_text("its answer looked sound and was kept")


def _show_types(decision: "Decision") -> None:
    likely = sorted(decision.task_posterior.items(), key=lambda item: -item[1])
    if len(likely) > 1:
        shown = (f"{name} {share:.2f}" for name, share in likely[:_MOST_TYPES])
        print_text(f"task type: {', '.join(shown)}")


def _show_candidates(explanation: "Explanation") -> None:
    chosen = explanation.decision.arm.name
    unit = explanation.decision.objective.unit
    has_cost = unit not in {"tokens", "flops"}
    columns = ["arm", "p(correct) [95%]", "n", "tokens (10-90%)", "FLOPs"]
    rows = [
        [
            f"{each.arm} <-" if each.arm == chosen else each.arm,
            format_interval(each.p, each.p_low, each.p_high),
            str(each.n_similar),
            f"{each.tokens:.1f} ({each.tokens_p10:.0f}-{each.tokens_p90:.0f})",
            format_flops(each.flops),
            *([format_amount(each.cost)] if has_cost else []),
        ]
        for each in explanation.candidates
    ]
    columns += [unit] * has_cost
    print_table(table("what was expected of every arm", columns, rows))
    print_text("interval: outcomes of the n measured questions with the most similar p")


def _show_neighbours(neighbours: "tuple[Neighbour, ...]", arms: list[str]) -> None:
    # One column per arm as far as they fit; models that all arms share are left out of the heads.
    shown = arms[:_MOST_ARMS]
    is_one_model = len({arm.rpartition(":")[0] for arm in arms}) == 1
    heads = [arm.rpartition(":")[2] if is_one_model else arm for arm in shown]
    rows = [
        [
            each.question_id,
            each.task,
            f"{each.similarity:.2f}",
            *(_share(each.correct.get(arm)) for arm in shown),
        ]
        for each in neighbours
    ]
    title = "nearest measured questions, and the share correct of each arm"
    print_table(table(title, ("question", "task", "similarity", *heads), rows))
    if len(arms) > len(shown):
        print_text(f"and {len(arms) - len(shown)} more arms: --json has them all")


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}".removesuffix(".00")
