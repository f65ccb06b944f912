"""What a router has to beat: length, and a few lines of scikit-learn.

Runs in our own environment, under the same protocol as everybody.
"""

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._job import Job, Variant, main, timed

Floats = NDArray[np.float64]


def run(job: Job) -> dict[str, Variant]:
    gain = np.array([row["strong"] - row["weak"] for row in job.train])
    return {
        "length": _length(job, gain),
        "TF-IDF ridge": _ridge(job, gain),
        "task guessed from text": _guessed_task(job),
        "task name given": _given_task(job),
    }


def _length(job: Job, gain: Floats) -> Variant:
    """Longer first, and beyond the length above which the dear arm did better in training."""
    lengths = np.array([len(text) for text in job.train_texts])
    order = np.argsort(-lengths, kind="stable")
    best = int(np.argmax(np.concatenate([[0.0], np.cumsum(gain[order])])))
    threshold = float("inf") if best == 0 else float(lengths[order[best - 1]])
    return Variant(
        score=[float(len(text)) for text in job.test_texts],
        is_strong=[len(text) >= threshold for text in job.test_texts],
        latency_ms=timed(len, job.test_texts, job.n_timed),
    )


def _words() -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True, max_features=50_000)


def _ridge(job: Job, gain: Floats) -> Variant:
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import Pipeline

    started = time.perf_counter()
    pipeline: Any = Pipeline([("words", _words()), ("ridge", Ridge())])
    pipeline.fit(job.train_texts, gain)
    fit_s = time.perf_counter() - started
    score: Floats = pipeline.predict(job.test_texts)
    return Variant(
        score=score.tolist(),
        is_strong=(score > 0).tolist(),
        latency_ms=timed(lambda text: pipeline.predict([text]), job.test_texts, job.n_timed),
        fit_s=fit_s,
    )


def _guessed_task(job: Job) -> Variant:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import Pipeline

    tasks = [row["task"] for row in job.train]
    if len(set(tasks)) < 2:
        return Variant(note="there is one task")
    started = time.perf_counter()
    pipeline: Any = Pipeline(
        [("words", _words()), ("task", LogisticRegression(C=10.0, max_iter=100, tol=1e-3))]
    )
    pipeline.fit(job.train_texts, tasks)
    fit_s = time.perf_counter() - started
    gains, by_cost = _task_gains(job)

    def score(texts: list[str]) -> Floats:
        posterior: Floats = pipeline.predict_proba(texts)
        return posterior @ np.array([gains[name] for name in pipeline.classes_])

    values = score(job.test_texts)
    posterior: Floats = pipeline.predict_proba(job.test_texts)
    return Variant(
        score=values.tolist(),
        score_by_cost=(posterior @ np.array([by_cost[x] for x in pipeline.classes_])).tolist(),
        is_strong=(values > 0).tolist(),
        latency_ms=timed(lambda text: score([text]), job.test_texts, job.n_timed),
        fit_s=fit_s,
        note="logistic regression guesses the task; mean gain of the task in training",
    )


def _given_task(job: Job) -> Variant:
    gains, by_cost = _task_gains(job)
    overall = float(np.mean([row["strong"] - row["weak"] for row in job.train]))
    score = [gains.get(row["task"], overall) for row in job.test]
    return Variant(
        score=score,
        score_by_cost=[by_cost.get(row["task"], overall) for row in job.test],
        is_strong=[value > 0 for value in score],
        note="mean gain of the caller's task in training; its decision is the best arm per task",
    )


def _task_gains(job: Job) -> tuple[dict[str, float], dict[str, float]]:
    """Return the mean gain of each task, and the same for each extra token."""

    def total(value: Callable[[dict[str, Any]], float]) -> Counter[str]:
        sums: Counter[str] = Counter()
        for row in job.train:
            sums[row["task"]] += value(row)  # pyright: ignore[reportArgumentType]
        return sums

    counts = total(lambda row: 1.0)
    gains = {
        task: value / counts[task]
        for task, value in total(lambda row: row["strong"] - row["weak"]).items()
    }
    extra = total(lambda row: (row["strong_tokens"] or 0.0) - (row["weak_tokens"] or 0.0))
    by_cost = {task: gains[task] / max(extra[task] / counts[task], 1.0) for task in gains}
    return gains, by_cost


if __name__ == "__main__":
    main(run)
