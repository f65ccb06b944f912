"""Options by which commands choose what a decision optimises."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from router import Objective

__all__ = ["AccuracyOption", "CostOption", "LambdaOption", "UnitOption", "read_objective"]

_PANEL = "Objective (at most one)"

LambdaOption = Annotated[
    float | None,
    typer.Option(
        "--lambda",
        help="Accuracy given up per unit of cost, as in p - lambda x cost.",
        rich_help_panel=_PANEL,
    ),
]
AccuracyOption = Annotated[
    float | None,
    typer.Option(help="Cheapest arm whose p reaches this.", rich_help_panel=_PANEL),
]
CostOption = Annotated[
    float | None,
    typer.Option(help="Best arm that costs at most this.", rich_help_panel=_PANEL),
]
UnitOption = Annotated[
    str, typer.Option(help="Unit of cost: tokens, flops, seconds.", rich_help_panel=_PANEL)
]


def read_objective(
    tradeoff: float | None, target_accuracy: float | None, max_cost: float | None, unit: str
) -> "Objective | None":
    """Return the objective that the flags describe, `None` if they describe none.

    Raises:
        InvalidInputError: Several rules are given, or a value makes no sense.
    """
    if tradeoff is None and target_accuracy is None and max_cost is None:
        return None
    from router import Objective

    return Objective.from_json(
        {
            "tradeoff": tradeoff,
            "target_accuracy": target_accuracy,
            "max_cost": max_cost,
            "unit": unit,
        }
    )
