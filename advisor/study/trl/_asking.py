"""Ask a plan's questions into a run folder, resuming what it holds."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from calibration import Plan, Progress, RunStore, RunSummary, run_plan, store_path
from policies import BackendError
from policies.backends.probe import ListsModels, probe

from ..._version import producer_version

__all__ = ["ask"]


def ask(
    plan: Plan,
    run: Path,
    *,
    reached: Mapping[str, Any],
    concurrency: int | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> RunSummary:
    """Ask what a run folder does not hold yet, and close the backends.

    Args:
        plan: What is asked.
        run: The run folder.
        reached: Per model the kind of backend and its options, for the run's provenance.
        concurrency: Most requests under way at once.
        on_progress: Called after every answer.

    Raises:
        BackendError: The backend cannot be used, or answers failed: an infrastructure error is
            no wrong answer. What was answered is kept.
        StoreError: The folder cannot be written.
    """
    with RunStore.create(store_path(run)) as store:
        store.drop(one.key for one in store.damaged())
        summary = asyncio.run(_ask(plan, store, reached, concurrency, on_progress))
    if summary.n_error:
        raise BackendError(
            f"{summary.n_error:,} of {summary.n_total:,} answers of {plan.arms[0].facts.model!r}"
            f" failed, the first with: {summary.first_error}",
            backend=plan.arms[0].backend.name,
            model=plan.arms[0].facts.model,
            hint="run the same command again: it asks only those",
        )
    return summary


async def _ask(
    plan: Plan,
    store: RunStore,
    reached: Mapping[str, Any],
    concurrency: int | None,
    on_progress: Callable[[Progress], None] | None,
) -> RunSummary:
    backends = {id(arm.backend): arm.backend for arm in plan.arms}.values()
    try:
        for one in backends:
            if isinstance(one, ListsModels):
                needed = {c for arm in plan.arms if arm.backend is one for c in arm.policy.needs}
                await probe(one, needed)
        origin = {
            "thinkroute": producer_version(),
            "seed": plan.seed,
            "repeats": plan.repeats,
            "options": asdict(plan.options),
            "tasks": [
                {"name": task.name, "version": task.version, "grader": task.grader}
                | {"n": len(task.questions), "source": task.source, "licence": task.licence}
                for task in plan.tasks
            ],
            "arms": [
                {"arm": arm.name, "backend": dict(arm.backend.identity())} for arm in plan.arms
            ],
            "backends": dict(reached),
        }
        return await run_plan(
            plan, store, concurrency=concurrency, on_progress=on_progress, provenance=origin
        )
    finally:
        for one in backends:
            await one.aclose()
