"""Calibration of p: mended where it is off, left alone where it holds, never out of order."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy.optimize import minimize

from router.model._calibration import Calibration, fit_calibration, soft_clip

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Drawn:
    """p that holds, and outcomes drawn from it."""

    def __init__(self, n: int, n_arms: int = 2, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.p: Floats = rng.beta(1.5, 1.5, (n, n_arms))
        self.correct: Floats = (rng.random(self.p.shape) < self.p).astype(np.float64)
        self.folds: list[Ints] = [np.arange(fold, n, 5) for fold in range(5)]
        self.groups = [str(row) for row in range(n)]

    def fit(self, raw: Floats) -> tuple[Calibration, Floats]:
        return fit_calibration(raw, self.correct, self.folds, self.groups)


def logit(p: Floats) -> Floats:
    return np.log(p / (1.0 - p))


def sigmoid(x: Floats) -> Floats:
    return 1.0 / (1.0 + np.exp(-x))


# How p may be off: too sure, too shy, too high, each arm its own way.
WRONG: dict[str, Callable[[Floats], Floats]] = {
    "too sure": lambda p: sigmoid(3.0 * logit(p)),
    "too shy": lambda p: 0.5 + 0.3 * (p - 0.5),
    "too high": lambda p: p + 0.3 * (1.0 - p),
    "one arm too low": lambda p: p - np.array([0.0, 0.3]) * p,
}


@pytest.mark.parametrize("how", WRONG)
def test_a_p_that_is_off_is_mended(how: str) -> None:
    drawn = Drawn(800)
    raw = WRONG[how](drawn.p)
    calibration, p = drawn.fit(raw)
    fresh = Drawn(4000, seed=1)
    served = calibration.apply(WRONG[how](fresh.p))
    before = np.abs(WRONG[how](fresh.p) - fresh.p).mean()
    assert np.abs(served - fresh.p).mean() < 0.4 * before
    assert np.abs(served.mean(axis=0) - fresh.p.mean(axis=0)).max() < 0.03
    assert np.abs(p - drawn.p).mean() < 0.5 * np.abs(raw - drawn.p).mean()


def test_a_p_that_holds_is_mostly_left_alone() -> None:
    """Of 40 fits about one in six changes anything, as a standard error promises, and little."""
    changes = [
        np.abs(drawn.fit(drawn.p)[0].apply(drawn.p) - soft_clip(drawn.p)).max()
        for drawn in (Drawn(300, seed=seed) for seed in range(40))
    ]
    assert sum(change > 1e-9 for change in changes) <= 13
    assert max(changes) < 0.3
    assert np.mean(changes) < 0.05


@pytest.mark.parametrize("how", WRONG)
@pytest.mark.parametrize("n", [300, 3000])
def test_the_order_of_questions_is_kept(how: str, n: int) -> None:
    drawn = Drawn(n)
    calibration, _ = drawn.fit(WRONG[how](drawn.p))
    steps = np.linspace(0.001, 0.999, 400)
    for arm in range(2):
        line = np.full((400, 2), 0.5)
        line[:, arm] = steps
        assert (np.diff(calibration.apply(line)[:, arm]) >= 0).all()
    together = calibration.apply(np.stack([steps, steps], axis=1))
    assert (np.diff(together, axis=0) >= 0).all()


def test_steps_need_outcomes_enough() -> None:
    def stairs(p: Floats) -> Floats:
        """Neither a line nor a sigmoid undoes this."""
        return np.where(p < 0.5, 0.3 * p**3, 1.0 - 0.3 * (1.0 - p) ** 3)

    few, many = Drawn(400), Drawn(4000)
    assert few.fit(stairs(few.p))[0].method != "isotonic"
    calibration, _ = many.fit(stairs(many.p))
    assert calibration.method == "isotonic"
    fresh = Drawn(4000, seed=2)
    assert np.abs(calibration.apply(stairs(fresh.p)) - fresh.p).mean() < 0.06


def test_one_arm_with_few_outcomes_forbids_steps_for_all() -> None:
    drawn = Drawn(4000)
    drawn.correct[900:, 1] = np.nan
    calibration, p = drawn.fit(WRONG["too sure"](drawn.p))
    assert calibration.method != "isotonic"
    assert np.isfinite(p).all()


def test_platts_parameters_are_those_of_a_general_optimiser() -> None:
    drawn = Drawn(500)
    raw = WRONG["too sure"](drawn.p)
    calibration, _ = drawn.fit(raw)
    assert calibration.method == "sigmoid"
    start = np.array([1.0, 0.0, 0.0])

    def loss(solution: Floats) -> float:
        scores = solution[0] * logit(raw.clip(1e-9, 1 - 1e-9)) + solution[1:]
        likelihood = np.logaddexp(0.0, scores) - drawn.correct * scores
        return float(likelihood.sum() + 2.0 * ((solution - start) ** 2).sum())

    best = minimize(loss, start, method="BFGS").x
    found = [calibration.slope, *calibration.intercepts.tolist()]
    assert found == pytest.approx(best.tolist(), abs=1e-3)


def test_p_of_unmeasured_cells_is_calibrated_too() -> None:
    drawn = Drawn(600)
    raw = WRONG["too high"](drawn.p)
    drawn.correct[::2, 1] = np.nan
    _, p = drawn.fit(raw)
    assert p.shape == raw.shape
    assert np.abs(p - drawn.p).mean() < 0.5 * np.abs(raw - drawn.p).mean()


CALIBRATIONS = [
    Calibration.identity(2),
    Calibration("affine", 3.0, np.array([0.5, -0.7]), 0.0),
    Calibration("sigmoid", 50.0, np.array([8.0, -8.0])),
    Calibration("sigmoid", 0.0, np.array([1000.0, -1000.0])),
    Calibration("isotonic", 1.0, np.zeros(2), knots=((np.array([0.5]), np.array([0.3])),) * 2),
]


@pytest.mark.parametrize("calibration", CALIBRATIONS, ids=lambda each: each.method)
@given(
    arrays(
        np.float64,
        st.tuples(st.integers(0, 5), st.just(2)),
        elements=st.one_of(st.floats(-1.0, 2.0), st.sampled_from([0.0, 1.0, 0.5])),
    )
)
def test_calibrated_p_lies_within_0_and_1(calibration: Calibration, raw: Floats) -> None:
    p = calibration.apply(raw)
    assert p.shape == raw.shape
    assert ((p > 0.0) & (p < 1.0)).all() or calibration.method == "sigmoid"
    assert ((p >= 0.0) & (p <= 1.0)).all()


@given(st.lists(st.floats(-0.4, 1.4), min_size=2, max_size=30))
def test_soft_clipping_keeps_the_order_and_the_middle(values: list[float]) -> None:
    raw = np.sort(np.array(values))
    p = soft_clip(raw)
    assert ((p > 0.0) & (p < 1.0)).all()
    assert (np.diff(p) >= 0).all()
    inside = (raw >= 0.05) & (raw <= 0.95)
    assert np.array_equal(p[inside], raw[inside])


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**31), st.floats(0.0, 1.0), st.sampled_from([0.0, 0.5, 1.0]))
def test_any_outcomes_can_be_calibrated(seed: int, missing: float, constant: float) -> None:
    drawn = Drawn(60, seed=seed)
    rng = np.random.default_rng(seed)
    drawn.correct[:] = constant
    drawn.correct[rng.random(drawn.correct.shape) < missing] = np.nan
    calibration, p = drawn.fit(rng.random(drawn.p.shape))
    assert ((p > 0.0) & (p < 1.0)).all()
    assert calibration.slope >= 0.0
    assert calibration.gain_slope >= 0.0
