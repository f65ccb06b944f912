"""`advisor demo`: the whole path on the embedded models, in a few minutes."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ._measure import measure
from ._output import cells_table, note, print_table, print_text
from ._runs import load_run
from .ask import show_decision
from .evaluate import show_evaluation
from .recommend import show_recommendation

if TYPE_CHECKING:
    from calibration import Plan
    from router import Router

__all__ = ["demo"]

_MODELS = ("pocket-xs", "pocket-s", "pocket-m")
_POLICIES = ("direct", "reasoning@16", "reasoning@max")
_QUESTIONS = (
    "For Ana: name the pet of Bob.",
    "Compute mod ten, left to right: 7+5*3-4*9+2",
)


def demo(
    out: Annotated[Path, typer.Option(help="Folder for run and router.")] = Path("runs/demo"),
    limit: Annotated[int, typer.Option(min=20, help="Questions per task.")] = 250,
) -> None:
    """Measure the embedded models, fit a router, evaluate it, ask it, recommend a recipe.

    Example: advisor demo

    Takes less than three minutes on two cores. The models are tiny and synthetic: the demo
    shows the way, not what your model will do.
    """
    from advisor import RecommendationRequest
    from advisor import recommend as advise
    from policies import ModelSize
    from router import Router
    from router import evaluate as cross_validate

    note("1/5 measure: three models, three policies, four task types")
    run = out / "run"
    reached: dict[str, dict[str, Any]] = {model: {"backend": "pocket"} for model in _MODELS}
    table = measure(_plan(limit), run, reached=reached).table
    print_table(cells_table("measured", table.cells))

    # With all three sizes the choice would be trivial: the smallest one, reasoning, is the best
    # and nearly the cheapest. One model is the interesting case: when should it think?
    records, backends, options = load_run(run, _MODELS[-1])
    note(f"2/5 fit a router for {_MODELS[-1]}: when should it think?")
    router = Router.fit(records, backends=backends, options=options)
    router.save(out / "router", overwrite=True)

    note("3/5 evaluate on held-out questions")
    show_evaluation(cross_validate(records))

    note("4/5 ask it two questions")
    asyncio.run(_ask(router))

    note("5/5 recommend a recipe for a 3B model on open-ended math")
    request = RecommendationRequest(size=ModelSize.parse("3B"), task_type="math-oe")
    show_recommendation(advise(request))

    print_text(f"run:    {run / 'run.sqlite'}")
    print_text(f"table:  {run / 'table.csv'}")
    print_text(f"router: {out / 'router'}")
    print_text(f'next:   advisor ask --router {out / "router"} "{_QUESTIONS[1]}" --explain')


def _plan(limit: int) -> "Plan":
    from calibration import Arm, Plan, describe_model, load_tasks
    from policies import build_backend, build_policy
    from policies.backends.pocket import POCKET_OPTIONS

    arms = tuple(
        Arm(backend, build_policy(policy), describe_model(backend))
        for backend in (build_backend("pocket", model) for model in _MODELS)
        for policy in _POLICIES
    )
    tasks = tuple(load_tasks(["pocket"], limit=limit, seed=1))
    return Plan(tasks, arms, POCKET_OPTIONS, seed=1)


async def _ask(router: "Router") -> None:
    for question in _QUESTIONS:
        routed = await router.acomplete(question)
        print_text(f"\nQ: {question}\nA: {routed.text}")
        show_decision(routed.decision)
    await router.aclose()
