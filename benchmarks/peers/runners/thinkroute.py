"""This project, under the same protocol: `Router.fit` on the training questions.

Every task is a task type of its own here, so that the caller's hint is the task's name.
"""

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from router import Arm, OutcomeMatrix, Router

from ._job import Job, Variant, main, timed

Floats = NDArray[np.float64]
CALL_COSTS = (1.0, 10.0)
"""Stand-ins for tokens where none were recorded; they decide the default trade-off only."""


def run(job: Job) -> dict[str, Variant]:
    started = time.perf_counter()
    matrix, cheap = _matrix(job)
    router = Router.fit(matrix, seed=0)
    fit_s = time.perf_counter() - started
    order = [cheap, 1 - cheap]  # the router sorts arms by itself
    has_tokens = job.train[0]["strong_tokens"] is not None
    return {
        "from text": _variant(job, router, order, has_tokens, fit_s, is_hinted=False),
        "task name given": _variant(job, router, order, has_tokens, fit_s, is_hinted=True),
    }


def _matrix(job: Job) -> tuple[OutcomeMatrix, int]:
    """Return the training outcomes and the column of the cheap arm."""
    arms = [Arm.parse(arm["model"], arm["policy"]) for arm in job.arms]
    columns = sorted((0, 1), key=lambda column: arms[column].order)
    rows = job.train
    values = np.array([[row["weak"], row["strong"]] for row in rows], dtype=np.float64)
    spent = [
        [
            cost if row[key] is None else row[key]
            for key, cost in zip(("weak_tokens", "strong_tokens"), CALL_COSTS, strict=True)
        ]
        for row in rows
    ]
    samples = np.array([[row["n_samples"]] * 2 for row in rows], dtype=np.int64)
    unknown = np.full(values.shape, np.nan)
    prompt_tokens = np.array([[len(row["q"]) / 4.0] * 2 for row in rows], dtype=np.float64)
    tasks = tuple(row["task"] for row in rows)
    return OutcomeMatrix(
        arms=tuple(arms[column] for column in columns),
        question_ids=tuple(str(index) for index in range(len(rows))),
        groups=tuple(row["group"] for row in rows),
        tasks=tasks,
        task_types=tasks,
        prompts=tuple(row["q"] for row in rows),
        correct=values[:, columns],
        prompt_tokens=prompt_tokens,
        tokens=np.array(spent, dtype=np.float64)[:, columns],
        flops=unknown,
        seconds=unknown.copy(),
        n_samples=samples,
        n_errors=0,
    ), columns.index(0)


def _variant(
    job: Job, router: Router, order: list[int], has_tokens: bool, fit_s: float, *, is_hinted: bool
) -> Variant:
    n = len(job.test)
    gain, extra = np.empty(n), np.empty(n)
    is_strong = np.empty(n, dtype=np.bool_)
    dear = router.arms[order[1]]
    tasks: dict[str | None, list[int]] = {}
    for index, row in enumerate(job.test):
        tasks.setdefault(row["task"] if is_hinted else None, []).append(index)
    for task, rows in tasks.items():
        prompts = [job.test[row]["q"] for row in rows]
        predictions = router.predict(prompts, task)
        p, tokens = predictions.p_correct[:, order], predictions.tokens[:, order]
        gain[rows] = p[:, 1] - p[:, 0]
        extra[rows] = tokens[:, 1] - tokens[:, 0]
        is_strong[rows] = [each.arm == dear for each in router.decide_many(prompts, task)]

    def decide(row: dict[str, str]) -> Any:
        return router.decide(row["q"], row["task"] if is_hinted else None)

    by_cost = gain / np.maximum(extra, 1.0)
    return Variant(
        score=gain.tolist(),
        score_by_cost=by_cost.tolist() if has_tokens else None,
        is_strong=is_strong.tolist(),
        latency_ms=timed(decide, job.test, job.n_timed),
        fit_s=fit_s,
    )


if __name__ == "__main__":
    main(run)
