"""`advisor offpolicy`: how another router would have done on logged decisions."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ._exit import ExitCode
from ._objective import (
    AccuracyOption,
    CostOption,
    LambdaOption,
    MeanCostOption,
    PerThousandOption,
    UnitOption,
    read_objective,
)
from ._output import print_json, print_table, print_text, table

if TYPE_CHECKING:
    from router import OffPolicyReport, OffPolicyStudy

__all__ = ["offpolicy", "show_study"]


def offpolicy(
    log: Annotated[Path, typer.Argument(help="Feedback log written by router.record.")],
    router: Annotated[
        Path | None, typer.Option(help="Folder of the new router; the log must hold prompts.")
    ] = None,
    tradeoff: LambdaOption = None,
    target_accuracy: AccuracyOption = None,
    max_cost: CostOption = None,
    max_mean_cost: MeanCostOption = None,
    max_cost_per_1000: PerThousandOption = None,
    unit: UnitOption = None,
    clip: Annotated[
        float | None, typer.Option(help="Cut weights above this; trades variance for bias.")
    ] = None,
    confidence: Annotated[float, typer.Option(help="Coverage of the intervals.")] = 0.95,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Estimate how a new router, or another objective, would have done on a log.

    Example: advisor offpolicy feedback.sqlite --router routers/second

    Needs a log that was written with exploration. Without it the part that can be told is printed,
    and the exit code is 6.
    """
    from policies import InvalidInputError
    from router import FeedbackLog, Router, evaluate_log

    objective = read_objective(
        tradeoff=tradeoff,
        target_accuracy=target_accuracy,
        max_cost=max_cost,
        max_mean_cost=max_mean_cost,
        max_cost_per_1000=max_cost_per_1000,
        unit=unit,
    )
    if objective is not None and objective.max_mean_cost is not None and router is None:
        raise InvalidInputError(
            "a mean cost is kept over the questions of a router, and none is given",
            hint="give --router, or another rule",
        )
    loaded = None if router is None else Router.load(router)
    with FeedbackLog.read(log) as opened:
        study = evaluate_log(
            opened, router=loaded, objective=objective, clip=clip, confidence=confidence
        )
    if as_json:
        print_json({"log": str(log), **study.to_json()})
    else:
        show_study(study)
    if study.refusal is not None:
        raise typer.Exit(ExitCode.UNSATISFIED)


def show_study(study: "OffPolicyStudy") -> None:
    """Print the estimates of accuracy and tokens, or why there are none."""
    reports = {"accuracy": study.accuracy}
    if study.tokens is not None:
        reports["tokens"] = study.tokens
    for name, report in reports.items():
        print_table(
            table(
                f"{name} on {report.n:,} logged decisions",
                ("estimate", "value", "from", "to"),
                list(_rows(report, is_share=name == "accuracy")),
            )
        )
    accuracy = study.accuracy
    print_text(
        f"worth {accuracy.effective_n:,.0f} decisions of the new router; largest weight "
        f"{accuracy.max_weight:.3g}; support {accuracy.supported:.1%}"
    )
    if study.n_without_outcome or study.n_without_prompt:
        print_text(
            f"left out: {study.n_without_outcome:,} decisions without an outcome, "
            f"{study.n_without_prompt:,} without a stored prompt"
        )
    if study.refusal is not None:
        print_text(f"NO ESTIMATE: {study.refusal}")
        if accuracy.bounds is not None:
            low, high = accuracy.bounds
            print_text(f"its accuracy on these prompts lies between {low:.3f} and {high:.3f}")


def _rows(report: "OffPolicyReport", *, is_share: bool) -> "list[tuple[str, ...]]":
    """Return the estimates; ends of intervals stay where an accuracy can be."""
    estimates = {
        "as logged": report.logged,
        "new, doubly robust": report.doubly_robust,
        "new minus logged": report.difference,
        "new, IPS": report.ips,
        "new, self-normalised IPS": report.snips,
        f"where both agree ({report.n_agreed:,.0f})": report.agreed,
    }
    rows: list[tuple[str, ...]] = []
    for name, found in estimates.items():
        if found is None:
            continue
        low, high = found.ci_low, found.ci_high
        if is_share:
            least = -1.0 if found is report.difference else 0.0
            low, high = max(low, least), min(high, 1.0)
        rows.append((name, f"{found.value:.4g}", f"{low:.4g}", f"{high:.4g}"))
    return [*rows, ("new, by the model's word only", f"{report.model_based:.4g}", "-", "-")]
