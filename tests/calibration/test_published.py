import csv
import subprocess
import sys
import zipfile
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from importlib.resources import files
from itertools import product
from pathlib import Path

import pytest

from calibration.published import (
    PublishedCorpus,
    PublishedRecipe,
    load_inference_fits,
    load_published,
    load_published_table,
    published_table_names,
    published_tables,
)
from calibration.published import _registry as module
from policies import ArtifactCorruptError, ModelSize, UnknownNameError

NAME = "scale_or_reason_table1"
FITS = "scale_or_reason_fig14_fits"
ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared" / "tables"
CORPORA: tuple[PublishedCorpus, ...] = ("general", "math-centric")
TASK_TYPES = ("general-mc", "general-oe", "math-mc", "math-oe")
SIZES = ("0.5B", "1.5B", "3B", "7B", "14B")


load_table = load_published_table.__wrapped__


def records(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(text.splitlines()))


def in_folder(folder: Path) -> Callable[[str], Path]:
    """Return a stand-in for `importlib.resources.files`."""

    def files_of(package: str) -> Path:
        assert package == "calibration.published"
        return folder

    return files_of


def shipped(name: str) -> str:
    return files("calibration.published").joinpath(f"{name}.csv").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", [NAME, FITS])
def test_shipped_file_equals_the_source_file(name: str) -> None:
    source = SHARED / f"{name}.csv"
    if not source.exists():
        pytest.skip(f"{source} is not there: nothing to compare the shipped figures with")
    assert records(shipped(name)) == records(source.read_text(encoding="utf-8"))


def test_table_has_each_of_the_40_cells_with_both_recipes() -> None:
    table = load_published_table(NAME)
    recipes: tuple[PublishedRecipe, ...] = ("ift", "reasoning")
    assert len(table.rows) == 80
    assert len(table.cells) == 40
    assert [str(size) for size in table.sizes] == list(SIZES)
    assert table.task_types == TASK_TYPES
    assert table.corpora == CORPORA
    for corpus, task_type, size, recipe in product(CORPORA, TASK_TYPES, SIZES, recipes):
        row = table.find(corpus, task_type, ModelSize.parse(size), recipe)
        assert row.cell.startswith(f"Table 1, {corpus}, ")
        assert row.cell.endswith(f", {size}")
        assert row.source == "arXiv 2509.22193v2"
        assert str(row.size) == size


def test_every_printed_accuracy_is_read_exactly() -> None:
    table = load_published_table(NAME)
    seen = 0
    for record in records(shipped(NAME)):
        corpus: PublishedCorpus = (
            "general" if record["training_corpus"] == "general-purpose" else "math-centric"
        )
        size = ModelSize.parse(record["student_size"])
        recipes: tuple[PublishedRecipe, ...] = ("ift", "reasoning")
        for recipe in recipes:
            row = table.find(corpus, record["task_family"].lower(), size, recipe)
            assert row.accuracy == float(Decimal(record[f"{recipe}_acc"]) / 100)
            seen += 1
        assert table.teacher_accuracy[record["task_family"].lower()] == float(
            Decimal(record["teacher_acc"]) / 100
        )
    assert seen == 80


def test_printed_deltas_recompute_and_28_of_40_are_positive() -> None:
    rows = records(shipped(NAME))
    deltas = [Decimal(row["reasoning_acc"]) - Decimal(row["ift_acc"]) for row in rows]
    for row, delta in zip(rows, deltas, strict=True):
        assert abs(delta - Decimal(row["delta_printed"])) <= Decimal("0.1")
    assert sum(delta > 0 for delta in deltas) == 28


# Typed by hand: a second source for the parser.
@pytest.mark.parametrize(
    ("corpus", "task_type", "size", "ift", "reasoning"),
    [
        ("general", "math-oe", "3B", 0.399, 0.554),
        ("math-centric", "math-oe", "7B", 0.596, 0.736),
        ("math-centric", "general-oe", "0.5B", 0.318, 0.082),
        ("general", "general-mc", "14B", 0.823, 0.904),
        ("general", "math-oe", "14B", 0.536, 0.747),
    ],
)
def test_known_cells(
    corpus: PublishedCorpus, task_type: str, size: str, ift: float, reasoning: float
) -> None:
    table = load_published_table(NAME)
    n = ModelSize.parse(size)
    assert table.find(corpus, task_type, n, "ift").accuracy == ift
    assert table.find(corpus, task_type, n, "reasoning").accuracy == reasoning


def test_curve_is_ordered_by_size() -> None:
    curve = load_published_table(NAME).curve("general", "math-oe", "ift")
    assert [row.accuracy for row in curve] == [0.177, 0.241, 0.399, 0.45, 0.536]


def test_row_as_json() -> None:
    row = load_published_table(NAME).find("general", "math-oe", ModelSize.parse("3B"), "reasoning")
    assert row.to_json() == {
        "id": "2509.22193v2/T1/general/math-oe/3B/reasoning",
        "corpus": "general",
        "task_type": "math-oe",
        "size": "3B",
        "recipe": "reasoning",
        "accuracy": 0.554,
        "source": "arXiv 2509.22193v2",
        "cell": "Table 1, general, Math-OE, 3B",
    }


def test_fits_give_the_derived_flops() -> None:
    fits = {(fit.task_type, fit.recipe): fit for fit in load_inference_fits()}
    assert len(fits) == 8
    three = ModelSize.parse("3B")
    # 2.67e13 * 3**0.77 and 2.89e12 * 3**0.87 by hand
    assert fits["math-oe", "reasoning"].flops(three) == pytest.approx(6.221e13, rel=1e-3)
    assert fits["math-oe", "ift"].flops(three) == pytest.approx(7.516e12, rel=1e-3)


def test_unknown_names_list_what_is_known() -> None:
    assert published_table_names() == (NAME,)
    with pytest.raises(UnknownNameError) as caught:
        load_published_table("scale_or_reason_table2")
    assert caught.value.code == "unknown-table"
    assert NAME in caught.value.hint
    with pytest.raises(UnknownNameError):
        load_published_table(NAME).find("general", "math-oe", ModelSize.parse("4B"), "ift")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("general-purpose,General-OE,3B,52.2", "general-purpose,General-OE,3B,152.2"),
        ("general-purpose,General-OE,3B,52.2", "general-purpose,General-OE,3B,25.2"),
        ("general-purpose,General-OE,3B,52.2", "general-purpose,General-OE,3B,many"),
        ("general-purpose,General-OE,3B", "general-purpose,General-OE,3X"),
        ("general-purpose,General-OE,3B", "general-purpose,General-OE,7B"),
        ("general-purpose,General-OE,3B", "other,General-OE,3B"),
        ("general-purpose,General-OE,3B,52.2,64.7,12.5,84.4", "general-purpose,General-OE,3B"),
        ("general-purpose,General-OE,3B,52.2,64.7,12.5,84.4", "general-purpose,General-OE,3B,52.2,64.7,12.5,90.0"),
        ("ift_acc", "accuracy"),
    ],
)  # fmt: skip
def test_damaged_table_is_refused(
    old: str, new: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = shipped(NAME)
    assert old in text
    (tmp_path / f"{NAME}.csv").write_text(text.replace(old, new), encoding="utf-8")
    monkeypatch.setattr(module, "files", in_folder(tmp_path))
    with pytest.raises(ArtifactCorruptError, match=NAME):
        load_table(NAME)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [(NAME, "0.5B,24.9,41.3", "0.5B,24.8,41.2"), (FITS, "2770000000000.0", "2780000000000.0")],
)
def test_a_changed_figure_is_refused_even_where_it_is_plausible(
    name: str, old: str, new: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = shipped(name)
    assert old in text
    (tmp_path / f"{name}.csv").write_text(text.replace(old, new), encoding="utf-8")
    published_tables()  # The register is right.
    load_published.cache_clear()
    monkeypatch.setattr(module, "files", in_folder(tmp_path))
    load = load_inference_fits.__wrapped__ if name == FITS else partial(load_table, NAME)
    with pytest.raises(ArtifactCorruptError, match="sha256"):
        load()


@pytest.mark.parametrize(
    ("old", "new"),
    [("Math-OE,ift", "Math-OE,other"), ("Math-OE,ift", "Math-MC,ift"), ("0.87", "-0.87")],
)
def test_damaged_fits_are_refused(
    old: str, new: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = shipped(FITS)
    assert old in text
    (tmp_path / f"{FITS}.csv").write_text(text.replace(old, new), encoding="utf-8")
    monkeypatch.setattr(module, "files", in_folder(tmp_path))
    with pytest.raises(ArtifactCorruptError, match=FITS):
        load_inference_fits.__wrapped__()


def test_missing_file_is_an_expected_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "files", in_folder(tmp_path))
    with pytest.raises(ArtifactCorruptError, match="reinstall"):
        load_table(NAME)


def test_tables_load_from_a_zip_archive(tmp_path: Path) -> None:
    # Wheels are read through importlib.resources, also where there are no files on disk.
    archive = tmp_path / "packages.zip"
    with zipfile.ZipFile(archive, "w") as target:
        for package in ("policies", "calibration"):
            for path in sorted((ROOT / package).rglob("*")):
                if path.suffix in {".py", ".csv", ".json"}:
                    target.write(path, path.relative_to(ROOT).as_posix())
    code = (
        "from calibration.published import load_published_table, load_inference_fits;"
        "from calibration.published import find_cell;"
        f"print(len(load_published_table({NAME!r}).rows), len(load_inference_fits()));"
        "print(find_cell('methods/grpo').id)"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path.insert(0, {str(archive)!r}); {code}"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.stdout.split() == ["80", "8", "methods/grpo"], done.stderr
