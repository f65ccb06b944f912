"""What tests of runs against a `FaultServer` share: questions, arguments, and looks into a store."""

import json
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

from tests.servers.fault_server import FaultServer, Seen

__all__ = [
    "N_POLICIES",
    "arguments",
    "asked_again",
    "is_question",
    "rows",
    "table",
    "write_questions",
]

POLICIES = ("--policies", "direct,reasoning", "--budgets", "0,8,20,max")
N_POLICIES = 5


def write_questions(folder: Path, n: int, name: str = "sums") -> Path:
    """Write a file of sums; return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [{"prompt": f"{i}+{3 * i + 1}", "gold": str(4 * i + 1)} for i in range(n)]
    path = folder / f"{name}.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    return path


def arguments(
    server: FaultServer, questions: Path, out: Path, *more: object, policies: object = None
) -> list[str]:
    """Return the arguments of `advisor calibrate`: direct, and four budgets from one trace."""
    which = POLICIES if policies is None else ("--policies", policies)
    texts: tuple[object, ...] = (
        *("calibrate", "--backend", "openai", "--base-url", server.url, "--model", "m"),
        *("--tasks", questions, "--grader", "number", *which, "--max-answer-tokens", 32),
        *("--max-thinking-tokens", 80, "--out", out, "--json", "--yes", *more),
    )
    return [str(text) for text in texts]


def is_question(seen: Seen) -> bool:
    """Tell a request of the run from those of the probe, which asks about one fixed sum."""
    return "step by step" not in seen.question


def asked_again(server: FaultServer) -> int:
    """Return how many generations were asked that had been asked before."""
    counts = Counter(seen.identity for seen in server.generations(of=is_question))
    return sum(counts.values()) - len(counts)


def table(run: Path) -> bytes:
    """Return the bytes of a run's table."""
    return (run / "table.csv").read_bytes()


def rows(run: Path, query: str) -> list[tuple[object, ...]]:
    """Return what a query finds in a run's store, read without changing it."""
    with closing(sqlite3.connect(f"file:{run / 'run.sqlite'}?mode=ro", uri=True)) as connection:
        return connection.execute(query).fetchall()
