"""Every row of the table of servers: the exact bodies it sends, and a realistic answer read."""

import json
from typing import Any

import pytest

from policies import (
    BackendResponseError,
    Capability,
    CapabilityError,
    Completion,
    InvalidInputError,
    Usage,
)
from policies.backends.openai import OpenAIBackend
from policies.backends.thinking import DIALECTS, dialect_named
from tests.policies.chat_server import CANARY, Reply, Server, ask, asked, chat
from tests.policies.conftest import Connect

BASE = {"model": "m", "messages": [{"role": "user", "content": "7+9?"}]}
CAP = {"max_tokens": 4096}
GREEDY = {"temperature": 0.0, "top_p": 1.0}
NEUTRAL = {
    "top_k": -1,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
}
VLLM = {**BASE, **CAP, **GREEDY, **NEUTRAL, "return_token_ids": True}
SGLANG = {**BASE, **CAP, **GREEDY, **NEUTRAL}
LLAMA = {
    **{**BASE, **CAP, **GREEDY, "top_k": 0, "min_p": 0.0, "repeat_penalty": 1.0},
    **{"presence_penalty": 0.0, "frequency_penalty": 0.0},
}
OPENAI = {**BASE, "max_completion_tokens": 4096}
PLAIN = {**BASE, **CAP, **GREEDY}
CLAUDE = {**BASE, **CAP}


def template(**kwargs: bool) -> dict[str, object]:
    return {"chat_template_kwargs": kwargs}


def google(budget: int) -> dict[str, object]:
    return {"extra_body": {"google": {"thinking_config": {"thinking_budget": budget}}}}


# Off, on, and with a budget of 2048; `None` where the row refuses.
BODIES: dict[str, tuple[Any, Any, Any]] = {
    "vllm": (
        {**VLLM, **template(enable_thinking=False)},
        {**VLLM, **template(enable_thinking=True)},
        {**VLLM, **template(enable_thinking=True), "thinking_token_budget": 2048},
    ),
    "vllm-deepseek": (
        {**VLLM, **template(thinking=False)},
        {**VLLM, **template(thinking=True)},
        {**VLLM, **template(thinking=True), "thinking_token_budget": 2048},
    ),
    "sglang": (
        {**SGLANG, **template(enable_thinking=False, thinking=False)},
        {**SGLANG, **template(enable_thinking=True, thinking=True)},
        {
            **{**SGLANG, **template(enable_thinking=True, thinking=True)},
            "custom_params": {"thinking_budget": 2048},
        },
    ),
    "llama.cpp": (
        {**LLAMA, **template(enable_thinking=False)},
        {**LLAMA, **template(enable_thinking=True)},
        {**LLAMA, **template(enable_thinking=True), "thinking_budget_tokens": 2048},
    ),
    "transformers": (
        {**PLAIN, **template(enable_thinking=False)},
        {**PLAIN, **template(enable_thinking=True)},
        None,
    ),
    "openai": ({**OPENAI, **GREEDY, "reasoning_effort": "none"}, OPENAI, None),
    "anthropic": (
        {**CLAUDE, "temperature": 0.0, "thinking": {"type": "disabled"}},
        {**CLAUDE, "thinking": {"type": "adaptive"}},
        None,
    ),
    "anthropic-legacy": (
        {**CLAUDE, "temperature": 0.0, "thinking": {"type": "disabled"}},
        None,
        {**CLAUDE, "thinking": {"type": "enabled", "budget_tokens": 2048}},
    ),
    "gemini": ({**PLAIN, **google(0)}, {**PLAIN, **google(-1)}, {**PLAIN, **google(2048)}),
    "gemini-3": (None, PLAIN, None),
    "deepseek": (
        {**PLAIN, "thinking": {"type": "disabled"}},
        {**CLAUDE, "thinking": {"type": "enabled"}},
        None,
    ),
    "dashscope": (
        {**PLAIN, "enable_thinking": False},
        {**PLAIN, "enable_thinking": True},
        {**PLAIN, "enable_thinking": True, "thinking_budget": 2048},
    ),
    "plain": (PLAIN, None, None),
}
CLASSES = {
    **dict.fromkeys(("vllm", "vllm-deepseek", "sglang", "llama.cpp"), "hard"),
    **dict.fromkeys(("anthropic-legacy", "gemini", "dashscope"), "soft"),
    **dict.fromkeys(("transformers", "openai", "anthropic", "gemini-3", "deepseek"), "none"),
    "plain": "none",
}


def test_every_row_has_its_bodies_and_its_class_here() -> None:
    assert set(BODIES) == set(CLASSES) == set(DIALECTS)


@pytest.mark.parametrize("dialect", BODIES)
async def test_what_each_server_is_sent(server: Server, dialect: str) -> None:
    requests = (
        asked(max_tokens=4096),
        asked(max_tokens=4096, thinking=True),
        asked(max_tokens=4096, thinking=True, thinking_budget=2048),
    )
    for request, expected in zip(requests, BODIES[dialect], strict=True):
        server.requests.clear()
        if expected is None:
            with pytest.raises(CapabilityError):
                await ask(server, chat(), request=request, dialect=dialect)
            assert server.requests == []
            continue
        completion = await ask(server, chat(), request=request, dialect=dialect)
        assert server.requests[0]["body"] == expected
        wire = {key: value for key, value in expected.items() if key != "messages"}
        assert json.loads(completion.wire or "") == wire
        assert completion.wire == json.dumps(wire, sort_keys=True, separators=(",", ":"))


@pytest.mark.parametrize("dialect", CLASSES)
def test_only_enforced_budgets_are_called_hard(dialect: str) -> None:
    row = dialect_named(dialect)
    assert row.budget_class == CLASSES[dialect]
    assert (Capability.THINKING_BUDGET in row.capabilities) == (CLASSES[dialect] != "none")
    assert (Capability.HARD_BUDGET in row.capabilities) == (CLASSES[dialect] == "hard")
    assert row.fix or dialect == "plain"


def usage(prompt: int, completion: int, **more: Any) -> dict[str, Any]:
    total = more.pop("total", prompt + completion)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": total,
        **more,
    }


def told(n_thinking: int) -> dict[str, Any]:
    return {"completion_tokens_details": {"reasoning_tokens": n_thinking}}


def probabilities(*tokens: str) -> dict[str, Any]:
    return {"content": [{"token": token, "logprob": -0.1} for token in tokens]}


# What each server answers to a thinking request, and what must be read from it.
ANSWERS: dict[str, tuple[dict[str, Any], dict[str, Any], str | None, Usage]] = {
    "vllm": (
        {"content": "\n\nAnswer: 6", "reasoning": "\n7+9\n"},
        usage(20, 30, **told(24), prompt_tokens_details=None),
        "7+9",
        Usage(20, 30, 24),
    ),
    "vllm-deepseek": (
        {"content": "Answer: 6", "reasoning": "7+9"},
        usage(20, 30, **told(24), prompt_tokens_details={"cached_tokens": 16}),
        "7+9",
        Usage(20, 30, 24, cached_tokens=16),
    ),
    "sglang": (
        {"content": "Answer: 6", "reasoning_content": "7+9", "tool_calls": None},
        usage(20, 30, **told(24), prompt_tokens_details=None, reasoning_tokens=24),
        "7+9",
        Usage(20, 30, 24),
    ),
    "llama.cpp": (
        {"content": "Answer: 6", "reasoning_content": "7+9"},
        usage(20, 30, prompt_tokens_details={"cached_tokens": 4}),
        "7+9",
        Usage(20, 30, None, cached_tokens=4),
    ),
    "transformers": (
        {"content": "<think>\n7+9\n</think>\n\nAnswer: 6"},
        usage(20, 30),
        "7+9",
        Usage(20, 30),
    ),
    "openai": (
        {"content": "Answer: 6", "refusal": None, "annotations": []},
        usage(20, 30, **told(24), prompt_tokens_details={"cached_tokens": 0}),
        None,
        Usage(20, 30, 24),
    ),
    "anthropic": ({"content": "Answer: 6"}, usage(20, 30), None, Usage(20, 30)),
    "anthropic-legacy": ({"content": "Answer: 6"}, usage(20, 30), None, Usage(20, 30)),
    # Thoughts are not in completion_tokens, and only the total tells them.
    "gemini": ({"content": "Answer: 6"}, usage(20, 6, total=50), None, Usage(20, 30, 24)),
    "gemini-3": ({"content": "Answer: 6"}, usage(20, 6, total=50), None, Usage(20, 30, 24)),
    "deepseek": (
        {"content": "Answer: 6", "reasoning_content": "7+9"},
        usage(20, 30, **told(24), prompt_cache_hit_tokens=0, prompt_cache_miss_tokens=20),
        "7+9",
        Usage(20, 30, 24),
    ),
    "dashscope": (
        {"content": "Answer: 6", "reasoning_content": "7+9"},
        usage(20, 30, **told(24), prompt_tokens_details={"cached_tokens": 0}),
        "7+9",
        Usage(20, 30, 24),
    ),
}


@pytest.mark.parametrize("dialect", ANSWERS)
async def test_what_each_server_answers_is_read(server: Server, dialect: str) -> None:
    message, counts, thinking, expected = ANSWERS[dialect]
    budget = 1024 if dialect == "anthropic-legacy" else None
    request = asked(thinking=True, thinking_budget=budget, max_tokens=4096)
    document = {"model": "m", **chat(usage=counts, **message)}
    completion = await ask(server, document, request=request, dialect=dialect)
    assert (completion.text, completion.thinking) == ("Answer: 6", thinking)
    assert completion.usage == expected
    assert completion.thinking_closed


async def test_llama_cpp_tells_thinking_tokens_through_the_list_of_tokens(server: Server) -> None:
    body: Any = chat("A 6", reasoning_content="hm so")
    body["choices"][0]["logprobs"] = probabilities("<think>", "hm", " so", "</think>", "A", " 6")
    request = asked(thinking=True, logprobs=True)
    completion = await ask(server, body, request=request, dialect="llama.cpp")
    assert completion.usage.thinking_tokens == 2


async def test_a_hidden_thought_that_was_cut_leaves_a_cut_answer(server: Server) -> None:
    request = asked(thinking=True)
    body = chat("The answer is", finish="length")
    completion = await ask(server, body, request=request, dialect="anthropic")
    assert (completion.text, completion.thinking_closed) == ("The answer is", True)


@pytest.mark.parametrize("dialect", ["vllm", "vllm-deepseek", "sglang"])
async def test_the_answer_of_another_model_is_refused(server: Server, dialect: str) -> None:
    document = {**chat(), "model": "other"}
    with pytest.raises(BackendResponseError, match="'other' answered"):
        await ask(server, document, dialect=dialect)


async def test_providers_that_answer_with_a_snapshots_name_are_fine(server: Server) -> None:
    document = {**chat(), "model": "m-2026-01-31"}
    assert (await ask(server, document, dialect="openai")).text == "Answer: 6"


# Limits of single rows


@pytest.mark.parametrize(
    ("dialect", "changes", "says"),
    [
        ("anthropic-legacy", {"thinking_budget": 1023}, "1023 is below 1024"),
        ("anthropic-legacy", {"thinking_budget": 4096}, "not below max_tokens=4096"),
        ("anthropic-legacy", {}, "needs a budget"),
        ("gemini-3", {"thinking": False}, "cannot answer without thinking"),
        ("openai", {"temperature": 0.6}, "temperature=0.6 would be ignored"),
        ("openai", {"temperature": 1.0, "top_p": 0.9}, "top_p=0.9 would be ignored"),
        ("anthropic", {"temperature": 0.7}, "samples"),
        ("deepseek", {"temperature": 0.7}, "samples"),
        ("gemini", {"logprobs": True}, "logprobs"),
    ],
)
async def test_what_a_server_would_ignore_or_refuse_is_not_sent(
    server: Server, dialect: str, changes: dict[str, Any], says: str
) -> None:
    request = asked(**{"max_tokens": 4096, "thinking": True, **changes})
    with pytest.raises(CapabilityError, match=says):
        await ask(server, chat(), request=request, dialect=dialect)
    assert server.requests == []


async def test_a_level_of_effort_goes_where_the_server_reads_it(server: Server) -> None:
    request = asked(thinking=True)
    await ask(server, chat(), request=request, dialect="gemini-3", effort="low")
    assert server.requests[0]["body"]["reasoning_effort"] == "low"
    await ask(server, chat(), dialect="openai", effort="low")
    assert server.requests[1]["body"]["reasoning_effort"] == "none"
    with pytest.raises(InvalidInputError, match=r"effort is 'medium'.*low, high, max"):
        OpenAIBackend("m", server.url, dialect="deepseek", effort="medium")
    low = OpenAIBackend("m", server.url, dialect="openai", effort="low")
    assert low.identity() != OpenAIBackend("m", server.url, dialect="openai").identity()


# Servers that no row fits


async def test_an_unknown_server_is_described_by_options(
    server: Server, connected: Connect
) -> None:
    backend = connected(
        dialect="plain",
        extra_body='{"cache": false, "options": {"mode": "x"}}',
        extra_body_on={"options": {"think": True}},
        extra_body_off='{"options": {"think": false}}',
        budget_path="options.limits.think_tokens",
    )
    assert backend.capabilities >= {Capability.THINKING_SWITCH, Capability.THINKING_BUDGET}
    assert Capability.HARD_BUDGET not in backend.capabilities
    server.replies = [Reply(chat())]
    await backend.generate(asked(thinking=True, thinking_budget=9))
    await backend.generate(asked())
    on, off = (request["body"] for request in server.requests)
    assert on["options"] == {"mode": "x", "think": True, "limits": {"think_tokens": 9}}
    assert off["options"] == {"mode": "x", "think": False}
    assert on["cache"] is off["cache"] is False
    assert "described" in backend.identity()
    other = OpenAIBackend("m", server.url, dialect="plain", extra_body={"cache": True})
    assert other.identity()["described"] != backend.identity()["described"]


def test_a_described_budget_is_hard_only_if_the_user_says_so() -> None:
    def of(**options: Any) -> frozenset[Capability]:
        return OpenAIBackend("m", "http://127.0.0.1/v1", **options).capabilities

    assert Capability.HARD_BUDGET not in of(budget_path="think.tokens")
    assert Capability.HARD_BUDGET in of(budget_path="think.tokens", is_budget_hard=True)
    assert Capability.HARD_BUDGET not in of(is_budget_hard=False)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"extra_body": "{"}, "extra_body is no JSON"),
        ({"extra_body_on": "[1]"}, "extra_body_on is no JSON object"),
        ({"extra_body": {"messages": []}}, "sets messages"),
        ({"extra_body_off": {"max_tokens": 1, "stream": True}}, "sets max_tokens, stream"),
        ({"extra_body": {"auth": {"api_key": CANARY}}}, "holds the key 'api_key'"),
        ({"extra_body": {"headers": [{"Authorization": CANARY}]}}, "'Authorization'"),
        ({"budget_path": ""}, "budget_path"),
        ({"budget_path": "a..b"}, "budget_path"),
        ({"budget_path": "max_tokens"}, "budget_path"),
    ],
)
def test_a_description_that_makes_no_sense_is_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidInputError, match=says) as caught:
        OpenAIBackend("m", "http://127.0.0.1/v1", dialect="plain", **options)
    assert CANARY not in str(caught.value)


async def test_penalties_are_zero_so_that_a_continued_thought_is_sampled_alike(
    server: Server,
) -> None:
    for dialect in ("vllm", "vllm-deepseek", "sglang", "llama.cpp"):
        server.requests.clear()
        completion: Completion = await ask(server, chat(), dialect=dialect)
        wire = json.loads(completion.wire or "")
        assert (wire["presence_penalty"], wire["frequency_penalty"]) == (0.0, 0.0)
