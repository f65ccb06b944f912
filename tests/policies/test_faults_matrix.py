"""The fault matrix: a server's fault is an error or says what it is, never a wrong answer.

Each fault is met once for ever (then: an error after exactly the configured attempts) and once
in passing (then: the right answer, if the fault may pass).
"""

from typing import Any

import pytest

from policies import (
    BackendConnectionError,
    BackendError,
    BackendRateLimitError,
    BackendRequestError,
    BackendResponseError,
    BackendTimeoutError,
    FinishReason,
)
from tests.policies.chat_server import USAGE, Reply, Server, ask, asked, chat

MAX_RETRIES = 2


def usage(**more: Any) -> dict[str, object]:
    return {"prompt_tokens": 7, "completion_tokens": 9, **more}


UNKNOWN = {"error": {"message": "The model `m` does not exist."}}
# The fault, its error, and whether asking again may help.
FAULTS: dict[str, tuple[Reply, type[BackendError], bool]] = {
    "429 with retry-after": (
        Reply({}, status=429, headers={"retry-after": "0.05"}),
        BackendRateLimitError,
        True,
    ),
    "429 without": (Reply({}, status=429), BackendRateLimitError, True),
    "500": (Reply({}, status=500), BackendResponseError, True),
    "503": (Reply({}, status=503), BackendConnectionError, True),
    "hang": (Reply(chat(), delay_s=30), BackendTimeoutError, True),
    "cut in mid-stream": (Reply(chat(), is_cut=True), BackendConnectionError, True),
    "invalid JSON": (Reply(raw=b'{"choices": [{"mess'), BackendResponseError, True),
    "a page": (Reply(raw=b"<html>busy</html>"), BackendResponseError, True),
    "no choices": (Reply({"choices": [], "usage": USAGE}), BackendResponseError, True),
    "aborted": (Reply(chat(finish="abort")), BackendResponseError, True),
    "empty content": (Reply(chat("")), BackendResponseError, False),
    "no content": (Reply(chat(None)), BackendResponseError, False),
    "no usage": (Reply(chat(usage=None)), BackendResponseError, False),
    "more cached than prompt tokens": (
        Reply(chat(usage=usage(prompt_tokens_details={"cached_tokens": 8}))),
        BackendResponseError,
        False,
    ),
    "more reasoning than all tokens": (
        Reply(chat(usage=usage(completion_tokens_details={"reasoning_tokens": 10}))),
        BackendResponseError,
        False,
    ),
    "a total above the sum": (
        Reply(chat(usage=usage(total_tokens=40))),
        BackendResponseError,
        False,
    ),
    "another model": (Reply({**chat(), "model": "other"}), BackendResponseError, False),
    "unknown model": (Reply(UNKNOWN, status=404), BackendRequestError, False),
    "unknown finish": (Reply(chat(finish="tool_calls")), BackendResponseError, False),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_lasting_fault_is_an_error_after_exactly_the_configured_attempts(
    server: Server, fault: str
) -> None:
    reply, kind, may_pass = FAULTS[fault]
    with pytest.raises(kind) as caught:
        await ask(server, reply, max_retries=MAX_RETRIES, timeout_s=1.0)
    assert type(caught.value) is kind
    n_attempts = MAX_RETRIES + 1 if may_pass else 1
    assert len(server.requests) == n_attempts
    assert f"attempts made: {n_attempts}" in caught.value.__notes__
    bodies = [request["body"] for request in server.requests]
    assert all(body == bodies[0] for body in bodies)


@pytest.mark.parametrize("fault", [name for name, (*_, may_pass) in FAULTS.items() if may_pass])
async def test_a_passing_fault_costs_one_attempt_and_no_answer(server: Server, fault: str) -> None:
    reply, *_ = FAULTS[fault]
    completion = await ask(server, reply, chat(), max_retries=MAX_RETRIES, timeout_s=2.0)
    assert completion.text == "Answer: 6"
    assert len(server.requests) == 2


# Outputs that ended early or hide the thought in their own way. What the answer may be at most.
THOUGHT = "7+9 is 16, so the answer: 5"
OUTPUTS: dict[str, tuple[dict[str, Any], str, str, bool]] = {
    "reasoning": ({"content": "6", "reasoning": THOUGHT}, "stop", "6", True),
    "reasoning_content": ({"content": "6", "reasoning_content": THOUGHT}, "stop", "6", True),
    "inline tags": ({"content": f"<think>{THOUGHT}</think>6"}, "stop", "6", True),
    "prefilled tag": ({"content": f"{THOUGHT}</think>6"}, "stop", "6", True),
    "unclosed": ({"content": f"<think>{THOUGHT}"}, "stop", "", False),
    "unclosed, cut": ({"content": f"<think>{THOUGHT}"}, "length", "", False),
    "prefilled and cut": ({"content": THOUGHT}, "length", "", False),
    "split and cut": ({"content": None, "reasoning": THOUGHT}, "length", "", False),
    "re-opened": ({"content": f"<think>{THOUGHT}</think>6", "reasoning": "7"}, "stop", "6", True),
    "re-opened inline": (
        {"content": f"<think>7</think><think>{THOUGHT}</think>6"},
        "stop",
        "6",
        True,
    ),
    "re-opened, unclosed": ({"content": f"<think>{THOUGHT}", "reasoning": "7"}, "stop", "", False),
    "repetition": ({"content": None, "reasoning": THOUGHT}, "repetition", "", False),
}


@pytest.mark.parametrize("output", OUTPUTS)
async def test_a_thought_is_never_taken_for_the_answer(server: Server, output: str) -> None:
    message, finish, text, is_closed = OUTPUTS[output]
    completion = await ask(server, chat(finish=finish, **message), request=asked(thinking=True))
    assert (completion.text, completion.thinking_closed) == (text, is_closed)
    assert THOUGHT in (completion.thinking or "")
    assert completion.finish_reason is FinishReason(finish)
