"""The page of a study: its numbers are the study's own, and what is missing is said."""

import math
import re
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from advisor.report import Facts, Page, Prose, write_page
from advisor.report._studied import study_page
from advisor.report._studied_charts import Recipe, recipes_of
from advisor.study import StudyOrder, StudyTable, load_study
from advisor.study.findings import (
    AS_TRAINED,
    Agreement,
    Term,
    accuracy,
    contrast,
    find_all,
    group,
    write_measure,
)
from calibration import pareto_front
from policies import UnknownNameError
from tests.advisor.report.opened import HOSTILE, Opened, chromium
from tests.advisor.report.reading import (
    Seen,
    all_charts,
    charts,
    compiles,
    rows,
    tables,
    texts,
    values,
)
from tests.advisor.study.synthetic import synthetic_study
from tests.advisor.study.test_findings import linear, make_table

pytest.importorskip("vl_convert", reason="needs the extra report")

if TYPE_CHECKING:
    from playwright.sync_api import Browser

RATIOS = "Accuracy over the share of reasoning rows"
ORDERS = "The order of rows and stages"


@pytest.fixture(scope="module")
def study() -> StudyTable:
    return load_study("pocket-study")


@pytest.fixture(scope="module")
def page() -> Page:
    return study_page("pocket-study")


@pytest.fixture(scope="module")
def browser() -> Generator["Browser"]:
    with chromium() as running:
        yield running


def page_of(table: StudyTable, folder: Path) -> Page:
    return study_page(table.save(folder / "study"))


def test_a_name_that_is_no_study_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="no-such-study"):
        study_page("no-such-study")


def test_it_says_what_was_trained(page: Page, study: StudyTable) -> None:
    assert page.title == "Study pocket-study"
    n = sum(cell.n for one in study.results for cell in one.cells)
    assert f"180 of 180 planned students: 3 sizes, 3 corpora, 3 seeds; {n:,} graded" in page.lead[0]
    assert page.notes == ()
    (took,) = tables(page, "What was trained")
    for row, (size, n_params) in zip(rows(took), study.sizes.items(), strict=True):
        own = study.select(size=size)
        assert row["size"] == size
        assert row["parameters"] == f"{n_params:,}"
        assert row["students"] == "60 of 60"
        assert row["tokens of all"] == f"{sum(one.train_tokens for one in own):,}"
    assert dict(page.sources)["torch"] == study.provenance["lab"]["torch"]


def test_every_plot_compiles(page: Page) -> None:
    assert len(all_charts(page)) == 8 + 8 + 4 + 4 + 4
    assert all(compiles(chart) for chart in all_charts(page))


def test_curves_over_shares_have_the_accuracies_of_the_findings(
    page: Page, study: StudyTable
) -> None:
    found = charts(page, RATIOS)
    assert len(found) == 2 * 4
    for chart in found:
        title = re.fullmatch(r"(.+): trained on the (.+) corpus", chart.title)
        assert title is not None
        kind, corpus = title.groups()
        assert len(values(chart)) == 3 * (5 + 3)
        for row in values(chart):
            size, label = row["name"].split(", ")
            known = accuracy(group(study, size, corpus, label), [kind])
            assert known is not None
            assert (row["y"], row["low"], row["high"]) == known
            assert row["n"] == "3,000"
            assert row["series"] == size
        for size in study.sizes:
            gain = contrast(_difference(study, size, corpus, "reasoning", "ift"), [kind])
            assert gain is not None
            assert f"{write_measure(gain.measure, 'points')} at {size}" in chart.words


def test_points_side_by_side_keep_their_true_share_in_the_table(page: Page) -> None:
    for chart in charts(page, RATIOS):
        shares = {row["share of reasoning rows"] for row in rows(chart.table)}
        assert shares == {"0.000", "0.250", "0.500", "0.750", "1.000"}
        at_half = {row["x"] for row in values(chart) if row["shown_x"] == "0.500"}
        assert len(at_half) == 6
        assert all(abs(x - 0.5) < 0.05 for x in at_half)


def test_orders_are_compared_with_mixed_rows_in_pairs(page: Page, study: StudyTable) -> None:
    found = [one for one in charts(page, ORDERS) if "the order of the same rows" in one.title]
    assert len(found) == 2 * 4
    for chart in found:
        kind, rest = chart.title.split(": the order of the same rows, ")
        corpus = rest.removesuffix(" corpus")
        assert len(values(chart)) == 3 * 3
        for row in values(chart):
            size, label = row["name"].split(", ")
            mixed = label.replace("ift_then_reasoning", "mixed")
            known = contrast(_difference(study, size, corpus, label, mixed), [kind])
            assert known is not None
            ends = [100 * (math.nan if end is None else end) for end in known.measure]
            assert [row["y"], row["low"], row["high"]] == ends


def test_stages_that_end_in_direct_answers_are_told_with_what_they_cost(
    page: Page, study: StudyTable
) -> None:
    found = [one for one in charts(page, ORDERS) if "after a stage" in one.title]
    assert len(found) == 4
    for chart in found:
        kind = chart.title.partition(":")[0]
        assert len(values(chart)) == 6 * 3
        added = StudyOrder.GENERAL_REASONING_MATH_IFT.value
        for size in study.sizes:
            terms = [
                Term(1.0, group(study, size, "general_then_math", added)),
                Term(-1.0, group(study, size, "general", "reasoning")),
            ]
            change = contrast(terms, [kind])
            assert change is not None
            assert f"{write_measure(change.measure, 'points')} at {size}" in chart.words


@pytest.mark.parametrize("of", ["training", "inference"])
def test_fronts_over_flops_are_those_of_the_cells(page: Page, study: StudyTable, of: str) -> None:
    found = charts(page, f"Accuracy over {of} FLOPs")
    assert [chart.title.partition(":")[0] for chart in found] == [
        *("math-oe", "math-mc", "general-oe", "general-mc")
    ]
    for chart in found:
        kind = chart.title.partition(":")[0]
        cells = [
            replace(cell, mean_flops=_train_flops(study, cell.model, corpus, cell.recipe))
            if of == "training"
            else cell
            for corpus in study.corpora
            for cell in study.pooled_cells(corpus=corpus)
            if (cell.task_type, cell.policy) == (kind, AS_TRAINED)
        ]
        front = {(cells[i].mean_flops, cells[i].accuracy) for i in pareto_front(cells)}
        assert len(values(chart)) == len(cells) == 60
        assert {(row["x"], row["y"]) for row in values(chart) if row["marked"]} == front
        assert {(row["x"], row["y"]) for row in values(chart)} == {
            (cell.mean_flops, cell.accuracy) for cell in cells
        }
        assert f"{len(pareto_front(cells))} of them on the front" in chart.words


def test_findings_stand_with_their_verdicts_checks_and_numbers(
    page: Page, study: StudyTable
) -> None:
    findings = find_all(study)
    checks = [check.agreement for one in findings for check in one.checks]
    n_agree = checks.count(Agreement.AGREES)
    assert f"Of {len(checks)} statements of the paper {n_agree} agree" in page.lead[1]
    (summary,) = tables(page, "Against the paper")
    for finding, told in zip(findings, rows(summary), strict=True):
        assert told["question"] == finding.question
        assert int(told["checks"]) == len(finding.checks)
        section = next(one for one in page.sections if one.title == finding.question)
        assert section.blocks[0] == Prose(finding.verdict, is_warning=not finding.rows)
        facts = [dict(block.rows) for block in section.blocks if isinstance(block, Facts)]
        assert [one["outcome"] for one in facts] == [one.agreement.value for one in finding.checks]
        assert [one["reported"] for one in facts] == [one.paper for one in finding.checks]
        assert [one["here"] for one in facts] == [one.measured for one in finding.checks]
        (numbers,) = tables(page, finding.question)
        assert numbers.is_folded
        for row, shown in zip(finding.rows, numbers.rows, strict=True):
            measures = [
                "" if one is None else write_measure(one, column.unit)
                for one, column in zip(row.measures, finding.columns, strict=True)
            ]
            assert shown == (*row.labels, *measures, f"{row.n_seeds}", f"{row.n_questions:,}")


def test_every_group_is_in_a_table(page: Page, study: StudyTable) -> None:
    found = tables(page, "Every group")
    shown = [row for table in found for row in rows(table)]
    cells = [(corpus, c) for corpus in study.corpora for c in study.pooled_cells(corpus=corpus)]
    assert len(shown) == len(cells) == 60 * 4 * 4
    expected = {
        (
            f"{cell.model}, {corpus}, {cell.recipe}",
            cell.policy,
            f"{cell.accuracy:.3f} [{cell.ci_low:.3f}, {cell.ci_high:.3f}]",
            f"{cell.n:,}",
        )
        for corpus, cell in cells
    }
    columns = ("group", "asked by", "accuracy [95%]", "n")
    assert {tuple(row[name] for name in columns) for row in shown} == expected
    assert {row["seeds"] for row in shown} == {"3"}


def test_known_truth_is_read_back(tmp_path: Path) -> None:
    page = page_of(make_table(linear), tmp_path)
    for chart in charts(page, RATIOS):
        assert chart.words.count("+30.0") >= 3
    for chart in charts(page, ORDERS):
        assert {round(row["y"], 9) for row in values(chart)} == {0.0}
        assert "ahead of mixed rows in 0 of 9, behind in 0, in 9" in chart.words
    assert "No student was trained in two stages." in texts(page)


def test_an_order_that_ends_in_direct_answers_is_named_as_one(tmp_path: Path) -> None:
    orders = (StudyOrder.MIXED, StudyOrder.REASONING_THEN_IFT)
    table = make_table(
        lambda student, _, __: 0.2 if student.order is StudyOrder.REASONING_THEN_IFT else 0.6,
        orders=orders,
    )
    page = page_of(table, tmp_path)
    for chart in charts(page, ORDERS):
        assert (
            "Reasoning, then IFT, which ends in direct answers: ahead of mixed rows in 0 of 9, "
            "behind in 9" in chart.words
        )
        assert {row["variant"] for row in values(chart)} == {"reasoning, then IFT"}


def test_one_seed_is_told_and_its_intervals_are_over_questions(tmp_path: Path) -> None:
    table = synthetic_study(sizes=("pocket-xs", "pocket-s"), seeds=(4,), n_questions=60)
    page = page_of(table, tmp_path)
    assert any("with one seed: intervals are over questions alone" in one for one in page.notes)
    for chart in charts(page, RATIOS):
        for row in values(chart):
            assert row["n"] == "60"
            assert 0 <= row["low"] < row["high"] <= 1
    assert all(compiles(chart) for chart in all_charts(page))


def test_one_size_is_told(tmp_path: Path) -> None:
    page = page_of(synthetic_study(sizes=("pocket-s",), n_questions=40), tmp_path)
    assert any("One size was measured, pocket-s" in one for one in page.notes)
    assert "nothing can be compared" in texts(page) or "no IFT student" in texts(page)
    assert all(compiles(chart) for chart in all_charts(page))


def test_a_study_cut_short_says_what_is_missing(tmp_path: Path) -> None:
    whole = synthetic_study(sizes=("pocket-xs", "pocket-s"), n_questions=40)
    half = replace(whole, results=whole.results[:70])
    page = page_of(half, tmp_path)
    left = len(whole.results) - 70
    assert f"{left} of {len(whole.results)} planned students were not measured" in page.notes[0]
    assert f"{left:,} of pocket-s" in page.notes[0]
    seeds = [len(one.by_seed) for one in recipes_of(half).values()]
    assert any(f"{seeds.count(1)} of {len(seeds)} groups have one seed" in n for n in page.notes)


def test_one_student_makes_a_page(tmp_path: Path) -> None:
    whole = synthetic_study(n_questions=40)
    page = page_of(replace(whole, results=whole.results[:1]), tmp_path)
    assert any("One size was measured" in note for note in page.notes)
    assert any("reasoning rows alone: gains over it cannot" in note for note in page.notes)
    (table,) = [one for one in tables(page, "Every group") if one.caption.startswith("math-oe")]
    assert len(table.rows) == 2
    assert all(compiles(chart) for chart in all_charts(page))
    assert "Study" in Seen(page).text


def test_a_study_without_students_says_so(tmp_path: Path) -> None:
    page = page_of(replace(synthetic_study(n_questions=9), results=()), tmp_path)
    assert page.notes == ("No student was measured: there is nothing to show but the plan.",)
    assert "0 of 180 planned" in texts(page)
    assert not all_charts(page)
    assert "Study" in Seen(page).text


def test_a_study_that_asked_nobody_as_trained_has_no_curves(tmp_path: Path) -> None:
    table = synthetic_study(sizes=("pocket-xs",), policies=("direct",), n_questions=40)
    page = page_of(table, tmp_path)
    assert any("No student was asked as trained" in note for note in page.notes)
    assert not all_charts(page)
    assert sum(len(table.rows) for table in tables(page, "Every group")) == 20 * 4


def test_unknown_training_flops_are_in_no_front(tmp_path: Path) -> None:
    table = synthetic_study(sizes=("pocket-xs",), n_questions=40)
    free = tuple(replace(one, train_flops=0.0) for one in table.results)
    page = page_of(replace(table, results=free), tmp_path)
    assert "Training FLOPs of some students are not known." in page.notes
    for chart in charts(page, "Accuracy over training FLOPs"):
        assert values(chart) == []
        assert "0 of them on the front" in chart.words
        assert "20 of 20 points cannot be placed" in chart.words
        assert len(chart.table.rows) == 20


def test_hostile_names_reach_the_page_escaped(tmp_path: Path) -> None:
    table = synthetic_study(
        sizes=("pocket-xs",), corpora=("general", "math"), seeds=(1,), n_questions=20
    )
    design = table.design.model_copy(update={"corpora": (HOSTILE, "math")})
    results = tuple(
        replace(one, student=replace(one.student, corpus=HOSTILE))
        if one.student.corpus == "general"
        else one
        for one in table.results
    )
    hostile = StudyTable("s", design, results, {"lab": HOSTILE, HOSTILE: "</style>"})
    page = page_of(hostile, tmp_path)
    seen = Seen(page)
    assert not {"img", "b"} & set(seen.tags)
    assert "\x1b" not in seen.text
    assert '<img src=x onerror="document.title=1">' in seen.text
    n_scripts = len(all_charts(page)) + 2
    assert seen.tags.count("script") == n_scripts
    assert all(link.startswith(("#", "https://arxiv.org/abs/")) for link in seen.links)
    assert all(compiles(chart) for chart in all_charts(page))


@pytest.mark.browser
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_it_is_drawn_quiet_and_fits(
    browser: "Browser", tmp_path: Path, width: int, scheme: Any
) -> None:
    out = tmp_path / "study.html"
    write_page(page_of(synthetic_study(n_questions=40), tmp_path), out)
    how = {"viewport": {"width": width, "height": 800}, "color_scheme": scheme}
    opened = Opened(browser, out, **how)
    assert opened.is_quiet(), (opened.complaints, opened.asked)
    assert opened.page.locator(".plot svg").count() == 8 + 8 + 4 + 4 + 4
    assert opened.page.locator("html").evaluate("e => e.scrollWidth") <= width
    opened.page.close()


def _difference(study: StudyTable, size: str, corpus: str, first: str, second: str) -> list[Term]:
    groups = [group(study, size, corpus, label) for label in (first, second)]
    return [Term(1.0, groups[0]), Term(-1.0, groups[1])]


def _train_flops(study: StudyTable, size: str, corpus: str, label: str) -> float:
    found = recipes_of(study)[Recipe(size, corpus, label)].by_seed.values()
    return sum(one.train_flops for one in found) / len(found)
