"""Figures of the side-by-side on outcomes small enough to count by hand."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from benchmarks.peers._metrics import Labels, Resampled, measure, pooled_ranks

WEAK = np.array([0.0, 0.0, 1.0, 1.0])
STRONG = np.array([1.0, 1.0, 1.0, 0.0])
IN_ORDER = np.array([4.0, 3.0, 2.0, 1.0])


def labels(
    weak: np.ndarray = WEAK,
    strong: np.ndarray = STRONG,
    tokens: tuple[float, float] | None = (10.0, 100.0),
) -> Labels:
    spent = (None, None) if tokens is None else tuple(np.full(len(weak), each) for each in tokens)
    return Labels(weak, strong, *spent, groups=np.arange(len(weak)))


def point(
    of: Labels, score: np.ndarray | None = None, is_strong: np.ndarray | None = None
) -> Resampled:
    return measure(of, score, None, is_strong, n_resamples=3).point


def test_area_and_calls_needed_are_those_counted_by_hand() -> None:
    # Recovered after each question: 1, 2, 2 and 1 times the gap of a quarter.
    found = point(labels(), IN_ORDER)
    assert found.apgr == pytest.approx(1.375)
    assert found.cpt50 == pytest.approx(0.125)
    assert found.cpt80 == pytest.approx(0.2)


def test_equal_scores_are_a_random_order() -> None:
    found = point(labels(), np.zeros(4))
    assert found.apgr == pytest.approx(0.5)
    assert found.headroom == pytest.approx(0.0)
    assert (found.cpt50, found.cpt80) == pytest.approx((0.5, 0.8))


def test_the_order_by_measured_gain_takes_all_of_the_headroom() -> None:
    assert point(labels(), STRONG - WEAK).headroom == pytest.approx(1.0)


def test_cpt_is_undefined_where_the_share_is_never_reached() -> None:
    found = point(labels(np.ones(2), np.zeros(2)), np.array([1.0, 0.0]))
    assert found.cpt50 == pytest.approx(0.5)  # of a gap below zero, which both calls lose
    losing = labels(np.array([0.0, 1.0, 1.0]), np.array([1.0, 0.0, 1.0]))
    assert np.isnan(point(losing, np.array([1.0, 2.0, 0.0])).apgr)  # no gap at all


def test_tokens_saved_where_both_arms_are_equally_good() -> None:
    same = np.array([1.0, 0.0])
    assert point(labels(same, same), np.zeros(2)).saved == pytest.approx(0.9)


def test_tokens_saved_by_chance_are_the_point_that_may_be_lost() -> None:
    # A random order loses one point of fifty when one question in fifty stays with the cheap arm.
    needed = labels(np.zeros(2), np.array([1.0, 0.0]))
    assert point(needed, np.zeros(2)).saved == pytest.approx(0.02 * 90 / 100)


def test_tokens_saved_by_knowing_who_needs_the_dear_arm() -> None:
    # The first two recover more than the gap; the point that may be lost spares no whole question.
    found = point(labels(), IN_ORDER)
    assert found.saved == pytest.approx((1 - 0.24) * 90 / 100)


def test_lift_is_measured_against_a_coin_with_the_same_share() -> None:
    found = point(labels(), is_strong=np.array([True, False, False, True]))
    assert (found.strong_share, found.accuracy) == (0.5, 0.5)
    assert found.lift == pytest.approx(0.5 - (0.5 + 0.5 * 0.25))
    assert found.default_saved == pytest.approx(180 / 400)


def test_figures_in_tokens_are_missing_where_tokens_were_not_recorded() -> None:
    found = point(labels(tokens=None), IN_ORDER)
    assert np.isnan([found.headroom, found.saved]).all()
    assert found.apgr == pytest.approx(1.375)


shares = st.sampled_from([0.0, 0.5, 1.0])


@given(
    arrays(np.float64, (12, 2), elements=shares),
    arrays(np.float64, 12, elements=st.sampled_from([0.0, 1.0, 2.0])),
    st.permutations(range(12)),
)
def test_figures_do_not_depend_on_the_order_of_the_rows(
    correct: np.ndarray, score: np.ndarray, order: list[int]
) -> None:
    of = labels(correct[:, 0], correct[:, 1])
    moved = labels(correct[order, 0], correct[order, 1])
    is_strong = score > 0
    assert point(of, score, is_strong) == pytest.approx(
        point(moved, score[order], is_strong[order]), nan_ok=True
    )


@given(
    arrays(np.float64, (12, 2), elements=shares),
    arrays(np.float64, 12, elements=st.integers(0, 5).map(float)),
)
def test_an_order_and_its_reverse_add_up_to_one(correct: np.ndarray, score: np.ndarray) -> None:
    of = labels(correct[:, 0], correct[:, 1])
    found, reverse = point(of, score), point(of, -score)
    if np.isfinite(found.apgr):
        assert found.apgr + reverse.apgr == pytest.approx(1.0)
    if np.isfinite(found.headroom):
        assert found.headroom <= 1.0 + 1e-9
        assert found.headroom == pytest.approx(-reverse.headroom)


def test_groups_are_resampled_whole() -> None:
    one_group = replace(labels(), groups=np.zeros(4, dtype=np.int64))
    low, high = measure(one_group, IN_ORDER, None, None, n_resamples=20).interval("apgr")[1:]
    assert (low, high) == pytest.approx((1.375, 1.375))
    rng = np.random.default_rng(0)
    correct = (rng.random((200, 2)) < (0.4, 0.6)).astype(float)
    score = rng.random(100).repeat(2)
    of = labels(correct[:, 0], correct[:, 1])
    single = measure(of, score, None, None).interval("apgr")
    paired = measure(replace(of, groups=np.arange(200) // 2), score, None, None).interval("apgr")
    assert single.value == paired.value
    assert single[1:] != paired[1:]


def test_a_router_minus_itself_is_zero_without_doubt() -> None:
    rng = np.random.default_rng(1)
    correct = (rng.random((300, 2)) < (0.4, 0.6)).astype(float)
    found = measure(labels(correct[:, 0], correct[:, 1]), rng.random(300), None, None)
    assert found.difference(found, "apgr") == (0.0, 0.0, 0.0)
    assert found.interval("apgr").low < 0.5 < found.interval("apgr").high


def test_only_the_order_within_a_fold_counts() -> None:
    folds = [np.array([3.0, 1.0, 2.0, 2.0]), np.array([0.5, 0.1])]
    ranks = pooled_ranks(folds)
    assert ranks == pytest.approx(pooled_ranks([folds[0] * 1000.0 - 7.0, folds[1]]))
    assert ranks.tolist() == [0.875, 0.125, 0.5, 0.5, 0.75, 0.25]
