"""The processes under measurement: started, told apart, read from /proc, and ended."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

__all__ = [
    "ROOT",
    "Process",
    "ServeError",
    "busy_s",
    "free_port",
    "get_json",
    "module",
    "put_json",
    "wait_until_ready",
]

ROOT = Path(__file__).resolve().parents[2]
_TICK_S = 1.0 / os.sysconf("SC_CLK_TCK")
_START_S = 90.0


class ServeError(RuntimeError):
    """A process did not start, or ended when it should not have."""


@dataclass(frozen=True, slots=True)
class Footprint:
    """What a process holds.

    Attributes:
        rss_mib: Resident memory.
        n_files: Open file descriptors.
        n_threads: Threads.
    """

    rss_mib: float
    n_files: int
    n_threads: int


class Process:
    """A process that ends with the block."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        folder: Path,
        env: Mapping[str, str] | None = None,
        is_asked: bool = False,
    ) -> None:
        """Start it.

        Args:
            command: Program and arguments.
            folder: Its working folder; what it says on stderr is kept there.
            env: Further variables.
            is_asked: Whether its stdout is read, by `ask` or `line`; else it is kept with stderr.
        """
        self.name = "-".join(Path(part).name for part in command[:4] if not part.startswith("-"))
        self._told = folder / f"{self.name}.stderr"
        with self._told.open("wb") as told:
            self._process = subprocess.Popen(
                command,
                cwd=folder,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE if is_asked else told,
                stderr=told,
                env={**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1", **(env or {})},
            )
        self.pid = self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(15)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    @property
    def exit_code(self) -> int | None:
        """Return the exit code, `None` while it runs."""
        return self._process.poll()

    def terminate(self) -> None:
        """Send SIGTERM."""
        self._process.terminate()

    def ask(self, order: Mapping[str, Any]) -> Any:
        """Write an order to stdin and return the next line of stdout."""
        pipe = self._process.stdin
        if pipe is None:
            raise ServeError(f"{self.name} takes no orders")
        pipe.write(json.dumps(order).encode() + b"\n")
        pipe.flush()
        return self.line()

    def line(self) -> Any:
        """Return the next line of stdout, which is JSON.

        Raises:
            ServeError: It ended.
        """
        pipe = self._process.stdout
        raw = pipe.readline() if pipe is not None else b""
        if not raw:
            raise ServeError(f"{self.name} ended: {self.told()[-500:]}")
        return json.loads(raw)

    def told(self) -> str:
        """Return what it has said on stderr."""
        return self._told.read_text(encoding="utf-8", errors="replace")

    def told_url(self) -> str:
        """Return the address that `advisor serve` tells once it can serve."""
        until = time.monotonic() + _START_S
        while time.monotonic() < until and self.exit_code is None:
            for word in self.told().split():
                if word.startswith("http://") and word.endswith("/v1"):
                    return word
            time.sleep(0.05)
        raise ServeError(f"{self.name} did not start: {self.told()[-500:]}")

    def cpu_s(self) -> float:
        """Return the processor time that it and its children have used so far, all threads."""
        return sum(_ticks(pid) for pid in (self.pid, *_descendants(self.pid))) * _TICK_S

    def footprint(self) -> Footprint:
        """Return what it holds now."""
        own = Path(f"/proc/{self.pid}")
        told = dict(line.split(":", 1) for line in (own / "status").read_text("utf-8").splitlines())
        return Footprint(
            rss_mib=int(told["VmRSS"].split()[0]) / 1024,
            n_files=len(os.listdir(own / "fd")),
            n_threads=int(told["Threads"]),
        )


def module(name: str, *arguments: str) -> list[str]:
    """Return the command that runs a module of this repository."""
    return [sys.executable, "-m", name, *arguments]


def free_port() -> int:
    """Return a port that is free now."""
    with socket.socket() as own:
        own.bind(("127.0.0.1", 0))
        return own.getsockname()[1]


def busy_s() -> float:
    """Return the processor time that the whole machine has used since it started."""
    first = Path("/proc/stat").read_text(encoding="ascii").splitlines()[0].split()[1:9]
    user, nice, system, _, _, irq, softirq, steal = map(int, first)
    return (user + nice + system + irq + softirq + steal) * _TICK_S


def wait_until_ready(url: str, process: Process) -> None:
    """Wait until a server answers.

    Raises:
        ServeError: It does not.
    """
    until = time.monotonic() + _START_S
    while time.monotonic() < until and process.exit_code is None:
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except OSError:
            time.sleep(0.2)
        else:
            return
    raise ServeError(f"{process.name} did not start: {process.told()[-500:]}")


def get_json(url: str) -> Any:
    """Return a document."""
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.load(answer)


def put_json(url: str, document: Mapping[str, Any]) -> None:
    """Send a document."""
    request = urllib.request.Request(url, json.dumps(document).encode(), method="PUT")
    urllib.request.urlopen(request, timeout=10).close()


def _ticks(pid: int) -> int:
    try:
        told = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return 0
    # The name, which may hold spaces, ends with the last parenthesis.
    fields = told.rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def _descendants(pid: int) -> list[int]:
    try:
        told = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    except OSError:
        return []
    children = [int(one) for one in told.split()]
    return [*children, *(each for child in children for each in _descendants(child))]
