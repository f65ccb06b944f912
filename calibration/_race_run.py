"""Run a plan as a race: blocks of questions in lock-step, and no more of arms that are decided."""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, cast

from policies import InvalidInputError

from ._ceilings import Ceilings
from ._outcomes import Outcome
from ._plan import Plan, Sample
from ._racing import Race, RaceOutcome
from ._run import PlanRun, Progress, RunSummary
from ._store import RunStore

__all__ = ["RaceSettings", "run_race"]


@dataclass(frozen=True, slots=True)
class RaceSettings:
    """When an arm may stop; see `Race`.

    Attributes:
        target_halfwidth: Stop an arm at this half-width of its accuracy.
        tie_margin: Call two arms equal when they are shown to differ by at most this.
        accuracy_tolerance: How much worse a cheaper arm may be and still beat another one.
        confidence: Probability that all claims about a task and a model are right.
        block_questions: Questions of each task between two decisions.
    """

    target_halfwidth: float | None = None
    tie_margin: float | None = None
    accuracy_tolerance: float | None = None
    confidence: float = 0.95
    block_questions: int = 32


async def run_race(
    plan: Plan,
    store: RunStore,
    settings: RaceSettings,
    *,
    concurrency: int | None = None,
    replay: bool = True,
    ceilings: Ceilings | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> RunSummary:
    """Ask a plan's questions block by block, each task's arms only until they are decided.

    Each task is a race of its own between the arms of one model: with arms of all models at once
    every claim would have to hold against many more, and take most of the questions. What it found
    is kept under `races` in the store, whose cells then carry anytime intervals. A race that is interrupted goes on with the same decisions,
    since they follow from the stored outcomes. Costs are FLOPs if all arms' are known, generated
    tokens otherwise.

    Args:
        plan: What to ask; one answer per question, questions that share no document.
        store: Receives every finished sample.
        settings: When an arm may stop.
        concurrency: As in `run_plan`.
        replay: As in `run_plan`; if the largest budget stops, the next one leads.
        ceilings: As in `run_plan`.
        on_progress: As in `run_plan`; the total shrinks as arms stop.
        provenance: As in `run_plan`.

    Raises:
        BackendError: The backend cannot be used at all.
        StoreError: A sample could not be written, or the store belongs to another plan.
        InvalidInputError: The plan repeats questions, or questions share documents.
    """
    _check(plan, concurrency)
    run = PlanRun(plan, store, concurrency, ceilings or Ceilings(), on_progress, provenance)
    races = {place: _new_race(plan, place, settings) for place in _places(plan)}
    has_flops = all(arm.facts.architecture is not None for arm in plan.arms)
    outcomes: dict[str, RaceOutcome | None] = {}

    def learn(key: str, outcome: Outcome, tokens: int, flops: float | None) -> None:
        cost = flops if has_flops and flops is not None else float(tokens)
        is_known = outcome is not Outcome.ERROR
        outcomes[key] = RaceOutcome(outcome is Outcome.CORRECT, cost) if is_known else None

    for key, known in store.finished_outcomes().items():
        learn(key, *known)
    run.on_outcome = learn
    for blocks in _rounds(plan, settings.block_questions):
        active = [
            sample
            for block in blocks
            for sample in block
            if sample.arm.name in races[_place(sample)].active
        ]
        run.leave_out(sum(map(len, blocks)) - len(active))
        await run.ask([s for s in active if s.key not in run.finished], replay=replay)
        if run.is_stopped:
            break
        for place, samples in _by_place(blocks).items():
            if not races[place].is_over:
                races[place].feed(_fed(samples, races[place], outcomes))
        store.set_meta("races", _documents(races))
    return run.summary()


def _check(plan: Plan, concurrency: int | None) -> None:
    if concurrency is not None and concurrency < 1:
        raise InvalidInputError(f"concurrency is {concurrency}, expected >= 1")
    if plan.repeats > 1:
        raise InvalidInputError(
            f"a race asks each question once, not {plan.repeats} times",
            hint="leave --repeats or --race out",
        )
    for task in plan.tasks:
        if len({question.group for question in task.questions}) < len(task.questions):
            raise InvalidInputError(
                f"questions of {task.name!r} share documents, so they are not independent",
                hint="measure this task without --race",
            )


class _Place(NamedTuple):
    """Where a race is run."""

    task: str
    model: str


def _place(sample: Sample) -> _Place:
    return _Place(sample.task.name, sample.arm.facts.model)


def _places(plan: Plan) -> list[_Place]:
    models = dict.fromkeys(arm.facts.model for arm in plan.arms)
    return [_Place(task.name, model) for task in plan.tasks for model in models]


def _new_race(plan: Plan, place: _Place, settings: RaceSettings) -> Race:
    return Race(
        [arm.name for arm in plan.arms if arm.facts.model == place.model],
        confidence=settings.confidence,
        target_halfwidth=settings.target_halfwidth,
        tie_margin=settings.tie_margin,
        accuracy_tolerance=settings.accuracy_tolerance,
    )


def _by_place(blocks: list[list[Sample]]) -> dict[_Place, list[Sample]]:
    found: dict[_Place, list[Sample]] = {}
    for block in blocks:
        for sample in block:
            found.setdefault(_place(sample), []).append(sample)
    return found


def _rounds(plan: Plan, n_questions: int) -> list[list[list[Sample]]]:
    """Return per round the next block of every task that has one left."""
    by_task: dict[str, list[list[Sample]]] = {}
    for block in plan.blocks(n_questions):
        by_task.setdefault(block[0].task.name, []).append(block)
    n_rounds = max(map(len, by_task.values()))
    return [[b[i] for b in by_task.values() if i < len(b)] for i in range(n_rounds)]


def _fed(
    block: list[Sample], race: Race, outcomes: Mapping[str, RaceOutcome | None]
) -> dict[str, dict[str, RaceOutcome]]:
    """Return the outcomes of a block's active arms by question."""
    fed: dict[str, dict[str, RaceOutcome]] = {}
    for sample in block:
        row = fed.setdefault(sample.question.id, {})
        outcome = outcomes.get(sample.key)
        if outcome is not None and sample.arm.name in race.active:
            row[sample.arm.name] = outcome
    return fed


def _documents(races: Mapping[_Place, Race]) -> dict[str, dict[str, Any]]:
    """Return what the races have found, by task and model."""
    found: dict[str, dict[str, Any]] = {}
    for place, race in races.items():
        found.setdefault(place.task, {})[place.model] = _document(race)
    return found


def _document(race: Race) -> dict[str, Any]:
    """Return what a race has found, as plain JSON values."""
    result = race.result()
    arms = [{**asdict(arm), "accuracy": asdict(arm.accuracy)} for arm in result.arms]
    pairs = [{**asdict(pair), "difference": asdict(pair.difference)} for pair in result.pairs]
    return {
        "confidence": result.confidence,
        "n_questions": result.n_questions,
        "n_outcomes": result.n_outcomes,
        "is_over": race.is_over,
        "arms": [_without_nan(arm) for arm in arms],
        "pairs": [_without_nan(pair) for pair in pairs],
        "ranking": sorted(map(list, result.ranking)),
    }


def _without_nan(value: Any) -> Any:
    """Return plain values in which what is not known is `None`."""
    if isinstance(value, dict):
        items = cast("dict[str, Any]", value).items()
        return {name: _without_nan(item) for name, item in items}
    return None if isinstance(value, float) and math.isnan(value) else value
