"""How the `openai` backend reads what servers answer."""

from typing import Any

import pytest

from policies import (
    BackendResponseError,
    FinishReason,
    Usage,
)
from tests.policies.chat_server import USAGE, Server, ask, asked, chat, logprobs


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({"content": "\n\nAnswer: 6", "reasoning": "\n7+9\n"}, ("7+9", "Answer: 6", True)),
        ({"content": "Answer: 6", "reasoning_content": "7+9"}, ("7+9", "Answer: 6", True)),
        ({"content": "<think>\n7+9\n</think>\n\nAnswer: 6"}, ("7+9", "Answer: 6", True)),
        # The template wrote the start tag into the prompt.
        ({"content": "7+9\n</think>\n\nAnswer: 6"}, ("7+9", "Answer: 6", True)),
        ({"content": "<think>\n7+9"}, ("7+9", "", False)),
        ({"content": None, "reasoning": "7+9"}, ("7+9", "", False)),
        ({"content": "", "reasoning_content": "7+9"}, ("7+9", "", False)),
        # A forced end, and the model's own end tag after it.
        ({"content": "</think>\n\nAnswer: 6", "reasoning": "7+9"}, ("7+9", "Answer: 6", True)),
        # The model thinks anew.
        (
            {"content": "<think>7</think><think>9</think>Answer: 6"},
            ("7\n9", "Answer: 6", True),
        ),
        ({"content": "<think>7</think>\n<think>9"}, ("7\n9", "", False)),
        ({"content": "<think>9</think>A", "reasoning": "7"}, ("7\n9", "A", True)),
        # An answer may speak of the tags.
        (
            {"content": "Use <think> and </think>.", "reasoning": "tags"},
            ("tags", "Use <think> and </think>.", True),
        ),
        ({"content": "Use <think> and </think>."}, (None, "Use <think> and </think>.", True)),
    ],
)
async def test_thought_and_answer_are_told_apart(
    server: Server, message: dict[str, object], expected: tuple[str | None, str, bool]
) -> None:
    completion = await ask(server, chat(**message), request=asked(thinking=True))
    assert (completion.thinking, completion.text, completion.thinking_closed) == expected


async def test_a_thought_cut_by_the_cap_is_never_an_answer(server: Server) -> None:
    cases: list[dict[str, Any]] = [
        {"content": "So 7+9=16, answer: 6"},  # prefilled start tag, no end tag
        {"content": "<think>So 7+9=16, answer: 6"},
        {"content": None, "reasoning": "So 7+9=16, answer: 6"},
    ]
    for message in cases:
        body = chat(finish="length", **message)
        completion = await ask(server, body, request=asked(thinking=True))
        assert completion.finish_reason is FinishReason.LENGTH
        assert not completion.thinking_closed
        assert completion.text == ""
        assert "answer: 6" in (completion.thinking or "")


async def test_a_cut_answer_without_a_thought_stays_an_answer(server: Server) -> None:
    usage = {**USAGE, "completion_tokens_details": {"reasoning_tokens": 0}}
    body = chat("The answer is", finish="length", usage=usage)
    completion = await ask(server, body, request=asked(thinking=True))
    assert (completion.text, completion.thinking) == ("The answer is", None)
    assert completion.thinking_closed


async def test_a_hidden_thought_cut_by_the_cap_is_open(server: Server) -> None:
    usage = {**USAGE, "completion_tokens_details": {"reasoning_tokens": 9}}
    body = chat("", finish="length", usage=usage)
    completion = await ask(server, body, request=asked(thinking=True), dialect="openai")
    assert (completion.text, completion.thinking_closed) == ("", False)
    assert completion.usage.thinking_tokens == 9


async def test_thinking_that_was_switched_off_and_comes_anyway_is_not_in_the_answer(
    server: Server,
) -> None:
    completion = await ask(server, chat("<think>7+9</think>Answer: 6"))
    assert (completion.thinking, completion.text) == ("7+9", "Answer: 6")
    completion = await ask(server, chat("<think>\n\n</think>\n\nAnswer: 6"))
    assert (completion.thinking, completion.text) == (None, "Answer: 6")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("stop", FinishReason.STOP),
        ("length", FinishReason.LENGTH),
        ("repetition", FinishReason.REPETITION),
        ("content_filter", FinishReason.FILTER),
    ],
)
async def test_finish_reasons_are_kept_apart(
    server: Server, value: str, expected: FinishReason
) -> None:
    assert (await ask(server, chat(finish=value))).finish_reason is expected


async def test_usage_is_the_servers(server: Server) -> None:
    usage = {
        "prompt_tokens": 30,
        "completion_tokens": 20,
        "completion_tokens_details": {"reasoning_tokens": 12},
        "prompt_tokens_details": {"cached_tokens": 16},
    }
    completion = await ask(server, chat(usage=usage, reasoning="t"), request=asked(thinking=True))
    assert completion.usage == Usage(30, 20, thinking_tokens=12, cached_tokens=16)


async def test_thinking_tokens_stay_unknown_where_the_server_does_not_count(
    server: Server,
) -> None:
    completion = await ask(server, chat(reasoning="t"), request=asked(thinking=True))
    assert completion.usage.thinking_tokens is None
    usage = {**USAGE, "completion_tokens_details": {"reasoning_tokens": 0}}
    body = chat(reasoning="a long thought", usage=usage)
    completion = await ask(server, body, request=asked(thinking=True))
    assert completion.usage.thinking_tokens is None


async def test_evidence_is_of_the_answer_alone(server: Server) -> None:
    body: Any = chat("\n\nA 6", reasoning="hm")
    body["choices"][0]["logprobs"] = logprobs(
        ("<think>", -5.0), ("hm", -6.0), ("</think>", -7.0), ("\n\n", -0.1), ("A", -0.2),
        (" 6", -0.6), ("<|im_end|>", -9.0),
    )  # fmt: skip
    completion = await ask(server, body, request=asked(thinking=True, logprobs=True))
    assert completion.evidence is not None
    assert completion.evidence.mean_logprob == pytest.approx(-0.3)
    assert completion.evidence.min_logprob == -0.6
    assert completion.usage.thinking_tokens == 1


@pytest.mark.parametrize(
    ("listed", "margin"),
    [
        ([-0.1, -2.1, -0.6], 0.5),  # in any order, the chosen token among them
        ([-0.1, -9999.0], 9998.9),
        ([-0.1], None),
        ([], None),
        ([-0.1, None], None),
        (None, None),
    ],
)
async def test_the_margin_is_the_smallest_gap_between_two_most_likely_tokens(
    server: Server, listed: list[float | None] | None, margin: float | None
) -> None:
    body: Any = chat("A 6", reasoning=None)
    found: Any = logprobs(("A", -0.2), (" 6", -0.6), ("<|im_end|>", -0.1))
    likely = [[-0.2, -5.2], listed, [-0.1, -0.2]]  # the end of turn is no part of the answer
    if listed == [-0.1, -9999.0]:
        likely[0] = listed
    for entry, values in zip(found["content"], likely, strict=True):
        if values is not None:
            entry["top_logprobs"] = [{"token": "x", "logprob": value} for value in values]
    body["choices"][0]["logprobs"] = found
    completion = await ask(server, body, request=asked(logprobs=True))
    sent = server.requests[-1]["body"]
    assert (sent["logprobs"], sent["top_logprobs"]) == (True, 2)
    assert completion.evidence is not None
    assert completion.evidence.mean_logprob == pytest.approx(-0.4)
    assert completion.evidence.margin == (None if margin is None else pytest.approx(margin))


async def test_evidence_leaves_out_the_end_that_was_forced_at_budget_0(server: Server) -> None:
    body: Any = chat("\n\nA 6", reasoning=None)
    body["choices"][0]["logprobs"] = logprobs(
        ("<think>", -0.1), ("</think>", -23.0), ("\n\n", -0.1), ("A", -0.2), (" 6", -0.6),
    )  # fmt: skip
    request = asked(thinking=True, thinking_budget=0, logprobs=True)
    completion = await ask(server, body, request=request)
    assert completion.evidence is not None
    assert completion.evidence.min_logprob == -0.6


async def test_there_is_no_evidence_where_the_thought_cannot_be_told_from_the_answer(
    server: Server,
) -> None:
    body: Any = chat("A", reasoning="hm")
    body["choices"][0]["logprobs"] = logprobs(("hm", -6.0), ("<end>", -7.0), ("A", -0.2))
    completion = await ask(server, body, request=asked(thinking=True, logprobs=True))
    assert completion.evidence is None


async def test_a_hidden_thought_leaves_the_answers_evidence(server: Server) -> None:
    body: Any = chat("A 6", reasoning="summary")
    body["choices"][0]["logprobs"] = logprobs(("A", -0.2), (" 6", 0.0000001))
    completion = await ask(server, body, request=asked(thinking=True, logprobs=True))
    assert completion.evidence is not None
    assert completion.evidence.mean_logprob == pytest.approx(-0.1)


@pytest.mark.parametrize(
    "value", [None, {"content": None}, {"content": [{"token": "A"}]}, {"content": []}]
)
async def test_missing_logprobs_are_an_error(server: Server, value: object) -> None:
    body: Any = chat()
    body["choices"][0]["logprobs"] = value
    with pytest.raises(BackendResponseError, match="log"):
        await ask(server, body, request=asked(logprobs=True))


async def test_token_ids_are_kept(server: Server) -> None:
    body: Any = chat()
    body["choices"][0]["token_ids"] = [5, 6, 7]
    assert (await ask(server, body)).token_ids == (5, 6, 7)
