"""Equivalence and equal distributions against scipy, and how often they err, by simulation."""

import math
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from calibration.statistics import (
    PairedCounts,
    equivalence_test,
    paired_difference_interval,
    paired_proportions_interval,
    same_distribution,
)
from policies import InvalidInputError

cell = st.integers(0, 300)


# Proportions


@given(cell, cell, cell, cell, st.floats(0.005, 0.5), st.floats(0.6, 0.99))
def test_counts_are_equivalent_when_newcombes_interval_lies_within_the_margin(
    both: int, first: int, second: int, neither: int, margin: float, confidence: float
) -> None:
    counts = PairedCounts(both, first, second, neither)
    found = equivalence_test(counts, margin, confidence)
    low, high = paired_proportions_interval(*counts, 2 * confidence - 1)
    assert found.is_equivalent == (-margin < low and high < margin)
    assert tuple(found.interval) == (low, high)
    assert (found.margin, found.n) == (margin, sum(counts))
    swapped = equivalence_test(PairedCounts(both, second, first, neither), margin, confidence)
    assert swapped.is_equivalent == found.is_equivalent


def test_agreement_on_few_questions_proves_nothing() -> None:
    assert not equivalence_test(PairedCounts(10, 0, 0, 10), margin=0.03).is_equivalent
    assert equivalence_test(PairedCounts(400, 0, 0, 400), margin=0.03).is_equivalent
    assert not equivalence_test(PairedCounts(0, 0, 0, 0), margin=0.5).is_equivalent


@pytest.mark.parametrize(("first", "second"), [(0.11, 0.06), (0.30, 0.25)])
def test_arms_that_differ_by_the_margin_are_seldom_found_equivalent(
    first: float, second: float
) -> None:
    """At the edge of the hypothesis the level of 5% is reached: 3000 runs of 400 questions."""
    rng, n_runs = np.random.default_rng(1), 3000
    tables = rng.multinomial(400, [0.5 - first, first, second, 0.5 - second], size=n_runs)
    n_found = sum(
        equivalence_test(PairedCounts(*map(int, table)), margin=first - second).is_equivalent
        for table in tables
    )
    # Newcombe's interval is approximate: one point above nominal is within its known deviation.
    assert n_found <= stats.binom.ppf(0.999, n_runs, 0.06)


# Means


def test_means_take_the_bootstrap_interval_and_agree_with_two_t_tests() -> None:
    differences = np.random.default_rng(3).normal(0.2, 2.0, 300)
    found = equivalence_test(differences.tolist(), margin=0.6, n_resamples=1999)
    interval = paired_difference_interval(
        differences.tolist(), [0.0] * 300, confidence=0.9, n_resamples=1999
    )
    assert found.interval.low == pytest.approx(interval.low)
    above = cast("Any", stats.ttest_1samp(differences, -0.6, alternative="greater")).pvalue
    below = cast("Any", stats.ttest_1samp(differences, 0.6, alternative="less")).pvalue
    assert max(above, below) < 0.05
    assert found.is_equivalent
    assert not equivalence_test(differences.tolist(), margin=0.25, n_resamples=1999).is_equivalent


def test_means_that_differ_by_the_margin_are_seldom_found_equivalent() -> None:
    rng, n_runs = np.random.default_rng(5), 400
    n_found = sum(
        equivalence_test(
            rng.normal(1.0, 2.0, 100).tolist(), margin=1.0, n_resamples=499
        ).is_equivalent
        for _ in range(n_runs)
    )
    # BCa intervals of 100 values are up to a point too narrow.
    assert n_found <= stats.binom.ppf(0.999, n_runs, 0.06)


def test_few_clusters_are_never_found_equivalent() -> None:
    assert not equivalence_test([0.0] * 19, margin=1.0).is_equivalent
    assert equivalence_test([0.0] * 20, margin=1.0).is_equivalent
    clusters = [i % 10 for i in range(200)]
    assert not equivalence_test([0.0] * 200, margin=1.0, clusters=clusters).is_equivalent


def test_clusters_widen_the_interval() -> None:
    shared = np.repeat(np.random.default_rng(2).normal(size=40), 5).tolist()
    alone = equivalence_test(shared, margin=1.0, n_resamples=999).interval
    together = equivalence_test(
        shared, margin=1.0, clusters=[i // 5 for i in range(200)], n_resamples=999
    ).interval
    assert together.width > 1.5 * alone.width


@pytest.mark.parametrize(
    ("margin", "confidence"), [(0.0, 0.95), (math.inf, 0.95), (0.1, 0.5), (0.1, 1)]
)
def test_impossible_questions_are_refused(margin: float, confidence: float) -> None:
    with pytest.raises(InvalidInputError):
        equivalence_test(PairedCounts(1, 1, 1, 1), margin, confidence)


def test_counts_in_clusters_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="cluster"):
        equivalence_test(PairedCounts(1, 1, 1, 1), 0.1, clusters=["a"] * 4)


# Distributions


def test_without_ties_it_is_scipys_two_sample_test() -> None:
    first, second = np.random.default_rng(4).normal(size=(2, 50))
    expected = cast("Any", stats.ks_2samp(first, second)).pvalue
    assert same_distribution(first.tolist(), second.tolist()) == pytest.approx(expected)


def test_random_divisions_agree_with_the_exact_test_where_both_hold() -> None:
    """One tied value in 81 hardly matters to the exact test, but takes the other way."""
    first, second = np.random.default_rng(9).normal(size=(2, 40))
    second += 0.6
    tied = [*first.tolist(), float(second[0])]
    expected = cast("Any", stats.ks_2samp(tied, second)).pvalue
    assert 0.05 < expected < 0.5
    assert same_distribution(tied, second.tolist()) == pytest.approx(expected, abs=0.03)


def test_tied_lengths_keep_the_level_and_are_told_apart_more_often_than_by_scipy() -> None:
    rng, n_runs = np.random.default_rng(6), 500
    values, same, other = [4, 5, 6, 7], [0.55, 0.25, 0.15, 0.05], [0.40, 0.30, 0.20, 0.10]
    n_false = n_found = n_scipy = 0
    for run in range(n_runs):
        first = rng.choice(values, 120, p=same)
        again, changed = rng.choice(values, 120, p=same), rng.choice(values, 120, p=other)
        n_false += (
            same_distribution(first.tolist(), again.tolist(), n_resamples=499, seed=run) <= 0.05
        )
        n_found += (
            same_distribution(first.tolist(), changed.tolist(), n_resamples=499, seed=run) <= 0.05
        )
        n_scipy += cast("Any", stats.ks_2samp(first, changed)).pvalue <= 0.05
    assert n_false <= stats.binom.ppf(0.999, n_runs, 0.05)
    assert n_found > n_scipy


@given(st.lists(st.integers(0, 9), min_size=1, max_size=40), st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_equal_samples_are_equal_in_any_order(values: list[int], seed: int) -> None:
    shuffled = np.random.default_rng(seed).permutation(values).tolist()
    assert same_distribution(values, shuffled, n_resamples=100) == 1


def test_constant_lengths_that_differ_differ() -> None:
    assert same_distribution([4] * 60, [5] * 60) < 0.001
    assert same_distribution([4] * 60, [5] * 60) == same_distribution([5] * 60, [4] * 60)


@pytest.mark.parametrize(
    ("first", "second"), [([], [1.0]), ([1.0], []), ([math.nan], [1.0]), ([math.inf], [1.0])]
)
def test_unusable_samples_are_refused(first: list[float], second: list[float]) -> None:
    with pytest.raises(InvalidInputError):
        same_distribution(first, second)
    with pytest.raises(InvalidInputError, match="n_resamples"):
        same_distribution([1.0], [1.0], n_resamples=10)
