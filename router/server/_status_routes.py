"""The status page and its numbers over HTTP."""

import json
from collections.abc import Callable, Mapping
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

__all__ = ["status_routes"]

_PAGE = (
    ("/", "index.html", "text/html; charset=utf-8"),
    ("/static/page.js", "page.js", "text/javascript; charset=utf-8"),
    ("/static/page.css", "page.css", "text/css; charset=utf-8"),
)
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def status_routes(snapshot: Callable[[], Mapping[str, object]]) -> list[Route]:
    """Return the routes of the status page: `/`, `/status.json` and two files.

    The files are read here, once. Nothing here asks who is calling: whoever may not see the
    numbers has to be turned away before.

    Args:
        snapshot: Returns the document of `StatusBoard.snapshot`; called on the event loop.
    """

    # Asynchronous although nothing is awaited: others would run in a thread beside the loop.
    async def numbers(_: Request) -> Response:
        # ASCII, since names and texts of clients may hold half a surrogate pair.
        document = json.dumps(snapshot(), allow_nan=False, separators=(",", ":"))
        headers = {**_HEADERS, "Cache-Control": "no-store"}
        return Response(document, media_type="application/json", headers=headers)

    folder = files(__package__ or "").joinpath("status_page")
    return [
        Route("/status.json", numbers, methods=["GET"]),
        *(
            _file_route(path, folder.joinpath(name).read_bytes(), media_type)
            for path, name, media_type in _PAGE
        ),
    ]


def _file_route(path: str, content: bytes, media_type: str) -> Route:
    # `no-cache`: a page of an older version must not meet the numbers of a newer one.
    headers = {**_HEADERS, "Cache-Control": "no-cache"}

    async def file(_: Request) -> Response:
        return Response(content, media_type=media_type, headers=headers)

    return Route(path, file, methods=["GET"])
