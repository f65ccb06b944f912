"""Cut answers: bounds of accuracy, and lengths below the cap against scipy and statsmodels."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats
from statsmodels.duration.survfunc import SurvfuncRight

from calibration.statistics import LengthCurve, accuracy_bounds, length_curve, wilson_interval
from policies import InvalidInputError

counts = st.integers(0, 500)


def censored(
    lengths: NDArray[np.int64], caps: NDArray[np.int64]
) -> tuple[list[int], list[bool], list[int]]:
    return (
        np.minimum(lengths, caps).tolist(),
        (lengths > caps).tolist(),
        caps.tolist(),
    )


# Accuracy


@given(counts, counts, counts)
def test_bounds_hold_every_fate_of_the_cut_answers(right: int, wrong: int, cut: int) -> None:
    bounds = accuracy_bounds(right, wrong, cut)
    n = right + wrong + cut
    assert bounds.all_cut_wrong == wilson_interval(right, n) or n == 0
    assert bounds.all_cut_right == wilson_interval(right + cut, n) or n == 0
    if n:
        for rescued in (0, cut // 2, cut):
            assert bounds.low <= (right + rescued) / n <= bounds.high
        assert bounds.all_cut_right.estimate - bounds.all_cut_wrong.estimate == pytest.approx(
            cut / n
        )


def test_without_cut_answers_both_bounds_are_the_accuracy() -> None:
    bounds = accuracy_bounds(30, 10, 0)
    assert bounds.all_cut_wrong == bounds.all_cut_right == wilson_interval(30, 40)
    assert (bounds.n, bounds.n_cut) == (40, 0)


def test_bounds_cover_where_accuracy_of_finished_answers_does_not() -> None:
    """Hard questions take longer, so cutting selects: 300 runs of 400 questions."""
    rng = np.random.default_rng(4)
    truth, n_covered, n_naive = 0.5, 0, 0
    for _ in range(300):
        difficulty = rng.random(400)
        right = rng.random(400) > difficulty
        cut = rng.random(400) < 0.5 * difficulty
        k, n_cut = int((right & ~cut).sum()), int(cut.sum())
        bounds = accuracy_bounds(k, 400 - k - n_cut, n_cut)
        n_covered += bounds.low <= truth <= bounds.high
        low, high = wilson_interval(k, 400 - n_cut)
        n_naive += low <= truth <= high
    assert n_covered >= stats.binom.ppf(0.001, 300, 0.95)
    assert n_naive < 0.75 * n_covered


def test_negative_counts_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="numbers >= 0"):
        accuracy_bounds(1, -1, 0)


# Lengths under one cap


def test_one_cap_gives_shares_of_all_answers_with_wilson_intervals() -> None:
    curve = length_curve([3, 5, 5, 8, 8], [False, False, False, True, True], 8)
    assert curve.lengths == (0, 3, 5, 8)
    assert curve.shares == pytest.approx((0, 0.2, 0.6, 0.6))
    assert tuple(curve.at(7)) == tuple(wilson_interval(3, 5))
    assert (curve.n, curve.n_cut, curve.largest_cap) == (5, 2, 8)


@given(st.lists(st.integers(0, 60), min_size=1, max_size=40), st.integers(1, 50))
@settings(deadline=None)
def test_below_one_cap_nothing_changes_when_answers_are_cut(lengths: list[int], cap: int) -> None:
    drawn = np.array(lengths, dtype=np.int64)
    cut = length_curve(*censored(drawn, np.full(len(drawn), cap)))
    whole = length_curve(lengths, [False] * len(lengths), 60)
    for budget in range(cap + 1):
        assert cut.at(budget) == whole.at(budget)
    assert cut.at(cap).estimate == pytest.approx(float((drawn <= cap).mean()))


def test_nothing_is_said_beyond_the_cap() -> None:
    curve = length_curve([3, 8], [False, True], 8)
    with pytest.raises(InvalidInputError, match="larger cap"):
        curve.at(9)
    with pytest.raises(InvalidInputError):
        curve.at(-1)
    assert curve.quantile(0.9) is None
    median = curve.quantile(0.5)
    assert median is not None
    assert (median.estimate, median.high) == (3, math.inf)


def test_quantiles_are_order_statistics_where_they_are_known() -> None:
    drawn = np.random.default_rng(8).lognormal(4, 1, 501).astype(np.int64)
    curve = length_curve(*censored(drawn, np.full(501, 200)))
    for share in (0.1, 0.5, 0.8):
        found = curve.quantile(share)
        assert found is not None
        assert found.estimate == np.quantile(drawn, share, method="inverted_cdf")
        assert found.low <= found.estimate <= found.high
    assert float((drawn <= 200).mean()) < 0.95
    assert curve.quantile(0.95) is None
    with pytest.raises(InvalidInputError):
        curve.quantile(1.0)


# Lengths under several caps


def mixed(seed: int, n: int = 300) -> tuple[LengthCurve, Any]:
    rng = np.random.default_rng(seed)
    drawn, caps = rng.lognormal(5, 1, n).astype(np.int64), rng.choice([100, 300, 1000], n)
    lengths, is_cut, limits = censored(drawn, caps)
    return length_curve(lengths, is_cut, limits), SurvfuncRight(lengths, ~np.array(is_cut))


@pytest.mark.parametrize("seed", range(3))
def test_several_caps_give_kaplan_and_meier_as_statsmodels_has_it(seed: int) -> None:
    curve, reference = mixed(seed)
    quantile = stats.norm.ppf(0.975)
    for time, survival, stderr in zip(
        reference.surv_times,
        reference.surv_prob,
        reference.surv_prob_se,
        strict=True,
    ):
        found = curve.at(int(time))
        assert found.estimate == pytest.approx(1 - survival)
        if 0 < survival < 1:
            # Greenwood's standard error, carried over to log(-log S).
            spread = quantile * stderr / (survival * abs(math.log(survival)))
            ends = sorted(1 - survival ** math.exp(sign * spread) for sign in (-1, 1))
            assert tuple(found) == pytest.approx(ends, rel=1e-6)


def test_a_cap_uses_answers_that_other_caps_cut() -> None:
    """Half of the answers are cut at 10, yet the share within 20 uses what they do tell."""
    drawn = np.array([5] * 50 + [15] * 50)
    caps = np.array([10, 20] * 50)
    curve = length_curve(*censored(drawn, caps))
    assert curve.at(5).estimate == pytest.approx(0.5)
    assert curve.at(20).estimate == pytest.approx(1.0)
    assert curve.at(20).low < 1
    assert curve.largest_cap == 20


@pytest.mark.parametrize("caps", [(400,), (100, 300, 1000)], ids=str)
def test_band_holds_the_whole_curve_and_pointwise_intervals_do_not(caps: tuple[int, ...]) -> None:
    rng = np.random.default_rng(6)
    law = stats.lognorm(1, scale=math.exp(5))
    n_runs, n_held, n_pointwise, n_at = 400, 0, 0, 0
    for _ in range(n_runs):
        drawn = np.ceil(law.rvs(150, random_state=rng)).astype(np.int64)
        curve = length_curve(*censored(drawn, rng.choice(caps, 150)))
        budgets = np.arange(curve.largest_cap + 1)
        truth, place = law.cdf(budgets), np.searchsorted(curve.lengths, budgets, side="right") - 1
        low, high, band_low, band_high = (
            np.array(v)[place] for v in (curve.low, curve.high, curve.band_low, curve.band_high)
        )
        n_held += bool(((band_low <= truth) & (truth <= band_high)).all())
        n_pointwise += bool(((low <= truth) & (truth <= high)).all())
        n_at += bool(low[80] <= truth[80] <= high[80])
    least = stats.binom.ppf(0.001, n_runs, 0.95)
    assert n_held >= least
    assert n_pointwise < 0.8 * n_runs
    # Approximate intervals: 2 points below nominal are within their known deviation.
    assert n_at >= stats.binom.ppf(0.001, n_runs, 0.93)


@given(st.integers(0, 2**32), st.integers(1, 60), st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_curves_rise_within_their_intervals(seed: int, n: int, n_caps: int) -> None:
    rng = np.random.default_rng(seed)
    drawn, caps = rng.integers(0, 30, n), rng.choice([5, 10, 20, 25][:n_caps], n)
    curve = length_curve(*censored(drawn, caps))
    for values in (curve.shares, curve.band_low, curve.band_high):
        assert all(a <= b + 1e-12 for a, b in itertools.pairwise(values))
    for columns in ((curve.low, curve.high), (curve.band_low, curve.band_high)):
        for low, share, high in zip(columns[0], curve.shares, columns[1], strict=True):
            assert -1e-12 <= low <= share + 1e-12
            assert share <= high + 1e-12 <= 1 + 2e-12


@pytest.mark.parametrize(
    ("lengths", "is_cut", "caps"),
    [([], [], 5), ([1], [], 5), ([1], [False], [5, 6]), ([6], [False], 5), ([-1], [False], 5)],
)
def test_unusable_lengths_are_refused(lengths: list[int], is_cut: list[bool], caps: int) -> None:
    with pytest.raises(InvalidInputError):
        length_curve(lengths, is_cut, caps)
