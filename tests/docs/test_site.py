"""The documentation site: built strictly, whole, and opened from the disk in a real browser."""

import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.docs.scripts import load_script
from tests.router.server.status_site import chromium

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ROOT = Path(__file__).parents[2]
WIDTHS = (1280, 390)
PAGES = ("index.html", "tutorial.html", "reference/api/router.html")
MISSING = [
    name for name in ("mkdocs", "material", "mkdocstrings") if not importlib.util.find_spec(name)
]
needs_mkdocs = pytest.mark.skipif(
    bool(MISSING), reason=f"{', '.join(MISSING)} is not there: pip install thinkroute[docs]"
)
# Building takes half a minute on an idle core.
pytestmark = [needs_mkdocs, pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def hooks() -> Any:
    return load_script("docs_hooks")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the site once, as `make docs` does."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return folder


def test_every_link_of_the_site_leads_somewhere_and_nothing_comes_from_elsewhere(
    site: Path,
) -> None:
    assert load_script("check_site").check_site(site) == []


def test_every_page_of_docs_is_in_the_site_and_the_readme_is_the_first(site: Path) -> None:
    for page in (ROOT / "docs").rglob("*.md"):
        built = site / page.relative_to(ROOT / "docs").with_suffix(".html")
        title = re.search(r"^# (.+)$", page.read_text("utf-8"), re.MULTILINE)
        assert title is not None, page
        assert "<h1" in built.read_text("utf-8"), page
    home = (site / "index.html").read_text("utf-8")
    assert "When should a language model think" in home
    assert 'href="how-to/vllm.html"' in home
    assert 'href="repository/models/index.html"' in home


def test_files_of_the_repository_that_pages_link_to_are_pages(site: Path) -> None:
    unit = (site / "repository" / "deploy" / "thinkroute.service.html").read_text("utf-8")
    assert "ExecStart" in unit
    assert "openai_sdk.py.html" in (site / "repository" / "examples" / "index.html").read_text(
        "utf-8"
    )
    for name in ("CHANGELOG.html", "CONTRIBUTING.html", "models/index.html"):
        assert (site / "repository" / name).is_file()


def test_every_public_name_is_on_its_page_with_what_the_code_says_of_it(site: Path) -> None:
    api = load_script("write_api_reference")
    n_names = 0
    for page, modules in api.public_names().items():
        html = (site / "reference" / "api" / f"{page}.html").read_text("utf-8")
        for name in (f"{module}.{one}" for module, names in modules.items() for one in names):
            n_names += 1
            kind, part = _part(html, name)
            assert kind, f"{name} is not on the page {page}"
            if kind in {"function", "attribute"}:
                assert "doc-signature" in part, name
            if kind in {"function", "class"}:
                told = part.partition("doc-contents")[2]
                assert "<p>" in told, f"{name} has no docstring on its page"
    assert n_names > 900


def _part(html: str, name: str) -> tuple[str, str]:
    """Return the kind of a name and what its page says before the next one, or nothing."""
    at = html.find(f'id="{name}"')
    if at < 0:
        return "", ""
    kind = re.findall(r'doc doc-object doc-(\w+)"', html[:at])[-1]
    rest = html[at:]
    return kind, rest.partition('<div class="doc doc-object')[0]


def test_names_that_are_loaded_late_and_records_have_their_signatures(site: Path) -> None:
    router = (site / "reference" / "api" / "router.html").read_text("utf-8")
    signature = re.sub(r"<[^>]+>", "", _part(router, "router.Candidate")[1])
    assert re.search(r"Candidate\(\s*arm: str,\s*p: float", signature)
    outcome = (site / "reference" / "api" / "calibration.html").read_text("utf-8")
    assert "CUT = 'cut'" in re.sub(r"<[^>]+>", "", _part(outcome, "calibration.Outcome")[1])
    # An example of a docstring is code, not a quotation.
    assert "<blockquote>" not in router


@given(
    before=st.text("ab `\n", max_size=12),
    target=st.from_regex(r"[a-z]{1,4}(/[a-z]{1,4})?\.md", fullmatch=True),
    anchor=st.sampled_from(["", "#there"]),
)
def test_links_are_rewritten_wherever_they_are_no_code(
    before: str, target: str, anchor: str
) -> None:
    hooks = load_script("docs_hooks")

    def moved(target: str) -> str:
        return f"NEW/{target}"

    def changed(markdown: str) -> str:
        return hooks.rewrite_links(markdown, moved)

    link = f"[x]({target}{anchor})"
    assert (
        changed(f"a {link} b ![y]({target})") == f"a [x](NEW/{target}{anchor}) b ![y](NEW/{target})"
    )
    assert changed(f"```\n{link}\n```\n") == f"```\n{link}\n```\n"
    assert changed(f"`{link}`") == f"`{link}`"
    assert changed(f"[x](https://a.test/{target}) [y](#there)") == (
        f"[x](https://a.test/{target}) [y](#there)"
    )
    # Whatever stands before it, nothing but the target may change.
    assert changed(f"{before}{link}").replace("NEW/", "") == f"{before}{link}"


def test_the_place_of_a_file_in_the_site_tells_the_file(hooks: Any) -> None:
    names = (
        *("README.md", "docs/tutorial.md", "docs/how-to/serve.md", "CHANGELOG.md"),
        *("models/README.md", "deploy/compose.yaml", "deploy/Containerfile"),
        *("examples/openai_sdk.py", "examples/llm_command.md", "pyproject.toml"),
    )
    places = {name: hooks.site_uri(PurePosixPath(name)) for name in names}
    assert len({*places.values()}) == len(names)
    for name, place in places.items():
        assert str(hooks.repository_path(place)) == name
    assert hooks.site_uri(PurePosixPath("deploy")) == "repository/deploy/index.md"
    assert hooks.site_uri(PurePosixPath("models")) == "repository/models/README.md"


# In a browser.


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    with chromium() as browser:
        yield browser


@pytest.fixture
def visit(browser: "Browser", site: Path) -> "Iterator[Any]":
    """Open a page from the disk; afterwards nothing may have been said, failed or asked of a host."""
    problems: list[str] = []
    contexts: list[Any] = []

    def open_page(name: str, width: int, **options: Any) -> "Page":
        context = browser.new_context(
            viewport={"width": width, "height": 900}, locale="en-US", **options
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("console", lambda message: problems.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("requestfailed", lambda request: problems.append(f"failed: {request.url}"))
        page.on(
            "request",
            lambda request: (
                None
                if request.url.startswith(("file://", "data:"))
                else problems.append(request.url)
            ),
        )
        page.goto((site / name).as_uri())
        page.locator("h1").first.wait_for()
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert problems == []


@pytest.mark.browser
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", PAGES)
def test_a_page_opens_from_the_disk(visit: Any, name: str, width: int) -> None:
    page = visit(name, width)
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width
    assert page.evaluate("() => [...document.images].every((one) => one.naturalWidth > 0)")


@pytest.mark.browser
@pytest.mark.parametrize(("scheme", "expected"), [("light", "default"), ("dark", "slate")])
def test_the_palette_is_that_of_the_readers_system(visit: Any, scheme: str, expected: str) -> None:
    page = visit("index.html", 1280, color_scheme=scheme)
    page.locator(f"body[data-md-color-scheme={expected}]").wait_for()


@pytest.mark.browser
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", ["index.html", "how-to/serve.html"])
def test_the_search_finds_names_without_a_server(visit: Any, name: str, width: int) -> None:
    page = visit(name, width)
    if width < 960:  # the field is behind a button
        page.locator("label.md-header__button[for=__search]").click()
    field = page.locator(".md-search__input")
    field.click()
    field.press_sequentially("ThompsonSampling")
    found = page.locator(".md-search-result__link[href*='#router.ThompsonSampling']").first
    found.click()
    page.wait_for_url("**/reference/api/router.html*#router.ThompsonSampling")
    assert page.locator("h2[id='router.ThompsonSampling']").is_visible()
