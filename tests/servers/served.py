"""A `router.server.Server` that listens on 127.0.0.1, from a thread of its own."""

import threading
import time
from collections.abc import Generator
from contextlib import contextmanager

import uvicorn

from router.server import Server, create_app

__all__ = ["listening"]


@contextmanager
def listening(server: Server) -> Generator[str]:
    """Serve, and yield the address."""
    config = uvicorn.Config(
        create_app(server),
        port=0,
        log_level="critical",
        ws="none",
        lifespan="on",
        timeout_graceful_shutdown=3,
    )
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 20
    while not running.started:
        assert thread.is_alive(), "the server did not start"
        assert time.monotonic() < deadline, "the server took too long to start"
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{running.servers[0].sockets[0].getsockname()[1]}"
    finally:
        running.should_exit = True
        thread.join(10)
        assert not thread.is_alive()
