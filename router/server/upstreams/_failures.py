"""What goes wrong with an upstream, as errors of the product.

No text here repeats what a server says: that may hold the prompt or the key, and errors are
logged. Causes are not chained either, since those of the client library hold the sent headers.
The one thing passed on is the error document of a refusal, without the key.
"""

import json
from collections.abc import Mapping
from typing import cast

from pydantic import SecretStr

from policies import (
    CONTEXT_EXCEEDED,
    BackendConnectionError,
    BackendError,
    BackendRequestError,
    BackendResponseError,
    BackendTimeoutError,
)
from policies.backends.http_errors import (
    Origin,
    error_of_status,
)

from ._addresses import AddressDeniedError
from ._settings import UpstreamSettings

__all__ = ["BACKEND", "Failures", "UpstreamRefusalError", "is_blamed"]

BACKEND = "upstream"

_LONGEST_ID = 200
_RETRIED = (408, 409, 429, 500, 502, 503, 504)
# Our key, our bill or our proxy: no fault of whoever asked us.
_DENIALS = (401, 402, 403, 407)
# 501 is what servers say of an endpoint that they do not have.
_NOT_ILL = 501


class UpstreamRefusalError(BackendRequestError):
    """A server refused a request for a reason that is the client's.

    Attributes:
        document: What the server answered, without our key; empty where it was too long.
    """

    def __init__(
        self, message: str, *, model: str, status_code: int, document: bytes, hint: str = ""
    ) -> None:
        """Keep the document apart from the message, which is logged."""
        super().__init__(message, backend=BACKEND, model=model, status_code=status_code, hint=hint)
        self.document = document


def is_blamed(error: BackendError) -> bool:
    """Tell whether an error says that the server is ill, rather than busy or right to refuse."""
    status = error.status_code
    if status is None:
        return error.retryable
    return status >= 500 and status != _NOT_ILL


class Failures:
    """Makes the errors of one upstream."""

    def __init__(self, settings: UpstreamSettings) -> None:
        """Keep what errors tell, and the key that they must not."""
        self._settings = settings
        self._spellings = _spellings(settings.key)

    def of_exception(self, cause: Exception, model: str) -> BackendError:
        """Return the error for something that the client library raised.

        Args:
            cause: A `ClientError` or an `OSError`.
            model: Model that was asked.
        """
        import aiohttp

        settings = self._settings
        if isinstance(cause, aiohttp.ConnectionTimeoutError):
            return self._unreachable(f"no connection within {settings.connect_s:g} s", model)
        if isinstance(cause, TimeoutError):
            text = f"no answer within {settings.timeout_s:g} s"
            if isinstance(cause, aiohttp.SocketTimeoutError):
                text = f"no byte came for {settings.silence_s:g} s"
            return BackendTimeoutError(f"the model's server: {text}", backend=BACKEND, model=model)
        if isinstance(cause, aiohttp.ClientConnectorError):
            return self._of_connector(cause, model)
        if isinstance(cause, aiohttp.ClientConnectionError | OSError):
            return self._unreachable("the connection broke before the answer", model)
        if isinstance(cause, aiohttp.InvalidURL):
            return self._unreachable("its address is no URL to connect to", model)
        if isinstance(cause, aiohttp.ClientPayloadError):
            return self._unreachable("the connection broke in the middle of the answer", model)
        return self.nonsense("it breaks the HTTP protocol", model, retryable=True)

    def of_status(
        self, status: int, headers: Mapping[str, str], document: bytes, model: str
    ) -> BackendError:
        """Return the error for a status outside 200..299.

        Args:
            status: What the server answered.
            headers: Its headers, looked up in any case.
            document: Its body.
            model: Model that was asked.
        """
        if status < 400:
            return self.nonsense(
                f"it has the status {status}; redirects are not followed",
                model,
                status=status,
                hint="check the base URL of the upstream, which usually ends in /v1",
            )
        request_id = headers.get("x-request-id")
        origin = Origin(
            backend=BACKEND,
            model=model,
            status_code=status,
            request_id=self._hidden(request_id)[:_LONGEST_ID] if request_id else None,
        )
        error = error_of_status(origin, headers, _parsed(document))
        if status in _DENIALS:
            error.code = "upstream-denied"
            error.hint = "check the key of the upstream and what it may use"
            return _with_message(error, f"the model's server denies us access ({status})")
        if isinstance(error, BackendRequestError):
            what = "prompt and max_tokens exceed the context"
            if error.code != CONTEXT_EXCEEDED:
                what = "the model's server refused the request"
            return self._refusal(error, f"{what} ({status})", document)
        error.retryable = error.retryable and status in _RETRIED
        error.hint = ""
        return _with_message(error, f"the model's server answered {status}")

    def nonsense(
        self,
        problem: str,
        model: str,
        *,
        status: int | None = None,
        retryable: bool = False,
        hint: str = "",
    ) -> BackendError:
        """Return the error for an answer that is none."""
        return BackendResponseError(
            f"the answer of the model's server cannot be used: {problem}",
            backend=BACKEND,
            model=model,
            status_code=status,
            retryable=retryable,
            hint=hint,
        )

    def _refusal(self, error: BackendError, message: str, document: bytes) -> UpstreamRefusalError:
        for spelling in self._spellings:
            document = document.replace(spelling, b"***")
        status = error.status_code or 0
        refusal = UpstreamRefusalError(
            message, model=error.model, status_code=status, document=document, hint=error.hint
        )
        refusal.code = error.code
        refusal.request_id = error.request_id
        refusal.retry_after_s = error.retry_after_s
        refusal.retryable = status in _RETRIED
        return refusal

    def _of_connector(self, cause: Exception, model: str) -> BackendError:
        import aiohttp

        reason = getattr(cause, "os_error", None)
        if isinstance(reason, AddressDeniedError):
            error = self._unreachable(str(reason), model)
            error.code = "upstream-address-denied"
            return error
        if isinstance(cause, aiohttp.ClientSSLError):
            return self._unreachable("TLS failed, its certificate may be wrong", model)
        if isinstance(cause, aiohttp.ClientConnectorDNSError):
            return self._unreachable("its name has no address", model)
        if isinstance(reason, ConnectionRefusedError):
            return self._unreachable("connection refused", model)
        return self._unreachable(f"{type(reason).__name__} while connecting", model)

    @staticmethod
    def _unreachable(why: str, model: str) -> BackendError:
        return BackendConnectionError(
            f"the model's server cannot be reached: {why}", backend=BACKEND, model=model
        )

    def _hidden(self, text: str) -> str:
        for spelling in self._spellings:
            text = text.replace(spelling.decode(), "***")
        return text


def _spellings(key: SecretStr | None) -> list[bytes]:
    """Return how the key may stand in a JSON document, the longest spelling first."""
    if key is None:
        return []
    plain = key.get_secret_value()
    escaped = json.dumps(plain)[1:-1]
    spellings = {plain, escaped, escaped.replace("/", "\\/")}
    return [each.encode() for each in sorted(spellings, key=lambda one: (-len(one), one))]


def _parsed(document: bytes) -> object:
    text = document.decode("utf-8", "replace")
    try:
        return cast("object", json.loads(text))
    except (ValueError, RecursionError):
        return text


def _with_message(error: BackendError, message: str) -> BackendError:
    error.message = message
    error.args = (message,)
    return error
