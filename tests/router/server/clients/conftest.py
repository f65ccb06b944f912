"""A real server, and real clients that know nothing of it but its address."""

from collections.abc import AsyncIterator, Iterator

import openai
import pytest
import pytest_asyncio

from tests.router.server.clients.served_process import ServedProcess, serving_process


@pytest.fixture(scope="session")
def server(own_cache: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedProcess]:
    """Run one server for the session; that SIGTERM ends it well is part of every test of it."""
    with serving_process(tmp_path_factory.mktemp("served")) as served:
        yield served


@pytest.fixture
def client(server: ServedProcess) -> Iterator[openai.OpenAI]:
    """Return OpenAI's own client; it does not retry, so that every failure is seen."""
    with openai.OpenAI(base_url=server.base_url, api_key="unused", max_retries=0) as made:
        yield made


@pytest_asyncio.fixture
async def async_client(server: ServedProcess) -> AsyncIterator[openai.AsyncOpenAI]:
    """Return its asynchronous twin."""
    async with openai.AsyncOpenAI(
        base_url=server.base_url, api_key="unused", max_retries=0
    ) as made:
        yield made
