"""From a student's run to its cells: one per task type and policy, with every question's bit."""

from collections import defaultdict
from pathlib import Path

from calibration import Outcome, OutcomeRecord, RunStore, store_path
from calibration.generations import read_generations
from calibration.statistics import wilson_interval
from policies import build_policy

from .._results import StudyCell

__all__ = ["cells_of"]


def cells_of(run: Path) -> tuple[StudyCell, ...]:
    """Return the cells of a run without errors, by task type and policy.

    Questions are in the order of their identifiers, which is the same for every student.

    Raises:
        StoreError: The run cannot be read.
    """
    thought = {
        (one.question_id, one.policy)
        for one in read_generations(store_path(run))
        # Where a tokenizer has no token for it, the thought is in the text.
        if (one.thinking or "").strip() or "<think>" in (one.text or "")
    }
    groups: defaultdict[tuple[str, str], list[OutcomeRecord]] = defaultdict(list)
    with RunStore.open(store_path(run)) as store:
        for record in store.records():
            groups[record.task_type, record.policy].append(record)
    return tuple(
        _cell(task_type, policy, sorted(records, key=lambda one: one.question_id), thought)
        for (task_type, policy), records in sorted(groups.items())
    )


def _cell(
    task_type: str,
    policy: str,
    records: list[OutcomeRecord],
    thought: set[tuple[str, str]],
) -> StudyCell:
    n = len(records)
    tokens = [one.completion_tokens or 0 for one in records]
    right = [one.outcome is Outcome.CORRECT for one in records]
    wrong = [one.outcome is Outcome.WRONG for one in records]
    n_correct = sum(right)
    interval = wilson_interval(n_correct, n)
    return StudyCell(
        task_type=task_type,
        mode=build_policy(policy).mode.value,
        policy=policy,
        n=n,
        n_correct=n_correct,
        n_cut=sum(one.outcome is Outcome.CUT for one in records),
        accuracy=n_correct / n,
        ci_low=interval.low,
        ci_high=interval.high,
        mean_tokens=sum(tokens) / n,
        mean_tokens_correct=_mean(tokens, right),
        mean_tokens_wrong=_mean(tokens, wrong),
        think_share=sum((one.question_id, policy) in thought for one in records) / n,
        mean_flops=sum(one.flops or 0.0 for one in records) / n,
        correct="".join("1" if one else "0" for one in right),
    )


def _mean(tokens: list[int], which: list[bool]) -> float | None:
    chosen = [n for n, is_chosen in zip(tokens, which, strict=True) if is_chosen]
    return sum(chosen) / len(chosen) if chosen else None
