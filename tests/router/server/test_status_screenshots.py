"""How the status page looks, against pictures in tests/golden/status_page.

Fonts and their smoothing differ between machines. So each part of the page is compared with the
same part of the picture, wherever it lies, in blocks of 8 x 8 pixels of which some may differ; the
two drawings, which hold next to no text, are held to more. That this notices what is missing, and
does not mind another font, is tested here too.
"""

import io
import json
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from router.server._status import StatusBoard, UpstreamState
from tests.router.server.status_site import DOWN, LOG, UP, Clock, Site, busy_day, chromium

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser

State = Literal["empty", "busy", "upstream-down", "unreachable"]
Picture = NDArray[np.uint8]
OpenPage = Callable[[State, int, str], "Page"]

GOLDEN = Path(__file__).parents[2] / "golden" / "status_page"
BLOCK = 8
MOST_COLOUR = 24.0  # of 255, mean of a block
# Share of the blocks of a part that may differ: text, and drawings.
PARTS = {
    "header": 0.2,
    "#banner": 0.25,
    "#empty": 0.15,
    "#tiles": 0.15,
    "#traffic": 0.1,
    "#chart": 0.05,
    "#arms": 0.1,
    "#bar": 0.05,
    "#upstreams": 0.1,
    "#errors": 0.1,
    "#decisions": 0.25,
}
# By how much a part may be higher or lower: another font breaks lines elsewhere.
MOST_GROWTH = 0.3
LINE_PX = 24
PICTURES: list[tuple[State, int, str]] = [
    ("empty", 360, "light"),
    ("empty", 1280, "dark"),
    ("busy", 360, "light"),
    ("busy", 360, "dark"),
    ("busy", 800, "light"),
    ("busy", 1280, "light"),
    ("busy", 1280, "dark"),
    ("upstream-down", 360, "dark"),
    ("upstream-down", 1280, "light"),
    ("unreachable", 800, "light"),
]
# One of each layout, to try the comparison itself on.
SAMPLES: list[tuple[State, int, str]] = [
    ("empty", 360, "light"),
    ("busy", 360, "dark"),
    ("upstream-down", 1280, "light"),
]


class Box(NamedTuple):
    """Where a part of the page lies, in pixels."""

    x: int
    y: int
    width: int
    height: int


class Look(NamedTuple):
    """A picture of the page, and where its visible parts lie in it."""

    picture: Picture
    boxes: dict[str, Box]


# Of the module, not of the session: while Playwright runs, no other test could run an event loop.
@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    with chromium() as browser:
        yield browser


@pytest.fixture
def open_page(browser: "Browser") -> Generator[OpenPage]:
    """Open the page in a state, at a fixed time and with fixed numbers."""
    closing: list[Callable[[], None]] = []

    def open_state(state: State, width: int, scheme: Any) -> "Page":
        site = Site(document_of(state))
        site.start()
        closing.append(site.stop)
        context = browser.new_context(
            viewport={"width": width, "height": 900},
            color_scheme=scheme,
            timezone_id="UTC",
            locale="en-US",
        )
        closing.append(context.close)
        page = context.new_page()
        page.goto(site.url)
        page.locator(".pulse.live").wait_for()
        if state == "unreachable":
            site.stop()
            page.locator(".pulse.lost").wait_for()
        return page

    yield open_state
    for close in reversed(closing):
        close()


def document_of(state: State) -> dict[str, Any]:
    if state == "empty":
        return dict(StatusBoard(Clock()).snapshot(upstreams=[UP]))
    other: UpstreamState = {**UP, "model": DOWN["model"], "url": DOWN["url"]}
    upstreams = [UP, DOWN if state == "upstream-down" else other]
    board, _ = busy_day()
    document = dict(
        board.snapshot(n_in_flight=5, n_waiting=2, upstreams=upstreams, decision_log=LOG)
    )
    document = json.loads(json.dumps(document))
    document["decisions"] = document["decisions"][:6]
    return document


def look_at(page: "Page") -> Look:
    boxes: dict[str, Box] = {}
    for part in PARTS:
        box = page.locator(part).bounding_box()
        if box is not None and box["height"] > 0:
            sides = (box["x"], box["y"], box["width"], box["height"])
            boxes[part] = Box(*(round(side) for side in sides))
    return Look(read_png(page.screenshot(full_page=True)), boxes)


def read_png(png: bytes) -> Picture:
    image = pytest.importorskip("PIL.Image", reason="pillow is not installed: pip install pillow")
    with image.open(io.BytesIO(png)) as picture:
        return np.asarray(picture.convert("RGB"))


def write_png(path: Path, picture: Picture) -> None:
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    # The page has few colours: a palette of them makes half the bytes.
    Image.fromarray(picture).quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)


def blocks(picture: Picture) -> NDArray[np.float64]:
    """Return the mean colour of each block, shape `(n_rows, n_columns, 3)`."""
    height, width = (side // BLOCK * BLOCK for side in picture.shape[:2])
    cut = picture[:height, :width].astype(np.float64)
    return cut.reshape(height // BLOCK, BLOCK, width // BLOCK, BLOCK, 3).mean(axis=(1, 3))


def differing_share(ours: Picture, theirs: Picture) -> float:
    """Return the share of blocks that differ, where both pictures have one."""
    height, width = (min(sides) for sides in zip(ours.shape[:2], theirs.shape[:2], strict=True))
    difference = np.abs(blocks(ours[:height, :width]) - blocks(theirs[:height, :width]))
    return float((difference.max(axis=2) > MOST_COLOUR).mean())


def differences(ours: Look, theirs: Look) -> list[str]:
    """Return in words how two pictures differ, nothing if they are alike."""
    if list(ours.boxes) != list(theirs.boxes):
        return [f"{part} is in one only" for part in {*ours.boxes} ^ {*theirs.boxes}]
    found: list[str] = []
    for part, box in ours.boxes.items():
        other = theirs.boxes[part]
        if abs(box.x - other.x) > 2 or abs(box.width - other.width) > 2:
            found.append(f"{part} is at {box}, not at {other}")
        if abs(box.height - other.height) > max(LINE_PX, MOST_GROWTH * other.height):
            found.append(f"{part} is {box.height} px high, not {other.height}")
        share = differing_share(cut(ours.picture, box), cut(theirs.picture, other))
        if share > PARTS[part]:
            found.append(f"{part} differs in {share:.0%} of its area")
    if reading_order(ours) != reading_order(theirs):
        found.append("the parts are in another order")
    return found


def cut(picture: Picture, box: Box) -> Picture:
    return picture[box.y : box.y + box.height, box.x : box.x + box.width]


def reading_order(look: Look) -> list[str]:
    return sorted(look.boxes, key=lambda part: (look.boxes[part].y, look.boxes[part].x))


def golden_look(name: str) -> Look:
    path = GOLDEN / f"{name}.png"
    assert path.exists(), f"{path} is missing: run pytest with --update-golden"
    boxes = json.loads((GOLDEN / f"{name}.json").read_text("utf-8"))
    return Look(read_png(path.read_bytes()), {part: Box(*box) for part, box in boxes.items()})


def name_of(state: State, width: int, scheme: str) -> str:
    return f"{state}-{width}-{scheme}"


@pytest.mark.parametrize(("state", "width", "scheme"), PICTURES)
def test_the_page_looks_as_it_should(
    open_page: OpenPage,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    state: State,
    width: int,
    scheme: str,
) -> None:
    look = look_at(open_page(state, width, scheme))
    name = name_of(state, width, scheme)
    if request.config.getoption("--update-golden"):
        write_png(GOLDEN / f"{name}.png", look.picture)
        text = json.dumps(look.boxes, indent=2)
        (GOLDEN / f"{name}.json").write_text(text + "\n", "utf-8")
    found = differences(look, golden_look(name))
    if found:
        write_png(tmp_path / f"{name}.png", look.picture)
    assert not found, f"compare {tmp_path / name}.png with {GOLDEN / name}.png"


@pytest.mark.parametrize(("state", "width", "scheme"), SAMPLES)
def test_what_is_missing_is_noticed(
    open_page: OpenPage, state: State, width: int, scheme: str
) -> None:
    page = open_page(state, width, scheme)
    whole = look_at(page)
    assert differences(look_at(page), whole) == []
    # In boxes of the same size nothing but the colours can tell.
    for part, kind, value in (
        *((part, "display", "none") for part in whole.boxes),
        *((part, "visibility", "hidden") for part in ("#bar", "#chart") if part in whole.boxes),
        ("body", "filter", "invert(1)"),
    ):
        page.locator(part).evaluate(f"node => {{ node.style.{kind} = '{value}'; }}")
        assert differences(look_at(page), whole), f"{part} with {kind}: {value}"
        page.locator(part).evaluate(f"node => {{ node.style.{kind} = ''; }}")


@pytest.mark.parametrize(("state", "width", "scheme"), SAMPLES)
def test_another_font_is_not_minded(
    open_page: OpenPage, state: State, width: int, scheme: str
) -> None:
    page = open_page(state, width, scheme)
    whole = look_at(page)
    for font in ("Liberation Sans", "Arial", "DejaVu Sans", "DejaVu Serif"):
        page.evaluate("font => { document.body.style.fontFamily = font; }", font)
        assert differences(look_at(page), whole) == []
