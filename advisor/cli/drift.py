"""`advisor drift`: whether prompts or outcomes have changed since a router was fitted."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ._exit import ExitCode
from ._output import note, print_json, print_table, print_text, table

if TYPE_CHECKING:
    from router import DriftReport, DriftSignal

__all__ = ["drift", "show_drift"]

_MOST_ROWS = 12


def drift(
    log: Annotated[Path, typer.Argument(help="Feedback log written by router.record.")],
    router: Annotated[
        Path | None,
        typer.Option(help="Router folder; its calibration prompts are what is compared with."),
    ] = None,
    baseline: Annotated[
        int,
        typer.Option(min=0, help="Compare with the first N logged prompts instead."),
    ] = 0,
    alpha: Annotated[
        float, typer.Option(help="Chance of ever raising a false alarm, however often you look.")
    ] = 0.05,
    tolerance: Annotated[
        float | None,
        typer.Option(help="Difference between outcomes and probabilities that is no drift."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Tell whether the prompts have changed, or the probabilities are wrong by now.

    Example: advisor drift feedback.sqlite --router routers/first

    Exits with 6 if there is an alarm. Without --router and --baseline only outcomes are watched.
    """
    from router import DriftMonitor, FeedbackLog, Router, load_reference

    reference, artifact_id = None, None
    if router is not None:
        reference, artifact_id = load_reference(router), Router.load(router).artifact_id
        if reference is None and not baseline:
            note(f"{router} holds no reference of its prompts: only outcomes are watched")
    with FeedbackLog.read(log) as opened:
        monitor = DriftMonitor.from_log(
            opened,
            None if baseline else reference,
            artifact_id=artifact_id,
            n_baseline=baseline,
            alpha=alpha,
            tolerance=tolerance,
        )
    report = monitor.report()
    if baseline and not report.n:
        note(f"the log has no decision after its first {baseline:,}: no prompt was compared")
    if as_json:
        print_json({"log": str(log), **report.to_json()})
    else:
        show_drift(report)
    if report.alarm:
        raise typer.Exit(ExitCode.UNSATISFIED)


def show_drift(report: "DriftReport") -> None:
    """Print what the monitor knows, the strongest signals first."""
    print_table(
        table(
            "drift",
            ("signal", "kind", "n", "difference", "evidence", "alarm at", "since"),
            [_row(signal) for signal in report.signals[:_MOST_ROWS]],
        )
    )
    print_text(
        f"{report.n:,} decisions, {report.n_outcomes:,} outcomes, compared with "
        f"{report.n_reference:,} prompts; false alarms: at most {report.alpha:.0%}, ever"
    )
    if report.alarm:
        print_text(f"ALARM: {', '.join(report.which)}")
        print_text("measure the new prompts and fit again: advisor fit RUN --update LOG --out NEW")
    else:
        print_text("no alarm")


def _row(signal: "DriftSignal") -> tuple[str, ...]:
    from datetime import UTC, datetime

    since = "-"
    if signal.since_s is not None:
        since = f"{datetime.fromtimestamp(signal.since_s, UTC):%Y-%m-%d %H:%M}"
    return (
        signal.name,
        signal.kind,
        str(signal.n),
        f"{signal.size:+.3f}",
        f"{signal.e_value:.3g}",
        f"{signal.threshold:.3g}",
        since,
    )
