"""The conformance suites: ours pass, and deliberately broken backends and policies fail."""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from policies import (
    BackendConnectionError,
    BackendResponseError,
    Capability,
    Completion,
    Evidence,
    FinishReason,
    GenerationRequest,
)
from policies.backends.fake import FakeAnswer, FakeBackend
from policies.backends.replay import ReplayBackend
from policies.contract import check_backend
from tests.policies.thinking_fake import ANSWER, fake


class Altered(FakeBackend):
    """A backend whose requests or completions are tampered with."""

    def __init__(
        self,
        *,
        request: Callable[[GenerationRequest], GenerationRequest] = lambda r: r,
        completion: Callable[[GenerationRequest, Completion], Completion] = lambda r, c: c,
        script: Callable[[GenerationRequest], FakeAnswer] = lambda r: ANSWER,
    ) -> None:
        super().__init__(script)
        self.alter_request = request
        self.alter_completion = completion

    async def generate(self, request: GenerationRequest) -> Completion:
        altered = await super().generate(self.alter_request(request))
        return self.alter_completion(request, altered)


def statuses(results: Sequence[Any]) -> dict[str, str]:
    return {result.name: result.status for result in results}


# Backends that keep the contract


async def test_the_fake_backend_passes_every_check() -> None:
    report = await check_backend(fake())
    report.raise_on_failure()
    assert statuses(report.results) == dict.fromkeys(
        [
            "identity", "completion", "thinking-off", "thinking-on", "budget", "max-tokens",
            "logprobs", "greedy", "seeds", "concurrency", "stop", "stop-ids", "tokens",
            "continuation", "effort", "stream", "stream-ends", "refusal",
        ],
        "passed",
    ) | {"switch-penalty": "skipped"}  # fmt: skip


async def test_checks_of_missing_capabilities_are_skipped_and_their_refusal_is_checked() -> None:
    report = await check_backend(fake(capabilities=frozenset()))
    report.raise_on_failure()
    assert {result.name for result in report.skipped} == {
        "thinking-on", "budget", "logprobs", "seeds", "stop", "stop-ids", "continuation",
        "effort", "switch-penalty",
    }  # fmt: skip
    assert statuses(report.results)["refusal"] == "passed"


async def test_a_thought_too_short_for_any_budget_is_no_proof() -> None:
    report = await check_backend(FakeBackend(lambda r: FakeAnswer("b c", thinking="a")))
    assert statuses(report.results)["budget"] == "skipped"


NOT_RECORDED = {Capability.STOP, Capability.PREFIX_CONTINUATION, Capability.EFFORT}
UNRECORDED_CHECKS = {
    "stop", "stop-ids", "tokens", "continuation", "effort", "switch-penalty", "stream",
    "stream-ends",
}  # fmt: skip


async def recorded(backend: FakeBackend) -> list[dict[str, object]]:
    """Return what a backend answers during the checks, one row for each distinct request."""
    rows: dict[str, dict[str, object]] = {}

    def note(request: GenerationRequest, completion: Completion) -> Completion:
        if request.needs() & NOT_RECORDED:
            return completion
        row = row_of(request, completion)
        rows[json.dumps([row[k] for k in ("prompt", "policy", "sample", "max_tokens")])] = row
        return completion

    report = await check_backend(Altered(completion=note))
    report.raise_on_failure()
    return list(rows.values())


def row_of(request: GenerationRequest, completion: Completion) -> dict[str, object]:
    budget = "max" if request.thinking_budget is None else request.thinking_budget
    evidence = Evidence(-0.1, -0.1)
    return {
        "prompt": request.messages[0].content,
        "model": "fake",
        "policy": f"reasoning@{budget}" if request.thinking else "direct",
        "sample": request.seed or 0,
        "max_tokens": request.max_tokens,
        "text": completion.text,
        "thinking": completion.thinking,
        "thinking_closed": completion.thinking_closed,
        "prompt_tokens": completion.usage.prompt_tokens,
        "completion_tokens": completion.usage.completion_tokens,
        "thinking_tokens": completion.usage.thinking_tokens,
        "finish_reason": completion.finish_reason.value,
        "seconds": completion.seconds,
        "mean_logprob": evidence.mean_logprob,
        "min_logprob": evidence.min_logprob,
    }


@pytest.mark.parametrize("suffix", ["", ".jsonl", ".parquet"])
async def test_a_recording_passes_every_check_it_has_answers_for(
    suffix: str, tmp_path: Path
) -> None:
    rows = await recorded(fake())
    source: Any = rows
    if suffix:
        source = tmp_path / f"rows{suffix}"
        if suffix == ".jsonl":
            source.write_text("\n".join(json.dumps(row) for row in rows))
        else:
            import pyarrow
            import pyarrow.parquet

            pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), source)
    report = await check_backend(ReplayBackend("fake", source))
    report.raise_on_failure()
    assert {result.name for result in report.skipped} == UNRECORDED_CHECKS


async def test_what_a_recording_lacks_is_skipped_and_not_failed() -> None:
    rows = [row for row in await recorded(fake()) if row["policy"] != "reasoning@8"]
    report = await check_backend(ReplayBackend("fake", rows))
    report.raise_on_failure()
    assert "reasoning@8" in {r.name: r.reason for r in report.skipped}["budget"]


# Backends that break it


def cut_nothing(request: GenerationRequest) -> GenerationRequest:
    return replace(request, thinking_budget=None)


def leak(request: GenerationRequest, completion: Completion) -> Completion:
    text = f"<think>{completion.thinking}</think>{completion.text}"
    return replace(completion, text=text) if completion.thinking else completion


def leak_untagged(request: GenerationRequest, completion: Completion) -> Completion:
    text = f"{completion.thinking}\n{completion.text}"
    return replace(completion, text=text) if completion.thinking else completion


def recount(**changes: int) -> Callable[[GenerationRequest, Completion], Completion]:
    def alter(request: GenerationRequest, completion: Completion) -> Completion:
        return replace(completion, usage=replace(completion.usage, **changes))

    return alter


def answer_only_count(request: GenerationRequest, completion: Completion) -> Completion:
    usage = completion.usage
    n_answer = usage.completion_tokens - (usage.thinking_tokens or 0)
    return replace(completion, usage=replace(usage, completion_tokens=n_answer))


def call_it_stop(request: GenerationRequest, completion: Completion) -> Completion:
    return replace(completion, finish_reason=FinishReason.STOP)


def call_it_closed(request: GenerationRequest, completion: Completion) -> Completion:
    if completion.thinking_closed:
        return completion
    return replace(completion, thinking_closed=True, text=completion.thinking or "")


def evident(
    evidence: Evidence,
) -> Callable[[GenerationRequest, Completion], Completion]:
    return lambda request, completion: replace(
        completion, evidence=evidence if request.logprobs else None
    )


def positive(request: GenerationRequest, completion: Completion) -> Completion:
    return replace(completion, evidence=Evidence(0.5, 0.1) if request.logprobs else None)


def cut_stop_off(request: GenerationRequest, completion: Completion) -> Completion:
    return replace(completion, text=completion.text[:1]) if request.stop else completion


def call_it_length(request: GenerationRequest, completion: Completion) -> Completion:
    reason = FinishReason.LENGTH if request.stop else completion.finish_reason
    return replace(completion, finish_reason=reason)


def count_given(request: GenerationRequest, completion: Completion) -> Completion:
    n_thinking = (completion.usage.thinking_tokens or 0) + len(request.continuation)
    return replace(completion, usage=replace(completion.usage, thinking_tokens=n_thinking))


class Reckless(FakeBackend):
    """Claims a penalty that it does not keep."""

    def __init__(self) -> None:
        everything = fake().capabilities | {Capability.SWITCH_PENALTY}
        super().__init__(lambda request: ANSWER, capabilities=everything)


class Garbling(FakeBackend):
    """Loses line breaks."""

    def __init__(self) -> None:
        super().__init__(lambda request: ANSWER)

    async def decode(self, token_ids: Sequence[int]) -> str:
        return (await super().decode(token_ids)).replace("\n", " ")


def rephrase(request: GenerationRequest) -> FakeAnswer:
    """Think differently when there is a budget, as a model that is told of it."""
    thinking = ANSWER.thinking if request.thinking_budget is None else "Be quick " * 20
    return replace(ANSWER, thinking=thinking)


@pytest.mark.parametrize(
    ("backend", "broken", "reason"),
    [
        (Altered(request=cut_nothing), "budget", "thinking tokens"),
        (Altered(script=rephrase), "budget", "changed the thought"),
        (Altered(completion=leak), "thinking-on", "<think>"),
        (Altered(completion=leak_untagged), "thinking-on", "holds the thought"),
        (Altered(request=lambda r: replace(r, thinking=True)), "thinking-off", "thought"),
        (
            Altered(request=lambda r: replace(r, thinking=False, thinking_budget=None)),
            "thinking-on",
            "no thought",
        ),
        (Altered(completion=recount(prompt_tokens=5)), "completion", "twice the prompt"),
        (Altered(completion=recount(completion_tokens=0)), "completion", "positive count"),
        (Altered(completion=recount(completion_tokens=200)), "completion", "200"),
        (Altered(completion=recount(thinking_tokens=3)), "thinking-off", "3 thinking"),
        (Altered(completion=recount(thinking_tokens=0)), "thinking-on", "0 thinking tokens"),
        (Altered(completion=answer_only_count), "thinking-on", "ids|in all"),
        (Altered(request=lambda r: replace(r, max_tokens=256)), "max-tokens", "length"),
        (Altered(completion=call_it_stop), "max-tokens", "length"),
        (Altered(completion=call_it_closed), "max-tokens", "closed|all tokens are"),
        (Altered(completion=positive), "logprobs", "mean <= 0"),
        (Altered(completion=lambda r, c: replace(c, evidence=None)), "logprobs", "missing"),
        (Altered(completion=evident(Evidence(margin=1.0))), "logprobs", "asked for"),
        (Altered(completion=evident(Evidence(-0.2, -0.2, -1.0))), "logprobs", "margin"),
        (Altered(completion=evident(Evidence(-0.2, -0.2, 1.0, 1.0))), "logprobs", "agrees"),
        (FakeBackend(lambda r: ANSWER, ignores_stop=True), "stop", "counts|went on"),
        (FakeBackend(lambda r: ANSWER, ignores_stop=True), "stop-ids", "expected ("),
        (Altered(completion=cut_stop_off), "stop", "lacks it"),
        (Altered(completion=call_it_length), "stop", "expected stop"),
        (Altered(request=lambda r: replace(r, continuation=())), "continuation", "continued from"),
        (Altered(completion=count_given), "continuation", "given tokens do not count"),
        (Reckless(), "switch-penalty", "although it is penalised"),
        (Garbling(), "tokens", "comes back as"),
    ],
)
async def test_a_broken_backend_fails_the_check_that_names_its_fault(
    backend: FakeBackend, broken: str, reason: str
) -> None:
    report = await check_backend(backend)
    failed = {result.name: result.reason for result in report.failures}
    assert broken in failed
    assert any(part in failed[broken] for part in reason.split("|")), failed[broken]
    with pytest.raises(BackendResponseError, match=f"breaks its contract.*{broken}"):
        report.raise_on_failure()


async def test_answers_that_change_from_call_to_call_fail() -> None:
    def forgetful(request: GenerationRequest, completion: Completion) -> Completion:
        return replace(completion, text=f"{completion.text} {len(backend.calls)}")

    backend = Altered(completion=forgetful)
    assert {"greedy", "seeds"} <= {r.name for r in (await check_backend(backend)).failures}


async def test_answers_that_reach_the_wrong_caller_fail() -> None:
    class Crossed(FakeBackend):
        last: GenerationRequest | None = None

        async def generate(self, request: GenerationRequest) -> Completion:
            self.last = request
            await asyncio.sleep(0.001)
            return await super().generate(self.last)

    report = await check_backend(Crossed(lambda request: ANSWER))
    assert [result.name for result in report.failures] == ["concurrency"]


async def test_a_capability_that_is_not_claimed_must_be_refused() -> None:
    class Silent(FakeBackend):
        async def generate(self, request: GenerationRequest) -> Completion:
            return await super().generate(replace(request, logit_bias=None))

    report = await check_backend(Silent(lambda request: ANSWER))
    assert [result.name for result in report.failures] == ["refusal"]


async def test_attachments_that_are_not_claimed_must_be_refused() -> None:
    class Blind(FakeBackend):
        async def generate(self, request: GenerationRequest) -> Completion:
            turns = tuple(replace(turn, attachments=()) for turn in request.messages)
            return await super().generate(replace(request, messages=turns))

    report = await check_backend(Blind(lambda request: ANSWER))
    assert [result.name for result in report.failures] == ["refusal"]
    assert "attachments" in report.failures[0].reason


@pytest.mark.parametrize("identity", [{}, {"n": 1}, {"o": object()}])
async def test_an_identity_that_is_no_flat_json_fails(identity: Any) -> None:
    class Anonymous(FakeBackend):
        def identity(self) -> Mapping[str, str]:
            return identity

    report = await check_backend(Anonymous(lambda request: ANSWER))
    assert [result.name for result in report.failures] == ["identity"]


async def test_an_identity_that_changes_fails() -> None:
    class Moody(FakeBackend):
        def identity(self) -> Mapping[str, str]:
            return {"calls": str(len(self.calls))}

    report = await check_backend(Moody(lambda request: ANSWER))
    assert [result.name for result in report.failures] == ["identity"]


async def test_errors_are_findings_and_are_not_raised() -> None:
    error = BackendConnectionError("no route", backend="fake", model="fake")
    report = await check_backend(FakeBackend(lambda request: error))
    unasked = [r.name for r in report.results if r.status != "failed"]
    assert unasked == ["tokens", "switch-penalty", "refusal"]
    assert all("BackendConnectionError: no route" in r.reason for r in report.failures)
