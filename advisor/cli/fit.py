"""`advisor fit`: fit a router from a run or a file of outcomes."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ._objective import AccuracyOption, CostOption, LambdaOption, UnitOption, read_objective
from ._output import note, print_json, print_text
from ._runs import ArmsOption, ModelsOption, RunArgument, TasksOption, load_checked

if TYPE_CHECKING:
    from calibration import OutcomeRecord
    from router import CostUnit

__all__ = ["fit"]

_GUARANTEE = "Guarantee"
_AUTO = "auto"
"""FLOPs where all arms' are known, else tokens; tokens for a rule that names a number."""


def fit(
    run: RunArgument,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the router; needed unless --dry-run.")
    ] = None,
    models: ModelsOption = None,
    arms: ArmsOption = None,
    tasks: TasksOption = None,
    max_loss: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=1.0,
            help="Accuracy that may be lost against the reference, such as 0.01 for one point.",
            rich_help_panel=_GUARANTEE,
        ),
    ] = None,
    confidence: Annotated[
        float,
        typer.Option(
            min=0.0,
            max=1.0,
            help="Probability with which that must hold.",
            rich_help_panel=_GUARANTEE,
        ),
    ] = 0.95,
    reference: Annotated[
        str | None,
        typer.Option(
            help="Arm or policy that the loss is measured against; by default the best fixed arm.",
            rich_help_panel=_GUARANTEE,
        ),
    ] = None,
    update: Annotated[
        Path | None,
        typer.Option(help="Feedback log whose outcomes are learned from too.", metavar="LOG"),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of splits and trees.")] = 0,
    tradeoff: LambdaOption = None,
    target_accuracy: AccuracyOption = None,
    max_cost: CostOption = None,
    unit: UnitOption = _AUTO,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a router that is there.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the outcomes and stop.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Fit a router from the outcomes of a run or a file.

    Example: advisor fit runs/first --out routers/first --max-loss 0.01 --confidence 0.95

    Without an objective the router keeps within one point of the best fixed arm's accuracy at
    the least cost, judged by cross-validation. With --max-loss it is certified, on questions held
    back, that it loses no more than that. Exits with 6, and writes nothing, if that cannot be
    had: then it says how many more questions would probably do.
    """
    from policies import InvalidInputError, NoGuaranteeError

    if out is None and not dry_run:
        raise InvalidInputError(
            "--out is missing: where should the router go?", hint="--out DIR, or --dry-run"
        )
    if out is not None and out.exists() and not overwrite and not dry_run:
        _refuse_existing(out)
    named = None if unit == _AUTO else unit
    objective = read_objective(tradeoff, target_accuracy, max_cost, named or "tokens")
    promised = _promised(max_loss, confidence, reference, has_objective=objective is not None)
    loaded = load_checked(run, models, arms=arms, tasks=tasks)
    records, added = loaded.records, {}
    if update is not None:
        records, added = _with_feedback(records, update)
    about: dict[str, Any] = {**loaded.to_json(), **added}
    if dry_run or out is None:
        _show_check(about, records, as_json)
        return
    from router import Router

    if sys.stderr.isatty():
        note(f"fitting on {len(records):,} outcomes")
    try:
        fitted = Router.fit(
            records,
            seed=seed,
            objective=objective,
            unit=_unit(named),
            backends=loaded.backends,
            options=loaded.options,
            **promised,
        )
    except NoGuaranteeError as error:
        if as_json:
            print_json({"router": None, "guarantee": error.guarantee, **about})
        raise
    fitted.save(out, overwrite=overwrite)
    description = fitted.describe()
    guarantee = fitted.guarantee.to_json() if promised and fitted.guarantee else None
    if as_json:
        print_json({"router": str(out), **description, "guarantee": guarantee, **about})
        return
    print_text(
        f"fitted on {description['n_questions']:,} questions, {description['n_calibration']:,} of"
        f" them held back for calibration"
    )
    print_text(f"arms: {', '.join(description['arms'])}")
    rules = (f"{name}={value}" for name, value in description["objective"].items())
    print_text(f"objective: {', '.join(rules)}")
    if guarantee is not None:
        print_text(_guarantee_line(guarantee))
    print_text(f"router: {out}")


def _refuse_existing(out: Path) -> None:
    """Refuse before the work what saving would refuse after it."""
    from policies import ArtifactError

    raise ArtifactError(
        f"{out} is there already",
        hint="give --overwrite, or another --out",
        code="artifact-exists",
    )


def _unit(name: str | None) -> "CostUnit | None":
    """Return the unit of the default objective, `None` if it is left to the outcomes.

    Raises:
        InvalidInputError: There is no such unit.
    """
    if name is None:
        return None
    from router import Objective

    return Objective.from_json({"tradeoff": 0.0, "unit": name}).unit


def _promised(
    max_loss: float | None, confidence: float, reference: str | None, *, has_objective: bool
) -> dict[str, Any]:
    """Return what the router must be certified for, nothing if nothing was asked.

    Raises:
        InvalidInputError: Options do not go together.
    """
    from policies import InvalidInputError

    if max_loss is None:
        if reference is not None:
            raise InvalidInputError(
                f"--reference {reference!r} has no loss to be measured",
                hint="give --max-loss, such as 0.01",
            )
        return {}
    if has_objective:
        raise InvalidInputError(
            "--max-loss chooses the objective itself",
            hint="leave --lambda, --target-accuracy and --max-cost out",
        )
    return {"max_loss": max_loss, "confidence": confidence, "reference": reference}


def _with_feedback(
    records: "list[OutcomeRecord]", path: Path
) -> "tuple[list[OutcomeRecord], dict[str, Any]]":
    """Return the outcomes with those of a feedback log, and what was added, told on stderr."""
    from router import FeedbackLog, update_records

    with FeedbackLog.read(path) as log:
        merged = update_records(records, log)
    note(
        f"{path.name}: {merged.n_added:,} outcomes added, {merged.n_same_question:,} of them on"
        f" measured questions, {merged.n_guessed_type:,} with a guessed task type"
    )
    for reason, count in merged.skipped.items():
        note(f"skipped: {count:,} logged decisions, {reason}")
    counts = {"n_added": merged.n_added, "skipped": merged.skipped}
    return merged.records, {"update": {"log": str(path), **counts}}


def _show_check(about: dict[str, Any], records: "list[OutcomeRecord]", as_json: bool) -> None:
    arms = sorted({record.arm for record in records})
    questions = {(record.task, record.question_id): record.group for record in records}
    counts = {
        "n_outcomes": len(records),
        "n_questions": len(questions),
        "n_groups": len(set(questions.values())),
        "arms": arms,
    }
    if as_json:
        print_json({"router": None, **counts, **about})
        return
    print_text(
        f"{counts['n_outcomes']:,} outcomes, {counts['n_questions']:,} questions in"
        f" {counts['n_groups']:,} groups, {len(arms):,} arms: {', '.join(arms)}"
    )


def _guarantee_line(guarantee: dict[str, Any]) -> str:
    """Return what was certified, in one sentence."""
    return (
        f"guarantee: at most {guarantee['epsilon']:.3f} less accurate than"
        f" {guarantee['reference']} with probability {guarantee['confidence']:.0%}, tested on"
        f" {guarantee['n_calibration']:,} questions"
    )
