"""An OpenAI-compatible server that decides, per query, whether the model thinks and for how long.

Needs the extra `serve`. `advisor serve` runs it; `Server` and `create_app` put it into an
application of your own.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._app import Server, create_app
    from ._callers import KeySettings, read_keys
    from ._gate import GateLimits
    from ._record import ServedRequest
    from ._run import run
    from ._service import Rules
    from ._settings import ServerSettings

__all__ = [
    "GateLimits",
    "KeySettings",
    "Rules",
    "ServedRequest",
    "Server",
    "ServerSettings",
    "create_app",
    "read_keys",
    "run",
]

_MODULE_OF = {
    "GateLimits": "_gate",
    "KeySettings": "_callers",
    "Rules": "_service",
    "ServedRequest": "_record",
    "Server": "_app",
    "ServerSettings": "_settings",
    "create_app": "_app",
    "read_keys": "_callers",
    "run": "_run",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_MODULE_OF[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
