"""What a fitted router is asked for: explanations, mean costs, deadlines, two-stage answers."""

import json
import random
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from calibration import Outcome, OutcomeRecord
from policies import (
    Evidence,
    GenerationRequest,
    InvalidInputError,
    NoAdmissibleArmError,
    Usage,
)
from policies.backends.fake import FakeAnswer, FakeBackend
from router import Objective, Price, Router

Records = list[OutcomeRecord]
MakeRecords = Callable[..., Records]
LONG_SUM = "Compute, left to right: 3+4*5-1*2+7*3"
RELATION = "Who is the boss of the friend of Ada?"


def test_an_explanation_is_one_json_document(router: Router) -> None:
    explained = router.explain(LONG_SUM, n_neighbours=3)
    document = json.loads(json.dumps(explained.to_json(), allow_nan=False))
    assert LONG_SUM not in json.dumps(document)
    assert [each["arm"] for each in document["candidates"]] == [arm.name for arm in router.arms]
    for each in document["candidates"]:
        assert {"arm", "p", "p_low", "p_high", "tokens", "flops", "seconds", "cost"} <= set(each)
        assert 0.0 <= each["p_low"] <= each["p"] <= each["p_high"] <= 1.0
        assert each["p_high"] - each["p_low"] < 0.3
        assert 0 < each["tokens_p10"] <= each["tokens_p90"] <= each["tokens_p99"]
        assert each["n_similar"] > 0
        assert each["flops"] > 0
    assert len(document["neighbours"]) == 3
    assert len(document["explanation"]) == len(document["reasons"])
    assert document["is_known"] is False
    assert document["arm"] == router.decide(LONG_SUM).arm.name


def test_an_explanation_knows_what_was_measured(router: Router, records: Records) -> None:
    explained = router.explain(records[0].prompt, n_neighbours=200)
    assert explained.is_known
    nearest = {each.question_id for each in explained.neighbours if each.similarity > 0.999}
    assert records[0].question_id in nearest
    similarities = [each.similarity for each in explained.neighbours]
    assert similarities == sorted(similarities, reverse=True)
    by_policy = {r.policy: r.outcome is Outcome.CORRECT for r in records[:3]}
    (own,) = (e for e in explained.neighbours if e.question_id == records[0].question_id)
    assert own.correct == {f"toy:{policy}": float(right) for policy, right in by_policy.items()}


@pytest.mark.parametrize(("unit", "limit"), [("tokens", 30.0), ("tokens", 60.0), ("flops", 3e8)])
def test_a_mean_cost_is_kept_on_questions_like_those_of_the_fit(
    router: Router, make_records: MakeRecords, records: Records, unit: str, limit: float
) -> None:
    objective = Objective.on_average(limit, unit)  # pyright: ignore[reportArgumentType]
    for drawn in (records, make_records(400, seed=11)):
        prompts = [record.prompt for record in drawn if record.policy == "direct"]
        decisions = router.decide_many(prompts, objective=objective)
        mean = np.mean([decision.chosen.cost for decision in decisions])
        assert mean <= 1.08 * limit  # new questions are not the old ones
        assert decisions[0].objective == objective
    assert mean > 0.4 * limit  # and what there is is used


def test_a_larger_mean_cost_never_buys_less(router: Router, records: Records) -> None:
    prompts = [record.prompt for record in records[::3]]
    means = [
        np.mean(
            [d.chosen.p for d in router.decide_many(prompts, objective=Objective.on_average(limit))]
        )
        for limit in (10.0, 30.0, 60.0, 1e6)
    ]
    assert means == sorted(means)
    assert means[-1] > means[0] + 0.1


def test_a_mean_cost_below_the_cheapest_arms_is_refused(router: Router) -> None:
    with pytest.raises(NoAdmissibleArmError, match="mean cost of 1 tokens"):
        router.decide(LONG_SUM, objective=Objective.on_average(1.0))
    with pytest.raises(NoAdmissibleArmError):
        router.decide_many([LONG_SUM] * 3, objective=Objective.on_average(0.0))


def test_a_mean_cost_can_be_the_default_objective(make_records: MakeRecords) -> None:
    router = Router.fit(
        make_records(100),
        objective=Objective.on_average(30e-6, "usd"),
        prices={"toy": Price(0.0, 1e-6)},
    )
    assert router.decide(RELATION).chosen.cost < 1e-4
    with pytest.raises(NoAdmissibleArmError):
        Router.fit(make_records(100), objective=Objective.on_average(0.001))


def test_a_deadline_leaves_only_arms_that_keep_it(router: Router) -> None:
    free = router.decide(LONG_SUM, objective=Objective.trade(0.0))
    assert free.policy == "reasoning@64"
    assert free.chosen.seconds is not None
    hurried = router.decide(
        LONG_SUM, objective=replace(Objective.trade(0.0), max_seconds=0.5 * free.chosen.seconds)
    )
    assert hurried.policy == "direct"
    patient = router.decide(LONG_SUM, objective=replace(Objective.trade(0.0), max_seconds=60.0))
    assert patient.arm == free.arm


def test_a_deadline_that_no_arm_keeps_is_an_error(router: Router) -> None:
    with pytest.raises(NoAdmissibleArmError, match=r"more than 0\.001 s"):
        router.decide(LONG_SUM, objective=replace(Objective.trade(0.0), max_seconds=0.001))


def test_a_deadline_needs_measured_seconds(make_records: MakeRecords) -> None:
    records = [replace(record, seconds=None) for record in make_records(60)]
    router = Router.fit(records)
    with pytest.raises(InvalidInputError, match="seconds"):
        router.decide(LONG_SUM, objective=replace(Objective.trade(0.0), max_seconds=1.0))


def telling(records: Records) -> Records:
    """Direct answers tell by their log-probability whether they are right."""
    rng = random.Random(3)

    def tell(record: OutcomeRecord) -> OutcomeRecord:
        if record.policy != "direct":
            return record
        center = 0.1 if record.outcome is Outcome.CORRECT else 1.2
        logprob = -abs(rng.gauss(center, 0.1))
        return replace(record, evidence=Evidence(logprob, logprob))

    return [tell(record) for record in records if record.policy != "reasoning@max"]


@pytest.fixture(scope="module")
def looking(make_records: MakeRecords) -> Router:
    """Of relations a direct answer is wrong one time in ten, which it says itself."""
    router = Router.fit(telling(make_records(500)), objective=Objective.trade(0.0005))
    assert router.describe()["cascade"] is not None
    return router


EASY = "Compute, left to right: 1+2*3"


def two_stage(router: Router) -> str:
    prompts = [EASY, RELATION, LONG_SUM, "Compute, left to right: 1+2*3-4"]
    return next(p for p in prompts if router.decide(p).escalation is not None)


def test_a_doubtful_answer_is_asked_again_and_a_sound_one_is_kept(looking: Router) -> None:
    decision = looking.decide(two_stage(looking))
    assert decision.policy == "direct"
    assert "look-first" in decision.reasons
    assert decision.escalation is not None
    assert decision.escalation.arms == ("toy:reasoning@64",)
    assert decision.escalation.p > decision.chosen.p
    assert decision.escalation.cost > decision.chosen.cost
    kept = looking.escalate(decision, Evidence(-0.1, -0.1), Usage(10, 4))
    assert kept.arm == decision.arm
    assert kept.reasons[0] == "answer-kept"
    assert kept.chosen.p > decision.chosen.p
    asked = looking.escalate(decision, Evidence(-1.2, -1.2), Usage(10, 4))
    assert asked.policy == "reasoning@64"
    assert asked.reasons[0] == "escalated"
    assert asked.escalation is None
    assert asked.candidates[0].p < decision.candidates[0].p
    nothing = looking.escalate(decision, None, Usage(10, 4))
    assert nothing.policy == "reasoning@64"
    with pytest.raises(InvalidInputError, match="single call"):
        looking.escalate(asked, None, Usage(1, 1))


@pytest.mark.parametrize(("logprob", "n_calls"), [(-0.1, 1), (-1.2, 2)])
async def test_both_answers_are_billed(looking: Router, logprob: float, n_calls: int) -> None:
    def answer(request: GenerationRequest) -> FakeAnswer:
        if request.thinking:
            return FakeAnswer("the right one", thinking="so it must be this", logprob=-0.01)
        return FakeAnswer("a guess", logprob=logprob)

    backend = FakeBackend(answer, model="toy", latency_s=0.01)
    routed = await looking.bind({"toy": backend}).acomplete(two_stage(looking))
    assert len(backend.calls) == n_calls == routed.n_calls
    assert backend.calls[0].logprobs
    assert routed.text == ("a guess" if n_calls == 1 else "the right one")
    alone = FakeBackend(answer, model="toy", latency_s=0.01)
    completions = [await alone.generate(request) for request in backend.calls]
    usage = completions[0].usage if n_calls == 1 else completions[0].usage + completions[1].usage
    assert routed.usage == usage
    assert routed.usage.completion_tokens > 0
    assert routed.completion.seconds == pytest.approx(0.01 * n_calls)
    assert routed.decision.reasons[0] == ("answer-kept" if n_calls == 1 else "escalated")


async def test_a_backend_without_log_probabilities_keeps_the_first_answer_or_asks_again(
    looking: Router,
) -> None:
    """Nothing is known about the answer then; the decision rests on what is always known."""
    from policies import Capability

    capabilities = frozenset(Capability) - {
        Capability.LOGPROBS,
        Capability.LOGIT_BIAS,
        Capability.ATTACHMENTS,
    }
    backend = FakeBackend(
        lambda _: FakeAnswer("x", thinking="y"), model="toy", capabilities=capabilities
    )
    routed = await looking.bind({"toy": backend}).acomplete(two_stage(looking))
    assert not backend.calls[0].logprobs
    assert routed.n_calls == len(backend.calls)
