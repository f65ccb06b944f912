"""`advisor evaluate`: how a router does on questions it was not fitted on."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ._output import format_flops, format_share, print_json, print_table, print_text, table
from ._runs import load_run

if TYPE_CHECKING:
    from router import Evaluation

__all__ = ["evaluate", "show_evaluation"]


def evaluate(
    run: Annotated[Path, typer.Argument(help="Run folder written by advisor calibrate.")],
    folds: Annotated[int, typer.Option(min=2, help="Folds of the cross-validation.")] = 5,
    seed: Annotated[int, typer.Option(help="Seed of the folds.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Compare the router with fixed choices on held-out questions (grouped cross-validation).

    Example: advisor evaluate runs/first
    """
    records, _ = load_run(run)
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
            ("choice", "n", "accuracy", "95% interval", "tokens", "FLOPs"),
            [
                (
                    row.name,
                    str(row.n),
                    format_share(row.accuracy),
                    f"[{format_share(row.ci_low)}, {format_share(row.ci_high)}]",
                    f"{row.mean_tokens:.1f}",
                    format_flops(row.mean_flops),
                )
                for row in result.rows
            ],
        )
    )
    for line in result.headline():
        print_text(line)
