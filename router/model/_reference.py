"""Measured questions that a router remembers: what was predicted for them and what came of it."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["MAX_REFERENCE", "Neighbour", "ReferenceQuestions", "prompt_hashes"]

MAX_REFERENCE = 4_000
"""Most questions a router remembers; of more, a random sample."""

_SIMILAR = 200
_Z_95 = 1.959964
Floats = NDArray[np.float64]


def prompt_hashes(prompts: Iterable[str]) -> NDArray[np.uint64]:
    """Return 64-bit hashes of prompts, ascending and each once.

    Case and white space do not matter, so that a question is known again.
    """
    hashes = (
        hashlib.blake2b(" ".join(prompt.lower().split()).encode("utf-8", "replace"), digest_size=8)
        for prompt in prompts
    )
    return np.unique(np.array([int.from_bytes(each.digest()) for each in hashes], dtype=np.uint64))


class Neighbour(NamedTuple):
    """A measured question that is close to a prompt.

    Attributes:
        question_id: Its identifier.
        task: Its task.
        similarity: Cosine of the topics, in [-1, 1].
        correct: Share correct of each arm by the arm's name, `None` where not measured.
    """

    question_id: str
    task: str
    similarity: float
    correct: dict[str, float | None]


@dataclass(frozen=True, slots=True)
class ReferenceQuestions:
    """Questions of the fit without their texts.

    Attributes:
        ids: Question identifiers.
        tasks: Their tasks.
        topics: Topics, each of Euclidean length 1 or 0, shape `(n, n_topics)`.
        p_correct: Calibrated p, predicted out of fold, shape `(n, n_arms)`.
        correct: Share correct, -1 where not measured, same shape.
        tokens: Measured tokens, -1 where not measured, same shape.
        tokens_expected: Expected tokens, out of fold, same shape.
        n_bytes: Lengths of their prompts, shape `(n,)`.
        seen: 64-bit hashes of all prompts of the fit, ascending.
    """

    ids: tuple[str, ...]
    tasks: tuple[str, ...]
    topics: NDArray[np.float32]
    p_correct: NDArray[np.float32]
    correct: NDArray[np.float32]
    tokens: NDArray[np.float32]
    tokens_expected: NDArray[np.float32]
    n_bytes: NDArray[np.float32]
    seen: NDArray[np.uint64]

    def intervals(self, p_correct: Floats) -> tuple[Floats, Floats, NDArray[np.int64]]:
        """Return what happened where similar probabilities were predicted.

        For each arm the 200 measured questions whose predicted p was nearest (at most a quarter
        of all), and the Wilson interval of their share correct, widened where needed to hold p.

        Args:
            p_correct: Probabilities of each arm for one prompt, shape `(n_arms,)`.

        Returns:
            Lower ends, upper ends (95%) and the number of questions behind them, `(n_arms,)`
            each; 0, 1 and 0 for an arm without a measured question.
        """
        n_arms = len(p_correct)
        low, high, counts = np.zeros(n_arms), np.ones(n_arms), np.zeros(n_arms, dtype=np.int64)
        for arm in range(n_arms):
            known = np.flatnonzero(self.correct[:, arm] >= 0)
            if not len(known):
                continue
            n = min(len(known), max(20, min(_SIMILAR, len(known) // 4)))
            distance = np.abs(self.p_correct[known, arm] - p_correct[arm])
            nearest = known[np.argpartition(distance, n - 1)[:n]]
            rate = float(self.correct[nearest, arm].mean())
            centre = (rate + _Z_95**2 / (2 * n)) / (1 + _Z_95**2 / n)
            spread = rate * (1 - rate) / n + _Z_95**2 / (4 * n**2)
            half = _Z_95 / (1 + _Z_95**2 / n) * np.sqrt(spread)
            low[arm] = min(max(centre - half, 0.0), p_correct[arm])
            high[arm] = max(min(centre + half, 1.0), p_correct[arm])
            counts[arm] = n
        return low, high, counts

    def nearest(self, topics: Floats, names: list[str], n: int) -> list[Neighbour]:
        """Return the measured questions closest to a prompt, closest first.

        Args:
            topics: Topics of the prompt, shape `(n_topics,)`.
            names: Names of the arms.
            n: How many at most.
        """
        length = float(np.sqrt((topics * topics).sum()))
        if length == 0.0 or not len(self.ids) or not self.topics.shape[1]:
            return []
        similarity = self.topics @ (topics / length).astype(np.float32)
        order = np.argsort(-similarity, kind="stable")[:n]
        return [
            Neighbour(
                self.ids[row],
                self.tasks[row],
                float(similarity[row]),
                {
                    name: None if value < 0 else round(value, 4)
                    for name, value in zip(names, self.correct[row].tolist(), strict=True)
                },
            )
            for row in order.tolist()
        ]
