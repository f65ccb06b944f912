"""`advisor evaluate`: how a router does on questions it was not fitted on."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ._output import format_flops, format_interval, print_json, print_table, print_text, table
from ._runs import load_run

if TYPE_CHECKING:
    from router import Evaluation

__all__ = ["evaluate", "show_evaluation"]


def evaluate(
    run: Annotated[Path, typer.Argument(help="Run folder written by advisor calibrate.")],
    model: Annotated[
        str | None, typer.Option(help="Route among the arms of this model only.")
    ] = None,
    folds: Annotated[int, typer.Option(min=2, help="Folds of the cross-validation.")] = 5,
    seed: Annotated[int, typer.Option(help="Seed of the folds.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Compare the router with fixed choices on held-out questions (grouped cross-validation).

    Example: advisor evaluate runs/first
    """
    records = load_run(run, model).records
    from router import evaluate as cross_validate

    result = cross_validate(records, n_folds=folds, seed=seed)
    if as_json:
        print_json({"run": str(run), **result.to_json()})
    else:
        show_evaluation(result)


def show_evaluation(result: "Evaluation") -> None:
    """Print the rows of an evaluation and its headline."""
    print_table(
        table(
            "held-out questions",
            ("choice", "n", "accuracy [95%]", "tokens", "FLOPs"),
            [
                (
                    row.name,
                    str(row.n),
                    format_interval(row.accuracy, row.ci_low, row.ci_high),
                    f"{row.mean_tokens:.1f}",
                    format_flops(row.mean_flops),
                )
                for row in result.rows
            ],
        )
    )
    against = result.comparison
    print_text(
        f"router against {against.reference}: {against.difference:+.3f} accuracy "
        f"[{against.ci_low:+.3f}, {against.ci_high:+.3f}], "
        f"{against.tokens_saved:.0%} of its tokens saved; paired on {result.n:,} questions, "
        f"{result.n_folds} folds"
    )
    if result.headroom is not None:
        cheap, best = result.headroom_arms
        print_text(f"headroom between {cheap} and {best} captured: {result.headroom:.0%}")
    if result.is_oracle_inflated:
        print_text("the oracle picks among single samples: their noise flatters it")
    if result.n_incomplete or result.n_errors:
        print_text(
            f"not judged: {result.n_incomplete} questions without an answer of every arm, "
            f"{result.n_errors} infrastructure errors"
        )
