"""Fixtures of the tests of backends."""

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from policies.backends.openai import OpenAIBackend
from tests.policies.chat_server import Server
from tests.policies.simulated_vllm import SimulatedVllm

Connect = Callable[..., OpenAIBackend]


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.close()


@pytest.fixture
async def connected(server: Server) -> AsyncIterator[Connect]:
    """Connect to the server, on which a simulated model may run; closes what it has made."""
    made: list[OpenAIBackend] = []

    def connect(model: SimulatedVllm | None = None, **options: Any) -> OpenAIBackend:
        if model is not None:
            model.serve(server)
        settings: dict[str, Any] = {"max_retries": 0, **options}
        made.append(OpenAIBackend("m", server.url, **settings))
        return made[-1]

    yield connect
    for backend in made:
        await backend.aclose()
