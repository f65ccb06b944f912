"""Grader `math`: the answer is mathematics, compared by value."""

import os
import threading
from importlib.util import find_spec
from pathlib import Path

from policies import MissingPrerequisiteError

from ._grader import Grade
from ._math_text import decide, prepare
from ._worker_pool import WorkerPool, python_command
from .anchored import find_anchored_answer

__all__ = ["MathGrader"]

_MAX_LENGTH = 1000
_MEMORY_LIMIT = 2**30
"""A comparison of ordinary answers stays below 80 MB."""
_PROGRAM = Path(__file__).with_name("_math_worker.py")


class MathGrader:
    r"""Compare the anchored answer with the gold answer as mathematics.

    Only an answer that the text commits to counts, such as `\boxed{...}` or `Answer: ...`, and
    only as a whole: `maybe 5 6 7` is not 7. Numbers and words are decided at once, exactly;
    algebra, intervals, sets and matrices are left to math-verify, gold answer first, in worker
    processes that can be killed. Safe to use from many threads.

    Rules where mathematics leaves a choice:

    - `50%` equals 50 and 0.5; a trailing unit and an equation's left-hand variable (`x = 5`) are
      read over, so that `2 hours` equals `2 minutes`; questions fix their units.
    - Rational numbers must agree exactly, others to six decimals as well as to a relative 1e-6.
    - A list without brackets is a set; `(1, 2)` is an ordered pair or an interval, never a set.
    - `x > 3` equals `(3, \infty)`, whichever of them is the gold answer.
    - An answer above 1,000 characters is none.
    - An answer whose comparison takes more CPU time or memory than `cpu_limit_s` and 1 GiB is
      not equal. CPU time belongs to the answer, not to how busy the machine is. A worker that
      dies or hangs without having used its CPU time gives no judgement but a `problem`, after
      one more try on a fresh worker.

    Source: math-verify 0.9, https://github.com/huggingface/Math-Verify.
    """

    name = "math"
    version = 2
    is_slow = True
    runs_code = False

    def __init__(
        self, *, n_workers: int = 2, cpu_limit_s: float = 5.0, wall_limit_s: float = 60.0
    ) -> None:
        """Prepare the workers; the first comparison that needs one starts it.

        Args:
            n_workers: Most worker processes at once, positive.
            cpu_limit_s: CPU seconds that one comparison may take.
            wall_limit_s: Seconds without an answer after which a worker is given up.

        Raises:
            MissingPrerequisiteError: math-verify is not installed.
        """
        for module in ("math_verify", "antlr4"):
            if find_spec(module) is None:
                raise MissingPrerequisiteError.extra("math", module)
        self._n_workers = n_workers
        self._limits = (cpu_limit_s, wall_limit_s)
        self._lock = threading.Lock()
        self._pool: WorkerPool | None = None
        self._owner = 0

    def check_gold(self, gold: str) -> str | None:
        """Return a problem if gold is empty or too long."""
        if not gold.strip():
            return "it is empty"
        if len(gold) > _MAX_LENGTH:
            return f"it has {len(gold):,} characters, expected at most {_MAX_LENGTH:,}"
        return None

    def grade(self, answer: str, gold: str) -> Grade:
        """Judge one answer."""
        found = find_anchored_answer(answer)
        if found is None or not found or max(len(found), len(gold)) > _MAX_LENGTH:
            return Grade(False, found)
        decided = decide(gold, found)
        if decided is not None:
            return Grade(decided, found)
        wanted, said = prepare(gold, found)
        reply = self._workers().ask({"gold": wanted, "answer": said})
        if reply.problem is not None:
            return Grade(False, found, problem=reply.problem)
        is_equal = reply.value is not None and reply.value.get("equal") is True
        return Grade(is_equal, found)

    def close(self) -> None:
        """End the workers; not while an answer is judged. The next answer starts new ones."""
        with self._lock:
            if self._pool is not None:
                self._pool.close()

    def worker_ids(self) -> list[int]:
        """Return the process ids of the workers that run."""
        return self._pool.worker_ids() if self._pool is not None else []

    def _workers(self) -> WorkerPool:
        """Return the pool of this process: after a fork, pipes must not be shared."""
        with self._lock:
            if self._pool is None or self._owner != os.getpid():
                cpu_limit_s, wall_limit_s = self._limits
                self._owner = os.getpid()
                self._pool = WorkerPool(
                    python_command(str(_PROGRAM), str(cpu_limit_s), str(_MEMORY_LIMIT)),
                    n_workers=self._n_workers,
                    wall_limit_s=wall_limit_s,
                )
            return self._pool
