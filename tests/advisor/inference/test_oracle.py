"""The oracle itself: known figures of the published table, simulations and closed forms."""

import numpy as np
import pytest
from scipy import integrate, special, stats

from tests.advisor.inference import oracle
from tests.advisor.inference.oracle import (
    FAMILIES,
    INTERIOR,
    MEASURED_NOISE,
    N_PARAMS,
    carried_by_kriging,
    carried_by_mean_offset,
    gain,
    published,
)

POINTS = 100


def test_published_gains_are_positive_in_28_of_40_cells() -> None:
    assert (gain(published()) > 0).sum() == 28


def test_leaving_one_size_out_misses_by_little_except_at_the_smallest_size() -> None:
    errors = abs(oracle.leave_one_size_out(published()) - published()) * POINTS
    by_size = errors.mean(axis=(0, 1, 2))
    assert errors[..., INTERIOR].mean() == pytest.approx(2.38, abs=0.005)
    assert by_size[4] == pytest.approx(2.33, abs=0.005)
    assert by_size[0] == pytest.approx(5.88, abs=0.005)
    assert errors[..., 0].max() > 15


def test_leaving_one_size_out_keeps_23_of_24_signs() -> None:
    right = np.sign(gain(oracle.leave_one_size_out(published()))) == np.sign(gain(published()))
    assert right[..., INTERIOR].sum() == 23
    assert right[..., [0, 4]].all()
    # The one miss is a gain of -0.2 points.
    assert abs(gain(published())[~right]).max() == pytest.approx(0.002)


def test_interpolated_gains_have_the_known_errors() -> None:
    errors = gain(oracle.leave_one_size_out(published())) - gain(published())
    errors = errors[..., INTERIOR].ravel() * POINTS
    assert abs(errors).mean() == pytest.approx(3.42, abs=0.005)
    assert errors.std() == pytest.approx(4.64, abs=0.005)
    assert abs(errors).max() == pytest.approx(9.66, abs=0.005)


def test_conformal_intervals_decide_half_of_the_cells_and_are_right() -> None:
    judged = oracle.leave_pair_out(published())
    assert (judged.n_decided, judged.n_right, judged.n) == (12, 12, 24)
    assert judged.coverage == pytest.approx(22 / 24)
    assert judged.half_width * POINTS == pytest.approx(8.52, abs=0.005)


def test_conformal_quantile_covers_at_its_level_for_exchangeable_errors() -> None:
    rng = np.random.default_rng(1)
    draws = abs(rng.standard_t(3, (4000, 22)))
    covered = [row[-1] <= oracle.conformal_quantile(row[:-1].tolist()) for row in draws]
    # Rank 20 of 21: exactly 20/22; 0.014 is three standard errors of the simulation.
    assert np.mean(covered) == pytest.approx(20 / 22, abs=0.014)


def test_conformal_quantile_is_infinite_where_there_are_too_few_errors() -> None:
    assert oracle.conformal_quantile([0.1] * 8) == np.inf
    assert oracle.conformal_quantile([0.1] * 9) == 0.1


def test_signs_of_another_corpus_are_right_in_24_of_40_cells() -> None:
    shares = oracle.right_signs(oracle.prior_alone())
    assert shares.tolist() == [0.25, 0.75, 0.5, 0.75, 0.75]


def test_one_measured_pair_repairs_the_signs_of_larger_sizes_not_of_smaller_ones() -> None:
    shares = np.array(
        [
            oracle.right_signs(oracle.transferred(carried_by_mean_offset, [size]))
            for size in range(5)
        ]
    )
    upward = shares[np.triu_indices(5, 1)].reshape(-1)
    assert shares[0, 1:].tolist() == [1, 1, 1, 1]
    assert (upward == 1).all()
    assert shares[4, :4].tolist() == [0.375, 0.625, 0.5, 0.875]
    assert shares[1, 0] == 0.75


def test_noise_of_a_measured_pair_costs_few_signs() -> None:
    rng = np.random.default_rng(1)
    shares = np.mean(
        [
            oracle.right_signs(oracle.transferred(carried_by_mean_offset, [0], MEASURED_NOISE, rng))
            for _ in range(400)
        ],
        axis=0,
    )
    # 0.01 is about three standard errors of 400 repeats of 8 decisions.
    assert shares[1:] == pytest.approx([0.955, 0.95, 0.97, 1.0], abs=0.012)


def test_offsets_that_fade_with_distance_miss_less() -> None:
    flat = oracle.transferred(carried_by_mean_offset, [0]) - gain(published())
    fading = oracle.transferred(carried_by_kriging, [0]) - gain(published())
    assert abs(flat[..., 1:]).mean() * POINTS == pytest.approx(7.33, abs=0.005)
    assert abs(fading[..., 1:]).mean() * POINTS == pytest.approx(3.78, abs=0.005)


def test_kriging_returns_what_was_measured_without_noise() -> None:
    accuracy = published()
    carried = carried_by_kriging(accuracy[0], accuracy[1][..., [0, 2]], [0, 2])
    assert carried[..., [0, 2]] == pytest.approx(accuracy[1][..., [0, 2]])


def test_always_the_same_arm_has_the_known_regret() -> None:
    gains = gain(published()) * POINTS
    every = np.ones(gains.shape, dtype=bool)
    reasoning = oracle.regret(every, gains).mean(axis=(0, 1))
    ift = oracle.regret(~every, gains).mean(axis=(0, 1))
    assert reasoning == pytest.approx([7.26, 2.60, 1.46, 0.76, 0.20], abs=0.006)
    assert ift == pytest.approx([2.80, 7.93, 7.65, 11.41, 10.43], abs=0.006)


@pytest.mark.parametrize("trace_ratio", [5, 8, 10, 12, 20])
def test_training_front_holds_the_large_reasoning_models_everywhere(trace_ratio: float) -> None:
    ift = ["I0.5B", "I1.5B", "I3B", "I7B", "I14B"]
    more = {
        "General-OE": ["R0.5B"] * (trace_ratio == 5) + ["R1.5B"] * (trace_ratio <= 8),
        "Math-OE": ["R3B"],
    }
    for index, family in enumerate(FAMILIES):
        expected = {*ift, *more.get(family, []), "R7B", "R14B"}
        assert set(oracle.training_front(0, index, trace_ratio)) == expected


def test_a_larger_ift_model_dominates_reasoning_at_3b_when_traces_are_five_times_longer() -> None:
    accuracy = published()[0, FAMILIES.index("General-OE")]
    assert accuracy[oracle.IFT, 4] > accuracy[oracle.REASONING, 2]
    assert N_PARAMS[4] / N_PARAMS[2] == pytest.approx(4.79, abs=0.005)


@pytest.mark.parametrize(("mean", "sd"), [(0.0, 1.0), (2.0, 5.2), (-3.0, 1.5), (6.0, 2.0)])
def test_expected_regret_is_the_integral_of_what_is_lost(mean: float, sd: float) -> None:
    x = np.linspace(mean - 12 * sd, mean + 12 * sd, 400_001)
    lost = np.maximum(-x if mean >= 0 else x, 0) * stats.norm.pdf(x, mean, sd)
    assert oracle.expected_regret(mean, sd) == pytest.approx(
        float(integrate.trapezoid(lost, x)), abs=1e-8
    )


@pytest.mark.parametrize(("mean", "expected"), [(2.0, 1.04), (5.0, 0.34), (12.0, 0.01)])
def test_value_of_a_measurement_is_what_simulated_deciders_gain(
    mean: float, expected: float
) -> None:
    sd, stderr = 5.2, 2.5
    rng = np.random.default_rng(3)
    truth = rng.normal(mean, sd, 400_000)
    seen = truth + rng.normal(0, stderr, truth.shape)
    updated = (mean / sd**2 + seen / stderr**2) / (1 / sd**2 + 1 / stderr**2)
    gained = np.where(updated > 0, truth, 0).mean() - max(np.where(mean > 0, truth, 0).mean(), 0)
    assert oracle.evsi(mean, sd, stderr) == pytest.approx(expected, abs=0.005)
    assert oracle.evsi(mean, sd, stderr) == pytest.approx(gained, abs=0.02)


def test_value_of_a_measurement_elsewhere_falls_with_the_correlation() -> None:
    rng = np.random.default_rng(4)
    mean, sd, stderr, correlation = 2.0, 5.0, 2.0, 0.6
    truth, elsewhere = rng.multivariate_normal(
        [mean, 0], sd**2 * np.array([[1, correlation], [correlation, 1]]), 400_000
    ).T
    seen = elsewhere + rng.normal(0, stderr, truth.shape)
    updated = mean + correlation * sd**2 / (sd**2 + stderr**2) * seen
    gained = np.where(updated > 0, truth, 0).mean() - truth.mean()
    assert oracle.evsi(mean, sd, stderr, correlation) == pytest.approx(gained, abs=0.02)


@pytest.mark.parametrize(("effect", "n"), [(0.05, 737), (0.03, 2056), (0.10, 180)])
def test_sample_size_gives_a_paired_test_80_percent_power(effect: float, n: int) -> None:
    assert abs(oracle.questions_needed(effect) - n) <= 1  # printed with rounded quantiles
    rng = np.random.default_rng(5)
    only_b = (0.3 + effect) / 2
    counts = rng.multinomial(n, [only_b, 0.3 - only_b, 0.7], size=20_000)
    better, worse = counts[:, 0], counts[:, 1]
    # One-sided exact McNemar with half of the tie, which is nearer to its level.
    p = stats.binom.sf(better, better + worse, 0.5)
    p += 0.5 * stats.binom.pmf(better, better + worse, 0.5)
    assert (p <= 0.05).mean() == pytest.approx(0.80, abs=0.02)


def test_logit_normal_interval_holds_its_share_of_draws() -> None:
    p, stderr = 0.93, 0.4
    rng = np.random.default_rng(6)
    drawn = special.expit(rng.normal(special.logit(p), stderr, 200_000))
    assert oracle.logit_normal_interval(p, stderr) == pytest.approx(
        tuple(np.quantile(drawn, [0.05, 0.95])), abs=0.002
    )


@pytest.mark.parametrize(("aime", "expected"), [(0.05, 1.6), (0.2, 2.6), (0.4, 3.1)])
def test_thirty_questions_of_aime_rule_the_error_of_a_family(aime: float, expected: float) -> None:
    stderr = oracle.family_stderr([0.7, 0.4, aime], [1319, 500, 30])
    assert stderr * POINTS == pytest.approx(expected, abs=0.05)


def test_variance_components_are_recovered_from_simulated_series() -> None:
    rng = np.random.default_rng(7)
    series = rng.normal(0, 0.15**0.5, (4000, 1)) + rng.normal(0, 0.05**0.5, (4000, 5))
    assert oracle.variance_components(series) == pytest.approx((0.15, 0.05), abs=0.012)


def test_offsets_between_the_corpora_shrink_with_size() -> None:
    z = oracle.logit(published())
    spread = abs(gain(z[1] - z[0])).mean(axis=0)
    assert spread[0] > 1.0
    assert (spread[2:] < 0.46).all()
