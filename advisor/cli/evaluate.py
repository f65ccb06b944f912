"""`advisor evaluate`: how a router does on questions it was not fitted on."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from ._evaluation_views import show_evaluation
from ._live import folds_bar
from ._output import print_json, print_text
from ._runs import ArmsOption, ModelsOption, RunArgument, TasksOption, load_checked

__all__ = ["evaluate", "show_evaluation"]

_PICTURES = (".png", ".svg", ".pdf")


def evaluate(
    run: RunArgument,
    models: ModelsOption = None,
    arms: ArmsOption = None,
    tasks: TasksOption = None,
    reference: Annotated[
        str | None,
        typer.Option(help="Arm to compare with, MODEL:POLICY or POLICY; else the most accurate."),
    ] = None,
    margin: Annotated[
        float, typer.Option(min=0.0, max=0.99, help="Accuracy that may be lost; .01 is 1 point.")
    ] = 0.01,
    confidence: Annotated[
        float, typer.Option(help="One-sided confidence of the first line.")
    ] = 0.95,
    folds: Annotated[int, typer.Option(min=2, help="Folds of the cross-validation.")] = 5,
    seed: Annotated[int, typer.Option(help="Seed of folds, fits and bootstrap.")] = 0,
    router: Annotated[
        Path | None,
        typer.Option(help="Judge this router on fresh outcomes, without cross-validation."),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Draw accuracy over tokens: FILE.png, .svg or .pdf.")
    ] = None,
    text_plot: Annotated[
        bool | None,
        typer.Option(
            "--text-plot/--no-text-plot",
            help="Draw the router beside the fixed arms in plain characters; by default on a"
            " terminal only.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Compare the router with fixed choices on held-out questions (grouped cross-validation).

    Example: advisor evaluate runs/first --reference reasoning@max --plot curve.svg

    The first line is what may be relied on: tokens saved against the reference arm while losing
    no more than the margin, with the confidence asked for, beside what the best fixed arm saves.
    """
    if plot is not None:
        _check_picture(plot)
    loaded = load_checked(run, models, arms=arms, tasks=tasks)
    from router import Router
    from router import evaluate as judge

    with folds_bar() as show:
        result = judge(
            loaded.records,
            reference=reference,
            margin=margin,
            confidence=confidence,
            n_folds=folds,
            seed=seed,
            router=None if router is None else Router.load(router),
            progress=show,
        )
    words = [] if plot is None else result.plot(plot)
    if as_json:
        print_json({"run": str(run), **loaded.to_json(), **result.to_json()})
        return
    show_evaluation(result, is_drawn=sys.stdout.isatty() if text_plot is None else text_plot)
    if plot is not None:
        print_text(f"picture: {plot}")
    for line in words:
        print_text(f"  {line}")


def _check_picture(path: Path) -> None:
    """Refuse before the work what drawing would refuse after it.

    Raises:
        InvalidInputError: The ending is of no picture, or the folder does not exist.
    """
    from policies import InvalidInputError

    if path.suffix.lower() not in _PICTURES:
        raise InvalidInputError(
            f"--plot {str(path)!r} is no picture", hint=f"known endings: {', '.join(_PICTURES)}"
        )
    if not path.parent.is_dir():
        raise InvalidInputError(f"there is no folder {str(path.parent)!r}", hint="create it first")
