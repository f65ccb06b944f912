"""Training methods against each other: the table as it is written, and what is said of it."""

import base64
import csv
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from advisor.study.findings import (
    Agreement,
    Finding,
    MethodCell,
    load_methods,
    method_findings,
)
from policies import ArtifactCorruptError, ArtifactTooNewError

N = 200
COLUMNS = (
    *("experiment", "method", "size", "corpus", "seed", "budget", "task_type", "mode", "policy"),
    *("temperature", "n", "n_correct", "n_cut", "accuracy", "ci_low", "ci_high", "mean_tokens"),
    *("train_flops", "sample_flops", "n_steps", "n_examples", "answers"),
)


def cell(
    experiment: str, method: str, accuracy: float, *, seed: int = 1, budget: int = 0
) -> MethodCell:
    k = round(N * accuracy)
    answers = "1" * k + "0" * (N - k)
    tokens = 20.0 if method in {"shortest", "pairs-tops"} else 30.0
    return MethodCell(
        *(experiment, method, "pocket-xs", seed, budget, "math-oe", 1.0),
        *(tokens, 2.5e9, answers),
    )


def write(folder: Path, cells: Sequence[MethodCell], **manifest: object) -> Path:
    """Write a table as calibration.pocket.methods does."""
    folder.mkdir(exist_ok=True)
    with (folder / "methods.csv").open("w", encoding="utf-8", newline="") as file:
        lines = csv.DictWriter(file, COLUMNS, restval="", lineterminator="\n")
        lines.writeheader()
        for one in cells:
            bits = one.answers + "0" * (-len(one.answers) % 8)
            octets = bytes(int(bits[at : at + 8], 2) for at in range(0, len(bits), 8))
            own = {name: getattr(one, name) for name in MethodCell.__slots__}
            counts = {"n": len(one.answers), "n_correct": one.answers.count("1")}
            text = base64.b64encode(octets).decode("ascii")
            lines.writerow({**own, **counts, "answers": text})
    digest = hashlib.sha256((folder / "methods.csv").read_bytes()).hexdigest()
    document = {"kind": "pocket-methods", "schema_version": 1, "sha256": digest, **manifest}
    (folder / "methods.json").write_text(json.dumps(document), encoding="utf-8")
    return folder


def finding(cells: Sequence[MethodCell], name: str) -> Finding:
    (found,) = [one for one in method_findings(cells) if one.key == f"methods/{name}"]
    return found


def test_a_table_comes_back_as_it_was_measured(tmp_path: Path) -> None:
    cells = [cell("tops", "shortest", 0.5), cell("tops", "random", 0.255)]
    assert load_methods(write(tmp_path / "t", cells)) == tuple(cells)


def test_a_table_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactTooNewError, match="schema 2"):
        load_methods(write(tmp_path / "t", [], schema_version=2))


@pytest.mark.parametrize("damage", ["csv", "json", "kind", "bits", "absent"])
def test_a_damaged_table_is_refused(tmp_path: Path, damage: str) -> None:
    folder = write(tmp_path / "t", [cell("tops", "shortest", 0.5)])
    table, manifest = folder / "methods.csv", folder / "methods.json"
    if damage == "csv":
        table.write_text(table.read_text(encoding="utf-8") + "x\n", encoding="utf-8")
    elif damage == "json":
        manifest.write_text("{", encoding="utf-8")
    elif damage == "kind":
        write(folder, [], kind="other")
    elif damage == "bits":
        text = table.read_text(encoding="utf-8").replace(",100,", ",101,", 1)
        table.write_text(text, encoding="utf-8")
        digest = hashlib.sha256(table.read_bytes()).hexdigest()
        document = json.loads(manifest.read_text(encoding="utf-8"))
        manifest.write_text(json.dumps({**document, "sha256": digest}), encoding="utf-8")
    else:
        table.unlink()
    with pytest.raises(ArtifactCorruptError, match="holds no table of methods"):
        load_methods(folder)


@pytest.mark.parametrize(
    ("distilled", "expected"), [(0.8, Agreement.AGREES), (0.2, Agreement.DIFFERS)]
)
def test_distillation_and_grpo_are_compared_at_each_budget(
    distilled: float, expected: Agreement
) -> None:
    cells = [
        one
        for seed in (1, 2)
        for budget in (2048, 8192)
        for one in (
            cell("grpo", "distillation", distilled, seed=seed, budget=budget),
            cell("grpo", "grpo", 0.5, seed=seed, budget=budget),
        )
    ]
    cells += [cell("grpo", "start", 0.1, seed=seed) for seed in (1, 2)]
    found = finding(cells, "grpo")
    assert found.agreement is expected
    assert [row.labels[1] for row in found.rows] == ["2,048", "8,192"]
    assert {row.n_seeds for row in found.rows} == {2}
    start, difference = found.rows[0].measures[0], found.rows[0].measures[3]
    assert start is not None
    assert difference is not None
    assert start.estimate == pytest.approx(0.1)
    assert difference.estimate == pytest.approx(distilled - 0.5)


def test_a_shipped_start_serves_all_seeds_and_experiments() -> None:
    cells = [cell("tops", "start", 0.3, seed=0)]
    for seed in (1, 2):
        cells += [cell("dpo", "pairs-tops", 0.7, seed=seed)]
        cells += [cell("dpo", "pairs-length", 0.6, seed=seed)]
    found = finding(cells, "dpo")
    start = found.rows[0].measures[0]
    assert start is not None
    assert start.estimate == pytest.approx(0.3)
    assert found.checks == ()
    assert "Its answers are the shorter ones in 1 of 1." in found.verdict


def test_an_experiment_that_was_not_run_is_said_to_be_so() -> None:
    found = method_findings([cell("tops", "shortest", 0.5)])
    assert [one.rows for one in found] == [(), (), ()]
    assert all(one.verdict[0].startswith("Not measured") for one in found)
