"""The routes of the status page, and what its files must and must not hold."""

import asyncio
import re
from collections.abc import MutableMapping
from importlib.resources import files
from typing import Any, NamedTuple

import pytest
from starlette.applications import Starlette

from router import Decision
from router.server._status import StatusBoard
from router.server._status_routes import status_routes
from tests.router.server.status_site import NOON, Clock, served

PATHS = {
    "/": "text/html; charset=utf-8",
    "/status.json": "application/json",
    "/static/page.js": "text/javascript; charset=utf-8",
    "/static/page.css": "text/css; charset=utf-8",
}
PAGE = files("router.server").joinpath("status_page")


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


def ask(board: StatusBoard, path: str, method: str = "GET") -> Answer:
    app = Starlette(routes=list(status_routes(board.snapshot)))
    sent: list[MutableMapping[str, Any]] = []

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": b"",
        "headers": [],
        "server": ("127.0.0.1", 80),
    }
    asyncio.run(app(scope, receive, send))
    headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return Answer(sent[0]["status"], headers, b"".join(part.get("body", b"") for part in sent))


@pytest.mark.parametrize("path", PATHS)
def test_every_answer_has_its_type_and_forbids_what_the_page_does_not_need(path: str) -> None:
    answer = ask(StatusBoard(Clock()), path)
    assert answer.status == 200
    assert answer.headers["content-type"] == PATHS[path]
    policy = dict(
        directive.strip().split(" ", 1)
        for directive in answer.headers["content-security-policy"].split(";")
    )
    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "connect-src": "'self'",
        "img-src": "'self' data:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["referrer-policy"] == "no-referrer"
    expected = "no-store" if path == "/status.json" else "no-cache"
    assert answer.headers["cache-control"] == expected


@pytest.mark.parametrize("path", PATHS)
def test_nothing_can_be_written(path: str) -> None:
    assert ask(StatusBoard(Clock()), path, "POST").status == 405


def test_half_a_surrogate_pair_in_a_name_breaks_no_answer() -> None:
    board = StatusBoard(Clock())
    board.note(served(1, NOON, asked="\ud83d", caller="\x00\u202e"))
    answer = ask(board, "/status.json")
    assert answer.status == 200
    assert b'"asked":"\\ud83d"' in answer.body


def test_the_files_name_no_other_host_and_make_no_markup() -> None:
    for name in ("index.html", "page.js", "page.css"):
        text = PAGE.joinpath(name).read_text("utf-8")
        hosts = set(re.findall(r"(?:https?:)?//[\w.-]+\.\w+", text)) - {"http://www.w3.org"}
        assert not hosts
        assert "@import" not in text
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", text)
    page = PAGE.joinpath("index.html").read_text("utf-8")
    assert not re.search(r"\son\w+=|\sstyle=|<style|<script(?! type=\"module\" src=)", page)


def test_every_documented_reason_is_explained_on_the_page() -> None:
    text = re.search(
        r"reasons: Stable codes:(.*?)\n\s+task_posterior:", Decision.__doc__ or "", re.S
    )
    assert text
    documented = set(re.findall(r"`([a-z-]+)`", text[1]))
    script = PAGE.joinpath("page.js").read_text("utf-8")
    table = script[script.index("const REASONS") : script.index("};")]
    explained = set(re.findall(r'^  "([a-z-]+)": ".+\.",$', table, re.M))
    assert len(documented) > 10
    assert explained >= documented
