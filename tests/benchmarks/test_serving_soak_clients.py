"""The soak's judgement on answers: what is whole, what is a clear error, and what is neither."""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import aiohttp
import pytest

from benchmarks.serving._soak_clients import Clients, Ended

N_PIECES = 4
PIECE = '{"choices":[{"index":0,"delta":{"content":%s},"finish_reason":null}]}'
LAST = '{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}'
BROKEN = '{"error":{"message":"it broke off","type":"server_error","code":"backend-unreachable"}}'


def pieces(nonce: str) -> list[str]:
    return [PIECE % json.dumps(f" {nonce}.{number}") for number in range(N_PIECES)]


@asynccontextmanager
async def answering(answer: Callable[[str], bytes], *, resets: bool = False) -> AsyncGenerator[str]:
    """Serve one connection after the other; the answer may depend on the prompt's last word."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        body = json.loads(await reader.readexactly(length))
        if not resets:
            writer.write(answer(body["messages"][0]["content"].split()[-1]))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"


def stream(events: list[str], *, is_cut: bool = False) -> bytes:
    raw = "".join(f"data: {event}\n\n" for event in events).encode()
    chunk = b"%x\r\n%b\r\n" % (len(raw), raw)
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n"
    return head + b"\r\n" + chunk + (b"" if is_cut else b"0\r\n\r\n")


def document(raw: str, status: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {status}\r\ncontent-length: {len(raw)}\r\n\r\n{raw}".encode()


async def judged(url: str, monkeypatch: pytest.MonkeyPatch, *, is_streamed: bool = True) -> Ended:
    monkeypatch.setattr("benchmarks.serving._soak_clients._APIS", ("chat",))
    async with aiohttp.ClientSession() as session:
        return await Clients(url, N_PIECES, 0.0).ask(session, is_streamed=is_streamed)


Cases = list[tuple[Callable[[str], bytes], str]]
CASES: Cases = [
    (lambda nonce: stream([*pieces(nonce), LAST, "[DONE]"]), "whole"),
    (lambda nonce: stream([*pieces("other"), LAST, "[DONE]"]), "bad"),
    (lambda nonce: stream([*pieces(nonce)[1:], LAST, "[DONE]"]), "bad"),
    (lambda nonce: stream([*pieces(nonce), "[DONE]"]), "bad"),
    (lambda nonce: stream([*pieces(nonce), LAST]), "bad"),
    (lambda nonce: stream([*pieces(nonce), LAST, "[DONE]"], is_cut=True), "bad"),
    (lambda nonce: stream([*pieces(nonce)[:2], BROKEN]), "broken"),
    (lambda nonce: stream([]), "bad"),
    (lambda nonce: document(BROKEN, "503 Service Unavailable"), "refused"),
    (lambda nonce: document("oops", "500 Internal Server Error"), "bad"),
]


@pytest.mark.parametrize(("answer", "end"), CASES)
async def test_a_stream_is_whole_only_with_every_piece_a_reason_and_the_mark_of_the_end(
    answer: Callable[[str], bytes], end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with answering(answer) as url:
        ended = await judged(url, monkeypatch)
    assert ended.end == end, ended


async def test_a_document_cut_in_the_middle_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    async with answering(lambda nonce: document("{" * 100)[:-50]) as url:
        ended = await judged(url, monkeypatch, is_streamed=False)
    assert ended.end == "bad", ended


async def test_a_connection_closed_before_any_byte_is_told_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with answering(lambda nonce: b"", resets=True) as url:
        ended = await judged(url, monkeypatch)
    assert ended.end == "unanswered", ended
