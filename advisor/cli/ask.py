"""`advisor ask`: answer one prompt the way the router decides."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ._objective import AccuracyOption, CostOption, LambdaOption, UnitOption, read_objective
from ._output import format_flops, format_share, note, print_json, print_table, print_text, table

if TYPE_CHECKING:
    from router import Decision

__all__ = ["ask", "show_decision"]


def ask(
    prompt: Annotated[str, typer.Argument(help="The question.")],
    router: Annotated[
        Path | None, typer.Option(help="Router folder; the default is the bundled one.")
    ] = None,
    task: Annotated[
        str | None, typer.Option(help="Task type, if you know it; it sharpens the decision.")
    ] = None,
    tradeoff: LambdaOption = None,
    target_accuracy: AccuracyOption = None,
    max_cost: CostOption = None,
    unit: UnitOption = "tokens",
    explain: Annotated[bool, typer.Option("--explain", help="Show every arm's estimate.")] = False,
    decide_only: Annotated[
        bool, typer.Option("--decide-only", help="Print the decision, ask no model.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Answer one prompt: decide on an arm, ask it, print the answer.

    Example: advisor ask "Compute mod ten, left to right: 7+5*3" --explain
    """
    from dataclasses import asdict

    from calibration.graders import find_anchored_answer
    from policies import InvalidInputError
    from router import Router, default_router

    if not prompt.strip():
        raise InvalidInputError("the prompt is empty")
    objective = read_objective(tradeoff, target_accuracy, max_cost, unit)
    loaded = Router.load(router) if router is not None else default_router()
    if decide_only:
        decision = loaded.decide(prompt, task, objective=objective)
        if as_json:
            print_json({"decision": decision.to_json()})
        else:
            show_decision(decision)
        return
    routed = loaded.complete(prompt, task=task, objective=objective)
    answer = find_anchored_answer(routed.text)
    if as_json:
        print_json(
            {
                "text": routed.text,
                "answer": answer,
                "decision": routed.decision.to_json(),
                "usage": asdict(routed.completion.usage),
            }
        )
        return
    print_text(routed.text)
    if explain:
        show_decision(routed.decision)
        if routed.completion.thinking:
            note(f"thought: {routed.completion.thinking}")


def show_decision(decision: "Decision") -> None:
    """Print the chosen arm, the reasons and every candidate."""
    print_text(f"arm: {decision.arm.name} ({', '.join(decision.reasons)})")
    print_table(
        table(
            "candidates",
            ("arm", "p(correct)", "tokens", "FLOPs"),
            [
                (c.arm, format_share(c.p_correct), f"{c.tokens:.1f}", format_flops(c.flops))
                for c in decision.candidates
            ],
        )
    )
