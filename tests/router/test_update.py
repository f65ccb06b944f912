from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from calibration import Outcome, OutcomeRecord
from policies import InvalidInputError
from router import OutcomeMatrix, Router
from router.feedback._feedback import FeedbackLog
from router.feedback._logged import LoggedDecision, LoggedOutcome
from router.feedback._update import update_records

ARMS = ("toy:direct", "toy:reasoning@64", "toy:reasoning@max")
CORRECT = LoggedOutcome(2.0, Outcome.CORRECT, 1.0, 7, 0.5)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[FeedbackLog]:
    with FeedbackLog.open(tmp_path / "log.sqlite", store_prompts=True) as opened:
        yield opened


@pytest.fixture
def run(make_records: Callable[..., list[OutcomeRecord]]) -> list[OutcomeRecord]:
    return make_records(80)


def entry(
    name: str,
    prompt: str | None = None,
    outcome: LoggedOutcome | None = CORRECT,
    *,
    arm: str = ARMS[0],
    arms: tuple[str, ...] = ARMS,
    propensities: tuple[float, ...] | None = None,
    is_hinted: bool = False,
) -> LoggedDecision:
    return LoggedDecision(
        decision_id=name,
        time_s=1.0,
        artifact_id="abc",
        arms=arms,
        arm=arm,
        p=(0.5,) * len(arms),
        tokens=(5.0,) * len(arms),
        cost=(5.0,) * len(arms),
        unit="tokens",
        propensities=propensities,
        posterior={"general-oe": 0.9, "math-oe": 0.1},
        is_hinted=is_hinted,
        prompt=prompt,
        outcome=outcome,
    )


def test_a_new_prompt_becomes_a_question_of_its_own(
    log: FeedbackLog, run: list[OutcomeRecord]
) -> None:
    log.record_many(
        [
            entry("d1", "new?", arm=ARMS[1], propensities=(0.2, 0.7, 0.1)),
            entry("d2", "new?", is_hinted=True),
        ]
    )
    merged = update_records(run, log)
    assert merged.records[: len(run)] == run
    first, second = merged.records[len(run) :]
    assert (first.task, first.task_type, first.prompt) == ("feedback", "general-oe", "new?")
    assert (first.model, first.policy, first.size) == ("toy", "reasoning@64", 1_000_000)
    assert (first.outcome, first.completion_tokens, first.seconds) == (Outcome.CORRECT, 7, 0.5)
    assert (first.prompt_tokens, first.flops) == (None, None)
    assert first.question_id == second.question_id == first.group
    assert merged.propensities == (0.7, 1.0)
    assert (merged.n_added, merged.n_same_question, merged.n_guessed_type) == (2, 0, 1)
    assert merged.skipped == {}


def test_a_prompt_of_the_run_is_one_more_sample_of_its_question(
    log: FeedbackLog, run: list[OutcomeRecord]
) -> None:
    known = run[0]
    log.record_many([entry("d1", known.prompt)])
    merged = update_records(run, log)
    added = merged.records[-1]
    assert (added.question_id, added.task, added.task_type, added.group) == (
        known.question_id,
        known.task,
        known.task_type,
        known.group,
    )
    assert (merged.n_same_question, merged.n_guessed_type) == (1, 0)
    before, after = OutcomeMatrix.from_records(run), OutcomeMatrix.from_records(merged.records)
    assert after.n_questions == before.n_questions
    assert after.n_samples.sum() == before.n_samples.sum() + 1


def test_what_cannot_be_learned_from_is_refused_and_counted(
    log: FeedbackLog, run: list[OutcomeRecord]
) -> None:
    other = ("other:direct",)
    log.record_many(
        [
            entry("good", "new?"),
            entry("silent", "new?", None),
            entry("hash only"),
            entry("partial", "new?", LoggedOutcome(1.0, None, 0.5)),
            entry("failed", "new?", LoggedOutcome(1.0, Outcome.ERROR, None)),
            entry("foreign", "new?", arm=other[0], arms=other),
        ]
    )
    merged = update_records(run, log)
    assert merged.n_added == 1
    assert merged.skipped == {
        "error": 1,
        "no-outcome": 1,
        "no-prompt": 1,
        "other-arm": 1,
        "partial-score": 1,
    }


def test_a_log_that_adds_nothing_is_an_error_with_reasons(
    log: FeedbackLog, run: list[OutcomeRecord]
) -> None:
    with pytest.raises(InvalidInputError, match="it is empty"):
        update_records(run, log)
    log.record_many([entry("hash only")])
    with pytest.raises(InvalidInputError, match="no-prompt: 1") as raised:
        update_records(run, log)
    assert raised.value.code == "nothing-to-add"


def test_the_newest_questions_are_kept_up_to_a_share(
    log: FeedbackLog, run: list[OutcomeRecord]
) -> None:
    log.record_many([entry(f"d{i}", f"prompt {i % 100}") for i in range(200)])
    merged = update_records(run, log, max_share=0.2)
    added = merged.records[len(run) :]
    # 80 questions of the run are four fifths.
    assert {record.prompt for record in added} == {f"prompt {i}" for i in range(80, 100)}
    assert (merged.n_added, merged.skipped) == (40, {"beyond-limit": 160})
    for bad in (1.0, -0.1):
        with pytest.raises(InvalidInputError, match="max_share"):
            update_records(run, log, max_share=bad)


def test_only_one_routers_decisions_can_be_taken(
    log: FeedbackLog, run: list[OutcomeRecord]
) -> None:
    log.record_many([entry("d1", "new?")])
    assert update_records(run, log, artifact_id="abc").n_added == 1
    with pytest.raises(InvalidInputError, match="adds nothing"):
        update_records(run, log, artifact_id="other")


def test_a_router_learns_from_feedback(
    log: FeedbackLog, make_records: Callable[..., list[OutcomeRecord]]
) -> None:
    """A run in which the direct arm fails on sums; feedback says it has become right."""
    run = make_records(150)
    log.record_many(
        [
            entry(f"d{i}", f"Compute, left to right: {i}+3*4-5+{i % 7}", is_hinted=True)
            for i in range(140)
        ]
    )
    prompt = "Compute, left to right: 8+3*4-5+6"
    before, after = (
        Router.fit(records).predict([prompt]).p_correct[0]
        for records in (run, update_records(run, log).records)
    )
    assert after[0] > before[0] + 0.1
