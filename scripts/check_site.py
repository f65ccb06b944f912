"""Check a built site: every link and anchor leads somewhere, and nothing is loaded from elsewhere."""

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

SITE = Path(__file__).parent.parent / "site"
LOADING_RELS = {"icon", "manifest", "modulepreload", "preload", "prefetch", "stylesheet"}
CONNECTING_RELS = {"preconnect", "dns-prefetch"}
LOADED = {
    "script": ("src", "href", "xlink:href"),
    "img": ("src", "srcset"),
    "source": ("src", "srcset"),
    "iframe": ("src",),
    "embed": ("src",),
    "object": ("data",),
    "audio": ("src",),
    "video": ("src", "poster"),
    "track": ("src",),
    "input": ("src",),
    "image": ("href", "xlink:href"),
    "use": ("href", "xlink:href"),
}
IN_STYLE = re.compile(r"@import\s*(?:url\()?\s*[\"']?([^\"');]+)|url\(\s*[\"']?([^\"')]+)")
COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)


@dataclass
class Document(HTMLParser):
    """What a page has: names of its anchors, where it leads, and what it loads."""

    text: str
    ids: set[str] = field(default_factory=set[str])
    links: list[str] = field(default_factory=list[str])
    loads: list[str] = field(default_factory=list[str])

    def __post_init__(self) -> None:
        """Read the whole text."""
        super().__init__()
        self._is_style = False
        self.feed(self.text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.ids |= {given[name] for name in ("id", "name") if name in given}
        self.loads += styled(given.get("style", ""))
        self._is_style = tag == "style"
        if tag in {"a", "area"} and "href" in given:
            self.links.append(given["href"])
        elif tag == "link" and "href" in given:
            is_loaded = bool(
                (LOADING_RELS | CONNECTING_RELS) & {*given.get("rel", "").lower().split()}
            )
            (self.loads if is_loaded else self.links).append(given["href"])
        for name in LOADED.get(tag, ()):
            value = given.get(name, "")
            parts = value.split(",") if name == "srcset" else [value]
            self.loads += [part.split()[0] for part in parts if part.strip()]

    def handle_endtag(self, tag: str) -> None:
        self._is_style = False

    def handle_data(self, data: str) -> None:
        if self._is_style:
            self.loads += styled(data)


def styled(text: str) -> list[str]:
    """Return what a style sheet loads."""
    return [
        (a or b).strip() for a, b in IN_STYLE.findall(COMMENT.sub("", text)) if (a or b).strip()
    ]


def check_site(site: Path) -> list[str]:
    """Return what is wrong with a built site, one line each; a site without pages is wrong too."""
    paths = {path: Document(path.read_text("utf-8")) for path in sorted(site.rglob("*.html"))}
    found = [] if paths else [f"{site}: no page: run make docs"]
    for path, document in paths.items():
        name = path.relative_to(site)
        for target in document.links:
            found += [f"{name}: {why}" for why in _wrong(site, path, target, paths)]
        for target in document.loads:
            if _is_elsewhere(target):
                found.append(f"{name}: loads {target}")
            else:
                found += [f"{name}: {why}" for why in _wrong(site, path, target, paths)]
    for path in sorted([*site.rglob("*.css"), *site.rglob("*.svg")]):
        text = path.read_text("utf-8")
        loads = styled(text) if path.suffix == ".css" else Document(text).loads
        found += [f"{path.relative_to(site)}: loads {one}" for one in loads if _is_elsewhere(one)]
    return [*found, *_wrong_in_search(site, paths)]


def _wrong(site: Path, path: Path, target: str, paths: dict[Path, Document]) -> Iterator[str]:
    """Yield why a target of a page leads nowhere; addresses of other hosts are taken for good."""
    parts = urlsplit(target)
    if parts.scheme or parts.netloc:
        return
    if parts.path.startswith("/"):
        yield f"{target} begins at the root of a server: it cannot be opened from a disk"
        return
    there = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    if not there.is_relative_to(site.resolve()) and there != path:
        yield f"{target} leaves the site"
    elif not there.is_file():
        yield f"{target}: there is no such file"
    elif parts.fragment and there.suffix == ".html":
        document = paths.get(there) or paths[site / there.relative_to(site.resolve())]
        if unquote(parts.fragment) not in document.ids:
            yield f"{target}: there is no such anchor"


def _wrong_in_search(site: Path, paths: dict[Path, Document]) -> list[str]:
    """Return what is wrong with the places that the search leads to."""
    index = site / "search" / "search_index.json"
    if not index.is_file():
        return [f"{site}: no search index"]
    places = [one["location"] for one in json.loads(index.read_text("utf-8"))["docs"]]
    return [f"search: {why}" for place in places for why in _wrong(site, site / "-", place, paths)]


def _is_elsewhere(target: str) -> bool:
    parts = urlsplit(target)
    return bool(parts.netloc) or parts.scheme not in {"", "data"}


def main() -> int:
    """Print what is wrong with the site, site/ by default; 1 if anything is."""
    site = Path(sys.argv[1]) if len(sys.argv) > 1 else SITE
    found = check_site(site)
    for line in found:
        sys.stderr.write(f"{line}\n")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
