"""Streams from a vLLM engine, in the environment that has vLLM; prints one JSON document.

Takes the backend's options as JSON. On purpose not guarded by `__main__` alone: a backend must start
from a script without a guard.
"""

import asyncio
import json
import math
import sys
import time
from contextlib import aclosing
from dataclasses import asdict, astuple, replace
from typing import Any

from policies import Completion, Delta, Evidence, GenerationRequest, build_backend, user_message
from policies.contract import check_backend

PROMPTS = (
    "Compute mod ten, left to right: 7+5*3",
    "Left to right, mod ten: 3*4-9+2*7-1",
    "For Tom: name the city of the boss of the friend of Mia.",
    "größer 🙂\n\n\ttab " * 6,
)
END_OF_TURN = 2
KINDS: tuple[dict[str, Any], ...] = (
    {},
    {"thinking": False},
    {"max_tokens": 1},
    {"max_tokens": 7},
    {"thinking_budget": 0},
    {"thinking_budget": 6},
    {"stop": ("=",)},
    {"stop_ids": (4,)},
    {"logprobs": True},
    {"logit_bias": {10: 5.0}},
)


def ask(prompt: str, **fields: Any) -> GenerationRequest:
    fields = {"max_tokens": 120, "thinking": True, **fields}
    return GenerationRequest(user_message(prompt), **fields)


def endless(max_tokens: int) -> GenerationRequest:
    return ask(PROMPTS[1], max_tokens=max_tokens, logit_bias={END_OF_TURN: -100.0})


async def read(backend: Any, request: GenerationRequest) -> tuple[list[Delta], Completion]:
    parts = [part async for part in backend.stream(request)]
    assert isinstance(parts[-1], Completion)
    return parts[:-1], parts[-1]


def essence(completion: Completion) -> dict[str, Any]:
    fields = asdict(completion)
    del fields["seconds"], fields["usage"]["cached_tokens"], fields["evidence"]
    return fields


def is_close(first: Evidence | None, second: Evidence | None) -> bool:
    """Compare evidence; what else is in a batch changes the last digits of single precision."""
    if first is None or second is None:
        return first is second
    pairs = zip(astuple(first), astuple(second), strict=True)
    return all(a == b or math.isclose(a, b, rel_tol=1e-3, abs_tol=1e-5) for a, b in pairs)


async def compared(backend: Any, request: GenerationRequest) -> list[str]:
    """Return what is wrong with a stream."""
    pieces, streamed = await read(backend, request)
    whole = await backend.generate(request)
    thinking = "".join(piece.thinking for piece in pieces)
    text = "".join(piece.text for piece in pieces)
    problems: list[str] = []
    if essence(streamed) != essence(whole) or not is_close(streamed.evidence, whole.evidence):
        problems.append(f"{request}: {streamed} is not {whole}")
    if (thinking, text) != (streamed.thinking or "", streamed.text):
        problems.append(f"{request}: {thinking!r} and {text!r} are not {streamed}")
    return problems


async def all_compared(backend: Any) -> list[str]:
    """Compare streams and plain requests of all kinds, most of them under way at once."""
    requests = [ask(prompt, **kind) for prompt in PROMPTS for kind in KINDS]
    given = await backend.encode("<think>\n7+5 🙂=")
    requests += [ask(PROMPTS[0], continuation=given[:n]) for n in range(1, len(given) + 1)]
    found = await asyncio.gather(*(compared(backend, request) for request in requests))
    # The last digits of a probability decide now and then which token is drawn.
    found += [
        await compared(backend, ask(prompt, temperature=1.0, seed=3)) for prompt in PROMPTS[:3]
    ]
    return [problem for own in found for problem in own]


async def timed(backend: Any, request: GenerationRequest) -> dict[str, Any]:
    """Return when the parts of a stream came, in seconds."""
    started = time.perf_counter()
    at_s: list[float] = []
    async for _ in backend.stream(request):
        at_s.append(time.perf_counter() - started)
    return {"n_parts": len(at_s), "first_s": at_s[0], "last_s": at_s[-1]}


async def left_early(backend: Any, request: GenerationRequest) -> dict[str, Any]:
    """Leave streams in two ways while another goes on; return what the engine still has."""
    output_processor = backend._engine._llm.output_processor
    short = replace(request, max_tokens=60)
    other = asyncio.create_task(read(backend, short))
    streams = [backend.stream(request) for _ in range(3)]
    for stream in streams:
        await anext(stream)
    begun = asyncio.Event()

    async def consume() -> None:
        async with aclosing(backend.stream(request)) as parts:
            async for _ in parts:
                begun.set()

    task = asyncio.create_task(consume())
    await begun.wait()
    n_before = output_processor.get_num_unfinished_requests()
    started = time.perf_counter()
    task.cancel()
    for stream in streams:
        await stream.aclose()
    _, completion = await other
    while output_processor.has_unfinished_requests() or backend._under_way:
        await asyncio.sleep(0.005)
        assert time.perf_counter() - started < 30
    return {
        "n_before": n_before,
        "freed_s": time.perf_counter() - started,
        "other": list(completion.token_ids or ()),
        "alone": list((await backend.generate(short)).token_ids or ()),
        "n_tasks": len(asyncio.all_tasks()),
    }


async def work(options: dict[str, Any]) -> dict[str, Any]:
    backend: Any = build_backend(**options)
    long = endless(800)
    await backend.generate(endless(8))
    report = await check_backend(backend, budgets=(0, 3))
    return {
        "failures": [f"{check.name}: {check.reason}" for check in report.failures],
        "skipped": [check.name for check in report.skipped],
        "problems": await all_compared(backend),
        "alone": await timed(backend, long),
        "together": await asyncio.gather(*(timed(backend, endless(100)) for _ in range(16))),
        "left": await left_early(backend, long),
    }


# What a child process of the engine imports is this script too, as it is without a guard.
if __name__ in {"__main__", "__mp_main__"}:
    print(json.dumps(asyncio.run(work(json.loads(sys.argv[1])))))  # noqa: T201
