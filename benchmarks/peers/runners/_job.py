"""What all runners share: reading the questions, timing decisions, writing the result."""

import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

__all__ = ["Job", "Variant", "main", "timed"]

_N_WARM = 10


@dataclass(frozen=True, slots=True)
class Job:
    """The questions: `train` rows hold outcomes, `test` rows only `q` and `task`."""

    name: str
    arms: list[dict[str, str]]
    n_timed: int
    train: list[dict[str, Any]]
    test: list[dict[str, str]]

    @property
    def train_texts(self) -> list[str]:
        return [row["q"] for row in self.train]

    @property
    def test_texts(self) -> list[str]:
        return [row["q"] for row in self.test]

    @property
    def needs_strong(self) -> list[bool]:
        """Training questions on which the dear arm did strictly better."""
        return [row["strong"] > row["weak"] for row in self.train]


@dataclass(slots=True)
class Variant:
    """What one configuration says; see `benchmarks.peers._protocol.Answer`."""

    score: list[float] | None = None
    score_by_cost: list[float] | None = None
    is_strong: list[bool] | None = None
    latency_ms: dict[str, float] | None = None
    fit_s: float | None = None
    note: str = ""


def main(run: Callable[[Job], dict[str, Variant]]) -> None:
    """Answer each file of questions with a file of results: `pairs result [pairs result ...]`."""
    paths = [Path(argument) for argument in sys.argv[1:]]
    for pairs, result in zip(paths[::2], paths[1::2], strict=True):
        job = json.loads(pairs.read_text(encoding="utf-8"))
        if job.pop("protocol") != 1:
            sys.exit("these questions are written for another protocol")
        variants = run(Job(**job))
        document = {
            "protocol": 1,
            "python": sys.version.split()[0],
            "written": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "variants": {name: asdict(variant) for name, variant in variants.items()},
        }
        unfinished = result.with_suffix(".part")
        unfinished.write_text(json.dumps(document), encoding="utf-8")
        unfinished.replace(result)


def timed(decide: Callable[[Any], object], arguments: Sequence[Any], n: int) -> Any:
    """Return milliseconds of single decisions, None if none are wanted.

    `p50` and `p99` are of wall time; `cpu` is the mean processor time of this process, all of
    its threads, which says more than wall time on a busy machine.
    """
    if n <= 0:
        return None
    for argument in arguments[:_N_WARM]:
        decide(argument)
    times: list[float] = []
    before = time.process_time()
    for argument in arguments[:n]:
        start = time.perf_counter()
        decide(argument)
        times.append((time.perf_counter() - start) * 1000.0)
    cpu = (time.process_time() - before) * 1000.0 / len(times)
    times.sort()

    def quantile(share: float) -> float:
        return times[min(math.ceil(share * len(times)), len(times)) - 1]

    return {"p50": quantile(0.5), "p99": quantile(0.99), "cpu": cpu, "n": len(times)}
