"""What a notebook shows of a measured table and of two arms compared."""

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration import (
    ArmComparison,
    Cell,
    ComparisonRow,
    CostDifference,
    MeasuredTable,
    Outcome,
    OutcomeRecord,
    compare_arms,
)
from policies.html_tables import clean

from ..notebook_page import check_golden, names, read_page, shown

DASH = "\N{EN DASH}"
CELL = Cell(
    *("sums", "math-oe", "m", 10, "direct", ""),
    *(400, 200, 3, 1, 0.5, 0.451, 0.549, 20.0, 30.0, 2.5e9, 0.1),
)
ROW = ComparisonRow(
    *("", 300, 300, 0.9, 0.85, 0.05, 0.012, 0.088, 30, 15, 0.036, 0.036, 0.036, 0.036),
    CostDifference(60.2, 5.1, 55.1, 53.0, 57.5),
    None,
    2,
    1,
)


def measured(*cells: Cell) -> MeasuredTable:
    return MeasuredTable(cells, {})


def small_table() -> MeasuredTable:
    return measured(
        CELL,
        replace(CELL, policy="reasoning@64", accuracy=0.7, ci_low=0.65, ci_high=0.74),
        replace(CELL, policy="reasoning@max", accuracy=0.6, mean_flops=9e12, interval="clustered"),
        replace(CELL, model="<b>x</b>", policy="new", n=0, accuracy=math.nan, mean_tokens=math.nan),
    )


def test_the_table_is_shown_as_ever(request: pytest.FixtureRequest) -> None:
    is_update = bool(request.config.getoption("--update-golden"))
    check_golden("measured_table", small_table(), is_update=is_update)


def test_every_accuracy_has_its_n_and_interval() -> None:
    (table,) = read_page(small_table()).tables
    assert table.column("n") == ["400", "400", "400", "0"]
    assert table.column("accuracy [95%]")[0] == "0.500 [0.451, 0.549]"
    assert table.column("accuracy [95%]")[3] == DASH
    assert table.column("mean FLOPs") == ["2.5G", "2.5G", "9T", "2.5G"]
    assert table.column("front") == ["", "front", "", ""]
    assert table.column("model")[3] == "<b>x</b>"


@given(
    st.lists(st.tuples(names, names, names, names), min_size=1, max_size=4),
    st.sampled_from([0.5, math.nan]),
)
def test_names_in_a_table_are_shown_and_never_run(
    found: list[tuple[str, str, str, str]], accuracy: float
) -> None:
    cells = [
        replace(CELL, model=model, task=task, policy=policy, recipe=recipe, accuracy=accuracy)
        for model, task, policy, recipe in found
    ]
    (table,) = read_page(measured(*cells)).tables
    assert table.column("model") == [shown(one[0]) for one in found]
    assert table.column("task") == [shown(f"{one[1]} (math-oe)") for one in found]
    assert table.column("recipe") == [shown(one[3]) if one[3] else DASH for one in found]


def test_of_many_cells_the_first_are_shown_and_the_rest_are_counted() -> None:
    cells = [replace(CELL, policy=f"reasoning@{budget}") for budget in range(1_500)]
    (table,) = read_page(measured(*cells)).tables
    assert len(table.rows) == 200
    assert table.n_more == "and 1,300 more rows"
    assert table.captions[0].startswith("1,500 measured cells")


def test_an_empty_table_is_shown_too() -> None:
    assert read_page(measured()).tables[0].rows == []


def comparison(**changes: Any) -> ArmComparison:
    row = replace(ROW, task="sums")
    unpaired = replace(row, task="none", n=0, first_accuracy=math.nan, second_accuracy=math.nan)
    unpaired = replace(unpaired, difference=math.nan, ci_low=-1.0, ci_high=1.0, tokens=None)
    return replace(
        ArmComparison("m:reasoning@64", "m:direct", 0.95, ROW, (row, unpaired)), **changes
    )


def test_the_comparison_is_shown_as_ever(request: pytest.FixtureRequest) -> None:
    is_update = bool(request.config.getoption("--update-golden"))
    check_golden("comparison", comparison(), is_update=is_update)


def test_a_difference_has_its_n_and_interval_and_a_task_without_pairs_has_none() -> None:
    page = read_page(comparison())
    (table,) = page.tables
    assert table.column("task") == ["all tasks", "sums", "none"]
    assert table.column("n") == ["300", "300", "0"]
    assert table.column("difference [95%]") == [*["+0.050 [+0.012, +0.088]"] * 2, DASH]
    assert table.column("p")[2] == table.column("only first / second")[2] == DASH
    assert table.column("tokens [95%]")[0] == "+55.1 [+53.0, +57.5]"
    assert table.column("FLOPs [95%]")[0] == DASH


@given(names, names, names)
def test_names_in_a_comparison_are_shown_and_never_run(first: str, second: str, task: str) -> None:
    row = replace(ROW, task=task)
    page = read_page(comparison(first=first, second=second, tasks=(row,)))
    assert page.tables[0].column("task") == ["all tasks", shown(task)]
    assert {clean(f"first: {first}"), clean(f"second: {second}")} <= set(page.isolated)


def test_a_real_comparison_is_shown() -> None:
    records = [
        OutcomeRecord(
            *(f"q{n}", f"q{n}", "sums", "math-oe", "", "m", 1, policy),
            Outcome.CORRECT if n % step else Outcome.WRONG,
            *(5, 10 * step, 20.0 * step, 0.1),
        )
        for n in range(40)
        for policy, step in (("direct", 2), ("reasoning@64", 5))
    ]
    (table,) = read_page(compare_arms(records, "reasoning@64", "direct")).tables
    assert table.rows[0][1] == "40"
    assert table.column("first")[0] == "0.800"
