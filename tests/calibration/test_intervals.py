"""Intervals against scipy and statsmodels, and their coverage by enumeration and simulation."""

import math
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import proportion_confint

from calibration.statistics import (
    ClusterSums,
    Interval,
    clopper_pearson_interval,
    clustered_mean_interval,
    clustered_proportion_interval,
    clustered_stderr,
    mcnemar_exact,
    paired_difference_interval,
    paired_proportions_interval,
    wilson_interval,
)
from policies import InvalidInputError

METHODS = {"wilson": wilson_interval, "beta": clopper_pearson_interval}
FIXTURES = [(0, 1), (1, 1), (0, 20), (1, 20), (10, 20), (19, 20), (20, 20), (333, 1000), (2, 10**6)]
confidences = st.floats(0.5, 0.999)
counts = st.tuples(st.integers(0, 3000), st.integers(0, 3000)).map(lambda c: (c[0], c[0] + c[1]))


# One proportion


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
@pytest.mark.parametrize(("k", "n"), FIXTURES)
def test_equals_statsmodels(method: str, confidence: float, k: int, n: int) -> None:
    expected = proportion_confint(k, n, alpha=1 - confidence, method=method)
    interval = METHODS[method](k, n, confidence)
    assert tuple(interval) == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert (interval.estimate, interval.confidence) == (k / n, confidence)


@pytest.mark.parametrize("method", ["wilson", "exact"])
@pytest.mark.parametrize(("k", "n"), FIXTURES)
def test_equals_scipy(method: str, k: int, n: int) -> None:
    expected = stats.binomtest(k, n).proportion_ci(0.95, method=method)
    interval = (wilson_interval if method == "wilson" else clopper_pearson_interval)(k, n)
    assert tuple(interval) == pytest.approx((expected.low, expected.high), rel=1e-9, abs=1e-12)


def exact_coverage(method: str, n: int, p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Coverage at each proportion: the probability of all k whose interval contains it."""
    k = np.arange(n + 1)
    ends = np.array([tuple(METHODS[method](int(i), n)) for i in k])
    covers = (ends[:, :1] <= p) & (p <= ends[:, 1:])
    return (stats.binom.pmf(k[:, None], n, p) * covers).sum(axis=0)


@pytest.mark.parametrize("n", [1, 2, 5, 10, 30, 50, 100, 300])
def test_clopper_pearson_never_covers_less_than_promised(n: int) -> None:
    grid = np.linspace(0.0005, 0.9995, 1999)
    assert exact_coverage("beta", n, grid).min() >= 0.95


@pytest.mark.parametrize("n", [10, 30, 50, 100, 300])
def test_wilson_covers_what_it_promises_on_average(n: int) -> None:
    """Brown, Cai and DasGupta (2001): near nominal in the mean, dips only near 0 and 1."""
    grid = np.linspace(0.0005, 0.9995, 1999)
    coverage = exact_coverage("wilson", n, grid)
    assert coverage.mean() == pytest.approx(0.95, abs=0.005)
    inner = coverage[(grid > 0.1) & (grid < 0.9)]
    assert inner.min() > 0.91


@pytest.mark.parametrize(
    ("n", "p", "wilson", "exact"),
    [(30, 0.9, 0.974, 0.992), (50, 0.97, 0.937, 0.983), (300, 0.97, 0.941, 0.960)],
)
def test_coverage_matches_figures_computed_for_the_design(
    n: int, p: float, wilson: float, exact: float
) -> None:
    at = np.array([p])
    assert exact_coverage("wilson", n, at)[0] == pytest.approx(wilson, abs=0.0006)
    assert exact_coverage("beta", n, at)[0] == pytest.approx(exact, abs=0.0006)


@pytest.mark.parametrize("method", METHODS)
def test_no_trials_tell_nothing(method: str) -> None:
    nothing = METHODS[method](0, 0)
    assert tuple(nothing) == (0.0, 1.0)
    assert math.isnan(nothing.estimate)
    assert nothing.width == 1


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("k", "n"), [(3, 2), (-1, 2), (0, -1), (1, 0)])
def test_impossible_counts_are_refused(method: str, k: int, n: int) -> None:
    with pytest.raises(InvalidInputError, match="0 <= k <= n"):
        METHODS[method](k, n)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("confidence", [0.0, 1.0, 95, -0.5, math.nan])
def test_impossible_confidence_is_refused(method: str, confidence: float) -> None:
    with pytest.raises(InvalidInputError, match="between 0 and 1"):
        METHODS[method](1, 2, confidence)


@pytest.mark.parametrize("method", METHODS)
@given(counts=counts, confidence=confidences)
def test_contains_the_estimate_within_the_unit_interval(
    method: str, counts: tuple[int, int], confidence: float
) -> None:
    interval = METHODS[method](*counts, confidence)
    assert 0 <= interval.low <= interval.high <= 1
    if counts[1]:
        assert interval.low <= interval.estimate <= interval.high
        assert interval.width > 0


@pytest.mark.parametrize("method", METHODS)
@given(counts=counts, confidence=confidences)
def test_is_symmetric_in_successes_and_failures(
    method: str, counts: tuple[int, int], confidence: float
) -> None:
    k, n = counts
    low, high = METHODS[method](k, n, confidence)
    mirrored = METHODS[method](n - k, n, confidence)
    assert tuple(mirrored) == pytest.approx((1 - high, 1 - low), rel=1e-7, abs=1e-9)


@pytest.mark.parametrize("method", METHODS)
@given(counts=counts, factor=st.integers(2, 50))
def test_narrows_with_n_and_widens_with_confidence(
    method: str, counts: tuple[int, int], factor: int
) -> None:
    k, n = counts
    interval = METHODS[method](k, n, 0.9)
    assert METHODS[method](k, n, 0.95).width >= interval.width
    if n:
        assert METHODS[method](k * factor, n * factor, 0.9).width < interval.width


@given(counts=counts)
def test_ends_rise_with_successes(counts: tuple[int, int]) -> None:
    k, n = counts
    for method in METHODS.values():
        less, more = method(k, n + 1), method(k + 1, n + 1)
        assert less.low < more.low
        assert less.high <= more.high


# Clustered mean


def test_clustered_stderr_follows_the_formula_written_out() -> None:
    values = [1.0, 0.0, 1.0, 1.0, 0.0, 0.5, 0.25]
    clusters = ["a", "b", "a", "c", "b", "c", "d"]
    mean = sum(values) / 7
    variance = 0.0
    for cluster in set(clusters):
        residuals = [v - mean for v, c in zip(values, clusters, strict=True) if c == cluster]
        variance += sum(x * y for x, y in product(residuals, residuals))
    expected = math.sqrt(variance * 4 / 3) / 7
    assert clustered_stderr(values, clusters) == pytest.approx(expected, rel=1e-12)


@given(st.integers(0, 2**32), st.integers(2, 40), st.floats(0.5, 0.99))
@settings(max_examples=40, deadline=None)
def test_clustered_interval_equals_statsmodels(seed: int, n: int, confidence: float) -> None:
    rng = np.random.default_rng(seed)
    values, clusters = rng.normal(size=n), rng.integers(0, n, size=n)
    clusters[:2] = (0, 1)
    interval = clustered_mean_interval(values.tolist(), clusters.tolist(), confidence)
    fit = sm.OLS(values, np.ones(n)).fit(
        cov_type="cluster", cov_kwds={"groups": clusters}, use_t=True
    )
    assert clustered_stderr(values.tolist(), clusters.tolist()) == pytest.approx(fit.bse[0])
    assert interval.estimate == pytest.approx(fit.params[0])
    assert tuple(interval) == pytest.approx(fit.conf_int(1 - confidence)[0], rel=1e-6, abs=1e-9)


def test_single_value_clusters_give_the_students_t_interval() -> None:
    values = np.random.default_rng(3).normal(size=12)
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.9)
    interval = clustered_mean_interval(values.tolist(), range(12), 0.9)
    assert tuple(interval) == pytest.approx((expected.low, expected.high))


def test_clustered_interval_covers_where_repeats_taken_as_questions_do_not() -> None:
    """30 questions, 10 repeats, as in the design's simulation (31-52% for the naive one)."""
    rng = np.random.default_rng(11)
    n_runs, n_questions, n_repeats = 1500, 30, 10
    clusters = np.repeat(np.arange(n_questions), n_repeats).tolist()
    n_covered = n_covered_naive = 0
    for _ in range(n_runs):
        difficulty = rng.beta(0.6, 0.4, size=n_questions)
        values = (rng.random((n_questions, n_repeats)) < difficulty[:, None]).astype(float)
        low, high = clustered_mean_interval(values.ravel().tolist(), clusters)
        n_covered += low <= 0.6 <= high
        low, high = wilson_interval(int(values.sum()), values.size)
        n_covered_naive += low <= 0.6 <= high
    # Three standard errors of 1500 draws are 1.7 points; t intervals of 30 bounded means lose one.
    assert n_covered / n_runs == pytest.approx(0.945, abs=0.02)
    assert n_covered_naive / n_runs < 0.6


def test_one_cluster_bounds_nothing() -> None:
    interval = clustered_mean_interval([1.0, 0.0], ["a", "a"])
    assert interval == Interval(0.5, -math.inf, math.inf, 0.95)
    assert clustered_stderr([1.0, 0.0], ["a", "a"]) == math.inf
    nothing = clustered_mean_interval([], [])
    assert math.isnan(nothing.estimate)
    assert nothing.width == math.inf


@pytest.mark.parametrize(
    ("values", "clusters"), [([1.0], []), ([math.nan, 1.0], "ab"), ([math.inf, 1.0], "ab")]
)
def test_unusable_values_are_refused(values: list[float], clusters: str) -> None:
    with pytest.raises(InvalidInputError):
        clustered_mean_interval(values, clusters)
    with pytest.raises(InvalidInputError):
        paired_difference_interval(values, values, clusters=clusters)


# Accuracy of clustered answers


def summed(right: NDArray[np.int64], answers: NDArray[np.int64]) -> ClusterSums:
    return ClusterSums(
        n=int(answers.sum()),
        k=int(right.sum()),
        n_clusters=len(answers),
        sum_kk=int(right @ right),
        sum_kn=int(right @ answers),
        sum_nn=int(answers @ answers),
    )


def test_clustered_accuracy_of_single_answers_is_wilsons_at_the_t_quantile() -> None:
    right, answers = np.array([1] * 30 + [0] * 20), np.ones(50, dtype=np.int64)
    interval = clustered_proportion_interval(summed(right, answers))
    level = 2 * float(stats.norm.cdf(stats.t.ppf(0.975, 49))) - 1
    # The cluster-robust variance has C - 1 where the binomial one has C.
    assert tuple(interval) == pytest.approx(tuple(wilson_interval(30, 50, level)), abs=0.002)
    assert interval.width > wilson_interval(30, 50).width


def test_clustered_accuracy_has_the_spread_of_the_cluster_robust_mean() -> None:
    rng = np.random.default_rng(17)
    answers = rng.integers(1, 6, 200)
    right = rng.binomial(answers, rng.beta(1, 1, 200))
    values = [float(i < k) for n, k in zip(answers, right, strict=True) for i in range(n)]
    clusters = np.repeat(np.arange(200), answers).tolist()
    interval = clustered_proportion_interval(summed(right, answers))
    reference = clustered_mean_interval(values, clusters)
    assert interval.estimate == pytest.approx(reference.estimate)
    assert tuple(interval) == pytest.approx(tuple(reference), abs=0.005)


@pytest.mark.parametrize("shape", [0.3, 2.0])
def test_clustered_accuracy_covers_where_wilson_over_all_answers_does_not(shape: float) -> None:
    """40 questions, 8 repeats, difficulties around 0.8."""
    rng, n_runs, n_covered, n_naive = np.random.default_rng(19), 1500, 0, 0
    answers = np.full(40, 8)
    for _ in range(n_runs):
        right = rng.binomial(8, rng.beta(4 * shape, shape, 40))
        low, high = clustered_proportion_interval(summed(right, answers))
        n_covered += low <= 0.8 <= high
        low, high = wilson_interval(int(right.sum()), 320)
        n_naive += low <= 0.8 <= high
    # Approximate: within 2 points of nominal, and three standard errors are 1.7 more.
    assert n_covered / n_runs > 0.913
    assert n_naive < 0.95 * n_covered


def test_clustered_accuracy_of_one_cluster_and_of_equal_answers() -> None:
    assert tuple(clustered_proportion_interval(ClusterSums(5, 3, 1, 9, 15, 25))) == (0, 1)
    # 10 questions all right 8 times each are 10 answers, not 80.
    equal = clustered_proportion_interval(summed(np.full(10, 8), np.full(10, 8)))
    assert (equal.estimate, equal.high) == (1, 1)
    assert wilson_interval(80, 80).low > equal.low > 0.5


# McNemar


@given(st.integers(0, 400), st.integers(0, 400))
@settings(max_examples=60, deadline=None)
def test_mcnemar_equals_statsmodels_and_scipy(first: int, second: int) -> None:
    p_value = mcnemar_exact(first, second)
    reference = cast("Any", mcnemar([[7, first], [second, 9]], exact=True))
    assert p_value == pytest.approx(reference.pvalue, rel=1e-9)
    if first + second:
        assert p_value == pytest.approx(stats.binomtest(first, first + second).pvalue, rel=1e-9)
    assert p_value == mcnemar_exact(second, first)


@given(st.integers(0, 200), st.integers(0, 200))
def test_mid_p_leaves_out_half_of_what_was_observed(first: int, second: int) -> None:
    smaller, n = min(first, second), first + second
    below = 2 * stats.binom.cdf(smaller - 1, n, 0.5) + stats.binom.pmf(smaller, n, 0.5)
    expected = below if first != second else 1 - stats.binom.pmf(first, n, 0.5) / 2
    mid_p = mcnemar_exact(first, second, mid_p=True)
    assert mid_p == pytest.approx(expected if n else 1, rel=1e-9)
    assert 0 < mid_p <= mcnemar_exact(first, second)


@pytest.mark.parametrize("n_discordant", [5, 12, 40, 151])
def test_mcnemar_keeps_its_level(n_discordant: int) -> None:
    """Exact enumeration of the null: rejections at 5% happen at most 5% of the time."""
    k = np.arange(n_discordant + 1)
    rejects = np.array([mcnemar_exact(int(i), int(n_discordant - i)) <= 0.05 for i in k])
    assert stats.binom.pmf(k, n_discordant, 0.5) @ rejects <= 0.05


def test_mcnemar_handles_many_questions() -> None:
    assert mcnemar_exact(50_000, 50_000) == 1
    assert 0 < mcnemar_exact(100_300, 99_700) < 1
    assert mcnemar_exact(0, 2000) == mcnemar_exact(0, 2000, mid_p=True) == 0
    with pytest.raises(InvalidInputError):
        mcnemar_exact(-1, 3)


# Paired differences


def test_paired_proportions_match_the_published_example() -> None:
    """Newcombe and Altman in "Statistics with confidence" (2000), table 6.2: 0.011 to 0.226."""
    interval = paired_proportions_interval(14, 5, 0, 22)
    assert interval.estimate == pytest.approx(5 / 41)
    assert tuple(interval) == pytest.approx((0.011, 0.226), abs=0.0005)


@pytest.mark.parametrize(
    "cells", [(0.5, 0.1, 0.1, 0.3), (0.6, 0.2, 0.05, 0.15), (0.85, 0.02, 0.05, 0.08)]
)
@pytest.mark.parametrize("n", [20, 40])
def test_paired_proportions_cover_by_enumeration(
    cells: tuple[float, float, float, float], n: int
) -> None:
    """All tables of n questions, weighted by their multinomial probability.

    The interval is approximate: near nominal where arms disagree, conservative where they hardly
    do.
    """
    difference = cells[1] - cells[2]
    covered = 0.0
    for both in range(n + 1):
        for first in range(n + 1 - both):
            rest = n - both - first
            second = np.arange(rest + 1)
            tables = np.column_stack(
                [np.full(rest + 1, both), np.full(rest + 1, first), second, rest - second]
            )
            weights = stats.multinomial.pmf(tables, n, cells)
            for weight, table in zip(weights, tables.tolist(), strict=True):
                if weight > 1e-9:
                    low, high = paired_proportions_interval(*table)
                    covered += weight * (low <= difference <= high)
    assert 0.94 < covered < (0.98 if n * min(cells[1:3]) >= 1 else 1)


cell = st.integers(0, 200)


@given(cell, cell, cell, cell, confidences)
def test_paired_proportions_are_bounded_and_antisymmetric(
    both: int, first: int, second: int, neither: int, confidence: float
) -> None:
    interval = paired_proportions_interval(both, first, second, neither, confidence)
    assert -1 <= interval.low <= interval.high <= 1
    swapped = paired_proportions_interval(both, second, first, neither, confidence)
    assert tuple(swapped) == pytest.approx((-interval.high, -interval.low), abs=1e-9)
    if both + first + second + neither:
        assert interval.low <= interval.estimate <= interval.high
        assert interval.width > 0


def test_paired_proportions_refuse_and_tell_nothing() -> None:
    assert tuple(paired_proportions_interval(0, 0, 0, 0)) == (-1.0, 1.0)
    with pytest.raises(InvalidInputError):
        paired_proportions_interval(1, -1, 0, 0)
    with pytest.raises(InvalidInputError):
        paired_proportions_interval(1, 1, 0, 0, confidence=1)


def test_paired_bootstrap_equals_scipy_on_single_questions() -> None:
    rng = np.random.default_rng(5)
    first, second = rng.lognormal(size=60), rng.lognormal(size=60)
    interval = paired_difference_interval(first.tolist(), second.tolist(), seed=7)
    expected = stats.bootstrap(
        (first - second,), np.mean, method="BCa", rng=np.random.default_rng(8)
    ).confidence_interval
    # Two independent sets of 9999 resamples: ends agree to a few hundredths of the width.
    assert tuple(interval) == pytest.approx(
        (expected.low, expected.high), abs=0.05 * interval.width
    )
    assert interval.estimate == pytest.approx((first - second).mean())


def test_paired_bootstrap_is_repeatable() -> None:
    rng = np.random.default_rng(2)
    first, second = rng.lognormal(size=(2, 40)).tolist()
    once = paired_difference_interval(first, second, seed=1)
    assert once == paired_difference_interval(first, second, seed=1)
    assert once != paired_difference_interval(first, second, seed=2)
    flipped = paired_difference_interval(second, first, seed=1)
    assert flipped.estimate == -once.estimate


def test_paired_bootstrap_covers_with_clusters() -> None:
    """60 documents of 1 to 5 questions that share a difference; 400 runs of 999 resamples."""
    rng = np.random.default_rng(23)
    n_covered = n_covered_naive = 0
    for _ in range(400):
        clusters = np.repeat(np.arange(60), rng.integers(1, 6, size=60))
        shared = rng.normal(1.0, 1.0, size=60)[clusters]
        second = rng.lognormal(size=len(clusters))
        first = second + shared + rng.normal(0, 0.5, size=len(clusters))
        args = first.tolist(), second.tolist()
        low, high = paired_difference_interval(*args, clusters=clusters.tolist(), n_resamples=999)
        n_covered += low <= 1.0 <= high
        low, high = clustered_mean_interval((first - second).tolist(), range(len(first)))
        n_covered_naive += low <= 1.0 <= high
    # Three standard errors of 400 draws are 3.3 points.
    assert n_covered / 400 == pytest.approx(0.94, abs=0.035)
    assert n_covered_naive < n_covered


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 4)), max_size=12))
@settings(max_examples=60, deadline=None)
def test_paired_bootstrap_is_defined_for_every_input(
    rows: list[tuple[int, int, int]],
) -> None:
    first, second, clusters = ([row[i] for row in rows] for i in range(3))
    interval = paired_difference_interval(first, second, clusters=clusters, n_resamples=200)
    assert interval.low <= interval.high
    if len(set(clusters)) < 2:
        assert tuple(interval) == (-math.inf, math.inf)


def test_paired_bootstrap_covers_for_skewed_costs() -> None:
    """Tokens of 80 questions, log-normal, the second arm's correlated; 400 runs of 499 resamples."""
    rng, n_covered = np.random.default_rng(29), 0
    truth = math.exp(5.5 + 0.32) - math.exp(4.0 + 0.32)
    for _ in range(400):
        shared = rng.normal(0, 0.6, 80)
        first = np.exp(5.5 + shared + rng.normal(0, math.sqrt(0.28), 80))
        second = np.exp(4.0 + shared + rng.normal(0, math.sqrt(0.28), 80))
        low, high = paired_difference_interval(first.tolist(), second.tolist(), n_resamples=499)
        n_covered += low <= truth <= high
    # Three standard errors of 400 draws are 3.3 points; skewness costs one or two.
    assert n_covered / 400 == pytest.approx(0.935, abs=0.035)


@given(st.integers(0, 2**32), st.integers(20, 60))
@settings(max_examples=15, deadline=None)
def test_paired_bootstrap_contains_its_estimate_and_narrows_with_n(seed: int, n: int) -> None:
    first, second = np.random.default_rng(seed).lognormal(size=(2, n))
    interval = paired_difference_interval(first.tolist(), second.tolist(), n_resamples=999)
    assert interval.low <= interval.estimate <= interval.high
    many = paired_difference_interval(
        np.tile(first, 9).tolist(), np.tile(second, 9).tolist(), n_resamples=999
    )
    # A ninth of the variance; the bootstrap's own noise is far below a factor of two.
    assert many.width < 0.6 * interval.width


def test_paired_bootstrap_of_a_constant_difference_is_that_difference() -> None:
    """Cluster means of unequal clusters differ in the last digit only."""
    clusters = [c for c in range(30) for _ in range(c % 5 + 1)]
    values = [0.1] * len(clusters)
    interval = paired_difference_interval(
        values, [0.0] * len(values), clusters=clusters, n_resamples=200
    )
    assert tuple(interval) == pytest.approx((0.1, 0.1))


def test_paired_bootstrap_of_equal_arms_has_no_width() -> None:
    values = [0.1, 0.7, 0.30000000000000004, 5.0]
    assert paired_difference_interval(values, values) == Interval(0.0, 0.0, 0.0, 0.95)


def test_paired_bootstrap_refuses_what_is_not_paired() -> None:
    with pytest.raises(InvalidInputError, match="paired"):
        paired_difference_interval([1.0], [1.0, 2.0])
    with pytest.raises(InvalidInputError, match="n_resamples"):
        paired_difference_interval([1.0, 2.0], [1.0, 3.0], n_resamples=0)


# Imports


def test_importing_and_wilson_need_the_standard_library_only() -> None:
    program = (
        "import sys\n"
        "from calibration.statistics import wilson_interval\n"
        "wilson_interval(3, 10)\n"
        "print([m for m in ('numpy', 'scipy', 'statsmodels') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).resolve().parents[2],
    )
    assert done.stdout.strip() == "[]"
