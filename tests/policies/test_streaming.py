"""Answers handed out token by token: by the pocket models, by the fake, and as the suite checks."""

import asyncio
import gc
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest

from policies import (
    BackendConnectionError,
    BackendError,
    BackendRequestError,
    Capability,
    CapabilityError,
    Completion,
    Delta,
    FinishReason,
    GenerationRequest,
    Streams,
    SwitchPenalty,
    user_message,
)
from policies.backends.fake import FakeAnswer, FakeBackend
from policies.backends.pocket import PocketBackend, pocket_model_names
from policies.backends.pocket import _backend as pocket_module
from policies.backends.pocket._decoding import Row
from policies.contract import check_backend
from tests.policies.thinking_fake import ANSWER, fake

pytestmark = pytest.mark.skipif(
    "pocket-m" not in pocket_model_names(), reason="the model pocket-m is not there"
)

PROMPTS = (
    "Compute mod ten, left to right: 7+5*3",
    "Left to right, mod ten: 3*4-9+2*7-1",
    "For Tom: name the city of the boss of the friend of Mia.",
    "hello",
    "größer 🙂\n\n\ttab " * 6,
)
END_OF_TURN = 2
LONG = 900
"""Tokens of an answer that takes a second."""

Part = Delta | Completion
Ended = list[tuple[int, bool]]


@pytest.fixture
async def backend() -> AsyncIterator[PocketBackend]:
    pocket = PocketBackend("pocket-m")
    yield pocket
    await asyncio.wait_for(pocket.aclose(), 60)


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[Row]]:
    """Return the rows of each batch, noted when it has been decoded."""
    noted: list[Sequence[Row]] = []
    original = pocket_module.decode_batch

    def noting(og: Any, model: Any, rows: Sequence[Row], *others: Any) -> None:
        original(og, model, rows, *others)
        noted.append(rows)

    monkeypatch.setattr(pocket_module, "decode_batch", noting)
    return noted


def ask(prompt: str = PROMPTS[1], *, thinking: bool = True, **fields: Any) -> GenerationRequest:
    fields = {"max_tokens": 160, **fields}
    return GenerationRequest(user_message(prompt), thinking=thinking, **fields)


def endless() -> GenerationRequest:
    return ask(max_tokens=LONG, logit_bias={END_OF_TURN: -1e6})


async def read(stream: AsyncGenerator[Part]) -> tuple[list[Delta], Completion]:
    async with aclosing(stream) as parts:
        found = [part async for part in parts]
    *pieces, last = found
    assert isinstance(last, Completion)
    deltas = [piece for piece in pieces if isinstance(piece, Delta)]
    assert len(deltas) == len(pieces)
    return deltas, last


def total(pieces: Sequence[Delta]) -> tuple[str, str]:
    return "".join(p.thinking for p in pieces), "".join(p.text for p in pieces)


def untimed(completion: Completion) -> Completion:
    return replace(completion, seconds=0.0)


async def expect_equal(backend: Any, request: GenerationRequest) -> tuple[list[Delta], Completion]:
    pieces, streamed = await read(backend.stream(request))
    assert untimed(streamed) == untimed(await backend.generate(request))
    assert total(pieces) == (streamed.thinking or "", streamed.text)
    return pieces, streamed


# The pocket models


async def test_a_thought_comes_before_its_answer(backend: PocketBackend) -> None:
    assert isinstance(backend, Streams)
    pieces, completion = await expect_equal(backend, ask())
    kinds = [
        ("thinking" if piece.thinking else "") + ("text" if piece.text else "") for piece in pieces
    ]
    assert kinds == sorted(kinds, key=["thinking", "thinkingtext", "text"].index)
    assert completion.thinking
    assert completion.text


@pytest.mark.parametrize(
    "changes",
    [
        {"thinking": False},
        {"thinking": False, "max_tokens": 1},
        {"max_tokens": 1},
        {"max_tokens": 7},
        {"thinking_budget": 0},
        {"thinking_budget": 1},
        {"thinking_budget": 9},
        {"stop": ("=",)},
        {"stop": (":", "never")},
        {"stop_ids": (4,)},
        {"temperature": 1.0, "seed": 3},
        {"temperature": 0.7, "top_p": 0.8, "seed": 11, "thinking_budget": 5},
        {"logprobs": True},
        {"logit_bias": {10: 5.0}},
        {"switch_penalty": SwitchPenalty(("=",), 3.0, 20)},
    ],
)
async def test_a_stream_is_the_answer_of_generate(
    backend: PocketBackend, changes: dict[str, Any]
) -> None:
    for prompt in PROMPTS:
        await expect_equal(backend, ask(prompt, **changes))


async def test_a_given_beginning_is_streamed_too_even_if_it_ends_within_a_character(
    backend: PocketBackend,
) -> None:
    for text in ("<think>\n7+5 🙂=", "größer 🙂\n"):
        ids = await backend.encode(text)
        for n in range(1, len(ids) + 1):
            _, completion = await expect_equal(backend, ask(continuation=ids[:n], max_tokens=6))
            said = f"{completion.thinking or ''}{completion.text}"
            shown = (await backend.decode(ids[:n])).removeprefix("<think>")
            assert said.startswith(shown.strip("\n\N{REPLACEMENT CHARACTER}"))


async def test_streams_and_plain_requests_share_a_batch_and_disturb_nothing(
    backend: PocketBackend, batches: list[Sequence[Row]]
) -> None:
    requests = [ask(prompt, max_tokens=90) for prompt in PROMPTS]
    requests += [ask(prompt, max_tokens=90, thinking_budget=4) for prompt in PROMPTS]
    requests += [ask(prompt, max_tokens=90, temperature=1.0, seed=5) for prompt in PROMPTS]
    alone = [untimed(await backend.generate(request)) for request in requests]
    batches.clear()
    with backend._wake:  # The worker begins when all have asked.
        streams = [asyncio.create_task(read(backend.stream(request))) for request in requests]
        plain = [asyncio.create_task(backend.generate(request)) for request in requests]
        await asyncio.sleep(0)
    assert [untimed(await task) for task in plain] == alone
    streamed = [await task for task in streams]
    assert [untimed(completion) for _, completion in streamed] == alone
    assert all(total(pieces) == (c.thinking or "", c.text) for pieces, c in streamed)
    assert [{row.streams for row in rows} for rows in batches] == [{True, False}]


async def test_the_first_piece_comes_while_the_rest_is_generated(
    backend: PocketBackend, batches: list[Sequence[Row]]
) -> None:
    await backend.generate(ask(max_tokens=1))
    batches.clear()
    started = time.perf_counter()
    async with aclosing(backend.stream(endless())) as stream:
        assert isinstance(await anext(stream), Delta)
        first_s = time.perf_counter() - started
        assert batches == []
        parts = [part async for part in stream]
    assert len(parts) > LONG / 50
    assert first_s < (time.perf_counter() - started) / 2


async def test_a_stream_does_not_wait_for_the_longest_row_of_its_batch(
    backend: PocketBackend, batches: list[Sequence[Row]]
) -> None:
    await backend.generate(ask(max_tokens=1))
    batches.clear()
    with backend._wake:  # The worker begins when both have asked.
        long = asyncio.create_task(backend.generate(endless()))
        short = asyncio.create_task(read(backend.stream(replace(endless(), max_tokens=5))))
        await asyncio.sleep(0)
    _, streamed = await short
    assert streamed.usage.completion_tokens == 5
    assert not long.done()
    await long
    assert [[row.max_tokens for row in rows] for rows in batches] == [[LONG, 5]]


async def test_a_consumer_that_is_slow_gets_more_at_once(backend: PocketBackend) -> None:
    pieces: list[Delta] = []
    request = ask(max_tokens=120, logit_bias={END_OF_TURN: -1e6})
    async for part in backend.stream(request):
        if isinstance(part, Delta):
            pieces.append(part)
            time.sleep(0.05)  # noqa: ASYNC251 - the loop itself is what is slow
        else:
            assert total(pieces) == (part.thinking or "", part.text)
            assert untimed(part) == untimed(await backend.generate(request))
    assert len(pieces) < 40


async def closed_early(backend: PocketBackend) -> None:
    stream = backend.stream(endless())
    await anext(stream)
    await stream.aclose()


async def cancelled(backend: PocketBackend) -> None:
    has_begun = asyncio.Event()

    async def consume() -> None:
        async for _ in backend.stream(endless()):
            has_begun.set()

    task = asyncio.create_task(consume())
    await has_begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def forgotten(backend: PocketBackend) -> None:
    async for _ in backend.stream(endless()):
        break
    gc.collect()  # The loop closes generators that nobody holds any more.


@pytest.mark.parametrize("leave", [closed_early, cancelled, forgotten])
async def test_a_consumer_that_leaves_frees_the_worker_and_nothing_is_left_over(
    backend: PocketBackend,
    batches: list[Sequence[Row]],
    leave: Callable[[PocketBackend], Awaitable[None]],
) -> None:
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    wanted = await backend.generate(ask())
    n_threads = threading.active_count()
    batches.clear()
    await leave(backend)
    assert untimed(await backend.generate(ask())) == untimed(wanted)
    left, later = batches
    assert [row.is_done for row in left] == [True]
    assert len(left[0].generated) < LONG / 2
    assert [row.stopped for row in later] == [True]
    gc.collect()
    await asyncio.sleep(0)
    assert complaints == []
    assert threading.active_count() == n_threads
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_others_of_the_batch_go_on_when_a_consumer_leaves(
    backend: PocketBackend, batches: list[Sequence[Row]]
) -> None:
    request = replace(endless(), max_tokens=120)
    wanted = untimed(await backend.generate(request))
    busy = asyncio.create_task(backend.generate(ask()))
    await asyncio.sleep(0)
    others = [asyncio.create_task(read(backend.stream(request))) for _ in range(2)]
    plain = asyncio.create_task(backend.generate(request))
    batches.clear()
    await closed_early(backend)
    for pieces, completion in await asyncio.gather(*others):
        assert untimed(completion) == wanted
        assert total(pieces) == (wanted.thinking or "", wanted.text)
    assert untimed(await plain) == wanted
    await busy
    left = [row for rows in batches for row in rows if row.max_tokens == LONG]
    assert [len(row.generated) < LONG for row in left] == [True]


async def test_a_stream_that_is_not_read_asks_nothing(
    backend: PocketBackend, batches: list[Sequence[Row]]
) -> None:
    stream = backend.stream(ask())
    await asyncio.sleep(0.05)
    await stream.aclose()
    assert batches == []
    refused = backend.stream(ask(max_tokens=2000))
    with pytest.raises(BackendRequestError, match="exceed the context"):
        await anext(refused)
    with pytest.raises(CapabilityError):
        await anext(backend.stream(ask(effort="low")))


async def test_a_failure_reaches_those_who_read_and_nobody_else(
    backend: PocketBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))

    def failing(og: Any, model: Any, rows: Sequence[Row], special: Any, after_step: Any) -> None:
        for row in rows:
            row.take(special.think, special)
            row.take(10, special)
        after_step()
        raise RuntimeError("out of luck")

    monkeypatch.setattr(pocket_module, "decode_batch", failing)
    with pytest.raises(BackendError, match="out of luck"):
        await read(backend.stream(ask()))
    left = backend.stream(ask())
    await anext(left)
    await asyncio.sleep(0.1)  # The failure comes while nobody waits for the next piece.
    await left.aclose()
    del left
    gc.collect()
    assert complaints == []


def test_a_loop_that_is_gone_does_not_keep_the_worker(batches: list[Sequence[Row]]) -> None:
    backend = PocketBackend("pocket-m")
    loop = asyncio.new_event_loop()
    stream = backend.stream(endless())
    loop.run_until_complete(anext(stream))
    loop.close()
    completion = asyncio.run(backend.generate(ask(max_tokens=3)))
    assert completion.usage.completion_tokens == 3
    assert len(batches[0][0].generated) < LONG / 2
    asyncio.run(backend.aclose())
    with pytest.raises(RuntimeError, match="closed"):
        stream.aclose().send(None)


async def test_closing_the_backend_finishes_its_streams_and_takes_no_more() -> None:
    backend = PocketBackend("pocket-m")
    task = asyncio.create_task(read(backend.stream(ask())))
    await asyncio.sleep(0)
    await backend.aclose()
    pieces, completion = await task
    assert total(pieces) == (completion.thinking, completion.text)
    with pytest.raises(BackendError, match="closed"):
        await anext(backend.stream(ask()))


def test_several_loops_stream_from_one_backend() -> None:
    backend = PocketBackend("pocket-m")
    found: list[list[Completion]] = []

    async def work() -> list[Completion]:
        done = await asyncio.gather(*(read(backend.stream(ask(prompt))) for prompt in PROMPTS))
        assert all(total(pieces) == (c.thinking or "", c.text) for pieces, c in done)
        return [untimed(completion) for _, completion in done]

    threads = [threading.Thread(target=lambda: found.append(asyncio.run(work()))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [found[0]] * 3
    asyncio.run(backend.aclose())


# The fake backend


async def test_the_fake_streams_word_by_word() -> None:
    pieces, _ = await expect_equal(fake(), ask(thinking_budget=3))
    assert pieces == [
        Delta("First"), Delta(" one"), Delta(" counts"), Delta(text="After"), Delta(text=" 3"),
        Delta(text=" words"), Delta(text=" I"), Delta(text=" say"), Delta(text=" ten"),
    ]  # fmt: skip


async def test_the_fake_takes_its_time_and_counts_who_left() -> None:
    backend = fake(token_s=0.002)
    started = time.perf_counter()
    pieces, _ = await expect_equal(backend, ask())
    assert time.perf_counter() - started > 0.002 * len(pieces)
    assert (backend.n_abandoned, backend.most_in_flight) == (0, 1)
    stream = backend.stream(ask())
    await anext(stream)
    await stream.aclose()
    task = asyncio.create_task(read(backend.stream(ask())))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert backend.n_abandoned == 2


async def test_the_fake_fails_as_its_script_says() -> None:
    failure = BackendConnectionError("gone", backend="fake", model="fake")
    backend = fake(failures=[failure])
    with pytest.raises(BackendConnectionError, match="gone"):
        await read(backend.stream(ask()))
    await expect_equal(backend, ask())
    assert backend.n_abandoned == 0


# The suite


class Altered(FakeBackend):
    """A backend whose streams are tampered with."""

    def __init__(self, alter: Callable[[list[Part]], list[Part]], **options: Any) -> None:
        super().__init__(lambda request: ANSWER, **options)
        self._alter = alter

    async def stream(self, request: GenerationRequest) -> AsyncGenerator[Part]:
        parts = [part async for part in super().stream(request)]
        for part in self._alter(parts):
            yield part


class Stubborn(FakeBackend):
    """Gives other answers once a stream was left."""

    def __init__(self) -> None:
        super().__init__(lambda request: FakeAnswer(f"It is {self.n_abandoned} as far as I know"))


class Careless(FakeBackend):
    """Streams what it does not claim to do."""

    async def stream(self, request: GenerationRequest) -> AsyncGenerator[Part]:
        try:
            async with aclosing(super().stream(request)) as parts:
                async for part in parts:
                    yield part
        except CapabilityError:
            yield Delta(text="anyway")


def reversed_text(parts: list[Part]) -> list[Part]:
    return [*reversed(parts[:-1]), parts[-1]]


def other_usage(parts: list[Part]) -> list[Part]:
    last = parts[-1]
    assert isinstance(last, Completion)
    return [*parts[:-1], replace(last, finish_reason=FinishReason.FILTER)]


def in_one_piece(parts: list[Part]) -> list[Part]:
    last = parts[-1]
    assert isinstance(last, Completion)
    return [Delta(last.thinking or "", last.text), last]


@pytest.mark.parametrize(
    ("backend", "broken", "reason"),
    [
        (Altered(lambda parts: parts[1:]), "stream", "the pieces say"),
        (Altered(lambda parts: parts[-1:]), "stream", "the pieces say"),
        (Altered(lambda parts: parts[:1] + parts), "stream", "the pieces say"),
        (Altered(reversed_text), "stream", "the pieces say"),
        (Altered(lambda parts: parts[:-1]), "stream", "without a completion"),
        (Altered(lambda parts: [*parts, Delta(text="!")]), "stream", "after the completion"),
        (Altered(lambda parts: [*parts, parts[-1]]), "stream", "after the completion"),
        (Altered(lambda parts: []), "stream-ends", "is empty"),
        (Altered(other_usage), "stream", "and streamed"),
        (Altered(in_one_piece), "stream", "all came in one piece"),
        (Stubborn(), "stream-ends", "left early changes"),
        (
            Careless(lambda request: ANSWER, capabilities=frozenset({Capability.THINKING_SWITCH})),
            "refusal",
            "is not refused",
        ),
    ],
)
async def test_a_broken_stream_fails_the_check_that_names_its_fault(
    backend: FakeBackend, broken: str, reason: str
) -> None:
    failed = {result.name: result.reason for result in (await check_backend(backend)).failures}
    assert reason in failed[broken]


async def test_a_backend_without_streams_is_not_asked_for_one() -> None:
    class Silent:
        """A backend that only generates."""

        def __init__(self) -> None:
            own = fake()
            self.name, self.model, self.capabilities = own.name, own.model, own.capabilities
            self.max_concurrency, self.identity = own.max_concurrency, own.identity
            self.generate, self.aclose, self.encode = own.generate, own.aclose, own.encode
            self.decode, self.thought_markers = own.decode, own.thought_markers

    report = await check_backend(Silent())
    report.raise_on_failure()
    assert {"stream", "stream-ends"} <= {result.name for result in report.skipped}
