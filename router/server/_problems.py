"""Errors as clients of OpenAI's API know them: a status and `{"error": {...}}`."""

import asyncio
import json
import logging
import math
from collections.abc import Mapping
from typing import Any, cast

from policies import (
    CONTEXT_EXCEEDED,
    BackendConnectionError,
    BackendError,
    BackendRateLimitError,
    BackendRequestError,
    BackendTimeoutError,
    CapabilityError,
    InvalidInputError,
    NoAdmissibleArmError,
    StoreError,
    ThinkrouteError,
    UnknownNameError,
)

__all__ = ["GONE", "ClientGoneError", "ProblemError", "log_unexpected", "problem_of", "told"]

_LOG = logging.getLogger("thinkroute.server")
_LOG.addHandler(logging.NullHandler())
_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
_CLIENTS_FAULT = (400, 404, 409, 413, 415, 422)
_RETRY_S = 1


GONE = 499
"""Status of a request whose client has gone, in the log alone (nginx's number)."""


class ClientGoneError(Exception):
    """The client has closed the connection; nobody waits for the answer."""


class ProblemError(Exception):
    """Why a request gets no answer.

    Attributes:
        status: HTTP status.
        code: Stable identifier.
        message: One line for people.
        param: The field that is to blame, where one is.
        retry_after_s: When to try again, `None` where that makes no sense.
        document: The upstream's own error document, passed on as it is.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        param: str | None = None,
        retry_after_s: float | None = None,
        document: Mapping[str, Any] | None = None,
    ) -> None:
        """Keep what the client is told."""
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.param = param
        self.retry_after_s = retry_after_s
        self.document = document

    def to_json(self) -> dict[str, Any]:
        """Return the body of the answer."""
        if self.document is not None:
            return dict(self.document)
        kind = _TYPES.get(self.status)
        kind = kind or ("server_error" if self.status >= 500 else "invalid_request_error")
        return {
            "error": {
                "message": self.message,
                "type": kind,
                "param": self.param,
                "code": self.code,
            }
        }

    def headers(self) -> dict[str, str]:
        """Return the headers that belong to it."""
        headers = {"www-authenticate": "Bearer"} if self.status == 401 else {}
        if self.retry_after_s is not None:
            headers["retry-after"] = str(max(math.ceil(self.retry_after_s), 1))
        return headers


def log_unexpected(error: BaseException) -> None:
    """Log an error that is a defect; call it once for each."""
    expected = (ProblemError, ThinkrouteError, ClientGoneError)
    if isinstance(error, Exception) and not isinstance(error, expected):
        _LOG.error("unexpected %s while serving", type(error).__name__, exc_info=error)


def problem_of(error: BaseException) -> ProblemError:
    """Return what a client is told about an error; unexpected ones are not described."""
    if isinstance(error, ProblemError):
        return error
    if isinstance(error, BackendError):
        return _of_backend(error)
    if isinstance(error, NoAdmissibleArmError):
        if error.code == "caller-cap":
            return ProblemError(429, error.code, str(error), retry_after_s=_RETRY_S)
        return ProblemError(400, error.code, str(error))
    if isinstance(error, InvalidInputError | UnknownNameError):
        return ProblemError(400, error.code, str(error))
    if isinstance(error, StoreError):
        return ProblemError(503, error.code, str(error), retry_after_s=_RETRY_S)
    if isinstance(error, ThinkrouteError):
        return ProblemError(500, error.code, str(error))
    return ProblemError(500, "internal-error", "the server failed; its log says why")


def told(error: BaseException) -> tuple[ProblemError, str]:
    """Return what the client is told about the end of a request, and the code for the log."""
    if isinstance(error, ClientGoneError | asyncio.CancelledError | GeneratorExit):
        code = "client-disconnected"
        return ProblemError(GONE, code, "the client has gone"), code
    problem = problem_of(error)
    return problem, problem.code


def _of_backend(error: BackendError) -> ProblemError:
    code, status, text = error.code, error.status_code, str(error)
    if isinstance(error, CapabilityError) or code == CONTEXT_EXCEEDED:
        if (document := _document(error)) is not None:
            return ProblemError(400, code, text, document=document)
        if code == CONTEXT_EXCEEDED:
            # Clients look for OpenAI's own code and words.
            text = f"This model's maximum context length is exceeded: {text}"
            return ProblemError(400, "context_length_exceeded", text)
        return ProblemError(400, code, text)
    if isinstance(error, BackendRateLimitError):
        return ProblemError(429, code, text, retry_after_s=error.retry_after_s or _RETRY_S)
    if isinstance(error, BackendTimeoutError):
        return ProblemError(504, code, text)
    if isinstance(error, BackendConnectionError):
        return ProblemError(503, code, text, retry_after_s=error.retry_after_s or _RETRY_S)
    if isinstance(error, BackendRequestError) and (status is None or status in _CLIENTS_FAULT):
        # Models in this process refuse without a status.
        return ProblemError(status or 400, code, text, document=_document(error))
    # A server that refuses our key is our affair, not the client's.
    return ProblemError(502, code, text)


def _document(error: BackendError) -> Mapping[str, Any] | None:
    """Return the error document that the server sent, if it is one that clients can read."""
    raw = getattr(error, "document", None)
    try:
        document: Any = json.loads(raw) if isinstance(raw, bytes | str) else raw
    except ValueError:
        return None
    if not isinstance(document, dict):
        return None
    fields = cast("Mapping[str, Any]", document)
    return fields if isinstance(fields.get("error"), dict) else None
