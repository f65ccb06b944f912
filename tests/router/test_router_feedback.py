"""`Router.record`, exploration and the drift reference, as a user meets them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from calibration import OutcomeRecord
from policies import ConfigError, InvalidInputError
from policies.backends.fake import FakeAnswer, FakeBackend
from router import (
    DriftMonitor,
    FeedbackLog,
    Objective,
    Router,
    ThompsonSampling,
    load_reference,
)

PROMPT = "Compute, left to right: 3+4*5-1*2+7*3"


def test_decisions_and_outcomes_reach_the_log(tmp_path: Path, router: Router) -> None:
    with FeedbackLog.open(tmp_path / "log.sqlite", store_prompts=True) as log:
        logged = router.with_feedback(log)
        decision = logged.decide(PROMPT)
        name = logged.record(decision)
        assert name == decision.decision_id
        logged.record(decision, "correct", completion_tokens=7)
        (found,) = log.decisions()
    assert (found.decision_id, found.arm) == (name, decision.arm.name)
    assert found.prompt == PROMPT
    assert found.p == tuple(candidate[1] for candidate in decision.candidates)
    assert found.propensities is None
    assert set(found.features) >= {"n_bytes", "unknown_word_share"}
    assert found.outcome
    assert (found.outcome.score, found.outcome.completion_tokens) == (1.0, 7)


def test_an_answer_brings_its_tokens_along(tmp_path: Path, router: Router) -> None:
    bound = router.bind({"toy": FakeBackend(lambda _: FakeAnswer("42"), model="toy")})
    logged = bound.with_feedback(tmp_path / "log.sqlite")
    routed = logged.complete(PROMPT)
    logged.record(routed, False)
    with FeedbackLog.read(tmp_path / "log.sqlite") as log:
        (found,) = log.decisions()
    assert found.prompt is None
    assert found.outcome
    assert found.outcome.completion_tokens == routed.usage.completion_tokens


def test_without_a_log_recording_says_what_to_do(router: Router) -> None:
    with pytest.raises(ConfigError, match="with_feedback") as raised:
        router.record(router.decide(PROMPT), True)
    assert raised.value.code == "missing-feedback-log"


def test_a_decision_of_another_router_is_refused(tmp_path: Path, router: Router) -> None:
    from dataclasses import replace

    logged = router.with_feedback(tmp_path / "log.sqlite")
    with pytest.raises(InvalidInputError, match="made by the router 'other'"):
        logged.record(replace(router.decide(PROMPT), artifact_id="other"), True)


def test_ids_are_unique_and_stay(router: Router) -> None:
    first, second = router.decide_many([PROMPT, PROMPT])
    assert first.decision_id == first.decision_id
    assert first.decision_id != second.decision_id
    assert PROMPT not in repr(first)
    assert PROMPT not in str(first.to_json())


def test_exploration_is_off_unless_asked_for(router: Router) -> None:
    objective = Objective.trade(1e-4)
    greedy = router.decide(PROMPT, objective=objective)
    assert greedy.propensities is None
    settings = ThompsonSampling(floor=0.3, max_regret=1.0)

    def explore(seed: int) -> list[str]:
        rng = np.random.default_rng(seed)
        made = [
            router.decide(PROMPT, objective=objective, exploration=settings, rng=rng)
            for _ in range(40)
        ]
        for decision in made:
            assert decision.propensities
            assert min(decision.propensities) >= 0.3 - 1e-12
            assert ("explored" in decision.reasons) == (decision.arm != greedy.arm)
        return [decision.arm.name for decision in made]

    assert explore(1) == explore(1)
    assert len(set(explore(1))) == 3


def test_a_router_stores_what_its_prompts_looked_like(tmp_path: Path, router: Router) -> None:
    router.save(tmp_path / "router")
    reference = load_reference(tmp_path / "router")
    assert reference
    assert reference.n > 50
    assert {"n_bytes", "unknown_word_share", "is(general-oe)"} <= set(reference.bins)
    assert Router.load(tmp_path / "router").artifact_id == router.artifact_id


def test_new_questions_of_the_same_kind_are_no_drift_other_prompts_are(
    tmp_path: Path, router: Router, make_records: Callable[..., list[OutcomeRecord]]
) -> None:
    router.save(tmp_path / "router")
    reference = load_reference(tmp_path / "router")
    fresh = list(dict.fromkeys(record.prompt for record in make_records(400, seed=9)))
    with FeedbackLog.open(tmp_path / "log.sqlite") as log:
        logged = router.with_feedback(log)
        for decision in router.decide_many(fresh):
            logged.record(decision)
        assert not DriftMonitor.from_log(log, reference).report().alarm
        for decision in router.decide_many([f"Tell me a tale about number {i}" for i in range(80)]):
            logged.record(decision)
        report = DriftMonitor.from_log(log, reference).report()
    assert report.alarm
    assert "unknown_word_share input" in report.which
