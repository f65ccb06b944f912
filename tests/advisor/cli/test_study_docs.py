"""The commands of docs/how-to/study.md, in a lab without models."""

from functools import partial
from pathlib import Path

import pytest

from advisor.cli import _study_lab
from advisor.study import load_study
from advisor.study._design import StudyDesign
from advisor.study._student import StudyOrder
from tests.advisor.conftest import Advisor
from tests.advisor.study.price_list import PriceList
from tests.docs.pages import commands, page

PAGE = page("how-to/study.md")
NEEDS_A_BASE = "--base "


@pytest.fixture(autouse=True)
def without_models(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def needs_nothing(self: _study_lab.Pocket) -> None:
        pass

    def spec(self: _study_lab.Pocket, design: StudyDesign) -> partial[PriceList]:
        return partial(PriceList)

    monkeypatch.setattr(_study_lab.Pocket, "spec", spec)
    monkeypatch.setattr(_study_lab.Pocket, "check_training", needs_nothing)
    monkeypatch.chdir(tmp_path)


def test_every_command_of_the_page_does_what_it_says(advisor: Advisor, tmp_path: Path) -> None:
    found = [one for one in commands(PAGE) if NEEDS_A_BASE not in one]
    assert len(found) == 7
    for command in found:
        program, *arguments = command.split()
        assert program == "advisor"
        done = advisor(*arguments)
        # A recommendation may be to abstain.
        assert done.code in ({0, 6} if arguments[0] == "recommend" else {0}), done.err
        assert done.out
    written = {path.name for path in (tmp_path / "runs" / "first").iterdir()}
    for name in ("study.csv", "answers.csv", "plan.json", "study.json", "students"):
        assert f"`{name}" in PAGE
        assert name in written


def test_the_page_names_every_order_and_the_size_of_the_whole_grid() -> None:
    whole = StudyDesign(sizes=("pocket-xs", "pocket-s", "pocket-m"))

    assert f"{len(whole.students())} students" in PAGE
    for order in StudyOrder:
        assert order.is_two_stage or f"`{order.value}`" in PAGE


def test_the_page_of_the_shipped_study_says_how_it_is_trained_again(advisor: Advisor) -> None:
    command = next(one for one in commands(page("study.md")) if "--run" in one)
    done = advisor(*command.replace("--run", "--plan").split()[1:], "--json")
    assert done.code == 0, done.err
    plan, shipped = done.json(), load_study("pocket-study")
    assert plan["design"] == shipped.design.model_dump(mode="json")
    assert {one["id"] for one in plan["students"]} == {one.student.id for one in shipped.results}
