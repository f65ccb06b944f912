"""docs/study.md: what it says is what the script writes from the shipped study."""

import importlib.util
import re
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from advisor.study import StudyOrder, StudyTable, load_study, shipped_studies
from advisor.study.findings import QUESTIONS, Agreement, find_all, shipped_methods
from tests.advisor.study.synthetic import synthetic_study

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "study.md"
SECTIONS = ("trained", "measured", "summary", "pictures", "findings", "differs", "methods")
POLICIES = ("direct", "reasoning@8", "reasoning@max")


@pytest.fixture(scope="module")
def script() -> ModuleType:
    place = ROOT / "scripts" / "write_study_page.py"
    spec = importlib.util.spec_from_file_location("write_study_page", place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def study() -> StudyTable:
    return synthetic_study(n_questions=200, policies=POLICIES)


def _blank(page: str) -> str:
    """Return the page without what is generated."""
    return re.sub(r"(<!-- \w+: begin -->).*?(<!-- \w+: end -->)", r"\1\2", page, flags=re.DOTALL)


def test_the_committed_page_is_what_the_script_writes(script: ModuleType) -> None:
    if script.STUDY not in shipped_studies():
        pytest.skip(f"no study {script.STUDY!r} is shipped yet")
    page = PAGE.read_text(encoding="utf-8")
    written = script.write_page(page, load_study(script.STUDY), PAGE, shipped_methods())
    assert written == page, "run: python scripts/write_study_page.py"


def test_the_committed_pictures_are_drawn_from_the_shipped_study(script: ModuleType) -> None:
    if script.STUDY not in shipped_studies():
        pytest.skip(f"no study {script.STUDY!r} is shipped yet")
    for axis in script.AXES:
        picture = PAGE.with_name(f"study_{axis.name}_flops.svg").read_text(encoding="utf-8")
        assert script.digest(load_study(script.STUDY), axis) in picture


def test_the_committed_trial_was_held_by_the_shipped_study(script: ModuleType) -> None:
    page = PAGE.with_name("trial.md").read_text(encoding="utf-8")
    assert script.trial_mark(load_study(script.STUDY)) in page, "run: make study-page"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_committed_trial_is_what_the_script_writes(script: ModuleType) -> None:
    page = PAGE.with_name("trial.md").read_text(encoding="utf-8")
    assert script.write_trial(page, load_study(script.STUDY)) == page, "run: make study-page"


def test_only_the_marked_parts_are_replaced(script: ModuleType, study: StudyTable) -> None:
    page = PAGE.read_text(encoding="utf-8")
    written = script.write_page(page, study, PAGE, None)
    assert _blank(written) == _blank(page)
    assert script.write_page(written, study, PAGE, None) == written
    assert "not in yet" not in written


def test_every_question_is_on_the_page_with_its_verdict_and_numbers(
    script: ModuleType, study: StudyTable
) -> None:
    written = script.write_page(PAGE.read_text(encoding="utf-8"), study, PAGE, None)
    findings = find_all(study)
    assert len(findings) == len(QUESTIONS)
    for finding in findings:
        assert f"### {finding.question}" in written
        assert all(f"- {sentence}" in written for sentence in finding.verdict)
        assert f"The numbers: {len(finding.rows)} rows" in written
        assert finding.key in script.WHY
    for link in re.findall(r"\]\(#([^)]+)\)", written):
        headings = re.findall(r"^### (.+)$", written, re.MULTILINE)
        assert link in {re.sub(r"[^a-z0-9 -]", "", h.lower()).replace(" ", "-") for h in headings}


def test_tables_have_as_many_cells_in_each_row(script: ModuleType, study: StudyTable) -> None:
    written = script.write_page(PAGE.read_text(encoding="utf-8"), study, PAGE, None)
    width = 0
    for line in written.splitlines():
        cells = line.count("|") if line.startswith("|") else 0
        assert not (cells and width) or cells == width, line
        width = cells


def test_reasons_for_differences_are_given_for_the_pocket_world_alone(
    script: ModuleType, study: StudyTable
) -> None:
    agreeing, *others = find_all(study)
    first = replace(others[0].checks[0], agreement=Agreement.DIFFERS)
    agreed = [replace(one, agreement=Agreement.AGREES) for one in agreeing.checks]
    findings = [replace(agreeing, checks=tuple(agreed)), replace(others[0], checks=(first,))]
    own = script.differs_section(study, findings)
    assert own.count("Reported:") == 1
    assert first.measured in own
    assert agreeing.question not in own
    assert "can bring it about" not in own
    pocket = replace(study, provenance={"lab": {"lab": "pocket", "torch": "2"}})
    assert script.WHY[others[0].key] in script.differs_section(pocket, findings)
    assert "| torch | 2 |" in script.trained_section(pocket)
    assert script.differs_section(pocket, findings[:1]) == "No check differs."


def test_the_command_writes_the_page_and_both_pictures(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib", reason="the extra report is not installed")
    study = synthetic_study(
        n_questions=40,
        sizes=("pocket-xs", "pocket-s"),
        ratios=(0.0, 1.0),
        orders=(StudyOrder.MIXED,),
        corpora=("general",),
    )
    study.save(tmp_path / "study")
    page = tmp_path / "study.md"
    page.write_text(PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["write", str(tmp_path / "study"), "--page", str(page)])
    assert script.main() == 0
    text = page.read_text(encoding="utf-8")
    for axis in script.AXES:
        name = f"study_{axis.name}_flops.svg"
        assert f"({name})" in text
        picture = (tmp_path / name).read_text(encoding="utf-8")
        assert script.digest(study, axis) in picture
        assert "math-oe, general corpus" in picture


def test_a_page_without_marks_is_refused(script: ModuleType) -> None:
    with pytest.raises(ValueError, match="trained: begin"):
        script.replace_section("nothing", "trained", "text")


def test_the_shipped_page_has_its_marks(script: ModuleType) -> None:
    page = PAGE.read_text(encoding="utf-8")
    for name in SECTIONS:
        script.replace_section(page, name, "")
