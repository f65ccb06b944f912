"""What the tests of the status page share: a made-up day, a server of its page, a real browser."""

import math
import shutil
import socket
import threading
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from policies import Usage
from router.server._record import ServedRequest
from router.server._status import LogState, StatusBoard, UpstreamState
from router.server._status_routes import status_routes

if TYPE_CHECKING:
    from playwright.sync_api import Browser

NOON = 1_767_355_200.0  # 2026-01-02 12:00:00 UTC
CHROMIUM_ARGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-quic",
    "--no-first-run",
    "--disable-component-update",
    "--disable-sync",
]
UP: UpstreamState = {
    "model": "qwen3-8b",
    "url": "http://10.0.0.7:8000/v1",
    "is_up": True,
    "in_flight": 5,
    "state": "closed",
    "reason": "",
    "n_failed": 0,
}
DOWN: UpstreamState = {
    "model": "qwen3-32b",
    "url": "http://10.0.0.8:8000/v1",
    "is_up": False,
    "in_flight": 0,
    "state": "open",
    "reason": "connection refused",
    "n_failed": 7,
}
LOG: LogState = {"is_down": False, "n_waiting": 3, "n_dropped": 0}


class Clock:
    def __init__(self, now_s: float = NOON) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s


def served(number: int, time_s: float, **fields: object) -> ServedRequest:
    """Return a plain record, but for what a test names."""
    plain: dict[str, object] = {
        "decision_id": f"{number:08x}ffffffff",
        "time_s": time_s,
        "endpoint": "chat",
        "asked": "thinkroute",
        "arm": "qwen3-8b:direct",
        "status": 200,
        "seconds": 1.5,
    }
    return ServedRequest(**(plain | fields))  # type: ignore[arg-type]


def busy_day(n_requests: int = 240, show_texts: bool = False) -> tuple[StatusBoard, Clock]:
    """Return a board that has seen a mixed quarter of an hour, and its clock."""
    clock = Clock(NOON - 8000.0)
    board = StatusBoard(clock, show_texts=show_texts)
    arms = (
        ("qwen3-8b:direct", None, ("target-met", "cheapest", "task-guessed"), 64, 7.1e11),
        ("qwen3-8b:reasoning@512", 512, ("target-met", "task-given"), 410, 6.9e12),
        ("qwen3-8b:direct", None, ("target-met", "cheapest", "task-guessed"), 51, 7.1e11),
        ("qwen3-32b:reasoning@max", "max", ("target-unreachable", "most-accurate"), 2950, 1.7e14),
        ("qwen3-8b:reasoning@512", 512, ("target-met", "explored"), 497, 6.9e12),
    )
    callers = ("search", "billing", "search", "notebooks")
    for number in range(n_requests):
        # Thick and thin seconds over the last minute, as real traffic has them.
        part = number / n_requests
        clock.now_s = NOON - 58.0 + 57.0 * (part + 0.033 * math.sin(9.0 * math.pi * part))
        arm, budget, reasons, tokens, flops = arms[number % len(arms)]
        is_broken = number % 40 == 37
        board.note(
            served(
                number * 2_654_435_761 % 2**32,
                clock.now_s - 1.5,
                asked=("thinkroute", "thinkroute:cheap")[number % 3 == 1],
                arm=arm,
                budget=budget,
                reasons=reasons,
                p=0.62 + (number * 37 % 31) / 100,
                expected_flops=flops,
                reference_tokens=1800.0,
                reference_flops=2.1e14,
                usage=None if is_broken else Usage(180 + number, tokens + number),
                status=502 if is_broken else 200,
                error="upstream-failed" if is_broken else "",
                decision_s=0.0011 + number * 1e-6,
                added_s=0.0019 + number * 1e-6,
                caller=callers[number % len(callers)],
            )
        )
    clock.now_s = NOON
    return board, clock


class Site:
    """The routes behind a real server in a thread; what they show can be changed at any time."""

    def __init__(self, document: Mapping[str, object]) -> None:
        self.document = document
        self.n_asked = 0
        self.url = ""
        self._stop = lambda: None

    def _snapshot(self) -> Mapping[str, object]:
        self.n_asked += 1
        return self.document

    def start(self, port: int = 0) -> None:
        """Serve on a port of 127.0.0.1, a free one if none is named."""
        import uvicorn
        from starlette.applications import Starlette

        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        app = Starlette(routes=list(status_routes(self._snapshot)))
        config = uvicorn.Config(app, ws="none", lifespan="off", log_level="error", loop="asyncio")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}/"

        def stop() -> None:
            server.should_exit = True
            server.force_exit = True  # browsers keep their connections
            thread.join(10)
            listener.close()

        self._stop = stop
        deadline = time.monotonic() + 10
        while not server.started and time.monotonic() < deadline:
            time.sleep(0.01)
        assert server.started

    @property
    def port(self) -> int:
        return int(self.url.rsplit(":", 1)[1].rstrip("/"))

    def stop(self) -> None:
        self._stop()
        self._stop = lambda: None


@contextmanager
def chromium() -> "Generator[Browser]":
    """Start the system's Chromium, or skip with what is missing."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: pip install playwright"
    )
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("there is no chromium on PATH: apt install chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=CHROMIUM_ARGS)
        try:
            yield browser
        finally:
            browser.close()
