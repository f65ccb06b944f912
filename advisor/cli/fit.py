"""`advisor fit`: fit a router from a run."""

from pathlib import Path
from typing import Annotated

import typer

from ._objective import AccuracyOption, CostOption, LambdaOption, UnitOption, read_objective
from ._output import print_json, print_text
from ._runs import load_run

__all__ = ["fit"]


def fit(
    run: Annotated[Path, typer.Argument(help="Run folder written by advisor calibrate.")],
    out: Annotated[Path, typer.Option(help="Folder of the router.")],
    model: Annotated[
        str | None, typer.Option(help="Route among the arms of this model only.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of splits and trees.")] = 0,
    tradeoff: LambdaOption = None,
    target_accuracy: AccuracyOption = None,
    max_cost: CostOption = None,
    unit: UnitOption = "tokens",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a router that is there.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Fit a router from the outcomes of a run.

    Example: advisor fit runs/first --out routers/first

    Without an objective the router keeps within one point of the best fixed arm's accuracy at
    the least cost, judged by cross-validation on the run.
    """
    objective = read_objective(tradeoff, target_accuracy, max_cost, unit)
    records, backends, options = load_run(run, model)
    from router import Router

    fitted = Router.fit(records, seed=seed, objective=objective, backends=backends, options=options)
    fitted.save(out, overwrite=overwrite)
    description = fitted.describe()
    if as_json:
        print_json({"router": str(out), **description})
        return
    print_text(
        f"fitted on {description['n_questions']:,} questions, {description['n_calibration']:,} of"
        f" them held back for calibration"
    )
    print_text(f"arms: {', '.join(description['arms'])}")
    rules = (f"{name}={value}" for name, value in description["objective"].items())
    print_text(f"objective: {', '.join(rules)}")
    print_text(f"router: {out}")
