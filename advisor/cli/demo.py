"""`advisor demo`: the whole path on the embedded models, in a few minutes."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ._decision_views import show_explanation
from ._evaluation_views import headline_sentence, show_evaluation
from ._fit_views import show_fitted
from ._measure import measure
from ._output import cells_table, note, print_table, print_text
from ._runs import load_run
from .recommend import show_recommendation

if TYPE_CHECKING:
    from calibration import OutcomeRecord, Plan
    from router import Router

__all__ = ["demo"]

_MODELS = ("pocket-xs", "pocket-s", "pocket-m")
_POLICIES = ("direct", "reasoning@16", "reasoning@max")
_FOLDS = 3
"""Fewer than `advisor evaluate` takes, since each is a fit of its own."""
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

    Takes about half a minute on two idle cores. The models are tiny and synthetic: the demo
    shows the way, not what your model will do.
    """
    import asyncio

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
    n_answers = sum(cell.n for cell in table.cells)
    print_text(f"{n_answers:,} answers, each graded correct, wrong, cut or error. {_MODELS[-1]}:")
    for line in _in_words(records):
        print_text(f"  {line}")

    note(f"2/5 fit a router for {_MODELS[-1]}: when should it think?")
    router = Router.fit(records, backends=backends, options=options)
    router.save(out / "router", overwrite=True)
    show_fitted(router)

    note(f"3/5 evaluate on held-out questions, in {_FOLDS} folds")
    result = cross_validate(records, n_folds=_FOLDS)
    show_evaluation(result)

    note("4/5 ask it two questions")
    n_direct = asyncio.run(_ask(router))

    note("5/5 recommend a recipe for a 3B model on open-ended math")
    request = RecommendationRequest(size=ModelSize.parse("3B"), task_type="math-oe")
    show_recommendation(advise(request))

    print_text("\nWhat was done")
    print_text(f"measured:    {n_answers:,} answers of {len(_MODELS)} models, {run / 'table.csv'}")
    print_text(f"fitted:      when {_MODELS[-1]} should think, {out / 'router'}")
    print_text(f"evaluated:   {headline_sentence(result)}")
    print_text(f"asked:       {len(_QUESTIONS)} questions, {n_direct} answered without a thought")
    print_text("recommended: a recipe for 3B, from published tables")
    print_text(f'next: advisor ask --router {out / "router"} "{_QUESTIONS[1]}" --explain')


def _in_words(records: "Iterable[OutcomeRecord]") -> list[str]:
    """Return what each policy did, over all tasks."""
    from calibration import Outcome

    graded: dict[str, list[OutcomeRecord]] = {}
    for record in records:
        if record.outcome is not Outcome.ERROR:
            graded.setdefault(record.policy, []).append(record)
    lines: list[str] = []
    for policy in _POLICIES:
        own = graded.get(policy, [])
        n_right = sum(record.outcome is Outcome.CORRECT for record in own)
        tokens = [n for record in own if (n := record.completion_tokens) is not None]
        if own and tokens:
            lines.append(
                f"{policy}: {n_right / len(own):.1%} of {len(own):,} right,"
                f" {sum(tokens) / len(tokens):.1f} tokens each"
            )
    return lines


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


async def _ask(router: "Router") -> int:
    """Answer and explain the questions; return how many were answered without a thought."""
    n_direct = 0
    for question in _QUESTIONS:
        explanation = router.explain(question, n_neighbours=3)
        routed = await router.acomplete(question)
        n_direct += routed.decision.policy == "direct"
        print_text(f"\nQ: {question}\nA: {routed.text}")
        show_explanation(explanation, routed)
    await router.aclose()
    return n_direct
