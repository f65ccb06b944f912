"""Betting tests of a mean: exact martingales, error rates of nasty laws, known values, orders."""

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from calibration.statistics import (
    bet_against_mean,
    betting_p_values,
    betting_upper_bound,
    binomial_p_values,
    clopper_pearson_interval,
    hoeffding_bentkus_p_values,
    largest_standing,
)
from policies import InvalidInputError

Floats = NDArray[np.float64]

N_RUNS = 4000
ALPHA = 0.05
# The most rejections that 4000 runs of a test of size exactly 5% show in 999 of 1000 repetitions:
# 244, a rate of 6.1%. One of size 8% shows that few less than once in 100,000.
MOST_REJECTED = int(stats.binom.ppf(0.999, N_RUNS, ALPHA))


# Exact, by enumerating every sequence of values


@pytest.mark.parametrize(
    ("law", "n"),
    [
        ({-1.0: 0.2, 0.0: 0.5, 1.0: 0.3}, 7),
        ({-1.0: 0.01, 0.0: 0.9, 1.0: 0.09}, 7),
        ({0.0: 0.95, 1.0: 0.05}, 11),
        ({-0.25: 0.8, 1.0: 0.2}, 10),
    ],
)
def test_wealth_is_an_exact_martingale_where_the_hypothesis_is_just_true(
    law: dict[float, float], n: int
) -> None:
    mean = sum(value * p for value, p in law.items())
    sequences = np.array(list(itertools.product(law, repeat=n))).T
    chance = np.prod(np.vectorize(law.__getitem__)(sequences), axis=0)
    wealth = bet_against_mean(sequences, mean, low=-1, high=1)
    assert float(chance @ np.exp(wealth.log_final)) == pytest.approx(1.0, abs=1e-9)
    p = np.exp(-wealth.log_peak)
    for level in np.unique(p):
        assert float(chance[p <= level].sum()) <= level + 1e-12


@pytest.mark.parametrize("above", [0.05, 0.3])
def test_wealth_is_expected_to_shrink_where_the_mean_is_above_the_hypothesis(above: float) -> None:
    law = {-1.0: 0.2, 0.0: 0.5, 1.0: 0.3}
    sequences = np.array(list(itertools.product(law, repeat=7))).T
    chance = np.prod(np.vectorize(law.__getitem__)(sequences), axis=0)
    wealth = bet_against_mean(sequences, 0.1 - above, low=-1, high=1)
    assert float(chance @ np.exp(wealth.log_final)) < 1.0


# Error rates at the boundary, where a test is most likely to be wrong


def ternary(discordant: float, mean: float) -> Callable[[np.random.Generator, int], Floats]:
    def draw(rng: np.random.Generator, n: int) -> Floats:
        u = rng.random((n, N_RUNS))
        is_lost, is_won = u < (discordant + mean) / 2, u > 1 - (discordant - mean) / 2
        return is_lost.astype(np.float64) - is_won

    return draw


def rare_disaster(rng: np.random.Generator, n: int) -> Floats:
    """A small gain nearly always and a total loss once in a hundred; the mean is .02."""
    return np.where(rng.random((n, N_RUNS)) < 0.01, 1.0, (0.02 - 0.01) / 0.99)


def drifting(rng: np.random.Generator, n: int) -> Floats:
    """Independent but not alike: early values are sure, late ones wild; every mean is .05."""
    is_late = np.arange(n)[:, np.newaxis] >= n // 2
    wild = np.where(rng.random((n, N_RUNS)) < 0.525, 1.0, -1.0)
    return np.where(is_late, wild, 0.05)


def skewed(rng: np.random.Generator, n: int) -> Floats:
    """Nearly nothing most of the time; the mean is .05."""
    return rng.beta(0.05, 0.95, (n, N_RUNS))


@pytest.mark.parametrize(
    ("draw", "mean", "n"),
    [
        (ternary(0.02, 0.02), 0.02, 300),
        (ternary(0.05, 0.01), 0.01, 500),
        (ternary(0.3, 0.02), 0.02, 100),
        (ternary(1.0, 0.05), 0.05, 40),
        (ternary(0.4, 0.2), 0.2, 5),
        (rare_disaster, 0.02, 200),
        (drifting, 0.05, 60),
        (skewed, 0.05, 150),
        (ternary(1.0, 0.0), 0.0, 30),
    ],
    ids=[
        "losses only",
        "few discordant",
        "many discordant",
        "no ties",
        "five values",
        "rare disaster",
        "not alike",
        "skewed",
        "coin",
    ],
)
def test_a_true_hypothesis_is_rejected_no_more_often_than_promised(
    draw: Callable[[np.random.Generator, int], Floats], mean: float, n: int
) -> None:
    values = draw(np.random.default_rng(n), n)
    p = betting_p_values(values, mean, low=-1, high=1, alpha=ALPHA)
    assert np.count_nonzero(p <= ALPHA) <= MOST_REJECTED


def test_a_z_test_fails_the_same_check() -> None:
    values = ternary(0.02, 0.02)(np.random.default_rng(300), 300)
    error = values.std(axis=0, ddof=1) / math.sqrt(len(values))
    z = (values.mean(axis=0) - 0.02) / np.maximum(error, 1e-12)
    assert np.count_nonzero(z <= stats.norm.ppf(ALPHA)) > 1.5 * MOST_REJECTED


@pytest.mark.parametrize("aimed_at", [0.001, 0.2])
def test_the_level_that_bets_aim_at_does_not_matter_for_validity(aimed_at: float) -> None:
    values = ternary(0.3, 0.02)(np.random.default_rng(1), 100)
    p = betting_p_values(values, 0.02, low=-1, high=1, alpha=aimed_at)
    assert np.count_nonzero(p <= ALPHA) <= MOST_REJECTED


def test_upper_bounds_cover_the_mean() -> None:
    rng = np.random.default_rng(4)
    n_runs, mean = 200, 0.01
    n_missed = 0
    for _ in range(n_runs):
        u = rng.random(100)
        values = (u < 0.04).astype(np.float64) - (u > 0.97)
        n_missed += betting_upper_bound(values, low=-1, high=1, confidence=0.9) < mean
    assert n_missed <= stats.binom.ppf(0.999, n_runs, 0.1)


# Power: why bets and not the references


def test_few_discordant_questions_need_few_questions() -> None:
    values = ternary(0.05, 0.0)(np.random.default_rng(2), 1000)
    bets = betting_p_values(values, 0.02, low=-1, high=1)
    blind = hoeffding_bentkus_p_values(values, 0.02, low=-1, high=1)
    error = values.std(axis=0, ddof=1) / math.sqrt(len(values))
    z = (values.mean(axis=0) - 0.02) / error
    power = np.mean(bets <= ALPHA)
    assert power > 0.75
    assert power > np.mean(z <= stats.norm.ppf(ALPHA)) - 0.1
    assert np.mean(blind <= ALPHA) < 0.05


def test_bets_on_zero_one_losses_are_as_strong_as_the_exact_test() -> None:
    values = (np.random.default_rng(3).random((600, N_RUNS)) < 0.02).astype(np.float64)
    bets = betting_p_values(values, 0.04, low=0, high=1)
    exact = binomial_p_values(values.sum(axis=0), 600, 0.04)
    assert np.mean(bets <= ALPHA) > np.mean(exact <= ALPHA) - 0.03


# Known values


def test_bets_on_a_constant_are_the_formula_by_hand() -> None:
    """Second source: the recursion written out with plain numbers."""
    n, null, value = 30, 0.3, 0.1
    wealth, peak, target, squares, gap = 0.0, 0.0, math.log(20), 0.7 * 0.3, 0.0
    for t in range(n):
        variance = (squares + gap * 0.7) / (t + 1)
        stake = min(math.sqrt(2 * (target - wealth) / ((n - t) * variance)), 0.9 / 0.7)
        wealth += math.log(1 - stake * (value - null))
        squares += (value - null) ** 2
        gap += null - value
        peak = max(peak, wealth)
        if wealth >= target:
            target = wealth + math.log(10)
    found = bet_against_mean([value] * n, null, low=0, high=1)
    assert found.log_final[0] == pytest.approx(wealth, abs=1e-12)
    assert found.log_peak[0] == pytest.approx(peak, abs=1e-12)


def test_binomial_agrees_with_scipy_and_with_clopper_and_pearson() -> None:
    bads = np.arange(0, 41)
    expected = [stats.binomtest(int(k), 200, 0.1, alternative="less").pvalue for k in bads]
    assert binomial_p_values(bads, 200, 0.1) == pytest.approx(expected, abs=1e-12)
    bound = clopper_pearson_interval(7, 200, 0.9).high
    assert float(binomial_p_values(7, 200, bound)) == pytest.approx(0.05, abs=1e-9)


def test_hoeffding_bentkus_is_the_smaller_of_its_two_tails() -> None:
    losses = np.array([0.0] * 95 + [1.0] * 5)
    hoeffding = math.exp(-100 * (0.05 * math.log(0.05 / 0.1) + 0.95 * math.log(0.95 / 0.9)))
    bentkus = math.e * stats.binom.cdf(5, 100, 0.1)
    found = float(hoeffding_bentkus_p_values(losses, 0.1, low=0, high=1)[0])
    assert found == pytest.approx(min(hoeffding, bentkus), rel=1e-9)


def test_nothing_lost_in_few_questions_is_no_evidence() -> None:
    """No test can show a rate below 1% at the 5% level with fewer than 299 spotless questions."""
    assert betting_p_values(np.zeros(298), 0.01, low=0, high=1)[0] > ALPHA
    assert betting_p_values(np.zeros(345), 0.01, low=0, high=1)[0] <= ALPHA


# Properties

tables = st.integers(0, 40).flatmap(
    lambda n: st.lists(st.sampled_from([-1.0, -0.5, 0.0, 0.1, 1.0]), min_size=n, max_size=n)
)


@given(values=tables, null=st.floats(-0.99, 0.99), seed=st.integers(0, 5))
def test_p_values_are_probabilities_and_do_not_depend_on_the_scale(
    values: list[float], null: float, seed: int
) -> None:
    p = betting_p_values(values, null, low=-1, high=1, seed=seed)
    assert 0 < p[0] <= 1
    moved = betting_p_values(
        (np.array(values) + 1) * 50, (null + 1) * 50, low=0, high=100, seed=seed
    )
    assert moved == pytest.approx(p, rel=1e-6)


@given(values=tables.filter(bool), shift=st.floats(0, 0.5))
def test_columns_are_tested_as_if_each_were_alone(values: list[float], shift: float) -> None:
    table = np.column_stack([values, np.minimum(np.array(values) + shift, 1.0)])
    together = betting_p_values(table, [0.1, 0.3], low=-1, high=1)
    alone = [
        betting_p_values(table[:, column], null, low=-1, high=1)[0]
        for column, null in ((0, 0.1), (1, 0.3))
    ]
    assert together == pytest.approx(alone)


@given(values=tables.filter(lambda x: len(x) > 1), confidence=st.sampled_from([0.8, 0.95]))
def test_what_lies_above_an_upper_bound_is_rejected(values: list[float], confidence: float) -> None:
    bound = betting_upper_bound(values, low=-1, high=1, confidence=confidence)
    assert -1 < bound <= 1
    if bound < 0.999:
        p = betting_p_values(values, bound, low=-1, high=1, alpha=1 - confidence)
        assert p[0] <= 1 - confidence + 1e-9
    assert bound >= betting_upper_bound(values, low=-1, high=1, confidence=0.6) - 1e-9


def test_no_values_tell_nothing() -> None:
    assert betting_p_values([], 0.0, low=-1, high=1)[0] == 1
    assert betting_upper_bound([], low=-1, high=1) == 1
    assert hoeffding_bentkus_p_values([], 0.0, low=-1, high=1)[0] == 1


def test_the_order_is_fixed_by_the_seed() -> None:
    values = ternary(0.1, 0.0)(np.random.default_rng(5), 800)[:, 0]
    p = [betting_p_values(values, 0.04, low=-1, high=1, seed=seed)[0] for seed in range(5)]
    again = betting_p_values(values, 0.04, low=-1, high=1, seed=3)[0]
    assert again == p[3]
    assert len(set(p)) > 1


def test_search_finds_the_largest_parameter_that_stands() -> None:
    def p_values(parameters: Floats) -> Floats:
        return np.where(parameters > 0.731, 0.01, 0.5)

    assert largest_standing(p_values, 0.0, 2.0, alpha=0.05) == pytest.approx(0.731, abs=2 / 4096)


@pytest.mark.parametrize(
    ("values", "null", "low", "high"),
    [
        ([0.0, 1.5], 0.1, 0, 1),
        ([0.0, math.nan], 0.1, 0, 1),
        ([0.0], 0.0, 0, 1),
        ([0.0], 1.0, 0, 1),
        ([0.0], math.nan, 0, 1),
        ([0.0], 0.5, 1, 0),
        ([[[0.0]]], 0.5, 0, 1),
    ],
)
def test_values_and_hypotheses_outside_of_the_bounds_are_refused(
    values: list[float], null: float, low: float, high: float
) -> None:
    with pytest.raises(InvalidInputError):
        betting_p_values(values, null, low=low, high=high)


def test_more_losses_than_trials_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="trials"):
        binomial_p_values(5, 4, 0.1)


def test_a_bound_of_two_means_at_once_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="2 columns"):
        betting_upper_bound(np.zeros((3, 2)), low=-1, high=1)
