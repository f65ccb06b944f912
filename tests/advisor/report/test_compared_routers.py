"""Two routers side by side on the questions of their fits."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from advisor.report import Table, compared_page, render, source_of
from calibration import OutcomeRecord
from router import Objective, Router
from tests.router.conftest import CREATED, draw_records

Fitted = Callable[[str, list[OutcomeRecord], Objective | None], Path]


@pytest.fixture
def fitted(tmp_path: Path) -> Fitted:
    def fit(name: str, records: list[OutcomeRecord], objective: Objective | None = None) -> Path:
        Router.fit(records, created=CREATED, objective=objective).save(tmp_path / name)
        return tmp_path / name

    return fit


def table_of(first: Path, second: Path) -> tuple[Table, tuple[str, ...], tuple[str, ...]]:
    page = compared_page(source_of(first), source_of(second))
    render(page)
    table = page.sections[-1].blocks[-1]
    assert isinstance(table, Table)
    return table, page.lead, page.notes


def test_a_router_beside_itself_shows_zeros_and_says_so(fitted: Fitted) -> None:
    path = fitted("one", draw_records(200), None)
    table, lead, _ = table_of(path, path)
    assert lead == ("They are the same router: no difference is possible, and all below are zero.",)
    for row in table.rows:
        assert row[2].startswith("1.000 [")
        assert row[5].startswith("+0.000 [+0.000, +0.000]")
        assert row[6].startswith("+0.0 [+0.0, +0.0]")


def test_differences_are_those_of_the_measured_outcomes_of_both_choices(fitted: Fitted) -> None:
    records = draw_records(300)
    free, dear = Objective.trade(0.0, "tokens"), Objective.trade(0.01, "tokens")
    first, second = fitted("best", records, free), fitted("cheap", records, dear)
    table, lead, _ = table_of(first, second)
    replays = [Router.load(path).replay() for path in (first, second)]
    gains: list[float] = []
    for row, (one, two) in enumerate(zip(replays[0].decisions, replays[1].decisions, strict=True)):
        assert one is not None
        assert two is not None
        names = [arm.name for arm in Router.load(first).arms]
        gains.append(
            float(
                replays[0].correct[row, names.index(one.arm.name)]
                - replays[1].correct[row, names.index(two.arm.name)]
            )
        )
    total = table.rows[0]
    assert total[1] == f"{len(gains):,}"
    assert total[5].startswith(f"{np.mean(gains):+.3f} [")
    assert "first minus second" in lead[0]


def test_routers_of_other_questions_cannot_be_paired(fitted: Fitted) -> None:
    records = draw_records(120)
    others = [replace(one, question_id=f"x{one.question_id}") for one in records]
    page = compared_page(
        source_of(fitted("a", records, None)), source_of(fitted("b", others, None))
    )
    assert any("nothing can be paired" in note for note in page.notes)
    assert [section.title for section in page.sections] == ["What they are"]
