"""`advisor recommend`: which recipe to train for a size and a task type."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ._exit import ExitCode
from ._output import format_flops, format_interval, note, print_json, print_table, print_text, table

if TYPE_CHECKING:
    from advisor import Accuracy, Recommendation

__all__ = ["recommend", "show_recommendation"]


def recommend(
    size: Annotated[str, typer.Option(help="Size to train, such as 3B.")],
    task: Annotated[str, typer.Option(help="Task type, such as math-oe.")],
    table: Annotated[
        list[Path] | None,
        typer.Option(help="Your own measured tables (run folders); they outrank published ones."),
    ] = None,
    corpus: Annotated[
        str | None, typer.Option(help="Published corpus like yours: general or math-centric.")
    ] = None,
    priority: Annotated[
        str | None, typer.Option(help="What matters most: accuracy, training or inference.")
    ] = None,
    max_size: Annotated[
        str | None, typer.Option(help="Largest size you could train and serve instead.")
    ] = None,
    n_examples: Annotated[int, typer.Option(min=1, help="Rows of the training set.")] = 300_000,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Recommend how to train: direct answers, reasoning traces, or a mixture, and why.

    Example: advisor recommend --size 3B --task math-oe
    """
    from advisor import RecommendationRequest
    from advisor import recommend as advise
    from calibration import MeasuredTable
    from policies import ModelSize

    request = RecommendationRequest(
        size=ModelSize.parse(size),
        task_type=task,
        corpus=corpus,  # pyright: ignore[reportArgumentType] - checked by the request itself
        priority=priority,  # pyright: ignore[reportArgumentType] - likewise
        max_size=ModelSize.parse(max_size) if max_size is not None else None,
        n_examples=n_examples,
    )
    cells = [cell for path in table or () for cell in MeasuredTable.load(path).cells]
    answer = advise(request, cells=cells)
    if as_json:
        print_json(answer.to_json())
    else:
        show_recommendation(answer)
    if answer.verdict.action == "abstain":
        note("nothing measured or published supports a choice; see what to measure next")
        raise typer.Exit(ExitCode.UNSATISFIED)


def show_recommendation(answer: "Recommendation") -> None:
    """Print verdict, options, reasons, warnings and next measurements."""
    request = answer.request
    print_text(f"{request.size} for {request.task_type}: {answer.verdict.action}")
    print_text(answer.verdict.text)
    if answer.options:
        print_table(
            table(
                "options (FLOPs to train on all rows; FLOPs per answered query)",
                ("", "size", "corpus", "recipe", "accuracy [95%]", "basis", "train", "infer"),
                [
                    (
                        "*" if index == answer.verdict.option else "",
                        str(option.size),
                        option.recipe.corpus,
                        option.recipe.label,
                        _accuracy(option.accuracy),
                        option.accuracy.basis,
                        format_flops(option.train_flops),
                        format_flops(option.inference_flops),
                    )
                    for index, option in enumerate(answer.options)
                ],
            )
        )
    for reason in answer.verdict.reasons:
        print_text(f"because: {reason.text}")
    for warning in answer.warnings:
        print_text(f"warning [{warning.code}]: {warning.text}")
    for measurement in answer.next_measurements:
        print_text(f"next: {measurement.text}")
        for command in measurement.commands:
            print_text(f"  $ {command}")


def _accuracy(accuracy: "Accuracy") -> str:
    if accuracy.value is None or accuracy.low is None or accuracy.high is None:
        return "not known"
    return format_interval(accuracy.value, accuracy.low, accuracy.high)
