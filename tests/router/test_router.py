import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from calibration import OutcomeRecord
from policies import (
    Backend,
    Capability,
    CapabilityError,
    Completion,
    ConfigError,
    FinishReason,
    GenerationRequest,
    InvalidInputError,
    Message,
    NoAdmissibleArmError,
    UnknownNameError,
    Usage,
    user_message,
)
from router import BackendSpec, Objective, Price, Router

LONG_SUM = "Compute, left to right: 3+4*5-1*2+7*3"
RELATION = "Who is the boss of the friend of Ada?"


class Scripted:
    """A backend that says what it was asked."""

    name = "scripted"
    model = "toy"
    max_concurrency = 1

    def __init__(self, capabilities: frozenset[Capability] = frozenset(Capability)) -> None:
        self.capabilities = capabilities
        self.requests: list[GenerationRequest] = []
        self.loops: list[asyncio.AbstractEventLoop] = []
        self.n_closed = 0

    def identity(self) -> Mapping[str, str]:
        return {}

    async def generate(self, request: GenerationRequest) -> Completion:
        self.requests.append(request)
        self.loops.append(asyncio.get_running_loop())
        await asyncio.sleep(0)
        return Completion("42", FinishReason.STOP, Usage(3, 5), 0.1)

    async def aclose(self) -> None:
        self.n_closed += 1


@pytest.fixture
def backend() -> Scripted:
    return Scripted()


def test_decisions_follow_what_was_measured(router: Router) -> None:
    objective = Objective.trade(1e-4)
    assert router.decide(LONG_SUM, objective=objective).policy == "reasoning@64"
    assert router.decide(RELATION, objective=objective).policy == "direct"


def test_one_prompt_and_many_prompts_are_decided_alike(router: Router) -> None:
    prompts = [RELATION, LONG_SUM, "", "ünïcode"] * 100
    many = router.decide_many(prompts)
    assert len(many) == 400
    for prompt, decision in zip(prompts[:4], many, strict=False):
        alone = router.decide(prompt)
        assert (alone.arm, alone.candidates) == (decision.arm, decision.candidates)
    assert router.decide_many([]) == []
    assert router.predict([]).p_correct.shape == (0, 3)


def test_the_default_objective_keeps_accuracy_and_saves_cost(router: Router) -> None:
    assert router.objective.unit == "flops"
    assert router.objective.tradeoff is not None
    assert router.objective.tradeoff > 0


def test_a_hint_replaces_the_guess(router: Router) -> None:
    guessed, given = router.decide(RELATION), router.decide(RELATION, "math-oe")
    assert guessed.task_posterior["general-oe"] > 0.9
    assert given.task_posterior == {"general-oe": 0.0, "math-oe": 1.0}
    assert "task-guessed" in guessed.reasons
    assert "task-given" in given.reasons
    assert router.decide(RELATION, task="toy-math").candidates == given.candidates
    with pytest.raises(UnknownNameError):
        router.decide(RELATION, task="poetry")


@pytest.mark.parametrize(
    "objective",
    [
        Objective.trade(1e-3),
        Objective.at_least(0.8),
        Objective.at_least(1.0),
        Objective.within(50.0),
        Objective.trade(0.0, "seconds"),
        Objective.within(1e12, "flops"),
    ],
)
def test_the_chosen_arm_is_the_objectives_best_candidate(
    router: Router, objective: Objective
) -> None:
    decision = router.decide(LONG_SUM, objective=objective)
    chosen = decision.chosen
    assert chosen.arm == f"{decision.model}:{decision.policy}"
    assert decision.objective == objective
    for other in decision.candidates:
        if objective.tradeoff is not None:
            lost = objective.tradeoff * (chosen.cost - other.cost)
            assert chosen.p - lost >= other.p - 1e-12
        elif objective.max_cost is not None:
            assert chosen.cost <= objective.max_cost
            assert other.cost > objective.max_cost or other.p <= chosen.p
        elif "target-unreachable" in decision.reasons:
            assert other.p <= chosen.p
        else:
            target = objective.target_accuracy or 0.0
            assert chosen.p >= target
            assert other.p < target or other.cost >= chosen.cost


def test_an_impossible_cap_is_an_error(router: Router) -> None:
    with pytest.raises(NoAdmissibleArmError):
        router.decide(LONG_SUM, objective=Objective.within(0.5))


def test_money_needs_prices(router: Router, make_records: Callable[..., Any]) -> None:
    with pytest.raises(InvalidInputError, match="no price for toy"):
        router.decide(LONG_SUM, objective=Objective.trade(1.0, "usd"))
    priced = Router.fit(make_records(30), prices={"toy": Price(1e-6, 2e-6)}, unit="usd")
    assert priced.decide(LONG_SUM).chosen.cost > 0


def test_a_decision_is_one_json_document_without_the_prompt(router: Router) -> None:
    decision = router.decide(LONG_SUM)
    document = json.loads(json.dumps(decision.to_json(), allow_nan=False))
    assert LONG_SUM not in json.dumps(document)
    assert document["arm"] == decision.arm.name
    assert [each["arm"] for each in document["candidates"]] == [arm.name for arm in router.arms]
    assert document["artifact_id"] == router.artifact_id
    assert document["latency_s"] > 0


async def test_the_chosen_policy_runs_on_the_chosen_model(
    router: Router, backend: Scripted
) -> None:
    bound = router.bind({"toy": backend})
    answer = await bound.acomplete(LONG_SUM, objective=Objective.trade(1e-4))
    assert answer.text == "42"
    assert answer.usage == Usage(3, 5)
    assert answer.decision.policy == "reasoning@64"
    assert backend.requests[0].thinking_budget == 64
    assert backend.requests[0].messages == user_message(LONG_SUM)


async def test_the_last_user_turn_of_a_conversation_is_routed(
    router: Router, backend: Scripted
) -> None:
    turns = [
        Message("system", "be brief"),
        Message("user", RELATION),
        Message("assistant", "Eva"),
        Message("user", LONG_SUM),
    ]
    answer = await router.bind({"toy": backend}).acomplete(turns)
    alone = router.decide(LONG_SUM).candidates
    for whole, last in zip(answer.decision.candidates, alone, strict=True):
        assert (whole.arm, whole.p, whole.tokens) == (last.arm, last.p, last.tokens)
        assert whole.flops is not None
        assert last.flops is not None
        assert whole.flops > last.flops  # the earlier turns are read, too
    assert list(backend.requests[0].messages) == turns
    with pytest.raises(InvalidInputError, match="no user turn"):
        await router.acomplete([Message("system", "be brief")])


def test_complete_works_without_a_loop(router: Router, backend: Scripted) -> None:
    assert router.bind({"toy": backend}).complete(LONG_SUM).text == "42"


async def test_complete_works_while_a_loop_is_running(router: Router, backend: Scripted) -> None:
    bound = router.bind({"toy": backend})
    assert bound.complete(LONG_SUM).text == "42"
    assert bound.complete(RELATION).text == "42"
    assert backend.loops[0] is backend.loops[1]  # connections outlive a call
    assert backend.loops[0] is not asyncio.get_running_loop()


def test_an_error_in_a_backend_reaches_the_caller(router: Router) -> None:
    bound = router.bind({"toy": Scripted(frozenset())})
    with pytest.raises(CapabilityError):
        bound.complete(LONG_SUM, objective=Objective.trade(1e-4))


def test_a_model_nobody_described_is_an_error_with_the_cure(
    make_records: Callable[..., list[OutcomeRecord]],
) -> None:
    with pytest.raises(ConfigError, match=r"Router\.bind"):
        Router.fit(make_records(5)).complete("hello")


async def test_stored_backends_are_built_once_per_loop_and_closed(
    router: Router, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[Scripted] = []

    def build_backend(name: str, model: str, **options: object) -> Backend:
        assert (name, model, options) == ("fake", "toy", {})
        built.append(Scripted())
        return built[-1]

    monkeypatch.setattr("policies.build_backend", build_backend, raising=False)
    own = router.bind({})
    await asyncio.gather(*(own.acomplete(LONG_SUM) for _ in range(3)))
    assert len(built) == 1
    own.complete(LONG_SUM)
    assert len(built) == 2
    await own.aclose()
    assert [backend.n_closed for backend in built] == [1, 0]


@pytest.mark.parametrize(
    "document", [{}, {"backend": 1}, {"backend": "x", "options": 3}, {"backend": "x", "url": "y"}]
)
def test_backend_descriptions_that_make_no_sense_are_refused(document: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError):
        BackendSpec.from_json(document)


@pytest.mark.parametrize(
    "name", ["api_key", "apikey", "OPENAI_API_KEY", "password", "auth_token", "client_secret"]
)
def test_options_that_look_like_secrets_are_refused(name: str) -> None:
    with pytest.raises(InvalidInputError, match="secret"):
        BackendSpec("openai", {name: "x"})


def test_token_counts_are_no_secrets() -> None:
    spec = BackendSpec("openai", {"max_tokens": 5, "base_url": "http://localhost:8000/v1"})
    assert BackendSpec.from_json(spec.to_json()) == spec
