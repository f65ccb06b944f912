"""Two runs side by side: the numbers of the paired comparison, and what cannot be paired."""

from dataclasses import replace
from pathlib import Path

import pytest

from advisor.report import Chart, Table, render, write_page
from advisor.report._compared import compared_runs
from calibration import Outcome, OutcomeRecord, compare_arms
from tests.advisor.report.opened import HOSTILE, Opened, chromium
from tests.router.conftest import draw_records

NAMES = ("before", "after")


def renamed(records: list[OutcomeRecord], model: str) -> list[OutcomeRecord]:
    return [replace(record, model=model) for record in records]


def better(records: list[OutcomeRecord], policy: str) -> list[OutcomeRecord]:
    """Return records in which every third wrong answer of a policy is right."""
    out: list[OutcomeRecord] = []
    n_wrong = 0
    for record in records:
        is_wrong = record.policy == policy and record.outcome is Outcome.WRONG
        n_wrong += is_wrong
        out.append(
            replace(record, outcome=Outcome.CORRECT) if is_wrong and n_wrong % 3 == 0 else record
        )
    return out


def test_a_run_against_itself_shows_zeros_and_says_so() -> None:
    records = draw_records(120)
    page = compared_runs(NAMES, (records, records))
    assert len(page.lead) == 1
    assert page.lead[0].startswith("No difference: all ")
    table = page.sections[0].blocks[1]
    assert isinstance(table, Table)
    assert all(row[4].startswith("+0.000 ") for row in table.rows)
    assert not page.notes


def test_differences_are_those_of_the_paired_comparison() -> None:
    records = draw_records(400)
    changed = better(records, "direct")
    page = compared_runs(NAMES, (changed, records))
    pair = renamed(changed, "first") + renamed(records, "second")
    expected = compare_arms(pair, "first:direct", "second:direct").overall
    table = page.sections[0].blocks[1]
    assert isinstance(table, Table)
    (row,) = (row for row in table.rows if row[0] == "toy:direct")
    assert row[1] == f"{expected.n:,}"
    assert row[4].startswith(f"{expected.difference:+.3f} [{expected.ci_low:+.3f}, ")
    assert expected.p_value < 0.01
    assert page.lead[0].startswith("1 of 3 arms differ in accuracy")
    assert page.lead[1].startswith("toy:direct: +")
    chart = page.sections[0].blocks[0]
    assert isinstance(chart, Chart)
    assert chart.title == "Accuracy, before minus after"


def test_policies_are_paired_where_each_run_has_a_model_of_its_own() -> None:
    records = draw_records(60)
    page = compared_runs(NAMES, (renamed(records, "small"), renamed(records, "large")))
    assert any("arms are paired by their policies" in note for note in page.notes)
    table = page.sections[0].blocks[1]
    assert isinstance(table, Table)
    assert {row[0] for row in table.rows} == {record.policy for record in records}


def test_what_cannot_be_paired_is_told() -> None:
    records = draw_records(60)
    others = [replace(r, question_id=f"x{r.question_id}") for r in records]
    page = compared_runs(NAMES, (records, others))
    assert "nothing can be compared" in " ".join(page.notes)
    assert page.sections == ()
    assert "nothing can be compared" in render(page)
    alone = [record for record in records if record.policy != "direct"]
    page = compared_runs(NAMES, (records, alone))
    assert "Only before has measured toy:direct." in page.notes
    errors = [replace(record, outcome=Outcome.ERROR) for record in records]
    assert compared_runs(NAMES, (records, errors)).sections == ()


@pytest.mark.browser
def test_a_comparison_is_drawn_quiet(tmp_path: Path) -> None:
    records = draw_records(60)
    out = tmp_path / "page.html"
    write_page(compared_runs(NAMES, (better(records, "direct"), records)), out)
    with chromium() as browser:
        opened = Opened(browser, out, viewport={"width": 390, "height": 800})
        assert opened.is_quiet(), (opened.complaints, opened.asked)
        assert opened.page.locator(".plot svg").count() == 1


def test_names_reach_the_page_escaped() -> None:
    records = renamed(draw_records(40), HOSTILE)
    text = render(compared_runs((HOSTILE, "b"), (records, records)))
    assert "<img" not in text.partition("<script>")[0]
