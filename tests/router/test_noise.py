"""What noise does to an oracle, and to the look of calibration."""

import numpy as np
import pytest
from numpy.typing import NDArray

from router.evaluation._crossfit import Foresight
from router.evaluation._metrics import Pair
from router.evaluation._noise import NoiseCeiling, Repeats, noise_ceiling
from router.evaluation._reliability import reliability, reliability_tables
from router.evaluation._resampling import GroupBootstrap

N, REPEATS = 1500, 10
Floats = NDArray[np.float64]


def ceiling_of(truth: Floats, n_samples: int, known: Floats | None = None) -> NoiseCeiling:
    """Sample a world with these probabilities; the router knows `known`, or nothing."""
    rng = np.random.default_rng(4)
    correct = rng.binomial(n_samples, truth) / n_samples
    tokens = np.tile([10.0, 110.0], (len(truth), 1))
    p = np.full_like(truth, 0.5) if known is None else known
    pair = Pair(
        ("a", "b"), p[:, 1] - p[:, 0], np.full(len(truth), 100.0), correct, tokens, np.arange(N)
    )
    counts = np.full(truth.shape, n_samples)
    return noise_ceiling(pair, counts, Foresight(p, tokens, tokens), seed=0)


def test_where_all_is_chance_nothing_can_be_reached() -> None:
    ceiling = ceiling_of(np.full((N, 2), 0.5), REPEATS)
    assert ceiling.headroom == pytest.approx(0.0, abs=0.05)
    assert ceiling.headroom_halves == pytest.approx(0.0, abs=0.05)
    assert ceiling.method == "sample-splitting"
    assert ceiling.n_samples == REPEATS


def test_where_nothing_is_chance_all_can_be_reached() -> None:
    truth = (np.random.default_rng(0).random((N, 2)) < 0.5).astype(float)
    ceiling = ceiling_of(truth, REPEATS, known=np.clip(truth, 0.1, 0.9))
    assert ceiling.headroom == pytest.approx(1.0, abs=0.01)
    assert ceiling.captured == pytest.approx(1.0, abs=0.01)


def test_the_ceiling_is_just_below_what_the_true_probabilities_capture() -> None:
    truth = np.random.default_rng(1).beta(0.6, 0.6, (N, 2))
    ceiling = ceiling_of(truth, REPEATS, known=truth)
    assert ceiling.headroom is not None
    assert ceiling.headroom_halves is not None
    assert ceiling.captured is not None
    assert ceiling.headroom_halves < ceiling.headroom < 1.0
    # The router of this world is the perfect knower: the bound is below it, and not far.
    assert 1.0 <= ceiling.captured < 1.1


def test_without_repeats_the_ceiling_is_not_made_up() -> None:
    truth = np.random.default_rng(1).beta(0.6, 0.6, (N, 2))
    ceiling = ceiling_of(truth, 1, known=truth)
    assert ceiling.headroom is None
    assert ceiling.captured is None
    assert ceiling.method == "none"
    assert "two samples" in ceiling.reason
    assert ceiling.headroom_if_p_is_all is not None
    assert 0.2 < ceiling.headroom_if_p_is_all < 1.0


def test_parts_of_the_samples_are_disjoint_and_complete() -> None:
    repeats = Repeats.of(np.array([[0.25, 1.0], [0.5, 0.0]]), np.full((2, 2), 4))
    assert repeats is not None
    for chosen, judged in repeats.splits(seed=0, is_half=True):
        assert (2 * chosen + 2 * judged == repeats.n_correct).all()
    for chosen, judged in repeats.splits(seed=0, is_half=False):
        assert (3 * chosen + judged).round(9).tolist() == repeats.n_correct.tolist()


def test_means_of_graded_scores_are_no_repeats() -> None:
    assert Repeats.of(np.array([[0.33]]), np.array([[2]])) is None
    assert Repeats.of(np.array([[0.5]]), np.array([[1]])) is None
    assert Repeats.of(np.zeros((0, 2)), np.zeros((0, 2), dtype=np.int64)) is None


def test_right_probabilities_look_as_wrong_as_noise_does() -> None:
    rng = np.random.default_rng(2)
    n = 2000
    errors, noise = [], []
    for _ in range(40):
        p = rng.beta(2.0, 1.0, n)
        table = reliability("arm", p, (rng.random(n) < p).astype(float), np.arange(n), n)
        errors.append(table.ece)
        noise.append(table.ece_of_noise)
    assert np.mean(errors) == pytest.approx(np.mean(noise), rel=0.1)


def test_wrong_probabilities_are_found_out() -> None:
    rng = np.random.default_rng(3)
    p = rng.uniform(0.2, 0.7, 2000)
    outcome = (rng.random(2000) < p + 0.1).astype(float)
    table = reliability("arm", p, outcome, np.arange(2000), 2000)
    assert table.ece == pytest.approx(0.1, abs=0.03)
    assert table.ece > 2 * table.ece_of_noise_high
    assert [row.n for row in table.bins] == [200] * 10
    assert all(row.ci_low <= row.accuracy <= row.ci_high for row in table.bins)


def test_calibration_error_of_one_bin_by_hand() -> None:
    outcome = np.array([1.0, 1.0, 0.0, 0.0])
    table = reliability("arm", np.full(4, 0.7), outcome, np.arange(4), 4)
    assert len(table.bins) == 1
    assert table.ece == pytest.approx(0.2)


def test_gaps_are_left_out_of_calibration() -> None:
    correct = np.array([[1.0, np.nan], [0.0, 1.0], [1.0, 1.0]])
    groups = GroupBootstrap(["a", "b", "c"], n_resamples=100, seed=0)
    tables = reliability_tables(["x", "y"], np.full((3, 2), 0.5), correct, groups)
    assert [(table.arm, table.n) for table in tables] == [("all arms", 5), ("x", 3), ("y", 2)]
