"""`advisor` as it is, which on SIGUSR2 writes what its event loop holds to the file HELD_AT.

The signal's handler runs inside the loop, between two callbacks.
"""

import asyncio
import gc
import json
import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

from advisor.cli import main

__all__ = ["HELD_AT"]

HELD_AT = "THINKROUTE_BENCH_HELD_AT"


def _tell(number: int, frame: object) -> None:
    tasks = Counter(_name(task) for task in asyncio.all_tasks())
    held = {"tasks": dict(tasks), "n_tasks": tasks.total(), "n_objects": len(gc.get_objects())}
    path = Path(os.environ[HELD_AT])
    path.with_suffix(".new").write_text(json.dumps(held), encoding="utf-8")
    path.with_suffix(".new").replace(path)


def _name(task: asyncio.Task[Any]) -> str:
    return getattr(task.get_coro(), "__qualname__", "?")


if __name__ == "__main__":
    signal.signal(signal.SIGUSR2, _tell)
    main()
