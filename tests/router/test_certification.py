"""Bounds and the walk: what is certified must be true as often as promised."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from router.evaluation._certification import PairedMoments, certify, start_weights
from router.evaluation._resampling import GroupBootstrap, group_sums

MARGIN, ERROR = 0.01, 0.05
Floats = NDArray[np.float64]


def outcomes(n: int, gain: float, loss: float, n_worlds: int, seed: int = 0) -> Floats:
    """Return differences of +1, -1 and 0, one column per world."""
    values = np.random.default_rng(seed).random((n, n_worlds))
    return np.where(values < gain, 1.0, np.where(values < gain + loss, -1.0, 0.0))


def plain_t_bound(differences: Floats) -> Floats:
    n = len(differences)
    stderr = differences.std(axis=0, ddof=1) / np.sqrt(n)
    return differences.mean(axis=0) - stats.t.ppf(1 - ERROR, n - 1) * stderr


@pytest.mark.parametrize("n", [150, 300, 1000])
@pytest.mark.parametrize("gain", [0.0, 0.02, 0.1])
def test_a_loss_of_exactly_the_margin_is_seldom_certified(n: int, gain: float) -> None:
    differences = outcomes(n, gain, gain + MARGIN, n_worlds=4000)
    bound = PairedMoments.of(differences, np.arange(n)).low(ERROR)
    # 5% and three standard errors of 4,000 worlds.
    assert (bound >= -MARGIN).mean() <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 4000)


@pytest.mark.parametrize(("n_groups", "size"), [(100, 9), (300, 3)])
@pytest.mark.parametrize("alike", [0.1, 0.4, 0.99])
@pytest.mark.parametrize("gain", [0.0, 0.05])
def test_groups_that_are_lost_together_do_not_fool_the_bound(
    n_groups: int, size: int, alike: float, gain: float
) -> None:
    rng, n_worlds = np.random.default_rng(0), 1000
    index = np.repeat(np.arange(n_groups), size)

    def drawn(share: float) -> Floats:
        if share == 0:
            return np.zeros((len(index), n_worlds))
        total = 1 / alike - 1  # of the two parameters, for this correlation within a group
        chance = rng.beta(share * total, (1 - share) * total, (n_groups, n_worlds))
        return (rng.random((len(index), n_worlds)) < chance[index]).astype(np.float64)

    bound = PairedMoments.of(drawn(gain) - drawn(gain + MARGIN), index).low(ERROR)
    assert (bound >= -MARGIN).mean() <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / n_worlds)


def test_the_plain_bound_would_be_wrong_one_time_in_five() -> None:
    differences = outcomes(300, 0.0, MARGIN, n_worlds=4000)
    assert (plain_t_bound(differences) >= -MARGIN).mean() > 0.15
    assert (PairedMoments.of(differences, np.arange(300)).low(ERROR) >= -MARGIN).mean() <= 0.05


def test_with_many_questions_the_bound_is_the_plain_one() -> None:
    differences = outcomes(20_000, 0.05, 0.06, n_worlds=50)
    bound = PairedMoments.of(differences, np.arange(20_000)).low(ERROR)
    assert bound == pytest.approx(plain_t_bound(differences), abs=2e-4)
    assert (bound <= plain_t_bound(differences)).all()


def test_questions_that_share_a_group_are_no_new_evidence() -> None:
    single = outcomes(400, 0.05, 0.06, n_worlds=1)
    repeated = np.repeat(single, 5, axis=0)
    groups = np.repeat(np.arange(400), 5)
    alone = PairedMoments.of(single, np.arange(400)).low(ERROR)
    assert PairedMoments.of(repeated, groups).low(ERROR) == pytest.approx(alone)
    assert PairedMoments.of(repeated, np.arange(2000)).low(ERROR) > alone + 0.005


def test_never_having_lost_is_not_enough_on_few_questions() -> None:
    few, many = (PairedMoments.of(np.zeros((n, 1)), np.arange(n)) for n in (100, 1000))
    assert few.low(ERROR)[0] < -MARGIN  # a loss of 3% is missed by 100 questions in 1 of 20 cases
    assert many.low(ERROR)[0] > -MARGIN
    assert many.low(0.0)[0] == -np.inf


def test_the_walk_keeps_its_promise_although_it_chooses() -> None:
    n, truth = 800, np.array([0.01, 0.0, -0.01, -0.011, -0.015, -0.02])
    rng = np.random.default_rng(1)
    weights = start_weights(np.array([1.0, 0.88, 0.76, 0.64, 0.52, 0.4]))
    n_worlds, wrong = 800, 0
    for _ in range(n_worlds):
        # One number per question decides all points: neighbours disagree seldom.
        level = rng.random((n, 1))
        differences = np.where(level < 0.05, 1.0, np.where(level < 0.1 - truth, -1.0, 0.0))
        moments = PairedMoments.of(differences, np.arange(n))
        passed = certify(moments, weights, margin=MARGIN, error=ERROR)
        wrong += bool(passed[truth <= -MARGIN].any())
    assert wrong / n_worlds <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / n_worlds)


def test_what_is_clearly_no_worse_is_certified() -> None:
    differences = outcomes(2000, 0.09, 0.05, n_worlds=6)
    moments = PairedMoments.of(differences, np.arange(2000))
    weights = start_weights(np.array([1.0, 0.84, 0.68, 0.52, 0.36, 0.2]))
    assert certify(moments, weights, margin=MARGIN, error=ERROR).all()


def test_a_failure_ends_the_walk_unless_a_later_point_has_error_of_its_own() -> None:
    good, bad = np.zeros(2000), np.full(2000, -1.0)
    moments = PairedMoments.of(np.stack([good, bad, good, good], axis=1), np.arange(2000))
    only_first = certify(moments, np.array([1.0, 0, 0, 0]), margin=MARGIN, error=ERROR)
    assert only_first.tolist() == [True, False, False, False]
    shared = certify(moments, np.array([0.5, 0, 0.5, 0]), margin=MARGIN, error=ERROR)
    assert shared.tolist() == [True, False, True, True]


@given(st.lists(st.floats(0.0, 1e6), min_size=1, max_size=30))
def test_the_walk_spends_exactly_its_error(costs: list[float]) -> None:
    weights = start_weights(np.array(costs))
    assert weights.sum() == pytest.approx(1.0)
    assert weights.min() >= 0.0
    assert weights[0] >= 0.5


@given(st.lists(st.tuples(st.integers(0, 4), st.floats(-5, 5)), min_size=1, max_size=40))
def test_group_sums_are_sums_by_group(rows: list[tuple[int, float]]) -> None:
    index, values = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    expected = [values[index == group].sum() for group in range(6)]
    assert group_sums(values, index, 6) == pytest.approx(np.array(expected))


def test_resamples_draw_whole_groups_and_are_repeatable() -> None:
    groups = [str(question // 3) for question in range(30)]
    bootstrap = GroupBootstrap(groups, n_resamples=500, seed=3)
    weights = np.concatenate(list(bootstrap.batches()))
    assert weights.shape == (500, 10)
    assert (weights.sum(axis=1) == 10).all()
    assert weights.mean() == pytest.approx(1.0)
    assert weights.var() == pytest.approx(0.9, abs=0.1)  # binomial with 10 draws of 1/10
    again = GroupBootstrap(groups, n_resamples=500, seed=3)
    assert (np.concatenate(list(again.batches())) == weights).all()
