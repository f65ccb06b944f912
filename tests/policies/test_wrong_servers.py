"""Servers started or addressed wrongly: what is said must be the cause, with its cure."""

import pytest

from policies import (
    BackendRequestError,
    Capability,
    CapabilityError,
    FinishReason,
    GenerationRequest,
    user_message,
)
from policies.backends.probe import probe
from tests.policies.chat_server import Reply, Server, ask, asked
from tests.policies.conftest import Connect
from tests.policies.simulated_vllm import N_THOUGHT, SimulatedVllm

SWITCH = [Capability.THINKING_SWITCH]


async def test_a_missing_parser_is_not_taken_for_a_missing_switch(connected: Connect) -> None:
    silent = SimulatedVllm(has_parser=False, hides_tags=True)
    with pytest.raises(CapabilityError, match="without a reasoning parser") as caught:
        await probe(connected(silent), SWITCH)
    assert "--reasoning-parser" in caught.value.hint
    assert "switch" not in caught.value.message


async def test_a_template_without_a_switch_is_still_told_as_such(connected: Connect) -> None:
    never = SimulatedVllm(thinks="never", has_parser=False, hides_tags=True)
    with pytest.raises(CapabilityError, match="has no thinking switch"):
        await probe(connected(never), SWITCH)


async def test_denied_access_without_a_key_names_the_variable_that_is_not_set(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MY_KEY", raising=False)
    denied = Reply({"error": "Unauthorized"}, status=401)
    with pytest.raises(BackendRequestError) as caught:
        await ask(server, denied, key_variable="MY_KEY")
    assert caught.value.hint == ("no API key was sent: the environment variable MY_KEY is not set")
    monkeypatch.setenv("MY_KEY", "wrong-key-0123456789")
    with pytest.raises(BackendRequestError) as caught:
        await ask(server, denied, key_variable="MY_KEY")
    assert "MY_KEY" in caught.value.hint
    assert "check the API key" in caught.value.hint
    assert "wrong-key" not in f"{caught.value} {caught.value.hint}"


async def test_a_refusal_in_the_words_of_fastapi_is_shown(server: Server) -> None:
    with pytest.raises(BackendRequestError, match="404: Not Found"):
        await ask(server, Reply({"detail": "Not Found"}, status=404))


@pytest.mark.parametrize(
    "message",
    [
        "max_tokens=17408 cannot be greater than max_model_len=1024.",
        "This model's maximum context length is 1024 tokens.",
        "the request exceeds the available context size. try increasing it",
    ],
)
async def test_a_cap_beyond_the_context_is_refused_with_what_to_lower(
    server: Server, message: str
) -> None:
    with pytest.raises(BackendRequestError) as caught:
        await ask(server, Reply({"error": {"message": message}}, status=400))
    assert "max_thinking_tokens and max_answer_tokens" in caught.value.hint


async def test_a_cap_that_the_server_lowers_in_silence_is_an_error_and_not_a_cut_thought(
    connected: Connect,
) -> None:
    backend = connected(SimulatedVllm(context=N_THOUGHT))
    request = asked(thinking=True)
    unknown = await backend.generate(request)
    assert unknown.finish_reason is FinishReason.LENGTH
    assert unknown.usage.completion_tokens < request.max_tokens
    await backend.describe_server()
    with pytest.raises(BackendRequestError, match=r"max_tokens=50 exceed .* context of 40"):
        await backend.generate(request)


async def test_whether_the_context_is_exceeded_does_not_depend_on_the_answer(
    connected: Connect,
) -> None:
    backend = connected(SimulatedVllm(context=60))
    await backend.describe_server()
    short = GenerationRequest(user_message("7+9?"), max_tokens=20)
    n_prompt = (await backend.generate(short)).usage.prompt_tokens
    fits = GenerationRequest(user_message("7+9?"), max_tokens=60 - n_prompt)
    assert (await backend.generate(fits)).finish_reason is FinishReason.STOP
    beyond = GenerationRequest(user_message("7+9?"), max_tokens=61 - n_prompt)
    with pytest.raises(BackendRequestError, match="context of 60"):
        await backend.generate(beyond)
