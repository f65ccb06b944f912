"""Interpolation between published sizes, against the oracle and where the truth is known."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from advisor.inference import (
    CONFIDENCE_LEVEL,
    NO_ESTIMATE,
    accuracy_at,
    choose,
    gain_at,
    interpolate,
    leave_one_size_out_errors,
    nominal_size,
    within_range,
)
from calibration.published import PublishedCorpus, PublishedTable
from policies import ModelSize
from tests.advisor.inference import oracle
from tests.advisor.inference.worlds import (
    CORPORA,
    INNER,
    RECIPES,
    SIZES,
    TABLE,
    TASK_TYPES,
    as_array,
    ends,
    half_width,
    only,
    value,
    with_accuracies,
    without_size,
)

CELLS = tuple(product(CORPORA, TASK_TYPES))
accuracies = st.floats(0.02, 0.98)
sizes = st.integers(500_000_000, 14_000_000_000).map(ModelSize)


def test_table_and_oracle_read_the_same_figures() -> None:
    assert as_array(TABLE) == pytest.approx(oracle.published(), abs=1e-12)


def test_each_left_out_size_is_predicted_as_the_oracle_predicts_it() -> None:
    expected = oracle.leave_one_size_out(oracle.published())
    for (corpus, task_type), recipe, size in product(CELLS, RECIPES, INNER):
        got = accuracy_at(without_size(size), corpus, task_type, recipe, size)
        where = CORPORA.index(corpus), TASK_TYPES.index(task_type), RECIPES.index(recipe)
        assert got.basis == "interpolated"
        assert value(got) == pytest.approx(expected[(*where, SIZES.index(size))], abs=1e-5)


def test_errors_of_left_out_sizes_are_those_of_the_oracle() -> None:
    published = oracle.published()
    predicted = oracle.leave_one_size_out(published)
    gains = abs(oracle.gain(predicted) - oracle.gain(published))[..., oracle.INTERIOR]
    logits = abs(oracle.logit(predicted) - oracle.logit(published))[..., oracle.INTERIOR]
    assert leave_one_size_out_errors(TABLE, gains=True) == pytest.approx(np.sort(gains.ravel()))
    assert leave_one_size_out_errors(TABLE) == pytest.approx(np.sort(logits.ravel()))


def test_interval_between_sizes_is_the_conformal_quantile_of_left_out_sizes() -> None:
    gains = leave_one_size_out_errors(TABLE, gains=True)
    half = oracle.conformal_quantile(gains, CONFIDENCE_LEVEL)
    assert half == pytest.approx(0.085, abs=0.002)
    for corpus, task_type in CELLS:
        got = gain_at(TABLE, corpus, task_type, ModelSize.parse("4B"))
        assert half_width(got) >= half - 1e-5
        if task_type != "math-oe":  # whose few questions err more than interpolation does
            assert half_width(got) == pytest.approx(half, abs=1e-5)


# ------------------------------------------------------------------ what it is worth


def test_left_out_sizes_have_the_right_sign_and_no_confident_decision_is_wrong() -> None:
    right = decided = wrong = 0
    for (corpus, task_type), size in product(CELLS, INNER):
        truth = value(gain_at(TABLE, corpus, task_type, size))
        guess = gain_at(without_size(size), corpus, task_type, size)
        right += math.copysign(1, value(guess)) == math.copysign(1, truth)
        choice = choose(guess, tolerance=0.01)
        if choice.is_shown:
            decided += 1
            wrong += choice.side != ("reasoning" if truth > 0 else "ift")
    assert right / 24 >= 0.9
    assert wrong == 0
    # An advisor that always abstains would pass the two lines above.
    assert decided >= 6


def test_intervals_of_left_out_sizes_cover_the_printed_figure() -> None:
    gains: list[bool] = []
    arms: list[bool] = []
    for (corpus, task_type), size in product(CELLS, INNER):
        smaller_table = without_size(size)
        low, high = ends(gain_at(smaller_table, corpus, task_type, size))
        gains.append(low <= value(gain_at(TABLE, corpus, task_type, size)) <= high)
        for recipe in RECIPES:
            low, high = ends(accuracy_at(smaller_table, corpus, task_type, recipe, size))
            truth = value(accuracy_at(TABLE, corpus, task_type, recipe, size))
            arms.append(low <= truth <= high)
    assert np.mean(gains) >= 0.85
    assert np.mean(arms) >= 0.85


def test_intervals_cover_families_that_their_quantile_never_saw() -> None:
    covered: list[bool] = []
    decided = wrong = 0
    for corpus, task_type in CELLS:
        rest = only(lambda row, own=(corpus, task_type): (row.corpus, row.task_type) != own)
        half = oracle.conformal_quantile(_errors_by_curve(rest), CONFIDENCE_LEVEL)
        for size in INNER:
            truth = value(gain_at(TABLE, corpus, task_type, size))
            guess = value(gain_at(without_size(size), corpus, task_type, size))
            covered.append(abs(guess - truth) <= half)
            decided += abs(guess) > half
            wrong += abs(guess) > half and guess * truth < 0
    assert np.mean(covered) >= 0.85
    assert decided >= 10
    assert wrong == 0


def _errors_by_curve(table: PublishedTable) -> list[float]:
    """Return errors of gains where not every corpus has every family any more."""
    errors: list[float] = []
    for corpus, task_type in CELLS:
        part = only(lambda row, own=(corpus, task_type): (row.corpus, row.task_type) == own, table)
        if part.rows:
            errors += leave_one_size_out_errors(part, gains=True)
    return errors


# ------------------------------------------------------------------ where nothing is known


@pytest.mark.parametrize("size", ["100M", "480M", "16B", "32B", "70B"])
def test_nothing_is_said_outside_the_printed_sizes(size: str) -> None:
    asked = ModelSize.parse(size)
    assert not within_range(TABLE, asked)
    for (corpus, task_type), recipe in product(CELLS, RECIPES):
        assert accuracy_at(TABLE, corpus, task_type, recipe, asked) == NO_ESTIMATE
        assert gain_at(TABLE, corpus, task_type, asked) == NO_ESTIMATE


def test_the_ends_are_not_extrapolated_to_when_they_are_left_out() -> None:
    for size, (corpus, task_type) in product((SIZES[0], SIZES[-1]), CELLS):
        assert gain_at(without_size(size), corpus, task_type, size) == NO_ESTIMATE


def test_nothing_is_said_about_a_task_type_without_figures() -> None:
    assert gain_at(TABLE, "general", "code-oe", ModelSize.parse("3B")) == NO_ESTIMATE


def test_the_true_parameter_count_of_a_student_means_that_student() -> None:
    for printed, exact in zip(SIZES, oracle.N_PARAMS, strict=True):
        assert nominal_size(TABLE, ModelSize(int(exact))) == printed
        asked = gain_at(TABLE, "general", "math-oe", ModelSize(int(exact)))
        assert asked == gain_at(TABLE, "general", "math-oe", printed)
        assert asked.basis == "measured"


# ------------------------------------------------------------------ properties


@given(low=accuracies, high=accuracies, size=sizes)
def test_interpolated_value_lies_between_its_neighbours(
    low: float, high: float, size: ModelSize
) -> None:
    assume(SIZES[0] < size < SIZES[-1])
    got = interpolate({SIZES[0]: low, SIZES[-1]: high}, size)
    assert min(low, high) - 1e-12 <= got <= max(low, high) + 1e-12


@given(low=accuracies, high=accuracies, more=st.floats(0, 0.5), size=sizes)
def test_interpolated_value_grows_with_either_neighbour(
    low: float, high: float, more: float, size: ModelSize
) -> None:
    assume(SIZES[0] < size < SIZES[-1])
    raised = min(0.99, low + more)
    before = interpolate({SIZES[0]: low, SIZES[-1]: high}, size)
    assert interpolate({SIZES[0]: raised, SIZES[-1]: high}, size) >= before - 1e-12
    assert interpolate({SIZES[0]: high, SIZES[-1]: raised}, size) >= (
        interpolate({SIZES[0]: high, SIZES[-1]: low}, size) - 1e-12
    )


@given(low=accuracies, high=accuracies, size=sizes)
def test_interpolating_errors_mirrors_interpolating_accuracies(
    low: float, high: float, size: ModelSize
) -> None:
    assume(SIZES[0] < size < SIZES[-1])
    got = interpolate({SIZES[0]: low, SIZES[-1]: high}, size)
    errors = interpolate({SIZES[0]: 1 - low, SIZES[-1]: 1 - high}, size)
    assert got + errors == pytest.approx(1)


@given(cell=st.sampled_from(CELLS), size=sizes)
def test_swapping_the_arms_turns_the_gain_around(
    cell: tuple[PublishedCorpus, str], size: ModelSize
) -> None:
    corpus, task_type = cell
    here = gain_at(TABLE, corpus, task_type, size)
    there = gain_at(SWAPPED, corpus, task_type, size)
    low, high = ends(here)
    assert value(there) == pytest.approx(-value(here), abs=2e-6)
    assert ends(there) == pytest.approx((-high, -low), abs=2e-6)


SWAPPED = with_accuracies(oracle.published()[:, :, ::-1])


@given(cell=st.sampled_from(CELLS), size=sizes)
def test_estimates_stay_in_range_and_hold_their_value(
    cell: tuple[PublishedCorpus, str], size: ModelSize
) -> None:
    corpus, task_type = cell
    for recipe in RECIPES:
        got = accuracy_at(TABLE, corpus, task_type, recipe, size)
        low, high = ends(got)
        assert 0 <= low <= value(got) <= high <= 1
    gain = gain_at(TABLE, corpus, task_type, size)
    low, high = ends(gain)
    assert -1 <= low <= value(gain) <= high <= 1
    known = {row.id for row in TABLE.rows}
    assert {ref.id for ref in gain.refs} <= known
    assert gain.refs
