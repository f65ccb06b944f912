"""The page of a recommendation: its numbers are the document's own, and it asks nobody."""

import json
import re
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from advisor import Recommendation, RecommendationRequest, recommend
from advisor.report import Facts, Page, recommendation_page, write_page
from advisor.report._blocks import is_link, link_to
from advisor.study import load_study
from policies import ModelSize
from tests.advisor.report.opened import HOSTILE, Opened, chromium
from tests.advisor.report.reading import (
    Seen,
    all_charts,
    compiles,
    rows,
    tables,
    texts,
    values,
)

pytest.importorskip("vl_convert", reason="needs the extra report")

if TYPE_CHECKING:
    from playwright.sync_api import Browser

Run = Callable[..., Any]
ANSWERS = Path(__file__).parents[2] / "golden" / "recommend_views"
NAMES = sorted(path.stem for path in ANSWERS.glob("*.json"))
CANDIDATES = "The candidates"


def answer_of(name: str) -> Recommendation:
    return Recommendation.from_json(json.loads((ANSWERS / f"{name}.json").read_text("utf-8")))


def changed(answer: Recommendation, **fields: Any) -> Recommendation:
    return answer.model_copy(update=fields)


def facts(page: Page, section: str) -> dict[str, list[str]]:
    (found,) = [one for one in page.sections if one.title == section]
    told: dict[str, list[str]] = {}
    for block in found.blocks:
        if isinstance(block, Facts):
            for name, value in block.rows:
                told.setdefault(name, []).append(value)
    return told


@pytest.fixture(scope="module")
def measured() -> Recommendation:
    """Return what is advised on the shipped study, where every option was measured."""
    study = load_study("pocket-study").evidence()
    size = ModelSize(study.sizes["pocket-m"])
    asked = RecommendationRequest(size=size, task_type="math-oe", corpus="general")
    return recommend(asked, study=study)


@pytest.fixture(scope="module")
def browser() -> Generator["Browser"]:
    with chromium() as running:
        yield running


@pytest.mark.parametrize("name", NAMES)
def test_it_says_all_that_the_document_says(name: str) -> None:
    answer = answer_of(name)
    page = recommendation_page(answer)
    said = texts(page)
    assert answer.verdict.text in page.lead[0]
    parts = [
        *(one.text for one in answer.verdict.reasons),
        *(one.text for one in answer.warnings),
        *(one.text for one in answer.conflicts),
        *(one.condition for one in answer.changes),
        *(one.text for one in answer.next_measurements),
        *(command for one in answer.next_measurements for command in one.commands),
        *(one.text for one in answer.methods),
        *(stage.title for stage in answer.plan),
        *(stage.command or "" for stage in answer.plan),
        *(one.text for one in answer.assumptions),
        *(note for option in answer.options for note in (*option.notes, *option.why_not)),
        *(item.id for item in answer.evidence),
        answer.cost_formula,
    ]
    assert [part for part in parts if part not in said] == []
    assert "95%" not in said, "intervals of a recommendation are of another level"


@pytest.mark.parametrize("name", NAMES)
def test_options_stand_with_intervals_n_and_costs(name: str) -> None:
    answer = answer_of(name)
    compared, costs, *_ = tables(recommendation_page(answer), CANDIDATES)
    n_of = {item.id: item.n for item in answer.evidence}
    for option, row, cost in zip(answer.options, rows(compared), rows(costs), strict=True):
        assert row["option"] == cost["option"] == option.id
        known = option.accuracy
        expected = (
            "" if known.value is None else f"{known.value:.3f} [{known.low:.3f}, {known.high:.3f}]"
        )
        assert row["expected accuracy [90%]"] == expected
        counts = {n_of[cell] for cell in known.cells}
        if len(counts) == 1 and None not in counts:
            assert row["n"] == f"{counts.pop():,}"
        assert row["basis"] == known.basis
        assert row["feasible"] == ("yes" if option.is_feasible else "no")
        assert (cost["USD"] == "") == (option.train_usd is None)
        assert (cost["FLOPs of an answer"] == "") == (option.inference_flops is None)


@pytest.mark.parametrize("name", NAMES)
def test_plots_show_the_known_accuracies_and_compile(name: str) -> None:
    answer = answer_of(name)
    page = recommendation_page(answer)
    known = [one for one in answer.options if one.accuracy.value is not None]
    assert bool(all_charts(page)) == bool(known)
    for chart in all_charts(page):
        assert compiles(chart)
        costs = "training" in chart.title
        placed = [one for one in known if costs or one.inference_flops is not None]
        assert {(r["name"][0], r["x"], r["y"], r["low"], r["high"]) for r in values(chart)} == {
            (
                one.id,
                one.train_flops if costs else one.inference_flops,
                *(one.accuracy.value, one.accuracy.low, one.accuracy.high),
            )
            for one in placed
        }
        marked = [row["name"][0] for row in values(chart) if row["marked"]]
        trained = answer.verdict.option or answer.verdict.fallback
        assert marked == [one.id for one in placed if one.id == trained]
        assert len(chart.table.rows) == len(answer.options)


def test_unknown_accuracies_are_told_and_drawn_as_costs_alone() -> None:
    page = recommendation_page(answer_of("sequential"))
    assert any("its gain cannot be told in numbers" in note for note in page.notes)
    told = facts(page, "What to do")
    assert told["expected accuracy"] == ["not known (rule)"]
    assert told["share of reasoning rows"] == ["25%"]
    assert told["order of stages"] == ["direct answers (IFT) first, reasoning rows last"]
    assert told["expected gain"][0].startswith("not known")
    chart = all_charts(page)[0]
    lines = chart.spec["layer"][0]
    assert lines["mark"]["type"] == "rule"
    assert [one["label"] for one in lines["data"]["values"]] == ["B, C"]
    assert "what options of unknown accuracy cost (B, C)" in chart.words
    assert "Accuracy of B, C: not known" in texts(page)


def test_gains_are_those_of_the_differences_whichever_side_the_option_is_on(
    measured: Recommendation,
) -> None:
    option = measured.recommended
    assert option is not None
    own = [one for one in measured.differences if option.id in {one.first, one.second}]
    assert own
    told = facts(recommendation_page(measured), "What to do")
    assert len(told["expected gain"]) == len(own)
    turned = changed(
        measured,
        differences=tuple(
            one.model_copy(
                update={
                    **{"first": one.second, "second": one.first, "value": -one.value},
                    **{"low": -one.high, "high": -one.low},
                }
            )
            for one in measured.differences
        ),
    )
    assert (
        facts(recommendation_page(turned), "What to do")["expected gain"] == told["expected gain"]
    )
    first = next(one for one in own if one.first == option.id)
    gain = f"{100 * first.value:+.1f} [{100 * first.low:+.1f}, {100 * first.high:+.1f}] points"
    assert any(one.startswith(gain) and "n = 3,000" in one for one in told["expected gain"])


def test_differences_stand_with_their_intervals(measured: Recommendation) -> None:
    *_, decide = tables(recommendation_page(measured), CANDIDATES)
    for one, row in zip(measured.differences, rows(decide), strict=True):
        assert row["options"] == f"{one.first} minus {one.second}"
        ends = (100 * one.value, 100 * one.low, 100 * one.high)
        assert row["difference in points [90%]"] == "{:+.1f} [{:+.1f}, {:+.1f}]".format(*ends)
        assert row["result"] == ("shown" if one.is_shown else "not shown")


def test_an_abstention_says_so_and_what_loses_least() -> None:
    answer = answer_of("abstention")
    page = recommendation_page(answer)
    assert page.notes[0].startswith("Nothing is recommended: measure first.")
    fallback = answer.option(answer.verdict.fallback)
    assert fallback is not None
    assert facts(page, "What to do")["loses least"][0].startswith(f"{fallback.id}: ")


def test_a_leaning_and_a_broken_cap_are_told() -> None:
    answer = answer_of("sequential")
    verdict = answer.verdict.model_copy(update={"is_leaning": True, "option": "E"})
    page = recommendation_page(changed(answer, verdict=verdict))
    assert page.lead[0].startswith("[rule, leaning] ")
    assert any("contains 0" in note for note in page.notes)
    assert "Option E breaks what was asked for: larger than 3B." in page.notes


def test_an_answer_without_anything_makes_a_page() -> None:
    empty: dict[str, Any] = dict.fromkeys(
        (
            *("options", "differences", "plan", "methods", "evidence", "conflicts", "warnings"),
            *("changes", "next_measurements", "assumptions"),
        ),
        (),
    )
    answer = answer_of("abstention")
    verdict = answer.verdict.model_copy(update={"reasons": (), "fallback": None, "option": None})
    page = recommendation_page(changed(answer, verdict=verdict, **empty))
    assert "There is no option to train." in texts(page)
    assert not all_charts(page)
    assert "No figure was used." in Seen(page).text


def test_evidence_leads_to_its_papers_and_nowhere_else() -> None:
    answer = answer_of("sequential")
    page = recommendation_page(answer)
    outside = {link for link in Seen(page).links if not link.startswith("#")}
    assert "https://arxiv.org/abs/2509.22193v2" in outside
    assert all(re.fullmatch(r"https://arxiv\.org/abs/\d{4}\.\d{5}(v\d+)?", one) for one in outside)
    assert "n not printed" in texts(page)


@pytest.mark.parametrize(
    "source",
    [
        "javascript:alert(1)",
        "http://example.org/paper",
        'https://example.org/"onmouseover="alert(1)',
        "https://example.org/<script>",
        "https://user@example.org/",
        "https:/example.org",
        "data:text/html,x",
        "a paper of arXiv",
        "arXiv 2509.221",
        "arXiv 2509.2219345",
    ],
)
def test_what_is_no_plain_address_is_no_link(source: str) -> None:
    answer = answer_of("sequential")
    reasons = (answer.verdict.reasons[0].model_copy(update={"source": source, "cells": ()}),)
    verdict = answer.verdict.model_copy(update={"reasons": reasons})
    page = recommendation_page(changed(answer, verdict=verdict, conflicts=(), methods=()))
    seen = Seen(page)
    assert all(link.startswith("#") for link in seen.links)
    assert source in seen.text


def test_an_address_that_is_given_as_a_source_is_a_link() -> None:
    answer = answer_of("sequential")
    given_ = "https://example.org/a/table.csv?x=1&y=2"
    reasons = (answer.verdict.reasons[0].model_copy(update={"source": given_}),)
    verdict = answer.verdict.model_copy(update={"reasons": reasons})
    assert given_ in Seen(recommendation_page(changed(answer, verdict=verdict))).links


@given(st.text() | st.from_regex(r"https://.{0,30}|.{0,9}arXiv \d{4}\.\d{5}.{0,9}"))
def test_links_are_plain_addresses_whatever_a_source_says(source: str) -> None:
    link = link_to(source)
    assert link == "" or is_link(link)
    assert not set(link) & set("\"'<> \n\t\\`")


def test_hostile_texts_reach_the_page_escaped() -> None:
    answer = answer_of("own-cells")
    document = answer.to_json()
    document["verdict"]["text"] = HOSTILE
    document["request"]["task_type"] = "math-oe"
    for item in document["evidence"]:
        item |= {"source": HOSTILE, "cell": HOSTILE, "recipe": HOSTILE, "grade": HOSTILE}
    for part in ("warnings", "conflicts", "methods"):
        for one in document[part]:
            one["text"] = HOSTILE
    for option in document["options"]:
        option["notes"] = [HOSTILE]
    page = recommendation_page(Recommendation.from_json(document))
    seen = Seen(page)
    assert not {"img", "b"} & set(seen.tags)
    assert "\x1b" not in seen.text
    assert '<img src=x onerror="document.title=1">' in seen.text
    assert seen.tags.count("script") == len(all_charts(page)) + 2


def test_the_command_writes_the_page_beside_its_answer(advisor: Run, tmp_path: Path) -> None:
    out = tmp_path / "answer.html"
    asked = ("recommend", "--size", "3B", "--task", "math-oe", "--json")
    plain, told = advisor(*asked), advisor(*asked, "--report", out)
    assert (told.code, told.out) == (plain.code, plain.out)
    assert f"wrote {out}" in told.err
    answer = Recommendation.from_json(told.json())
    assert answer.verdict.text in out.read_text("utf-8").replace("&#39;", "'").replace("&#34;", '"')


def test_the_command_writes_the_page_of_an_abstention_too(advisor: Run, tmp_path: Path) -> None:
    out = tmp_path / "answer.html"
    found = advisor("recommend", "--size", "3B", "--task", "law", "--format", "oe", "--report", out)
    assert found.code == 6
    assert "Nothing is recommended" in out.read_text("utf-8")


@pytest.mark.parametrize("name", ["answer.txt", "nowhere/answer.html"])
def test_the_command_refuses_what_is_no_page(advisor: Run, tmp_path: Path, name: str) -> None:
    asked = ("recommend", "--size", "3B", "--task", "math-oe", "--report", tmp_path / name)
    found = advisor(*asked)
    assert (found.code, found.out) == (2, "")
    assert "Traceback" not in found.err
    assert not list(tmp_path.iterdir())


@pytest.mark.browser
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
@pytest.mark.parametrize("name", ["sequential", "abstention"])
def test_it_is_drawn_quiet_and_fits(
    browser: "Browser", tmp_path: Path, name: str, width: int, scheme: Any
) -> None:
    out = tmp_path / "answer.html"
    write_page(recommendation_page(answer_of(name)), out)
    how = {"viewport": {"width": width, "height": 800}, "color_scheme": scheme}
    opened = Opened(browser, out, **how)
    assert opened.is_quiet(), (opened.complaints, opened.asked)
    assert opened.page.locator("html").evaluate("e => e.scrollWidth") <= width
    opened.page.close()
