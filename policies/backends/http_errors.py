"""HTTP failures as errors of this package; knows no client library."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from .._errors import (
    CONTEXT_EXCEEDED,
    BackendConnectionError,
    BackendError,
    BackendRateLimitError,
    BackendRequestError,
    BackendResponseError,
    BackendTimeoutError,
)
from ._json import fields_of
from ._retry import read_retry_after

__all__ = ["TOO_LONG_HINT", "Origin", "error_of_status", "one_line"]

_LONGEST_EXCERPT = 300
_HINTS = {
    401: "check the API key",
    403: "check the API key and what it may use",
    404: "check the model's name and the base URL, which usually ends in /v1",
    429: "lower max_concurrency",
}
# How servers say that prompt and cap exceed the context. A message that only speaks of the
# context, or asks for it to be set, is something else.
_TOO_LONG_CODES = frozenset({"context_length_exceeded", "exceed_context_size_error"})
_TOO_LONG = re.compile(
    "|".join(
        (
            # OpenAI and those who copy its words: vLLM, SGLang, DeepSeek
            r"maximum context length (is|of) \d+ tokens",
            r"exceeds the context window of this model",
            r"cannot be greater than max_model_len",  # vLLM
            r"longer than the maximum model length",
            r"longer than the model's context length",  # SGLang
            r"exceeds the available context size",  # llama.cpp
            r"prompt is too long: \d+ tokens|exceed context limit",  # Anthropic
            r"input token count .{0,40}exceeds the maximum number of tokens",  # Gemini
        )
    ),
    re.IGNORECASE,
)
_MAY_BE_TOO_LONG = (400, 413, 422)
TOO_LONG_HINT = (
    "lower the caps max_thinking_tokens and max_answer_tokens, or give the server a longer context"
)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an answer came from, for error messages.

    Attributes:
        backend: Name of the backend.
        model: Model that was asked.
        status_code: HTTP status, where there was one.
        request_id: The server's identifier of the request, where it gave one.
        seconds: Wall time from sending the request to the end of the answer.
    """

    backend: str
    model: str
    status_code: int | None = None
    request_id: str | None = None
    seconds: float = 0.0

    def nonsense(
        self, problem: str, *, retryable: bool = False, hint: str = ""
    ) -> BackendResponseError:
        """Return the error for an answer that is no completion."""
        return BackendResponseError(
            f"the server's answer cannot be used: {problem}",
            backend=self.backend,
            model=self.model,
            status_code=self.status_code,
            request_id=self.request_id,
            retryable=retryable,
            hint=hint,
        )


def error_of_status(origin: Origin, headers: Mapping[str, str], body: object) -> BackendError:
    """Return the error for an HTTP status outside 200..299.

    408 and 504 are timeouts, 429 a rate limit (final where the quota is used up), 502 and 503
    an unreachable server, other 5xx a server that failed: all of these may pass. Any other
    status is a refusal, which repeating does not cure; the code of one that says that prompt
    and cap exceed the context is `CONTEXT_EXCEEDED`.
    """
    status = origin.status_code or 0
    retryable = True
    kind: type[BackendError]
    if status in (408, 504):
        kind = BackendTimeoutError
    elif status == 429:
        kind = BackendRateLimitError
        retryable = _code(body) != "insufficient_quota"
    elif status in (502, 503):
        kind = BackendConnectionError
    elif status >= 500:
        kind = BackendResponseError
    else:
        kind = BackendRequestError
        retryable = status == 409
    message = _message(body)
    hint, code = _HINTS.get(status, ""), None
    if status in _MAY_BE_TOO_LONG and _is_too_long(body, message):
        hint, code = TOO_LONG_HINT, CONTEXT_EXCEEDED
    error = kind(
        f"the server answered {status}: {message}",
        backend=origin.backend,
        model=origin.model,
        status_code=status,
        request_id=origin.request_id,
        retryable=retryable,
        retry_after_s=read_retry_after(headers),
        hint=hint,
    )
    error.code = code or error.code
    return error


def one_line(text: str) -> str:
    """Return an excerpt of foreign text that is fit for an error message."""
    words = " ".join(text.split())
    printable = "".join(character for character in words if character.isprintable())
    return printable[:_LONGEST_EXCERPT]


def _error_object(body: object) -> Mapping[str, object]:
    fields = fields_of(body)
    inner = fields.get("error", fields)
    return {"message": inner} if isinstance(inner, str) else fields_of(inner)


def _is_too_long(body: object, message: str) -> bool:
    named = (_error_object(body).get(key) for key in ("code", "type"))
    return bool(_TOO_LONG.search(message)) or any(name in _TOO_LONG_CODES for name in named)


def _code(body: object) -> object:
    return _error_object(body).get("code")


def _message(body: object) -> str:
    # FastAPI, on which vLLM and SGLang are built, says {"detail": "Not Found"}.
    for candidate in (_error_object(body).get("message"), fields_of(body).get("detail"), body):
        if isinstance(candidate, str) and candidate.strip():
            return one_line(candidate)
    return "no explanation"
