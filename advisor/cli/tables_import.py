"""`advisor tables import`: outcomes that other tools have recorded."""

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ._output import format_share, note, print_json, print_table, print_text, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from calibration.importers import ImportHints, ImportSummary

__all__ = ["import_table"]


def import_table(
    file: Annotated[
        Path, typer.Argument(help="Recorded outcomes: Parquet, CSV, JSONL, .eval or .json.")
    ],
    out: Annotated[Path, typer.Option(help="Run folder; its store takes the outcomes.")],
    format_name: Annotated[
        str, typer.Option("--format", help="auto, long, lm-eval, inspect or wide.")
    ] = "auto",
    model: Annotated[
        str | None, typer.Option(help="Model that answered, where the file does not say.")
    ] = None,
    task: Annotated[
        str | None, typer.Option(help="Task name, where the file does not say.")
    ] = None,
    task_type: Annotated[
        str | None, typer.Option(help="Task type such as math-oe, where the file does not say.")
    ] = None,
    policy: Annotated[
        str | None, typer.Option(help="Policy such as reasoning@max, where the file does not say.")
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(help="Score that decides: METRIC,FILTER of lm-eval, a scorer of inspect."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Import outcomes of lm-evaluation-harness, inspect_ai or a table into a run.

    Example: advisor tables import samples_gsm8k_2026-01-31T10-00-00.jsonl --out runs/old
    --task-type math-oe

    The run can then be shown, fitted from and evaluated like a measured one. Importing a file
    again adds nothing.
    """
    from calibration import MeasuredTable, RunStore, store_path
    from calibration.importers import ImportHints, detect_format, import_file
    from policies import InvalidInputError, UnknownNameError

    hints = ImportHints(model, task, task_type, policy, metric)
    # Before the run folder is made.
    detect_format(file, hints, wanted=format_name)
    made = [path for path in (store_path(out), out) if not path.exists()]
    try:
        with RunStore.create(store_path(out)) as store:
            summary = import_file(file, store, hints, wanted=format_name)
    except (InvalidInputError, UnknownNameError):
        _remove_empty_run(made)
        raise
    with RunStore.open(store_path(out)) as store:
        MeasuredTable.from_store(store).save(out)
    _tell_what_was_assumed(summary, hints)
    if as_json:
        skipped = [
            {"reason": one.reason, "count": one.count, "example": one.example}
            for one in summary.skipped
        ]
        counts = {"rows": summary.rows, "questions": summary.questions, "arms": summary.arms}
        print_json({**counts, "skipped": skipped})
        return
    print_text(
        f"{summary.rows:,} outcomes written to {out} ({summary.n_outcomes:,} in the file, format "
        f"{summary.format}): {summary.questions:,} questions, {summary.arms:,} arms"
    )
    print_text(f"share of answers with known tokens: {format_share(summary.share_with_tokens)}")
    if summary.skipped:
        rows = [(one.reason, f"{one.count:,}", one.example) for one in summary.skipped]
        print_table(table("skipped", ("reason", "rows", "first"), rows))


def _remove_empty_run(made: "Sequence[Path]") -> None:
    """Take away a store, and a folder, that a refused file has left empty."""
    for path in made:
        if path.is_dir():
            # Whatever else has come to lie in it meanwhile stays, and so does the folder.
            with suppress(OSError):
                path.rmdir()
            continue
        for name in (path.name, f"{path.name}-wal", f"{path.name}-shm", "run.lock"):
            path.with_name(name).unlink(missing_ok=True)


def _tell_what_was_assumed(summary: "ImportSummary", hints: "ImportHints") -> None:
    """Say on stderr what the file left open, and which options had no effect."""
    from calibration.importers import UNKNOWN_TASK_TYPE
    from policies import PolicySpec

    for text in summary.notes:
        note(f"note: {text}")
    if UNKNOWN_TASK_TYPE in summary.task_types and hints.task_type is None:
        note(f"the task type is written as {UNKNOWN_TASK_TYPE!r}: give --task-type to name it")
    if summary.format != "long" and hints.policy is None:
        policies = ", ".join(summary.policies)
        note(f"the policy was taken to be {policies}: give --policy if it was another")
    spelled = None if hints.policy is None else str(PolicySpec.parse(hints.policy))
    given = (
        ("--model", hints.model, summary.models),
        ("--task", hints.task, summary.tasks),
        ("--task-type", hints.task_type, summary.task_types),
        ("--policy", spelled, summary.policies),
    )
    for option, value, found in given:
        if value is not None and value not in found:
            note(f"{option} {value!r} was not used: the file says {', '.join(found[:3])}")
