"""Start-up: how long imports and commands take, and how many packages an installation brings."""

import os
import subprocess
import sys
import tempfile
import time
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path
from statistics import median

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from ._report import Report

REPEATS = 9
ROOT = Path(__file__).resolve().parent.parent


def run(report: Report) -> None:
    """Measure; the commands take turns, so that a busy moment hits all of them alike."""
    python = sys.executable
    commands = {
        "python -c pass": [python, "-c", "pass"],
        "import pydantic": [python, "-c", "import pydantic"],
        "import policies": [python, "-c", "import policies"],
        "import router": [python, "-c", "import router"],
        "advisor --help": [python, "-m", "advisor", "--help"],
        "advisor recommend": [
            *(python, "-m", "advisor", "recommend", "--size", "3B", "--task", "math-oe"),
        ],
    }
    at_most_ms = {"import router": 150.0, "advisor --help": 400.0, "advisor recommend": 1000.0}
    times_ms, failures = _measure(commands)
    bare = times_ms["python -c pass"]
    for case, value in times_ms.items():
        baseline = ("python -c pass", bare) if case != "python -c pass" else None
        if case == "import router":
            # The target is about the import itself.
            value, baseline = value - bare, None  # noqa: PLW2901
            report.add(
                "import router over import pydantic",
                times_ms["import router"],
                "ms",
                baseline=("import pydantic", times_ms["import pydantic"]),
            )
        report.add(case, value, "ms", baseline=baseline, at_most=at_most_ms.get(case))
    for case, reason in failures.items():
        report.fail(case, reason)
    try:
        count = len(installed_with("thinkroute", {"pocket"})) - 1
    except PackageNotFoundError as error:
        report.fail("packages with pocket", f"{error} is not installed here")
    else:
        report.add("packages with pocket", count, "packages", at_most=85)


def _measure(commands: dict[str, list[str]]) -> tuple[dict[str, float], dict[str, str]]:
    """Return median milliseconds per command, and the last line of those that failed."""
    times: dict[str, list[float]] = {name: [] for name in commands}
    failures: dict[str, str] = {}
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1"}
    with tempfile.TemporaryDirectory() as folder:
        for repeat in range(REPEATS + 1):
            for name, command in commands.items():
                if name in failures:
                    continue
                start = time.perf_counter()
                answer = subprocess.run(
                    command,
                    env=environment,
                    cwd=folder,
                    capture_output=True,
                    text=True,
                    check=False,
                )
                if answer.returncode != 0:
                    lines = answer.stderr.strip().splitlines() or [f"exit {answer.returncode}"]
                    failures[name] = lines[-1]
                elif repeat > 0:  # the first round writes byte code and fills the disk's cache
                    times[name].append((time.perf_counter() - start) * 1000)
    return {name: median(values) for name, values in times.items() if values}, failures


def installed_with(distribution: str, extras: set[str]) -> set[str]:
    """Return the distributions that installing `distribution[extras]` brings, itself included.

    Read from the metadata of this environment, without asking an index.

    Raises:
        PackageNotFoundError: One of them is not installed here.
    """
    done: set[tuple[str, str]] = set()
    waiting = [(canonicalize_name(distribution), extra) for extra in ("", *extras)]
    while waiting:
        name, extra = item = waiting.pop()
        if item in done:
            continue
        done.add(item)
        for line in requires(name) or []:
            requirement = Requirement(line)
            marker = requirement.marker
            if marker is None or marker.evaluate({"extra": extra}):
                found = canonicalize_name(requirement.name)
                waiting += [(found, wanted) for wanted in ("", *requirement.extras)]
    return {name for name, _ in done}
