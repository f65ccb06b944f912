"""Neither the key nor what is asked and answered shows anywhere but on the wire."""

import asyncio
import json
import logging
import traceback

import pytest
from pydantic import SecretStr

from policies import BackendError, InvalidInputError
from router.server.upstreams import (
    BreakerSettings,
    RetrySettings,
    UpstreamPool,
    UpstreamRefusalError,
    UpstreamSettings,
)
from tests.servers.upstream import Fault, UpstreamServer

KEY = "sk-canary/1234567890"
PROMPT = "canary-prompt"
BODY = json.dumps({"messages": [{"role": "user", "content": PROMPT}], "stream": True}).encode()
ECHO = json.dumps({"error": {"message": f"bad key {KEY} in {PROMPT}"}}).encode()


def everything(error: BaseException) -> str:
    """Return all that a log or an error tracker might show of an error."""
    shown = [*traceback.format_exception(error), repr(error)]
    chain: BaseException | None = error
    while chain is not None:
        shown += [repr(chain), str(chain), repr(chain.args)]
        shown += [repr(value) for name, value in vars(chain).items() if name != "document"]
        chain = chain.__cause__ or chain.__context__
    return "\n".join(shown)


FAULTS = [
    *(Fault(status=status, document=ECHO) for status in (307, 400, 401, 404, 409, 422)),
    *(Fault(status=status, document=ECHO) for status in (429, 500, 501, 502, 503, 504)),
    Fault(status=500, headers={"x-request-id": KEY}),
    Fault(status=400, headers={"x-request-id": KEY}, document=ECHO),
    Fault(document=ECHO, headers={"content-encoding": "gzip"}),
    Fault(breaks="reset"),
    Fault(breaks="cut"),
    Fault(hangs="before-headers"),
    Fault(hangs="in-body"),
]


@pytest.mark.parametrize("fault", FAULTS, ids=range(len(FAULTS)))
async def test_no_error_and_no_log_shows_key_or_prompt(
    fault: Fault, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with UpstreamServer() as server:
        server.fault = lambda seen: fault
        settings = UpstreamSettings(server.url, key=SecretStr(KEY), silence_s=0.05)
        pool = UpstreamPool(
            [settings],
            retry=RetrySettings(max_retries=1, first_wait_s=0.001),
            breaker=BreakerSettings(n_failures=1, check_every_s=0.0),
        )
        await pool.start()
        try:
            with pytest.raises(BackendError) as caught:
                await (await pool.send("/chat/completions", BODY)).read()
        finally:
            await pool.aclose()
        assert server.seen[0].headers["authorization"] == f"Bearer {KEY}"
        shown = everything(caught.value) + caplog.text
        shown += repr([settings, pool, pool.states(), vars(pool)])
        assert "canary" not in shown
        if isinstance(caught.value, UpstreamRefusalError):
            assert KEY.encode() not in caught.value.document


@pytest.mark.parametrize("spelling", [KEY, KEY.replace("/", "\\/")])
async def test_a_document_that_repeats_the_key_is_handed_on_without_it(spelling: str) -> None:
    document = f'{{"error": {{"message": "{spelling} may not do that"}}}}'.encode()
    async with UpstreamServer() as server:
        server.faults = [Fault(status=400, document=document)]
        pool = UpstreamPool([UpstreamSettings(server.url, key=SecretStr(KEY))])
        await pool.start()
        with pytest.raises(UpstreamRefusalError) as caught:
            await pool.send("/chat/completions", BODY)
        await pool.aclose()
        assert caught.value.document == b'{"error": {"message": "*** may not do that"}}'


async def test_a_server_that_speaks_no_http_shows_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/9.9 what\x00 " + head)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(babble, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    pool = UpstreamPool(
        [UpstreamSettings(url, key=SecretStr(KEY))],
        retry=RetrySettings(max_retries=1, first_wait_s=0.001),
        breaker=BreakerSettings(check_every_s=0.0),
    )
    await pool.start()
    with pytest.raises(BackendError, match="breaks the HTTP protocol") as caught:
        await pool.send("/chat/completions", BODY)
    await pool.aclose()
    server.close()
    await server.wait_closed()
    assert "canary" not in everything(caught.value) + caplog.text


@pytest.mark.parametrize("key", ["", "two words canary", "line\ncanary", "kéy-canary"])
def test_a_key_that_is_none_is_refused_unrepeated(key: str) -> None:
    with pytest.raises(InvalidInputError, match="key") as caught:
        UpstreamSettings("http://127.0.0.1/v1", key=SecretStr(key))
    assert "canary" not in "".join(traceback.format_exception(caught.value))
