"""`advisor compare`: two arms of a run on the same questions."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ._output import format_flops, format_share, print_json, print_table, print_text, table
from ._runs import load_run

if TYPE_CHECKING:
    from calibration import ArmComparison, ComparisonRow, CostDifference

__all__ = ["compare"]


def compare(
    run: Annotated[Path, typer.Argument(help="Run folder written by advisor calibrate.")],
    arms: Annotated[
        str,
        typer.Option(
            help="Two arms, A,B: each a policy, or MODEL:POLICY where several models have it."
        ),
    ],
    task: Annotated[str | None, typer.Option(help="Compare on this task only.")] = None,
    confidence: Annotated[float, typer.Option(help="Coverage of the intervals.")] = 0.95,
    seed: Annotated[int, typer.Option(help="Seed of the resampling.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Compare two arms question by question: accuracy, tokens and FLOPs, first minus second.

    Example: advisor compare runs/first --arms reasoning@max,direct
    """
    first, second = _split_arms(arms)
    records = load_run(run).records
    from calibration import compare_arms

    result = compare_arms(records, first, second, task=task, confidence=confidence, seed=seed)
    if as_json:
        print_json({"run": str(run), **result.to_json()})
    else:
        show_comparison(result)


def show_comparison(result: "ArmComparison") -> None:
    """Print a line per task and one for all of them, and what was left out."""
    rows = [*result.tasks, result.overall] if len(result.tasks) > 1 else [*result.tasks]
    print_table(
        table(
            f"{result.first} minus {result.second}",
            (
                "task",
                "n",
                "first",
                "second",
                f"difference [{result.confidence:.0%}]",
                "only one right",
                "p",
                "p (Holm)",
                "tokens",
                "FLOPs",
            ),
            [_cells(row) for row in rows],
        )
    )
    overall = result.overall
    shown = _p(overall.p_value)
    p_value = f"p {shown.replace('<', '< ')}" if shown.startswith("<") else f"p = {shown}"
    print_text(
        f"{'all tasks' if len(rows) > 1 else rows[0].task}: {_signed(overall.difference)} accuracy "
        f"[{_signed(overall.ci_low)}, {_signed(overall.ci_high)}], "
        f"{p_value}; paired on {overall.n:,} questions"
    )
    if overall.n_clusters < overall.n or overall.p_value != overall.p_mcnemar:
        print_text(
            f"answers come in {overall.n_clusters:,} clusters: intervals and p-values are clustered"
        )
    if overall.n_unpaired or overall.n_error:
        print_text(
            f"left out: {overall.n_unpaired:,} questions that only one arm was asked, "
            f"{overall.n_error:,} with infrastructure errors only"
        )


def _cells(row: "ComparisonRow") -> tuple[str, ...]:
    return (
        row.task or "all tasks",
        str(row.n),
        format_share(row.first_accuracy),
        format_share(row.second_accuracy),
        f"{_signed(row.difference)} [{_signed(row.ci_low)}, {_signed(row.ci_high)}]",
        f"{row.n_first_better} : {row.n_second_better}",
        _p(row.p_value),
        # All tasks together are one hypothesis; nothing to adjust.
        _p(row.p_holm) if row.task else "-",
        _cost(row.tokens),
        _flops(row.flops),
    )


def _signed(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:+.3f}"


def _p(value: float) -> str:
    return "<0.0001" if value < 0.0001 else f"{value:.4f}"


def _cost(cost: "CostDifference | None") -> str:
    if cost is None:
        return "-"
    if cost.ci_low is None or cost.ci_high is None:
        return f"{cost.difference:+.1f}"
    return f"{cost.difference:+.1f} [{cost.ci_low:+.1f}, {cost.ci_high:+.1f}]"


def _flops(cost: "CostDifference | None") -> str:
    if cost is None:
        return "-"
    if cost.ci_low is None or cost.ci_high is None:
        return _signed_flops(cost.difference)
    low, high = _signed_flops(cost.ci_low), _signed_flops(cost.ci_high)
    return f"{_signed_flops(cost.difference)} [{low}, {high}]"


def _signed_flops(value: float) -> str:
    return f"{'-' if value < 0 else '+'}{format_flops(abs(value))}"


def _split_arms(text: str) -> tuple[str, str]:
    """Split at the comma outside parentheses: policies such as `cascade(a,b)` hold commas too.

    Raises:
        InvalidInputError: There are not two arms.
    """
    depth, places = 0, list[int]()
    for index, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if character == "," and depth == 0:
            places.append(index)
    names = [text[: places[0]].strip(), text[places[0] + 1 :].strip()] if places else []
    if len(places) != 1 or not all(names):
        from policies import InvalidInputError

        raise InvalidInputError(
            f"--arms is {text!r}, expected two arms", hint="for example direct,reasoning@max"
        )
    return names[0], names[1]
