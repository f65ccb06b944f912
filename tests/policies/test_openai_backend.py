"""The rest of the `openai` backend's interface."""

from typing import Any

import pytest

from policies import (
    Capability,
    InvalidInputError,
    ModelSize,
    UnknownNameError,
)
from policies.backends.openai import OpenAIBackend
from tests.policies.chat_server import Reply, Server


def test_identity_tells_model_server_and_dialect() -> None:
    backend = OpenAIBackend("m", "HTTPS://Example.invalid:8443/v1/", dialect="sglang")
    assert backend.identity() == {
        "backend": "openai",
        "model": "m",
        "base_url": "https://example.invalid:8443/v1",
        "dialect": "sglang",
        "wire_version": "2",
    }


async def test_the_server_can_be_asked_what_it_serves(server: Server) -> None:
    models = {"data": [{"id": "m", "root": "org/weights"}, {"id": "other"}]}
    rendered = [Reply({"tokens": [1, 2, 3]}), Reply({"tokens": [1, 2]})]
    server.replies = [Reply(models), Reply({"version": "0.32.0"}), *rendered]
    backend = OpenAIBackend("m", server.url)
    before = backend.identity()
    facts = dict(await backend.describe_server())
    await backend.aclose()
    assert backend.identity() == {**before, **facts}
    assert len(facts.pop("template_sha256")) == 64
    assert facts == {"served_root": "org/weights", "server_version": "0.32.0"}
    paths = [request["path"] for request in server.requests]
    assert paths == ["/v1/models", "/version", "/tokenize", "/tokenize"]


async def test_another_chat_template_is_another_identity(server: Server) -> None:
    server.replies = [
        Reply(body)
        for last in (2, 3, 3)
        for body in (
            {"data": [{"id": "m"}]},
            {"version": "0.32.0"},
            {"tokens": [1, 2, 3]},
            {"tokens": [1, last]},
        )
    ]
    hashes: set[str] = set()
    for _ in range(3):
        backend = OpenAIBackend("m", server.url)
        hashes.add((await backend.describe_server())["template_sha256"])
        await backend.aclose()
    assert len(hashes) == 2


async def test_a_server_that_renders_nothing_for_others_has_no_template_hash(
    server: Server,
) -> None:
    gone = Reply({"detail": "Not Found"}, status=404)
    server.replies = [Reply({"data": [{"id": "m"}]}), Reply({"version": "1"}), gone]
    backend = OpenAIBackend("m", server.url)
    assert "template_sha256" not in await backend.describe_server()
    await backend.aclose()


def test_capabilities_are_those_of_the_dialect() -> None:
    def of(dialect: str) -> frozenset[Capability]:
        return OpenAIBackend("m", "http://127.0.0.1/v1", dialect=dialect).capabilities

    assert Capability.HARD_BUDGET in of("vllm") & of("sglang") & of("llama.cpp")
    assert Capability.HARD_BUDGET not in of("openai") | of("dashscope") | of("deepseek")
    assert Capability.PREFIX_CONTINUATION in of("vllm") & of("vllm-deepseek")
    assert Capability.PREFIX_CONTINUATION not in of("sglang") | of("llama.cpp") | of("openai")
    assert Capability.THINKING_SWITCH not in of("plain")


def test_the_size_is_parsed_once() -> None:
    backend = OpenAIBackend("m", "http://127.0.0.1/v1", size="8B")
    assert backend.size == ModelSize(8_000_000_000)


def test_an_unknown_dialect_has_close_matches() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'sglang'"):
        OpenAIBackend("m", "http://127.0.0.1/v1", dialect="sglan")


@pytest.mark.parametrize("options", [{"timeout_s": 0}, {"max_retries": -1}, {"max_concurrency": 0}])
def test_numbers_out_of_range_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match=next(iter(options))):
        OpenAIBackend("m", "http://127.0.0.1/v1", **options)
