"""Data that the tests of exports share."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

PairsFile = Callable[..., Path]


@pytest.fixture
def pairs_file(tmp_path: Path) -> PairsFile:
    """Return a function that writes a file of pairs: short direct answers, longer traces."""

    def write(n: int = 40, *, name: str = "pairs.jsonl", n_words: int = 60, long: int = 0) -> Path:
        """Write `n` pairs, the first `long` of which have a trace that is 50 times as long."""
        rows = [
            {
                "prompt": f"{name}: what is {i} + {i}?",
                "ift": f"Answer: {2 * i}",
                "reasoning": "<think>\n"
                + "step " * (n_words * 50 if i < long else n_words + i % 7)
                + f"\n</think>\n\nAnswer: {2 * i}",
                "solution": str(2 * i),
            }
            for i in range(n)
        ]
        path = tmp_path / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
        return path

    return write
