"""A real `advisor serve` process on the pocket model, and what can be read off it from outside."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

__all__ = ["ServedProcess", "serving_process", "wait_until"]

ROOT = Path(__file__).resolve().parents[4]
START_S = 90.0  # a few seconds on an idle machine
STOP_S = 10.0
LOG_LINES = 40
_READY = re.compile(r"serving \d+ arms at (http://\S+)/v1 ")


@dataclass(frozen=True)
class ServedProcess:
    """A running server.

    Attributes:
        url: Its address, without a path.
        log: Its decision log.
        stderr: What it has said so far.
        pid: Its process.
    """

    url: str
    log: Path
    stderr: Path
    pid: int

    @property
    def base_url(self) -> str:
        """What clients are given."""
        return f"{self.url}/v1"

    def metrics(self) -> str:
        """Return what Prometheus would read."""
        return httpx.get(f"{self.url}/metrics", timeout=30).raise_for_status().text

    def n_in_flight(self) -> int:
        """Return how many requests it says are being served."""
        return int(sum(_values(self.metrics(), r"thinkroute_in_flight")))

    def n_ended(self, status: int) -> int:
        """Return how many requests have ended with a status."""
        series = rf'thinkroute_requests_total\{{[^}}]*status="{status}"[^}}]*\}}'
        return int(sum(_values(self.metrics(), series)))


@contextmanager
def serving_process(
    folder: Path, *flags: str, environ: Mapping[str, str] | None = None
) -> Generator[ServedProcess]:
    """Run `advisor serve --backend pocket` on a free port until the block ends.

    Afterwards SIGTERM must end it in time and without an error.

    Args:
        folder: Where its decision log and its output are put.
        flags: Further flags.
        environ: Further variables of its environment.

    Raises:
        RuntimeError: It ended or was not there in time; shows the end of its output.
        AssertionError: SIGTERM did not end it in time, or it ended with another code than 0.
    """
    log, stderr = folder / "decisions.sqlite", folder / "serve.err"
    command = [
        *(sys.executable, "-m", "advisor", "serve", "--backend", "pocket"),
        *("--port", "0", "--log", str(log), *flags),
    ]
    with stderr.open("wb") as told:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **(environ or {})},
            stdout=subprocess.DEVNULL,
            stderr=told,
        )
    try:
        yield ServedProcess(_address(process, stderr), log, stderr, process.pid)
        started = time.monotonic()
        process.send_signal(signal.SIGTERM)
        code = process.wait(STOP_S)
        took_s = time.monotonic() - started
        assert code == 0, f"it ended with {code} after {took_s:.1f} s\n{_end_of(stderr)}"
    except subprocess.TimeoutExpired:
        raise AssertionError(
            f"it still ran {STOP_S:.0f} s after SIGTERM\n{_end_of(stderr)}"
        ) from None
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def wait_until(claim: Callable[[], bool], *, within_s: float, what: str) -> float:
    """Wait until a claim holds; return the seconds that took.

    Raises:
        AssertionError: It does not hold in time.
    """
    started = time.monotonic()
    while not claim():
        if time.monotonic() - started > within_s:
            raise AssertionError(f"not within {within_s:.0f} s: {what}")
        time.sleep(0.02)
    return time.monotonic() - started


def _address(process: "subprocess.Popen[bytes]", stderr: Path) -> str:
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        found = _READY.search(stderr.read_text(encoding="utf-8"))
        if found is not None:
            url = found[1]
            httpx.get(f"{url}/readyz", timeout=30).raise_for_status()
            return url
        if process.poll() is not None:
            raise RuntimeError(f"it ended with {process.returncode}\n{_end_of(stderr)}")
        time.sleep(0.05)
    raise RuntimeError(f"it was not ready after {START_S:.0f} s\n{_end_of(stderr)}")


def _end_of(stderr: Path) -> str:
    return "\n".join(stderr.read_text(encoding="utf-8").splitlines()[-LOG_LINES:])


def _values(metrics: str, series: str) -> list[float]:
    return [float(value) for value in re.findall(rf"^{series} (\S+)$", metrics, re.MULTILINE)]
