from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from policies import InvalidInputError
from router._decision import choose
from router._objective import Objective
from router.feedback._exploration import ThompsonSampling, exploration_probabilities, explore

P = np.array([[0.70, 0.72, 0.40]])
COST = np.array([[10.0, 12.0, 5.0]])
OBJECTIVES = [Objective.trade(1e-3), Objective.at_least(0.6), Objective.within(11.0)]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@st.composite
def estimates(draw: st.DrawFn) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    shape = (draw(st.integers(1, 5)), draw(st.integers(1, 6)))
    seed = draw(st.integers(0, 10**6))
    source = np.random.default_rng(seed)
    return source.random(shape), source.uniform(0.0, 100.0, shape)


@settings(max_examples=60)
@given(
    estimates(),
    st.sampled_from([Objective.trade(1e-3), Objective.at_least(0.6), Objective.within(50.0)]),
    st.floats(0.0, 1.0 / 6.0),
    st.floats(0.0, 1.0),
)
def test_propensities_are_a_distribution_over_what_may_be_explored(
    numbers: tuple[NDArray[np.float64], NDArray[np.float64]],
    objective: Objective,
    floor: float,
    max_regret: float,
) -> None:
    p, cost = numbers
    settings = ThompsonSampling(floor=floor, max_regret=max_regret, n_draws=20)
    found = explore(p, cost, objective, settings, rng())
    greedy, _ = choose(p, cost, objective)
    rows = np.arange(len(p))
    assert (found.greedy == greedy).all()
    assert found.propensities.sum(axis=1) == pytest.approx(1.0)
    assert (found.propensities[rows, found.choice] > 0.0).all()
    tried = found.propensities > 0.0
    lost = p[rows, greedy][:, np.newaxis] - p
    assert (lost[tried] <= max_regret).all()
    assert (found.propensities[tried] >= floor - 1e-12).all()
    # What exploration costs on average is bounded by what it may cost at most.
    assert ((found.propensities * lost).sum(axis=1) <= max_regret + 1e-12).all()


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_choices_are_made_with_the_logged_propensities(objective: Objective) -> None:
    settings = ThompsonSampling(max_regret=1.0, effective_samples=10.0)
    propensities = exploration_probabilities(P, COST, objective, settings, rng(1))
    n = 4_000
    found = explore(np.repeat(P, n, 0), np.repeat(COST, n, 0), objective, settings, rng(2))
    shares = np.bincount(found.choice, minlength=3) / n
    # Standard error of the shares .008, of the draws behind `propensities` .03.
    assert shares == pytest.approx(found.propensities.mean(axis=0), abs=0.03)
    assert shares == pytest.approx(propensities[0], abs=0.12)


def test_thompson_tries_an_arm_as_often_as_it_may_be_the_best() -> None:
    """Second source: the probability that one Beta variable exceeds another, by integration."""
    from scipy import integrate, stats

    p, cost = np.array([[0.6, 0.7]]), np.zeros((1, 2))

    def density(x: float) -> float:
        return float(stats.beta.pdf(x, 12.0, 8.0) * stats.beta.cdf(x, 14.0, 6.0))

    exact, _ = integrate.quad(density, 0.0, 1.0)
    settings = ThompsonSampling(effective_samples=20.0, floor=0.0, max_regret=1.0, n_draws=20_000)
    found = exploration_probabilities(p, cost, Objective.trade(0.0), settings, rng())
    # `exact` is the chance that the first one is best. Standard error .003.
    assert found[0, 1] == pytest.approx(1.0 - exact, abs=0.015)


def test_more_knowledge_explores_less() -> None:
    shares = [
        exploration_probabilities(
            P, COST, OBJECTIVES[0], ThompsonSampling(effective_samples=n, floor=0.0), rng()
        )[0].max()
        for n in (5.0, 500.0, 1e6)
    ]
    assert shares[0] < shares[1] <= shares[2]
    assert shares[2] == pytest.approx(1.0)


def test_no_regret_allowed_means_no_exploration() -> None:
    settings = ThompsonSampling(max_regret=0.0, floor=0.1)
    found = explore(P, COST, Objective.trade(1e-4), settings, rng())
    assert found.propensities.tolist() == [[0.0, 1.0, 0.0]]
    assert found.choice.tolist() == found.greedy.tolist() == [1]


def test_cost_limits_hold() -> None:
    settings = ThompsonSampling(max_regret=1.0, floor=0.05, effective_samples=2.0)
    capped = explore(P, COST, Objective.within(10.0), settings, rng())
    assert capped.propensities[0, 1] == 0.0
    cheap = replace(settings, max_extra_cost=1.0)
    assert explore(P, COST, Objective.at_least(0.7), cheap, rng()).propensities[0, 1] == 0.0
    dear = replace(settings, max_extra_cost=2.0)
    assert explore(P, COST, Objective.at_least(0.7), dear, rng()).propensities[0, 1] > 0.0


def test_a_strict_target_is_never_explored_away() -> None:
    settings = ThompsonSampling(max_regret=1.0, floor=0.05)
    strict = explore(P, COST, Objective.at_least(0.6, is_strict=True), settings, rng())
    loose = explore(P, COST, Objective.at_least(0.6), settings, rng())
    assert strict.propensities[0, 2] == 0.0
    assert loose.propensities[0, 2] > 0.0


def test_a_seed_decides_everything() -> None:
    p, cost = np.repeat(P, 700, 0), np.repeat(COST, 700, 0)
    first, second, other = (
        explore(p, cost, OBJECTIVES[0], ThompsonSampling(), rng(seed)) for seed in (5, 5, 6)
    )
    assert (first.choice == second.choice).all()
    assert (first.propensities == second.propensities).all()
    assert (first.choice != other.choice).any()


def test_no_rows_no_choices() -> None:
    found = explore(P[:0], COST[:0], OBJECTIVES[0], ThompsonSampling(), rng())
    assert found.choice.shape == (0,)
    assert found.propensities.shape == (0, 3)


@pytest.mark.parametrize(
    "bad",
    [
        {"effective_samples": 0.0},
        {"floor": -0.1},
        {"max_regret": 1.5},
        {"max_extra_cost": -1.0},
        {"n_draws": 0},
    ],
)
def test_settings_out_of_range_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(InvalidInputError, match=next(iter(bad))):
        ThompsonSampling(**bad)  # pyright: ignore[reportArgumentType]


def test_a_floor_of_more_than_everything_is_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"at most 0\.333"):
        explore(P, COST, OBJECTIVES[0], ThompsonSampling(floor=0.5), rng())
