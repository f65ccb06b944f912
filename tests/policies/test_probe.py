"""The probe: every control that a server does not honour stops the run, with what to do."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from policies import (
    BackendRequestError,
    Capability,
    CapabilityError,
    Completion,
    GenerationRequest,
    UnknownNameError,
)
from policies.backends.fake import FakeAnswer, FakeBackend
from policies.backends.probe import probe
from tests.policies.chat_server import Reply, Server, chat
from tests.policies.conftest import Connect
from tests.policies.simulated_vllm import SimulatedVllm

SWITCH = [Capability.THINKING_SWITCH]
BUDGET = [Capability.THINKING_SWITCH, Capability.THINKING_BUDGET, Capability.HARD_BUDGET]
SOFT_BUDGET = [Capability.THINKING_SWITCH, Capability.THINKING_BUDGET]
THOUGHT = ("one two three four " * 10).strip()
ANSWER = FakeAnswer("The answer is twelve", thinking=THOUGHT, direct="Eleven")


def fake(**options: Any) -> FakeBackend:
    return FakeBackend(lambda request: ANSWER, **options)


class Altered(FakeBackend):
    """A backend whose requests or completions are tampered with."""

    def __init__(
        self,
        *,
        request: Callable[[GenerationRequest], GenerationRequest] = lambda r: r,
        completion: Callable[[Completion], Completion] = lambda c: c,
    ) -> None:
        super().__init__(lambda r: ANSWER)
        self.alter_request = request
        self.alter_completion = completion

    async def generate(self, request: GenerationRequest) -> Completion:
        return self.alter_completion(await super().generate(self.alter_request(request)))


# Any backend


async def test_the_probe_says_what_it_has_found() -> None:
    report = await probe(fake(), BUDGET)
    assert report.checked == (
        "thinking off gives no thought",
        "thinking on gives a thought",
        "a thinking budget is honoured",
    )
    assert report.unsure == ()


async def test_the_probe_asks_only_what_the_policies_need() -> None:
    backend = fake()
    await probe(backend)
    assert len(backend.calls) == 1


async def test_the_probe_stops_at_a_budget_that_is_ignored() -> None:
    deaf = Altered(request=lambda r: replace(r, thinking_budget=None))
    with pytest.raises(CapabilityError, match=r"budget of 16 is not honoured; seen: 40 thinking"):
        await probe(deaf, BUDGET)


async def test_the_probe_stops_at_a_switch_that_is_ignored() -> None:
    always = Altered(request=lambda r: replace(r, thinking=True))
    with pytest.raises(CapabilityError, match="thinking is off, and yet"):
        await probe(always)


async def test_two_modes_that_look_the_same_are_both_refused_and_the_rest_is_named() -> None:
    always = Altered(request=lambda r: replace(r, thinking=True))
    with pytest.raises(CapabilityError, match=r"look the same.*reasoning policies alone"):
        await probe(always, SWITCH)
    never = Altered(request=lambda r: replace(r, thinking=False, thinking_budget=None))
    with pytest.raises(CapabilityError, match=r"look the same.*possible is direct.*'plain'"):
        await probe(never, SWITCH)


async def test_the_probe_stops_where_thinking_tokens_are_not_told() -> None:
    mute = Altered(completion=lambda c: replace(c, usage=replace(c.usage, thinking_tokens=None)))
    with pytest.raises(CapabilityError, match="not told"):
        await probe(mute, BUDGET)


async def test_the_probe_stops_where_a_budget_is_refused() -> None:
    refusal = BackendRequestError("no reasoning parser", backend="fake", model="fake")
    backend = FakeBackend(lambda r: ANSWER if r.thinking_budget is None else refusal)
    with pytest.raises(CapabilityError, match="no reasoning parser"):
        await probe(backend, BUDGET)


async def test_the_probe_stops_where_the_backend_does_not_even_claim_it() -> None:
    with pytest.raises(CapabilityError, match="hard-budget"):
        await probe(fake(capabilities=frozenset()), [Capability.HARD_BUDGET])


async def test_the_probe_is_unsure_about_short_thoughts() -> None:
    backend = FakeBackend(lambda r: FakeAnswer("b", thinking="a"))
    assert (await probe(backend, BUDGET)).unsure == ("a thinking budget is honoured",)


async def test_a_soft_budget_is_only_checked_to_be_accepted() -> None:
    soft = frozenset(Capability) - {Capability.HARD_BUDGET}
    backend = fake(capabilities=soft)
    report = await probe(backend, SOFT_BUDGET)
    assert report.checked[-1] == "a soft thinking budget is accepted"
    refusal = BackendRequestError("no such field", backend="fake", model="fake")
    refusing = FakeBackend(
        lambda r: ANSWER if r.thinking_budget is None else refusal, capabilities=soft
    )
    with pytest.raises(CapabilityError, match="no such field"):
        await probe(refusing, SOFT_BUDGET)


class Listed(FakeBackend):
    """A backend whose server lists its models."""

    refusal: BackendRequestError | None = None

    async def served_models(self) -> Mapping[str, str]:
        if self.refusal is not None:
            raise self.refusal
        return {"qwen3-8b": "Qwen/Qwen3-8B", "x": ""}

    async def describe_server(self) -> Mapping[str, str]:
        return {"server_version": "1"}


async def test_the_probe_names_the_models_that_are_served() -> None:
    with pytest.raises(UnknownNameError, match=r"did you mean 'qwen3-8b'\? known: qwen3-8b, x"):
        await probe(Listed(lambda r: ANSWER, model="qwen3-8"))
    report = await probe(Listed(lambda r: ANSWER, model="x"))
    assert report.server == {"server_version": "1"}


async def test_the_probe_lives_without_a_list_of_models_but_not_without_access() -> None:
    def refusing(status: int) -> Listed:
        backend = Listed(lambda r: ANSWER)
        backend.refusal = BackendRequestError(
            "no", backend="fake", model="fake", status_code=status
        )
        return backend

    assert (await probe(refusing(404))).unsure == ("the server does not list its models",)
    with pytest.raises(BackendRequestError):
        await probe(refusing(401))


# A server of a known kind; each fault has been seen on a real one


@pytest.mark.parametrize(
    "model", [SimulatedVllm(), SimulatedVllm(opens_in_prompt=True)], ids=["own-tag", "prefilled"]
)
async def test_a_sound_server_passes(connected: Connect, model: SimulatedVllm) -> None:
    report = await probe(connected(model), [*BUDGET, Capability.PREFIX_CONTINUATION])
    assert report.unsure == ()
    assert report.checked == (
        "the server serves the model",
        "thinking off gives no thought",
        "thinking on gives a thought",
        "a thinking budget is honoured",
        "a thought that is cut and continued ends where it is told to",
    )


async def test_a_sentence_forced_at_the_budget_is_no_fault(connected: Connect) -> None:
    model = SimulatedVllm(end_text=" given the limited time I answer now\n")
    assert (await probe(connected(model), BUDGET)).unsure == ()


VLLM_FAULTS: dict[str, tuple[SimulatedVllm, list[Capability], str]] = {
    "budget ignored": (
        SimulatedVllm(honours_budget=False),
        BUDGET,
        "budget of 16 is not honoured",
    ),
    "budget refused": (
        SimulatedVllm(takes_budget=False),
        BUDGET,
        "budget of 16 is refused by vllm at .*reasoning_config",
    ),
    "no parser": (SimulatedVllm(has_parser=False), SWITCH, "thinking tokens are not told"),
    "no parser, prefilled tag": (
        SimulatedVllm(has_parser=False, opens_in_prompt=True),
        BUDGET,
        "thinking tokens are not told",
    ),
    "tokens not reported": (SimulatedVllm(counts=False), BUDGET, "thinking tokens are not told"),
    "always thinks": (SimulatedVllm(thinks="always"), SWITCH, "with always_thinks, and not direct"),
    "always thinks, direct alone": (SimulatedVllm(thinks="always"), [], "and yet the model thinks"),
    "never thinks": (SimulatedVllm(thinks="never"), BUDGET, "with the dialect 'plain'"),
}


@pytest.mark.parametrize("name", VLLM_FAULTS)
async def test_each_fault_of_a_server_stops_the_run_and_names_server_and_cure(
    server: Server, connected: Connect, name: str
) -> None:
    model, needed, says = VLLM_FAULTS[name]
    with pytest.raises(CapabilityError, match=says) as caught:
        await probe(connected(model), needed)
    assert "--reasoning-parser" in caught.value.hint
    assert f"vllm at {server.url}" in caught.value.message


async def test_a_budget_in_the_template_arguments_is_ignored_and_caught(
    connected: Connect,
) -> None:
    backend = connected(
        SimulatedVllm(),
        budget_path="chat_template_kwargs.thinking_budget",
        is_budget_hard=True,
    )
    with pytest.raises(CapabilityError, match="budget of 16 is not honoured"):
        await probe(backend, BUDGET)


async def test_a_model_that_always_thinks_can_be_measured_without_direct(
    connected: Connect,
) -> None:
    backend = connected(SimulatedVllm(thinks="always"), always_thinks=True)
    report = await probe(backend, BUDGET)
    assert "thinking off gives no thought" not in report.checked
    assert "a thinking budget is honoured" in report.checked


async def test_a_hidden_thought_is_told_by_its_tokens_or_not_at_all(
    server: Server, connected: Connect
) -> None:
    models = Reply({"data": [{"id": "m"}]})
    usage = {"prompt_tokens": 7, "completion_tokens": 90}
    server.replies = [models, models, Reply(chat(usage={**usage, "completion_tokens": 9}))]
    server.replies.append(Reply(chat(usage=usage)))
    report = await probe(connected(dialect="anthropic"), SWITCH)
    assert report.unsure == ("thinking on gives a thought",)
    server.requests.clear()
    with pytest.raises(CapabilityError, match="look the same"):
        await probe(connected(dialect="openai"), SWITCH)
    server.requests.clear()
    details = {"completion_tokens_details": {"reasoning_tokens": 80}}
    server.replies[-1] = Reply(chat(usage={**usage, **details}))
    assert (await probe(connected(dialect="openai"), SWITCH)).unsure == ()


async def test_a_soft_budget_of_a_server_respects_its_least(
    server: Server, connected: Connect
) -> None:
    server.replies = [Reply({"data": [{"id": "m"}]})] * 2 + [Reply(chat())]
    await probe(connected(dialect="anthropic-legacy"), SOFT_BUDGET)
    sent = [request["body"] for request in server.requests if request["body"]]
    budgets = [body["thinking"].get("budget_tokens") for body in sent]
    assert budgets == [None, 1024, 1024]
    assert all(
        body["max_tokens"] > (budget or 0) for body, budget in zip(sent, budgets, strict=True)
    )
