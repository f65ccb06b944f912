"""What MkDocs is told besides mkdocs.yml: the README is the first page, the repository's files pages.

Pages link to files of the repository as a forge needs it, relative to themselves. Where such a file
is not under docs/, it becomes a page of the site below `repository/`: Markdown as it is, a folder
as a list, any other text in a block; what is no text is copied.
"""

import os.path
import re
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
DOCS = PurePosixPath("docs")
API = "reference/api/"
# Besides what pages link to: these have a place in the navigation.
ALWAYS = ("CHANGELOG.md", "CONTRIBUTING.md", "README.md", "models/README.md")
HIDDEN = re.compile(r"^[._]?_?pycache|^\.|\.pyc$")
FENCE = re.compile(r"^ *(```+|~~~+)")
# Targets without a scheme; spans of code are matched first, so that links in them are left alone.
LINK = re.compile(r"(`+)[^`].*?\1|(\]\()(?![a-z+]+:|#|/)([^)#\s]+)((?:#[^)\s]*)?\))")
LANGUAGES = {".py": "python", ".yaml": "yaml", ".yml": "yaml", ".toml": "toml", ".sh": "bash"}


def on_config(config: MkDocsConfig) -> None:
    """Fill the navigation's entry of the Python API with its pages."""
    # Its links begin at the root of a server, and on a disk nothing asks for it.
    config.theme.static_templates.discard("404.html")
    config.nav = _filled(config.nav, Path(config.docs_dir) / API)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of files that lie outside of docs/."""
    waiting = [PurePosixPath(name) for name in ALWAYS]
    for file in files.documentation_pages():
        waiting += _linked(DOCS / file.src_uri, Path(str(file.abs_src_path)).read_text("utf-8"))
    made: set[str] = set()
    while waiting:
        path = waiting.pop()
        uri = site_uri(path)
        if uri in made or path.is_relative_to(DOCS):
            continue
        made.add(uri)
        text = _text(path)
        if text is None:
            files.append(File.generated(config, uri, abs_src_path=str(ROOT / path)))
            continue
        files.append(File.generated(config, uri, content=text))
        waiting += _linked(path, text)
    return files


def on_page_markdown(markdown: str, page: Page, **_more: Any) -> str:
    """Turn links to files of the repository into links to their pages."""
    path = repository_path(page.file.src_uri)

    def linked(target: str) -> str:
        found = _resolved(path, target)
        if found is None:
            return target  # MkDocs will say that it leads nowhere
        return os.path.relpath(site_uri(found), os.path.dirname(page.file.src_uri))

    return _open_details(rewrite_links(markdown, linked))


def rewrite_links(markdown: str, change: Callable[[str], str]) -> str:
    """Return a text with every relative target of a link changed, but for those in code."""

    def changed(match: re.Match[str]) -> str:
        return match[0] if match[1] else f"{match[2]}{change(match[3])}{match[4]}"

    return "".join(
        piece if is_code else LINK.sub(changed, piece) for is_code, piece in _pieces(markdown)
    )


def site_uri(path: PurePosixPath) -> str:
    """Return which source of the site a file of the repository is, seen from docs/."""
    if path.is_relative_to(DOCS):
        return str(path.relative_to(DOCS))
    if str(path) == "README.md":
        return "index.md"
    there = ROOT / path
    place = PurePosixPath("repository") / path
    if there.is_dir():
        return str(place / ("README.md" if (there / "README.md").exists() else "index.md"))
    if path.suffix == ".md" or _read(there) is None:
        return str(place)
    return f"{place}.md"


def repository_path(uri: str) -> PurePosixPath:
    """Return which file of the repository a source of the site is: the way back of `site_uri`."""
    if uri == "index.md":
        return PurePosixPath("README.md")
    place = PurePosixPath(uri)
    if place.parts[0] != "repository":
        return DOCS / place
    place = PurePosixPath(*place.parts[1:])
    if (ROOT / place).exists():
        return place
    # The list of a folder links to what is in it.
    return place if place.name == "index.md" else place.with_suffix("")


def _text(path: PurePosixPath) -> str | None:
    """Return the Markdown of a file's page, or None if the file is no text."""
    there = ROOT / path
    if there.is_dir() and (there / "README.md").exists():
        return (there / "README.md").read_text("utf-8")
    if there.is_dir():
        names = sorted(one.name for one in there.iterdir() if not HIDDEN.search(one.name))
        return "\n".join([f"# {path}/", "", *(f"- [`{name}`]({name})" for name in names), ""])
    text = _read(there)
    if text is None or path.suffix == ".md":
        return text
    fence = "`" * max(3, 1 + max(map(len, re.findall(r"`+", text)), default=0))
    return f"# {path}\n\n{fence}{LANGUAGES.get(path.suffix, 'text')}\n{text.rstrip()}\n{fence}\n"


def _read(path: Path) -> str | None:
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError:
        return None


def _linked(path: PurePosixPath, text: str) -> list[PurePosixPath]:
    """Return the files of the repository that a text links to."""
    found: list[PurePosixPath] = []
    base = path / "index.md" if (ROOT / path).is_dir() else path

    def note(target: str) -> str:
        if there := _resolved(base, target):
            found.append(there)
        return target

    rewrite_links(text, note)
    return found


def _resolved(path: PurePosixPath, target: str) -> PurePosixPath | None:
    """Return the file that a link of a page leads to, or None if there is none in the repository."""
    there = PurePosixPath(os.path.normpath(path.parent / target))
    return there if there.parts[0] != ".." and (ROOT / there).exists() else None


def _pieces(markdown: str) -> Iterator[tuple[bool, str]]:
    """Yield the lines of a text, and whether each lies in a fenced block."""
    fence = ""
    for line in markdown.splitlines(keepends=True):
        mark = FENCE.match(line)
        if mark and not fence:
            fence = mark[1]
            yield True, line
        elif mark and mark[1].startswith(fence) and line.strip() == mark[1]:
            fence = ""
            yield True, line
        else:
            yield bool(fence), line


def _open_details(markdown: str) -> str:
    """Let Markdown be read inside of `<details>`, as forges do."""
    return "".join(
        piece if is_code else re.sub(r"^<details>", "<details markdown>", piece)
        for is_code, piece in _pieces(markdown)
    )


def _filled(entry: Any, folder: Path) -> Any:
    """Return the navigation with the folder of the API's pages replaced by their names."""
    if isinstance(entry, list):
        return [_filled(one, folder) for one in entry]  # pyright: ignore[reportUnknownVariableType]
    if not isinstance(entry, dict):
        return entry
    return {
        title: _api_pages(folder) if value == API else _filled(value, folder)
        for title, value in entry.items()  # pyright: ignore[reportUnknownVariableType]
    }


def _api_pages(folder: Path) -> list[str | dict[str, Any]]:
    """Return the index, and under each package of the top its own page and those below."""
    names = sorted(path.stem for path in folder.glob("*.md") if path.stem != "index")
    tops = dict.fromkeys(name.partition(".")[0] for name in names)
    order = [name for name in ("policies", "calibration", "router", "advisor") if name in tops]
    groups = {top: [name for name in names if name.partition(".")[0] == top] for top in order}
    entries = [{top: [{one: f"{API}{one}.md"} for one in below]} for top, below in groups.items()]
    return [f"{API}index.md", *entries]
