"""The command line in processes of its own that start at once and die where they are told to.

One process imports everything and forks a child for every command. A child runs the real `main`;
it may be killed by SIGKILL just before or after the n-th call of a function.
"""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

__all__ = ["Done", "ForkedAdvisor", "KillAt"]

ROOT = Path(__file__).resolve().parents[2]

_TEMPLATE = """
import functools, gc, importlib, json, os, signal, sys, threading
import advisor.cli._app
import calibration.graders, calibration.statistics, calibration.cost.prices
import calibration
for name in calibration.__all__:
    getattr(calibration, name)
import httpx, numpy, openai, rich.console, rich.live, rich.progress
import policies.backends.openai, policies.backends.probe
from advisor.cli import main

def patch(spec):
    module, _, name = spec["function"].partition(":")
    owner = importlib.import_module(module)
    *path, last = name.split(".")
    for part in path:
        owner = getattr(owner, part)
    function, calls = getattr(owner, last), [0]
    @functools.wraps(function)
    def wrapped(*args, **kwargs):
        calls[0] += 1
        if calls[0] == spec["n"] and not spec["after"]:
            os.kill(os.getpid(), signal.SIGKILL)
        result = function(*args, **kwargs)
        if calls[0] == spec["n"]:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    setattr(owner, last, wrapped)

def child(order):
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, path in ((1, order["out"]), (2, order["err"])):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), number)
    if order["kill_at"]:
        patch(order["kill_at"])
    if order["prepare"]:
        exec(order["prepare"], {})
    sys.argv = ["advisor", *order["arguments"]]
    try:
        main()
        code = 0
    except SystemExit as stop:
        code = int(stop.code or 0)
    except BaseException:
        import traceback
        traceback.print_exc()
        code = 1
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)

signal.signal(signal.SIGINT, signal.SIG_IGN)
print("ready", flush=True)
for line in sys.stdin:
    order = json.loads(line)
    gc.freeze()
    assert threading.active_count() == 1
    pid = os.fork()
    if pid == 0:
        child(order)
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


@dataclass(frozen=True)
class KillAt:
    """Where a process dies.

    Attributes:
        function: `module:name` of a function, or of a method as `module:Class.method`.
        n: Which of its calls.
        after: Whether the call is finished first.
    """

    function: str
    n: int = 1
    after: bool = False


@dataclass(frozen=True)
class Done:
    """What became of a command; the code of a killed one is -9."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """Return stdout, which must be one JSON document."""
        return json.loads(self.out)


class ForkedAdvisor:
    """Runs `advisor ARGUMENTS`, one command after the other."""

    def __init__(self, folder: Path) -> None:
        """Start the process that forks.

        Args:
            folder: Where what commands print is kept; they also run there.
        """
        self._out, self._err = folder / "stdout.txt", folder / "stderr.txt"
        folder.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1"}
        environment |= {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-c", _TEMPLATE],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._line()

    def __enter__(self) -> Self:
        """Return the runner."""
        return self

    def __exit__(self, *exception: object) -> None:
        """End the process that forks."""
        self._process.communicate(timeout=60)

    def start(self, *arguments: object, kill_at: KillAt | None = None, prepare: str = "") -> int:
        """Start a command and return its process id; `wait` has to follow.

        Args:
            arguments: What follows `advisor`.
            kill_at: Where the process dies.
            prepare: Python that the process runs first.
        """
        order = {
            "arguments": [str(argument) for argument in arguments],
            "out": str(self._out),
            "err": str(self._err),
            "kill_at": None if kill_at is None else vars(kill_at),
            "prepare": prepare,
        }
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return int(self._line())

    def wait(self) -> Done:
        """Return what became of the command that was started."""
        code = int(self._line())
        return Done(code, self._out.read_text("utf-8"), self._err.read_text("utf-8"))

    def __call__(
        self, *arguments: object, kill_at: KillAt | None = None, prepare: str = ""
    ) -> Done:
        """Run a command to its end."""
        self.start(*arguments, kill_at=kill_at, prepare=prepare)
        return self.wait()

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the process that forks has died"
        return line.strip()
