"""References of the router's benchmark learn what is there to be learnt, and results are kept."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks import router_targets
from benchmarks._target_references import REFERENCES, Expected, cross_fitted
from benchmarks.router_targets import Result, judged
from calibration import Outcome, OutcomeRecord
from router import OutcomeMatrix

pytest.importorskip("sklearn", reason="the references need scikit-learn")

N = 160


@pytest.fixture(scope="module")
def matrix() -> OutcomeMatrix:
    """Return outcomes in which the word `hard` says who needs the dear arm."""
    rng = np.random.default_rng(0)
    records: list[OutcomeRecord] = []
    for number in range(N):
        word = "hard" if number % 2 else "easy"
        prompt = f"An {word} question about {rng.choice(['cats', 'dogs', 'birds'])}: {number}?"
        for policy, tokens in (("direct", 10), ("reasoning@max", 200)):
            is_right = word == "easy" or policy != "direct"
            records.append(
                OutcomeRecord(
                    *(f"q{number}", f"q{number}", "t", "math-oe", prompt, "m", None, policy),
                    Outcome.CORRECT if is_right else Outcome.WRONG,
                    *(5, tokens, None, 0.0),
                )
            )
    return OutcomeMatrix.from_records(records)


@pytest.mark.parametrize("name", sorted(REFERENCES))
def test_a_reference_finds_the_word_that_tells(name: str, matrix: OutcomeMatrix) -> None:
    def expect(folds: list[NDArray[np.int64]], arm: int) -> Expected:
        return cross_fitted(name, matrix, folds, arm)

    found = judged(matrix, "reasoning@max", expect)
    assert found.metrics.headroom is not None
    assert found.metrics.headroom > 0.9
    assert found.headline_point.tokens_saved == pytest.approx(0.475, abs=0.03)
    assert found.headline_fixed_cap_point.tokens_saved == 0.0


def test_a_result_is_measured_again_only_when_something_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(router_targets, "CACHE", tmp_path / "kept")
    n_made = 0

    def make() -> Result:
        nonlocal n_made
        n_made += 1
        return {"saved": 0.5, "ends": (0.4, 0.6)}

    def ask(key: str, *, is_fresh: bool = False) -> Result:
        return router_targets._cached("one", key, make, is_fresh=is_fresh)

    first = ask("a")
    assert (first, n_made) == ({"saved": 0.5, "ends": [0.4, 0.6]}, 1)
    assert (ask("a"), n_made) == (first, 1)
    ask("b")
    ask("b", is_fresh=True)
    assert n_made == 3
