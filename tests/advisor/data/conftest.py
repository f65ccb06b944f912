"""Small files of pairs."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

WriteLines = Callable[..., Path]


@pytest.fixture
def write_lines(tmp_path: Path) -> WriteLines:
    """Return a function that writes objects and raw lines into a file, one per line."""

    def write(
        lines: Sequence[Mapping[str, Any] | str | bytes],
        *,
        name: str = "pairs.jsonl",
        end: str = "\n",
    ) -> Path:
        path = tmp_path / name
        raw = [
            line
            if isinstance(line, bytes)
            else (line if isinstance(line, str) else json.dumps(line)).encode()
            for line in lines
        ]
        path.write_bytes(b"".join(line + end.encode() for line in raw))
        return path

    return write


@pytest.fixture
def make_pairs(write_lines: WriteLines) -> Callable[..., Path]:
    """Return a function that writes n sound pairs, whose traces are much longer than answers."""

    def make(n: int, *, name: str = "pairs.jsonl") -> Path:
        return write_lines(
            [
                {
                    "prompt": f"What is {i} + {i}?",
                    "ift": str(2 * i),
                    "reasoning": f"<think>{'Let me add. ' * (i % 7 + 5)}</think>{2 * i}",
                }
                for i in range(n)
            ],
            name=name,
        )

    return make
