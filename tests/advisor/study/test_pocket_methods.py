"""The table of the experiments on training methods: from results of runs to CSV and manifest."""

import csv
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from advisor.study import load_study, shipped_studies
from advisor.study.findings import load_methods, method_findings, shipped_methods
from calibration.pocket.methods import collect, packed
from calibration.pocket.methods_runs import MethodRun, Scale
from policies import InvalidInputError

N = 40


def first(n: int) -> list[bool]:
    return [place < n for place in range(N)]


def write_result(
    out: Path,
    run: MethodRun,
    bits: Sequence[bool],
    *,
    tokens: float = 20.0,
    flops: int = 1000,
    other: Mapping[str, object] | None = None,
) -> None:
    cell = {
        "task_type": "math-oe",
        "mode": "reasoning",
        "policy": "reasoning@max",
        "temperature": 1.0,
        "n": len(bits),
        "n_correct": sum(bits),
        "n_cut": 0,
        "accuracy": sum(bits) / len(bits),
        "ci_low": 0.0,
        "ci_high": 1.0,
        "mean_tokens": tokens,
        "answers": packed(bits),
    }
    fields = ("experiment", "method", "size", "corpus", "seed", "budget")
    result = {
        "schema_version": 1,
        "run": {name: getattr(run, name) for name in fields},
        "base_sha256": "ab",
        "begins_sha256": "cd",
        "scale": {"n_measured": N},
        "measured": {"seed": 3},
        "versions": {"torch": "2"},
        "train_cpu_seconds": 1.0,
        "train_flops": flops,
        "sample_flops": flops // 4,
        "n_steps": 3,
        "n_examples": 96,
        "facts": {"pass_rate": 0.5},
        "cells": [cell],
        **(other or {}),
    }
    target = out / "results" / f"{run.id}.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(result), encoding="utf-8")


def skills(experiment: str, method: str, seed: int) -> MethodRun:
    assert experiment in {"tops", "dpo"}
    kind = "tops" if experiment == "tops" else "dpo"
    return MethodRun(kind, method, "pocket-s-skills", "skills", seed)


@given(st.lists(st.booleans(), min_size=1, max_size=70))
def test_bits_are_read_back_by_the_page(bits: list[bool]) -> None:
    import base64

    octets = base64.b64decode(packed(bits))
    assert len(octets) == -(-len(bits) // 8)
    shown = "".join(f"{octet:08b}" for octet in octets)
    assert [one == "1" for one in shown[: len(bits)]] == bits
    assert "1" not in shown[len(bits) :]


def test_every_start_comes_before_what_begins_there_and_once() -> None:
    runs = MethodRun.plan(("grpo", "tops", "dpo"), ("pocket-xs", "pocket-s"), (1, 2), Scale())
    ids = [run.id for run in runs]
    assert len(set(ids)) == len(ids)
    for run in runs:
        assert ids.index(run.start.id) <= ids.index(run.id)
    starts = [run for run in runs if run.method == "start"]
    assert {(run.size, run.seed) for run in starts} == {
        *((size, seed) for size in ("pocket-xs", "pocket-s") for seed in (1, 2)),
        ("pocket-xs-skills", 0),
        ("pocket-s-skills", 0),
    }


def test_results_become_a_table_that_the_page_reads(tmp_path: Path) -> None:
    write_result(tmp_path, skills("tops", "start", 0), first(30), tokens=40.0)
    for seed in (1, 2):
        write_result(tmp_path, skills("tops", "shortest", seed), first(31), tokens=30.0)
        write_result(tmp_path, skills("tops", "random", seed), first(29), tokens=40.0)
    assert collect(tmp_path, tmp_path / "table") == 5
    text = (tmp_path / "table" / "methods.csv").read_text("utf-8")
    manifest = json.loads((tmp_path / "table" / "methods.json").read_text("utf-8"))
    assert manifest["sha256"] == hashlib.sha256(text.encode()).hexdigest()
    assert manifest["runs"]["tops.pocket-s-skills.random.seed2"]["pass_rate"] == 0.5
    assert manifest["bases"] == {"pocket-s-skills": "ab"}
    assert manifest["measured"] == {"seed": 3}
    cells = load_methods(tmp_path / "table")
    assert {cell.facts["pass_rate"] for cell in cells} == {0.5}
    assert {cell.n_examples for cell in cells} == {96}
    assert {(cell.method, cell.answers.count("1")) for cell in cells} == {
        ("start", 30),
        ("shortest", 31),
        ("random", 29),
    }
    [finding] = [one for one in method_findings(cells) if one.key == "methods/tops"]
    [row] = finding.rows
    assert row.n_seeds == 2
    assert [one.estimate for one in row.measures[:4] if one] == pytest.approx(
        [30 / N, 31 / N, 29 / N, 2 / N]
    )


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"base_sha256": "zz"}, "another base model of pocket-s-skills"),
        ({"scale": {"n_measured": 9}}, "another scale .*: n_measured 9, now it is 40"),
        ({"measured": {"seed": 7}}, "another measured .*: seed 7, now it is 3"),
        ({"versions": {"torch": "1"}}, "another versions .*: torch '1', now it is '2'"),
    ],
)
def test_results_of_different_studies_are_not_collected(
    tmp_path: Path, other: dict[str, object], said: str
) -> None:
    write_result(tmp_path, skills("tops", "random", 1), first(30))
    write_result(tmp_path, skills("tops", "shortest", 1), first(30), other=other)
    with pytest.raises(InvalidInputError, match=f"tops.pocket-s-skills.shortest.seed1.*{said}"):
        collect(tmp_path, tmp_path / "table")
    assert not (tmp_path / "table").exists()


def test_a_folder_without_results_is_not_collected(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="holds no results"):
        collect(tmp_path, tmp_path / "table")


def test_the_shipped_table_is_at_matched_flops_and_large_enough() -> None:
    folder = shipped_methods()
    if folder is None:
        pytest.skip("no table of methods is shipped yet: scripts/study_methods.sh writes it")
    with (folder / "methods.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["experiment"] for row in rows} == {"grpo", "tops", "dpo"}
    assert min(int(row["n"]) for row in rows) >= 1000
    assert len(load_methods(folder)) == len(rows)
    spent = {
        (row["size"], row["seed"], row["budget"], row["method"]): float(row["train_flops"])
        for row in rows
        if row["experiment"] == "grpo"
    }
    manifest = json.loads((folder / "methods.json").read_text("utf-8"))
    assert manifest["bases"].keys() == {row["size"] for row in rows}
    if "pocket-study" in shipped_studies():
        facts = load_study("pocket-study").provenance["lab"]
        for size in {row["size"] for row in rows if row["experiment"] == "grpo"}:
            assert manifest["bases"][size] == facts[f"base {size}"]
    matched = [key for key in spent if key[3] == "grpo"]
    assert matched
    for key in matched:
        # GRPO does not break the budget, and its last step is as small as what is left of it.
        assert 0.9 <= spent[key] / spent[*key[:3], "distillation"] <= 1.0
