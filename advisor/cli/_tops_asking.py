"""What `advisor data tops` asks of a model: efforts become arms of a plan, measured as any other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._arms import build_backends, prices_of
from ._measure import Measured, RunSettings, measure
from ._option_groups import ModelFacts

if TYPE_CHECKING:
    from advisor.tops import Effort, NamedPolicy
    from calibration import Plan, Task
    from policies import Backend, DecodingOptions

__all__ = ["Asked", "ModelAsked", "WantedEfforts", "ask_efforts", "plan_efforts"]


@dataclass(frozen=True, slots=True)
class WantedEfforts:
    """How a model is asked for more and less effort.

    Attributes:
        policies: Policies, with or without names; the lowest effort first.
        prompts: System prompts by name.
        prompt_policy: Policy behind them.
        levels: Levels that the server takes.
    """

    policies: Sequence[str]
    prompts: Mapping[str, str]
    prompt_policy: str
    levels: Sequence[str]


@dataclass(frozen=True, slots=True)
class ModelAsked:
    """Which model is asked, and how it is reached.

    Attributes:
        backend: Kind of backend.
        model: The model's name.
        options: The backend's options.
        about: What it is and costs.
    """

    backend: str
    model: str
    options: dict[str, Any]
    about: ModelFacts


@dataclass(frozen=True, slots=True)
class Asked:
    """A plan and what its arms are called.

    Attributes:
        plan: Every effort on every question, as often as samples are wanted.
        efforts: The efforts, the lowest first.
        reached: Per model of the plan the kind of backend and its options.
    """

    plan: "Plan"
    efforts: "tuple[Effort, ...]"
    reached: dict[str, dict[str, Any]]


def plan_efforts(
    wanted: WantedEfforts,
    asked: ModelAsked,
    tasks: "Sequence[Task]",
    options: "DecodingOptions",
    **samples: Any,
) -> Asked:
    """Return the plan that asks every effort.

    Args:
        wanted: The efforts; without any, `reasoning@max` alone.
        asked: The model.
        tasks: The questions.
        options: How every effort decodes.
        **samples: `repeats`, `seed` and `allows_code` of the plan.

    Raises:
        ThinkrouteError: An effort, the model or the plan cannot be used; the message says why.
    """
    from advisor.tops import Effort, PromptedPolicy, named_policies
    from advisor.tops import NamedPolicy as Named
    from calibration import Arm, Plan, describe_model
    from policies import InvalidInputError, ModelSize, build_policy

    policies = named_policies(wanted.policies)
    inner = build_policy(wanted.prompt_policy)
    prompted = [
        Named(name, PromptedPolicy(inner, name, text)) for name, text in wanted.prompts.items()
    ]
    if not (policies or prompted or wanted.levels):
        policies = named_policies(["reasoning@max"])
    names = [one.name for one in (*policies, *prompted)] + list(wanted.levels)
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InvalidInputError(
            f"the effort {', '.join(twice)} is given twice",
            hint="give each effort one name",
            code="invalid-effort",
        )
    about = asked.about
    size = ModelSize.parse(about.size) if about.size is not None else None
    price = prices_of(about.price, [asked.model]).get(asked.model)
    arms: list[Arm] = []
    efforts: list[Effort] = []
    reached: dict[str, dict[str, Any]] = {}

    def add(backend: "Backend", ways: "Sequence[NamedPolicy]", label: str, how: Any) -> None:
        facts = describe_model(backend, config=about.config, size=size)
        facts = replace(facts, model=label)
        reached[label] = {"backend": asked.backend, "options": how}
        for name, policy in ways:
            arms.append(Arm(backend, policy, facts, price))
            prompt = wanted.prompts.get(name) if isinstance(policy, PromptedPolicy) else None
            efforts.append(Effort(name, label, str(policy.spec), prompt))

    if policies or prompted:
        (backend,) = build_backends(asked.backend, [asked.model], asked.options)
        add(backend, [*policies, *prompted], asked.model, asked.options)
    for level in wanted.levels:
        how = {**asked.options, "effort": level}
        (backend,) = build_backends(asked.backend, [asked.model], how)
        # A run holds one way of reaching a model per name.
        add(backend, [Named(level, inner)], f"{asked.model}+{level}", how)
    return Asked(Plan(tuple(tasks), tuple(arms), options, **samples), tuple(efforts), reached)


def ask_efforts(asked: Asked, run: Path, settings: RunSettings) -> Measured:
    """Ask what a run does not hold yet, and note there what its arms are called.

    Raises:
        BackendError: The backend cannot be used; what was asked is kept.
        StoreError: The folder cannot be written.
    """
    try:
        return measure(asked.plan, run, reached=asked.reached, settings=settings)
    finally:
        _note_efforts(asked.efforts, run)


def _note_efforts(efforts: "Sequence[Effort]", run: Path) -> None:
    """Write names and system prompts beside those that earlier calls have written."""
    from calibration import RunStore, store_path

    if not store_path(run).is_file():
        return
    with RunStore.create(store_path(run)) as store:
        noted: list[dict[str, Any]] = store.get_meta("efforts") or []
        ours = {(one.model, one.policy): one.to_json() for one in efforts}
        kept = [one for one in noted if (one["model"], one["policy"]) not in ours]
        store.set_meta("efforts", [*kept, *ours.values()])
