"""Pages of runs and tables in a real browser: whole, quiet, readable by anybody."""

import json
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from advisor.report import compared_page, page_of, render, source_of, write_page
from calibration import Cell, MeasuredTable
from policies import ConfigError, InvalidInputError
from tests.advisor.report.opened import HOSTILE, Opened, chromium

pytest.importorskip("vl_convert", reason="needs the extra report")

if TYPE_CHECKING:
    from playwright.sync_api import Browser

BUDGETS = ("direct", "reasoning@64", "reasoning@256", "reasoning@max")


def cell(task: str, model: str, policy: str, n: int = 200, right: int = 120, **more: Any) -> Cell:
    from calibration.statistics import wilson_interval

    low, high = wilson_interval(right, n) if n else (float("nan"), float("nan"))
    fields: dict[str, Any] = {
        "task": task,
        "task_type": "math-oe",
        "model": model,
        "size": 1_000_000,
        "policy": policy,
        "recipe": "",
        "n": n,
        "n_correct": right,
        "n_cut": 3 if n else 0,
        "n_error": 1,
        "accuracy": right / n if n else float("nan"),
        "ci_low": low,
        "ci_high": high,
        "mean_prompt_tokens": 30.0,
        "mean_tokens": 12.0 + 40 * BUDGETS.index(policy) if policy in BUDGETS else 9.0,
        "mean_flops": 1e7 * (1 + BUDGETS.index(policy)) if policy in BUDGETS else None,
        "mean_seconds": 0.1,
        **more,
    }
    return Cell(**fields)


def saved(folder: Path, cells: Sequence[Cell]) -> Path:
    MeasuredTable(tuple(cells), {"seed": 0, "thinkroute": "1"}).save(folder)
    return folder


def usual(names: Sequence[str] = ("alpha", "beta")) -> list[Cell]:
    return [
        cell(task, model, policy, right=90 + 20 * index + 5 * place)
        for task in ("sums", "names")
        for place, model in enumerate(names)
        for index, policy in enumerate(BUDGETS)
    ]


@pytest.fixture(scope="module")
def browser() -> Generator["Browser"]:
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def usual_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("usual")
    out = folder / "page.html"
    write_page(page_of(source_of(saved(folder / "table", usual()))), out)
    return out


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_a_page_is_drawn_quiet_and_fits(
    browser: "Browser", usual_page: Path, width: int, scheme: Any
) -> None:
    how = {"viewport": {"width": width, "height": 800}, "color_scheme": scheme}
    opened = Opened(browser, usual_page, **how)
    assert opened.is_quiet(), (opened.complaints, opened.asked)
    plots = opened.page.locator(".plot svg")
    assert plots.count() == opened.page.locator("figure").count() == 2
    for index in range(plots.count()):
        box = plots.nth(index).bounding_box()
        assert box is not None
        assert box["width"] > 0.8 * min(width - 24, 1000)
        assert box["x"] + box["width"] <= width
    reach = opened.page.locator("html").evaluate("e => e.scrollWidth")
    assert reach <= width
    opened.page.close()


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(browser: "Browser", usual_page: Path, scheme: Any) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs the extra dev")
    # The page forbids scripts that it does not know, axe's among them.
    context = browser.new_context(bypass_csp=True, color_scheme=scheme)
    page = context.new_page()
    page.goto(usual_page.as_uri())
    page.wait_for_selector('html[data-drawn="yes"]', state="attached")
    for details in page.locator("summary").all():
        details.click()
    found = axe.Axe().run(page).response["violations"]
    serious = [one for one in found if one["impact"] in ("serious", "critical")]
    assert not serious, json.dumps(serious, indent=1)[:3000]
    context.close()


@pytest.mark.browser
def test_plots_can_be_saved_printed_and_read_as_tables(
    browser: "Browser", usual_page: Path, tmp_path: Path
) -> None:
    opened = Opened(browser, usual_page)
    page = opened.page
    for kind, begins in (("SVG", b"<svg"), ("PNG", b"\x89PNG")):
        with page.expect_download() as download:
            page.get_by_role("button", name=f"as {kind}").first.click()
        saved_as = tmp_path / kind
        download.value.save_as(saved_as)
        assert saved_as.read_bytes().startswith(begins)
        assert download.value.suggested_filename.endswith(kind.lower())
    # By keyboard alone: the summary of a plot opens its table.
    summary = page.locator("summary").first
    summary.focus()
    page.keyboard.press("Enter")
    assert page.locator("figure table").first.is_visible()
    assert page.locator("figure table tbody tr").count() == 8 + 6  # arms, budgets
    told = "math-oe: accuracy over cost. 8 arms on 2 tasks together"
    assert page.locator(f'[role="graphics-document"][aria-label^="{told}"]').count() == 1
    pdf = page.pdf()
    assert pdf.startswith(b"%PDF")
    assert opened.is_quiet(), (opened.complaints, opened.asked)
    page.close()


@pytest.mark.browser
def test_a_plot_tells_what_a_point_is(browser: "Browser", usual_page: Path) -> None:
    opened = Opened(browser, usual_page)
    point = opened.page.locator('.plot svg path[aria-roledescription="point"]').last
    point.hover()
    tip = opened.page.locator("#vg-tooltip-element.visible")
    tip.wait_for()
    assert ":" in tip.inner_text()
    assert "n" in tip.inner_text()
    opened.page.close()


@pytest.mark.browser
def test_names_are_never_executed(browser: "Browser", tmp_path: Path) -> None:
    cells = [cell(HOSTILE, f"{HOSTILE}{i}", policy) for i in range(2) for policy in BUDGETS]
    out = tmp_path / "page.html"
    write_page(page_of(source_of(saved(tmp_path / HOSTILE.replace("/", ""), cells))), out)
    opened = Opened(browser, out)
    assert opened.is_quiet(), (opened.complaints, opened.asked)
    assert opened.page.title() != "1"
    assert opened.page.locator("main img, main b").count() == 0
    assert "onerror" in opened.page.locator("main").inner_text()
    assert "\x1b" not in out.read_text("utf-8")
    opened.page.close()


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ([], "No answer was graded"),
        ([cell("sums", "m", "direct", n=0, right=0)], "No answer was graded"),
        ([cell("sums", "m", "direct")], "Only one arm was measured"),
        ([cell("sums", "m", "direct", n=1, right=1), cell("sums", "m", "cot")], "fewer than 30"),
        (
            [
                cell("sums", "m", "direct", mean_flops=None),
                cell("sums", "m", "cot", mean_tokens=float("nan")),
            ],
            "1 of 2 points cannot be placed",
        ),
    ],
    ids=["nothing", "no answer", "one arm", "few", "unknown costs"],
)
def test_a_page_says_what_is_missing_and_shows_the_rest(
    tmp_path: Path, cells: list[Cell], said: str
) -> None:
    page = page_of(source_of(saved(tmp_path / "table", cells)))
    assert said in render(page)
    assert [section.title for section in page.sections][-1] == "Every cell"


def test_equal_tables_make_equal_pages(tmp_path: Path) -> None:
    source = source_of(saved(tmp_path / "table", usual()))
    assert render(page_of(source)) == render(page_of(source))


def test_a_page_names_no_other_place(usual_page: Path) -> None:
    text = usual_page.read_text("utf-8")
    head, _, _ = text.partition("<script")
    assert "default-src &#39;none&#39;; script-src &#39;sha256-" in head
    assert "http://" not in head
    assert "https://" not in head
    assert len(text) < 2 * 2**20


@pytest.mark.parametrize(
    ("name", "error", "said"),
    [
        ("nowhere", ConfigError, "there is nothing at"),
        ("empty", ConfigError, "is no run, table, router or study"),
    ],
)
def test_paths_without_anything_are_told(
    tmp_path: Path, name: str, error: type[Exception], said: str
) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(error, match=said):
        source_of(tmp_path / name)


def test_tables_keep_no_answers_to_pair(tmp_path: Path) -> None:
    source = source_of(saved(tmp_path / "table", usual()))
    with pytest.raises(InvalidInputError, match="keeps no answers"):
        compared_page(source, source)


def test_a_page_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    page = page_of(source_of(saved(tmp_path / "table", usual())))
    with pytest.raises(InvalidInputError, match="is no page"):
        write_page(page, tmp_path / "page.txt")
    with pytest.raises(InvalidInputError, match="there is no folder"):
        write_page(page, tmp_path / "nowhere" / "page.html")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["table"]


@pytest.mark.slow
@pytest.mark.browser
def test_a_large_page_is_small_and_opens_soon(browser: "Browser", tmp_path: Path) -> None:
    policies = [f"reasoning@{2**k}" for k in range(5, 15)] + ["direct", "cot"]
    cells = [
        cell(
            f"task-{t:02}", "m", policy, n=10_000, right=5_000 + 100 * k, task_type=f"type-{t % 7}"
        )
        for t in range(14)
        for k, policy in enumerate(policies)
    ]
    out = tmp_path / "page.html"
    write_page(page_of(source_of(saved(tmp_path / "table", cells))), out)
    assert out.stat().st_size < 5 * 2**20
    opened = Opened(browser, out)
    timing = opened.page.locator("html").evaluate(
        "() => performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd"
    )
    assert timing < 2_000
    assert opened.is_quiet(), (opened.complaints, opened.asked)
    opened.page.close()
