"""`advisor drift` and `advisor offpolicy`, and their exit codes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calibration import Outcome
from router import FeedbackLog, LoggedDecision, LoggedOutcome

ARMS = ("toy:direct", "toy:reasoning@64")


def write_log(
    path: Path, n: int, *, is_explored: bool = True, n_long: int = 0, artifact_id: str = "abc"
) -> Path:
    """Write a log in which the second arm is right more often, the last prompts being long."""
    rng = np.random.default_rng(1)
    entries: list[LoggedDecision] = []
    for number in range(n):
        arm = int(rng.integers(2)) if is_explored else 0
        p = (0.5, 0.8)
        is_right = bool(rng.random() < p[arm])
        length = float(rng.lognormal(5.0, 1.0)) * (8.0 if number >= n - n_long else 1.0)
        entries.append(
            LoggedDecision(
                decision_id=f"d{number}",
                time_s=1.7e9 + number,
                artifact_id=artifact_id,
                arms=ARMS,
                arm=ARMS[arm],
                p=p,
                tokens=(5.0, 50.0),
                cost=(5.0, 50.0),
                unit="tokens",
                propensities=(0.5, 0.5) if is_explored else None,
                features={"n_bytes": length},
                outcome=LoggedOutcome(
                    1.7e9 + number,
                    Outcome.CORRECT if is_right else Outcome.WRONG,
                    float(is_right),
                    (5, 50)[arm],
                ),
            )
        )
    with FeedbackLog.open(path) as log:
        log.record_many(entries)
    return path


@pytest.mark.parametrize(("n_long", "code"), [(0, 0), (200, 6)])
def test_drift_exits_with_6_on_an_alarm(
    advisor: Callable[..., Any], tmp_path: Path, n_long: int, code: int
) -> None:
    log = write_log(tmp_path / "log.sqlite", 800, n_long=n_long)
    found = advisor("drift", log, "--baseline", 400, "--json")
    assert found.code == code
    document = found.json()
    assert document["schema_version"] == 1
    assert document["alarm"] == bool(code)
    assert document["which"] == ["n_bytes input"] * bool(code)
    assert (document["n"], document["n_reference"], document["alpha"]) == (400, 400, 0.05)
    shown = advisor("drift", log, "--baseline", 400)
    assert shown.code == code
    assert ("ALARM: n_bytes input" in shown.out) == bool(code)


def test_drift_without_a_reference_watches_outcomes(
    advisor: Callable[..., Any], tmp_path: Path
) -> None:
    log = write_log(tmp_path / "log.sqlite", 100, n_long=100)
    document = advisor("drift", log, "--json").json()
    assert {signal["name"] for signal in document["signals"]} == set(ARMS)


def test_a_log_shorter_than_its_baseline_is_told(
    advisor: Callable[..., Any], tmp_path: Path
) -> None:
    log = write_log(tmp_path / "log.sqlite", 50)
    found = advisor("drift", log, "--baseline", 400)
    assert found.code == 0
    assert "no decision after its first 400: no prompt was compared" in found.err


def test_a_mean_cost_needs_the_questions_of_a_router(
    advisor: Callable[..., Any], tmp_path: Path
) -> None:
    log = write_log(tmp_path / "log.sqlite", 50)
    for option in ("--max-mean-cost", "--max-cost-per-1000"):
        found = advisor("offpolicy", log, option, 20)
        assert (found.code, found.out) == (2, "")
        assert "give --router" in found.err


def test_intervals_of_an_accuracy_end_where_it_can_be(
    advisor: Callable[..., Any], tmp_path: Path
) -> None:
    shown = advisor("offpolicy", write_log(tmp_path / "log.sqlite", 30), "--lambda", 0.0).out
    line = next(each for each in shown.splitlines() if "as logged" in each)
    assert all(0.0 <= float(end) <= 1.0 for end in line.split()[-2:])


def test_offpolicy_estimates_another_objective(advisor: Callable[..., Any], tmp_path: Path) -> None:
    log = write_log(tmp_path / "log.sqlite", 1000)
    found = advisor("offpolicy", log, "--lambda", 0.0, "--json")
    assert found.code == 0
    accuracy = found.json()["accuracy"]
    assert accuracy["refusal"] is None
    robust = accuracy["doubly_robust"]
    assert robust["ci_low"] <= 0.8 <= robust["ci_high"]
    assert accuracy["difference"]["ci_low"] > 0.0
    assert found.json()["tokens"]["doubly_robust"]["value"] == pytest.approx(50.0)
    assert "doubly robust" in advisor("offpolicy", log, "--lambda", 0.0).out


def test_offpolicy_refuses_a_log_without_exploration(
    advisor: Callable[..., Any], tmp_path: Path
) -> None:
    log = write_log(tmp_path / "log.sqlite", 200, is_explored=False)
    found = advisor("offpolicy", log, "--lambda", 0.0, "--json")
    assert found.code == 6
    assert "without exploration" in found.json()["accuracy"]["refusal"]
    assert "NO ESTIMATE" in advisor("offpolicy", log, "--lambda", 0.0).out
    assert advisor("offpolicy", log, "--lambda", 1.0, "--json").code == 0


def test_wrong_use_is_told(advisor: Callable[..., Any], tmp_path: Path) -> None:
    missing = advisor("drift", tmp_path / "none.sqlite")
    assert (missing.code, missing.out) == (3, "")
    assert "there is no feedback log" in missing.err
    log = write_log(tmp_path / "log.sqlite", 10)
    assert advisor("offpolicy", log).code == 2
    assert advisor("drift", log, "--alpha", 2).code == 2
