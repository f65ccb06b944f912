"""Means over seeds and questions: against an ANOVA by statsmodels, and coverage by simulation."""

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm

from calibration.statistics import (
    CrossedMean,
    crossed_difference,
    crossed_mean,
    crossed_proportion,
    paired_proportions_interval,
    wilson_interval,
)
from policies import InvalidInputError

DIFFICULTY_SD = 1.5


def _center(accuracy: float, seed_sd: float) -> float:
    """Return the logit at which questions and seeds come to an accuracy on average."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    spread, low, high = math.hypot(DIFFICULTY_SD, seed_sd), -15.0, 15.0
    for _ in range(60):
        middle = (low + high) / 2
        reached = np.sum(weights / (1 + np.exp(-(middle + spread * nodes)))) / np.sum(weights)
        low, high = (middle, high) if reached < accuracy else (low, middle)
    return (low + high) / 2


def _answers(
    draw: np.random.Generator,
    center: float,
    difficulty: NDArray[np.float64],
    n_seeds: int,
    seed_sd: float,
) -> NDArray[np.float64]:
    effect = draw.normal(0.0, seed_sd, (n_seeds, 1))
    chance = 1 / (1 + np.exp(-(center + effect + difficulty[None, :])))
    return (draw.random(chance.shape) < chance).astype(np.float64)


def _mixed(values: NDArray[np.float64]) -> Any:
    seeds, questions = np.indices(values.shape)
    table = pd.DataFrame({"y": values.ravel(), "s": seeds.ravel(), "q": questions.ravel()})
    return anova_lm(ols("y ~ C(s) + C(q)", table).fit())


# What is computed


def test_components_and_degrees_of_freedom_equal_the_anova_of_statsmodels() -> None:
    draw = np.random.default_rng(5)
    values = draw.normal(size=(4, 9)) + 2.0 * draw.normal(size=(4, 1)) + draw.normal(size=(1, 9))
    table = _mixed(values)
    seeds, questions, rest = (float(value) for value in table["mean_sq"])
    variance = (seeds + questions - rest) / values.size
    df = (seeds + questions - rest) ** 2 / (seeds**2 / 3 + questions**2 / 8 + rest**2 / 24)
    half = float(stats.t.ppf(0.975, df)) * math.sqrt(variance)
    found = crossed_mean(values)
    assert found.df == pytest.approx(df)
    assert found.var_seeds == pytest.approx((seeds - rest) / 9)
    assert found.var_questions == pytest.approx((questions - rest) / 4)
    assert found.var_rest == pytest.approx(rest)
    assert tuple(found.interval) == pytest.approx((values.mean() - half, values.mean() + half))


def test_one_seed_gives_an_interval_over_questions_and_says_so() -> None:
    values = np.random.default_rng(1).normal(size=(1, 50))
    found = crossed_mean(values)
    expected = stats.ttest_1samp(values[0], 0.0).confidence_interval(0.95)
    assert found.over == "questions"
    assert tuple(found.interval) == pytest.approx((expected.low, expected.high))


def test_one_column_gives_an_interval_over_seeds_and_says_so() -> None:
    found = crossed_mean([[1.0], [2.0], [4.0]])
    expected = stats.ttest_1samp([1.0, 2.0, 4.0], 0.0).confidence_interval(0.95)
    assert found.over == "seeds"
    assert tuple(found.interval) == pytest.approx((expected.low, expected.high))


def test_a_single_value_tells_nothing() -> None:
    assert crossed_mean([[0.5]]).over == "nothing"
    assert tuple(crossed_mean([[0.5]]).interval) == (-math.inf, math.inf)
    assert tuple(crossed_proportion([[1]]).interval) == (0.0, 1.0)


def test_a_proportion_of_one_seed_is_nearly_the_plain_wilson_interval() -> None:
    answers = [[1.0] * 130 + [0.0] * 270]
    assert tuple(crossed_proportion(answers).interval) == pytest.approx(
        tuple(wilson_interval(130, 400)), abs=5e-4
    )


def test_answers_that_all_agree_leave_the_width_of_their_questions() -> None:
    found = crossed_proportion(np.ones((3, 200)))
    assert found.high == 1.0
    assert found.low == pytest.approx(wilson_interval(200, 200).low, abs=5e-4)


def test_arms_that_never_differ_leave_the_width_of_their_questions() -> None:
    same = np.tile([1.0] * 60 + [0.0] * 40, (3, 1))
    found = crossed_difference(same, same)
    assert found.over == "seeds and questions"
    assert tuple(found.interval) == tuple(paired_proportions_interval(60, 0, 0, 40))


def test_a_difference_of_means_is_the_mean_of_differences() -> None:
    draw = np.random.default_rng(2)
    first, second = draw.normal(size=(3, 40)), draw.normal(size=(3, 40))
    assert crossed_difference(first, second) == crossed_mean(first - second)


@given(
    st.integers(1, 5).flatmap(
        lambda q: st.lists(
            st.lists(st.integers(0, 1), min_size=q, max_size=q), min_size=1, max_size=5
        )
    )
)
@settings(deadline=None)
def test_a_proportion_keeps_its_estimate_inside_and_itself_in_the_unit_interval(
    answers: list[list[int]],
) -> None:
    found = crossed_proportion(answers)
    assert 0 <= found.low <= found.estimate <= found.high <= 1
    shuffled = [row[::-1] for row in answers[::-1]]
    assert crossed_proportion(shuffled).low == pytest.approx(found.low)


@given(st.floats(-50, 50), st.floats(0.1, 9), st.integers(0, 10**6))
@settings(deadline=None)
def test_a_mean_moves_and_scales_with_its_values(shift: float, scale: float, seed: int) -> None:
    values = np.random.default_rng(seed).normal(size=(3, 12))
    plain, moved = crossed_mean(values), crossed_mean(scale * values + shift)
    assert moved.low == pytest.approx(scale * plain.low + shift, abs=1e-6)
    assert moved.high == pytest.approx(scale * plain.high + shift, abs=1e-6)
    assert moved.df == pytest.approx(plain.df)


@pytest.mark.parametrize("matrix", [[], [[]], [[1.0, 2.0], [1.0]], [[math.nan]], [[math.inf]], [1]])
def test_a_matrix_that_is_none_is_refused(matrix: Any) -> None:
    with pytest.raises(InvalidInputError):
        crossed_mean(matrix)


def test_a_proportion_of_other_numbers_and_unpaired_matrices_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="neither 0 nor 1"):
        crossed_proportion([[0.5, 1.0]])
    with pytest.raises(InvalidInputError, match="paired"):
        crossed_difference([[1.0, 2.0]], [[1.0]])
    with pytest.raises(InvalidInputError):
        crossed_mean([[1.0, 2.0]], confidence=1.0)


# Coverage by simulation. The bounds lie two to three standard errors of 500 draws (0.01) below what
# 700 to 1,500 draws gave, which the docstring of crossed_mean reports.


def _coverage(
    n_seeds: int, accuracy: float, seed_sd: float, n: int = 500, n_questions: int = 300
) -> tuple[float, float, float]:
    """Return the coverage of the proportion, of the t interval, and of questions alone."""
    draw = np.random.default_rng([n_seeds, int(1000 * accuracy), int(100 * seed_sd)])
    center = _center(accuracy, seed_sd)
    hits = np.zeros(3)
    for _ in range(n):
        difficulty = draw.normal(0.0, DIFFICULTY_SD, n_questions)
        answers = _answers(draw, center, difficulty, n_seeds, seed_sd)
        pooled = crossed_mean(answers.mean(axis=0, keepdims=True))
        for place, found in enumerate((crossed_proportion(answers), crossed_mean(answers), pooled)):
            hits[place] += found.low <= accuracy <= found.high
    proportion, mean, pooled_share = (float(one) for one in hits / n)
    return proportion, mean, pooled_share


@pytest.mark.parametrize("n_seeds", [3, 5])
@pytest.mark.parametrize("accuracy", [0.05, 0.5, 0.95])
@pytest.mark.parametrize(("seed_sd", "least"), [(0, 0.94), (0.2, 0.93)])
def test_coverage_holds_without_and_with_a_small_seed_effect(
    n_seeds: int, accuracy: float, seed_sd: float, least: float
) -> None:
    proportion, mean, _ = _coverage(n_seeds, accuracy, seed_sd)
    assert proportion >= least
    assert mean >= least


@pytest.mark.parametrize("n_seeds", [3, 5])
@pytest.mark.parametrize("accuracy", [0.05, 0.5, 0.95])
def test_coverage_nearly_holds_with_a_strong_seed_effect_where_questions_alone_fail(
    n_seeds: int, accuracy: float
) -> None:
    proportion, mean, pooled = _coverage(n_seeds, accuracy, 0.8)
    assert proportion >= 0.89
    assert mean >= 0.87
    assert pooled < 0.75


@pytest.mark.parametrize("n_seeds", [3, 5])
@pytest.mark.parametrize(("seed_sd", "least"), [(0.0, 0.94), (0.3, 0.91)])
def test_coverage_of_a_paired_difference(n_seeds: int, seed_sd: float, least: float) -> None:
    draw = np.random.default_rng([n_seeds, int(100 * seed_sd)])
    low, high = _center(0.05, seed_sd), _center(0.15, seed_sd)
    hits = 0
    for _ in range(500):
        difficulty = draw.normal(0.0, DIFFICULTY_SD, 300)
        found: CrossedMean = crossed_difference(
            _answers(draw, high, difficulty, n_seeds, seed_sd),
            _answers(draw, low, difficulty, n_seeds, seed_sd),
        )
        hits += found.low <= 0.10 <= found.high
    assert hits / 500 >= least


@given(
    st.integers(1, 4),
    st.integers(1, 30),
    st.floats(0.0, 1.0),
    st.floats(0.0, 1.0),
    st.integers(0, 2**32 - 1),
)
def test_a_difference_of_accuracies_stays_a_difference_of_accuracies(
    n_seeds: int, n: int, first: float, second: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    left, right = ((rng.random((n_seeds, n)) < p).astype(float) for p in (first, second))
    found = crossed_difference(left, right)
    assert -1.0 <= found.low <= found.estimate <= found.high <= 1.0


def test_two_seeds_that_disagree_leave_all_differences_open() -> None:
    found = crossed_difference([[1.0] * 50, [0.0] * 50], [[0.0] * 50, [0.0] * 50])
    assert (found.low, found.high) == (-1.0, 1.0)
