"""Curves, hulls and areas on cases that can be worked out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.evaluation._baselines import best_mixture
from router.evaluation._curves import (
    average_quality,
    gain_curve,
    headroom_share,
    upper_hull,
    weighted_gain_curves,
)
from router.evaluation._metrics import Pair

# Differences of costs below a millionth of a token only test the divisions of the test itself.
COSTS = st.floats(0, 100).map(lambda cost: round(cost, 6))
POINTS = st.lists(st.tuples(COSTS, st.floats(0, 1)), min_size=1, max_size=25)


def test_headroom_is_one_for_the_oracle_and_nothing_for_a_constant() -> None:
    rng = np.random.default_rng(0)
    correct = (rng.random((4000, 2)) < [0.5, 0.7]).astype(float)
    tokens = np.tile([1.0, 11.0], (4000, 1))
    gain = correct[:, 1] - correct[:, 0]
    assert headroom_share(gain, correct, tokens) == pytest.approx(1.0)
    assert headroom_share(np.zeros(4000), correct, tokens) == pytest.approx(0.0, abs=0.05)
    assert headroom_share(-gain, correct, tokens) < -0.5
    assert np.isnan(headroom_share(gain[:4], np.ones((4, 2)), tokens[:4]))


def test_the_curve_ends_at_both_arms() -> None:
    curve = gain_curve(
        np.array([0.1, 0.9]), np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[1.0, 2.0]] * 2)
    )
    assert curve == [(0.0, 0.5), (0.5, 1.0), (1.0, 0.5)]


def test_a_weight_of_two_is_the_question_twice() -> None:
    rng = np.random.default_rng(1)
    score, correct, tokens = rng.random(6), rng.random((6, 2)), rng.random((6, 2)).cumsum(axis=1)
    weights = np.array([[1.0, 2.0, 0.0, 1.0, 3.0, 1.0]])
    rows = np.repeat(np.arange(6), weights[0].astype(int))
    weighted = weighted_gain_curves(score, correct, tokens, weights)
    repeated = weighted_gain_curves(score[rows], correct[rows], tokens[rows], np.ones((1, 8)))
    for one, other in ((weighted, repeated), (repeated, weighted)):
        # Repeats of a question lie on the straight line between before and after it.
        line = np.interp(one.extra_share[0], other.extra_share[0], other.accuracy[0])
        assert line == pytest.approx(one.accuracy[0])


def test_the_average_quality_of_two_points_is_their_middle() -> None:
    assert average_quality(np.array([0.0, 10.0]), np.array([0.5, 0.7]), 0.0, 10.0) == (
        pytest.approx(0.6)
    )


def test_the_average_quality_follows_the_hull_and_goes_on_flat() -> None:
    cost, quality = np.array([0.0, 5.0, 10.0, 4.0]), np.array([0.5, 0.7, 0.6, 0.2])
    assert average_quality(cost, quality, 0.0, 10.0) == pytest.approx((5 * 0.6 + 5 * 0.7) / 10)
    assert average_quality(cost, quality, -10.0, 0.0) == pytest.approx(0.5)
    assert average_quality(cost, quality, 6.0, 9.0) == pytest.approx(0.7)
    assert np.isnan(average_quality(cost, quality, 3.0, 3.0))


@given(POINTS)
def test_no_point_lies_above_the_hull(points: list[tuple[float, float]]) -> None:
    cost, quality = np.array(points).T
    hull = upper_hull(cost, quality)
    x, y = np.array(hull).T
    assert (np.interp(cost, x, y) >= quality - 1e-9).all()
    assert (np.diff(x) > 0).all()
    assert (np.diff(y) > 0).all()
    assert set(hull) <= set(points)
    if len(hull) > 2:
        slopes = np.diff(y) / np.diff(x)
        assert (np.diff(slopes) <= 1e-9 * np.abs(slopes).max()).all()


@given(POINTS)
def test_more_points_never_lower_the_average_quality(points: list[tuple[float, float]]) -> None:
    cost, quality = np.array(points).T
    all_points = average_quality(cost, quality, 0.0, 100.0)
    cheapest = cost == cost.min()
    assert all_points >= average_quality(cost[cheapest], quality[cheapest], 0.0, 100.0) - 1e-9
    assert 0.0 <= all_points <= quality.max() + 1e-9


def test_the_best_mixture_is_on_the_hull() -> None:
    correct = np.array([[0.2, 0.5, 0.4, 0.9]])
    tokens = np.array([[0.0, 10.0, 15.0, 30.0]])
    assert best_mixture(correct, tokens, 20.0) @ tokens[0] == pytest.approx(20.0)
    assert best_mixture(correct, tokens, 20.0) @ correct[0] == pytest.approx(0.7)
    assert best_mixture(correct, tokens, -5.0).tolist() == [1.0, 0.0, 0.0, 0.0]
    assert best_mixture(correct, tokens, 99.0).tolist() == [0.0, 0.0, 0.0, 1.0]


def pair(gain: list[float], extra: list[float]) -> Pair:
    """Two questions of four are lost by the cheap arm; the dear one is always right."""
    correct = np.array([[1.0, 1.0], [1.0, 1.0], [0.0, 1.0], [0.0, 1.0]])
    tokens = np.stack([np.zeros(4), np.array(extra)], axis=1)
    return Pair(("a", "b"), np.array(gain), np.array(extra), correct, tokens, np.arange(4))


def test_recovered_gap_and_call_share_by_hand() -> None:
    found = pair([0.0, 0.1, 0.9, 0.8], [10.0] * 4).measures(np.ones((1, 4)))
    # The gap recovered after 0, 1, ... calls is 0, 1/2, 1, 1, 1.
    expected = {
        "apgr": 0.75,
        "apgr_calls": 0.75,
        "cpt50": 0.25,
        "cpt80": 0.5,
        "cpt50_calls": 0.25,
        "cpt80_calls": 0.5,
        "headroom": 1.0,
    }
    assert {name: float(value[0]) for name, value in found.items()} == pytest.approx(expected)


def test_tokens_and_calls_are_different_axes() -> None:
    # The two questions worth a call take 3/4 of the extra tokens.
    found = pair([0.0, 0.1, 0.9, 0.8], [10.0, 10.0, 30.0, 30.0]).measures(np.ones((1, 4)))
    assert found["cpt50_calls"][0] == pytest.approx(0.25)
    assert found["cpt50"][0] == pytest.approx(30 / 80)
    assert found["cpt80"][0] == pytest.approx(60 / 80)


def test_without_a_gap_nothing_is_recovered() -> None:
    flat = Pair(
        ("a", "b"),
        np.array([0.1, 0.2]),
        np.ones(2),
        np.array([[1.0, 0.0], [0.0, 1.0]]),
        np.array([[0.0, 1.0]] * 2),
        np.arange(2),
    )
    found = flat.measures(np.ones((1, 2)))
    assert np.isnan(found["apgr"][0])
    assert np.isnan(found["cpt50"][0])
    assert found["headroom"][0] == pytest.approx(1.0)
