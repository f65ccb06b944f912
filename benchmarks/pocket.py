"""Pocket models: tokens per second, in batches and alone."""

import asyncio
import time
from statistics import median

from benchmarks._report import Report
from calibration import load_tasks
from policies import GenerationRequest, user_message
from policies.backends.pocket import PocketBackend, pocket_model_names

QUESTIONS = 128
ROUNDS = 5
AT_LEAST = {"pocket-s": 20_000.0}


def run(report: Report) -> None:
    """Generate with thinking on: batches of 32, and one request after the other."""
    prompts = [
        question.prompt
        for task in load_tasks(["pocket"], limit=QUESTIONS, seed=0)
        for question in task.questions
    ]
    for model in pocket_model_names():
        alone = asyncio.run(_tokens_per_s(model, prompts[::8], 1))
        batched = asyncio.run(_tokens_per_s(model, prompts, 32))
        report.add(
            f"{model}, batches of 32",
            batched,
            "tokens/s",
            baseline=("one at a time", alone),
            at_least=AT_LEAST.get(model),
        )


async def _tokens_per_s(model: str, prompts: list[str], max_batch: int) -> float:
    backend = PocketBackend(model, max_batch=max_batch)
    requests = [
        GenerationRequest(user_message(prompt), max_tokens=200, thinking=True) for prompt in prompts
    ]
    await backend.generate(requests[0])
    rates: list[float] = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        completions = await asyncio.gather(*map(backend.generate, requests))
        seconds = time.perf_counter() - started
        rates.append(sum(c.usage.completion_tokens for c in completions) / seconds)
    await backend.aclose()
    return median(rates)
