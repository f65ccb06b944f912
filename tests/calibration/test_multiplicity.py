"""Adjusted p-values against statsmodels, and what they promise by simulation."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests

from calibration.statistics import benjamini_hochberg, holm
from policies import InvalidInputError

Adjust = Callable[[Sequence[float]], list[float]]
METHODS: dict[str, Adjust] = {"holm": holm, "fdr_bh": benjamini_hochberg}
p_values = st.lists(st.floats(0, 1), min_size=1, max_size=30)
PUBLISHED = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240,
             0.4262, 0.5719, 0.6528, 0.7590, 1.0]  # fmt: skip


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "values",
    [PUBLISHED, [0.5], [0.0, 0.0, 1.0], [0.04, 0.01, 0.04, 0.03], [0.9, 0.8, 0.7], [1e-300, 0.02]],
    ids=len,
)
def test_adjusted_equal_statsmodels(method: str, values: list[float]) -> None:
    # Not drawn by hypothesis: each of its calls takes half a second.
    expected = multipletests(values, method=method)[1]
    assert METHODS[method](values) == pytest.approx(expected, rel=1e-12, abs=1e-310)


def test_example_of_benjamini_and_hochberg() -> None:
    """Section 4.1 of the 1995 paper: at 5% step-down rejects 3 of 15 hypotheses, step-up 4."""
    assert sum(p <= 0.05 for p in holm(PUBLISHED)) == 3
    assert sum(p <= 0.05 for p in benjamini_hochberg(PUBLISHED)) == 4


@pytest.mark.parametrize("method", METHODS)
@given(values=p_values, seed=st.integers(0, 2**32))
@settings(deadline=None)
def test_adjusted_grow_keep_their_order_and_follow_permutations(
    method: str, values: list[float], seed: int
) -> None:
    adjusted = METHODS[method](values)
    assert all(p <= q <= 1 for p, q in zip(values, adjusted, strict=True))
    by_raw = sorted(zip(values, adjusted, strict=True))
    assert [q for _, q in by_raw] == sorted(adjusted)
    order = np.random.default_rng(seed).permutation(len(values)).tolist()
    assert METHODS[method]([values[i] for i in order]) == pytest.approx(
        [adjusted[i] for i in order]
    )


@given(values=p_values)
@settings(deadline=None)
def test_exploring_is_never_stricter_than_claiming(values: list[float]) -> None:
    claims, findings = holm(values), benjamini_hochberg(values)
    assert all(q <= p + 1e-12 for p, q in zip(claims, findings, strict=True))


def test_holm_makes_no_false_claim_more_often_than_promised_where_raw_p_values_do() -> None:
    """10 tests, 7 of them of true hypotheses, correlated; 4000 families."""
    rng = np.random.default_rng(1)
    n_families, n_false, n_naive = 4000, 0, 0
    for _ in range(n_families):
        z = 0.6 * rng.normal() + 0.8 * rng.normal(size=10)
        z[7:] += 3
        values = (2 * stats.norm.sf(abs(z))).tolist()
        n_false += any(p <= 0.05 for p in holm(values)[:7])
        n_naive += any(p <= 0.05 for p in values[:7])
    limit = stats.binom.ppf(0.999, n_families, 0.05)
    assert n_false <= limit
    assert n_naive > 3 * limit


def test_benjamini_hochberg_keeps_the_share_of_false_findings() -> None:
    """20 independent tests, 15 of true hypotheses: the expected share is 5% * 15/20."""
    rng = np.random.default_rng(2)
    shares: list[float] = []
    for _ in range(4000):
        z = rng.normal(size=20)
        z[15:] += 3
        found = [p <= 0.05 for p in benjamini_hochberg((2 * stats.norm.sf(abs(z))).tolist())]
        shares.append(sum(found[:15]) / max(1, sum(found)))
    # Standard error of 4000 shares with a deviation of about 0.1.
    assert np.mean(shares) == pytest.approx(0.0375, abs=0.006)


@pytest.mark.parametrize("method", METHODS)
def test_families_of_none_and_one(method: str) -> None:
    assert METHODS[method]([]) == []
    assert METHODS[method]([0.04]) == [0.04]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_what_is_no_p_value_is_refused(method: str, value: float) -> None:
    with pytest.raises(InvalidInputError, match="between 0 and 1"):
        METHODS[method]([0.5, value])
