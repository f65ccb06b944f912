"""The median of rounds and its interval."""

import random

import pytest

from benchmarks.serving._measure import middle


# Ranks of the sign test's 95% interval, as tables of nonparametric statistics print them (Conover,
# Practical Nonparametric Statistics, table A3, p = 0.5); five values cannot cover more than 94%.
@pytest.mark.parametrize(
    ("n", "low", "high"), [(1, 1, 1), (5, 1, 5), (6, 1, 6), (9, 2, 8), (10, 2, 9), (20, 6, 15)]
)
def test_middle_takes_the_order_statistics_of_the_sign_test(n: int, low: int, high: int) -> None:
    values = [float(rank) for rank in range(1, n + 1)]
    random.Random(n).shuffle(values)
    assert middle(values) == ((n + 1) / 2, low, high)


def test_the_interval_covers_the_median_as_often_as_it_says() -> None:
    rng = random.Random(0)
    n_rounds = 2000
    hits = 0
    for _ in range(n_rounds):
        found = middle([rng.lognormvariate(0.0, 1.0) for _ in range(9)])
        hits += found.low <= 1.0 <= found.high
    # Exactly 1 - 2 * (1 + 9) / 2**9 = 0.961; its standard error over 2000 rounds is 0.0043.
    assert hits / n_rounds == pytest.approx(0.961, abs=4 * 0.0043)
