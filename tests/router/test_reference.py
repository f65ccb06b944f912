"""Questions that a router remembers: intervals, neighbours, and what it has seen."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from statsmodels.stats.proportion import proportion_confint

from router import Router
from router.model._reference import ReferenceQuestions, prompt_hashes

Floats = NDArray[np.float64]


def reference(p: Floats, correct: Floats, topics: Floats | None = None) -> ReferenceQuestions:
    n, n_arms = p.shape

    def single(values: Any) -> NDArray[np.float32]:
        return np.asarray(values, dtype=np.float32)

    return ReferenceQuestions(
        ids=tuple(f"q{row}" for row in range(n)),
        tasks=("t",) * n,
        topics=single(np.zeros((n, 0)) if topics is None else topics),
        p_correct=single(p),
        correct=single(correct),
        tokens=single(np.ones((n, n_arms))),
        tokens_expected=single(np.ones((n, n_arms))),
        n_bytes=single(np.ones(n)),
        seen=np.zeros(0, dtype=np.uint64),
    )


def test_intervals_cover_the_truth_about_95_times_in_100() -> None:
    """Of a calibrated router, whatever p is asked about."""
    rng = np.random.default_rng(0)
    held = []
    for _ in range(150):
        p = rng.beta(2, 2, (1200, 1))
        known = reference(p, (rng.random(p.shape) < p).astype(float))
        for asked in rng.beta(2, 2, 4).clip(0.1, 0.9).tolist():
            low, high, counts = known.intervals(np.array([asked]))
            assert counts.tolist() == [200]
            # What the interval is about: the true rate of the questions predicted alike.
            nearest = np.argsort(np.abs(p[:, 0] - asked))[:200]
            held.append(low[0] <= p[nearest, 0].mean() <= high[0])
    # 600 intervals: 95% give or take three standard errors of .009, and widening adds some.
    assert 0.93 < np.mean(held) <= 0.995


def test_an_overconfident_router_is_shown_to_be_one() -> None:
    rng = np.random.default_rng(1)
    p = np.full((1000, 1), 0.9)
    known = reference(p, (rng.random(p.shape) < 0.6).astype(float))
    low, high, _ = known.intervals(np.array([0.9]))
    assert low[0] < 0.6
    assert high[0] == pytest.approx(0.9, abs=1e-6)  # only widened to hold p


def test_the_interval_is_wilsons() -> None:
    correct = np.r_[np.ones(130), np.zeros(70), np.zeros(600)][:, np.newaxis]
    p = np.r_[np.full(200, 0.65), np.full(600, 0.1)][:, np.newaxis]
    low, high, counts = reference(p, correct).intervals(np.array([0.65]))
    expected = proportion_confint(130, 200, method="wilson")
    assert counts.tolist() == [200]
    assert (low[0], high[0]) == pytest.approx(expected, abs=1e-6)


@given(
    st.integers(0, 2**31),
    st.integers(1, 300),
    st.lists(st.floats(0.0, 1.0), min_size=2, max_size=2),
    st.floats(0.0, 1.0),
)
def test_an_interval_always_holds_p(seed: int, n: int, asked: list[float], missing: float) -> None:
    rng = np.random.default_rng(seed)
    correct = (rng.random((n, 2)) < 0.5).astype(float)
    correct[rng.random((n, 2)) < missing] = -1.0
    p = np.array(asked)
    low, high, counts = reference(rng.random((n, 2)), correct).intervals(p)
    assert ((low >= 0.0) & (low <= p) & (p <= high) & (high <= 1.0)).all()
    n_known = (correct >= 0).sum(axis=0)
    assert (counts <= np.minimum(n_known, 200)).all()
    assert ((counts > 0) == (n_known > 0)).all()


def test_an_arm_that_was_never_measured_can_be_anything() -> None:
    known = reference(np.full((50, 2), 0.5), np.tile([1.0, -1.0], (50, 1)))
    low, high, counts = known.intervals(np.array([0.5, 0.5]))
    assert (low[1], high[1], counts[1]) == (0.0, 1.0, 0)
    assert counts[0] > 0


def test_fewer_questions_give_wider_intervals() -> None:
    rng = np.random.default_rng(2)

    def width(n: int) -> float:
        p = np.full((n, 1), 0.5)
        low, high, _ = reference(p, (rng.random(p.shape) < 0.5).astype(float)).intervals(p[0])
        return float(high[0] - low[0])

    assert width(2000) < width(200) < width(20)


def test_neighbours_come_closest_first_with_what_happened() -> None:
    topics = np.array([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    correct = np.array([[1.0, -1.0], [0.0, 1.0], [0.5, 0.0]])
    known = reference(np.full((3, 2), 0.5), correct, topics)
    first, second = known.nearest(np.array([3.0, 0.3]), ["a", "b"], 2)
    assert (first.question_id, second.question_id) == ("q0", "q2")
    assert first.correct == {"a": 1.0, "b": None}
    assert second.correct == {"a": 0.5, "b": 0.0}
    assert first.similarity == pytest.approx(3.0 / np.hypot(3.0, 0.3))
    assert first.task == "t"


def test_a_text_without_topics_has_no_neighbours() -> None:
    known = reference(np.full((3, 1), 0.5), np.ones((3, 1)), np.eye(3, 2))
    assert known.nearest(np.zeros(2), ["a"], 5) == []
    assert reference(np.full((3, 1), 0.5), np.ones((3, 1))).nearest(np.zeros(0), ["a"], 5) == []


def test_a_prompt_is_known_again_whatever_its_case_and_white_space(router: Router) -> None:
    known = "Who is the friend of the boss of Ada?"
    variants = [known, known.upper(), f"\n {known}\t", known.replace(" ", "  ")]
    records = router.describe()["n_questions"]
    assert records == 600
    for prompt in variants:
        assert np.array_equal(prompt_hashes([prompt]), prompt_hashes([known]))
    others = [known.replace("Ada", "Adb"), known.replace(" ", ""), ""]
    for prompt in others:
        assert not np.array_equal(prompt_hashes([prompt]), prompt_hashes([known]))


def test_a_router_knows_the_prompts_of_its_fit(router: Router, records: list[Any]) -> None:
    prompts = [record.prompt for record in records[:30]]
    assert router.seen(prompts).all()
    assert router.seen([f" {prompt.upper()}\n" for prompt in prompts]).all()
    assert not router.seen([f"{prompt} please" for prompt in prompts]).any()
    assert router.seen([]).shape == (0,)


@given(st.lists(st.text(max_size=20), max_size=20))
def test_hashes_are_ascending_and_each_once(prompts: list[str]) -> None:
    hashes = prompt_hashes(prompts)
    assert len(hashes) == len({" ".join(prompt.lower().split()) for prompt in prompts})
    assert (hashes[1:] > hashes[:-1]).all()
