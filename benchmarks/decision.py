"""One routing decision and many, beside LightGBM's own predict and a plain TF-IDF ridge."""

import random
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import Ridge
from sklearn.pipeline import Pipeline

from calibration import Outcome, OutcomeRecord
from router import Router

from ._report import Report

POLICIES = ("direct", "reasoning@256", "reasoning@1024", "reasoning@max")
LONG_WORDS, SHORT_WORDS = 375, 40  # about 500 and 55 tokens
N_SINGLE, N_BATCH = 2000, 2048


def run(report: Report) -> None:
    """Fit a router on 1,000 synthetic questions and time its decisions."""
    rng = random.Random(0)
    questions = [_text(rng, rng.choice((SHORT_WORDS, LONG_WORDS))) for _ in range(1000)]
    router = Router.fit(_records(rng, questions))
    long_prompts = [_text(rng, LONG_WORDS) for _ in range(N_BATCH)]
    short_prompts = [_text(rng, SHORT_WORDS) for _ in range(N_BATCH)]
    boosters = _boosters(router)
    rows = np.random.default_rng(0).random((len(POLICIES), boosters[0].num_feature()))
    words_and_pairs = TfidfVectorizer(ngram_range=(1, 2), min_df=2)
    pipeline: Any = Pipeline([("tfidf", words_and_pairs), ("ridge", Ridge())])
    pipeline.fit(questions, [len(text) % 7 for text in questions])

    ours = _latencies_ms(router.decide, long_prompts)
    trees = _latencies_ms(
        lambda _: [each.predict(rows, num_threads=1) for each in boosters], long_prompts
    )
    words = _latencies_ms(lambda prompt: pipeline.predict([prompt]), long_prompts)
    for quantile, at_most in ((50, 0.3), (99, 1.0)):
        case = f"one decision, 500 tokens, p{quantile}"
        for name, times in (("LightGBM predict, trees only", trees), ("TF-IDF ridge", words)):
            report.add(
                case,
                float(np.percentile(ours, quantile)),
                "ms",
                baseline=(name, float(np.percentile(times, quantile))),
                at_most=at_most,
            )
    peer_rate = _rate(pipeline.predict, long_prompts)
    for name, prompts in (("500", long_prompts), ("55", short_prompts)):
        report.add(
            f"batch of {N_BATCH} prompts of {name} tokens, one core",
            _rate(router.decide_many, prompts),
            "prompts/s",
            baseline=("TF-IDF ridge, 500 tokens", peer_rate),
            at_least=20_000 if name == "55" else 10_000,
            note="20,000 on two cores" if name == "500" else "",
        )


def _text(rng: random.Random, n_words: int) -> str:
    """Return words with the frequencies of real text (Zipf's law over 20,000 words)."""
    ranks = (int(20_000 ** rng.random()) for _ in range(n_words))
    return " ".join(f"{'word' if rank % 3 else 'term'}{_letters(rank)}" for rank in ranks)


def _letters(number: int) -> str:
    return "".join(chr(ord("a") + int(digit)) for digit in str(number))


def _records(rng: random.Random, questions: Sequence[str]) -> list[OutcomeRecord]:
    return [
        OutcomeRecord(
            question_id=str(index),
            group=str(index),
            task="synthetic",
            task_type=("math-oe", "general-mc")[index % 2],
            prompt=prompt,
            model="synthetic",
            size=1_000_000_000,
            policy=policy,
            outcome=Outcome.CORRECT if rng.random() < _p(prompt, level) else Outcome.WRONG,
            prompt_tokens=len(prompt) // 5,
            completion_tokens=10 + 300 * level + len(prompt) % 50,
            flops=2e9 * (10 + 300 * level),
            seconds=0.01 + level,
        )
        for index, prompt in enumerate(questions)
        for level, policy in enumerate(POLICIES)
    ]


def _p(prompt: str, level: int) -> float:
    """Return a probability that the router has to find out: it needs all of its trees."""
    signal = prompt.count("wordb") - prompt.count("termb") + len(prompt) / 1000
    return min(max(0.5 + 0.1 * signal * (level - 1) / (level + 1), 0.05), 0.95)


def _boosters(router: Router) -> list[lightgbm.Booster]:
    """Return the router's own trees as LightGBM loads them."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "router"
        router.save(path)
        files = (path / "trees_correct.txt", path / "trees_tokens.txt")
        return [lightgbm.Booster(model_file=file) for file in files if file.stat().st_size]


def _latencies_ms(call: Callable[[Any], object], arguments: Sequence[Any]) -> list[float]:
    """Return the milliseconds of single calls, each with another argument."""
    times: list[float] = []
    for index in range(N_SINGLE + 50):
        argument = arguments[index % len(arguments)]
        start = time.perf_counter()
        call(argument)
        times.append((time.perf_counter() - start) * 1000)
    return times[50:]


def _rate(call: Callable[[Sequence[str]], object], prompts: Sequence[str]) -> float:
    """Return prompts per second of processor time, the best of three rounds after a warm-up."""
    call(prompts)
    seconds: list[float] = []
    for _ in range(3):
        start = time.process_time()
        call(prompts)
        seconds.append(time.process_time() - start)
    return len(prompts) / min(seconds)


if __name__ == "__main__":
    report = Report()
    report.begin("decision")
    run(report)
    print(report.to_text())
