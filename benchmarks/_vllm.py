"""The vLLM server that some benchmarks need: a pocket model on the CPU, started for the block.

With THINKROUTE_BENCH_VLLM (a base URL ending in `/v1`) a running server is taken instead; it has
to serve `pocket-m` under that name.
"""

import os
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from policies.backends.openai import OpenAIBackend
from tests.vllm.serving import PYTHON, ROOT, serve_vllm

__all__ = [
    "CONCURRENCY",
    "CONFIG",
    "MODEL",
    "ROOT",
    "backend_to",
    "generated_tokens",
    "served",
    "server_cpu_s",
    "why_not",
]

MODEL = "pocket-m"
CONFIG = ROOT / "models" / MODEL / "config.json"
CONCURRENCY = 16
_RUNNING = "THINKROUTE_BENCH_VLLM"
_COUNTER = "vllm:generation_tokens_total"


def why_not() -> str | None:
    """Return why there is no server, `None` if there is one."""
    if os.environ.get(_RUNNING) or PYTHON.exists():
        return None
    return f"{PYTHON.parent.parent.name} is missing: run scripts/make_venv_vllm.sh"


@contextmanager
def served() -> Generator[str]:
    """Yield the base URL of a server of `MODEL`.

    Raises:
        RuntimeError: The server did not start.
    """
    running = os.environ.get(_RUNNING)
    if running:
        yield running.rstrip("/")
        return
    with (
        tempfile.TemporaryDirectory() as folder,
        serve_vllm(CONFIG.parent, Path(folder) / "server.log", model=MODEL) as server,
    ):
        yield server.base_url


def backend_to(base_url: str) -> OpenAIBackend:
    """Return our client of a server."""
    return OpenAIBackend(MODEL, base_url, max_concurrency=CONCURRENCY, timeout_s=300.0)


def generated_tokens(base_url: str) -> float:
    """Return how many tokens a server has generated since it started, as it counts them itself."""
    import httpx

    text = httpx.get(f"{base_url.removesuffix('/v1')}/metrics", timeout=30).text
    lines = [line for line in text.splitlines() if line.startswith(_COUNTER)]
    if not lines:
        raise RuntimeError(f"the server's metrics have no {_COUNTER}")
    return sum(float(line.rpartition(" ")[2]) for line in lines)


def server_cpu_s(base_url: str) -> float | None:
    """Return the processor time that a server and its engine have taken so far, in seconds.

    `None` where it cannot be read: the server runs elsewhere, or this is no Linux. Processes that
    others run beside it make it wait, but do not add to it.
    """
    port = f"--port\0{urlsplit(base_url).port}\0".encode()
    ticks: dict[str, int] = {}
    leader: str | None = None
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            # The name, in brackets, may hold spaces; state, parent and group come after it.
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if port in (folder / "cmdline").read_bytes():
                leader = fields[2]
        except OSError:  # It has ended meanwhile.
            continue
        ticks[fields[2]] = ticks.get(fields[2], 0) + int(fields[11]) + int(fields[12])
    return None if leader is None else ticks[leader] / os.sysconf("SC_CLK_TCK")
