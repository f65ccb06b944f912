"""Figures of one corpus used for another: refused alone, repaired by one measured pair."""

import math
from collections.abc import Iterator, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from advisor.inference import (
    CONFIDENCE_LEVEL,
    NO_ESTIMATE,
    Estimate,
    Measured,
    between_own,
    choose,
    gain_at,
    leave_one_size_out_errors,
    prior_gain,
    transfer_errors,
    transferred,
)
from calibration.published import PublishedCorpus
from policies import ModelSize
from tests.advisor.inference import oracle
from tests.advisor.inference.worlds import (
    CORPORA,
    SIZES,
    TABLE,
    TASK_TYPES,
    ends,
    half_width,
    only,
    other,
    pair,
    value,
    with_accuracies,
)

TOLERANCE = 0.01
accuracies = st.floats(0.05, 0.95)
upward = st.sampled_from([(a, b) for a, b in product(SIZES, SIZES) if a < b])


def truth(corpus: PublishedCorpus, task_type: str, size: ModelSize) -> tuple[float, float]:
    """Return the printed (ift, reasoning)."""
    return (
        TABLE.find(corpus, task_type, size, "ift").accuracy,
        TABLE.find(corpus, task_type, size, "reasoning").accuracy,
    )


def true_gain(corpus: PublishedCorpus, task_type: str, size: ModelSize) -> float:
    ift, reasoning = truth(corpus, task_type, size)
    return reasoning - ift


def carried(
    own: PublishedCorpus, task_type: str, size: ModelSize, pairs: Sequence[Measured]
) -> Estimate:
    """Return the gain for a user whose corpus is `own` and who only knows the other one."""
    return transferred(TABLE, [other(own)], task_type, size, pairs)[2]


class Case(NamedTuple):
    """One corpus, task type, measured size and larger target."""

    own: PublishedCorpus
    task_type: str
    small: ModelSize
    large: ModelSize

    @property
    def gain(self) -> float:
        return true_gain(self.own, self.task_type, self.large)


def cases() -> Iterator[Case]:
    for own, task_type, small, large in product(CORPORA, TASK_TYPES, SIZES, SIZES):
        if small < large:
            yield Case(own, task_type, small, large)


# ------------------------------------------------------------------ without a measured pair


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_another_corpus_alone_decides_nothing(size: ModelSize) -> None:
    for own, task_type in product(CORPORA, TASK_TYPES):
        assert transferred(TABLE, [other(own)], task_type, size, []) == (NO_ESTIMATE,) * 3
        choice = choose(carried(own, task_type, size, []), tolerance=TOLERANCE)
        assert choice.side == "abstain"
        assert choice.regret is None


@pytest.mark.parametrize("size", [*SIZES, ModelSize.parse("4B")], ids=str)
def test_what_another_corpus_says_is_no_reason_to_act(size: ModelSize) -> None:
    """It tells what to fall back on; as a decision it was right in 24 of 40 cases."""
    for own, task_type in product(CORPORA, TASK_TYPES):
        prior = prior_gain(TABLE, [other(own)], task_type, size)
        choice = choose(prior, tolerance=TOLERANCE, prefer_cheap=False)
        assert choice.side == "abstain"
        assert not choice.is_shown
        assert choice.regret is not None
        assert choice.regret > TOLERANCE
        assert choice.fallback == ("reasoning" if value(prior) > 0 else "ift")


def test_interval_of_another_corpus_covers_the_printed_gain() -> None:
    covered = [
        low <= true_gain(own, task_type, size) <= high
        for own, task_type, size in product(CORPORA, TASK_TYPES, SIZES)
        for low, high in [ends(prior_gain(TABLE, [other(own)], task_type, size))]
    ]
    assert np.mean(covered) >= CONFIDENCE_LEVEL


def test_a_pair_at_a_larger_size_alone_decides_nothing() -> None:
    for case in cases():
        own = pair(case.large, *truth(case.own, case.task_type, case.large))
        assert carried(case.own, case.task_type, case.small, [own]) == NO_ESTIMATE


@pytest.mark.parametrize("size", ["200M", "32B"])
def test_nothing_is_carried_beyond_the_printed_sizes(size: str) -> None:
    own = pair(SIZES[0], 0.3, 0.4)
    assert carried("general", "math-oe", ModelSize.parse(size), [own]) == NO_ESTIMATE


# ------------------------------------------------------------------ with one


def test_one_pair_gives_the_right_sign_at_larger_sizes() -> None:
    right = [
        _carry(case).value is not None and value(_carry(case)) * case.gain > 0 for case in cases()
    ]
    assert len(right) == 80
    assert np.mean(right) >= 0.975


def test_a_pair_at_the_smallest_size_gives_every_sign_above_it() -> None:
    for case in cases():
        if case.small == SIZES[0]:
            assert value(_carry(case)) * case.gain > 0, case


def test_carrying_misses_by_less_than_the_flat_mean_offset_of_the_oracle() -> None:
    errors = np.array([value(_carry(case)) - case.gain for case in cases()])
    flat = oracle.transferred
    reference = np.concatenate(
        [
            (flat(oracle.carried_by_mean_offset, [small]) - oracle.gain(oracle.published()))[
                ..., small + 1 :
            ].ravel()
            for small in range(4)
        ]
    )
    assert reference.shape == errors.shape
    assert np.sqrt((reference**2).mean()) == pytest.approx(0.078, abs=0.0005)
    assert np.sqrt((errors**2).mean()) <= 0.05


def test_stated_errors_are_those_that_carrying_makes() -> None:
    errors = sorted(abs(value(_carry(case)) - case.gain) for case in cases())
    assert transfer_errors(TABLE) == pytest.approx(errors, abs=2e-6)


def test_intervals_cover_task_families_that_their_quantile_never_saw() -> None:
    """Also: no decision is wrong, and there are decisions."""
    covered: list[bool] = []
    decided = wrong = 0
    for task_type in TASK_TYPES:
        rest = only(lambda row, left_out=task_type: row.task_type != left_out)
        half = oracle.conformal_quantile(transfer_errors(rest), CONFIDENCE_LEVEL)
        for case in cases():
            if case.task_type == task_type:
                guess = value(_carry(case))
                covered.append(abs(guess - case.gain) <= half)
                decided += abs(guess) > half
                wrong += abs(guess) > half and guess * case.gain < 0
    assert np.mean(covered) >= 0.85
    assert wrong == 0
    assert decided >= 40


@pytest.mark.parametrize("n_questions", [300, 740, 2000])
def test_intervals_cover_when_the_user_asks_so_many_questions(n_questions: int) -> None:
    """Questions are drawn, so that offsets carry sampling error."""
    rng = np.random.default_rng(n_questions)
    covered: list[bool] = []
    wrong = decided = 0
    for case in cases():
        if case.small not in SIZES[:2]:
            continue
        for _ in range(12):
            ift, reasoning = truth(case.own, case.task_type, case.small)
            own = pair(
                case.small,
                rng.binomial(n_questions, ift) / n_questions,
                rng.binomial(n_questions, reasoning) / n_questions,
                n_questions,
            )
            got = carried(case.own, case.task_type, case.large, [own])
            low, high = ends(got)
            covered.append(low <= case.gain <= high)
            choice = choose(got, tolerance=TOLERANCE)
            decided += choice.is_shown
            wrong += choice.is_shown and value(got) * case.gain < 0
    assert np.mean(covered) >= 0.85
    assert wrong <= 0.01 * decided
    assert decided >= 0.3 * len(covered)


def test_fewer_questions_never_narrow_the_interval() -> None:
    for case in cases():
        own = truth(case.own, case.task_type, case.small)
        widths = [
            half_width(carried(case.own, case.task_type, case.large, [pair(case.small, *own, n)]))
            for n in (100, 400, 10_000, None)
        ]
        assert widths == sorted(widths, reverse=True)


# ------------------------------------------------------------------ with more than one


def test_more_pairs_below_the_target_do_not_hurt() -> None:
    def rms(chosen: Sequence[int]) -> float:
        errors = [
            value(carried(own, task_type, SIZES[target], _own_pairs(own, task_type, chosen)))
            - true_gain(own, task_type, SIZES[target])
            for own, task_type, target in product(CORPORA, TASK_TYPES, (3, 4))
        ]
        return float(np.sqrt(np.mean(np.square(errors))))

    alone = [rms([0]), rms([1]), rms([2])]
    assert rms([0, 1, 2]) <= np.mean(alone)
    # With the offsets at full strength two small pairs miss by twice as much as one.
    assert rms([0, 1]) <= 1.2 * max(alone[:2])


@pytest.mark.parametrize("target", [2, 3])
def test_pairs_on_both_sides_give_what_the_published_curve_of_that_corpus_gives(
    target: int,
) -> None:
    """Whoever measured both neighbours has no use for another corpus."""
    expected = oracle.gain(oracle.leave_one_size_out(oracle.published()))
    for own, task_type in product(CORPORA, TASK_TYPES):
        pairs = _own_pairs(own, task_type, [target - 1, target + 1])
        got = between_own(TABLE, SIZES[target], pairs)
        where = CORPORA.index(own), TASK_TYPES.index(task_type), target
        assert value(got[2]) == pytest.approx(expected[where], abs=1e-5)
        assert value(got[2]) == pytest.approx(value(got[1]) - value(got[0]), abs=2e-6)
        assert half_width(got[2]) == pytest.approx(
            oracle.conformal_quantile(leave_one_size_out_errors(TABLE, gains=True)), abs=1e-5
        )


def test_intervals_between_own_pairs_cover_and_no_shown_sign_is_wrong() -> None:
    rng = np.random.default_rng(21)
    n = 740
    covered: list[bool] = []
    wrong = decided = 0
    for own, task_type, target in product(CORPORA, TASK_TYPES, (2, 3)):
        gain = true_gain(own, task_type, SIZES[target])
        for _ in range(10):
            pairs = [
                pair(
                    SIZES[s],
                    rng.binomial(n, truth(own, task_type, SIZES[s])[0]) / n,
                    rng.binomial(n, truth(own, task_type, SIZES[s])[1]) / n,
                    n,
                )
                for s in (target - 1, target + 1)
            ]
            got = between_own(TABLE, SIZES[target], pairs)[2]
            low, high = ends(got)
            covered.append(low <= gain <= high)
            shown = choose(got, tolerance=TOLERANCE).is_shown
            decided += shown
            wrong += shown and value(got) * gain < 0
    assert np.mean(covered) >= 0.85
    assert decided >= 0.3 * len(covered)
    assert wrong == 0


@pytest.mark.parametrize(
    ("sizes", "asked"),
    [([0, 4], "3B"), ([0, 1], "3B"), ([3, 4], "3B"), ([2], "3B"), ([], "3B"), ([0, 2], "1.5B")],
)
def test_own_pairs_far_apart_or_on_one_side_are_not_interpolated(
    sizes: list[int], asked: str
) -> None:
    pairs = _own_pairs("general", "math-oe", sizes)
    assert between_own(TABLE, ModelSize.parse(asked), pairs) == (NO_ESTIMATE,) * 3


def test_pairs_above_the_target_change_nothing_that_is_carried() -> None:
    for case in cases():
        below = _own_pairs(case.own, case.task_type, [SIZES.index(case.small)])
        above = _own_pairs(case.own, case.task_type, [s for s in range(5) if SIZES[s] > case.large])
        alone = transferred(TABLE, [other(case.own)], case.task_type, case.large, below)
        assert alone == transferred(
            TABLE, [other(case.own)], case.task_type, case.large, [*below, *above]
        )


# ------------------------------------------------------------------ properties


@given(own=st.sampled_from(CORPORA), task_type=st.sampled_from(TASK_TYPES), sizes=upward)
def test_a_user_like_the_published_corpus_gets_its_figures_back(
    own: PublishedCorpus, task_type: str, sizes: tuple[ModelSize, ModelSize]
) -> None:
    small, large = sizes
    same = pair(small, *truth(other(own), task_type, small))
    got = transferred(TABLE, [other(own)], task_type, large, [same])
    expected = truth(other(own), task_type, large)
    assert [value(e) for e in got[:2]] == pytest.approx(expected, abs=2e-6)
    printed = value(gain_at(TABLE, other(own), task_type, large))
    assert value(got[2]) == pytest.approx(printed, abs=4e-6)


@given(
    task_type=st.sampled_from(TASK_TYPES),
    sizes=upward,
    ift=accuracies,
    reasoning=accuracies,
    more=st.floats(0, 0.04),
)
def test_a_better_measured_arm_is_expected_to_be_better_above(
    task_type: str,
    sizes: tuple[ModelSize, ModelSize],
    ift: float,
    reasoning: float,
    more: float,
) -> None:
    small, large = sizes
    one = transferred(TABLE, ["general"], task_type, large, [pair(small, ift, reasoning)])
    two = transferred(TABLE, ["general"], task_type, large, [pair(small, ift, reasoning + more)])
    assert value(two[0]) == value(one[0])
    assert value(two[1]) >= value(one[1])
    assert value(two[2]) >= value(one[2]) - 2e-6


@given(task_type=st.sampled_from(TASK_TYPES), sizes=upward, ift=accuracies, reasoning=accuracies)
def test_swapping_the_arms_turns_the_carried_gain_around(
    task_type: str, sizes: tuple[ModelSize, ModelSize], ift: float, reasoning: float
) -> None:
    small, large = sizes
    here = transferred(TABLE, ["general"], task_type, large, [pair(small, ift, reasoning, 500)])
    there = transferred(SWAPPED, ["general"], task_type, large, [pair(small, reasoning, ift, 500)])
    low, high = ends(here[2])
    assert value(there[2]) == pytest.approx(-value(here[2]), abs=4e-6)
    assert ends(there[2]) == pytest.approx((-high, -low), abs=4e-6)


SWAPPED = with_accuracies(oracle.published()[:, :, ::-1])


@given(
    task_type=st.sampled_from(TASK_TYPES),
    pairs=st.lists(
        st.tuples(st.sampled_from(SIZES), accuracies, accuracies, st.integers(20, 5000)),
        min_size=1,
        max_size=4,
        unique_by=lambda drawn: drawn[0],
    ),
    target=st.integers(500_000_000, 14_000_000_000).map(ModelSize),
)
def test_carried_figures_stay_in_range_and_name_their_cells(
    task_type: str, pairs: list[tuple[ModelSize, float, float, int]], target: ModelSize
) -> None:
    own = [pair(*drawn) for drawn in pairs]
    got = transferred(TABLE, CORPORA, task_type, target, own)
    again = transferred(TABLE, CORPORA, task_type, target, own[::-1])
    if all(estimate.value is None for estimate in got):
        assert got == (NO_ESTIMATE,) * 3
        return
    known = {row.id for row in TABLE.rows} | {"own"}
    for estimate, floor in zip(got, (0, 0, -1), strict=True):
        low, high = ends(estimate)
        assert floor <= low <= value(estimate) <= high <= 1
        assert math.isfinite(value(estimate))
        assert estimate.refs
        assert {ref.id for ref in estimate.refs} <= known
    # Each value is rounded to 6 places.
    assert [value(e) for e in again] == pytest.approx([value(e) for e in got], abs=2e-6)


def _own_pairs(own: PublishedCorpus, task_type: str, chosen: Sequence[int]) -> list[Measured]:
    return [pair(SIZES[s], *truth(own, task_type, SIZES[s])) for s in chosen]


def _carry(case: Case) -> Estimate:
    own = pair(case.small, *truth(case.own, case.task_type, case.small))
    return carried(case.own, case.task_type, case.large, [own])
