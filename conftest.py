"""What all tests and docstring examples share: no network, no keys, plain output."""

import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest

KEYS = ("ANTHROPIC_API_KEY", "AZURE_API_KEY", "GEMINI_API_KEY", "HF_TOKEN", "OPENAI_API_KEY")
NETWORK_MARKERS = ("network", "gpu", "vllm", "train")


def pytest_configure() -> None:
    """Set what subprocesses inherit too, before anything is imported."""
    import signal

    from hypothesis import settings

    # Shells start background jobs with interrupts ignored, which children would inherit.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # How long an example takes says nothing on a busy machine; benchmarks measure speed.
    settings.register_profile("thinkroute", deadline=None)
    settings.load_profile("thinkroute")
    for name in [name for name in os.environ if name.startswith("THINKROUTE_") or name in KEYS]:
        # Where the clients, the model of the vLLM tests and the wheels of the schema tests lie.
        if name not in {"THINKROUTE_CLIENTS_DIR", "THINKROUTE_POCKET_DIR", "THINKROUTE_WHEELS"}:
            del os.environ[name]
    os.environ |= {
        "NO_COLOR": "1",
        "COLUMNS": "100",
        # Typer takes a terminal for granted where GITHUB_ACTIONS is set.
        "_TYPER_FORCE_DISABLE_TERMINAL": "1",
        # litellm would otherwise download a price list when it is imported.
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    }


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep tests away from the cache folder of whoever runs them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def no_network(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail a test that reaches beyond this machine, unless its marker allows it."""
    if any(request.node.get_closest_marker(name) for name in NETWORK_MARKERS):
        return
    connect, connect_ex, getaddrinfo = (
        socket.socket.connect,
        socket.socket.connect_ex,
        socket.getaddrinfo,
    )

    def check(host: object) -> None:
        name = host.decode() if isinstance(host, bytes) else host
        local = name is None or (isinstance(name, str) and _is_local(name))
        if not local:
            pytest.fail(f"this test reached for the network: {name!r}")

    def checked_connect(self: socket.socket, address: Any) -> None:
        if self.family != getattr(socket, "AF_UNIX", None):
            check(address[0])
        connect(self, address)

    def checked_connect_ex(self: socket.socket, address: Any) -> int:
        if self.family != getattr(socket, "AF_UNIX", None):
            check(address[0])
        return connect_ex(self, address)

    def checked_getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
        check(host)
        return getaddrinfo(host, *args, **kwargs)

    monkeypatch.setattr(socket.socket, "connect", checked_connect)
    monkeypatch.setattr(socket.socket, "connect_ex", checked_connect_ex)
    monkeypatch.setattr(socket, "getaddrinfo", checked_getaddrinfo)


def _is_local(host: str) -> bool:
    # Names under `.invalid` never resolve (RFC 6761): tests use them for unreachable servers.
    return host in {"", "localhost", "::1"} or host.startswith("127.") or host.endswith(".invalid")
