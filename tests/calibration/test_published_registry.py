"""The register of shipped tables, the generic loader, and ids of single figures."""

import csv
import hashlib
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration.published import (
    Grade,
    TableEntry,
    find_cell,
    is_cell_id,
    load_published,
    load_published_table,
    published_tables,
)
from calibration.published import _registry as registry
from calibration.published._cells import parse_rows
from policies import ArtifactCorruptError, ArtifactTooNewError, UnknownNameError

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "calibration" / "published"
SHARED = ROOT.parent / "shared" / "tables"
NAMES = [entry.name for entry in published_tables()]
MAX_BYTES = 110_000

COLLECTED: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "chain_of_draft": ("chain_of_draft", {}),
    "flops_conventions": (
        "flops_conventions_qwen25_derived",
        {"exact_flops": "exact_matmul_causal", "two_n_over_exact": "twoN_over_exact"},
    ),
    "kimi_k15": ("kimi_k15", {"codeforces_percentile": "codeforces_pct"}),
    "measured_outcomes_aggregates": (
        "measured_outcomes_aggregates",
        {"n_questions": "n_q"},
    ),
    "methods_matrix": ("methods_matrix", {}),
    "r1_distill_matrix": ("r1_distill_matrix", {}),
    "router_signal_check": (
        "router_signal_check",
        {"acc_oracle": "oracle", "tokens_direct": "tok_d", "acc_half_by_text": "acc@50%_text"},
    ),
    "s1_results": ("s1_results", {}),
    "s1_table3_control": ("s1_table3_control", {"control_percent": "control_pct"}),
    "scale_or_reason_claims": ("scale_or_reason_claims", {}),
    "scale_or_reason_fig14_fits": ("scale_or_reason_fig14_fits", {}),
    "scale_or_reason_fig14_fits_derived": ("scale_or_reason_fig14_fits_derived", {}),
    "scale_or_reason_table1": ("scale_or_reason_table1", {}),
    "scale_or_reason_training_hparams": ("scale_or_reason_training_hparams", {}),
    "tip_table2_grid": ("tip_table2_grid", {}),
    "tip_table3": ("tip_table3", {}),
    "tip_table4_bon_aime24": ("tip_table4_bon_aime24", {}),
    "tops_distinct_answers": ("tops_distinct_answers", {}),
    "tops_hparams": ("tops_hparams", {"learning_rate": "lr"}),
    "tops_math500_by_level": ("tops_math500_by_level", {"level": "math500_level"}),
    "tops_results": ("tops_results", {"setting": "effort_or_setting", "std": "std_5_seeds"}),
    "tts_table3": ("tts_2502.06703_table3", {}),
    "tts_table4_flops": ("tts_2502.06703_table4_flops", {}),
    "tts_table5_math500": ("tts_2502.06703_table5_math500", {}),
}
"""Shipped table: the collected file it was made from, and columns with another name there."""


def all_ids() -> list[str]:
    return [one for name in NAMES for row in load_published(name).rows for one in row.ids]


def damaged(entry: TableEntry, old: str, new: str) -> bytes:
    text = (FOLDER / entry.file).read_text(encoding="utf-8")
    assert old in text
    return text.replace(old, new, 1).encode()


def entry_of(name: str) -> TableEntry:
    return load_published(name).entry


def test_every_file_is_registered_and_every_entry_has_its_file() -> None:
    assert {path.name for path in FOLDER.glob("*.csv")} == {e.file for e in published_tables()}
    assert len(NAMES) == len(set(NAMES)) == 28


def test_every_collected_table_is_shipped() -> None:
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED} is not there: nothing to compare the shipped tables with")
    collected = {path.stem for path in SHARED.glob("*.csv")}
    # These two, about figures that no source prints, became `contested_figures`.
    rest = collected - {name for name, _ in COLLECTED.values()}
    assert all("blog" in name or "disagreements" in name for name in rest)
    assert len(rest) == 2


@pytest.mark.parametrize("name", sorted(COLLECTED))
def test_shipped_figures_equal_the_collected_ones(name: str) -> None:
    source, renamed = COLLECTED[name]
    path = SHARED / f"{source}.csv"
    if not path.exists():
        pytest.skip(f"{path} is not there: nothing to compare the shipped figures with")
    collected = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
    rows = load_published(name).rows
    assert len(rows) == len(collected)
    compared = 0
    for column in entry_of(name).columns:
        original = renamed.get(column.name, column.name)
        if original not in collected[0] or column.name in {"source", "place", "note"}:
            continue
        if column.type == "text" and name in {"methods_matrix", "r1_distill_matrix"}:
            continue  # Worded anew; the figures are what must not change.
        if column.type == "text" and name == "router_signal_check":
            continue  # Names were cut short in the collected file.
        compared += 1
        for row, record in zip(rows, collected, strict=True):
            if column.type == "text":
                expected = record[original].replace("low-effort seed responses", "")
                assert row.printed[column.name].startswith(expected[:40]), row.id
            else:
                assert row.printed[column.name] == record[original], row.id
    assert compared or name == "methods_matrix"


@pytest.mark.parametrize("name", NAMES)
def test_every_table_loads_with_source_grade_and_ids(name: str) -> None:
    loaded = load_published(name)
    entry = loaded.entry
    assert entry.version >= 1
    assert entry.title
    assert entry.retrieved
    assert len(loaded.rows) == entry.n_rows
    assert sum(loaded.n_by_grade.values()) == entry.n_rows
    assert sum(len(row.ids) for row in loaded.rows) == entry.n_cells
    for row in loaded.rows:
        assert row.source.strip()
        assert row.grade in get_args(Grade)
        assert row.table == name
        assert row.id.startswith(f"{entry.id_prefix}/")


def test_ids_are_unique_among_all_tables_and_need_no_quoting() -> None:
    ids = all_ids()
    assert len(ids) == len(set(ids)) > 1000
    assert all(re.fullmatch(r"[A-Za-z0-9.+@=%/-]+", one) for one in ids)
    assert not any("//" in one or one.endswith("/") for one in ids)


# Typed by hand: these are printed in recommendations, and must find the same figure for ever.
@pytest.mark.parametrize(
    ("cell_id", "value", "grade"),
    [
        ("2509.22193v2/T1/general/math-oe/3B/ift", 39.9, "printed"),
        ("2509.22193v2/T1/general/math-oe/3B/reasoning", 55.4, "printed"),
        ("2509.22193v2/T1/math-centric/general-oe/0.5B/reasoning", 8.2, "printed"),
        ("2509.22193v2/T1/general/general-mc/0.5B/delta_printed", -6.1, "printed"),
        ("2509.22193v2/T2/Qwen2.5-3B/reasoning", 7e-6, "printed"),
        ("2509.22193v2/F14/general-mc/ift/exponent_b", 0.58, "printed"),
        ("2509.22193v2/F14-derived/math-oe/7B/ratio", 7.61, "derived"),
        ("2509.22193v2/claims/trace-length-ratio/high", 20.0, "printed"),
        ("2502.18080/T3/Qwen2.5-32B-TOPS/default/GSM8K/tokens", 412.24, "printed"),
        ("2502.18080/T6/Qwen2.5-32B-Tag-Low/5/accuracy", 80.3, "printed"),
        ("2502.18080/hparams/iter-dpo/learning_rate", 5e-7, "printed"),
        ("2501.12948/T6/R1-Zero-Qwen-32B/aime24_pass1", 47.0, "printed"),
        ("2501.12948/T5/R1-Distill-Qwen-32B/aime24_pass1", 72.6, "printed"),
        ("2501.19393/T5/s1-BF-Wait-4x/aime24", 56.7, "third-party"),
        ("2501.18585/T3/AIME2024/QwQ-32B-Preview/tip/pass1", 44.1, "printed"),
        ("2502.06703/T3/o1-preview/aime24", 44.6, "printed"),
        ("2502.18600/T6/Qwen2.5-3B-Instruct/cod/accuracy", 43.1, "printed"),
        ("flops/0.5B/200/32000/two_n_over_exact", 0.417, "derived"),
    ],
)
def test_known_ids_find_their_figure(cell_id: str, value: float, grade: Grade) -> None:
    found = find_cell(cell_id)
    assert found.id == cell_id
    assert found.value == value
    assert found.row.grade == grade


def test_ids_stay_the_same() -> None:
    """An id that was ever printed must go on to exist: add ids, never rename one."""
    by_table = {
        name: hashlib.sha256(
            "\n".join(one for row in load_published(name).rows for one in row.ids).encode()
        ).hexdigest()[:12]
        for name in NAMES
    }
    path = ROOT / "tests" / "golden" / "tables" / "ids.json"
    assert by_table == json.loads(path.read_text(encoding="utf-8"))


def test_every_accuracy_row_is_found_by_its_id() -> None:
    rows = load_published_table("scale_or_reason_table1").rows
    assert len({row.id for row in rows}) == 80
    for row in rows:
        found = find_cell(row.id)
        assert found.accuracy == row.accuracy
        assert found.entry.name == "scale_or_reason_table1"
        assert found.column is not None
        assert found.column.name == f"{row.recipe}_acc"


def test_a_whole_row_is_found_and_is_no_figure() -> None:
    found = find_cell("2509.22193v2/T1/general/math-oe/3B")
    assert found.column is None
    assert found.value is None
    assert found.accuracy is None
    assert found.row.number("teacher_acc") == 92.1
    assert found.row.text("student_size") == "3B"
    with pytest.raises(TypeError, match="student_size"):
        found.row.number("student_size")


def test_shares_are_not_divided_by_a_hundred() -> None:
    found = find_cell("recorded/bbh-codex/logic/code-davinci-002/cot/accuracy")
    assert found.value == found.accuracy == 0.77945


def test_a_figure_that_is_not_printed_is_none() -> None:
    found = find_cell("2502.18080/T2/Qwen2.5-32B-Tag/low/GSM8K/tokens")
    assert found.value is None
    assert find_cell("2501.12948/T6/R1-Zero-Qwen-32B/codeforces_rating").value is None


def test_unknown_ids_and_names_list_close_ones() -> None:
    with pytest.raises(UnknownNameError) as caught:
        find_cell("2509.22193v2/T1/general/math-oe/4B/ift")
    assert caught.value.code == "unknown-cell-id"
    assert "2509.22193v2/T1/general/math-oe/14B/ift" in caught.value.hint
    assert len(caught.value.hint) < 400
    with pytest.raises(UnknownNameError, match="methods_matrix"):
        load_published("method_matrix")
    with pytest.raises(UnknownNameError, match="'tops' "):
        find_cell("tops")
    with pytest.raises(UnknownNameError, match="reasoning_acc"):
        entry_of("scale_or_reason_table1").column("reasoning")


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("2509.22193v2/T1/general/math-oe/9B/ift", True),
        ("contested/x", True),
        ("runs/first", False),
        ("tops_results", False),
        ("methods", False),
    ],
)
def test_ids_are_told_from_names_and_paths(text: str, is_one: bool) -> None:
    assert is_cell_id(text) is is_one


@given(st.text(max_size=60))
def test_any_text_is_found_or_refused_as_unknown(text: str) -> None:
    try:
        found = find_cell(text)
    except UnknownNameError:
        return
    assert found.id == text


@pytest.mark.parametrize(
    ("name", "old", "new", "problem"),
    [
        ("tops_results", "GSM8K,87.26", "GSM8K,187.26", "outside"),
        ("tops_results", "GSM8K,87.26", "GSM8K,-1", "outside"),
        ("tops_results", "GSM8K,87.26", "GSM8K,many", "many"),
        ("tops_results", "GSM8K,87.26", "GSM8K,nan", "nan"),
        ("tops_results", "accuracy,tokens", "tokens,accuracy", "columns"),
        ("tops_results", "low,GSM8K,87.26,,,\n", "low,GSM8K,87.26,,\n", "fields"),
        ("tops_results", "low,MATH500,59.0", "low,GSM8K,59.0", "two rows have the id"),
        ("tops_results", "Table 2,LLaMA3.1-8B-Tag,low,GSM8K,87.26,,,\n", "", "91 rows"),
        ("tops_results", "LLaMA3.1-8B-Tag,low,GSM8K", "???,low,GSM8K", "nothing for an id"),
        ("scale_or_reason_claims", ",printed,section 3.2", ",certain,section 3.2", "certain"),
        ("s1_results", "26.7,third-party", "26.7,rule", "yet it has an accuracy"),
        ("methods_matrix", "s1 budget forcing,arXiv 2501.19393", "s1 budget forcing,", "no source"),
        ("measured_outcomes_aggregates", "0.74421", "74.421", "outside"),
    ],
)
def test_damaged_rows_are_refused(name: str, old: str, new: str, problem: str) -> None:
    entry = entry_of(name)
    with pytest.raises(ArtifactCorruptError, match=problem) as caught:
        parse_rows(entry, damaged(entry, old, new))
    assert name in str(caught.value)


@given(st.binary(max_size=200))
def test_any_content_is_read_or_refused(content: bytes) -> None:
    entry = replace(entry_of("tts_table3"), n_rows=1)
    try:
        rows = parse_rows(entry, b"policy,mode,math500,aime24\n" + content)
    except ArtifactCorruptError:
        return
    assert len(rows) == 1


def in_folder(folder: Path) -> Callable[[str], Path]:
    def files_of(package: str) -> Path:
        assert package == "calibration.published"
        return folder

    return files_of


def test_a_changed_file_is_refused_by_its_hash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = entry_of("tops_results")
    (tmp_path / entry.file).write_bytes(damaged(entry, "GSM8K,87.26", "GSM8K,87.27"))
    load_published.cache_clear()
    monkeypatch.setattr(registry, "files", in_folder(tmp_path))
    with pytest.raises(ArtifactCorruptError, match="sha256"):
        load_published("tops_results")
    (tmp_path / entry.file).unlink()
    with pytest.raises(ArtifactCorruptError, match="reinstall"):
        load_published("tops_results")


FIRST = ("tables", 0)
REMOVED = object()


@pytest.mark.parametrize(
    ("place", "value", "problem"),
    [
        ((*FIRST, "licence"), REMOVED, "licence"),
        ((*FIRST, "colour"), "red", "colour"),
        ((*FIRST, "source"), " ", "no source"),
        ((*FIRST, "licence"), "", "no licence"),
        ((*FIRST, "grade"), "sure", "sure"),
        ((*FIRST, "grade"), "mixed", "mixed"),
        ((*FIRST, "id", "columns"), ["city"], "columns that are not there"),
        ((*FIRST, "columns", "ift_acc", "unit"), "apples", "apples"),
        ((*FIRST, "columns", "ift_acc", "type"), "colour", "colour"),
        ((*FIRST, "name"), "tops_results", "one name"),
        (("tables",), REMOVED, "tables"),
        (("tables",), 3, "index"),
    ],
)
def test_a_damaged_register_is_refused(
    place: tuple[str | int, ...],
    value: object,
    problem: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    document = json.loads((FOLDER / "index.json").read_text(encoding="utf-8"))
    target: Any = document
    for step in place[:-1]:
        target = target[step]
    if value is REMOVED:
        del target[place[-1]]
    else:
        target[place[-1]] = value
    (tmp_path / "index.json").write_text(json.dumps(document), encoding="utf-8")
    monkeypatch.setattr(registry, "files", in_folder(tmp_path))
    with pytest.raises(ArtifactCorruptError, match=problem):
        published_tables.__wrapped__()


def test_a_register_of_a_newer_version_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "files", in_folder(tmp_path))
    (tmp_path / "index.json").write_text('{"schema_version": 2, "shape": "another"}')
    with pytest.raises(ArtifactTooNewError, match="schema 2"):
        published_tables.__wrapped__()
    (tmp_path / "index.json").write_text("{")
    with pytest.raises(ArtifactCorruptError, match="reinstall"):
        published_tables.__wrapped__()


def test_the_note_of_sources_is_that_of_the_register() -> None:
    script = ROOT / "scripts" / "write_published_sources.py"
    done = subprocess.run(
        [sys.executable, str(script), "--check"],
        capture_output=True, text=True, check=False, cwd=ROOT, env={"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_tables_stay_small_and_no_file_speaks_of_where_it_was_collected() -> None:
    shipped = [path for path in FOLDER.iterdir() if path.suffix in {".csv", ".json", ".md"}]
    assert sum(path.stat().st_size for path in shipped if path.suffix == ".csv") < MAX_BYTES
    for path in shipped:
        text = path.read_text(encoding="utf-8").lower()
        assert not re.search(r"blog|seed \d|seeds\.md|seed document|/work|shared/", text), path
        assert "seed" not in path.name


def test_the_register_names_only_packages_that_the_wheel_takes() -> None:
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert "calibration" in wheel["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    folder = files("calibration.published")
    assert all(folder.joinpath(entry.file).is_file() for entry in published_tables())


def test_importing_reads_no_table_and_no_heavy_library() -> None:
    code = (
        "import sys; import policies; before = set(sys.modules);"
        "import calibration.published as p;"
        "from calibration.published import _registry, _cells;"
        "heavy = {'numpy', 'scipy', 'pyarrow', 'pandas', 'sklearn', 'torch', 'rich', 'typer'};"
        "print(sorted(heavy & (set(sys.modules) - before)));"
        "print(p.published_tables.cache_info().currsize, p.load_published.cache_info().currsize);"
        "p.find_cell('2509.22193v2/T1/general/math-oe/3B/ift');"
        "print(p.load_published.cache_info().currsize)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.stdout.split("\n")[:3] == ["[]", "0 0", "1"], done.stdout + done.stderr
