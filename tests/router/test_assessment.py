"""Figures of an evaluation in worlds that are known, without fitting anything."""

import json

import numpy as np
import pytest
from numpy.typing import NDArray

from calibration import Outcome, OutcomeRecord
from router import Evaluation, Objective, OutcomeMatrix
from router.evaluation._assessment import Assessment
from router.evaluation._baselines import BASELINES
from router.evaluation._crossfit import HINT_LAYERS, Foresight, Predicted
from router.evaluation._metrics import Pair
from router.evaluation._resampling import GroupBootstrap

Floats = NDArray[np.float64]
TOKENS = (10.0, 110.0)


def matrix_of(correct: Floats, tokens: tuple[float, ...] = TOKENS) -> OutcomeMatrix:
    """Return single samples; NaN is a gap."""
    policies = ("direct", "reasoning@64", "reasoning@max")[: correct.shape[1]]
    records = [
        OutcomeRecord(
            question_id=f"{question:05}",
            group=f"{question:05}",
            task="toy",
            task_type="math-oe",
            prompt="x" * (1 + question % 7),
            model="m",
            size=None,
            policy=policy,
            outcome=Outcome.CORRECT if value else Outcome.WRONG,
            prompt_tokens=5,
            completion_tokens=int(tokens[arm]),
            flops=None,
            seconds=0.0,
        )
        for question, row in enumerate(correct.tolist())
        for arm, (policy, value) in enumerate(zip(policies, row, strict=True))
        if not np.isnan(value)
    ]
    return OutcomeMatrix.from_records(records)


def assess(
    correct: Floats, p: Floats, reference: int = 1, tokens: tuple[float, ...] = TOKENS
) -> Evaluation:
    """Judge a router that believes `p` and knows the tokens."""
    matrix = matrix_of(correct, tokens)
    expected = np.tile(np.array(tokens), (len(p), 1))
    layer = Foresight(p, expected, expected)
    nothing = np.full(len(p), reference)
    predicted = Predicted(
        layers=dict.fromkeys(HINT_LAYERS, layer),
        own_choice=np.argmax(p - 1e-3 * expected, axis=1),
        baselines={baseline.name: nothing for baseline in BASELINES},
        objectives=(Objective.trade(1e-3),),
        unit="tokens",
        n_folds=5,
    )
    return Assessment(
        matrix,
        predicted,
        reference=reference,
        margin=0.01,
        confidence=0.95,
        n_resamples=200,
        seed=0,
        n_seen=None,
    ).result()


@pytest.fixture(scope="module")
def outcomes() -> Floats:
    rng = np.random.default_rng(0)
    return (rng.random((1500, 2)) < [0.5, 0.7]).astype(np.float64)


def test_a_perfect_router_captures_everything(outcomes: Floats) -> None:
    result = assess(outcomes, outcomes)
    metrics = result.metrics
    assert metrics.headroom == pytest.approx(1.0)
    assert metrics.headroom_hull == pytest.approx(1.0)
    assert metrics.ece == 0.0
    assert result.row("router (most accurate)").accuracy == result.row("oracle").accuracy
    assert result.headline.is_certified
    # Everything but the questions that only the dear arm answers is left to the cheap one.
    only_dear = float((outcomes[:, 1] > outcomes[:, 0]).mean())
    assert result.headline.tokens_saved >= (1 - only_dear) * 100 / 110 - 1e-9
    assert result.headline.accuracy_difference >= -0.01


def test_a_router_without_knowledge_captures_nothing(outcomes: Floats) -> None:
    noise = np.random.default_rng(1).random(outcomes.shape)
    metrics = assess(outcomes, noise).metrics
    assert metrics.headroom == pytest.approx(0.0, abs=0.08)
    assert metrics.headroom_hull == pytest.approx(0.0, abs=0.08)
    assert metrics.apgr == pytest.approx(0.5, abs=0.15)
    assert metrics.apgr_calls == pytest.approx(0.5, abs=0.15)
    low, high = metrics.intervals["headroom"] or (1.0, 0.0)
    assert low < 0 < high


def test_a_router_that_knows_the_wrong_way_round_is_below_chance(outcomes: Floats) -> None:
    metrics = assess(outcomes, 1.0 - outcomes).metrics
    assert metrics.headroom_hull == pytest.approx(0.0)  # it can still leave all to one arm
    assert metrics.headroom is not None
    assert metrics.headroom < -0.5
    assert metrics.apgr is not None
    assert metrics.apgr < 0


def test_the_dearest_arm_cannot_be_left_where_it_is_needed() -> None:
    # Reasoning is worth 20 points on every question alike: any saving costs accuracy.
    rng = np.random.default_rng(2)
    correct = (rng.random((2000, 2)) < [0.5, 0.7]).astype(np.float64)
    p = np.tile([0.5, 0.7], (2000, 1)) + rng.normal(0, 0.01, (2000, 2))
    result = assess(correct, p)
    assert result.headline.tokens_saved <= 0.05
    assert result.headline_fixed_cap.tokens_saved == 0.0
    assert not result.headline_fixed_cap.is_certified
    assert result.headline_fixed_cap.choice == "m:reasoning@64"
    assert result.headline_point.tokens_saved >= result.headline.tokens_saved


def test_a_cap_that_costs_nothing_is_found_and_certified() -> None:
    rng = np.random.default_rng(3)
    right = (rng.random(3000) < 0.6).astype(np.float64)
    correct = np.stack([right * (rng.random(3000) < 0.7), right, right], axis=1)
    p = np.tile([0.42, 0.6, 0.6], (3000, 1))
    result = assess(correct, p, reference=2, tokens=(10.0, 100.0, 400.0))
    cap = result.headline_fixed_cap
    assert cap.is_certified
    assert cap.choice == "m:reasoning@64"
    assert cap.tokens_saved == pytest.approx(0.75)
    assert cap.accuracy_difference == 0.0
    assert -0.01 <= cap.ci_low < 0.0
    # A router that cannot tell questions apart finds the cap, and no more.
    assert result.headline.tokens_saved == pytest.approx(0.75)
    assert result.hull == ((10.0, correct[:, 0].mean()), (100.0, pytest.approx(right.mean())))


def test_the_gap_that_is_not_there_has_no_recovered_share() -> None:
    rng = np.random.default_rng(4)
    correct = (rng.random((400, 2)) < 0.6).astype(np.float64)
    metrics = assess(correct, rng.random((400, 2))).metrics
    assert metrics.apgr is None
    assert metrics.cpt50 is None
    assert metrics.intervals["apgr"] is None
    assert "not significantly" in metrics.notes["apgr"]
    assert metrics.headroom is not None


def test_one_arm_has_nothing_to_save() -> None:
    correct = (np.arange(60) % 3 > 0).astype(np.float64)[:, np.newaxis]
    result = assess(correct, np.full((60, 1), 0.6), reference=0, tokens=(10.0,))
    assert result.headline.tokens_saved == 0.0
    assert result.headline.choice == result.reference == "m:direct"
    assert result.headroom is None
    assert result.metrics.aiq is None
    assert result.noise_ceiling.headroom is None
    assert result.comparison.difference == 0.0


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_one_class_of_outcomes_is_degenerate_but_whole(value: float) -> None:
    result = assess(np.full((40, 2), value), np.full((40, 2), value))
    document = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert document["metrics"]["headroom"] is None
    assert document["metrics"]["aiq"] == pytest.approx(value)
    assert document["metrics"]["ece"] == 0.0
    assert "headroom" in document["metrics"]["notes"]


def test_gaps_are_compared_where_both_arms_were_measured() -> None:
    rng = np.random.default_rng(5)
    correct = (rng.random((300, 3)) < [0.4, 0.6, 0.8]).astype(np.float64)
    correct[:100, 0] = np.nan
    correct[250:, 2] = np.nan
    result = assess(correct, np.full((300, 3), 0.5), reference=1, tokens=(10.0, 50.0, 90.0))
    assert (result.n, result.n_incomplete) == (150, 150)
    sizes = {row.name: row.n for row in result.rows}
    assert sizes["m:direct"] == 200
    assert sizes["m:reasoning@64"] == 300
    assert sizes["m:reasoning@max"] == 250
    assert sizes["router"] == sizes["oracle"] == result.headline.n == 150
    assert result.metrics.n_pair == 200
    expected = (correct[:250, 2] - correct[:250, 1]).mean()
    assert result.row("m:reasoning@max").accuracy_difference == pytest.approx(expected)
    assert result.reliability[0].n == 750


def test_intervals_hold_their_estimates_and_repeat(outcomes: Floats) -> None:
    p = np.clip(0.5 * outcomes + 0.5 * np.random.default_rng(6).random(outcomes.shape), 0, 1)
    result = assess(outcomes, p)
    names = ("aiq", "aiq_fixed", "apgr", "apgr_calls", "headroom", "headroom_hull", "ece")
    for name in names:
        ends, value = result.metrics.intervals[name], getattr(result.metrics, name)
        assert ends is not None
        assert ends[0] <= value <= ends[1]
    assert assess(outcomes, p).to_json() == result.to_json()


def test_bootstrap_intervals_cover_what_a_large_sample_shows() -> None:
    rng = np.random.default_rng(7)
    n, n_parts = 300, 60
    truth = rng.random((50_000, 2)) * [0.6, 0.9]
    correct = (rng.random(truth.shape) < truth).astype(np.float64)

    def pair(rows: slice) -> Pair:
        gain = truth[rows, 1] - truth[rows, 0]
        tokens = np.tile(TOKENS, (len(gain), 1))
        extra = tokens[:, 1] - tokens[:, 0]
        return Pair(("a", "b"), gain, extra, correct[rows], tokens, np.arange(len(gain)))

    whole = pair(slice(0, 30_000)).measures(np.ones((1, 30_000)))["headroom"][0]
    hits = 0
    for part in range(n_parts):
        start = 30_000 + n * part
        bootstrap = GroupBootstrap(
            [f"{question:03}" for question in range(n)], n_resamples=200, seed=0
        )
        sample = pair(slice(start, start + n))
        drawn = np.concatenate(
            [sample.measures(weights)["headroom"] for weights in bootstrap.batches()]
        )
        low, high = np.quantile(drawn, [0.025, 0.975])
        hits += low <= whole <= high
    assert hits >= 0.95 * n_parts - 3 * np.sqrt(0.95 * 0.05 * n_parts)
