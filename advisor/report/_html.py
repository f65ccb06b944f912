"""A page as one HTML file that asks nobody for anything."""

import json
import os
import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from functools import cache
from hashlib import sha256
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Any, cast

from policies import InvalidInputError, MissingPrerequisiteError, StoreError

from .._version import producer_version
from ._blocks import Block, Chart, Page, is_link

__all__ = ["render", "write_page"]

# Names and answers may hold what steers terminals; a page shows none of it.
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_ESCAPES = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028"}


def render(page: Page) -> str:
    """Return a page as HTML.

    Texts are escaped, and the page's own policy lets no script run but the two it comes with,
    known by their hashes; neither compiles text to code.

    Raises:
        MissingPrerequisiteError: A package of the extra `report` is missing.
        InvalidInputError: A plot holds a number that JSON has no word for.
    """
    try:
        from jinja2 import Environment
        from markupsafe import Markup
    except ImportError as error:
        raise MissingPrerequisiteError.extra("report", "jinja2") from error
    blocks = iter(range(10**6))
    sections = [
        {
            "title": section.title,
            "blocks": [_shown(block, f"plot{next(blocks)}", Markup) for block in section.blocks],
        }
        for section in page.sections
    ]
    has_charts = any(isinstance(b, Chart) for section in page.sections for b in section.blocks)
    scripts = [_vega(), _member("page.js")] if has_charts else []
    environment = Environment(autoescape=True, finalize=_clean, trim_blocks=False)
    return environment.from_string(_member("page.html")).render(
        page={
            "title": page.title,
            "lead": page.lead,
            "notes": page.notes,
            "sources": page.sources,
            "sections": sections,
        },
        is_link=is_link,
        policy=_policy(scripts),
        version=producer_version() or "",
        style=Markup(_member("page.css")),
        scripts=[Markup(script) for script in scripts],
    )


def write_page(page: Page, path: Path) -> None:
    """Write a page to a file, whole or not at all.

    Raises:
        InvalidInputError: The folder is not there, or the name is no page's.
        StoreError: It cannot be written.
        MissingPrerequisiteError: A package of the extra `report` is missing.
    """
    if path.suffix.lower() not in {".html", ".htm"}:
        raise InvalidInputError(f"{str(path)!r} is no page", hint="name it FILE.html")
    if not path.parent.is_dir():
        raise InvalidInputError(f"there is no folder {str(path.parent)!r}", hint="create it first")
    text = render(page)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise StoreError(f"{path} cannot be written: {error.strerror}") from error


def _shown(block: Block, name: str, markup: Any) -> dict[str, Any]:
    spec = markup(_json(_cleaned(block.spec))) if isinstance(block, Chart) else ""
    return {"kind": type(block).__name__, "value": block, "id": name, "spec": spec}


def _policy(scripts: Sequence[str]) -> str:
    hashes = [b64encode(sha256(script.encode()).digest()).decode() for script in scripts]
    allowed = " ".join(f"'sha256-{one}'" for one in hashes) or "'none'"
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )


def _json(document: object) -> str:
    try:
        text = json.dumps(document, allow_nan=False, separators=(",", ":"))
    except ValueError as error:
        raise InvalidInputError(f"a plot cannot be written: {error}") from error
    return "".join(_ESCAPES.get(character, character) for character in text)


def _clean(value: object) -> object:
    """Return what a template is given; texts without what steers a terminal."""
    return _CONTROL.sub("", value) if type(value) is str else value


def _cleaned(value: object) -> object:
    if isinstance(value, Mapping):
        pairs = cast("Mapping[object, object]", value).items()
        return {str(_clean(key)): _cleaned(one) for key, one in pairs}
    if isinstance(value, list | tuple):
        return [_cleaned(one) for one in cast("Sequence[object]", value)]
    return _clean(value)


def _member(name: str) -> str:
    return files("advisor.report").joinpath("template", name).read_text("utf-8")


@cache
def _vega() -> str:
    """Return Vega, Vega-Lite and Vega-Embed as one script."""
    try:
        vl_convert: Any = import_module("vl_convert")
    except ImportError as error:
        raise MissingPrerequisiteError.extra("report", "vl_convert") from error
    bundle: str = vl_convert.javascript_bundle()
    # The end of a script within a text of it would end it for the browser.
    return bundle.replace("</script", "<\\/script").replace("<!--", "<\\!--")
