"""Ask for a recommendation, make up cells, and check what must hold of every answer."""

import json
import math
from typing import Any, get_args

from advisor import RecipeOption, Recommendation, RecommendationRequest, recommend
from advisor._recipe import Order
from advisor._recommendation import Action
from advisor.inference import wilson
from calibration import Cell
from calibration.published import find_evidence, load_published_table
from policies import ModelSize

TABLE = load_published_table("scale_or_reason_table1")
PRINTED = ("0.5B", "1.5B", "3B", "7B", "14B")
BETWEEN = ("1B", "4B", "10B")
OUTSIDE = ("100M", "499M", "15B", "32B", "70B")
TASK_TYPES = ("general-mc", "general-oe", "math-mc", "math-oe")


def question(size: str, task_type: str, **more: Any) -> RecommendationRequest:
    """Return a request; sizes as text, `any` for any."""
    if more.get("max_size") is not None:
        more["max_size"] = ModelSize.parse(more["max_size"])
    parsed = None if size == "any" else ModelSize.parse(size)
    return RecommendationRequest(size=parsed, task_type=task_type, **more)


def ask(size: str, task_type: str, *, cells: tuple[Cell, ...] = (), **more: Any) -> Recommendation:
    """Return the answer, checked."""
    answer = recommend(question(size, task_type, **more), cells=cells)
    check_honest(answer, own=bool(cells))
    return answer


def cell(
    accuracy: float,
    policy: str,
    *,
    task_type: str = "math-oe",
    size: int | None = 3_085_938_688,
    recipe: str = "",
    n: int = 1000,
    task: str = "mine",
    model: str = "model",
    mean_tokens: float | None = None,
    mean_flops: float | None = None,
) -> Cell:
    """Return a cell with a 95% interval, as calibration makes them."""
    n_correct = round(accuracy * n)
    low, high = wilson(n_correct / n, n)
    centre, wider = n_correct / n, 1.959963984540054 / 1.6448536269514722
    return Cell(
        task=task,
        task_type=task_type,
        model=model,
        size=size,
        policy=policy,
        recipe=recipe,
        n=n,
        n_correct=n_correct,
        n_cut=0,
        n_error=0,
        accuracy=centre,
        ci_low=max(0.0, centre - wider * (centre - low)),
        ci_high=min(1.0, centre + wider * (high - centre)),
        mean_prompt_tokens=100.0,
        mean_tokens=mean_tokens or (60.0 if policy == "direct" else 900.0),
        mean_flops=mean_flops,
        mean_seconds=0.1,
    )


def pair(ift: float, reasoning: float, **more: Any) -> tuple[Cell, ...]:
    """Return one model asked in both modes."""
    return cell(ift, "direct", **more), cell(reasoning, "reasoning@max", **more)


def trained(ift: float, reasoning: float, size: int, **more: Any) -> tuple[Cell, ...]:
    """Return two students of one size, one per recipe."""
    return (
        cell(ift, "direct", recipe="ift", model=f"ift-{size}", size=size, **more),
        cell(reasoning, "reasoning@max", recipe="reasoning", model=f"r-{size}", size=size, **more),
    )


def codes(answer: Recommendation) -> list[str]:
    """Return the codes of its warnings."""
    return [warning.code for warning in answer.warnings]


def conflict_ids(answer: Recommendation) -> list[str]:
    """Return the ids of its conflicts, without their first part."""
    return [conflict.id.partition("/")[2] for conflict in answer.conflicts]


def reason_codes(answer: Recommendation) -> list[str]:
    """Return the codes of its reasons."""
    return [reason.code for reason in answer.verdict.reasons]


def find(answer: Recommendation, size: str, label: str) -> RecipeOption:
    """Return the option with this size and recipe label."""
    return next(
        option
        for option in answer.options
        if (str(option.size), option.recipe.label) == (size, label)
    )


def check_honest(answer: Recommendation, *, own: bool = False) -> None:
    """Check what must hold of every recommendation, whatever was asked."""
    verdict = answer.verdict
    assert verdict.action in get_args(Action)
    chosen = answer.recommended
    assert (chosen is None) == (verdict.action == "abstain")
    assert (verdict.confidence == "none") == (chosen is None)
    if chosen is not None:
        assert chosen.recipe.order is not Order.REASONING_THEN_IFT
        assert chosen.is_feasible
        assert verdict.fallback is None
        if chosen.accuracy.value is None:
            assert verdict.confidence == "rule"
        assert answer.plan
    fallback = answer.option(verdict.fallback)
    assert fallback is None or fallback.is_feasible
    letters = [option.id for option in answer.options]
    assert len(letters) == len(set(letters))
    recipes = [option.recipe for option in answer.options]
    assert len(recipes) == len(set(recipes))
    listed = {item.id for item in answer.evidence}
    for option in answer.options:
        _check_option(option, listed)
    _check_evidence(answer, own=own)
    for difference in answer.differences:
        assert {difference.first, difference.second} <= set(letters)
        assert difference.low <= difference.value <= difference.high
        assert difference.is_shown == (difference.low > 0 or difference.high < 0)
        assert set(difference.cells) <= listed
    for reason in verdict.reasons:
        assert set(reason.cells) <= listed or all(map(find_evidence, set(reason.cells) - listed))
    assert verdict.reasons
    warnings = codes(answer)
    assert len(warnings) == len(set(warnings))
    assert "ift-after-reasoning" in warnings
    values = [item.value_per_exaflop or 0.0 for item in answer.next_measurements]
    assert values == sorted(values, reverse=True)
    for advice in answer.methods:
        assert advice.text
        for cited in advice.cells:
            find_evidence(cited)
    document = answer.to_json()
    assert Recommendation.from_json(json.loads(json.dumps(document))) == answer


def _check_option(option: RecipeOption, listed: set[str]) -> None:
    accuracy = option.accuracy
    if accuracy.value is None:
        assert accuracy.basis == "rule"
        assert option.p_front is None
    else:
        assert accuracy.basis in {"measured", "interpolated", "transferred"}
        assert accuracy.low is not None
        assert accuracy.high is not None
        assert 0 <= accuracy.low <= accuracy.value <= accuracy.high <= 1
        assert accuracy.low < accuracy.high
        assert accuracy.cells
        assert set(accuracy.cells) <= listed
        assert (option.p_front is None) == (not option.is_feasible)
    assert math.isfinite(option.train_flops)
    assert option.train_flops > 0
    hours = option.gpu_hours
    assert 0 < hours.low <= hours.mid <= hours.high
    assert (option.inference_flops is None) == (option.inference_basis is None)
    assert option.is_feasible == (option.why_not == ())
    assert {need.method for need in option.memory} == {"full", "lora"}


def _check_evidence(answer: Recommendation, *, own: bool) -> None:
    for item in answer.evidence:
        if item.source == "measured":
            assert own
            assert item.grade == "measured"
            assert item.n is not None
        else:
            rows = [row for row in TABLE.rows if row.id == item.id]
            assert [row.accuracy for row in rows] == [item.value]
            assert find_evidence(item.id).row.grade == "printed"
