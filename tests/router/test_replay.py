"""What a router decides on the questions of its own fit."""

from dataclasses import replace

import numpy as np
import pytest

from policies import NoAdmissibleArmError
from router import Objective, Router, default_router
from tests.router.conftest import CREATED, RECORDS, draw_records


def test_a_replay_is_of_the_questions_and_outcomes_of_the_fit(
    router: Router, records: RECORDS
) -> None:
    replay = router.replay()
    right = {
        (one.question_id, f"toy:{one.policy}"): float(one.outcome == "correct") for one in records
    }
    spent = {(one.question_id, f"toy:{one.policy}"): one.completion_tokens for one in records}
    assert set(replay.question_ids) == {one.question_id for one in records}
    for column, arm in enumerate(router.arms):
        keys = [(question, arm.name) for question in replay.question_ids]
        assert replay.correct[:, column].tolist() == [right[key] for key in keys]
        assert replay.tokens[:, column].tolist() == [spent[key] for key in keys]
    kinds = {one.question_id: one.task_type for one in records}
    assert replay.task_types == tuple(kinds[question] for question in replay.question_ids)
    assert replay.is_out_of_fold


def test_decisions_follow_the_objective_and_hold_no_prompt(router: Router) -> None:
    replay = router.replay()
    score = replay.p_correct - (router.objective.tradeoff or 0.0) * replay.cost_expected
    for row, decision in enumerate(replay.decisions):
        assert decision is not None
        assert decision.arm == router.arms[int(score[row].argmax())]
        assert [each.p for each in decision.candidates] == replay.p_correct[row].tolist()
        assert decision.prompt is None
        assert not decision.task_posterior
        assert decision.artifact_id == router.artifact_id


def test_tradeoffs_go_from_the_most_accurate_choice_to_the_cheapest(router: Router) -> None:
    replay = router.replay()
    assert replay.tradeoff == router.objective.tradeoff
    assert replay.tradeoff in replay.tradeoffs
    assert (np.diff(replay.tradeoffs) > 0).all()
    assert (replay.choices[:, 0] == replay.p_correct.argmax(axis=1)).all()
    assert (replay.choices[:, -1] == replay.cost_expected.argmin(axis=1)).all()
    rows = np.arange(len(replay.choices))[:, np.newaxis]
    spent = replay.cost_expected[rows, replay.choices].mean(axis=0)
    # A higher price of cost never buys more of it.
    assert (np.diff(spent) <= 1e-9 * spent[0]).all()


def test_explanations_have_the_intervals_of_similar_questions(router: Router) -> None:
    replay = router.replay()
    found = replay.explain(3)
    assert found is not None
    assert found.decision is replay.decisions[3]
    assert found.is_known
    assert not found.neighbours
    assert all(each.p_low <= each.p <= each.p_high for each in found.candidates)
    assert "p minus the price of the cost is highest" in found.reasons


def test_another_objective_is_followed(router: Router) -> None:
    replay = router.replay(Objective.trade(0.0))
    arms = [decision and decision.arm for decision in replay.decisions]
    assert arms == [router.arms[column] for column in replay.p_correct.argmax(axis=1)]
    bound = router.replay(Objective.on_average(30.0, "tokens"))
    assert bound.tradeoff is not None
    assert bound.tradeoff in bound.tradeoffs


def test_questions_without_an_admissible_arm_have_no_decision(router: Router) -> None:
    cheapest = router.replay(Objective.trade(0.0, "tokens")).cost_expected.min(axis=1)
    cap = float(np.median(cheapest))
    replay = router.replay(Objective.within(cap, "tokens"))
    refused = [decision is None for decision in replay.decisions]
    assert refused == (cheapest > cap).tolist()
    assert any(refused)
    assert replay.explain(refused.index(True)) is None


def test_a_mean_cost_below_all_arms_is_refused(router: Router) -> None:
    with pytest.raises(NoAdmissibleArmError, match="below that of the cheapest"):
        router.replay(Objective.on_average(1e-6, "tokens"))


def test_gaps_are_not_measured() -> None:
    records = draw_records(60)
    kept = [one for one in records if one.policy != "direct" or one.question_id != "q7"]
    replay = Router.fit(kept, created=CREATED).replay()
    place = replay.question_ids.index("q7")
    assert np.isnan(replay.correct[place, 0])
    assert np.isnan(replay.tokens[place, 0])
    assert np.isnan(replay.correct).sum() == 1


@pytest.mark.parametrize(("n_questions", "n_groups"), [(20, 20), (80, 4)])
def test_too_few_questions_or_groups_are_not_out_of_fold(n_questions: int, n_groups: int) -> None:
    records = [
        replace(one, group=f"g{int(one.question_id[1:]) % n_groups}")
        for one in draw_records(n_questions)
    ]
    assert not Router.fit(records, created=CREATED).replay().is_out_of_fold


def test_a_replay_looks_first_where_the_router_does() -> None:
    replay = default_router().replay()
    looks = [one for one in replay.decisions if one is not None and one.escalation is not None]
    assert looks
    assert all("look-first" in one.reasons for one in looks)
