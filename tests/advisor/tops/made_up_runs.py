"""Runs that hold what a test says."""

from collections.abc import Iterable
from pathlib import Path

from calibration import ImportedOutcome, Outcome, RunStore, store_path

__all__ = ["said", "write_run"]


def said(
    question: str,
    tokens: int | None,
    outcome: Outcome = Outcome.CORRECT,
    *,
    policy: str = "reasoning@max",
    repeat: int = 0,
    text: str | None = "Answer: 1",
    thinking: str | None = None,
    thinking_tokens: int | None = None,
    model: str = "m",
    task: str = "sums",
) -> ImportedOutcome:
    """Return one answer; the thought tells how long it is."""
    return ImportedOutcome(
        model=model,
        size=None,
        policy=policy,
        recipe="",
        question_id=question,
        group=question,
        task=task,
        task_type="math-oe",
        prompt=f"What is {question}?",
        gold="1",
        repeat=repeat,
        outcome=outcome,
        score=None,
        text=text,
        thinking=f"{policy} {repeat}: {tokens} tokens" if thinking is None else thinking,
        prompt_tokens=5,
        completion_tokens=tokens,
        thinking_tokens=thinking_tokens,
        seconds=None,
    )


def write_run(folder: Path, outcomes: Iterable[ImportedOutcome]) -> Path:
    """Write outcomes as a run; return its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with RunStore.create(store_path(folder)) as store:
        store.import_outcomes(outcomes, {"name": "made up"})
    return folder
