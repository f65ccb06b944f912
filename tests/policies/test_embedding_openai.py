"""Embeddings of a server: right vectors in the right order, or an error that says why."""

import asyncio
import logging
import math
import traceback
from typing import Any

import numpy as np
import pytest

from policies import (
    BackendConnectionError,
    BackendError,
    BackendRateLimitError,
    BackendRequestError,
    BackendResponseError,
    BackendTimeoutError,
    InvalidInputError,
)
from policies.embedding import Embedder, OpenAIEmbedder
from tests.policies.chat_server import CANARY, Reply, Server

MAX_RETRIES = 2
N_DIMENSIONS = 6


def vector(text: str) -> list[float]:
    return np.random.default_rng(list(text.encode())).normal(size=N_DIMENSIONS).tolist()


def document(texts: list[str]) -> dict[str, Any]:
    data = [{"index": i, "embedding": vector(text)} for i, text in enumerate(texts)]
    return {"object": "list", "model": "m", "data": data, "usage": {"prompt_tokens": 1}}


def expected(texts: list[str]) -> np.ndarray[Any, Any]:
    rows = np.array([vector(text) for text in texts])
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def serve(server: Server) -> None:
    server.respond = lambda _path, body: Reply(document(body["input"]))


async def embed(server: Server, texts: list[str], *replies: Reply, **options: Any) -> Any:
    server.replies = list(replies)
    settings: dict[str, Any] = {"max_retries": 0, "timeout_s": 2.0, **options}
    embedder = OpenAIEmbedder("m", server.url, **settings)
    try:
        return await embedder.aembed(texts)
    finally:
        await embedder.aclose()


def two(**changes: Any) -> Reply:
    return Reply({**document(["a", "b"]), **changes})


def entries(*pairs: tuple[object, object]) -> Reply:
    return two(data=[{"index": index, "embedding": row} for index, row in pairs])


async def test_vectors_have_length_one_and_the_order_of_the_texts(server: Server) -> None:
    serve(server)
    texts = [f"text {i}" for i in range(23)]
    found = await embed(server, texts, max_batch=5, max_concurrency=3)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected(texts), atol=1e-6)
    sizes = [len(request["body"]["input"]) for request in server.requests]
    assert sorted(sizes) == [3, 5, 5, 5, 5]
    assert server.most_in_flight <= 3


async def test_a_request_says_model_texts_and_format_and_nothing_else(server: Server) -> None:
    serve(server)
    await embed(server, ["a"], prefix="query: ", max_bytes=4)
    assert server.requests[0]["path"] == "/v1/embeddings"
    assert server.requests[0]["body"] == {
        "model": "m",
        "input": ["query: a"],
        "encoding_format": "float",
    }


async def test_the_servers_order_is_told_by_its_indices(server: Server) -> None:
    shuffled = document(["a", "b", "c"])
    shuffled["data"] = [shuffled["data"][i] for i in (2, 0, 1)]
    found = await embed(server, ["a", "b", "c"], Reply(shuffled))
    np.testing.assert_allclose(found, expected(["a", "b", "c"]), atol=1e-6)


NAN = float("nan")
NOT_FOUND: dict[str, object] = {"detail": "Not Found"}
NO_POOLING = {"error": {"message": "The model does not support Embeddings API"}}
TOO_LONG = {"error": {"message": "maximum context length is 8 tokens, you sent 9"}}
# The fault, its error, whether asking again may help, and words of the error.
FAULTS: dict[str, tuple[Reply, type[BackendError], bool, str]] = {
    "429": (Reply({}, status=429), BackendRateLimitError, True, "429"),
    "500": (Reply({}, status=500), BackendResponseError, True, "500"),
    "503": (Reply({}, status=503), BackendConnectionError, True, "503"),
    "hang": (two(), BackendTimeoutError, True, "within"),
    "cut": (Reply(document(["a", "b"]), is_cut=True), BackendConnectionError, True, "reached"),
    "invalid JSON": (Reply(raw=b'{"data": [{'), BackendResponseError, True, "no JSON"),
    "a page": (Reply(raw=b"<html>"), BackendResponseError, True, "no JSON"),
    "no data": (
        Reply({"error": "busy"}),
        BackendResponseError,
        True,
        "no list of embeddings.*busy",
    ),
    "too few": (Reply(document(["a"])), BackendResponseError, False, "1 embeddings for 2"),
    "too many": (Reply(document(["a"] * 3)), BackendResponseError, False, "3 embeddings for 2"),
    "an index twice": (entries((0, [1.0]), (0, [1.0])), BackendResponseError, False, r"\[0, 0\]"),
    "no index": (entries((None, [1.0]), (1, [1.0])), BackendResponseError, False, "None, 1"),
    "index from one": (entries((1, [1.0]), (2, [1.0])), BackendResponseError, False, r"\[1, 2\]"),
    "ragged": (entries((0, [1.0]), (1, [1.0, 2.0])), BackendResponseError, False, "different"),
    "empty vector": (entries((0, []), (1, [])), BackendResponseError, False, "no list of numbers"),
    "base64": (entries((0, "AAAA"), (1, "AAAA")), BackendResponseError, False, "no list"),
    "text inside": (entries((0, ["x"]), (1, ["y"])), BackendResponseError, False, "no number"),
    "nested": (entries((0, [[1.0]]), (1, [[1.0]])), BackendResponseError, False, "flat"),
    "NaN": (entries((0, [NAN]), (1, [1.0])), BackendResponseError, False, "NaN"),
    "null": (entries((0, [None]), (1, [1.0])), BackendResponseError, False, "NaN"),
    "infinity": (entries((0, [math.inf]), (1, [1.0])), BackendResponseError, False, "infinity"),
    "zero": (entries((0, [0.0]), (1, [1.0])), BackendResponseError, False, "text 0 is zero"),
    "another model": (two(model="other"), BackendResponseError, False, "'other' answered"),
    "no endpoint": (Reply(NOT_FOUND, status=404), BackendRequestError, False, "--runner pooling"),
    "no pooling": (Reply(NO_POOLING, status=400), BackendRequestError, False, "--runner pooling"),
    "too long": (Reply(TOO_LONG, status=400), BackendRequestError, False, "lower max_bytes"),
    "no key": (Reply({}, status=401), BackendRequestError, False, "no API key was sent"),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_lasting_fault_is_an_error_after_exactly_the_configured_attempts(
    server: Server, fault: str
) -> None:
    reply, kind, may_pass, words = FAULTS[fault]
    timeout_s = 2.0
    if fault == "hang":
        reply, timeout_s = Reply(document(["a", "b"]), delay_s=30), 0.3
    with pytest.raises(kind, match=words) as caught:
        await embed(server, ["a", "b"], reply, max_retries=MAX_RETRIES, timeout_s=timeout_s)
    assert type(caught.value) is kind
    assert (caught.value.backend, caught.value.model) == ("openai", "m")
    assert len(server.requests) == (MAX_RETRIES + 1 if may_pass else 1)


@pytest.mark.parametrize("fault", [name for name, row in FAULTS.items() if row[2]])
async def test_a_passing_fault_costs_one_attempt_and_no_vector(server: Server, fault: str) -> None:
    reply = FAULTS[fault][0]
    timeout_s = 2.0
    if fault == "hang":
        reply, timeout_s = Reply(document(["a", "b"]), delay_s=30), 0.3
    found = await embed(server, ["a", "b"], reply, two(), max_retries=2, timeout_s=timeout_s)
    np.testing.assert_allclose(found, expected(["a", "b"]), atol=1e-6)
    assert len(server.requests) == 2


async def test_vectors_of_another_length_than_before_are_refused(server: Server) -> None:
    long, short = document(["a"]), document(["a"])
    short["data"][0]["embedding"] = [1.0, 2.0]
    server.replies = [Reply(long), Reply(short)]
    embedder = OpenAIEmbedder("m", server.url)
    assert embedder.dimensions is None
    await embedder.aembed(["a"])
    assert embedder.dimensions == N_DIMENSIONS
    with pytest.raises(BackendResponseError, match="2 dimensions, expected 6"):
        await embedder.aembed(["a"])
    await embedder.aclose()


async def test_shortened_vectors_are_asked_for_and_must_come(server: Server) -> None:
    with pytest.raises(BackendResponseError, match="6 dimensions, expected 3"):
        await embed(server, ["a"], Reply(document(["a"])), dimensions=3)
    assert server.requests[0]["body"]["dimensions"] == 3


async def test_long_texts_are_cut_at_a_character_and_counted(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    serve(server)
    caplog.set_level(logging.INFO, "thinkroute.policies")
    embedder = OpenAIEmbedder("m", server.url, max_bytes=5)
    await embedder.aembed(["12345", "ééé", "\ud800", "x" * 10**6])
    await embedder.aclose()
    assert server.requests[0]["body"]["input"] == ["12345", "éé", "?", "xxxxx"]
    assert embedder.n_truncated == 2
    assert "2 of 4 texts cut to 5 bytes" in caplog.text


@pytest.mark.parametrize("texts", [["a", ""], ["a", " \n\t"], "one string"])
async def test_what_has_no_embedding_is_refused_before_anything_is_sent(
    server: Server, texts: Any
) -> None:
    serve(server)
    with pytest.raises(InvalidInputError, match=r"index 1|one string"):
        await embed(server, texts)
    assert server.requests == []


async def test_no_texts_give_no_rows(server: Server) -> None:
    serve(server)
    assert (await embed(server, [])).shape == (0, 0)
    assert (await embed(server, [], dimensions=4)).shape == (0, 4)


@pytest.mark.parametrize("option", ["dimensions", "max_batch", "max_bytes"])
def test_options_out_of_range_are_refused(option: str) -> None:
    options: dict[str, Any] = {option: 0}
    with pytest.raises(InvalidInputError, match=f"{option} is 0"):
        OpenAIEmbedder("m", "http://127.0.0.1/v1", **options)


def test_blocking_calls_share_their_connection(server: Server) -> None:
    serve(server)
    embedder: Embedder = OpenAIEmbedder("m", server.url)
    first, second = embedder.embed(["a"]), embedder.embed(["a", "b"])
    np.testing.assert_array_equal(first[0], second[0])
    asyncio.run(embedder.aclose())
    with pytest.raises(BackendError, match="closed"):
        embedder.embed(["a"])


async def test_one_embedder_serves_blocking_and_other_callers(server: Server) -> None:
    serve(server)
    embedder = OpenAIEmbedder("m", server.url)
    here = await embedder.aembed(["a"])
    there = await asyncio.to_thread(embedder.embed, ["a"])
    np.testing.assert_array_equal(here, there)
    await embedder.aclose()


async def test_a_failed_batch_ends_the_others(server: Server) -> None:
    def respond(_path: str, body: Any) -> Reply:
        if body["input"] == ["0"]:
            return Reply({"error": {"message": "no"}}, status=400)
        return Reply(document(body["input"]), delay_s=30)

    server.respond = respond
    texts = [str(i) for i in range(4)]
    with pytest.raises(BackendRequestError):
        await asyncio.wait_for(embed(server, texts, max_batch=1, timeout_s=25.0), 10)


async def test_the_key_is_sent_and_shown_nowhere(
    server: Server, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("SOME_KEY", CANARY)
    server.replies = [
        Reply({"error": {"message": f"Incorrect API key provided: {CANARY}"}}, status=401),
        Reply(raw=f"<p>{CANARY}</p>".encode()),
        two(model=CANARY),
        entries((0, [CANARY]), (1, [CANARY])),
    ]
    embedder = OpenAIEmbedder("m", server.url, key_variable="SOME_KEY", max_retries=0)
    shown = [repr(embedder), str(embedder.identity()), str(vars(embedder))]
    for _ in server.replies:
        with pytest.raises(BackendError) as caught:
            await embedder.aembed(["a", "b"])
        shown += [str(caught.value), str(vars(caught.value))]
        shown += traceback.format_exception(caught.value)
    await embedder.aclose()
    assert server.requests[0]["headers"]["authorization"] == f"Bearer {CANARY}"
    assert [text for text in shown if CANARY in text] == []
    assert CANARY not in caplog.text


async def test_no_key_of_the_environment_is_sent_unasked(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", CANARY)
    serve(server)
    await embed(server, ["a"])
    assert "authorization" not in server.requests[0]["headers"]


def test_identity_tells_what_changes_vectors_and_not_where_the_server_is() -> None:
    def identity(url: str = "http://127.0.0.1/v1", **options: Any) -> dict[str, str]:
        return dict(OpenAIEmbedder("m", url, **options).identity())

    assert identity() == identity("http://127.0.0.2:8000/v1")
    others = [identity(prefix="query: "), identity(dimensions=8), identity(max_bytes=100)]
    assert all(other != identity() for other in others)
