"""The benchmark `advice`: what it promises, and that it says where the advice does not help."""

import re

import pytest

from benchmarks import advice
from benchmarks._report import Report, Row
from tests.advisor.inference import oracle


@pytest.fixture(scope="module", name="rows")
def _rows() -> list[Row]:
    report = Report()
    report.begin("advice")
    advice.run(report)
    assert not report.has_failures
    return report.rows


def test_no_target_is_missed_and_the_small_sizes_have_one(rows: list[Row]) -> None:
    targeted = [row for row in rows if row.is_met is not None]
    assert all(row.is_met for row in targeted)
    assert {row.case.split(",")[0] for row in targeted} >= {"0.5B", "1.5B"}


def test_naive_rules_have_the_regret_that_the_oracle_computes(rows: list[Row]) -> None:
    gains = 100 * oracle.gain(oracle.published())
    every = gains > -1000
    expected = {
        "always reasoning": oracle.regret(every, gains).mean(axis=(0, 1)),
        "always IFT": oracle.regret(~every, gains).mean(axis=(0, 1)),
    }
    compared = [row for row in rows if row.baseline is not None]
    assert len(compared) >= 30
    for row in compared:
        size = oracle.SIZES.index(row.case.split(",")[0])
        assert row.baseline is not None
        assert row.baseline_value == pytest.approx(expected[row.baseline][size], abs=1e-6)


def test_each_comparison_says_in_words_which_way_it_went(rows: list[Row]) -> None:
    n_worse = 0
    for row in rows:
        if row.baseline_value is None or row.value is None:
            continue
        said = re.match(r"(better|WORSE) by ([\d.]+) points|NO BETTER", row.note)
        assert said is not None
        difference = row.baseline_value - row.value
        if said[1] is not None:
            assert (said[1] == "better") == (difference > 0)
            assert float(said[2]) == pytest.approx(abs(difference), abs=0.006)
        n_worse += difference < 0
    # With nothing measured on the corpus, following the fallback is worse than a naive rule.
    assert n_worse >= 5


def test_without_a_measured_cell_it_abstains_and_the_ends_are_not_judged(rows: list[Row]) -> None:
    alone = [row for row in rows if "nothing measured" in row.case]
    assert len(alone) == 10
    assert sum("ABSTAINS on all" in row.note for row in alone) == 5
    assert all(row.is_met is None for row in alone)
    refused = [row.case for row in rows if row.value is None]
    assert refused == ["0.5B, this size left out", "14B, this size left out"]
