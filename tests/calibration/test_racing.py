"""Racing: what is claimed, who stops and why, resuming, and error rates under peeking."""

import json
import math
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from calibration._racing import Race, RaceOutcome
from calibration.statistics import anytime_proportion_interval
from policies import ArtifactCorruptError, ArtifactTooNewError, InvalidInputError, UnknownNameError

Block = dict[str, dict[str, RaceOutcome]]


def make_questions(
    accuracies: dict[str, float],
    costs: dict[str, float],
    n: int,
    seed: int,
    *,
    error_rate: float = 0.0,
) -> Block:
    """Draw outcomes that share a difficulty per question, so that arms are correlated."""
    rng = np.random.default_rng(seed)
    difficulty = rng.random(n)
    luck = rng.random((len(accuracies), n))
    # The mean of two uniform numbers has this distribution function.
    score = (difficulty + luck) / 2
    cutoff = {
        a: math.sqrt(p / 2) if p <= 0.5 else 1 - math.sqrt((1 - p) / 2)
        for a, p in accuracies.items()
    }
    spend = rng.lognormal(0, 0.5, (len(accuracies), n))
    lost = rng.random((len(accuracies), n)) < error_rate
    return {
        f"q{q:05d}": {
            arm: RaceOutcome(bool(score[i, q] < cutoff[arm]), float(costs[arm] * spend[i, q]))
            for i, arm in enumerate(accuracies)
            if not lost[i, q]
        }
        for q in range(n)
    }


def run_race(race: Race, questions: Block, block: int = 50) -> Race:
    ids = list(questions)
    for start in range(0, len(ids), block):
        if race.is_over:
            break
        race.feed({q: questions[q] for q in ids[start : start + block]})
    return race


ACCURACIES = {"direct": 0.40, "short": 0.45, "long": 0.80, "wasteful": 0.42}
COSTS = {"direct": 5.0, "short": 30.0, "long": 100.0, "wasteful": 300.0}


# Stopping


def test_a_dominated_arm_stops_and_names_who_is_better_and_cheaper() -> None:
    race = run_race(Race(list(ACCURACIES)), make_questions(ACCURACIES, COSTS, 1500, 1))
    arms = {arm.arm: arm for arm in race.result().arms}
    assert (arms["wasteful"].stop_reason, arms["wasteful"].dominated_by) == ("dominated", "long")
    assert arms["wasteful"].stopped_at is not None
    assert arms["wasteful"].n == arms["wasteful"].stopped_at < 400
    assert arms["direct"].stop_reason != "dominated"


def test_a_better_but_dearer_arm_does_not_dominate() -> None:
    questions = make_questions({"a": 0.3, "b": 0.9}, {"a": 1.0, "b": 50.0}, 600, 2)
    race = run_race(Race(["a", "b"]), questions)
    result = race.result()
    assert [arm.stop_reason for arm in result.arms] == ["settled", "settled"]
    assert result.pairs[0].relation == "second-better"
    assert result.ranking == race.ranking == {("b", "a")}
    assert [(arm.rank_low, arm.rank_high) for arm in result.arms] == [(2, 2), (1, 1)]


def test_precision_stops_each_arm_at_its_own_time() -> None:
    accuracies = {"sure": 0.99, "coin": 0.5}
    questions = make_questions(accuracies, {"sure": 1.0, "coin": 1.0}, 4000, 3)
    race = run_race(Race(list(accuracies), target_halfwidth=0.04), questions)
    sure, coin = race.result().arms
    assert (sure.stop_reason, coin.stop_reason) == ("precise", "precise")
    assert sure.n < coin.n / 3
    for arm in (sure, coin):
        assert arm.accuracy.width / 2 <= 0.04
        k = round(arm.accuracy.estimate * arm.n)
        assert arm.accuracy == anytime_proportion_interval(k, arm.n)


def test_equal_arms_run_to_the_end_unless_a_tie_may_be_claimed() -> None:
    questions = make_questions({"a": 1.0, "b": 1.0}, {"a": 2.0, "b": 2.0}, 1500, 4)
    undecided = run_race(Race(["a", "b"]), questions)
    assert undecided.active == ("a", "b")
    assert not undecided.result().is_settled
    tied = run_race(Race(["a", "b"], tie_margin=0.02), questions)
    assert tied.is_over
    result = tied.result()
    assert result.pairs[0].relation == "tie"
    assert result.is_settled
    assert result.ranking == frozenset()
    assert result.n_outcomes < 1500
    assert max(map(abs, result.pairs[0].difference)) <= 0.02


def test_a_tolerance_lets_a_cheaper_arm_that_is_hardly_worse_dominate() -> None:
    accuracies, costs = {"cheap": 0.90, "dear": 0.905}, {"cheap": 10.0, "dear": 90.0}
    questions = make_questions(accuracies, costs, 3000, 5)
    strict = run_race(Race(["cheap", "dear"]), questions)
    assert not strict.is_over
    tolerant = run_race(Race(["cheap", "dear"], accuracy_tolerance=0.05), questions)
    dear = tolerant.result().arms[1]
    assert (dear.stop_reason, dear.dominated_by) == ("dominated", "cheap")


def test_tolerances_do_not_add_up_along_a_chain() -> None:
    """Each arm is cheaper and 4 points worse than the next; 8 points are not tolerated."""
    accuracies = {"a": 0.62, "b": 0.66, "c": 0.70}
    costs = {"a": 1.0, "b": 10.0, "c": 100.0}
    questions = make_questions(accuracies, costs, 12_000, 6)
    race = run_race(
        Race(list(accuracies), accuracy_tolerance=0.07, target_halfwidth=0.001), questions, 200
    )
    by_name = {arm.arm: arm for arm in race.result().arms}
    assert by_name["b"].dominated_by == "a"
    assert by_name["c"].dominated_by != "b"


def test_order_follows_from_other_claims_without_data_of_its_own() -> None:
    accuracies = {"low": 0.2, "middle": 0.5, "high": 0.8}
    questions = make_questions(accuracies, dict.fromkeys(accuracies, 1.0), 400, 7)
    for row in list(questions.values())[::2]:
        del row["low"]
    for row in list(questions.values())[1::2]:
        del row["high"]
    race = run_race(Race(list(accuracies)), questions)
    pair = next(p for p in race.result().pairs if {p.first, p.second} == {"low", "high"})
    assert (pair.n, pair.relation, pair.is_derived) == (0, "second-better", True)
    assert race.is_over


def test_claims_that_contradict_each_other_derive_nothing() -> None:
    """Different questions per pair make a circle: rock, paper, scissors."""
    names, race = ("rock", "paper", "scissors"), Race(("rock", "paper", "scissors"))
    won, lost = RaceOutcome(True, 1.0), RaceOutcome(False, 1.0)
    block: Block = {}
    for i in range(3):
        for q in range(40):
            block[f"{i}-{q}"] = {names[i]: lost, names[(i + 1) % 3]: won}
    race.feed(block)
    assert not any(pair.is_derived for pair in race.result().pairs)
    assert len(race.ranking) == 3


def test_outcomes_of_stopped_arms_are_left_out() -> None:
    questions = make_questions(ACCURACIES, COSTS, 1500, 1)
    kept = Race(list(ACCURACIES))
    spared = Race(list(ACCURACIES))
    ids = list(questions)
    for start in range(0, 1500, 50):
        block = {q: questions[q] for q in ids[start : start + 50]}
        kept.feed(block)
        spared.feed(
            {q: {a: o for a, o in row.items() if a in spared.active} for q, row in block.items()}
        )
    assert kept.to_json() == spared.to_json()


def test_errors_are_missing_and_never_wrong() -> None:
    race = Race(["a", "b"])
    right = RaceOutcome(True, 1.0)
    race.feed({"q1": {"a": right, "b": right}, "q2": {"a": right}, "q3": {}})
    a, b = race.result().arms
    assert (a.n, b.n, b.accuracy.estimate) == (2, 1, 1.0)
    assert race.result().pairs[0].n == 1
    assert race.result().n_questions == 3


# Determinism and resuming


@given(st.integers(0, 2**32), st.integers(1, 60))
@settings(max_examples=15, deadline=None)
def test_order_inside_a_block_does_not_matter_and_resuming_changes_nothing(
    seed: int, block: int
) -> None:
    questions = make_questions(ACCURACIES, COSTS, 300, seed % 1000, error_rate=0.05)
    ids, shuffler = list(questions), random.Random(seed)
    plain, other = (Race(list(ACCURACIES), tie_margin=0.05) for _ in range(2))
    for start in range(0, len(ids), block):
        part = ids[start : start + block]
        plain.feed({q: questions[q] for q in part})
        shuffler.shuffle(part)
        rows = {
            q: dict(shuffler.sample(list(questions[q].items()), len(questions[q]))) for q in part
        }
        other = Race.from_json(json.loads(json.dumps(other.to_json(), allow_nan=False)))
        other.feed(rows)
        assert other.to_json() == plain.to_json()
    assert other.result() == plain.result()


def test_newer_and_damaged_states_are_refused() -> None:
    race = run_race(
        Race(["a", "b"]), make_questions({"a": 0.2, "b": 0.7}, COSTS | {"a": 1, "b": 2}, 40, 1)
    )
    state = race.to_json()
    assert Race.from_json(state).to_json() == state
    with pytest.raises(ArtifactTooNewError, match="upgrade"):
        Race.from_json({**state, "schema_version": 2})


def damaged(name: str, value: Any) -> Any:
    state = Race(["a", "b"]).to_json()
    target: Any = state
    *path, last = name.split(".")
    for step in path:
        target = target[int(step)] if isinstance(target, list) else target[step]
    if isinstance(target, list):
        target[int(last)] = value
    else:
        target[last] = value
    return state


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("kind", "table"),
        ("schema_version", None),
        ("arms", ["a"]),
        ("arms", ["a", "a"]),
        ("confidence", 2),
        ("n_questions", -1),
        ("n_questions", "many"),
        ("tallies", []),
        ("tallies.0.0", -1),
        ("tallies.0.1", 5),
        ("tallies.0.2", math.nan),
        ("tallies.0.3", "bored"),
        ("tallies.0", [0, 0]),
        ("pairs", []),
        ("pairs.0.0", 1.5),
        ("pairs.0.1", 1),
        ("pairs.0.5", "better"),
        ("pairs.0.7", 1),
        ("pairs.0.10", 2),
    ],
)
def test_a_state_that_makes_no_sense_is_refused(name: str, value: object) -> None:
    with pytest.raises(ArtifactCorruptError, match="race"):
        Race.from_json(damaged(name, value))


# Error rates


def n_wrong_races(accuracies: Sequence[float], n_runs: int, **settings: Any) -> int:
    """Count races, looked at every 25 questions up to 500, with any wrong claim of order or tie."""
    names = [f"arm{i}" for i in range(len(accuracies))]
    truth = dict(zip(names, accuracies, strict=True))
    margin = settings.get("tie_margin", 0.0)
    n_wrong = 0
    for seed in range(n_runs):
        questions = make_questions(truth, dict.fromkeys(names, 10.0), 500, seed)
        race = run_race(Race(names, confidence=0.8, **settings), questions, 25)
        state = race.to_json()
        wrong = any(truth[better] <= truth[worse] for better, worse in race.ranking)
        pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
        for (first, second), pair in zip(pairs, state["pairs"], strict=True):
            wrong |= pair[5] == "tie" and abs(truth[first] - truth[second]) > margin
        wrong |= any(arm[3] == "dominated" for arm in state["tallies"])
        n_wrong += wrong
    return n_wrong


@pytest.mark.parametrize(
    "accuracies", [(0.5, 0.5, 0.5), (0.5, 0.55, 0.5), (0.9, 0.9, 0.2)], ids=str
)
def test_any_wrong_claim_is_as_rare_as_promised_under_peeking(
    accuracies: tuple[float, ...],
) -> None:
    """At confidence 0.8, so that few races suffice to tell; no arm is cheaper than another."""
    n_runs = 250
    # 99.9% quantile of races that are wrong with a probability of exactly 20%.
    assert n_wrong_races(accuracies, n_runs) <= stats.binom.ppf(0.999, n_runs, 0.2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("accuracies", "margin"),
    [((0.5, 0.5, 0.5, 0.5), 0.1), ((0.9, 0.78, 0.9), 0.11), ((0.97, 0.97, 0.94), 0.025)],
    ids=str,
)
def test_any_wrong_claim_of_order_or_tie_is_rare_in_many_races(
    accuracies: tuple[float, ...], margin: float
) -> None:
    wrong = n_wrong_races(accuracies, 2000, tie_margin=margin, stop_dominated=True)
    assert wrong <= stats.binom.ppf(0.999, 2000, 0.2)


def test_claims_from_plain_peeked_intervals_fail_the_same_check() -> None:
    """The check can fail: a sign test at 20% shared over pairs, looked at as often."""
    n_runs, n_wrong = 250, 0
    for seed in range(n_runs):
        names = ("a", "b", "c")
        questions = make_questions(dict.fromkeys(names, 0.5), dict.fromkeys(names, 10.0), 500, seed)
        right = np.array([[row[a].is_correct for a in names] for row in questions.values()])
        wrong = False
        for i, j in ((0, 1), (0, 2), (1, 2)):
            steps = right[:, i].astype(int) - right[:, j]
            looks = slice(24, None, 25)
            z = np.abs(steps.cumsum()[looks]) / np.sqrt(np.abs(steps).cumsum()[looks])
            wrong |= bool((z > stats.norm.ppf(1 - 0.2 / 6)).any())
        n_wrong += wrong
    assert n_wrong > stats.binom.ppf(0.999, n_runs, 0.2)


# Bad input


@pytest.mark.parametrize(
    "changes",
    [
        {"arms": []},
        {"arms": ["a", "a"]},
        {"confidence": 1.0},
        {"target_halfwidth": 0.0},
        {"tie_margin": -0.1},
        {"accuracy_tolerance": 1.0},
    ],
)
def test_impossible_settings_are_refused(changes: dict[str, Any]) -> None:
    settings: dict[str, Any] = {"arms": ["a", "b"], **changes}
    with pytest.raises(InvalidInputError):
        Race(settings.pop("arms"), **settings)


def test_unusable_outcomes_are_refused_and_change_nothing() -> None:
    race = Race(["a", "b"])
    before = race.to_json()
    with pytest.raises(UnknownNameError, match="unknown arm 'c'"):
        race.feed({"q": {"c": RaceOutcome(True, 1.0)}})
    for cost in (math.nan, -1.0, math.inf):
        with pytest.raises(InvalidInputError, match="cost"):
            race.feed({"p": {"a": RaceOutcome(True, 1.0)}, "q": {"b": RaceOutcome(True, cost)}})
    assert race.to_json() == before


def test_a_lone_arm_races_for_precision_only() -> None:
    questions = make_questions({"a": 0.9}, {"a": 1.0}, 1000, 1)
    assert run_race(Race(["a"]), questions).active == ("a",)
    assert run_race(Race(["a"], target_halfwidth=0.05), questions).is_over
