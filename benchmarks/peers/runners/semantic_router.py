"""aurelio's semantic-router: an index of training questions, one route for each arm."""

import asyncio
import random
import time
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

from ._embedding import Embedding
from ._job import Job, Variant, main, timed

N_UTTERANCES = 1000
"""Stored questions for each route, at most; both routes get equally many."""
N_CALIBRATION = 1000


def run(job: Job) -> dict[str, Variant]:
    started = time.perf_counter()
    embed = Embedding(job.train_texts)
    routes, held_back = _routes(job)
    known: dict[str, list[float]] = {}
    encoder = _encoder(embed, known)
    settings: dict[str, dict[str, Any]] = {
        "defaults (mean of 5)": {},
        "sum of 20": {"aggregation": "sum", "top_k": 20},
        "sum of 20, isotonic": {"aggregation": "sum", "top_k": 20},
    }
    prepared = time.perf_counter() - started
    variants: dict[str, Variant] = {}
    for name, options in settings.items():
        started = time.perf_counter()
        router = import_module("semantic_router.routers").IndexedRouter(
            encoder=encoder, routes=routes, **options
        )
        if name.endswith("isotonic"):
            router.fit(
                [text for text, _ in held_back], [label for _, label in held_back], "isotonic"
            )
        fit_s = prepared + time.perf_counter() - started
        known.update(zip(job.test_texts, embed(job.test_texts).tolist(), strict=True))
        choices = asyncio.run(_choose(router, job.test_texts))
        known.clear()
        variants[name] = Variant(
            score=[_confidence(choice) for choice in choices],
            is_strong=[choice[0].name == "strong" for choice in choices],
            latency_ms=timed(router, job.test_texts, job.n_timed),
            fit_s=fit_s,
            note="TF-IDF and SVD in the place of its encoders",
        )
    return variants


async def _choose(router: Any, texts: Sequence[str]) -> list[Any]:
    """Return both routes with their confidence for every text, the preferred one first."""
    return [await router.acall(text, limit=None) for text in texts]


def _confidence(choices: Sequence[Any]) -> float:
    of = {choice.name: float(choice.confidence) for choice in choices}
    return of["strong"] - of["weak"]


def _routes(job: Job) -> tuple[list[Any], list[tuple[str, str]]]:
    """Return both routes with their questions, and other questions for its calibration."""
    rng = random.Random(0)
    labels = ["strong" if needs else "weak" for needs in job.needs_strong]
    pairs = list(zip(job.train_texts, labels, strict=True))
    rng.shuffle(pairs)
    n_held = min(N_CALIBRATION, len(pairs) // 4)
    held_back, others = pairs[:n_held], pairs[n_held:]
    texts = {name: [text for text, label in others if label == name] for name in ("weak", "strong")}
    n_each = min(N_UTTERANCES, *(len(found) for found in texts.values()))
    route: Any = import_module("semantic_router").Route
    routes = [route(name=name, utterances=found[:n_each]) for name, found in texts.items()]
    return routes, held_back


def _encoder(embed: Embedding, known: Mapping[str, list[float]]) -> Any:
    """Return its encoder class around our embedding, which spares the texts that are known."""
    base: Any = import_module("semantic_router.encoders").DenseEncoder

    class Words(base):
        name: str = "words"
        type: str = "words"

        def __call__(self, docs: Sequence[str]) -> list[list[float]]:
            if all(text in known for text in docs):
                return [known[text] for text in docs]
            return embed(docs).tolist()

        async def acall(self, docs: Sequence[str]) -> list[list[float]]:
            return self(docs)

    return Words()


if __name__ == "__main__":
    main(run)
