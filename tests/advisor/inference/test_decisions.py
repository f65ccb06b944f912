"""Choosing, regret, worth of measuring, fronts: against simulation, closed forms and the oracle."""

import math
from collections.abc import Sequence
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from advisor.inference import (
    CONFIDENCE_LEVEL,
    NO_ESTIMATE,
    Choice,
    Estimate,
    Point,
    choose,
    difference,
    expected_loss,
    front_probabilities,
    gain_at,
    mean_estimate,
    questions_needed,
    transferred,
    value_of_sample,
    wilson,
)
from calibration.published import PublishedCorpus, PublishedTable
from policies import InvalidInputError, ModelSize
from tests.advisor.inference import oracle
from tests.advisor.inference.worlds import (
    CORPORA,
    INNER,
    SIZES,
    TABLE,
    TASK_TYPES,
    ends,
    measured,
    other,
    pair,
    value,
    with_accuracies,
    without_size,
)

TOLERANCE = 0.01
POINTS = 100
means = st.floats(-0.6, 0.6)
sds = st.floats(0.001, 0.3)
Z = float(stats.norm.ppf(0.5 + CONFIDENCE_LEVEL / 2))


def normal(mean: float, sd: float) -> Estimate:
    """Return an estimate whose interval is that of a normal law."""
    return Estimate(mean, mean - Z * sd, mean + Z * sd, "measured", measured(0.5).refs)


# ------------------------------------------------------------------ losses and their worth


@given(mean=means, sd=sds)
def test_loss_of_the_chosen_side_is_the_expected_regret_of_the_oracle(
    mean: float, sd: float
) -> None:
    assert expected_loss(-abs(mean), sd) == pytest.approx(
        oracle.expected_regret(mean, sd), rel=1e-9, abs=1e-12
    )


@given(mean=means, sd=sds, more=st.floats(0, 0.2))
def test_loss_grows_with_mean_and_spread_and_is_no_less_than_without_doubt(
    mean: float, sd: float, more: float
) -> None:
    loss = expected_loss(mean, sd)
    assert loss >= max(mean, 0.0) - 1e-12
    assert expected_loss(mean + more, sd) >= loss - 1e-12
    assert expected_loss(mean, sd + more) >= loss - 1e-12
    assert loss - expected_loss(-mean, sd) == pytest.approx(mean, abs=1e-9)


def test_loss_without_doubt_is_the_difference_itself() -> None:
    assert expected_loss(0.1, 0.0) == 0.1
    assert expected_loss(-0.1, 0.0) == 0.0


def after(sd: float, stderr: float) -> float:
    """Return what is left of a normal law's sd after measuring with a standard error."""
    return sd * stderr / math.hypot(sd, stderr)


@given(mean=means, sd=sds, stderr=st.floats(0, 0.3))
def test_worth_of_a_measurement_is_that_of_the_oracle(
    mean: float, sd: float, stderr: float
) -> None:
    expected = oracle.evsi(mean, sd, stderr)
    # sd^2 - sd_after^2 cancels where the measurement says next to nothing.
    assert value_of_sample(mean, sd, after(sd, stderr)) == pytest.approx(
        expected, rel=1e-6, abs=1e-9
    )


@given(mean=means, sd=sds, share=st.floats(0, 1), more=st.floats(0, 1))
def test_worth_of_a_measurement_falls_with_what_it_leaves_open(
    mean: float, sd: float, share: float, more: float
) -> None:
    worth = value_of_sample(mean, sd, share * sd)
    vaguer = value_of_sample(mean, sd, (share + more * (1 - share)) * sd)
    assert worth == pytest.approx(value_of_sample(-mean, sd, share * sd), abs=1e-15)
    assert 0 <= vaguer <= worth + 1e-12
    # Nobody gains more than what perfect knowledge would save.
    assert worth <= expected_loss(-abs(mean), sd) + 1e-12


def test_a_measurement_that_leaves_everything_open_is_worth_nothing() -> None:
    assert value_of_sample(0.0, 0.05, 0.05) == 0.0
    assert value_of_sample(0.0, 0.05, 0.08) == 0.0


@pytest.mark.parametrize("mean", [0.0, 0.02, -0.05])
def test_worth_of_a_measurement_is_what_simulated_deciders_gain(mean: float) -> None:
    sd, stderr = 0.052, 0.025
    rng = np.random.default_rng(11)
    truth = rng.normal(mean, sd, 400_000)
    seen = truth + rng.normal(0, stderr, truth.shape)
    updated = (mean * stderr**2 + seen * sd**2) / (sd**2 + stderr**2)
    gained = truth[updated > 0].sum() / truth.size - max(mean, 0.0)
    assert value_of_sample(mean, sd, after(sd, stderr)) == pytest.approx(gained, abs=3e-4)


def test_worth_of_a_measurement_at_another_size_is_what_simulated_deciders_gain() -> None:
    """The pair measured elsewhere tells of the gain only up to the error of carrying it."""
    mean, carrying, stderr, sd = 0.03, 0.05, 0.02, 0.12
    rng = np.random.default_rng(19)
    truth = rng.normal(mean, sd, 400_000)
    seen = truth + rng.normal(0, math.hypot(carrying, stderr), truth.shape)
    error2 = carrying**2 + stderr**2
    updated = (mean * error2 + seen * sd**2) / (sd**2 + error2)
    gained = truth[updated > 0].sum() / truth.size - max(mean, 0.0)
    left = after(sd, math.sqrt(error2))
    assert value_of_sample(mean, sd, left) == pytest.approx(gained, abs=6e-4)


# ------------------------------------------------------------------ questions to ask


@pytest.mark.parametrize(
    ("gain", "discordance"), [(0.05, 0.3), (0.03, 0.3), (0.1, 0.3), (0.05, 0.15), (0.08, 0.5)]
)
def test_so_many_questions_show_the_gain_in_four_of_five_simulations(
    gain: float, discordance: float
) -> None:
    n = questions_needed(gain, discordance=discordance)
    assert abs(n - oracle.questions_needed(gain, discordance)) <= 2
    rng = np.random.default_rng(12)
    better = (discordance + gain) / 2
    draws = rng.multinomial(n, [better, discordance - better, 1 - discordance], 20_000)
    wins, losses = draws[:, 0].astype(float), draws[:, 1].astype(float)
    z = (wins - losses) / np.sqrt(np.maximum(wins + losses, 1))
    assert (z > stats.norm.ppf(0.95)).mean() == pytest.approx(0.80, abs=0.02)


@given(gain=st.floats(0.005, 1), smaller=st.floats(0.1, 1))
def test_a_smaller_gain_needs_no_fewer_questions(gain: float, smaller: float) -> None:
    assert questions_needed(gain * smaller) >= questions_needed(gain)


@pytest.mark.parametrize("gain", [0.0, -0.1, 1.5, math.nan])
def test_a_gain_that_no_questions_can_show_is_refused(gain: float) -> None:
    with pytest.raises(InvalidInputError, match="gain"):
        questions_needed(gain)


def test_thirty_questions_show_only_gains_that_nobody_doubts() -> None:
    """AIME has 30 questions."""
    assert questions_needed(0.2) > 30


# ------------------------------------------------------------------ choices


@given(mean=means, sd=sds, tolerance=st.floats(0, 0.1))
def test_a_choice_is_shown_exactly_when_its_interval_excludes_zero(
    mean: float, sd: float, tolerance: float
) -> None:
    gain = normal(mean, sd)
    low, high = ends(gain)
    choice = choose(gain, tolerance=tolerance)
    assert choice.is_shown == (low > 0 or high < 0)
    if choice.is_shown:
        assert choice.side == ("reasoning" if mean > 0 else "ift")


@given(mean=means, sd=sds, tolerance=st.floats(0, 0.1), prefer_cheap=st.booleans())
def test_what_is_chosen_unshown_loses_no_more_than_the_tolerance(
    mean: float, sd: float, tolerance: float, prefer_cheap: bool
) -> None:
    choice = choose(normal(mean, sd), tolerance=tolerance, prefer_cheap=prefer_cheap)
    assert choice.regret is not None
    loss = expected_loss(mean if choice.fallback == "ift" else -mean, sd)
    assert choice.regret == pytest.approx(loss, abs=1e-9)
    if choice.side == "abstain":
        assert choice.regret > tolerance
        least = oracle.expected_regret(mean, sd)
        # Direct answers cost less, so they are fallen back on within the tolerance of the best.
        slack = tolerance if prefer_cheap else 0.0
        assert least - 1e-9 <= choice.regret <= least + slack + 1e-9
    elif not choice.is_shown:
        assert choice.regret <= tolerance


@given(mean=means, sd=sds, tolerance=st.floats(0, 0.1))
def test_without_a_preference_the_arms_are_treated_alike(
    mean: float, sd: float, tolerance: float
) -> None:
    mirrored = {"ift": "reasoning", "reasoning": "ift", "abstain": "abstain"}
    here = choose(normal(mean, sd), tolerance=tolerance, prefer_cheap=False)
    there = choose(normal(-mean, sd), tolerance=tolerance, prefer_cheap=False)
    assert here.is_shown == there.is_shown
    assert here.regret == pytest.approx(there.regret)
    if abs(mean) > 1e-6:
        assert there.side == mirrored[here.side]


@given(mean=means, sd=sds, tolerance=st.floats(0, 0.1), more=st.floats(0, 0.1))
def test_more_tolerance_never_turns_a_choice_into_an_abstention(
    mean: float, sd: float, tolerance: float, more: float
) -> None:
    if choose(normal(mean, sd), tolerance=tolerance).side != "abstain":
        assert choose(normal(mean, sd), tolerance=tolerance + more).side != "abstain"


def test_no_estimate_is_no_choice() -> None:
    choice = choose(NO_ESTIMATE, tolerance=1.0)
    assert (choice.side, choice.is_shown, choice.regret) == ("abstain", False, None)


# ------------------------------------------------------------------ differences and means


@pytest.mark.parametrize(("p", "q", "n"), [(0.3, 0.35, 200), (0.9, 0.85, 500), (0.05, 0.1, 120)])
def test_difference_of_independent_arms_covers_at_its_level(p: float, q: float, n: int) -> None:
    rng = np.random.default_rng(13)
    covered: list[bool] = []
    for a, b in zip(rng.binomial(n, p, 3000), rng.binomial(n, q, 3000), strict=True):
        low, high = ends(difference(measured(a / n, n), measured(b / n, n)))
        covered.append(low <= p - q <= high)
    # Three standard errors of 3000 draws are 0.016.
    assert np.mean(covered) == pytest.approx(CONFIDENCE_LEVEL, abs=0.018)


def test_difference_on_the_same_questions_errs_on_the_wide_side() -> None:
    n, both, only_a, only_b = 400, 0.5, 0.15, 0.08
    rng = np.random.default_rng(14)
    covered: list[bool] = []
    for counts in rng.multinomial(n, [both, only_a, only_b, 1 - both - only_a - only_b], 2000):
        a, b = (counts[0] + counts[1]) / n, (counts[0] + counts[2]) / n
        low, high = ends(difference(measured(a, n), measured(b, n)))
        covered.append(low <= only_a - only_b <= high)
    assert np.mean(covered) >= CONFIDENCE_LEVEL


@given(k=st.integers(0, 60), extra=st.integers(0, 60))
def test_wilson_interval_is_the_one_of_statsmodels(k: int, extra: int) -> None:
    proportion = pytest.importorskip("statsmodels.stats.proportion")
    n = k + extra + 1
    expected = proportion.proportion_confint(k, n, alpha=1 - CONFIDENCE_LEVEL, method="wilson")
    assert wilson(k / n, n) == pytest.approx(expected, abs=1e-9)


def test_mean_over_tasks_covers_at_its_level() -> None:
    rng = np.random.default_rng(15)
    truth, sizes = np.array([0.2, 0.5, 0.8]), [150, 300, 200]
    covered: list[bool] = []
    for _ in range(2000):
        low, high = ends(
            mean_estimate(
                [measured(rng.binomial(n, p) / n, n) for p, n in zip(truth, sizes, strict=True)]
            )
        )
        covered.append(low <= truth.mean() <= high)
    assert np.mean(covered) == pytest.approx(CONFIDENCE_LEVEL, abs=0.022)


@given(a=st.floats(0.01, 0.99), b=st.floats(0.01, 0.99), n=st.integers(5, 5000))
def test_difference_is_antisymmetric(a: float, b: float, n: int) -> None:
    here = difference(measured(a, n), measured(b, n))
    there = difference(measured(b, n), measured(a, n))
    low, high = ends(here)
    assert value(there) == pytest.approx(-value(here), abs=1e-12)
    assert ends(there) == pytest.approx((-high, -low), abs=1e-12)


# ------------------------------------------------------------------ fronts


@pytest.mark.parametrize("trace_ratio", [5, 10, 20])
@pytest.mark.parametrize("family", range(4), ids=TASK_TYPES)
def test_front_of_known_accuracies_is_the_one_of_the_oracle(
    family: int, trace_ratio: float
) -> None:
    accuracy = oracle.published()[0, family]
    names = [f"{'IR'[arm]}{size}" for arm, size in product((0, 1), oracle.SIZES)]
    points = [
        Point(normal(accuracy[arm, s], 1e-9), (oracle.N_PARAMS[s] * (trace_ratio if arm else 1),))
        for arm, s in product((0, 1), range(5))
    ]
    on_front = {
        name for name, p in zip(names, front_probabilities(points), strict=True) if p == 1.0
    }
    assert on_front == set(oracle.training_front(0, family, trace_ratio))
    assert set(front_probabilities(points)) <= {0.0, 1.0}


def test_probabilities_on_the_front_are_those_of_another_simulation() -> None:
    laws = [(0.50, 0.03, 1.0), (0.53, 0.03, 2.0), (0.52, 0.05, 3.0), (0.60, 0.02, 3.0)]
    rng = np.random.default_rng(16)
    drawn = np.array([rng.normal(mean, sd, 100_000) for mean, sd, _ in laws])
    expected = [
        np.mean(
            [
                not any(
                    laws[j][2] <= laws[i][2] and column[j] > column[i] for j in range(4) if j != i
                )
                for column in drawn.T[:20_000]
            ]
        )
        for i in range(4)
    ]
    got = front_probabilities([Point(normal(mean, sd), (cost,)) for mean, sd, cost in laws])
    # Four standard errors of 400 draws.
    assert got == pytest.approx(expected, abs=0.1)


@given(
    laws=st.lists(
        st.tuples(st.floats(0.1, 0.9), st.floats(0.001, 0.1), st.floats(1, 9)),
        min_size=1,
        max_size=5,
    )
)
def test_someone_is_always_on_the_front_and_the_cheapest_of_all_is(
    laws: list[tuple[float, float, float]],
) -> None:
    got = front_probabilities([Point(normal(mean, sd), (cost,)) for mean, sd, cost in laws])
    probabilities = [p for p in got if p is not None]
    assert len(probabilities) == len(laws)
    assert sum(probabilities) >= 1 - 1e-9
    cheapest = min(cost for _, _, cost in laws)
    if sum(cost == cheapest for _, _, cost in laws) == 1:
        assert probabilities[[cost for _, _, cost in laws].index(cheapest)] == 1.0


def test_points_without_an_accuracy_have_no_probability_and_change_none() -> None:
    known = [Point(normal(0.5, 0.03), (1.0,)), Point(normal(0.52, 0.03), (2.0,))]
    alone = front_probabilities(known)
    assert front_probabilities([*known, Point(NO_ESTIMATE, (0.1,))]) == [*alone, None]


# ------------------------------------------------------------------ against naive advice


def _regret(choice: Choice, gain: float) -> float:
    """Return what is lost by following a choice, or its fallback when it abstains."""
    side = choice.fallback if choice.side == "abstain" else choice.side
    return max(gain, 0.0) if side == "ift" else max(-gain, 0.0)


def _naive(size: ModelSize) -> tuple[float, float]:
    """Return the mean regret of always reasoning and of always IFT."""
    gains = np.array(
        [
            value(gain_at(TABLE, corpus, task_type, size))
            for corpus, task_type in product(CORPORA, TASK_TYPES)
        ]
    )
    return float(np.maximum(-gains, 0).mean()), float(np.maximum(gains, 0).mean())


def test_advice_from_the_other_sizes_beats_both_naive_rules_at_the_smallest_inner_size() -> None:
    size = INNER[0]
    regrets = [
        _regret(
            choose(gain_at(without_size(size), corpus, task_type, size), tolerance=TOLERANCE),
            value(gain_at(TABLE, corpus, task_type, size)),
        )
        for corpus, task_type in product(CORPORA, TASK_TYPES)
    ]
    reasoning, ift = _naive(size)
    assert str(size) == "1.5B"
    assert np.mean(regrets) < min(reasoning, ift)


@pytest.mark.parametrize("size", SIZES[:2], ids=str)
def test_advice_from_the_users_own_smallest_pair_beats_both_naive_rules(size: ModelSize) -> None:
    """Both arms are measured at 0.5B with 740 questions; at 1.5B the pair is carried upward."""
    rng = np.random.default_rng(17)
    n = 740
    regrets: list[float] = []
    for own, task_type in product(CORPORA, TASK_TYPES):
        gain = value(gain_at(TABLE, own, task_type, size))
        for _ in range(25):
            drawn = [
                rng.binomial(n, TABLE.find(own, task_type, SIZES[0], recipe).accuracy) / n
                for recipe in ("ift", "reasoning")
            ]
            if size == SIZES[0]:
                estimate = difference(measured(drawn[1], n), measured(drawn[0], n))
            else:
                small = pair(SIZES[0], drawn[0], drawn[1], n)
                estimate = transferred(TABLE, [other(own)], task_type, size, [small])[2]
            regrets.append(_regret(choose(estimate, tolerance=TOLERANCE), gain))
    reasoning, ift = _naive(size)
    assert np.mean(regrets) < 0.5 * min(reasoning, ift)


# ------------------------------------------------------------------ a world without gains


def _null_world(rng: np.random.Generator) -> PublishedTable:
    """Return a table where both arms are equally good and differ by sampling alone."""
    levels = oracle.logit(oracle.published().mean(axis=2, keepdims=True)).repeat(2, axis=2)
    truth = oracle.expit(levels)
    n = np.array([2077, 2213, 249, 1536])[None, :, None, None]
    return with_accuracies(np.clip(rng.binomial(n, truth) / n, 0.001, 0.999))


def test_equal_arms_are_seldom_declared_different() -> None:
    rng = np.random.default_rng(18)
    printed: list[bool] = []
    between: list[bool] = []
    carried: list[bool] = []
    for _ in range(25):
        world = _null_world(rng)
        printed += _declared(world, SIZES)
        between += _declared(world, [ModelSize.parse("1B"), ModelSize.parse("5B")])
        for own, task_type, target in product(CORPORA, TASK_TYPES, (1, 4)):
            drawn = [world.find(own, task_type, SIZES[0], r).accuracy for r in ("ift", "reasoning")]
            gain = transferred(
                world,
                [other(own)],
                task_type,
                SIZES[target],
                [pair(SIZES[0], drawn[0], drawn[1], 1000)],
            )[2]
            carried.append(choose(gain, tolerance=TOLERANCE).is_shown)
    # 10% is the level; the first has 1000 draws, whose three standard errors are 0.028.
    assert np.mean(printed) <= 0.128
    assert np.mean(between) <= 0.10
    assert np.mean(carried) <= 0.10


def _declared(world: PublishedTable, sizes: Sequence[ModelSize]) -> list[bool]:
    corpora: tuple[PublishedCorpus, ...] = CORPORA
    return [
        choose(gain_at(world, corpus, task_type, size), tolerance=TOLERANCE).is_shown
        for corpus, task_type, size in product(corpora, TASK_TYPES, sizes)
    ]
