"""The checks behind `policies.contract.check_backend`, one function per promise."""

import asyncio
import json
import math
from collections.abc import Awaitable, Callable, Mapping
from itertools import takewhile
from typing import Any

from .._attachments import Attachment
from .._backend import (
    Capability,
    Streams,
    SwitchPenalty,
    TellsThoughtMarkers,
)
from .._errors import CapabilityError
from .._messages import Completion, FinishReason, Message
from ._backend_probe import BackendProbe
from ._outcome import Failed, Skipped, expect, is_a
from ._stream_checks import STREAM_CHECKS
from ._token_checks import TOKEN_CHECKS

__all__ = ["BACKEND_CHECKS"]

# Start and end marker: backends differ in whether they count them.
_MARKER_TOKENS = 2
_TAGS = ("<think>", "</think>")
_FILE = "data:text/plain;base64,YQ=="


async def _identity(probe: BackendProbe) -> None:
    backend = probe.backend
    before = dict(backend.identity())
    await probe.ask()
    expect(dict(backend.identity()) == before, "identity() changes from one call to the next")
    expect(bool(before), "identity() is empty")
    strings = [*before, *before.values()]
    expect(
        all(is_a(item, str) for item in strings),
        f"identity() has something else than strings: {before!r}",
    )
    json.dumps(before)
    for what, value in (("name", backend.name), ("model", backend.model)):
        expect(is_a(value, str) and bool(value), f"{what} is {value!r}, expected a name")
    expect(backend.max_concurrency >= 1, f"max_concurrency is {backend.max_concurrency!r}")
    expect(
        all(is_a(item, Capability) for item in backend.capabilities),
        f"capabilities holds something else: {set(backend.capabilities)!r}",
    )


async def _completion(probe: BackendProbe) -> None:
    completion = await probe.ask()
    _expect_consistent(completion, probe.max_tokens)
    expect(bool(completion.text), "the answer is empty")
    longer = await probe.ask(" ".join([probe.prompt] * 2))
    expect(
        longer.usage.prompt_tokens > completion.usage.prompt_tokens,
        f"twice the prompt has {longer.usage.prompt_tokens} tokens, once "
        f"{completion.usage.prompt_tokens}",
    )


async def _thinking_off(probe: BackendProbe) -> None:
    completion = await probe.ask()
    expect(not completion.thinking, f"there is a thought: {completion.thinking!r}")
    expect(
        not completion.usage.thinking_tokens,
        f"{completion.usage.thinking_tokens} thinking tokens are told",
    )
    _expect_no_tags(completion)


async def _thinking_on(probe: BackendProbe) -> None:
    probe.need(Capability.THINKING_SWITCH)
    completion = await _free_thought(probe)
    _expect_consistent(completion, probe.max_tokens)
    _expect_no_tags(completion)
    thinking = (completion.thinking or "").strip()
    expect(bool(thinking), "there is no thought")
    # A short thought may well begin a short answer.
    is_leaked = len(thinking) > 16 and completion.text.strip().startswith(thinking)
    expect(not is_leaked, "the text holds the thought")
    if completion.thinking_closed and completion.finish_reason is FinishReason.STOP:
        expect(bool(completion.text), "there is a closed thought and no answer")


async def _budget(probe: BackendProbe) -> None:
    probe.need(Capability.THINKING_SWITCH, Capability.HARD_BUDGET)
    free = await _free_thought(probe)
    n_free = _told(free)
    # Thinking tokens that the template writes count against the budget.
    n_in_prompt = 0
    if isinstance(probe.backend, TellsThoughtMarkers):
        n_in_prompt = (await probe.backend.thought_markers()).n_in_prompt
    n_telling = 0
    for budget in probe.budgets:
        completion = await probe.ask(thinking=True, thinking_budget=budget)
        _expect_consistent(completion, probe.max_tokens)
        _expect_no_tags(completion)
        n_thinking = _told(completion)
        expect(
            n_thinking <= budget + _MARKER_TOKENS,
            f"budget {budget} gave {n_thinking} thinking tokens",
        )
        expect(completion.thinking_closed, f"budget {budget} left the thought open")
        _expect_same_prefix(free, completion, max(0, budget - n_in_prompt))
        n_telling += n_free > budget + _MARKER_TOKENS
    if not n_telling:
        raise Skipped(f"the thought has only {n_free} tokens, so no budget cuts it")


async def _max_tokens(probe: BackendProbe) -> None:
    whole = await probe.ask()
    cap = whole.usage.completion_tokens // 2
    if cap < 1:
        raise Skipped("the answer is a single token")
    await _expect_cut(probe, cap, thinking=False)
    if Capability.THINKING_SWITCH not in probe.backend.capabilities:
        return
    n_thinking = (await _free_thought(probe)).usage.thinking_tokens
    if n_thinking and n_thinking > 3:
        cut = await _expect_cut(probe, n_thinking // 2, thinking=True)
        expect(not cut.thinking_closed, "a cut thought is called closed")
        expect(cut.text == "", f"a cut thought has the answer {cut.text!r}")


async def _expect_cut(probe: BackendProbe, cap: int, *, thinking: bool) -> Completion:
    cut = await probe.ask(max_tokens=cap, thinking=thinking)
    expect(
        cut.finish_reason is FinishReason.LENGTH,
        f"max_tokens={cap} ended with {cut.finish_reason}, expected length",
    )
    expect(
        cut.usage.completion_tokens == cap,
        f"max_tokens={cap} ended with {cut.usage.completion_tokens} completion tokens",
    )
    _expect_consistent(cut, cap)
    return cut


async def _logprobs(probe: BackendProbe) -> None:
    probe.need(Capability.LOGPROBS)
    evidence = (await probe.ask(logprobs=True)).evidence
    if evidence is None:
        raise Failed("log-probabilities were asked for, and evidence is missing")
    mean, least, margin = evidence.mean_logprob, evidence.min_logprob, evidence.margin
    if mean is None or least is None:
        raise Failed(f"log-probabilities were asked for, got {evidence}")
    expect(
        math.isfinite(least) and least <= mean + 1e-9 and mean <= 0.0,
        f"expected min <= mean <= 0, got {evidence}",
    )
    expect(
        margin is None or (math.isfinite(margin) and margin >= 0.0),
        f"expected a finite margin >= 0 or None, got {evidence}",
    )
    expect(
        evidence.agreement is None,
        f"one sample agrees with nobody, and yet there is {evidence}",
    )


async def _greedy(probe: BackendProbe) -> None:
    modes = [False]
    if Capability.THINKING_SWITCH in probe.backend.capabilities:
        modes.append(True)
    for thinking in modes:
        first, second = [await probe.ask(thinking=thinking) for _ in range(2)]
        expect(
            _output(first) == _output(second),
            f"two greedy answers differ: {first.text!r} and {second.text!r}",
        )


async def _seeds(probe: BackendProbe) -> None:
    probe.need(Capability.SAMPLES)
    first, second = [await probe.ask(temperature=1.0, seed=7) for _ in range(2)]
    expect(
        _output(first) == _output(second),
        f"one seed gave {first.text!r} and then {second.text!r}",
    )


async def _concurrency(probe: BackendProbe) -> None:
    # Prompts of different lengths: the prompt's tokens tell whose answer came back.
    prompts = [" ".join([probe.prompt] * (1 + n)) for n in range(min(probe.n_concurrent, 4))]
    alone = [await probe.ask(prompt) for prompt in prompts]
    order = [n % len(prompts) for n in range(probe.n_concurrent)]
    together = await asyncio.gather(*(probe.ask(prompts[n]) for n in order))
    others = {completion.text for completion in alone}
    for n, completion in zip(order, together, strict=True):
        # Texts may differ a little: batched arithmetic is not associative.
        is_own = completion.usage.prompt_tokens == alone[n].usage.prompt_tokens and (
            completion.text == alone[n].text or completion.text not in others
        )
        expect(is_own, "a concurrent request got the answer of another one")


async def _refusal(probe: BackendProbe) -> None:
    missing = [item for item in _NEEDING if item not in probe.backend.capabilities]
    if not missing:
        raise Skipped("the backend claims every capability")
    for capability in missing:
        changes = _NEEDING[capability]
        is_refused = await _is_refused(probe.ask(**changes))
        if is_refused and isinstance(probe.backend, Streams):
            is_refused = await _is_refused(anext(probe.stream(**changes)))
        expect(is_refused, f"{capability} is not claimed, and a request for it is not refused")


async def _is_refused(answer: Awaitable[object]) -> bool:
    try:
        await answer
    except CapabilityError:
        return True
    return False


_NEEDING: Mapping[Capability, Mapping[str, Any]] = {
    Capability.THINKING_SWITCH: {"thinking": True},
    Capability.THINKING_BUDGET: {"thinking": True, "thinking_budget": 4},
    Capability.PREFIX_CONTINUATION: {"continuation": (0,)},
    Capability.LOGPROBS: {"logprobs": True},
    Capability.SAMPLES: {"temperature": 1.0},
    Capability.LOGIT_BIAS: {"logit_bias": {0: 1.0}},
    Capability.ATTACHMENTS: {
        "messages": (Message("user", "What is it?", (Attachment("file", _FILE, "a.txt"),)),)
    },
    Capability.STOP: {"stop": ("e",)},
    Capability.EFFORT: {"thinking": True, "effort": "low"},
    Capability.SWITCH_PENALTY: {"switch_penalty": SwitchPenalty(("Wait",), 1.0, 1)},
}

BACKEND_CHECKS: Mapping[str, Callable[[BackendProbe], Awaitable[None]]] = {
    "identity": _identity,
    "completion": _completion,
    "thinking-off": _thinking_off,
    "thinking-on": _thinking_on,
    "budget": _budget,
    "max-tokens": _max_tokens,
    "logprobs": _logprobs,
    "greedy": _greedy,
    "seeds": _seeds,
    "concurrency": _concurrency,
    **TOKEN_CHECKS,
    **STREAM_CHECKS,
    "refusal": _refusal,
}
"""Every check by name, in the order they run."""


async def _free_thought(probe: BackendProbe) -> Completion:
    return await probe.ask(thinking=True)


def _told(completion: Completion) -> int:
    n_thinking = completion.usage.thinking_tokens
    if n_thinking is None:
        raise Failed("a hard budget is claimed, and thinking tokens are not told")
    return n_thinking


def _output(completion: Completion) -> tuple[object, ...]:
    return (
        completion.text,
        completion.thinking,
        completion.token_ids,
        completion.finish_reason,
        completion.usage.completion_tokens,
    )


def _expect_consistent(completion: Completion, max_tokens: int) -> None:
    """Check what must hold of any completion without a continuation."""
    usage = completion.usage
    for name in ("prompt_tokens", "completion_tokens"):
        value = getattr(usage, name)
        expect(
            is_a(value, int) and not is_a(value, bool) and value > 0,
            f"usage.{name} is {value!r}, expected a positive count",
        )
    expect(
        usage.completion_tokens <= max_tokens,
        f"max_tokens={max_tokens} gave {usage.completion_tokens} completion tokens",
    )
    expect(
        usage.thinking_tokens is None or 0 <= usage.thinking_tokens <= usage.completion_tokens,
        f"{usage.thinking_tokens} thinking tokens of {usage.completion_tokens} in all",
    )
    expect(
        usage.thinking_tokens != 0 or not completion.thinking,
        "there is a thought of 0 thinking tokens",
    )
    expect(
        not completion.thinking_closed
        or usage.thinking_tokens is None
        or not completion.text
        or usage.thinking_tokens < usage.completion_tokens,
        "there is an answer, and all tokens are thinking tokens",
    )
    expect(completion.thinking_closed or not completion.text, "an open thought has an answer")
    expect(
        is_a(completion.finish_reason, FinishReason),
        f"finish_reason is {completion.finish_reason!r}",
    )
    expect(completion.seconds >= 0, f"seconds is {completion.seconds!r}")
    if completion.token_ids is not None:
        # The token that ends the turn is counted, and may be among the ids or not.
        expect(
            usage.completion_tokens - len(completion.token_ids) in (0, 1),
            f"{usage.completion_tokens} completion tokens and {len(completion.token_ids)} ids",
        )


def _expect_no_tags(completion: Completion) -> None:
    found = [tag for tag in _TAGS if tag in completion.text]
    expect(not found, f"the text holds {' and '.join(found)}")


def _expect_same_prefix(free: Completion, cut: Completion, budget: int) -> None:
    """Check that a budget changes nothing before it."""
    if free.token_ids is None or cut.token_ids is None:
        return
    pairs = zip(free.token_ids, cut.token_ids, strict=False)
    n_common = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
    if _told(free) + _MARKER_TOKENS <= budget:
        expect(
            free.token_ids == cut.token_ids,
            f"budget {budget} is longer than the thought, and yet the output differs",
        )
    else:
        expect(
            n_common >= min(budget, _told(free)),
            f"budget {budget} changed the thought after {n_common} tokens",
        )
