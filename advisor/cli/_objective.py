"""The objective as commands take it: at most one rule, and a latency ceiling on top."""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from router import Objective

__all__ = [
    "AccuracyOption",
    "CostOption",
    "LambdaOption",
    "MeanCostOption",
    "PerThousandOption",
    "SecondsOption",
    "UnitOption",
    "read_objective",
]

_PANEL = "Objective (at most one rule)"
_DEFAULT_UNIT = "tokens"

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
    typer.Option(help="Best arm that costs at most this, for every query.", rich_help_panel=_PANEL),
]
MeanCostOption = Annotated[
    float | None,
    typer.Option(
        help="Most accuracy for this cost on average, over questions like the measured ones.",
        rich_help_panel=_PANEL,
    ),
]
PerThousandOption = Annotated[
    float | None,
    typer.Option(
        "--max-cost-per-1000",
        help="The same, as the cost of 1,000 queries.",
        rich_help_panel=_PANEL,
    ),
]
SecondsOption = Annotated[
    float | None,
    typer.Option(
        help="Only arms expected to answer within this, nine times out of ten; goes with any rule.",
        rich_help_panel=_PANEL,
    ),
]
UnitOption = Annotated[
    str | None,
    typer.Option(
        help="Unit of the rule's cost: tokens (as if given none), flops, seconds or usd.",
        rich_help_panel=_PANEL,
    ),
]


def read_objective(
    *,
    tradeoff: float | None = None,
    target_accuracy: float | None = None,
    max_cost: float | None = None,
    max_mean_cost: float | None = None,
    max_cost_per_1000: float | None = None,
    max_seconds: float | None = None,
    unit: str | None = None,
    default: "Objective | None" = None,
) -> "Objective | None":
    """Return the objective that the flags describe, `None` if they describe none.

    Args:
        tradeoff: `--lambda`.
        target_accuracy: `--target-accuracy`.
        max_cost: `--max-cost`.
        max_mean_cost: `--max-mean-cost`.
        max_cost_per_1000: `--max-cost-per-1000`.
        max_seconds: `--max-seconds`; without a rule it is put on top of `default`.
        unit: `--unit`; it belongs to a rule.
        default: The objective that holds where no rule is given.

    Raises:
        InvalidInputError: Several rules are given, a value makes no sense, or a flag lacks its
            rule.
    """
    from policies import InvalidInputError

    rules = {
        "--lambda": ("tradeoff", tradeoff),
        "--target-accuracy": ("target_accuracy", target_accuracy),
        "--max-cost": ("max_cost", max_cost),
        "--max-mean-cost": ("max_mean_cost", max_mean_cost),
        "--max-cost-per-1000": (
            "max_mean_cost",
            None if max_cost_per_1000 is None else max_cost_per_1000 / 1000,
        ),
    }
    given = {flag: rule for flag, rule in rules.items() if rule[1] is not None}
    if len(given) > 1:
        raise InvalidInputError(
            f"{' and '.join(given)} are two rules, expected at most one",
            hint="--max-seconds goes with any of them",
        )
    if not given:
        if unit is not None:
            raise InvalidInputError(
                f"--unit {unit!r} has no rule whose cost it could be the unit of",
                hint=f"give one of {', '.join(rules)}",
            )
        if max_seconds is None:
            return None
        if default is None:
            raise InvalidInputError(
                f"--max-seconds {max_seconds:g} goes on top of a rule, and none is given",
                hint=f"give one of {', '.join(rules)}; --lambda 0 is the most accurate arm",
            )
        return replace(default, max_seconds=max_seconds)
    from router import Objective

    return Objective.from_json(
        {**dict(given.values()), "max_seconds": max_seconds, "unit": unit or _DEFAULT_UNIT}
    )
