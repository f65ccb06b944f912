"""What is sent to an upstream, checked so that it cannot be read as something else."""

import re
from collections.abc import Mapping
from typing import NamedTuple

from policies import InvalidInputError

__all__ = ["UpstreamRequest", "checked_request"]

_PATH = re.compile(r"(?:/[A-Za-z0-9_~:.-]+)+")
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_NOT_SENT = frozenset({
    "accept-encoding", "api-key", "authorization", "connection", "content-encoding",
    "content-length", "content-type", "cookie", "expect", "host", "keep-alive",
    "proxy-authorization", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
    "x-api-key",
})  # fmt: skip


class UpstreamRequest(NamedTuple):
    """What is sent, the same in every attempt.

    Attributes:
        method: GET or POST.
        path: Path below the base URL.
        body: JSON document, empty for a GET.
        headers: Headers beyond our own.
        model: Model that is asked, for errors.
        is_whole: Whether the answer is read to its end before it counts as one.
    """

    method: str
    path: str
    body: bytes
    headers: dict[str, str]
    model: str
    is_whole: bool


def checked_request(
    method: str, path: str, body: bytes, headers: Mapping[str, str], model: str, *, is_whole: bool
) -> UpstreamRequest:
    """Return a request, without the headers that are ours to set.

    Raises:
        InvalidInputError: The path or a header could be read as something else than it seems.
    """
    if not _PATH.fullmatch(path) or ".." in path:
        raise InvalidInputError(
            f"path {path[:100]!r} is none below a base URL, expected for example /chat/completions"
        )
    sent = {"Content-Type": "application/json"} if body else {}
    for name, value in headers.items():
        if name.lower() in _NOT_SENT:
            continue
        if not _HEADER.fullmatch(name) or not value.isprintable():
            raise InvalidInputError(f"header {name[:100]!r} holds characters that break HTTP")
        sent[name] = value
    return UpstreamRequest(method, path, body, sent, model, is_whole)
