"""Ask a trained student the study's questions with the calibration harness."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from policies import Backend, DecodingOptions, PolicySpec, StoreError

from ._results import StudyCell

if TYPE_CHECKING:
    from calibration import ModelFacts, OutcomeRecord, Task

__all__ = ["ask_questions"]


def ask_questions(
    backend: Backend,
    facts: "ModelFacts",
    tasks: "Sequence[Task]",
    *,
    policies: Sequence[str],
    options: DecodingOptions,
    store: Path,
) -> tuple[StudyCell, ...]:
    """Ask every question by every policy and return the cells.

    What the store holds already is not asked again.

    Args:
        backend: The student; closed at the end.
        facts: Its name, architecture and recipe.
        tasks: The questions, one task per task type.
        policies: Canonical policy strings.
        options: How every policy decodes.
        store: File of the run store.

    Raises:
        BackendError: The student cannot be asked at all.
        StoreError: Answers failed, so that it is not measured on every question; or the store
            cannot be written, or belongs to other questions.
    """
    from calibration import Arm, MeasuredTable, Plan, RunStore, run_plan
    from policies import build_policy

    arms = [Arm(backend, build_policy(spec), facts) for spec in policies]
    plan = Plan(tuple(tasks), tuple(arms), options)

    async def ask(run: RunStore) -> None:
        try:
            await run_plan(plan, run)
        finally:
            await backend.aclose()

    with RunStore.create(store) as run:
        asyncio.run(ask(run))
    # Closing it has written what was under way.
    with RunStore.open(store) as run:
        records = list(run.records())
        thoughts = Counter((one.task, one.policy) for one in run.thoughts() if one.n_tokens > 0)
        table = MeasuredTable.from_store(run)
    flops = {(cell.task, cell.policy): cell.mean_flops for cell in table.cells}
    found: list[StudyCell] = []
    for task in tasks:
        for policy in map(str, map(PolicySpec.parse, policies)):
            mine = [one for one in records if (one.task, one.policy) == (task.name, policy)]
            key = (task.name, policy)
            found.append(_cell(task, policy, mine, flops[key], n_thought=thoughts[key]))
    return tuple(found)


def _cell(
    task: "Task",
    policy: str,
    records: "Sequence[OutcomeRecord]",
    flops: float | None,
    *,
    n_thought: int,
) -> StudyCell:
    from calibration import Outcome
    from calibration.statistics import wilson_interval

    by_question = {one.question_id: one for one in records if one.outcome is not Outcome.ERROR}
    lacking = [one.id for one in task.questions if one.id not in by_question]
    if lacking:
        raise StoreError(
            f"{len(lacking)} of {len(task.questions)} questions of {task.name} were not answered "
            f"by {policy}",
            hint="see the log for the reason; the same command asks them again",
        )
    answers = [by_question[one.id] for one in task.questions]
    right = [one.outcome is Outcome.CORRECT for one in answers]
    n_cut = sum(one.outcome is Outcome.CUT for one in answers)
    interval = wilson_interval(sum(right), len(right))
    tokens = [float(one.completion_tokens or 0) for one in answers]
    wrong = [n for n, one in zip(tokens, answers, strict=True) if one.outcome is Outcome.WRONG]
    return StudyCell(
        task_type=task.task_type,
        mode=_mode_of(policy),
        policy=policy,
        n=len(answers),
        n_correct=sum(right),
        n_cut=n_cut,
        accuracy=sum(right) / len(right),
        ci_low=interval.low,
        ci_high=interval.high,
        mean_tokens=sum(tokens) / len(tokens),
        mean_tokens_correct=_mean(
            [n for n, is_right in zip(tokens, right, strict=True) if is_right]
        ),
        mean_tokens_wrong=_mean(wrong),
        think_share=n_thought / len(answers),
        mean_flops=flops or 0.0,
        correct="".join("01"[is_right] for is_right in right),
    )


def _mode_of(policy: str) -> str:
    return "ift" if PolicySpec.parse(policy).name == "direct" else "reasoning"


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
