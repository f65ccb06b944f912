"""The server: its parts put together, and its routes."""

import asyncio
import contextlib
import ipaddress
import json
import math
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from policies import (
    BackendError,
    ConfigError,
    GenerationRequest,
    StoreError,
    Tokenizes,
    user_message,
)

from .._admission import Conditions
from .._completion import BackendPool
from .._router import Router
from ._callers import Callers
from ._endpoints import Endpoints, read_json
from ._gate import Gate
from ._metrics import Metrics
from ._openapi import docs_page, openapi_document
from ._problems import ProblemError, log_unexpected, problem_of
from ._record import ServedRequest
from ._schema import FeedbackRequest, check
from ._service import ChatService
from ._settings import ServerSettings, served_models
from ._status import StatusBoard
from ._status_routes import status_routes
from ._telemetry import Telemetry
from ._wishes import NAME, TIERS, Wishes
from ._working import Working
from .decision_log import LogStore, LogWriter, open_log

if TYPE_CHECKING:
    from ._status import LogState
    from ._status import UpstreamState as ShownUpstream

__all__ = ["Server", "create_app"]

_CHAT = "/v1/chat/completions"
_FEEDBACK_BYTES = 10_000
_UNKNOWN_CALLER = 401
_CLOSING_S = 0.5
"""Time beyond that of requests under way in which the log is written."""
Endpoint = Callable[[Request], Awaitable[Any]]


class Server:
    """A router behind an OpenAI-compatible API. Belongs to the event loop that it is started in."""

    def __init__(self, router: Router, settings: ServerSettings) -> None:
        """Put the parts together; nothing is asked or opened yet.

        Args:
            router: Decides.
            settings: Everything else.

        Raises:
            InvalidInputError: Something in the settings cannot be used.
            ConfigError: A key's variable is not set, or nobody said how a model is reached.
            MissingPrerequisiteError: A package of the extra `serve` is missing.
        """
        self.settings = settings
        self.router = router
        self.working = Working()
        self.gate = Gate(settings.gate)
        self.metrics = Metrics()
        self._telemetry = Telemetry()
        _check_caps(router, settings)
        self.callers = Callers(settings.keys)
        self.board = StatusBoard(
            show_texts=settings.shows_texts, needs_key=self.callers.asks_for_keys
        )
        specs = {**router.reached, **settings.reached}
        self.models = served_models(specs, settings)
        self._pools = list(dict.fromkeys(one.pool for one in self.models.values()))
        self._backends = BackendPool({}, specs)
        if settings.log is not None:
            self._check_log()
        self._log: LogWriter | None = None
        self._is_ready = False
        self._stop_by = math.inf
        created = datetime.fromisoformat(router.describe()["created"])
        self._created = int(created.timestamp())
        self.service = ChatService(
            router,
            models=self.models,
            backends=self._backends,
            wishes=Wishes(
                router.arms,
                {tier: router.objective_losing(loss) for tier, loss in TIERS.items()},
                settings.aliases,
            ),
            rules=settings.rules,
        )
        self.endpoints = Endpoints(
            self.service,
            callers=self.callers,
            gate=self.gate,
            working=self.working,
            max_body_bytes=settings.max_body_bytes,
            note=self.note,
        )

    def note(self, record: ServedRequest) -> None:
        """Count a request that has ended, and hand it to the log."""
        self.metrics.note(record)
        self.board.note(record)
        self._telemetry.note(record, record.traceparent)
        # Whoever has no key could fill the log; such requests are counted above.
        if self._log is not None and record.status != _UNKNOWN_CALLER:
            self._log.put(record)

    async def start(self) -> None:
        """Open the log and the connections, load models, and become ready; once is enough.

        Raises:
            InvalidInputError: There is no such model.
            BackendError: A model cannot be loaded.
        """
        if self._is_ready:
            return
        if self.settings.log is not None:
            self._log = LogWriter(self._open_log)
        for pool in self._pools:
            await pool.start()
        for model in {arm.model for arm in self.router.arms} - self.models.keys():
            backend = self._backends.get(model)
            if isinstance(backend, Tokenizes):
                # Some load the model's words first, and the model itself when it is asked.
                await backend.encode("ready?")
                await backend.generate(GenerationRequest(user_message("ready?"), max_tokens=1))
        with contextlib.suppress(BackendError):  # An embedder that is down: requests say so.
            await self.router.admit("ready?", Conditions())
        self._is_ready = True

    async def stop(self) -> None:
        """End what is left, write what is waiting, close everything."""
        self._is_ready = False
        self.working.stop()
        for pool in self._pools:
            await pool.aclose()
        await self._backends.aclose()
        if self._log is not None:
            left_s = min(max(self._stop_by - time.monotonic(), 0.5), 10.0)
            await asyncio.to_thread(self._log.close, left_s)

    def drain(self) -> None:
        """Say that no more requests are wanted; those under way go on."""
        self._stop_by = time.monotonic() + self.settings.drain_s + _CLOSING_S
        self._is_ready = False

    def _check_log(self) -> None:
        """Refuse a log that will never do; one that is down for now will be tried again."""
        try:
            self._open_log().close()
        except StoreError as error:
            if error.code != "store-unavailable":
                raise

    def _open_log(self) -> LogStore:
        return open_log(
            self.settings.log or "",
            store_prompts=self.settings.stores_prompts,
            salt=self.settings.log_salt.get_secret_value().encode(),
            known_words=self.router.known_words(),
        )

    async def healthz(self, _: Request) -> Response:
        """`GET /healthz`: the process answers."""
        return PlainTextResponse("ok")

    async def readyz(self, _: Request) -> Response:
        """`GET /readyz`: it can serve."""
        problems: list[str] = []
        if not self._is_ready:
            problems.append("starting or stopping")
        are_all_served = len(self.models) == len({arm.model for arm in self.router.arms})
        if are_all_served and not any(_is_up(pool) for pool in self._pools):
            problems.append("no upstream is up")
        if problems:
            return JSONResponse({"ready": False, "problems": problems}, 503)
        return JSONResponse({"ready": True})

    async def list_models(self, request: Request) -> Response:
        """`GET /v1/models`."""
        self.callers.identify(dict(request.headers))
        data = [self._model(name) for name in self.service.wishes.names()]
        return JSONResponse({"object": "list", "data": data})

    async def show_model(self, request: Request) -> Response:
        """`GET /v1/models/NAME`."""
        self.callers.identify(dict(request.headers))
        name = request.path_params["name"]
        if name not in self.service.wishes.names():
            raise ProblemError(404, "model_not_found", f"there is no model {name!r}")
        return JSONResponse(self._model(name))

    def _model(self, name: str) -> dict[str, Any]:
        return {"id": name, "object": "model", "created": self._created, "owned_by": NAME}

    async def feedback(self, request: Request) -> Response:
        """`POST /v1/feedback`: what became of an answer."""
        headers = dict(request.headers)
        self.callers.identify(headers)
        body = await read_json(request, headers, _FEEDBACK_BYTES)
        check(FeedbackRequest, body)
        outcome, score = body.get("outcome"), body.get("score")
        if (outcome is None) == (score is None):
            raise ProblemError(400, "invalid-request", "give either outcome or score")
        if self._log is None:
            raise ProblemError(
                404, "no-log", "the server keeps no decision log; start it with --log"
            )
        try:
            await asyncio.to_thread(
                self._log.feedback, body["decision_id"], outcome=outcome, score=score
            )
        except StoreError as error:
            raise problem_of(error) from error
        except Exception as error:
            problem = problem_of(error)
            if problem.code == "unknown-decision":
                raise ProblemError(404, problem.code, problem.message) from error
            raise
        return JSONResponse({"decision_id": body["decision_id"], "recorded": True})

    async def expose_metrics(self, request: Request) -> Response:
        """`GET /metrics`: for Prometheus."""
        self.callers.identify(dict(request.headers), as_admin=True)
        log = self._log
        states = {} if log is None else {"waiting": log.n_waiting, "dropped": log.n_dropped}
        text, kind = self.metrics.exposition(
            n_in_flight=self.gate.n_in_flight,
            n_waiting=self.gate.n_waiting,
            upstreams=[(name, s) for name, one in self.models.items() for s in one.pool.states()],
            log=states,
        )
        return Response(text, media_type=kind)

    def snapshot(self) -> dict[str, object]:
        """Return the numbers of the status page."""
        upstreams: list[ShownUpstream] = [
            {
                "model": name,
                "url": state.url,
                "is_up": state.is_up,
                "in_flight": state.in_flight,
                "state": state.state,
                "reason": state.reason,
                "n_failed": state.n_failed,
            }
            for name, one in self.models.items()
            for state in one.pool.states()
        ]
        log: LogState | None = None
        if self._log is not None:
            log = {
                "is_down": self._log.is_down,
                "n_waiting": self._log.n_waiting,
                "n_dropped": self._log.n_dropped,
            }
        return self.board.snapshot(
            n_in_flight=self.gate.n_in_flight,
            n_waiting=self.gate.n_waiting,
            upstreams=upstreams,
            decision_log=log,
        )


def _check_caps(router: Router, settings: ServerSettings) -> None:
    """Refuse caps that could not be kept.

    Raises:
        ConfigError: A key has a cap on money and a model no price, or names an arm that is none.
    """
    names = {arm.name for arm in router.arms}
    for name, key in settings.keys.items():
        unpriced = sorted({arm.model for arm in router.arms} - router.prices.keys())
        if key.max_usd is not None and unpriced:
            raise ConfigError(
                f"keys.{name}.max_usd cannot be kept: {', '.join(unpriced)} has no price",
                hint="fit the router with prices, or use max_tokens",
            )
        unknown = sorted((key.dear_arms or frozenset()) - names)
        if unknown:
            raise ConfigError(
                f"keys.{name}.dear_arms names {unknown[0]!r}, which is no arm",
                hint=f"the arms are {', '.join(sorted(names))}",
            )


def create_app(server: Server) -> Starlette:
    """Return the ASGI application of a server; it starts and stops with the application."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        await server.start()
        try:
            yield
        finally:
            await server.stop()

    def as_admin(endpoint: Endpoint) -> Endpoint:
        async def checked(request: Request) -> Any:
            try:
                server.callers.identify(dict(request.headers), as_admin=True)
            except ProblemError as problem:
                # What makes a browser ask for the key.
                headers = {"www-authenticate": f'Basic realm="{NAME}"'}
                return JSONResponse(problem.to_json(), problem.status, headers)
            return await endpoint(request)

        return checked

    document = json.dumps(openapi_document())

    async def openapi(_: Request) -> Response:
        return Response(document, media_type="application/json")

    async def docs(_: Request) -> Response:
        return docs_page()

    routes = [
        Route(_CHAT, server.endpoints.chat, methods=["POST"]),
        Route("/v1/completions", server.endpoints.completions, methods=["POST"]),
        Route("/v1/responses", server.endpoints.responses, methods=["POST"]),
        Route("/v1/models", server.list_models, methods=["GET"]),
        Route("/v1/models/{name:path}", server.show_model, methods=["GET"]),
        Route("/v1/feedback", server.feedback, methods=["POST"]),
        Route("/healthz", server.healthz, methods=["GET"]),
        Route("/readyz", server.readyz, methods=["GET"]),
        Route("/metrics", server.expose_metrics, methods=["GET"]),
        Route("/openapi.json", openapi, methods=["GET"]),
        Route("/docs", docs, methods=["GET"]),
        *(
            Route(route.path, as_admin(route.endpoint), methods=["GET"])
            for route in status_routes(server.snapshot)
        ),
    ]
    app = Starlette(routes=routes, lifespan=lifespan)
    # It would send clients, keys and all, to whatever host their request names.
    app.router.redirect_slashes = False
    app.add_exception_handler(ProblemError, _told)
    app.add_exception_handler(404, _no_such_path)
    app.add_exception_handler(405, _wrong_method)
    app.add_exception_handler(Exception, _told)
    front: Any = _Front(app, server)
    return front


class _Front:
    """What every request meets first.

    It refuses names under which only other sites' pages would address a server without keys, and
    takes chats to their endpoint by itself, which answers its own errors: the layers that catch
    those of all other routes take as long as a tenth of what we add to an answer.
    """

    def __init__(self, app: Starlette, server: Server) -> None:
        self._app = app
        self._chat = server.endpoints.chat
        self._is_open = server.callers.asks_for_keys
        self._hosts = {name.lower() for name in server.settings.hosts} | {"localhost"}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and not self._is_open and not self._is_known(scope["headers"]):
            problem = ProblemError(
                421,
                "unknown-host",
                "the server does not know this name; start it with --allow-host",
            )
            response = JSONResponse(problem.to_json(), problem.status)
            await response(scope, receive, send)
        elif scope.get("path") == _CHAT and scope["method"] == "POST":
            answer = await self._chat(Request(scope, receive))
            await answer(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _is_known(self, headers: list[tuple[bytes, bytes]]) -> bool:
        raw = next((value for name, value in headers if name == b"host"), b"")
        host = raw.decode("latin-1").lower()
        name = host.partition("]")[0].strip("[") if host.startswith("[") else host.partition(":")[0]
        if name in self._hosts or not name:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


async def _told(_: Request, error: Exception) -> Response:
    log_unexpected(error)
    problem = problem_of(error)
    return JSONResponse(problem.to_json(), problem.status, problem.headers())


async def _no_such_path(request: Request, _: Exception) -> Response:
    problem = ProblemError(404, "not-found", f"there is nothing at {request.url.path[:200]!r}")
    return JSONResponse(problem.to_json(), problem.status)


async def _wrong_method(request: Request, error: Exception) -> Response:
    problem = ProblemError(405, "method-not-allowed", f"{request.method} is not possible here")
    headers = dict(getattr(error, "headers", None) or {})
    return JSONResponse(problem.to_json(), problem.status, headers)


def _is_up(pool: Any) -> bool:
    return any(state.is_up for state in pool.states())
