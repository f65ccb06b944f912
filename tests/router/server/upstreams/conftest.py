"""Pools of upstream servers that fail as told."""

import json
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from router.server.upstreams import (
    BreakerSettings,
    RetrySettings,
    UpstreamPool,
    UpstreamSettings,
)
from tests.servers.upstream import UpstreamServer

CHAT = "/chat/completions"
RETRY = RetrySettings(first_wait_s=0.01, longest_wait_s=0.02, n_free=100)
# No checks, so that nothing but the requests of the test reaches the server.
BREAKER = BreakerSettings(check_every_s=0.0, recheck_every_s=60.0)

Connect = Callable[..., Any]


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as opened:
        yield opened


@pytest.fixture
async def server(stack: AsyncExitStack) -> UpstreamServer:
    return await stack.enter_async_context(UpstreamServer())


@pytest.fixture
async def other(stack: AsyncExitStack) -> UpstreamServer:
    return await stack.enter_async_context(UpstreamServer())


@pytest.fixture
def connected(stack: AsyncExitStack) -> Connect:
    async def connect(
        *servers: UpstreamServer,
        retry: RetrySettings = RETRY,
        breaker: BreakerSettings = BREAKER,
        **settings: Any,
    ) -> UpstreamPool:
        each = [UpstreamSettings(one.url, **settings) for one in servers]
        pool = UpstreamPool(each, retry=retry, breaker=breaker, rng=random.Random(0))
        await pool.start()
        stack.push_async_callback(pool.aclose)
        return pool

    return connect


def chat(said: str = "hello you", **fields: Any) -> bytes:
    messages = [{"role": "user", "content": said}]
    return json.dumps({"model": "m", "messages": messages, **fields}).encode()


async def ask(pool: UpstreamPool, said: str = "hello you", **options: Any) -> str:
    async with await pool.send(CHAT, chat(said), **options) as answer:
        return json.loads(await answer.read())["choices"][0]["message"]["content"]
