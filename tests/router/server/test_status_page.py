"""The status page in a real browser: what it shows, to whom it talks, how it is used."""

import json
import math
import re
import shlex
from collections.abc import Callable, Generator, Iterator
from decimal import ROUND_HALF_UP, Decimal
from typing import TYPE_CHECKING, Any, cast

import pytest

from policies import Usage
from router.server._status import StatusBoard
from tests.router.server.status_site import (
    DOWN,
    LOG,
    NOON,
    UP,
    Clock,
    Site,
    busy_day,
    chromium,
    served,
)

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser

Visit = Callable[..., "Page"]
Document = dict[str, Any]
WIDTHS = (360, 800, 1280)
NONE, MINUS = "\N{EN DASH}", "\N{MINUS SIGN}"


# Of the module, not of the session: while Playwright runs, no other test could run an event loop.
@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    with chromium() as browser:
        yield browser


def empty_document() -> Document:
    return cast("Document", StatusBoard(Clock()).snapshot(upstreams=[UP]))


def busy_document(**state: Any) -> Document:
    board, _ = busy_day()
    state = {"n_in_flight": 5, "n_waiting": 2, "upstreams": [UP], "decision_log": LOG} | state
    return json.loads(json.dumps(board.snapshot(**state)))


@pytest.fixture
def site() -> Generator[Site]:
    site = Site(empty_document())
    site.start()
    yield site
    site.stop()


@pytest.fixture
def problems() -> list[str]:
    """What the console said; a test that expects something clears it."""
    return []


@pytest.fixture
def visit(browser: "Browser", site: Site, problems: list[str]) -> Generator[Visit]:
    """Open the page; afterwards nothing may have gone wrong, or to another host."""
    hosts: set[str] = set()
    contexts: list[Any] = []

    def open_page(document: Document, width: int = 1280, **options: Any) -> "Page":
        site.document = document
        context = browser.new_context(
            viewport={"width": width, "height": 900},
            timezone_id="UTC",
            locale="en-US",
            **options,
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.on("console", lambda message: problems.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda request: hosts.add(request.url.split("/")[2]))
        page.goto(site.url)
        page.locator(".pulse.live, .pulse.lost").wait_for()
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert problems == []
    assert hosts <= {f"127.0.0.1:{site.port}"}


def text_of(page: "Page", selector: str) -> str:
    return (page.locator(selector).text_content() or "").strip()


def three_digits(value: float) -> str:
    # Browsers round the shortest decimal number half up, `format` the binary one half to even.
    step = Decimal(10) ** (math.floor(math.log10(value)) - 2)
    return str(Decimal(repr(value)).quantize(step, ROUND_HALF_UP))


def ms(seconds: float) -> str:
    return f"{three_digits(seconds * 1000)} ms"


def percent(value: float) -> str:
    return f"{value * 100:.1f}".removesuffix(".0") + "%"


def whole(value: float | None) -> str:
    return NONE if value is None else f"{value:,.0f}".replace("-", MINUS)


def test_the_empty_page_shows_a_request_that_a_shell_can_run(visit: Visit, site: Site) -> None:
    page = visit(empty_document())
    page.get_by_role("heading", name="No request yet").wait_for()
    assert (
        not page.locator("#tiles, #traffic, #arms, #errors, #decisions")
        .filter(visible=True)
        .count()
    )
    words = shlex.split(text_of(page, "#example").replace("\\\n", " "))
    assert words[:2] == ["curl", f"{site.url}v1/chat/completions"]
    body = json.loads(words[words.index("-d") + 1])
    assert body["model"] == "thinkroute"
    assert [message["role"] for message in body["messages"]] == ["user"]
    assert "Authorization" not in text_of(page, "#example")
    assert text_of(page, "#base") == f"{site.url}v1"


def test_the_example_has_a_key_where_one_is_needed_and_quotes_any_model(visit: Visit) -> None:
    board = StatusBoard(Clock(), needs_key=True, example_model='it\'s "$(reboot)"')
    page = visit(dict(board.snapshot()))
    words = shlex.split(text_of(page, "#example").replace("\\\n", " "))
    assert "Authorization: Bearer $THINKROUTE_KEY" in words
    assert json.loads(words[-1])["model"] == 'it\'s "$(reboot)"'


def test_the_numbers_on_the_page_are_those_of_the_document(visit: Visit) -> None:
    document = busy_document()
    page = visit(document)
    saved, totals = document["saved"], document["totals"]
    added, decision = document["latency"]["added"], document["latency"]["decision"]
    tokens, flops = saved["tokens"], saved["flops"]

    def tile(name: str) -> tuple[str, str]:
        return text_of(page, f"#tile-{name} .value"), text_of(page, f"#tile-{name} .note")

    assert tile("tokens") == (
        whole(tokens["saved"]),
        f"{percent(tokens['share'])} of always reasoning, n = {tokens['n_known']}",
    )
    assert tile("flops") == (
        f"{three_digits(flops['saved'] / 1e15)} PFLOP",
        f"{percent(flops['share'])} of always reasoning, n = {flops['n_known']}",
    )
    assert tile("added") == (ms(added["p50_s"]), f"median; p95 {ms(added['p95_s'])}")
    assert tile("requests") == (
        whole(totals["n_requests"]),
        f"{whole(totals['prompt_tokens'])} tokens in, {whole(totals['completion_tokens'])} out",
    )
    n_errors = totals["n_errors"]
    assert tile("errors") == (
        whole(n_errors),
        f"{percent(n_errors / totals['n_requests'])} of requests",
    )
    assert text_of(page, "#rate") == f"{document['rate']['last_10_s']:.3g}/s"
    assert text_of(page, "#in-flight") == "5"
    assert text_of(page, "#waiting") == "2"
    times = f"{ms(decision['p50_s'])}, p95 {ms(decision['p95_s'])}"
    assert text_of(page, "#decision-time") == times
    assert text_of(page, "#log") == "The decision log is written: 3 waiting, 0 dropped."
    assert [(row["code"], whole(row["n"])) for row in document["errors"]] == list(
        zip(
            page.locator("#error-list dt").all_text_contents(),
            page.locator("#error-list dd").all_text_contents(),
            strict=True,
        )
    )


def test_the_picture_of_the_last_minute_has_a_bar_for_each_second(visit: Visit) -> None:
    document = busy_document()
    page = visit(document)
    drawn = page.locator("#chart .bars").get_attribute("d") or ""
    tops = [float(top) for top in re.findall(r"V([\d.]+) h", drawn)]
    counts = document["rate"]["per_second"]
    most = max(counts)
    assert most > 1
    # Heights are drawn to a hundredth.
    assert [39 - top for top in tops] == pytest.approx([37 * n / most for n in counts], abs=0.006)
    assert text_of(page, "#chart .most") == f"max {most}"
    assert f"{most} at most" in (page.locator("#chart svg").get_attribute("aria-label") or "")


@pytest.mark.parametrize("key", ["last_15_min", "since_start"])
def test_the_shares_of_arms_are_shown_for_the_chosen_time(visit: Visit, key: str) -> None:
    board, clock = busy_day()
    clock.now_s += 1200.0
    board.note(served(1, clock.now_s, arm="qwen3-8b:direct"))
    document = cast("Document", board.snapshot())
    page = visit(document)
    names = {"last_15_min": "15 min", "since_start": "Since start"}
    page.get_by_role("button", name=names[key]).click()
    pressed = page.locator("#arms button[aria-pressed=true]")
    assert pressed.all_text_contents() == [names[key]]
    rows = document["arms"][key]
    assert len(rows) == {"last_15_min": 1, "since_start": 3}[key]
    legend = page.locator("#legend li")
    shown = [
        tuple(legend.nth(at).locator(f".{part}").text_content() for part in ("name", "part", "n"))
        for at in range(legend.count())
    ]
    assert shown == [(row["arm"], percent(row["share"]), whole(row["n"])) for row in rows]
    pieces = page.locator("#bar span")
    widths = [(pieces.nth(at).bounding_box() or {})["width"] for at in range(pieces.count())]
    total = sum(widths)
    # A pixel of rounding.
    assert widths == pytest.approx([row["share"] * total for row in rows], abs=1.0)


def test_the_last_decisions_are_shown_newest_first(visit: Visit) -> None:
    document = busy_document()
    page = visit(document)
    shown = cast(
        "list[list[str]]",
        page.locator("#rows tr").evaluate_all(
            "rows => rows.map(row => [...row.cells].map(cell => cell.innerText))"
        ),
    )
    budgets = {None: "", "max": "\nno cap on thinking", 512: "\nbudget 512"}
    clock = [row["time_s"] - (NOON - 12 * 3600) for row in document["decisions"]]
    assert len(shown) == 50
    assert shown == [
        [
            f"{int(at // 3600):02}:{int(at // 60 % 60):02}:{int(at % 60):02}\n{row['decision_id']}",
            f"{row['asked']}\n{row['caller']}",
            row["arm"] + budgets[row["budget"]],
            f"{row['p']:.2f}",
            " · ".join(row["reasons"]),
            whole(row["tokens"]),
            whole(row["saved_tokens"]),
            ms(row["added_s"]),
            f"{row['status']}\n{row['error']}".strip(),
        ]
        for at, row in zip(clock, document["decisions"], strict=True)
    ]


def test_a_loss_is_shown_as_one(visit: Visit) -> None:
    board = StatusBoard(Clock())
    board.note(served(1, NOON, usage=Usage(1, 1500), reference_tokens=1000.0))
    page = visit(dict(board.snapshot()))
    assert text_of(page, "#tile-tokens .value") == f"{MINUS}500"
    assert text_of(page, "#tile-tokens .note").startswith(f"{MINUS}50% of always reasoning")
    assert "bad" in (page.locator("#tile-tokens").get_attribute("class") or "")
    assert text_of(page, "#tile-flops .value") == NONE
    assert text_of(page, "#tile-flops .note") == "unknown so far"


def test_the_banner_names_what_is_down_and_why(visit: Visit) -> None:
    state = {"is_down": True, "n_waiting": 1024, "n_dropped": 3}
    page = visit(busy_document(upstreams=[UP, DOWN], decision_log=state))
    lines = page.locator("#banner p").all_text_contents()
    assert lines[0] == "Upstream down: qwen3-32b at http://10.0.0.8:8000/v1: connection refused"
    assert lines[1].startswith("The decision log cannot be written.")
    assert len(lines) == 2
    assert page.locator("#upstream-list .state").all_text_contents() == ["up", "down"]
    assert "7 failed · connection refused" in text_of(page, "#upstream-list li.down")


@pytest.mark.parametrize(
    ("state", "is_up", "words", "n_banners"),
    [
        ("closed", True, "up", 0),
        ("closed", False, "down", 1),
        ("open", True, "down", 1),
        ("open", False, "down", 1),
        ("half-open", True, "being tried again", 0),
        ("half-open", False, "being tried again", 1),
    ],
)
def test_each_state_of_an_upstream_has_its_words(
    visit: Visit, state: str, is_up: bool, words: str, n_banners: int
) -> None:
    page = visit(busy_document(upstreams=[{**UP, "state": state, "is_up": is_up}]))
    assert text_of(page, "#upstream-list .state") == words
    assert page.locator("#banner p").count() == n_banners


def test_a_server_that_is_gone_is_said_to_be_and_found_again(
    visit: Visit, site: Site, problems: list[str]
) -> None:
    page = visit(busy_document())
    shown = text_of(page, "#tile-tokens .value")
    port = site.port
    site.stop()
    page.locator(".pulse.lost").wait_for()
    banner = text_of(page, "#banner")
    assert banner.startswith("The server cannot be reached; trying again every second.")
    assert banner.endswith("The numbers below are of 12:00:00.")
    assert text_of(page, "#tile-tokens .value") == shown
    assert page.title() == "! thinkroute"
    site.start(port)
    page.locator(".pulse.live").wait_for()
    assert text_of(page, "#banner") == ""
    assert page.title() == "thinkroute"
    # The browser itself logs that nobody answered; nothing else may have gone wrong.
    assert all("net::ERR_" in problem for problem in problems)
    problems.clear()


def test_a_server_of_another_version_asks_for_a_reload(visit: Visit) -> None:
    page = visit({"schema_version": 2})
    assert text_of(page, "#banner") == "The server has another version than this page: reload it."


def test_a_server_that_cannot_tell_its_numbers_is_quoted(
    visit: Visit, site: Site, problems: list[str]
) -> None:
    page = visit(busy_document())
    site.document = {"time_s": math.nan}  # no JSON: the route fails with 500
    page.locator(".pulse.lost").wait_for()
    assert text_of(page, "#banner").startswith("The server answers this page with status 500.")
    assert all("500" in problem for problem in problems)
    problems.clear()


HOSTILE = '<img src=x onerror="window.hacked=1">\'</script><script>hacked=1</script>\u202e{{7*7}}'


def test_names_and_texts_are_shown_as_text_and_run_nothing(visit: Visit) -> None:
    class Decided:
        prompt = HOSTILE

    board = StatusBoard(Clock(), show_texts=True, example_model=HOSTILE)
    fields: dict[str, Any] = {"asked": HOSTILE, "arm": HOSTILE, "caller": HOSTILE}
    board.note(
        served(
            1,
            NOON,
            **fields,
            decision_id=HOSTILE,
            error=HOSTILE,
            reasons=(HOSTILE, "constructor"),
            decision=Decided(),
        )
    )
    upstream = {**DOWN, "model": HOSTILE, "url": HOSTILE, "reason": HOSTILE}
    document = json.loads(json.dumps(board.snapshot(upstreams=[cast("Any", upstream)])))
    page = visit(document)
    page.locator("button.reasons").hover()
    row, legend = text_of(page, "#rows"), text_of(page, "#legend")
    assert row.count(HOSTILE) == 6  # asked, arm, caller, error, text and a reason
    assert HOSTILE in legend
    assert HOSTILE in text_of(page, "#error-list")
    assert text_of(page, "#upstream-list").count(HOSTILE) >= 2
    assert HOSTILE in text_of(page, "#banner")
    assert HOSTILE in text_of(page, "#tip")
    assert text_of(page, "#tip").count("has no words for") == 2
    assert page.locator("img, body script, iframe").count() == 0
    assert page.evaluate("() => 'hacked' in window") is False


def test_the_policy_stops_markup_that_got_in_by_other_ways(
    visit: Visit, problems: list[str]
) -> None:
    page = visit(busy_document())
    page.evaluate(
        "() => { document.body.insertAdjacentHTML('beforeend',"
        ' \'<img src="data:," onerror="window.hacked=1">\');'
        " const script = document.createElement('script'); script.textContent = 'hacked=1';"
        " document.body.append(script); }"
    )
    page.wait_for_timeout(300)
    assert page.evaluate("() => 'hacked' in window") is False
    assert len(problems) == 2
    assert all("Content Security Policy" in problem for problem in problems)
    problems.clear()


def test_new_requests_appear_by_themselves(visit: Visit, site: Site) -> None:
    board, clock = busy_day(3)
    page = visit(dict(board.snapshot()))
    oldest = page.locator("#rows tr").last.element_handle()
    clock.now_s += 2.0
    board.note(served(0xABC, clock.now_s, asked="late-comer"))
    site.document = dict(board.snapshot(n_waiting=7))
    page.get_by_role("cell", name="late-comer").wait_for()
    assert page.locator("#rows tr").count() == 4
    assert "late-comer" in (page.locator("#rows tr").first.text_content() or "")
    assert text_of(page, "#waiting") == "7"
    assert text_of(page, "#tile-requests .value") == "4"
    # Rows are kept, not drawn again: focus and selection stay where they were.
    assert oldest.evaluate("row => row.isConnected && row === row.parentNode.lastChild")


def test_a_restarted_server_starts_with_a_clean_table(visit: Visit, site: Site) -> None:
    page = visit(busy_document())
    board = StatusBoard(Clock(NOON + 60.0))
    board.note(served(1, NOON + 60.0, asked="after-restart"))
    site.document = dict(board.snapshot())
    page.get_by_role("cell", name="after-restart").wait_for()
    assert page.locator("#rows tr").count() == 1


def test_the_banner_is_not_spoken_again_while_it_says_the_same(visit: Visit, site: Site) -> None:
    page = visit(busy_document(upstreams=[DOWN]))
    assert page.locator("#banner[role=status][aria-live=polite]").count() == 1
    page.evaluate(
        "() => { window.changes = 0; new MutationObserver(() => { window.changes += 1; })"
        ".observe(document.getElementById('banner'),"
        " { childList: true, characterData: true, subtree: true }); }"
    )
    n_asked = site.n_asked
    site.document = busy_document(upstreams=[{**DOWN, "n_failed": 8}], n_waiting=99)
    page.wait_for_timeout(2500)
    assert site.n_asked >= n_asked + 2
    assert text_of(page, "#waiting") == "99"
    assert page.evaluate("() => window.changes") == 0


def test_a_hidden_tab_asks_nothing_until_it_is_seen_again(visit: Visit, site: Site) -> None:
    page = visit(busy_document())
    hide = (
        "is => { Object.defineProperty(document, 'hidden', { value: is, configurable: true });"
        " document.dispatchEvent(new Event('visibilitychange')); }"
    )
    page.evaluate(hide, True)
    page.wait_for_timeout(300)  # an answer may be on its way
    n_asked = site.n_asked
    page.wait_for_timeout(2500)
    assert site.n_asked == n_asked
    page.evaluate(hide, False)
    page.wait_for_timeout(1500)
    assert site.n_asked >= n_asked + 2


def focused(page: "Page") -> str:
    return cast(
        "str",
        page.evaluate("() => document.activeElement.id || document.activeElement.className"),
    )


def test_everything_can_be_reached_with_the_keyboard(visit: Visit) -> None:
    page = visit(busy_document())
    stops: list[str] = []
    for _ in range(3):
        page.keyboard.press("Tab")
        stops.append(focused(page))
        outline = page.evaluate("() => getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid"
    assert stops == ["arms-lately", "arms-all", "reasons"]
    texts = page.locator("button.reasons").all_text_contents()

    def current() -> str:
        assert focused(page) == "reasons"
        return cast("str", page.evaluate("() => document.activeElement.textContent"))

    for key, at in (("ArrowDown", 1), ("ArrowDown", 2), ("ArrowUp", 1), ("End", 49), ("Home", 0)):
        page.keyboard.press(key)
        assert current() == texts[at]
        tip = page.get_by_role("tooltip")
        assert tip.locator("dt").all_text_contents() == texts[at].split(" · ")
        assert all(len(words) > 20 for words in tip.locator("dd").all_text_contents())
        described = page.evaluate("() => document.activeElement.getAttribute('aria-describedby')")
        assert described == "tip"
        box = tip.bounding_box() or {}
        assert box["y"] >= 0
        assert box["y"] + box["height"] <= 900
    page.keyboard.press("Escape")
    assert page.get_by_role("tooltip").count() == 0
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Shift+Tab")
    assert focused(page) == "arms-all"
    assert page.get_by_role("tooltip").count() == 0
    page.keyboard.press("Tab")  # back to the row that was left, not to the first
    assert current() == texts[1]


def test_focus_stays_in_its_row_while_newer_ones_arrive(visit: Visit, site: Site) -> None:
    board, clock = busy_day(3)
    page = visit(dict(board.snapshot()))
    page.locator("button.reasons").nth(1).focus()
    board.note(served(9, clock.now_s, reasons=("only-arm",)))
    site.document = dict(board.snapshot())
    page.get_by_role("cell", name="only-arm").wait_for()
    button = page.locator("button.reasons").nth(2)
    assert button.evaluate("button => button === document.activeElement")
    assert page.get_by_role("tooltip").is_visible()
    assert page.locator("button.reasons[tabindex='0']").count() == 1


@pytest.mark.parametrize("width", WIDTHS)
def test_no_width_needs_scrolling_sideways(visit: Visit, site: Site, width: int) -> None:
    long = "a-very-long-name-without-any-place-to-break-" * 5
    board = StatusBoard(Clock(), show_texts=True)
    board.note(
        served(1, NOON, asked=long, arm=long, caller=long, error=long, reasons=(long, "explored"))
    )
    upstream = {**DOWN, "model": long, "url": f"http://{long}", "reason": long}
    long_document = dict(board.snapshot(upstreams=[cast("Any", upstream)]))
    page = visit(empty_document(), width=width)
    for document in (empty_document(), busy_document(upstreams=[UP, DOWN]), long_document):
        site.document = document
        page.reload()
        page.locator(".pulse.live").wait_for()
        if page.locator("button.reasons").count():
            page.locator("button.reasons").first.focus()
        assert page.evaluate("() => document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_every_text_stands_out_from_its_ground(visit: Visit, width: int, scheme: str) -> None:
    page = visit(busy_document(upstreams=[UP, DOWN]), width=width, color_scheme=scheme)
    page.locator("button.reasons").first.focus()
    # Relative luminance and contrast as WCAG 2.2 defines them.
    contrasts = cast(
        "list[tuple[float, str]]",
        page.evaluate(
            """() => {
              const rgba = (text) => text.match(/[\\d.]+/g).map(Number);
              const light = ([r, g, b]) => {
                const [x, y, z] = [r, g, b].map((v) => v / 255)
                  .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
                return 0.2126 * x + 0.7152 * y + 0.0722 * z;
              };
              const ground = (node) => {
                for (let at = node; at; at = at.parentElement) {
                  const colour = rgba(getComputedStyle(at).backgroundColor);
                  if (colour.length === 3 || colour[3] === 1) return colour;
                }
                return [255, 255, 255];
              };
              const found = [];
              const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
              while (walker.nextNode()) {
                const node = walker.currentNode.parentElement;
                if (!walker.currentNode.textContent.trim() || !node.checkVisibility()) continue;
                const [a, b] = [light(rgba(getComputedStyle(node).color)), light(ground(node))];
                found.push([(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), node.textContent]);
              }
              return found;
            }"""
        ),
    )
    assert len(contrasts) > 200
    assert min(contrasts)[0] >= 4.5, min(contrasts)


@pytest.mark.parametrize("width", WIDTHS)
def test_the_parts_of_the_page_have_roles_and_names(visit: Visit, width: int) -> None:
    page = visit(busy_document(upstreams=[UP]), width=width)
    assert page.get_by_role("banner").count() == 1
    assert page.get_by_role("main").count() == 1
    assert page.get_by_role("heading", level=1).all_text_contents() == ["thinkroute"]
    for name in ("Totals", "Decisions per second", "Arms", "Upstreams", "Errors by code"):
        assert page.get_by_role("region", name=name).count() == 1
    table = page.get_by_role("table", name="Last decisions")
    # Narrow screens show cards: the table must still be one to a reader.
    assert table.get_by_role("columnheader").count() == 9
    assert table.get_by_role("row").count() == 51
    assert table.get_by_role("cell").count() == 50 * 9
    assert page.evaluate("() => document.documentElement.lang") == "en"
