"""One routing decision and many, loading and memory, beside what else decides locally."""

import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
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
from .peers._data import DATA, load_set
from .peers._peers import PEERS
from .peers._protocol import RunnerError, ask
from .peers._run import CACHE, ONE_THREAD

ARMS = tuple(
    (model, policy)
    for model in ("synthetic-s", "synthetic-l")
    for policy in ("direct", *(f"reasoning@{cap}" for cap in (128, 512, 2048, 8192, "max")))
)
LONG_WORDS, SHORT_WORDS = 375, 40  # about 500 and 55 tokens
N_SINGLE, N_BATCH, N_LOADED = 2000, 2048, 7
PEER_SET, N_PEER = "pair-A", 200
TIMED_PEERS = ("litellm", "semantic-router")
_MEMORY = """
import sys, numpy
def resident():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) / 1024
bare = resident()
from router import Router
router = Router.load(sys.argv[1])
router.decide("What is 17 * 24?")
print(resident() - bare)
"""
_BATCH = """
import sys, time
from pathlib import Path
from router import Router
router = Router.load(sys.argv[1])
prompts = Path(sys.argv[2]).read_text().splitlines()
router.decide_many(prompts)
print("ready", flush=True)
sys.stdin.readline()
for _ in range(4):
    router.decide_many(prompts)
print(len(prompts) * 4, flush=True)
"""


def run(report: Report) -> None:
    """Fit a router of 12 arms on 1,000 synthetic questions and time it."""
    rng = random.Random(0)
    questions = [_text(rng, rng.choice((SHORT_WORDS, LONG_WORDS))) for _ in range(1000)]
    fitted = Router.fit(_records(rng, questions))
    long_prompts = [_text(rng, LONG_WORDS) for _ in range(N_BATCH)]
    short_prompts = [_text(rng, SHORT_WORDS) for _ in range(N_BATCH)]
    words_and_pairs = TfidfVectorizer(ngram_range=(1, 2), min_df=2)
    pipeline: Any = Pipeline([("tfidf", words_and_pairs), ("ridge", Ridge())])
    pipeline.fit(questions, [len(text) % 7 for text in questions])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "router"
        fitted.save(path)
        router = Router.load(path)
        _single(report, router, path, pipeline, long_prompts)
        _many(report, router, path, pipeline, (long_prompts, short_prompts))
        _loading(report, path)
    _peers(report)


def _single(
    report: Report, router: Router, path: Path, pipeline: Any, prompts: Sequence[str]
) -> None:
    boosters = _boosters(path)
    rows = np.random.default_rng(0).random((len(ARMS), boosters[0].num_feature()))
    ours = _latencies_ms(router.decide, prompts)
    trees = _latencies_ms(
        lambda _: [each.predict(rows, num_threads=1) for each in boosters], prompts
    )
    words = _latencies_ms(lambda prompt: pipeline.predict([prompt]), prompts)
    for quantile, at_most in ((50, 0.3), (99, 1.0)):
        case = f"one decision, {len(ARMS)} arms, 500 tokens, p{quantile}"
        for name, times in (("LightGBM predict, joint trees only", trees), ("TF-IDF ridge", words)):
            report.add(
                case,
                float(np.percentile(ours, quantile)),
                "ms",
                baseline=(name, float(np.percentile(times, quantile))),
                at_most=at_most,
            )
    whole = float(np.percentile(ours, 50))
    stages: tuple[tuple[str, Callable[[str], object]], ...] = (
        ("words alone, in Python", lambda prompt: prompt.lower().split()),
        ("predictions of all arms", lambda prompt: router.predict([prompt])),
    )
    for name, call in stages:
        report.add(
            f"stage of it: {name}, p50",
            float(np.percentile(_latencies_ms(call, prompts), 50)),
            "ms",
            baseline=("one decision", whole),
        )


def _many(
    report: Report, router: Router, path: Path, pipeline: Any, lengths: Sequence[Sequence[str]]
) -> None:
    peer_rate = _rate(pipeline.predict, lengths[0])
    for name, prompts in zip(("500", "55"), lengths, strict=True):
        for n_processes in (1, 2):
            report.add(
                f"batches of {N_BATCH} prompts of {name} tokens, {n_processes} processes",
                _rate(router.decide_many, prompts)
                if n_processes == 1
                else _rate_of_processes(path, prompts, n_processes),
                "prompts/s",
                baseline=("TF-IDF ridge, 500 tokens, one process", peer_rate),
                at_least=10_000 * n_processes,
                note="processor time" if n_processes == 1 else "wall time",
            )


def _loading(report: Report, path: Path) -> None:
    seconds: list[float] = []
    for _ in range(N_LOADED):
        start = time.process_time()
        Router.load(path)
        seconds.append(time.process_time() - start)
    report.add("loading the artifact", min(seconds) * 1000, "ms", at_most=50.0)
    if not Path("/proc/self/status").exists():
        report.skip("memory of a loaded router", "there is no /proc")
        return
    used = subprocess.run(
        [sys.executable, "-c", _MEMORY, str(path)], capture_output=True, text=True, check=True
    )
    report.add("memory of a loaded router beyond numpy", float(used.stdout), "MiB", at_most=100.0)


def _peers(report: Report) -> None:
    """Time the decisions of others, where they are installed; see `benchmarks.peers`."""
    for peer in PEERS:
        if peer.name not in TIMED_PEERS:
            continue
        case = f"one decision of {peer.name} {peer.version}, p50"
        if not peer.python.exists() or not DATA.is_dir():
            report.skip(case, "it is not installed, or there are no recorded questions")
            continue
        (split,) = load_set(PEER_SET, DATA).splits
        try:
            found = ask(
                peer.command,
                [replace(split, name=f"{PEER_SET}/decision", n_timed=N_PEER)],
                cache=CACHE,
                identity=peer.identity,
                timeout_s=300.0,
                environment=ONE_THREAD,
                mode="fresh",
            )
        except RunnerError as error:
            report.skip(case, str(error))
            continue
        for name, answer in (found or [{}])[0].items():
            if answer.latency_ms is not None:
                p50, p99 = answer.latency_ms["p50"], answer.latency_ms["p99"]
                report.add(f"{case} ({name})", p50, "ms", note=f"p99 {p99:.3g} ms, {PEER_SET}")


def _rate_of_processes(path: Path, prompts: Sequence[str], n_processes: int) -> float:
    """Return prompts per second of wall time of several processes side by side."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "prompts.txt"
        file.write_text("\n".join(prompts))
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", _BATCH, str(path), str(file)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(n_processes)
        ]
        for process in processes:
            assert process.stdout is not None
            process.stdout.readline()
        start = time.perf_counter()
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        # Read one after the other: the pipes hold the few bytes of the faster ones.
        done = sum(int(process.stdout.readline()) for process in processes if process.stdout)
        seconds = time.perf_counter() - start
        for process in processes:
            process.communicate()
    return done / seconds


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
            model=model,
            size=1_000_000_000 * (1 + 6 * (model == "synthetic-l")),
            policy=policy,
            outcome=Outcome.CORRECT if rng.random() < _p(prompt, level) else Outcome.WRONG,
            prompt_tokens=len(prompt) // 5,
            completion_tokens=10 + 300 * level + len(prompt) % 50,
            flops=2e9 * (10 + 300 * level),
            seconds=0.01 + level,
        )
        for index, prompt in enumerate(questions)
        for level, (model, policy) in enumerate(ARMS)
    ]


def _p(prompt: str, level: int) -> float:
    """Return a probability that the router has to find out: it needs all of its trees."""
    signal = prompt.count("wordb") - prompt.count("termb") + len(prompt) / 1000
    return min(max(0.5 + 0.1 * signal * (level - 1) / (level + 1), 0.05), 0.95)


def _boosters(path: Path) -> list[lightgbm.Booster]:
    """Return the router's own joint trees as LightGBM loads them."""
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
