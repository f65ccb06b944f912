"""Let a model judge a run's answers, keep its verdicts, and compare them with the rule's."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass

from policies import Backend

from ._outcomes import Outcome
from ._store import RunStore
from .graders.llm_judge import (
    JUDGE_VERSION,
    Agreement,
    JudgedAnswer,
    JudgeVerdict,
    Verdict,
    agreement,
    judge_answers,
)

__all__ = ["JudgedRun", "judge_run"]


@dataclass(frozen=True, slots=True)
class JudgedRun:
    """What a judge has said of a run's answers.

    Attributes:
        judge: The judge's name with a hash of what identifies it; verdicts are kept under it.
        n_asked: Answers judged now.
        n_known: Answers it had judged before.
        n_error: Answers that it could not be asked about; the next call asks again.
        by_task: Agreement with the rule's outcomes per task.
        overall: Agreement over all tasks.
        first_error: What the first error said.
    """

    judge: str
    n_asked: int
    n_known: int
    n_error: int
    by_task: dict[str, Agreement]
    overall: Agreement
    first_error: str | None = None


async def judge_run(
    store: RunStore,
    backend: Backend,
    *,
    limit: int | None = None,
    concurrency: int | None = None,
    on_verdict: Callable[[JudgeVerdict], None] | None = None,
) -> JudgedRun:
    """Ask a judge about every finished answer of a run that it has not judged yet.

    Scores stay as they are: a judge is reported beside the rule, with how far both agree. Cut
    answers and errors are not judged.

    Args:
        store: The run, open for writing.
        backend: The model that judges.
        limit: Most answers to judge per task, in the order of their keys, which are hashes.
        concurrency: Most requests under way at once.
        on_verdict: Called with every new verdict.

    Raises:
        StoreError: A verdict could not be written.
        InvalidInputError: `concurrency` is not positive.
    """
    name = _judge_name(backend)
    known = store.verdicts(name)
    answers = store.answers(limit)
    todo = [
        JudgedAnswer(one.key, one.prompt, one.gold, one.text)
        for one in answers
        if one.key not in known
    ]

    def keep(verdict: JudgeVerdict) -> None:
        if verdict.verdict is not None:
            store.add_verdict(name, verdict.key, verdict.verdict.value, verdict.reply)
        if on_verdict is not None:
            on_verdict(verdict)

    new = await judge_answers(todo, backend, concurrency=concurrency, on_verdict=keep)
    said = {key: Verdict(text) for key, text in known.items()}
    said |= {v.key: v.verdict for v in new if v.verdict is not None}
    errors = [v.error for v in new if v.error is not None]

    def agreed(task: str | None) -> Agreement:
        of_task = [one for one in answers if task in (None, one.task)]
        verdicts = [JudgeVerdict(o.key, said[o.key]) for o in of_task if o.key in said]
        rule = {o.key: Outcome(o.outcome) for o in of_task if o.key in said}
        return agreement(verdicts, rule)

    return JudgedRun(
        judge=name,
        n_asked=len(new) - len(errors),
        n_known=len(said) - (len(new) - len(errors)),
        n_error=len(errors),
        by_task={task: agreed(task) for task in dict.fromkeys(one.task for one in answers)},
        overall=agreed(None),
        first_error=errors[0][1] if errors else None,
    )


def _judge_name(backend: Backend) -> str:
    identity = {**backend.identity(), "judge_version": str(JUDGE_VERSION)}
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    return f"{backend.model}#{digest[:12]}"
