"""A real browser that opens pages from files, and keeps what it complains of and asks for."""

import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.router.server.status_site import CHROMIUM_ARGS

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

HOSTILE = '<img src=x onerror="document.title=1">\x1b[31m\u202eevil</script><b>'
"""A name as nobody should have it: HTML, the end of a script, colours, text that runs backwards."""


@contextmanager
def chromium() -> "Generator[Browser]":
    """Start the browser; skips where there is none."""
    sync = pytest.importorskip("playwright.sync_api", reason="needs the extra dev")
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("there is no chromium: scripts/install_test_programs.sh installs it")
    with sync.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=CHROMIUM_ARGS)
        yield browser
        browser.close()


class Opened:
    """A page in the browser.

    Attributes:
        page: The page, all plots drawn.
        complaints: What the console said, and errors that nobody caught.
        asked: Addresses that were asked for, but for the file itself.
    """

    def __init__(self, browser: "Browser", path: Path, **how: Any) -> None:
        self.complaints: list[str] = []
        self.asked: list[str] = []
        self.page: Page = browser.new_page(**how)
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self._note(request.url, path))
        self.page.goto(path.as_uri())
        if self.page.locator(".plot").count():
            self.page.wait_for_selector('html[data-drawn="yes"]', state="attached")

    def _note(self, url: str, path: Path) -> None:
        if url != path.as_uri() and not url.startswith(("data:", "blob:")):
            self.asked.append(url)

    def is_quiet(self) -> bool:
        """Return whether nothing was complained of and nothing asked for."""
        return not self.complaints and not self.asked
