"""Sends JSON to an OpenAI-compatible server through the `openai` SDK; retries live here."""

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar, cast
from urllib.parse import urlsplit

from pydantic import SecretStr

from ..._errors import (
    BackendConnectionError,
    BackendError,
    BackendTimeoutError,
    InvalidInputError,
    MissingPrerequisiteError,
)
from .._json import Json
from .._pace import Pace
from .._retry import MAX_RETRY_AFTER_S, backoff_s, retrying
from ..http_errors import Origin, error_of_status, one_line

if TYPE_CHECKING:
    import httpx
    from openai import AsyncOpenAI, Omit
    from openai._types import RequestOptions

__all__ = ["ClientSettings", "OpenAIClient", "checked_url"]

_T = TypeVar("_T")
_CONNECT_S = 10.0
# Below the 5 s after which servers built on uvicorn, vLLM among them, close a connection that is not
# used: a request must not meet one that is about to be closed.
_KEEP_ALIVE_S = 4.0
_SLOW_DOWN = (429, 503)
_NO_ACCESS = (401, 403)
# Taken from the environment by the SDK; a server that the user names must not get them unasked.
_ENVIRONMENT_HEADERS = ("OpenAI-Organization", "OpenAI-Project")


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """How a server is reached.

    Attributes:
        backend: Name of the backend, for errors.
        model: Model that is asked, for errors.
        base_url: Root of the API, checked.
        key: Sent as a bearer token; `None` sends none.
        key_variable: Environment variable from which a key would have been read, for errors.
        timeout_s: Longest time for one attempt.
        max_retries: Attempts after the first.
        max_concurrency: Most requests under way at once.
    """

    backend: str
    model: str
    base_url: str
    key: SecretStr | None
    timeout_s: float
    max_retries: int
    max_concurrency: int
    key_variable: str | None = None

    def __post_init__(self) -> None:
        """Refuse numbers that make no sense."""
        for name, value, least in (
            ("max_retries", self.max_retries, 0),
            ("max_concurrency", self.max_concurrency, 1),
        ):
            if value < least:
                raise InvalidInputError(f"{name} is {value!r}, expected >= {least}")
        if not self.timeout_s > 0:
            raise InvalidInputError(f"timeout_s is {self.timeout_s!r}, expected > 0")


@dataclass(frozen=True, slots=True)
class _Connection:
    """A client and its slots; both belong to one event loop."""

    loop: asyncio.AbstractEventLoop
    client: "AsyncOpenAI"
    pace: Pace


class OpenAIClient:
    """A connection pool that survives a change of event loop."""

    def __init__(self, settings: ClientSettings) -> None:
        """Keep the settings; nothing is sent yet."""
        self._settings = settings
        self._connection: _Connection | None = None
        self._is_closed = False

    async def call(
        self,
        path: str,
        read: Callable[[object, Origin], _T],
        body: Mapping[str, Json] | None = None,
        *,
        is_once: bool = False,
    ) -> _T:
        """Return what `read` makes of the server's JSON; post if there is a body, else get.

        Args:
            path: Path below the base URL, or a URL on the same server.
            read: Called with the document and where it came from; may raise `BackendError`.
            body: What to post.
            is_once: Whether somebody else repeats what fails.

        Raises:
            BackendError: The last attempt failed, or the failure was final.
        """

        async def attempt() -> _T:
            document, origin = await self._paced(path, body)
            try:
                return read(document, origin)
            except BackendError as error:
                raise self._scrubbed(error) from error.__cause__

        max_retries = 0 if is_once else self._settings.max_retries
        return await retrying(attempt, max_retries=max_retries, pause_s=self.pause_s)

    def pause_s(self, error: BackendError, n_failed: int) -> float:
        """Return the pause before a request is sent again, in seconds.

        It grows with a request's failures, but not while a server that refuses some requests
        serves others: then the pace keeps the next attempt from coming too early.
        """
        connection = self._connection
        if error.status_code in _SLOW_DOWN and connection is not None:
            return backoff_s(min(n_failed, connection.pace.n_fruitless))
        return backoff_s(n_failed)

    async def _paced(self, path: str, body: Mapping[str, Json] | None) -> tuple[object, Origin]:
        """Send once, as soon as the server's pace allows it."""
        connection = self._connected()
        async with connection.pace.slot() as sent_at:
            try:
                answer = await self._send(connection.client, path, body)
            except BackendError as error:
                if error.status_code in _SLOW_DOWN and error.retryable:
                    pause_s = error.retry_after_s or 0.0
                    # Nobody waits for a longer pause, see `retrying`.
                    pause_s = pause_s if pause_s <= MAX_RETRY_AFTER_S else 0.0
                    connection.pace.refused(sent_at, pause_s)
                raise
            connection.pace.succeeded()
            return answer

    async def is_reachable(self, path: str) -> bool:
        """Tell whether the server answers a get at all, whatever it answers."""
        try:
            await self.call(path, lambda document, origin: None, is_once=True)
        except BackendError as error:
            return error.status_code is not None and error.status_code not in (502, 503, 504)
        return True

    async def aclose(self) -> None:
        """Close the connections; later calls fail."""
        self._is_closed = True
        connection, self._connection = self._connection, None
        if connection is not None and connection.loop is asyncio.get_running_loop():
            await connection.client.close()

    def _connected(self) -> _Connection:
        settings = self._settings
        if self._is_closed:
            raise BackendError(
                "the backend is closed", backend=settings.backend, model=settings.model
            )
        loop = asyncio.get_running_loop()
        if self._connection is None or self._connection.loop is not loop:
            pace = Pace(settings.max_concurrency)
            self._connection = _Connection(loop, _new_client(settings), pace)
        return self._connection

    async def _send(
        self, client: "AsyncOpenAI", path: str, body: Mapping[str, Json] | None
    ) -> tuple[object, Origin]:
        import httpx
        import openai

        settings = self._settings
        started = time.perf_counter()
        try:
            async with asyncio.timeout(settings.timeout_s):
                options: RequestOptions = {"headers": _unasked_headers(settings.key)}
                if body is None:
                    response = await client.get(path, cast_to=httpx.Response, options=options)
                else:
                    response = await client.post(
                        path, cast_to=httpx.Response, body=body, options=options
                    )
        except (TimeoutError, openai.APITimeoutError) as error:
            raise BackendTimeoutError(
                f"no answer from {settings.base_url} within {settings.timeout_s:g} s",
                backend=settings.backend,
                model=settings.model,
            ) from error
        except openai.APIStatusError as error:
            origin = self._origin(error.response)
            failure = error_of_status(origin, error.response.headers, error.body)
            if error.status_code in _NO_ACCESS:
                failure.hint = self._key_hint(failure.hint)
            raise self._scrubbed(failure) from self._harmless(error)
        except openai.APIError as error:
            # Some causes have no words of their own, such as a connection that was closed.
            cause = error.__cause__ or error
            detail = one_line(str(cause)) or type(cause).__name__
            failure = BackendConnectionError(
                f"{settings.base_url} cannot be reached: {detail}",
                backend=settings.backend,
                model=settings.model,
                hint="check that the server runs and the base URL is right",
            )
            raise self._scrubbed(failure) from self._harmless(error)
        seconds = time.perf_counter() - started
        return self._document(response), self._origin(response, seconds)

    def _document(self, response: "httpx.Response") -> object:
        try:
            return cast("object", json.loads(response.content))
        except ValueError as error:
            kind = response.headers.get("content-type", "no content type")
            raise self._origin(response).nonsense(
                f"it is no JSON ({one_line(kind)}), it begins "
                f"{one_line(self.hidden(response.text[:80]))!r}",
                retryable=True,
                hint="check the base URL, which usually ends in /v1",
            ) from error

    def _origin(self, response: "httpx.Response", seconds: float = 0.0) -> Origin:
        return Origin(
            backend=self._settings.backend,
            model=self._settings.model,
            status_code=response.status_code,
            request_id=response.headers.get("x-request-id"),
            seconds=seconds,
        )

    def hidden(self, text: str) -> str:
        """Return text without the key, which some servers repeat in their errors."""
        key = self._settings.key.get_secret_value() if self._settings.key else ""
        return text.replace(key, "***") if key else text

    def _key_hint(self, usual: str) -> str:
        """Return what to do where access is denied: without a key, to give one."""
        variable = self._settings.key_variable
        if self._settings.key is None:
            where = f"the environment variable {variable} is not set" if variable else "give one"
            return f"no API key was sent: {where}"
        return f"{usual}, read from the environment variable {variable}" if variable else usual

    def _scrubbed(self, error: BackendError) -> BackendError:
        error.message = self.hidden(error.message)
        error.args = (error.message,)
        return error

    def _harmless(self, error: Exception) -> Exception:
        """Return a cause whose text may be shown."""
        text = f"{error} {error.__cause__}"
        if self.hidden(text) == text:
            return error
        return RuntimeError(f"{type(error).__name__}: {one_line(self.hidden(str(error)))}")


def checked_url(base_url: str) -> str:
    """Return a base URL in one spelling.

    Raises:
        InvalidInputError: It is not http or https, or carries credentials or a query, which
            would end up in logs; the message does not repeat them.
    """
    try:
        parts = urlsplit(base_url.strip())
        port = f":{parts.port}" if parts.port is not None else ""
        host = parts.hostname or ""
    except ValueError:
        raise InvalidInputError("base_url is no URL", code="invalid-base-url") from None
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise InvalidInputError(
            "base_url holds credentials, a query or a fragment",
            hint="pass the key as api_key",
            code="invalid-base-url",
        )
    if parts.scheme not in ("http", "https") or not host or "\\" in base_url:
        raise InvalidInputError(
            f"base_url {base_url!r} is no http or https URL",
            hint="write for example http://127.0.0.1:8000/v1",
            code="invalid-base-url",
        )
    host = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{host}{port}{parts.path.rstrip('/')}"


def _unasked_headers(key: SecretStr | None) -> "dict[str, str | Omit]":
    """Return the headers that the SDK must leave out."""
    from openai import Omit

    names = _ENVIRONMENT_HEADERS if key is not None else ("Authorization", *_ENVIRONMENT_HEADERS)
    return {name: Omit() for name in names}


def _new_client(settings: ClientSettings) -> "AsyncOpenAI":
    try:
        import httpx
        from openai import AsyncOpenAI
    except ImportError as error:
        raise MissingPrerequisiteError(
            f"the module {error.name!r} is not installed", hint="pip install openai"
        ) from error

    timeout = httpx.Timeout(
        settings.timeout_s, connect=min(_CONNECT_S, settings.timeout_s), pool=None
    )
    return AsyncOpenAI(
        api_key=settings.key.get_secret_value() if settings.key else "none",
        admin_api_key="",
        base_url=settings.base_url,
        max_retries=0,
        timeout=timeout,
        http_client=httpx.AsyncClient(
            timeout=timeout,
            limits=httpx.Limits(
                max_connections=settings.max_concurrency,
                max_keepalive_connections=settings.max_concurrency,
                keepalive_expiry=_KEEP_ALIVE_S,
            ),
            follow_redirects=False,
        ),
    )
