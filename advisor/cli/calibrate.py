"""`advisor calibrate`: measure policies on a model."""

import asyncio
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ._exit import ExitCode
from ._output import cells_table, note, print_json, print_table, print_text, progress_bar

if TYPE_CHECKING:
    from calibration import MeasuredTable, Plan, RunSummary
    from policies import DecodingOptions

__all__ = ["calibrate", "measure"]


def calibrate(
    model: Annotated[
        str, typer.Option(help="Model name; several separated by commas.", rich_help_panel="Model")
    ],
    policies: Annotated[
        str, typer.Option(help="Policies to compare, separated by commas: direct,reasoning@max.")
    ],
    tasks: Annotated[
        str, typer.Option(help="pocket, a pocket task, or .jsonl/.csv/.parquet files; commas.")
    ],
    out: Annotated[Path, typer.Option(help="Folder of the run; an existing run is resumed.")],
    backend: Annotated[
        str, typer.Option(help="pocket or openai (any compatible server).", rich_help_panel="Model")
    ] = "pocket",
    base_url: Annotated[
        str | None,
        typer.Option(help="Server, such as http://127.0.0.1:8000/v1.", rich_help_panel="Model"),
    ] = None,
    api_key_env: Annotated[
        str,
        typer.Option(help="Variable that holds the server's key.", rich_help_panel="Model"),
    ] = "OPENAI_API_KEY",
    dialect: Annotated[
        str,
        typer.Option(help="How the server takes thinking parameters.", rich_help_panel="Model"),
    ] = "vllm",
    config: Annotated[
        Path | None,
        typer.Option(help="The model's config.json; FLOPs need it.", rich_help_panel="Model"),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(help="Parameter count such as 8B.", rich_help_panel="Model"),
    ] = None,
    recipe: Annotated[
        str, typer.Option(help="How the model was trained, a label.", rich_help_panel="Model")
    ] = "",
    limit: Annotated[int | None, typer.Option(min=1, help="Questions per task.")] = None,
    seed: Annotated[int, typer.Option(help="Chooses the questions.")] = 0,
    max_answer_tokens: Annotated[
        int | None, typer.Option(min=1, rich_help_panel="Decoding")
    ] = None,
    max_thinking_tokens: Annotated[
        int | None, typer.Option(min=1, help="Cap of reasoning@max.", rich_help_panel="Decoding")
    ] = None,
    temperature: Annotated[float, typer.Option(rich_help_panel="Decoding")] = 0.0,
    top_p: Annotated[float, typer.Option(rich_help_panel="Decoding")] = 1.0,
    repeats: Annotated[
        int, typer.Option(min=1, help="Answers per question.", rich_help_panel="Decoding")
    ] = 1,
    concurrency: Annotated[
        int | None, typer.Option(min=1, help="Requests under way at once.")
    ] = None,
    prompt_column: Annotated[str | None, typer.Option(rich_help_panel="Question files")] = None,
    gold_column: Annotated[str | None, typer.Option(rich_help_panel="Question files")] = None,
    options_column: Annotated[str | None, typer.Option(rich_help_panel="Question files")] = None,
    group_column: Annotated[
        str | None,
        typer.Option(help="Ties questions of one source.", rich_help_panel="Question files"),
    ] = None,
    task_type: Annotated[
        str | None,
        typer.Option(
            help="math-oe, general-mc, ... or your own.", rich_help_panel="Question files"
        ),
    ] = None,
    grader: Annotated[
        str | None,
        typer.Option(help="number, choice or exact.", rich_help_panel="Question files"),
    ] = None,
    instruction: Annotated[
        str | None,
        typer.Option(help="Sentence added to every prompt.", rich_help_panel="Question files"),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and stop.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before starting.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Measure accuracy, tokens and FLOPs of policies on a model, question by question.

    Example: advisor calibrate --model pocket-m --tasks pocket --policies direct,reasoning@max
    --limit 500 --out runs/first

    Interrupt it at any time: the same command resumes and asks no finished question again.
    """
    from calibration import Arm, ColumnMapping, Plan, describe_model, load_tasks
    from policies import DecodingOptions, ModelSize, build_backend, build_policy

    parsed = [build_policy(text) for text in _split_policies(policies)]
    columns = ColumnMapping(
        prompt=prompt_column,
        gold=gold_column,
        options=options_column,
        group=group_column,
        task_type=task_type,
        grader=grader,
        **({} if instruction is None else {"instruction": instruction}),
    )
    n_params = ModelSize.parse(size) if size is not None else None
    loaded = load_tasks(_split(tasks), limit=limit, seed=seed, columns=columns)
    for task in loaded:
        if task_type is None and not task.name.startswith("pocket-"):
            note(
                f"{task.name}: taken for {task.task_type}, graded by {task.grader}; "
                "say otherwise with --task-type and --grader"
            )
    how = _backend_options(backend, base_url, api_key_env, dialect)
    backends = [build_backend(backend, name, **how) for name in _split(model)]
    usual = _usual_options(backend)
    options = DecodingOptions(
        max_answer_tokens=max_answer_tokens or usual.max_answer_tokens,
        max_thinking_tokens=max_thinking_tokens or usual.max_thinking_tokens,
        temperature=temperature,
        top_p=top_p,
    )
    arms = tuple(
        Arm(one, policy, describe_model(one, config=config, size=n_params, recipe=recipe))
        for one in backends
        for policy in parsed
    )
    plan = Plan(tuple(loaded), arms, options, repeats=repeats, seed=seed)
    if dry_run:
        _show_plan(plan, as_json=as_json)
        return
    _confirm(plan, ask=backend != "pocket" and not yes)
    reached = {one.model: {"backend": backend, "options": how} for one in backends}
    summary, table = measure(plan, out, reached=reached, concurrency=concurrency)
    _show_result(out, summary, table, as_json=as_json)


def measure(
    plan: "Plan",
    out: Path,
    *,
    reached: dict[str, dict[str, Any]],
    concurrency: int | None = None,
) -> "tuple[RunSummary, MeasuredTable]":
    """Run a plan into a run folder and write its table.

    Args:
        plan: What to ask.
        out: The run folder; what it already holds is not asked again.
        reached: Per model the kind of backend and its options, so that a router fitted from
            this run can reach the models; no secrets.
        concurrency: Most requests under way at once.

    Raises:
        BackendError: The backend cannot be used; what was measured is kept.
        StoreError: The folder cannot be written.
    """
    from calibration import MeasuredTable, RunStore, run_plan, store_path

    async def run(store: "RunStore") -> "RunSummary":
        try:
            await _probe(plan)
            # After the probe, because a server's identity is known only then.
            store.set_meta("provenance", {**_provenance(plan), "backends": reached})
            with progress_bar("calibrate") as show:
                return await run_plan(plan, store, concurrency=concurrency, on_progress=show)
        finally:
            for one in {id(arm.backend): arm.backend for arm in plan.arms}.values():
                await one.aclose()

    with RunStore.create(store_path(out)) as store:
        try:
            summary = asyncio.run(run(store))
        except KeyboardInterrupt:
            note(f"interrupted; finished samples are in {out}: the same command resumes")
            raise
    with RunStore.open(store_path(out)) as store:
        table = MeasuredTable.from_store(store)
    table.save(out)
    return summary, table


async def _probe(plan: "Plan") -> None:
    """Ask servers once whether they do what the plan relies on, before anything is measured."""
    from policies.backends.probe import ListsModels, probe

    for one in {id(arm.backend): arm.backend for arm in plan.arms}.values():
        if isinstance(one, ListsModels):
            needed = {c for arm in plan.arms if arm.backend is one for c in arm.policy.needs}
            report = await probe(one, needed)
            for doubt in report.unsure:
                note(f"warning: {doubt}")


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _split_policies(text: str) -> list[str]:
    """Split at commas outside parentheses."""
    parts, depth, start = list[str](), 0, 0
    for index, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if character == "," and depth == 0:
            parts.append(text[start:index])
            start = index + 1
    return [part.strip() for part in [*parts, text[start:]] if part.strip()]


def _backend_options(
    backend: str, base_url: str | None, api_key_env: str, dialect: str
) -> dict[str, Any]:
    """Return the options by which a backend is built, now and by a router; no secrets."""
    if backend != "openai":
        return {}
    if base_url is None:
        from policies import InvalidInputError

        raise InvalidInputError(
            "--backend openai needs --base-url", hint="for example http://127.0.0.1:8000/v1"
        )
    return {"base_url": base_url, "dialect": dialect, "key_variable": api_key_env}


def _usual_options(backend: str) -> "DecodingOptions":
    """Return the default caps: the pocket models' context is small."""
    if backend == "pocket":
        from policies.backends.pocket import POCKET_OPTIONS

        return POCKET_OPTIONS
    from policies import DecodingOptions

    return DecodingOptions()


def _provenance(plan: "Plan") -> dict[str, Any]:
    from importlib.metadata import version

    return {
        "thinkroute": version("thinkroute"),
        "seed": plan.seed,
        "repeats": plan.repeats,
        "options": asdict(plan.options),
        "tasks": [
            {"name": t.name, "version": t.version, "grader": t.grader, "n": len(t.questions)}
            for t in plan.tasks
        ],
        "arms": [{"arm": arm.name, "backend": dict(arm.backend.identity())} for arm in plan.arms],
    }


def _confirm(plan: "Plan", *, ask: bool) -> None:
    size = plan.size()
    note(
        f"{size.n_requests:,} requests: {size.n_questions:,} questions x {len(plan.arms)} arms"
        f" x {plan.repeats}; about {size.prompt_tokens:,} prompt tokens,"
        f" at most {size.max_completion_tokens:,} generated tokens"
    )
    import sys

    if ask and sys.stdin.isatty() and sys.stderr.isatty():
        typer.confirm("Start?", abort=True, err=True, default=True)


def _show_plan(plan: "Plan", *, as_json: bool) -> None:
    size = plan.size()
    if as_json:
        print_json({"plan": asdict(size), "arms": [arm.name for arm in plan.arms]})
        return
    print_text(f"arms: {', '.join(arm.name for arm in plan.arms)}")
    print_text(f"tasks: {', '.join(f'{t.name} ({len(t.questions)})' for t in plan.tasks)}")
    _confirm(plan, ask=False)


def _show_result(
    out: Path, summary: "RunSummary", table: "MeasuredTable", *, as_json: bool
) -> None:
    if as_json:
        print_json(
            {
                "run": str(out),
                "table": str(out / "table.csv"),
                "summary": asdict(summary),
                "cells": [asdict(cell) for cell in table.cells],
            }
        )
    else:
        print_table(cells_table("measured", table.cells))
        print_text(
            f"asked {summary.n_asked:,} now, {summary.n_resumed:,} were finished before,"
            f" {summary.n_error:,} infrastructure errors"
        )
        print_text(f"run:   {out}\ntable: {out / 'table.csv'}")
    if summary.n_error:
        note(f"{summary.n_error} samples failed and are not counted: run again to retry them")
        note(f"the first said: {summary.first_error}")
        raise typer.Exit(ExitCode.BACKEND)
