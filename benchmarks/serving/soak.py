"""A bounded soak of `advisor serve` before an upstream that fails now and then.

    python -m benchmarks.serving.soak [--minutes 10] [--streams 50]

Clients stream and leave, the upstream refuses, resets, cuts and hangs, and at the end the server is
told to stop in the middle of it all. One JSON document with all figures is printed; exit status 1
where a check fails.
"""

import argparse
import asyncio
import json
import os
import signal
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any
from urllib.request import urlopen

from ._processes import Process, get_json, module, put_json
from ._soak_clients import Clients, Ended
from ._upstream import Behaviour
from ._watched import HELD_AT
from ._world import write_router

__all__ = ["Soak", "run_soak"]

SCHEMA_VERSION = 1
_LOADED = Behaviour(
    latency_s=0.3, n_pieces=20, gap_s=0.05, spread=0.5, fault_share=0.05, echoes=True
)
# Answers of 1 to 15 s: some end within the time that the server has to stop, some do not.
_LONG = Behaviour(latency_s=1.0, n_pieces=20, gap_s=0.35, spread=0.9, echoes=True)
_LEAVE_SHARE = 0.05
_N_UPSTREAMS = 2
_N_LAST = 30
"""Samples, one a second, that stand for the beginning and for the end; half of them at most."""
_QUIET_S = 6.0
"""After which idle connections to upstreams are closed."""
_MOST_GROWTH = 0.10
_STOP_S = 10.0
_FIRST_S = 3.0


@dataclass(frozen=True, slots=True)
class Sample:
    """What the server held at a time, seconds after the load began."""

    time_s: float
    rss_mib: float
    n_files: int
    n_threads: int
    n_tasks: int


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that has to hold."""

    name: str
    is_met: bool
    found: str


@dataclass(frozen=True, slots=True)
class Soak:
    """What came of it.

    Attributes:
        checks: What has to hold.
        figures: Everything else that was counted.
    """

    checks: Sequence[Check]
    figures: Mapping[str, Any]

    @property
    def is_passed(self) -> bool:
        """Whether all checks are met."""
        return all(check.is_met for check in self.checks)

    def to_json(self) -> dict[str, Any]:
        """Return everything as one document."""
        return {
            "schema_version": SCHEMA_VERSION,
            "is_passed": self.is_passed,
            "checks": [asdict(check) for check in self.checks],
            **self.figures,
        }


@dataclass(frozen=True, slots=True)
class _Under:
    """What is under test, and where it says what it holds."""

    server: Process
    url: str
    upstream: str
    log: Path
    held: Path


def run_soak(minutes: float, n_streams: int, folder: Path) -> Soak:
    """Run the soak.

    Args:
        minutes: How long there is load, the first tenth (a minute at most) being the warm-up.
        n_streams: Clients that stream; a fifth as many do not.
        folder: For the router, the log and what the processes say.
    """
    with ExitStack() as stack:
        upstream = stack.enter_context(
            Process(
                module("benchmarks.serving._upstream", "--ports", str(_N_UPSTREAMS)),
                folder=folder,
                is_asked=True,
            )
        )
        urls: list[str] = upstream.line()["urls"]
        log, held = folder / "decisions.sqlite", folder / "held.json"
        options = [part for url in urls for part in ("--upstream", url)]
        options += ["--router", str(write_router(folder / "router")), "--log", str(log)]
        server = stack.enter_context(
            Process(
                module("benchmarks.serving._watched", "serve", "--port", "0", *options),
                folder=folder,
                env={HELD_AT: str(held)},
            )
        )
        under = _Under(server, server.told_url(), urls[0].removesuffix("/v1"), log, held)
        return asyncio.run(_soak(under, minutes * 60, n_streams))


async def _soak(under: _Under, seconds: float, n_streams: int) -> Soak:
    n_whole = max(n_streams // 5, 1)
    put_json(f"{under.upstream}/behaviour", {**asdict(_LOADED), "fault_share": 0.0})
    first = Clients(under.url, _LOADED.n_pieces, 0.0)
    await _for(first, 1.0, 1, 1)
    await asyncio.sleep(_QUIET_S)
    idle = await _sample(under, 0.0)

    put_json(f"{under.upstream}/behaviour", asdict(_LOADED))
    clients = Clients(under.url, _LOADED.n_pieces, _LEAVE_SHARE)
    samples: list[Sample] = []
    sampling = asyncio.create_task(_keep_sampling(under, samples))
    cpu_s, started = under.server.cpu_s(), time.perf_counter()
    await _for(clients, seconds, n_streams, n_whole)
    cpu_s, load_s = under.server.cpu_s() - cpu_s, time.perf_counter() - started
    sampling.cancel()
    await asyncio.sleep(_QUIET_S)
    quiet = await _sample(under, load_s)
    in_flight = await asyncio.to_thread(_in_flight, under.url)
    told = get_json(f"{under.upstream}/told")

    put_json(f"{under.upstream}/behaviour", asdict(_LONG))
    last = Clients(under.url, _LONG.n_pieces, 0.0)
    stop_s = await _stopped(under, last, n_streams, n_whole)
    rows = _rows(under.log)

    begin = min(60.0, seconds / 10)
    steady = [one for one in samples if one.time_s >= begin] or samples
    n_each = max(min(_N_LAST, len(steady) // 2), 1)
    early, late = steady[:n_each], steady[-n_each:]
    everyone = [*first.ended, *clients.ended, *last.ended]
    checks = [
        *_check_ends(clients.ended, last.ended),
        *_check_resources(idle, early, late, quiet, in_flight),
        *_check_log(everyone, rows),
        *_check_stop(under.server, stop_s),
    ]
    figures: dict[str, Any] = {
        "seconds": load_s,
        "n_streams": n_streams,
        "n_whole": n_whole,
        "n_requests": len(clients.ended),
        "cpu_share": cpu_s / load_s,
        "ends": _counted(clients.ended),
        "ends_while_stopping": _counted(last.ended),
        "bad": [asdict(one) for one in everyone if one.end == "bad"][:20],
        "upstream": told,
        "stop_s": stop_s,
        "exit_code": under.server.exit_code,
        "idle": asdict(idle),
        "quiet": asdict(quiet),
        "in_flight_after": in_flight,
        "held": json.loads(under.held.read_text(encoding="utf-8")),
        "rows": Counter(f"{status} {error}".strip() for _, status, error in rows),
        "stderr": under.server.told()[-2000:],
        "samples": [asdict(one) for one in samples[:: max(len(samples) // 60, 1)]],
    }
    return Soak(checks, figures)


async def _for(clients: Clients, seconds: float, n_streams: int, n_whole: int) -> None:
    """Let clients send for a time, and wait for their last answers."""
    running = asyncio.create_task(clients.run(n_streams, n_whole))
    await asyncio.wait({running}, timeout=seconds)
    clients.is_stopping = True
    await running


async def _stopped(under: _Under, clients: Clients, n_streams: int, n_whole: int) -> float:
    """Stop the server in the middle of load; return the seconds until it has ended."""
    running = asyncio.create_task(clients.run(n_streams, n_whole))
    await asyncio.sleep(_FIRST_S)
    under.server.terminate()
    started = time.perf_counter()
    # Processes set no events of asyncio.
    while under.server.exit_code is None and time.perf_counter() - started < 3 * _STOP_S:  # noqa: ASYNC110
        await asyncio.sleep(0.02)
    seconds = time.perf_counter() - started
    clients.is_stopping = True
    await running
    return seconds


async def _keep_sampling(under: _Under, samples: list[Sample]) -> None:
    started = time.perf_counter()
    while True:
        await asyncio.sleep(1.0)
        samples.append(await _sample(under, time.perf_counter() - started))


async def _sample(under: _Under, time_s: float) -> Sample:
    under.held.unlink(missing_ok=True)
    os.kill(under.server.pid, signal.SIGUSR2)
    while not under.held.is_file():  # noqa: ASYNC110 - another process writes it
        await asyncio.sleep(0.01)
    held = json.loads(under.held.read_text(encoding="utf-8"))
    now = under.server.footprint()
    return Sample(time_s, now.rss_mib, now.n_files, now.n_threads, held["n_tasks"])


def _in_flight(url: str) -> dict[str, float]:
    """Return what the server's own metrics say is under way."""
    with urlopen(url.removesuffix("/v1") + "/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    names = ("thinkroute_in_flight", "thinkroute_waiting")
    return {line.split()[0]: float(line.split()[1]) for line in lines if line.startswith(names)}


def _rows(log: Path) -> list[tuple[str, int, str]]:
    """Return identity, status and error of each row of the decision log."""
    connection = sqlite3.connect(f"file:{log}?mode=ro", uri=True)
    try:
        return connection.execute("SELECT id, status, error FROM served").fetchall()
    finally:
        connection.close()


def _check_ends(loaded: Sequence[Ended], stopping: Sequence[Ended]) -> list[Check]:
    bad = [one for one in (*loaded, *stopping) if one.end == "bad"]
    n_unanswered = sum(one.end == "unanswered" for one in loaded)
    n_whole = sum(one.end == "whole" for one in loaded)
    return [
        Check("every request ends whole or with a clear error", not bad, f"{len(bad)} do not"),
        Check("none stays without an answer", not n_unanswered, f"{n_unanswered} do"),
        Check(
            "most are answered whole",
            n_whole >= 0.85 * len(loaded),
            f"{n_whole} of {len(loaded)}",
        ),
    ]


def _check_resources(
    idle: Sample,
    early: Sequence[Sample],
    late: Sequence[Sample],
    quiet: Sample,
    in_flight: Mapping[str, float],
) -> list[Check]:
    before, after = (median(one.rss_mib for one in part) for part in (early, late))
    files, more_files = (median(one.n_files for one in part) for part in (early, late))
    tasks, more_tasks = (median(one.n_tasks for one in part) for part in (early, late))
    # Half as many again is far above how medians of 30 samples vary, and far below a leak.
    return [
        Check(
            "memory grows by less than a tenth",
            after < before * (1 + _MOST_GROWTH),
            f"{before:.1f} to {after:.1f} MiB",
        ),
        Check(
            "open files stay flat",
            more_files <= 1.5 * files and quiet.n_files <= idle.n_files + 2,
            f"{files:g} to {more_files:g} under load, {idle.n_files} and {quiet.n_files} at rest",
        ),
        Check(
            "tasks stay flat",
            more_tasks <= 1.5 * tasks and quiet.n_tasks <= idle.n_tasks + 1,
            f"{tasks:g} to {more_tasks:g} under load, {idle.n_tasks} and {quiet.n_tasks} at rest",
        ),
        Check(
            "nothing is in flight at rest", not any(in_flight.values()), json.dumps(dict(in_flight))
        ),
    ]


def _check_log(everyone: Sequence[Ended], rows: Sequence[tuple[str, int, str]]) -> list[Check]:
    by_id = {row[0]: row for row in rows}
    n_sent = sum(one.end != "unanswered" for one in everyone)
    known = [one for one in everyone if one.decision_id]
    missing = [one for one in known if one.decision_id not in by_id]
    wrong = [
        one
        for one in known
        if one.end == "whole" and by_id.get(one.decision_id, ("", 200, ""))[1:] != (200, "")
    ]
    return [
        Check(
            "the log has one row for each request",
            len(rows) == n_sent == len(by_id) and not missing,
            f"{len(rows)} rows, {n_sent} requests, {len(missing)} of the clients' identities missing",
        ),
        Check("the log knows whole answers as such", not wrong, f"{len(wrong)} otherwise"),
    ]


def _check_stop(server: Process, stop_s: float) -> list[Check]:
    code = server.exit_code
    return [
        Check(
            "it stops in time, without an error",
            code == 0 and stop_s <= _STOP_S,
            f"exit code {code} after {stop_s:.1f} s",
        ),
        Check("it says nothing unexpected", "Traceback" not in server.told(), "see stderr"),
    ]


def _counted(ended: Sequence[Ended]) -> dict[str, dict[str, int]]:
    """Return how often requests ended in each way, by API."""
    counts: dict[str, Counter[str]] = {}
    for one in ended:
        why = one.why if one.end in {"refused", "broken", "unanswered"} else ""
        counts.setdefault(one.what, Counter())[f"{one.end} {why}".strip()] += 1
    return {what: dict(counter.most_common()) for what, counter in sorted(counts.items())}


def main() -> int:
    """Run the soak, print its document, and say by the exit status whether all checks are met."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long there is load")
    parser.add_argument("--streams", type=int, default=50, help="clients that stream")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        soak = run_soak(arguments.minutes, arguments.streams, Path(folder))
    print(json.dumps(soak.to_json(), indent=2))
    for check in soak.checks:
        print(f"{'ok  ' if check.is_met else 'FAIL'} {check.name}: {check.found}", file=sys.stderr)
    return 0 if soak.is_passed else 1


if __name__ == "__main__":
    sys.exit(main())
