"""The choice among learners, on predictions whose quality is known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from router.model._blend import Contender, choose_blend
from router.model._routing_error import routing_errors

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class World:
    """Questions with known p, outcomes drawn from it, and folds."""

    def __init__(self, n: int = 600, n_arms: int = 3, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.p: Floats = self.rng.uniform(0.05, 0.95, (n, n_arms))
        self.correct: Floats = (self.rng.random((n, n_arms)) < self.p).astype(np.float64)
        self.folds: list[Ints] = [np.arange(fold, n, 5) for fold in range(5)]
        self.groups = [f"g{row}" for row in range(n)]

    def noisy(self, scale: float) -> Floats:
        return (self.p + self.rng.normal(0, scale, self.p.shape)).clip(0.01, 0.99)

    def choose(
        self, predictions: dict[str, Floats], blends: list[tuple[str, ...]]
    ) -> tuple[list[Contender], Floats]:
        return choose_blend(predictions, blends, self.correct, self.folds, self.groups)


def test_a_perfect_learner_gets_the_weight() -> None:
    world = World()
    learners = {"truth": world.p, "noise": world.rng.random(world.p.shape)}
    (contender,), p = world.choose(learners, [("noise", "truth")])
    assert contender.weights["truth"] > 0.9
    assert np.abs(p - world.p).mean() < 0.05


def test_learners_that_know_nothing_get_about_equal_weights() -> None:
    world = World(n=400)
    level = world.correct.mean()
    learners = {
        name: np.full(world.p.shape, level) + world.rng.normal(0, 0.02, world.p.shape)
        for name in "abcd"
    }
    (contender,), _ = world.choose(learners, [tuple("abcd")])
    assert all(weight == pytest.approx(0.25, abs=0.12) for weight in contender.weights.values())


def test_equally_noisy_learners_share_the_weight_and_beat_each_one() -> None:
    world = World(n=2000)
    learners = {name: world.noisy(0.25) for name in "ab"}
    contenders, _ = world.choose(learners, [("a", "b"), ("a",), ("b",)])
    assert contenders[0].weights["a"] == pytest.approx(0.5, abs=0.1)
    assert contenders[0].is_chosen
    assert contenders[0].loss < min(contenders[1].loss, contenders[2].loss)


def test_the_first_blend_is_kept_unless_another_is_clearly_better() -> None:
    n_lower = n_kept = 0
    for seed in range(40):
        world = World(n=200, seed=seed)
        learners = {name: world.noisy(0.1) for name in ("first", "other")}
        contenders, p = world.choose(learners, [("first",), ("other",)])
        n_lower += contenders[1].loss < contenders[0].loss
        n_kept += contenders[0].is_chosen
        assert np.array_equal(p, learners["first" if contenders[0].is_chosen else "other"])
    # Of two alike one standard error is exceeded one time in six: 34 of 40, 27 or more at 99.5%.
    assert n_kept >= 27
    assert n_lower >= 12


def test_a_clearly_better_blend_replaces_the_first() -> None:
    world = World()
    learners = {"noise": world.rng.random(world.p.shape), "truth": world.p}
    contenders, p = world.choose(learners, [("noise",), ("truth",)])
    assert [each.is_chosen for each in contenders] == [False, True]
    assert np.array_equal(p, world.p)
    assert contenders[1].se == 0.0
    assert contenders[0].se > 0.0


def test_of_several_better_blends_the_best_is_chosen() -> None:
    world = World(n=3000)
    learners = {
        "noise": world.rng.random(world.p.shape),
        "good": world.noisy(0.2),
        "best": world.p,
    }
    contenders, _ = world.choose(learners, [("noise",), ("best",), ("good",)])
    assert [each.is_chosen for each in contenders] == [False, True, False]


def test_twins_count_once() -> None:
    """What holds on 60 questions is not more certain because each was written down 20 times."""
    alone = World(n=60, seed=4)
    learners = {"first": alone.noisy(0.3), "other": alone.noisy(0.2)}
    many = World(n=60, seed=4)
    many.p, many.correct = np.repeat(alone.p, 20, axis=0), np.repeat(alone.correct, 20, axis=0)
    many.groups = [f"g{row // 20}" for row in range(1200)]
    fold_of = np.arange(1200) // 20 % 5
    many.folds = [np.flatnonzero(fold_of == fold) for fold in range(5)]
    blends = [("first",), ("other",)]
    once, _ = alone.choose(learners, blends)
    often, _ = many.choose({name: np.repeat(p, 20, axis=0) for name, p in learners.items()}, blends)
    assert [each.is_chosen for each in often] == [each.is_chosen for each in once]
    assert [each.se for each in often] == pytest.approx([each.se for each in once])
    assert [each.loss for each in often] == pytest.approx([each.loss for each in once])


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**31), st.integers(1, 4), st.integers(1, 4), st.floats(0.0, 0.9))
def test_weights_are_shares_whatever_was_measured(
    seed: int, n_arms: int, n_learners: int, missing: float
) -> None:
    world = World(n=40, n_arms=n_arms, seed=seed)
    world.correct[world.rng.random(world.correct.shape) < missing] = np.nan
    learners = {f"l{index}": world.rng.random(world.p.shape) for index in range(n_learners)}
    contenders, p = world.choose(learners, [tuple(learners), ("l0",)])
    for contender in contenders:
        assert sum(contender.weights.values()) == pytest.approx(1.0)
        assert min(contender.weights.values()) >= 0.0
        assert np.isfinite([contender.loss, contender.se]).all()
    assert sum(each.is_chosen for each in contenders) == 1
    assert ((p >= 0.0) & (p <= 1.0)).all()


def test_equal_learners_share_the_weight() -> None:
    world = World(n=200)
    same = world.noisy(0.1)
    (contender,), p = world.choose({"a": same, "b": same}, [("a", "b")])
    assert contender.weights == pytest.approx({"a": 0.5, "b": 0.5})
    assert p == pytest.approx(same)


def test_the_weights_of_a_question_are_not_fitted_on_it() -> None:
    """The learner that cheats on one fold is caught on it: its weight there comes from others."""
    world = World(n=500)
    cheat = world.rng.random(world.p.shape)
    cheat[world.folds[0]] = world.correct[world.folds[0]]
    learners = {"truth": world.p, "cheat": cheat}
    (contender,), p = world.choose(learners, [("truth", "cheat")])
    assert contender.weights["cheat"] > 0.01
    assert np.abs(p[world.folds[0]] - world.p[world.folds[0]]).mean() < 0.1


def test_what_all_arms_share_counts_half() -> None:
    correct = np.array([[1.0, 0.0]])
    shared, apart = np.array([[0.8, -0.2]]), np.array([[0.8, 0.2]])
    assert routing_errors(shared, correct).tolist() == pytest.approx([0.5 * 0.2**2])
    assert routing_errors(apart, correct).tolist() == pytest.approx([2 * 0.2**2])


def test_gaps_have_no_error() -> None:
    correct = np.array([[1.0, np.nan], [np.nan, np.nan]])
    p = np.array([[0.6, 0.1], [0.3, 0.2]])
    assert routing_errors(p, correct).tolist() == pytest.approx([0.5 * 0.4**2, 0.0])
