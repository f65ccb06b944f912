"""The conformance suite of policies: ours pass, and deliberately broken ones fail."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from policies import (
    Call,
    Capability,
    Completion,
    DecodingOptions,
    GenerationRequest,
    Mode,
    Policy,
    PolicySpec,
    Usage,
    build_policy,
)
from policies.contract import check_backend, check_policy
from policies.decoding.direct import Direct
from tests.policies.thinking_fake import fake


@pytest.mark.parametrize("policy", ["direct", "reasoning@0", "reasoning@5", "reasoning@max"])
async def test_our_policies_pass(policy: str) -> None:
    report = await check_policy(build_policy(policy), fake())
    report.raise_on_failure()


async def test_a_policy_that_its_backend_cannot_run_is_skipped() -> None:
    report = await check_policy(build_policy("reasoning@5"), fake(capabilities=frozenset()))
    assert {"usage", "needs", "mode", "budget", "stateless"} == {r.name for r in report.skipped}


class Bad(Direct):
    """A policy that thinks in secret, forgets what it spent, and counts its calls."""

    n_runs = 0

    async def run(self, messages: Any, backend: Any, options: DecodingOptions) -> Completion:
        self.n_runs += 1
        request = GenerationRequest(tuple(messages), max_tokens=200, thinking=True)
        completion = await backend.generate(request)
        return replace(completion, text=f"{self.n_runs}", usage=Usage(1, 1))


async def test_a_bad_policy_fails_every_check_it_deserves() -> None:
    report = await check_policy(Bad(), fake())
    assert [result.name for result in report.failures] == ["usage", "needs", "mode", "stateless"]


class Thrifty(Bad):
    """Says that it generates less than it does."""

    async def run(self, messages: Any, backend: Any, options: DecodingOptions) -> Completion:
        return await backend.generate(GenerationRequest(tuple(messages), max_tokens=200))

    def max_tokens(self, options: DecodingOptions) -> int:
        return 1


class Twice(Bad):
    """Asks two times and names one call, or none."""

    def __init__(self, calls: tuple[Call, ...]) -> None:
        super().__init__()
        self._calls = calls

    async def run(self, messages: Any, backend: Any, options: DecodingOptions) -> Completion:
        request = GenerationRequest(tuple(messages), max_tokens=30)
        first, second = [await backend.generate(request) for _ in range(2)]
        return replace(first, usage=first.usage + second.usage, calls=self._calls)


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        (Thrifty(), "says at most 1"),
        (Twice(()), "calls is empty"),
        (Twice((Call(Usage(1, 1)), Call(Usage(9, 9), "judge"))), "calls names 1 requests"),
    ],
)
async def test_a_policy_whose_bill_is_wrong_fails(policy: Policy, reason: str) -> None:
    failed = {r.name: r.reason for r in (await check_policy(policy, fake())).failures}
    assert reason in failed["usage"]


class Prefilled(Direct):
    """Continues an answer by its token ids."""

    needs = frozenset({Capability.PREFIX_CONTINUATION, Capability.THINKING_SWITCH})

    async def run(self, messages: Any, backend: Any, options: DecodingOptions) -> Completion:
        markers = await backend.thought_markers()
        begun = (*markers.start, *markers.end, *await backend.encode("It"))
        assert await backend.decode(begun) == "<think></think>It"
        request = GenerationRequest(tuple(messages), 60, thinking=True, continuation=begun)
        return await backend.generate(request)


async def test_a_policy_under_test_may_tokenize_and_ask_for_markers() -> None:
    report = await check_policy(Prefilled(), fake())
    report.raise_on_failure()


async def test_a_policy_hears_when_its_backend_cannot_tokenize() -> None:
    class Plain:
        """A backend without the optional protocols."""

        name, model, max_concurrency = "plain", "plain", 1
        capabilities = fake().capabilities

        def identity(self) -> Mapping[str, str]:
            return {"backend": "plain"}

        async def generate(self, request: GenerationRequest) -> Completion:
            return await fake().generate(request)

        async def aclose(self) -> None:
            pass

    failed = {r.name: r.reason for r in (await check_policy(Prefilled(), Plain())).failures}
    assert "cannot tell its thought markers" in failed["usage"]
    checks = {r.name: r.reason for r in (await check_backend(Plain())).failures}
    assert "has no encode" in checks["tokens"]


async def test_a_policy_that_overspends_its_budget_fails() -> None:
    class Spender(Bad):
        mode = Mode.REASONING
        needs = frozenset({Capability.THINKING_SWITCH, Capability.HARD_BUDGET})

        def __init__(self) -> None:
            self.spec = PolicySpec("spender", budget=5)

    failed = {r.name: r.reason for r in (await check_policy(Spender(), fake())).failures}
    assert "budget 5" in failed["budget"]
