"""The guarantee: kept over many calibration samples, given where the data allow, honest elsewhere."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from calibration import OutcomeRecord
from policies import InvalidInputError
from router import OutcomeMatrix, Router
from router._certification import certify
from router._guarantee import Guarantee, MeasuredCost

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "outcomes"


def find(loss: Floats, **options: Any) -> Guarantee:
    """Certify with every question on its own, 2 points and 95% unless told otherwise."""
    groups = options.pop("groups", range(len(loss)))
    usual: dict[str, Any] = {
        "max_loss": 0.02,
        "confidence": 0.95,
        "reference": "m:reasoning@max",
    }
    return certify(loss, groups, **(usual | options))


class World(NamedTuple):
    """A population: losses and costs of every rule, and of the reference."""

    loss: Floats
    cost: Floats
    reference: Floats

    @property
    def truth(self) -> Floats:
        return self.loss.mean(axis=0)

    def sample(self, rows: Ints) -> tuple[Floats, MeasuredCost]:
        return self.loss[rows], MeasuredCost(self.cost[rows], self.reference[rows])


def draw_world(seed: int = 1, n: int = 20_000, n_grid: int = 40) -> World:
    """Reasoning gains .15 on average; a score that half knows where sends questions to it."""
    rng = np.random.default_rng(seed)
    p_direct = rng.beta(2, 2, n) * 0.9
    p_reasoning = np.clip(p_direct + rng.normal(0.15, 0.25, n), 0, 1)
    score = p_reasoning - p_direct + rng.normal(0, 0.3, n)
    gain = (rng.random(n) < p_reasoning).astype(np.float64) - (rng.random(n) < p_direct)
    is_direct = score[:, np.newaxis] <= np.quantile(score, np.linspace(0.02, 1, n_grid))
    reference = rng.lognormal(5, 0.6, n)
    direct = rng.lognormal(2, 0.5, n)
    cost = np.where(is_direct, direct[:, np.newaxis], reference[:, np.newaxis])
    return World(gain[:, np.newaxis] * is_direct, cost, reference)


def flat_world(n: int = 20_000, n_grid: int = 30) -> World:
    """Every rule but the last loses just more than 2 points: what looks better is luck."""
    rng = np.random.default_rng(2)
    is_lost = rng.random((n, n_grid)) < 0.07
    is_won = ~is_lost & (rng.random((n, n_grid)) < 0.045 / 0.93)
    loss = is_lost.astype(np.float64) - is_won
    cost = np.linspace(0.9, 0.1, n_grid) * np.ones((n, 1))
    return World(loss, cost, np.ones(n))


class Tally(NamedTuple):
    """How many draws broke the promise, were given one, and would have been fooled."""

    n_broken: int
    n_given: int
    n_naive_broken: int


def tally(
    world: World, *, n: int, max_loss: float, confidence: float, n_draws: int, seed: int = 0
) -> Tally:
    """Draw calibration questions again and again and compare with the population's truth."""
    rng = np.random.default_rng(seed)
    n_broken = n_given = n_naive = 0
    for draw in range(n_draws):
        rows = rng.integers(0, len(world.loss), n)
        loss, cost = world.sample(rows)
        found = find(loss, cost=cost, max_loss=max_loss, confidence=confidence, seed=draw)
        n_given += found.holds
        n_broken += found.index is not None and bool(world.truth[found.index] > max_loss)
        looks_good = np.flatnonzero(loss.mean(axis=0) <= max_loss)
        if len(looks_good):
            cheapest = looks_good[cost.values.mean(axis=0)[looks_good].argmin()]
            n_naive += bool(world.truth[cheapest] > max_loss)
    return Tally(n_broken, n_given, n_naive)


def most_broken(n_draws: int, confidence: float) -> int:
    """Return what a promise kept exactly as often as said exceeds once in 1000 repetitions."""
    return int(stats.binom.ppf(0.999, n_draws, 1 - confidence))


# The promise


@pytest.mark.parametrize(
    ("n", "max_loss", "confidence", "least_given"),
    [(400, 0.02, 0.95, 0.7), (200, 0.03, 0.9, 0.7)],
)
def test_promise_is_kept_as_often_as_said_and_given_often(
    n: int, max_loss: float, confidence: float, least_given: float
) -> None:
    n_draws = 60
    found = tally(
        draw_world(), n=n, max_loss=max_loss, confidence=confidence, n_draws=n_draws, seed=n
    )
    assert found.n_broken <= most_broken(n_draws, confidence)
    assert found.n_given >= least_given * n_draws


def test_choosing_what_looks_good_breaks_the_promise_and_the_guarantee_does_not() -> None:
    n_draws = 60
    found = tally(flat_world(), n=300, max_loss=0.02, confidence=0.9, n_draws=n_draws)
    assert found.n_broken <= most_broken(n_draws, 0.9)
    assert found.n_naive_broken > 0.9 * n_draws


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("make", "n", "max_loss", "confidence"),
    [
        (draw_world, 400, 0.02, 0.95),
        (draw_world, 200, 0.03, 0.9),
        (flat_world, 300, 0.02, 0.9),
        (flat_world, 300, 0.02, 0.8),
    ],
)
def test_promise_is_kept_over_a_thousand_draws(
    make: Callable[[], World], n: int, max_loss: float, confidence: float
) -> None:
    found = tally(make(), n=n, max_loss=max_loss, confidence=confidence, n_draws=1000)
    assert found.n_broken <= most_broken(1000, confidence)


def test_promise_is_about_questions_when_they_come_in_groups_of_unequal_size() -> None:
    """Large groups lose, small ones do not: a mean over groups would look harmless."""
    rng = np.random.default_rng(3)
    n_draws, n_broken = 100, 0
    for draw in range(n_draws):
        sizes = np.where(rng.random(150) < 0.2, 8, 1)
        groups = np.repeat(np.arange(150), sizes)
        # .0375 of 8-question groups lose: a mean loss of .025 over questions, .0075 over groups.
        is_lost = (sizes == 8) & (rng.random(150) < 0.0375)
        loss = np.repeat(is_lost.astype(np.float64), sizes)[:, np.newaxis]
        found = find(loss, groups=groups.tolist(), max_loss=0.025, confidence=0.9, seed=draw)
        n_broken += found.holds
    assert n_broken <= most_broken(n_draws, 0.9)


def test_copies_of_questions_are_no_evidence_when_they_are_grouped() -> None:
    once = np.zeros((100, 1))
    copied = np.zeros((400, 1))
    groups = [row // 4 for row in range(400)]
    assert find(copied).holds
    assert not find(copied, groups=groups).holds
    assert find(copied, groups=groups).p_value == pytest.approx(find(once).p_value)


def test_a_router_of_the_toy_world_is_certified_and_keeps_its_promise(
    make_records: Callable[..., list[OutcomeRecord]], router: Router
) -> None:
    """The whole way: fit on some questions, sweep the trade-off, certify on others."""
    matrix = OutcomeMatrix.from_records(make_records(3000, seed=5))
    predictions = router.predict(list(matrix.prompts))
    tradeoffs = np.concatenate([[0.0], np.geomspace(1e-5, 1.0, 40)])
    chosen = np.column_stack(
        [np.argmax(predictions.p_correct - t * predictions.tokens, axis=1) for t in tradeoffs]
    )
    rows = np.arange(matrix.n_questions)[:, np.newaxis]
    world = World(
        matrix.correct[:, [-1]] - matrix.correct[rows, chosen],
        matrix.tokens[rows, chosen],
        matrix.tokens[:, -1],
    )
    found = tally(world, n=400, max_loss=0.02, confidence=0.9, n_draws=30)
    assert found.n_broken <= most_broken(30, 0.9)
    assert found.n_given >= 25


def test_recorded_exams_keep_the_promise() -> None:
    """Ten samples of each of 1000 questions, and a rule by task: direct where it did not hurt."""
    path = DATA / "renze_ccot" / "long.parquet"
    if not path.exists():
        pytest.skip(f"no recorded outcomes at {path}")
    from pyarrow import parquet

    rows = [
        row
        for row in parquet.read_table(path).to_pylist()
        if row["model"].startswith("gpt-3.5") and row["task"] != "comprehensive"
    ]
    ids = sorted({row["question_id"] for row in rows})
    of = {
        mode: {row["question_id"]: row for row in rows if row["mode"] == mode}
        for mode in ("direct", "cot")
    }
    task = np.array([of["cot"][name]["task"] for name in ids])
    correct = np.array([[of[mode][name]["correct"] for mode in of] for name in ids])
    tokens = np.array([[of[mode][name]["completion_tokens"] for mode in of] for name in ids])
    is_fitted = np.random.default_rng(0).random(len(ids)) < 1 / 3
    gains = {
        name: float(np.diff(correct[is_fitted & (task == name)].mean(axis=0))[0])
        for name in set(task.tolist())
    }
    order = sorted(gains, key=lambda name: gains[name])
    rank = np.array([order.index(name) for name in task.tolist()])[~is_fitted, np.newaxis]
    is_direct = rank < np.arange(1, len(order) + 1)
    correct, tokens = correct[~is_fitted], tokens[~is_fitted]
    world = World(
        np.where(is_direct, correct[:, [1]] - correct[:, [0]], 0.0),
        np.where(is_direct, tokens[:, [0]], tokens[:, [1]]),
        tokens[:, 1],
    )
    found = tally(world, n=400, max_loss=0.02, confidence=0.9, n_draws=50)
    assert found.n_broken <= most_broken(50, 0.9)
    assert found.n_given >= 30


# What is found


def test_sequence_stops_at_the_first_rule_that_cannot_be_certified() -> None:
    good, bad = np.zeros((500, 1)), np.ones((500, 1))
    found = find(np.hstack([good, good, bad, good]))
    assert (found.holds, found.index) == (True, 1)
    assert find(np.hstack([bad, good, good])).index is None


def test_cheapest_of_the_certified_is_chosen_and_the_reference_itself_is_no_finding() -> None:
    loss = np.zeros((500, 3))
    cost = MeasuredCost(np.tile([10.0, 4.0, 6.0], (500, 1)), np.full(500, 10.0))
    found = find(loss, cost=cost)
    assert found.index == 1
    assert found.cost is not None
    assert (found.cost.mean, found.cost.saved) == (4.0, pytest.approx(0.6))
    assert found.cost.mean_upper_bound is None  # without a cap nothing bounds a mean
    same = MeasuredCost(np.full((500, 3), 10.0), np.full(500, 10.0))
    nothing = find(loss, cost=same)
    assert not nothing.holds
    assert nothing.n_needed is None
    assert nothing.reason == "none of 3 rules costs less than the reference"


def test_estimates_and_bounds_surround_the_truth() -> None:
    world = draw_world()
    rows = np.random.default_rng(6).integers(0, len(world.loss), 1500)
    loss, cost = world.sample(rows)
    capped = MeasuredCost(cost.values, cost.reference, cap=2000.0)
    found = find(loss, cost=capped)
    assert found.index is not None
    assert found.cost is not None
    assert found.estimated_loss == pytest.approx(loss.mean(axis=0)[found.index])
    assert world.truth[found.index] <= found.loss_upper_bound <= 0.03
    clipped = np.minimum(world.cost, 2000.0).mean(axis=0)[found.index]
    assert found.cost.mean_upper_bound is not None
    assert found.cost.saved_low is not None
    assert found.cost.mean_upper_bound >= max(clipped, found.cost.mean)
    true_saved = 1 - clipped / np.minimum(world.reference, 2000.0).mean()
    assert found.cost.saved_low <= min(true_saved, found.cost.saved)
    assert found.cost.saved_low > found.cost.saved - 0.15


@given(
    shift=st.floats(0, 0.2),
    n=st.integers(2, 60),
    max_loss=st.sampled_from([0.0, 0.01, 0.1, 0.5]),
    seed=st.integers(0, 50),
)
def test_any_finding_is_consistent_and_survives_json(
    shift: float, n: int, max_loss: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    loss = rng.choice([-1.0, 0.0, 1.0], (n, 4), p=[0.1, 0.8 - shift, 0.1 + shift])
    loss[rng.random((n, 4)) < 0.02] = np.nan
    groups = rng.integers(0, max(1, n // 2), n).tolist()
    cost = MeasuredCost(rng.random((n, 4)) * [1, 0.9, 0.5, 0.1], rng.random(n), cap=1.0)
    if np.isnan(loss).any(axis=1).all():
        return
    found = find(loss, groups=groups, max_loss=max_loss, cost=cost, confidence=0.8)
    assert found.n_calibration + found.n_dropped == n
    assert found.holds == (found.index is not None) == (not found.reason)
    assert Guarantee.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_same_input_gives_the_same_finding() -> None:
    loss, cost = draw_world().sample(np.arange(300))
    assert find(loss, cost=cost) == find(loss, cost=cost)


def test_five_thousand_questions_and_eighty_rules_take_little_time() -> None:
    loss = draw_world(n=5000, n_grid=80).loss
    start = time.process_time()
    find(loss)
    assert time.process_time() - start < 5  # 0.3 s on an idle machine


# How many questions


@pytest.mark.parametrize(
    ("discordant", "mean", "max_loss"),
    [(0.0, 0.0, 0.05), (0.04, 0.0, 0.05), (0.02, 0.02, 0.06), (0.3, 0.0, 0.1)],
)
def test_number_needed_is_right_within_a_factor_of_one_and_a_half(
    discordant: float, mean: float, max_loss: float
) -> None:
    pattern = np.zeros(50)
    n_lost, n_won = round(25 * (discordant + mean)), round(25 * (discordant - mean))
    pattern[:n_lost] = 1.0
    pattern[n_lost : n_lost + n_won] = -1.0
    needed = find(pattern[:, np.newaxis], max_loss=max_loss).n_needed
    assert needed is not None
    rng = np.random.default_rng(7)

    def chance(n: int) -> float:
        draws = (find(rng.choice(pattern, (n, 1)), max_loss=max_loss) for _ in range(25))
        return sum(found.holds for found in draws) / 25

    assert chance(round(needed * 1.5)) >= 0.8
    assert chance(round(needed / 1.5)) < 0.8


def test_no_number_is_needed_where_none_would_help() -> None:
    losing = np.zeros((200, 2))
    losing[:10] = 1.0
    found = find(losing)
    assert not found.holds
    assert found.n_needed is None
    assert "0.0500, not below 0.02: more questions would not help" in found.reason


def test_too_few_questions_promise_nothing_and_say_how_many_it_takes() -> None:
    found = find(np.zeros((50, 3)))
    assert not found.holds
    assert found.n_needed is not None
    assert 150 <= found.n_needed <= 170
    assert "50 calibration questions are too few" in found.reason
    assert find(np.zeros((round(1.2 * found.n_needed), 3))).holds


def test_numbers_needed_count_questions_not_groups() -> None:
    groups = [row // 5 for row in range(100)]
    one_each = find(np.zeros((20, 1))).n_needed
    five_each = find(np.zeros((100, 1)), groups=groups).n_needed
    assert one_each is not None
    assert five_each == pytest.approx(5 * one_each, rel=0.02)


# Cost


def test_cost_limit_and_loss_are_promised_together() -> None:
    """Dear rules break the cost limit, cheap ones lose: only the middle keeps both."""
    world = draw_world()
    share = world.cost.mean(axis=0) / world.reference.mean()
    n_draws, n_broken, n_given = 20, 0, 0
    rng = np.random.default_rng(8)
    for draw in range(n_draws):
        rows = rng.integers(0, len(world.loss), 600)
        cost = MeasuredCost(world.cost[rows], world.reference[rows], cap=2000.0, max_share=0.85)
        found = find(world.loss[rows], cost=cost, max_loss=0.03, confidence=0.9, seed=draw)
        n_given += found.holds
        if found.index is not None:
            n_broken += bool(world.truth[found.index] > 0.03 or share[found.index] > 0.85)
    assert n_broken <= most_broken(n_draws, 0.9)
    assert n_given >= 0.7 * n_draws


def test_absolute_cost_limit_is_tested_from_the_cheap_end() -> None:
    n = 400
    values = np.tile([90.0, 60.0, 20.0], (n, 1))
    limit = MeasuredCost(values, np.full(n, 100.0), cap=200.0, max_mean=40.0)
    found = find(np.zeros((n, 3)), cost=limit)
    assert (found.holds, found.index) == (True, 2)
    assert found.cost is not None
    assert (found.cost.cap, found.cost.max_mean) == (200.0, 40.0)
    losing = np.zeros((n, 3))
    losing[:40, 2] = 1.0  # the only rule below the limit loses
    refused = find(losing, cost=limit)
    assert not refused.holds
    assert refused.n_needed is None
    assert "cost limit" in refused.reason


def test_costs_above_the_cap_count_as_the_cap() -> None:
    n = 300
    values = np.full((n, 1), 10.0)
    values[0] = 1e9
    found = find(np.zeros((n, 1)), cost=MeasuredCost(values, np.full(n, 100.0), cap=100.0))
    assert found.cost is not None
    assert found.cost.mean == pytest.approx((299 * 10 + 100) / 300)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"max_mean": 5.0}, "needs `cap`"),
        ({"cap": 10.0, "max_mean": 5.0, "max_share": 0.5}, "expected one of them"),
        ({"cap": 10.0, "max_mean": 10.0}, "it holds anyway"),
        ({"cap": 0.0}, "finite numbers > 0"),
        ({"cap": 10.0, "max_share": float("nan")}, "finite numbers > 0"),
    ],
)
def test_limits_that_cannot_be_tested_are_refused(options: dict[str, Any], text: str) -> None:
    with pytest.raises(InvalidInputError, match=text):
        MeasuredCost(np.ones((2, 1)), np.ones(2), **options)


# Gaps and bad input


def test_questions_with_gaps_are_left_out_of_all_rules_and_counted() -> None:
    loss = np.zeros((500, 2))
    loss[:30, 1] = np.nan
    found = find(loss)
    assert (found.n_calibration, found.n_dropped) == (470, 30)
    assert found.p_value == find(loss[30:]).p_value
    costs = np.ones((500, 2))
    costs[490:] = np.nan
    found = find(loss, cost=MeasuredCost(costs, np.full(500, 2.0)))
    assert (found.n_calibration, found.n_dropped) == (460, 40)
    with pytest.raises(InvalidInputError, match="none of 500 calibration questions"):
        find(np.full((500, 2), np.nan))


@pytest.mark.parametrize(
    ("loss", "options", "text"),
    [
        (np.zeros(3), {}, "expected \\(n_questions, n_grid\\)"),
        (np.zeros((3, 0)), {}, "with a rule at least"),
        (np.full((3, 1), 1.5), {}, "not in \\[-1, 1\\]"),
        (np.zeros((3, 1)), {"groups": ["a"]}, "groups of shape"),
        (np.zeros((3, 1)), {"max_loss": 1.0}, "max_loss=1.0"),
        (np.zeros((3, 1)), {"max_loss": float("nan")}, "max_loss=nan"),
        (np.zeros((3, 1)), {"confidence": 95}, "write 0.95 for 95%"),
        (np.zeros((3, 1)), {"groups": "aab", "max_group_size": 1}, "a group has 2"),
        (
            np.zeros((3, 1)),
            {"cost": MeasuredCost(np.ones((2, 1)), np.ones(2))},
            "costs of shape",
        ),
    ],
)
def test_input_that_makes_no_sense_is_refused(
    loss: Floats, options: dict[str, Any], text: str
) -> None:
    with pytest.raises(InvalidInputError, match=text):
        find(loss, **options)


FOUND = find(
    np.zeros((300, 1)), cost=MeasuredCost(np.full((300, 1), 1.0), np.full(300, 2.0), cap=4.0)
).to_json()


@pytest.mark.parametrize(
    "change",
    [
        {"holds": False},
        {"holds": "true"},
        {"index": None},
        {"index": -1},
        {"index": 1.5},
        {"epsilon": 1.0},
        {"epsilon": float("nan")},
        {"confidence": 1.0},
        {"p_value": 0.2},
        {"n_groups": 301},
        {"n_calibration": 0},
        {"n_needed": 500},
        {"estimated_loss": 0.5},
        {"loss_upper_bound": -0.5},
        {"reason": "because"},
        {"reference": None},
        {"cost": {}},
        {"cost": {**FOUND["cost"], "saved": 0.0}},
        {"cost": {**FOUND["cost"], "surprise": 1}},
        {"surprise": 1},
    ],
    ids=str,
)
def test_a_document_that_certify_cannot_have_written_is_refused(change: dict[str, Any]) -> None:
    assert Guarantee.from_json(FOUND).holds
    with pytest.raises(InvalidInputError):
        Guarantee.from_json(FOUND | change)


@pytest.mark.parametrize("document", [None, 3, [], {}, "holds", {"holds": {1: object()}}])
def test_what_is_no_document_is_refused(document: object) -> None:
    with pytest.raises(InvalidInputError, match="no guarantee"):
        Guarantee.from_json(document)
