"""`advisor fit`: fit a router from a run or a file of outcomes."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ._fit_views import n_more_questions, show_fitted
from ._objective import (
    AccuracyOption,
    CostOption,
    LambdaOption,
    MeanCostOption,
    PerThousandOption,
    SecondsOption,
    read_objective,
)
from ._output import note, print_json, print_text
from ._prices import prices_for_router
from ._runs import ArmsOption, ModelsOption, RunArgument, TasksOption, load_checked

if TYPE_CHECKING:
    from calibration import OutcomeRecord
    from router import CostUnit

__all__ = ["fit"]

_GUARANTEE = "Guarantee"


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
    max_cost_share: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            help="Mean cost to be certified too, as a share of the reference's, such as 0.5.",
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
    max_mean_cost: MeanCostOption = None,
    max_cost_per_1000: PerThousandOption = None,
    max_seconds: SecondsOption = None,
    unit: Annotated[
        str | None,
        typer.Option(
            help="Unit of cost: tokens, flops, seconds or usd. By default tokens for a rule that"
            " is given; else FLOPs if all arms' are known, and tokens if not.",
            rich_help_panel="Objective (at most one rule)",
        ),
    ] = None,
    price: Annotated[
        Path | None,
        typer.Option(
            help="TOML with USD per million tokens, for --unit usd; by default the prices that"
            " the run was measured with."
        ),
    ] = None,
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
    rules = (tradeoff, target_accuracy, max_cost, max_mean_cost, max_cost_per_1000)
    has_rule = any(rule is not None for rule in rules)
    objective = read_objective(
        tradeoff=tradeoff,
        target_accuracy=target_accuracy,
        max_cost=max_cost,
        max_mean_cost=max_mean_cost,
        max_cost_per_1000=max_cost_per_1000,
        max_seconds=max_seconds,
        # Without a rule it is the unit of the default one.
        unit=unit if has_rule else None,
    )
    promised = _promised(
        max_loss, confidence, reference, max_cost_share, has_objective=objective is not None
    )
    loaded = load_checked(run, models, arms=arms, tasks=tasks)
    records, added = loaded.records, {}
    if update is not None:
        records, added = _with_feedback(records, update)
    about: dict[str, Any] = {**loaded.to_json(), **added}
    if dry_run or out is None:
        _show_check(about, records, as_json)
        return
    _check_reference(reference, records)
    from router import Router

    if sys.stderr.isatty():
        note(f"fitting on {len(records):,} outcomes")
    try:
        fitted = Router.fit(
            records,
            seed=seed,
            objective=objective,
            unit=_unit(unit),
            backends=loaded.backends,
            prices=prices_for_router(price, loaded.prices, {record.model for record in records}),
            options=loaded.options,
            **promised,
        )
    except NoGuaranteeError as error:
        more = n_more_questions(error.guarantee, records)
        if as_json:
            print_json(
                {"router": None, "guarantee": error.guarantee, "n_more_questions": more, **about}
            )
        if more is not None:
            error.hint += f"; as other questions teach, measure about {more:,} more in all"
        raise
    fitted.save(out, overwrite=overwrite)
    description = fitted.describe()
    if as_json:
        print_json({"router": str(out), **description, **about})
        return
    show_fitted(fitted)
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
    max_loss: float | None,
    confidence: float,
    reference: str | None,
    max_cost_share: float | None,
    *,
    has_objective: bool,
) -> dict[str, Any]:
    """Return what the router must be certified for, nothing if nothing was asked.

    Raises:
        InvalidInputError: Options do not go together.
    """
    from policies import InvalidInputError

    if max_loss is None:
        lonely = {"--reference": reference, "--max-cost-share": max_cost_share}
        for option, value in lonely.items():
            if value is not None:
                raise InvalidInputError(
                    f"{option} {value!r} belongs to a guarantee, and none is asked for",
                    hint="give --max-loss, such as 0.01",
                )
        return {}
    if not 0 < confidence < 1:
        raise InvalidInputError(
            f"--confidence {confidence:g} is not between 0 and 1", hint="write 0.95 for 95%"
        )
    if max_cost_share is not None and not 0 < max_cost_share < float("inf"):
        raise InvalidInputError(
            f"--max-cost-share {max_cost_share:g} is no share of a cost",
            hint="write 0.5 for half of what the reference costs",
        )
    if has_objective:
        raise InvalidInputError(
            "--max-loss chooses the objective itself",
            hint="leave --lambda, --target-accuracy, --max-cost, --max-mean-cost,"
            " --max-cost-per-1000 and --max-seconds out",
        )
    return {
        "max_loss": max_loss,
        "confidence": confidence,
        "reference": reference,
        "max_cost_share": max_cost_share,
    }


def _check_reference(reference: str | None, records: "list[OutcomeRecord]") -> None:
    """Find before the work what certifying would find after it.

    Raises:
        UnknownNameError: No arm has this name or policy.
        InvalidInputError: Several arms have this policy.
    """
    from policies import InvalidInputError, UnknownNameError

    policy_of = {record.arm: record.policy for record in records}
    if reference is None or reference in policy_of:
        return
    meant = sorted(arm for arm, policy in policy_of.items() if policy == reference)
    if not meant:
        raise UnknownNameError("arm", reference, sorted({*policy_of, *policy_of.values()}))
    if len(meant) > 1:
        raise InvalidInputError(
            f"--reference {reference!r} could be any of {', '.join(meant)}",
            hint="give the whole name",
        )


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
