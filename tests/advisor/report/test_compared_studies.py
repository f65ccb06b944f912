"""Two studies side by side, recipe by recipe."""

from dataclasses import replace
from typing import Any

import pytest

from advisor.report import Table, render
from advisor.report._compared_studies import compared_studies
from advisor.study import StudyTable, load_study
from advisor.study.findings import Term, contrast, group

SHIPPED = "pocket-study"


def saved(table: StudyTable, folder: Any, name: str) -> str:
    return str(replace(table, name=name).save(folder / name))


def table_of(page: Any) -> Table:
    render(page)
    table = page.sections[0].blocks[-1]
    assert isinstance(table, Table)
    return table


def test_a_study_beside_itself_shows_zeros_and_says_so() -> None:
    page = compared_studies(("one", "same"), (SHIPPED, SHIPPED))
    assert page.lead == ("No difference: 240 recipes and task types came out alike.",)
    assert all(row[7].startswith("+0.000 [") for row in table_of(page).rows)
    assert not page.notes


def test_differences_are_paired_contrasts_over_seeds_and_questions() -> None:
    from advisor.report import _compared_studies as module

    whole = load_study(SHIPPED)
    first = replace(whole, results=whole.select(size="pocket-xs", corpus="math"))
    second = replace(first, results=first.results[:-2])
    found = {"first": first, "second": second}
    patch = pytest.MonkeyPatch()
    patch.setattr(module, "load_study", found.__getitem__)
    try:
        page = compared_studies(("a", "b"), ("first", "second"))
    finally:
        patch.undo()
    rows = {(row[0], row[1]): row for row in table_of(page).rows}
    label = first.results[0].student.label
    groups = [group(study, "pocket-xs", "math", label) for study in (first, second)]
    expected = contrast([Term(1.0, groups[0]), Term(-1.0, groups[1])], ["math-oe"])
    assert expected is not None
    row = rows[f"pocket-xs math {label}", "math-oe"]
    assert row[7].startswith(f"{expected.measure.estimate:+.3f}")
    assert row[6] == f"{expected.n_questions:,}"


def test_other_questions_are_not_paired(tmp_path: Any) -> None:
    whole = load_study(SHIPPED)
    small = replace(whole, results=whole.select(size="pocket-xs", corpus="math", seed=1))
    own = replace(small, provenance={"lab": {"lab": "trl"}})
    places = (saved(small, tmp_path, "pocket"), saved(own, tmp_path, "own"))
    page = compared_studies(("pocket", "own"), places)
    assert any("no difference is told" in note for note in page.notes)
    assert {row[7] for row in table_of(page).rows} == {""}
    assert page.lead == ()


def test_recipes_of_one_study_alone_are_counted(tmp_path: Any) -> None:
    whole = load_study(SHIPPED)
    some = replace(whole, results=whole.select(size="pocket-xs", seed=1))
    other = replace(whole, results=whole.select(size="pocket-s", seed=1))
    places = saved(some, tmp_path, "xs"), saved(other, tmp_path, "s")
    page = compared_studies(("xs", "s"), places)
    assert page.sections == ()
    assert page.notes[0].startswith("Only xs has trained ")
    assert "nothing can be compared" in page.notes[-1]
    render(page)
