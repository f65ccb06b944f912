"""`advisor tables ls` and `show` of shipped tables and of single figures."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from calibration.published import find_cell, load_published, published_tables

Run = Callable[..., Any]
Golden = Callable[[str, object], None]
NAMES = [entry.name for entry in published_tables()]


def test_ls_lists_every_shipped_table_with_grade_number_and_source(
    advisor: Run, tmp_path: Path, golden_json: Golden
) -> None:
    document = advisor("tables", "ls", "--runs", tmp_path, "--json").json()
    assert document["schema_version"] == 1
    # Studies that ship are listed after the published tables.
    document["tables"] = [one for one in document["tables"] if one["kind"] == "published"]
    assert [entry["name"] for entry in document["tables"]] == NAMES
    by_name = {entry["name"]: entry for entry in document["tables"]}
    claims = by_name["scale_or_reason_claims"]
    assert claims["n_by_grade"] == {"printed": 14, "rule": 10, "third-party": 2}
    assert by_name["scale_or_reason_table1"]["n_cells"] == 80
    golden_json("tables/ls.json", document)


def test_ls_prints_one_line_per_table(advisor: Run, tmp_path: Path) -> None:
    out = advisor("tables", "ls", "--runs", tmp_path).out
    for name in NAMES:
        assert name in out
    assert "14 printed, 10 rule, 2 third-party" in out
    assert "arXiv 2509.22193v2, Table 1" in out


@pytest.mark.parametrize("name", NAMES)
def test_every_table_is_shown_with_source_grade_and_licence(advisor: Run, name: str) -> None:
    entry = load_published(name).entry
    result = advisor("tables", "show", name)
    assert result.code == 0
    lines = result.out.splitlines()
    assert f"source: {entry.source}" in lines
    assert f"licence: {entry.licence}" in lines
    assert any(line.startswith("grade: ") for line in lines)
    first = load_published(name).rows[0].id.removeprefix(f"{entry.id_prefix}/")
    assert any(line.strip().startswith(first[:20]) for line in lines)
    assert advisor("tables", "show", lines[-1].split(" such as ")[1]).code == 0


@pytest.mark.parametrize("name", NAMES)
def test_every_table_is_one_document_whose_ids_can_be_shown(advisor: Run, name: str) -> None:
    document = advisor("tables", "show", name, "--json").json()
    assert (document["schema_version"], document["kind"]) == (1, "published")
    assert document["name"] == name
    assert document["columns"]
    assert len(document["cells"]) in {document["n_rows"], document["n_cells"]}
    for cell in (document["cells"][0], document["cells"][-1]):
        assert cell["grade"]
        assert cell["source"]
        assert find_cell(cell["id"]).entry.name == name


def test_a_figure_is_shown_with_its_row(advisor: Run, golden_json: Golden) -> None:
    cell_id = "2509.22193v2/T1/general/math-oe/3B/ift"
    out = advisor("tables", "show", cell_id).out
    assert "> ift_acc" in out
    assert "39.9 (percent)" in out
    assert "grade: printed" in out.splitlines()
    assert "table: scale_or_reason_table1, version 1" in out.splitlines()
    document = advisor("tables", "show", cell_id, "--json").json()
    assert document["value"] == 39.9
    golden_json("tables/cell.json", document)


def test_a_whole_row_is_shown_without_a_marked_figure(advisor: Run) -> None:
    out = advisor("tables", "show", "conflicts/long-only-at-3b").out
    assert "claims/short-chains-up-to-3b" in out
    assert "> " not in out
    document = advisor("tables", "show", "conflicts/long-only-at-3b", "--json").json()
    assert "column" not in document
    assert document["values"]["grade_b"] == "third-party"


@pytest.mark.parametrize("what", ["contested_figures", "contested/general-oe-0.5b"])
def test_contested_figures_are_shown_with_a_warning(advisor: Run, what: str) -> None:
    out = advisor("tables", "show", what).out
    assert "contested: the source does not print these figures" in out
    assert "grade: contested" in out.splitlines()


def test_an_unknown_id_lists_close_ones(advisor: Run) -> None:
    result = advisor("tables", "show", "2509.22193v2/T1/general/math-oe/3B/if")
    assert result.code == 2
    assert "2509.22193v2/T1/general/math-oe/3B/ift" in result.err
    assert result.out == ""


def test_a_folder_without_a_table_does_not_hide_a_shipped_one(
    advisor: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "conflicts").mkdir()
    assert advisor("tables", "show", "conflicts", "--json").json()["kind"] == "published"


def test_a_run_named_like_a_shipped_table_is_shown(
    advisor: Run, measured_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "conflicts").symlink_to(measured_run.resolve(), target_is_directory=True)
    document = advisor("tables", "show", "conflicts", "--json").json()
    assert (document["kind"], document["name"]) == ("measured", "conflicts")


def test_no_document_holds_a_number_that_is_no_json(advisor: Run) -> None:
    for name in NAMES:
        text = advisor("tables", "show", name, "--json").out
        json.loads(text, parse_constant=pytest.fail)
