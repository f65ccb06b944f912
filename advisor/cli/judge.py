"""`advisor judge`: let a model judge a run's answers, and see how far it agrees with the rules."""

import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import _calibrate_options as o
from . import _option_groups as g
from ._arms import build_backends
from ._exit import ExitCode
from ._output import format_interval, note, print_json, print_table, print_text, table

if TYPE_CHECKING:
    from calibration import JudgedRun, RunStore
    from calibration.graders.llm_judge import Agreement
    from policies import Backend

__all__ = ["judge"]


@g.with_groups
def judge(
    run: Annotated[Path, typer.Argument(help="Run folder written by advisor calibrate.")],
    model: Annotated[str, typer.Option(help="The model that judges.")],
    reached: g.Reached = g.SERVER,
    limit: Annotated[int | None, typer.Option(min=1, help="Answers per task to judge.")] = None,
    concurrency: o.Concurrency = None,
    as_json: o.Json = False,
) -> None:
    """Judge a run's answers with a model and compare its verdicts with the rules' outcomes.

    Example: advisor judge runs/qwen --model Qwen/Qwen3-32B --base-url http://127.0.0.1:8000/v1
    --limit 200

    Verdicts are kept in the run; the outcomes that tables show stay the rules'. What is judged
    already is not asked again.
    """
    import asyncio

    from calibration import RunStore, store_path
    from policies import StoreError

    if not store_path(run).is_file():
        raise StoreError(
            f"there is no run store at {store_path(run)}", hint="give the folder of a run"
        )
    (judging,) = build_backends(reached.backend, [model], reached.options())
    with RunStore.create(store_path(run)) as store:
        judged = asyncio.run(_judge(store, judging, limit, concurrency))
    if as_json:
        by_task = {task: _document(found) for task, found in judged.by_task.items()}
        print_json({**asdict(judged), "by_task": by_task, "overall": _document(judged.overall)})
    else:
        _show(judged)
    if not (judged.n_asked or judged.n_known or judged.n_error):
        note(f"{run} holds no finished answer with its text, so there is nothing to judge")
        raise typer.Exit(ExitCode.UNSATISFIED)
    if judged.n_error:
        note(f"{judged.n_error} answers could not be judged; the first said: {judged.first_error}")
        raise typer.Exit(ExitCode.BACKEND)


async def _judge(
    store: "RunStore", backend: "Backend", limit: int | None, concurrency: int | None
) -> "JudgedRun":
    from calibration import judge_run

    try:
        return await judge_run(store, backend, limit=limit, concurrency=concurrency)
    finally:
        await backend.aclose()


def _document(found: "Agreement") -> dict[str, Any]:
    return {**asdict(found), "observed": asdict(found.observed)}


def _show(judged: "JudgedRun") -> None:
    rows = [*judged.by_task.items(), ("all", judged.overall)]
    columns = ("task", "n", "agreement [95%]", "kappa", "only judge", "only rule", "unclear")
    print_table(
        table(
            f"{judged.judge} against the rules",
            columns,
            [
                (
                    task,
                    str(found.n),
                    format_interval(*(found.observed.estimate, *found.observed)),
                    "-" if math.isnan(found.kappa) else f"{found.kappa:.2f}",
                    str(len(found.judge_only)),
                    str(len(found.rule_only)),
                    str(found.n_unclear),
                )
                for task, found in rows
            ],
        )
    )
    print_text(f"judged {judged.n_asked:,} answers now, {judged.n_known:,} were judged before")
