"""Checks of answers that are handed out while they are generated."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from .._backend import Capability, Delta
from .._messages import Completion
from ._backend_probe import BackendProbe
from ._outcome import Failed, expect, is_a

__all__ = ["STREAM_CHECKS"]

_FEW_TOKENS = 8
"""Answers of more tokens are expected in more than one piece."""

_FIRST_PIECE_S = 60.0
_FREE_S = 60.0


async def _stream(probe: BackendProbe) -> None:
    n_pieces: list[int] = []
    for changes in await _kinds(probe):
        pieces, streamed = await _read(probe.stream(**changes))
        whole = await probe.ask(**changes)
        what = (
            ", ".join(f"{name}={value!r}" for name, value in changes.items()) or "a plain request"
        )
        expect(
            _output(streamed) == _output(whole),
            f"{what} gave {_output(whole)}, and streamed {_output(streamed)}",
        )
        _expect_adds_up(pieces, streamed, what)
        if streamed.usage.completion_tokens > _FEW_TOKENS:
            n_pieces.append(sum(bool(piece.thinking or piece.text) for piece in pieces))
    # A fast model is done before a busy consumer asks again, but not each time.
    expect(
        not n_pieces or max(n_pieces) > 1,
        f"{len(n_pieces)} answers of more than {_FEW_TOKENS} tokens all came in one piece",
    )


async def _kinds(probe: BackendProbe) -> list[Mapping[str, Any]]:
    """Return what to change in the plain request, as far as the backend claims to do it."""
    claimed = probe.backend.capabilities
    kinds: list[Mapping[str, Any]] = [{}, {"max_tokens": 3}]
    if Capability.SAMPLES in claimed:
        kinds.append({"temperature": 1.0, "seed": 7})
    if Capability.STOP in claimed:
        kinds.append({"stop": _middle((await probe.ask()).text)})
    if Capability.THINKING_SWITCH in claimed:
        kinds += [{"thinking": True}, {"thinking": True, "max_tokens": 5}]
        if Capability.HARD_BUDGET in claimed:
            kinds += [{"thinking": True, "thinking_budget": budget} for budget in probe.budgets]
        if Capability.STOP in claimed:
            thinking = (await probe.ask(thinking=True)).thinking
            kinds.append({"thinking": True, "stop": _middle(thinking or "")})
    return kinds


def _middle(text: str) -> tuple[str, ...]:
    middle = text.strip()
    return (middle[len(middle) // 2],) if middle else ()


async def _stream_ends(probe: BackendProbe) -> None:
    whole = await probe.ask()
    unread = probe.stream()
    await unread.aclose()
    left = probe.stream()
    other = asyncio.create_task(_read(probe.stream()))
    await _first(left)
    await left.aclose()
    _, streamed = await asyncio.wait_for(other, _FREE_S)
    expect(_output(streamed) == _output(whole), "a stream that was left early changes another one")
    await _cancelled(probe)
    again = await asyncio.wait_for(probe.ask(), _FREE_S)
    expect(_output(again) == _output(whole), "a stream that was left early changes a later answer")


async def _cancelled(probe: BackendProbe) -> None:
    """Cancel a task that waits for the rest of an answer."""
    begun = asyncio.Event()

    async def read() -> None:
        async with aclosing(probe.stream()) as stream:
            async for _ in stream:
                begun.set()

    task = asyncio.create_task(read())
    waiting = asyncio.create_task(begun.wait())
    await asyncio.wait((task, waiting), return_when="FIRST_COMPLETED", timeout=_FIRST_PIECE_S)
    waiting.cancel()
    task.cancel()
    done, _ = await asyncio.wait((task,), timeout=_FREE_S)
    expect(bool(done), "a task that reads a stream cannot be cancelled")
    if not task.cancelled() and (error := task.exception()) is not None:
        raise error


STREAM_CHECKS: Mapping[str, Callable[[BackendProbe], Awaitable[None]]] = {
    "stream": _stream,
    "stream-ends": _stream_ends,
}
"""Checks by name, in the order they run."""


async def _first(stream: AsyncGenerator[Delta | Completion]) -> None:
    try:
        await asyncio.wait_for(anext(stream), _FIRST_PIECE_S)
    except StopAsyncIteration:
        raise Failed("a stream is empty") from None


async def _read(
    stream: AsyncGenerator[Delta | Completion],
) -> tuple[list[Delta], Completion]:
    """Return the pieces and the completion, which must come last and once."""
    pieces: list[Delta] = []
    completion: Completion | None = None
    async with aclosing(stream) as parts:
        async for part in parts:
            if completion is not None:
                raise Failed(f"{part!r} comes after the completion")
            if isinstance(part, Completion):
                completion = part
            else:
                expect(is_a(part, Delta), f"a stream holds {part!r}, expected a Delta")
                pieces.append(part)
    if completion is None:
        raise Failed("a stream ends without a completion")
    return pieces, completion


def _expect_adds_up(pieces: list[Delta], completion: Completion, what: str) -> None:
    thinking = "".join(piece.thinking for piece in pieces)
    text = "".join(piece.text for piece in pieces)
    expect(
        thinking == (completion.thinking or ""),
        f"{what}: the pieces say the thought {thinking!r}, the completion {completion.thinking!r}",
    )
    expect(
        text == completion.text,
        f"{what}: the pieces say {text!r}, the completion {completion.text!r}",
    )


def _output(completion: Completion) -> tuple[object, ...]:
    """Return what does not depend on time and caches."""
    return (
        completion.text,
        completion.thinking,
        completion.thinking_closed,
        completion.token_ids,
        completion.finish_reason,
        replace(completion.usage, cached_tokens=0),
    )
