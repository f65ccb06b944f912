"""Arms over several tasks: sums that agree with the tasks, intervals that cover."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from advisor.report._pooling import pooled_arms
from tests.advisor.report.test_pages import cell

COUNTS = st.lists(st.tuples(st.integers(1, 300), st.floats(0, 1)), min_size=1, max_size=6)


@given(COUNTS)
def test_accuracy_is_that_of_all_answers_together(counts: list[tuple[int, float]]) -> None:
    cells = [
        cell(f"t{i}", "m", "direct", n=n, right=round(n * share))
        for i, (n, share) in enumerate(counts)
    ]
    (arm,) = pooled_arms(cells)
    assert arm.n == sum(n for n, _ in counts)
    assert arm.accuracy == pytest.approx(sum(each.n_correct for each in cells) / arm.n)
    assert -1e-9 <= arm.low <= arm.accuracy + 1e-12 <= arm.high + 2e-12 <= 1 + 1e-9
    if len(cells) == 1:
        assert (arm.low, arm.high) == pytest.approx((cells[0].ci_low, cells[0].ci_high))


def test_cells_without_answers_do_not_count_and_unknown_costs_stay_unknown() -> None:
    cells = [
        cell("a", "m", "direct"),
        cell("b", "m", "direct", n=0, right=0),
        cell("c", "m", "direct", mean_flops=None, mean_tokens=float("nan")),
    ]
    (arm,) = pooled_arms(cells)
    assert arm.n == 400
    assert arm.flops is None
    assert math.isnan(arm.tokens)
    assert pooled_arms(cells[1:2]) == []


@pytest.mark.parametrize("truths", [(0.5, 0.5), (0.9, 0.2, 0.6), (0.97, 0.99, 0.95, 0.9)])
def test_intervals_cover_the_mean_over_the_tasks(truths: tuple[float, ...]) -> None:
    rng = np.random.default_rng(1)
    sizes = [40 * (i + 1) for i in range(len(truths))]
    weights = [size / sum(sizes) for size in sizes]
    mean = sum(w * truth for w, truth in zip(weights, truths, strict=True))
    n_runs = 1500
    n_covered = 0
    for _ in range(n_runs):
        rights = [int(rng.binomial(n, truth)) for n, truth in zip(sizes, truths, strict=True)]
        cells = [
            cell(f"t{i}", "m", "direct", n=n, right=k)
            for i, (n, k) in enumerate(zip(sizes, rights, strict=True))
        ]
        (arm,) = pooled_arms(cells)
        n_covered += arm.low <= mean <= arm.high
    assert 0.93 <= n_covered / n_runs <= 0.975
