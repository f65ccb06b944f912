"""Running a server in this process until it is told to stop."""

import asyncio
import gc
import signal
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from policies import ConfigError, MissingPrerequisiteError

from .._router import Router

if TYPE_CHECKING:
    from ._settings import ServerSettings

__all__ = ["run"]


def _nothing(number: int, frame: object) -> None:
    pass


_SWITCH_S = 5e-4
_MOST_HEAD_BYTES = 128 * 2**10
_CLOSING_S = 1.0
"""Of the time to stop, what is kept for telling clients, and for closing log and connections."""


def run(router: Router, settings: "ServerSettings", on_ready: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT; requests under way are finished first.

    Args:
        router: Decides.
        settings: Everything else.
        on_ready: Called with the server's address once it can serve.

    Raises:
        ConfigError: The address cannot be listened on, or see `Server`.
        InvalidInputError: Something in the settings cannot be used.
        BackendError: A model in this process cannot be loaded.
        MissingPrerequisiteError: A package of the extra `serve` is missing.
    """
    try:
        import uvicorn
        import uvloop
        from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
    except ImportError as error:
        raise MissingPrerequisiteError.extra("serve", error.name or "uvicorn") from error
    from ._app import Server, create_app

    server = Server(router, settings)

    class Bounded(HttpToolsProtocol):
        """Cuts connections whose request line and headers are longer than anything sensible."""

        _n_head_bytes = 0
        _is_in_head = True

        def on_message_begin(self) -> None:
            super().on_message_begin()
            self._is_in_head = True

        def on_headers_complete(self) -> None:
            self._is_in_head = False
            super().on_headers_complete()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._n_head_bytes = self._n_head_bytes + len(data) if self._is_in_head else 0
            if self._n_head_bytes > _MOST_HEAD_BYTES:
                self.transport.abort()

    class Draining(uvicorn.Server):
        """Tells when it listens, and ends what is still under way shortly before its time is up."""

        async def startup(self, sockets: Any = None) -> None:
            # Here and not as the application starts, where uvicorn would tell the error its way.
            try:
                await server.start()
            except BaseException:
                await server.stop()
                raise
            await super().startup(sockets)
            # What is here now stays: looking through all of it again and again for garbage, with
            # every request waiting, would take longer than most of them.
            gc.collect()
            gc.freeze()
            if not self.should_exit:
                host, port = self.servers[0].sockets[0].getsockname()[:2]
                on_ready(f"http://{f'[{host}]' if ':' in host else host}:{port}")

        async def shutdown(self, sockets: Any = None) -> None:
            server.drain()
            left_s = max(settings.drain_s - _CLOSING_S, 0.1)
            ending = asyncio.get_running_loop().call_later(left_s, server.working.stop)
            try:
                await super().shutdown(sockets)
            finally:
                ending.cancel()

    config = uvicorn.Config(
        create_app(server),
        host=settings.host,
        port=settings.port,
        http=Bounded,
        ws="none",
        lifespan="on",
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=max(int(settings.drain_s), 1),
    )
    serving = Draining(config)
    # How long the thread that serves may wait for the one that writes the log; 5 ms by default.
    sys.setswitchinterval(_SWITCH_S)
    # uvicorn raises the signal again when it has stopped, and that would end the process as
    # if nothing had been finished.
    before = signal.signal(signal.SIGTERM, _nothing)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serving.serve())
    except SystemExit as error:
        raise ConfigError(
            f"{settings.host}:{settings.port} cannot be listened on",
            hint="see the line above; choose another --port",
        ) from error
    finally:
        signal.signal(signal.SIGTERM, before)
    if not serving.started:
        raise ConfigError("the server could not start", hint="see the lines above")
