"""What the commands of `advisor data` share: where questions come from, what is left out, ends."""

from collections.abc import Collection, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from ._output import note, print_json, print_text

if TYPE_CHECKING:
    from pathlib import Path

    from advisor.tops import Excluded, RunFacts
    from calibration import Plan

__all__ = [
    "Data",
    "note_plan",
    "read_excluded",
    "refuse_with_from",
    "required",
    "show_plan",
    "warn_of_evaluation",
]

Data = Annotated[
    list[str] | None,
    typer.Option(
        "--data",
        help="Local file of a benchmark: NAME=FILE, a FILE, or a FOLDER; may be repeated.",
    ),
]


def required(name: str, value: "str | Path | None") -> str:
    """Return the value of an option that must be given.

    Raises:
        typer.BadParameter: It is not.
    """
    if value is None:
        raise typer.BadParameter(f"{name} must be given")
    return str(value)


def refuse_with_from(context: typer.Context, usable: Collection[str]) -> None:
    """Refuse options that a build from a run would pass over in silence.

    Args:
        context: The command with its options.
        usable: Names of those that do something.

    Raises:
        InvalidInputError: Another one is given.
    """
    from policies import InvalidInputError

    given = [
        parameter.opts[0]
        for parameter in context.command.params
        if parameter.name not in usable and _is_given(context, parameter.name)
    ]
    if given:
        raise InvalidInputError(
            f"--from asks no model, so {', '.join(given)} would do nothing",
            hint="leave --from out to ask, or leave the others out",
            code="contradictory-options",
        )


def _is_given(context: typer.Context, name: str | None) -> bool:
    source = None if name is None else context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def read_excluded(sources: Sequence[str], files: Sequence[str]) -> "Excluded | None":
    """Return the questions to leave out, `None` without any source, and say how many.

    Raises:
        ThinkrouteError: A source cannot be read.
    """
    from advisor.tops import Excluded, prompts_to_exclude

    if not sources:
        return None
    prompts = [prompt for one in sources for prompt in prompts_to_exclude(one, data=files)]
    excluded = Excluded(prompts)
    note(f"excluding {len(excluded):,} questions")
    return excluded


def warn_of_evaluation(facts: "RunFacts") -> None:
    """Warn of questions that are known to be for evaluation."""
    from advisor.tops import evaluation_tasks

    by_source: dict[str, list[str]] = {}
    for name, source in evaluation_tasks(facts.tasks).items():
        by_source.setdefault(source, []).append(name)
    for source, names in by_source.items():
        note(
            f"warning: for evaluation ({source}): {', '.join(names)};"
            " a model trained on these questions cannot be evaluated on them"
        )


def note_plan(plan: "Plan", arms: str) -> None:
    """Tell what asking will take at most.

    Args:
        plan: What will be asked.
        arms: What its arms are called, such as `efforts`.
    """
    size = plan.size()
    note(
        f"{size.n_requests:,} samples: {size.n_questions:,} questions x {len(plan.arms)} {arms}"
        f" x {plan.repeats}; about {size.prompt_tokens:,} prompt tokens,"
        f" at most {size.max_completion_tokens:,} generated tokens"
    )
    if size.max_usd is not None:
        note(f"at most {size.max_usd:.4g} USD")


def show_plan(
    plan: "Plan",
    ways: str,
    names: Sequence[str],
    *,
    unit: str,
    as_json: bool,
    listed: Sequence[object] | None = None,
) -> None:
    """Print what would be asked.

    Args:
        plan: What would be asked.
        ways: What the ways of asking are called.
        names: Their names.
        unit: What one of the plan's arms is called, see `note_plan`.
        as_json: Print JSON.
        listed: The ways as JSON values; their names by default.
    """
    if as_json:
        print_json({"plan": asdict(plan.size()), ways: names if listed is None else listed})
        return
    print_text(f"{ways}: {', '.join(names)}")
    print_text(f"tasks: {', '.join(f'{task.name} ({len(task.questions)})' for task in plan.tasks)}")
    note_plan(plan, unit)
