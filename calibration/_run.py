"""Drive a plan over its backends: bounded concurrency, resume, errors kept as data."""

import asyncio
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

from policies import (
    BackendError,
    BackendRequestError,
    Completion,
    InvalidInputError,
    Usage,
    user_message,
)

from ._outcomes import Outcome
from ._plan import Arm, Plan, Sample
from ._store import ArmRow, RunStore, StoredSample
from .cost import request_flops
from .graders import get_grader, judge

__all__ = ["Progress", "RunSummary", "run_plan", "store_path"]

_MAX_CONSECUTIVE_ERRORS = 20
_REFUSING_STATUS = (401, 403, 404)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run has come.

    Attributes:
        n_done: Samples finished in this and earlier runs.
        n_total: Samples planned.
        n_error: Infrastructure errors in this run.
        completion_tokens: Tokens generated in this run.
        arm: Arm of the latest sample.
    """

    n_done: int
    n_total: int
    n_error: int
    completion_tokens: int
    arm: str


@dataclass(frozen=True, slots=True)
class RunSummary:
    """What a run did.

    Attributes:
        n_total: Samples planned.
        n_resumed: Samples found finished in the store.
        n_asked: Samples asked now.
        n_error: Of those, infrastructure errors; asked again by the next run.
        prompt_tokens: Prompt tokens spent now.
        completion_tokens: Tokens generated now.
        first_error: What the first infrastructure error said, `None` without errors.
    """

    n_total: int
    n_resumed: int
    n_asked: int
    n_error: int
    prompt_tokens: int
    completion_tokens: int
    first_error: str | None = None


def store_path(run: Path) -> Path:
    """Return the SQLite file of a run folder; a path to the file itself is kept."""
    return run if run.suffix == ".sqlite" else run / "run.sqlite"


async def run_plan(
    plan: Plan,
    store: RunStore,
    *,
    concurrency: int | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> RunSummary:
    """Ask every sample of a plan that the store does not hold yet.

    Args:
        plan: What to ask.
        store: Receives every finished sample; samples it already holds are not asked.
        concurrency: Most requests under way at once, positive; `None` takes the backends' own
            number.
        on_progress: Called after every sample.

    Raises:
        BackendError: The backend cannot be used at all: it refuses every request, or 20
            requests in a row failed. Finished samples are in the store.
        StoreError: A sample could not be written, or the store belongs to another plan.
        InvalidInputError: `concurrency` is not positive.
    """
    if concurrency is not None and concurrency < 1:
        raise InvalidInputError(f"concurrency is {concurrency}, expected >= 1")
    run = _Run(plan, store, on_progress)
    limit = concurrency or max(arm.backend.max_concurrency for arm in plan.arms)
    failure: Exception | None = None
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(limit, run.n_open)):
                group.create_task(run.work())
    except* Exception as errors:  # noqa: BLE001 - raised again, out of its group
        failure = _first(errors)
    if failure is not None:
        raise failure
    if run.fatal is not None:
        raise run.fatal
    return run.summary()


def _first(errors: ExceptionGroup[Exception]) -> Exception:
    """Return the first error of a group; the workers' other ones follow from it."""
    first = errors.exceptions[0]
    if isinstance(first, ExceptionGroup):
        return _first(cast("ExceptionGroup[Exception]", first))
    return first


class _Run:
    """State of one run; all of it lives on one event loop."""

    def __init__(
        self, plan: Plan, store: RunStore, on_progress: Callable[[Progress], None] | None
    ) -> None:
        self._plan = plan
        self._store = store
        self._on_progress = on_progress
        self._arms = {id(arm): store.add_arm(_arm_row(arm, plan)) for arm in plan.arms}
        for task in plan.tasks:
            store.add_questions(
                [
                    (q.id, task.name, task.task_type, q.group, q.level, q.prompt, q.gold)
                    for q in task.questions
                ]
            )
        finished = store.finished_keys()
        self._n_total = plan.size().n_requests
        todo = [sample for sample in plan.samples() if sample.key not in finished]
        self.n_open = len(todo)
        self._todo: Iterator[Sample] = iter(todo)
        self._n_resumed = self._n_total - self.n_open
        self._n_asked = self._n_error = self._n_failed_in_a_row = 0
        self._prompt_tokens = self._completion_tokens = 0
        self._known_flops: dict[tuple[int, ...], float] = {}
        self._first_error: str | None = None
        self.fatal: BackendError | None = None

    async def work(self) -> None:
        for sample in self._todo:
            if self.fatal is not None:
                return
            try:
                completion = await sample.arm.policy.run(
                    user_message(sample.question.prompt),
                    sample.arm.backend,
                    self._plan.sample_options(sample),
                )
            except BackendError as error:
                self._fail(sample, error)
            else:
                self._n_failed_in_a_row = 0
                self._keep(sample, completion)
            if self._on_progress is not None:
                self._on_progress(self._progress(sample))

    def summary(self) -> RunSummary:
        return RunSummary(
            n_total=self._n_total,
            n_resumed=self._n_resumed,
            n_asked=self._n_asked,
            n_error=self._n_error,
            prompt_tokens=self._prompt_tokens,
            completion_tokens=self._completion_tokens,
            first_error=self._first_error,
        )

    def _keep(self, sample: Sample, completion: Completion) -> None:
        grader = get_grader(sample.task.grader)
        outcome, extracted, *_ = judge(completion, sample.question.gold, grader)
        usage = completion.usage
        flops = self._flops_of(sample.arm, usage)
        self._n_asked += 1
        self._prompt_tokens += usage.prompt_tokens
        self._completion_tokens += usage.completion_tokens
        self._add(sample, completion, flops, outcome, extracted, None)

    def _flops_of(self, arm: Arm, usage: Usage) -> float | None:
        """Return a request's FLOPs; few pairs of lengths occur, each of them often."""
        if arm.facts.architecture is None:
            return None
        lengths = (usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens)
        key = (id(arm), *lengths)
        if key not in self._known_flops:
            self._known_flops[key] = float(request_flops(arm.facts.architecture, *lengths))
        return self._known_flops[key]

    def _fail(self, sample: Sample, error: BackendError) -> None:
        self._n_asked += 1
        self._n_error += 1
        self._n_failed_in_a_row += 1
        self._first_error = self._first_error or str(error)
        self._add(sample, None, None, Outcome.ERROR, None, (error.code, str(error)))
        is_refused = (
            isinstance(error, BackendRequestError) and error.status_code in _REFUSING_STATUS
        )
        if is_refused or self._n_failed_in_a_row >= _MAX_CONSECUTIVE_ERRORS:
            self.fatal = self.fatal or error

    def _add(
        self,
        sample: Sample,
        completion: Completion | None,
        flops: float | None,
        outcome: Outcome,
        extracted: str | None,
        error: tuple[str, str] | None,
    ) -> None:
        budget = sample.arm.policy.spec.budget
        grader = get_grader(sample.task.grader)
        self._store.add(
            StoredSample(
                key=sample.key,
                arm=self._arms[id(sample.arm)],
                question=sample.question.id,
                repeat=sample.repeat,
                requested_budget=None if budget is None else str(budget),
                completion=completion,
                flops=flops,
                outcome=outcome,
                extracted=extracted,
                grader=(grader.name, grader.version),
                error=error,
            )
        )

    def _progress(self, sample: Sample) -> Progress:
        return Progress(
            n_done=self._n_resumed + self._n_asked,
            n_total=self._n_total,
            n_error=self._n_error,
            completion_tokens=self._completion_tokens,
            arm=sample.arm.name,
        )


def _arm_row(arm: Arm, plan: Plan) -> ArmRow:
    size = arm.facts.size.n_params if arm.facts.size is not None else None
    options = {key: value for key, value in asdict(plan.options).items() if key != "seed"}
    identity = {
        "backend": dict(arm.backend.identity()),
        "options": options,
        "seed": plan.seed,
    }
    return ArmRow(
        model=arm.facts.model,
        size=size,
        policy=str(arm.policy.spec),
        recipe=arm.facts.recipe,
        identity=json.dumps(identity, sort_keys=True),
    )
