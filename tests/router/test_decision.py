import json
from dataclasses import replace
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from policies import InvalidInputError, NoAdmissibleArmError
from router import Arm, Objective, Predictions, Price
from router._decision import check_known, choose, cost_of_arms, explain, rank
from router._selection import candidate_tradeoffs, tradeoff_within

Case = tuple[np.ndarray[Any, np.dtype[np.float64]], np.ndarray[Any, np.dtype[np.float64]]]

# Few distinct values, so that ties happen.
P = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])
COST = st.sampled_from([0.0, 1.0, 2.0, 50.0])
SHAPES = st.tuples(st.integers(1, 4), st.integers(1, 5))
CASES = SHAPES.flatmap(
    lambda shape: st.tuples(
        arrays(np.float64, shape, elements=P), arrays(np.float64, shape, elements=COST)
    )
)
OBJECTIVES = st.one_of(
    st.sampled_from([0.0, 0.1, 0.25]).map(Objective.trade),
    st.sampled_from([0.0, 0.3, 0.75, 1.0]).map(Objective.at_least),
    st.sampled_from([0.0, 1.5, 60.0]).map(Objective.within),
)


def brute_force(p: list[float], cost: list[float], objective: Objective) -> tuple[int, bool]:
    """Return the best arm by comparing every arm with every other one."""
    arms = range(len(p))
    if objective.tradeoff is not None:
        tradeoff = objective.tradeoff
        return min(arms, key=lambda a: (-(p[a] - tradeoff * cost[a]), cost[a], -p[a], a)), True
    if objective.target_accuracy is not None:
        target = objective.target_accuracy
        good = [a for a in arms if p[a] >= target]
        if not good:
            return min(arms, key=lambda a: (-p[a], cost[a], a)), False
        return min(good, key=lambda a: (cost[a], -p[a], a)), True
    assert objective.max_cost is not None
    cap = objective.max_cost
    good = [a for a in arms if cost[a] <= cap]
    if not good:
        return min(arms, key=lambda a: (cost[a], -p[a], a)), False
    return min(good, key=lambda a: (-p[a], cost[a], a)), True


@given(CASES, OBJECTIVES)
def test_choices_equal_brute_force(case: Case, objective: Objective) -> None:
    p, cost = case
    choice, is_met = choose(p, cost, objective)
    expected = [
        brute_force(p[row].tolist(), cost[row].tolist(), objective) for row in range(len(p))
    ]
    assert list(zip(choice.tolist(), is_met.tolist(), strict=True)) == expected


@given(CASES, OBJECTIVES, st.randoms(use_true_random=False))
def test_late_arms_come_last_and_the_others_keep_their_order(
    case: Case, objective: Objective, rng: Random
) -> None:
    p, cost = case
    in_time = np.array([[rng.random() < 0.6 for _ in row] for row in p])
    free, _ = rank(p, cost, objective)
    order, reaches = rank(p, cost, objective, in_time)
    assert not (reaches & ~in_time).any()
    for row in range(len(p)):
        expected = [arm for arm in free[row].tolist() if in_time[row, arm]]
        assert order[row].tolist()[: len(expected)] == expected
        assert sorted(order[row].tolist()) == list(range(p.shape[1]))


@settings(deadline=None)
@given(CASES, st.floats(0.0, 60.0))
def test_the_tradeoff_for_a_mean_cost_keeps_it_and_is_the_smallest(
    case: Case, limit: float
) -> None:
    p, cost = case

    def mean(tradeoff: float) -> float:
        choice, _ = choose(p, cost, Objective.trade(tradeoff))
        return float(cost[np.arange(len(cost)), choice].mean())

    grid = candidate_tradeoffs(cost).tolist()
    tradeoff = tradeoff_within(p, cost, limit)
    if tradeoff is None:
        assert all(mean(each) > limit for each in grid)
    else:
        assert mean(tradeoff) <= limit
        assert all(mean(each) > limit for each in grid if each < tradeoff)


def test_more_budget_is_not_assumed_to_help() -> None:
    choice, _ = choose(np.array([[0.6, 0.9, 0.7]]), np.array([[1.0, 5.0, 9.0]]), Objective.trade(0))
    assert choice.tolist() == [1]


def test_a_cap_that_every_arm_exceeds_is_an_error_with_the_cheapest_cost() -> None:
    with pytest.raises(NoAdmissibleArmError, match="cheapest costs 3"):
        explain(Objective.within(2.0), [0.5, 0.6], [3.0, 4.0], 0, False)


def test_a_target_out_of_reach_gives_the_best_arm_or_an_error() -> None:
    reasons = explain(Objective.at_least(0.9), [0.5, 0.6], [3.0, 4.0], 1, False)
    assert reasons == ["target-unreachable", "most-accurate"]
    with pytest.raises(NoAdmissibleArmError, match=r"best reaches 0\.600"):
        explain(Objective.at_least(0.9, is_strict=True), [0.5, 0.6], [3.0, 4.0], 1, False)


@pytest.mark.parametrize(
    ("objective", "expected"),
    [
        (Objective.trade(0.1), ["best-tradeoff", "cheapest"]),
        (Objective.at_least(0.4), ["target-met", "cheapest"]),
        (Objective.within(9.0), ["within-cap", "cheapest"]),
    ],
)
def test_reasons_name_the_rule_and_what_is_special(
    objective: Objective, expected: list[str]
) -> None:
    assert explain(objective, [0.5, 0.6], [3.0, 4.0], 0, True) == expected


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"tradeoff": 1.0, "max_cost": 1.0},
        {"tradeoff": -1.0},
        {"tradeoff": float("nan")},
        {"target_accuracy": 1.5},
        {"max_cost": float("inf")},
        {"max_mean_cost": -1.0},
        {"max_mean_cost": float("nan")},
        {"max_mean_cost": 1.0, "max_cost": 1.0},
        {"max_seconds": 1.0},
        {"tradeoff": 1.0, "max_seconds": 0.0},
        {"tradeoff": 1.0, "max_seconds": float("inf")},
        {"tradeoff": 1.0, "unit": "euros"},
    ],
)
def test_objectives_that_make_no_sense_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError):
        Objective(**arguments)


EVERY_OBJECTIVE = st.builds(
    replace,
    st.one_of(OBJECTIVES, st.floats(0, 1e9).map(Objective.on_average)),
    max_seconds=st.one_of(st.none(), st.floats(1e-3, 1e6)),
    unit=st.sampled_from(["tokens", "flops", "seconds", "usd"]),
)


@given(EVERY_OBJECTIVE)
def test_objectives_survive_json(objective: Objective) -> None:
    assert Objective.from_json(json.loads(json.dumps(objective.to_json()))) == objective


def test_an_objective_with_an_unknown_key_is_refused() -> None:
    with pytest.raises(InvalidInputError):
        Objective.from_json({"tradeoff": 1.0, "mood": "good"})


ARMS = (Arm.parse("a", "direct"), Arm.parse("b", "reasoning@max"))
PREDICTIONS = Predictions(
    p_correct=np.array([[0.5, 0.9]]),
    tokens=np.array([[10.0, 100.0]]),
    prompt_tokens=np.array([[7.0, 8.0]]),
    flops=np.array([[1e9, np.nan]]),
    seconds=np.array([[0.5, 5.0]]),
    posterior=np.ones((1, 1)),
)


def test_cost_in_every_unit() -> None:
    prices = {"a": Price(1e-6, 2e-6), "b": Price(3e-6, 4e-6)}

    def cost(unit: Any) -> list[list[float]]:
        return cost_of_arms(PREDICTIONS, ARMS, unit, prices).tolist()

    assert cost("tokens") == [[10.0, 100.0]]
    assert cost("seconds") == [[0.5, 5.0]]
    assert cost("usd") == [pytest.approx([27e-6, 424e-6])]


@pytest.mark.parametrize(("unit", "named"), [("flops", "b:reasoning@max"), ("usd", "a, b")])
def test_a_unit_without_measurements_is_refused_by_name(unit: Any, named: str) -> None:
    with pytest.raises(InvalidInputError, match=named):
        check_known(cost_of_arms(PREDICTIONS, ARMS, unit, {}), ARMS, unit)


def test_negative_prices_are_refused() -> None:
    with pytest.raises(InvalidInputError):
        Price(-1.0, 0.0)
