"""What a notebook shows of a recommendation, a study and what a study found."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from advisor import EvidenceItem, Reason, Recommendation, RecommendationWarning
from advisor.study import StudyTable
from advisor.study.findings import Agreement, Check, Column, Finding, Measure, Row
from policies.html_tables import clean

from ..notebook_page import check_golden, names, read_page, shown
from .study.synthetic import synthetic_study

DASH = "\N{EN DASH}"
FOLDER = Path(__file__).parents[1] / "golden" / "recommend_views"
NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))


def document(name: str) -> Recommendation:
    return Recommendation.from_json(json.loads((FOLDER / f"{name}.json").read_text("utf-8")))


@pytest.fixture(scope="module")
def study() -> StudyTable:
    return synthetic_study(
        sizes=("pocket-xs", "pocket-m"), ratios=(0.0, 0.5, 1.0), seeds=(1, 2), n_questions=50
    )


@pytest.mark.parametrize("name", ["own-cells", "sequential"])
def test_the_recommendation_is_shown_as_ever(name: str, request: pytest.FixtureRequest) -> None:
    is_update = bool(request.config.getoption("--update-golden"))
    check_golden(f"recommendation_{name}", document(name), is_update=is_update)


@pytest.mark.parametrize("name", NAMES)
def test_the_verdict_its_options_and_all_warnings_are_shown(name: str) -> None:
    answer = document(name)
    page = read_page(answer)
    assert any(answer.verdict.text in text for text in page.isolated)
    assert {one.text for one in answer.warnings} <= set(page.isolated)
    options = page.tables[0]
    assert [one.split()[0] for one in options.column("option")] == [o.id for o in answer.options]
    for option, cell in zip(answer.options, options.column("accuracy [90%]"), strict=True):
        known = option.accuracy
        if known.value is None:
            assert cell == DASH
        else:
            assert cell == f"{known.value:.3f} [{known.low:.3f}, {known.high:.3f}]"
    marked = [one for one in options.column("option") if "recommended" in one]
    assert len(marked) == (answer.verdict.option is not None)


def test_accuracies_have_the_n_of_their_cells() -> None:
    answer = document("own-cells")
    table = read_page(answer).tables[0]
    for option, n in zip(answer.options, table.column("n"), strict=True):
        assert n == ("740" if option.accuracy.value is not None else DASH)


@given(names, names, names)
def test_texts_of_a_recommendation_are_shown_and_never_run(
    text: str, source: str, cell: str
) -> None:
    answer = document("own-cells")
    verdict = answer.verdict.model_copy(
        update={
            "text": f"v {text}",
            "reasons": (Reason(code="c", text=f"r {text}", source=source),),
        }
    )
    item = EvidenceItem(id=cell, source="s", cell="c", recipe=source, value=0.5, grade="measured")
    warning = RecommendationWarning(code="w", text=text)
    changes = {"verdict": verdict, "evidence": (item,), "warnings": (warning,)}
    page = read_page(answer.model_copy(update=changes))
    assert any(one.endswith(clean(f"] v {text}")) for one in page.isolated)
    assert clean(text) in page.isolated
    evidence = page.tables[-1]
    assert evidence.column("cell") == [shown(cell)]
    assert evidence.column("recipe") == [shown(source)]


def test_the_study_is_shown_as_ever(study: StudyTable, request: pytest.FixtureRequest) -> None:
    is_update = bool(request.config.getoption("--update-golden"))
    small = StudyTable(study.name, study.design, study.results[:2], study.provenance)
    check_golden("study", small, is_update=is_update)


def test_a_study_is_shown_with_its_seeds_pooled(study: StudyTable) -> None:
    page = read_page(study)
    (table,) = page.tables
    cells = [cell for corpus in study.corpora for cell in study.pooled_cells(corpus=corpus)]
    assert len(table.rows) == min(len(cells), 200)
    first = cells[0]
    row = dict(zip(table.heads, table.rows[0], strict=True))
    assert row["n"] == str(first.n) == "100"
    assert row["seeds"] == "2"
    expected = f"{first.accuracy:.3f} [{first.ci_low:.3f}, {first.ci_high:.3f}]"
    assert row["accuracy [95%]"] == expected
    assert "intervals are over seeds and questions" in page.text


@given(names, st.lists(names, min_size=1, max_size=2))
def test_a_finding_is_shown_and_never_run(text: str, labels: list[str]) -> None:
    finding = Finding(
        key="k",
        question=text,
        verdict=(text,),
        method=f"how {text}",
        label_columns=tuple(f"label {text}" for _ in labels),
        columns=(Column("gain", "points"), Column("cost", "flops")),
        rows=(Row(tuple(labels), 3, 200, (Measure(0.05, 0.01, 0.09), None)),),
        checks=(Check("c", text, "s", "r", text, Agreement.AGREES),),
    )
    page = read_page(finding)
    assert clean(text) in page.isolated
    (row,) = page.tables[0].rows
    assert row == [*map(shown, labels), "3", "200", "+5.0 [+1.0, +9.0]", DASH]
