"""Training methods against each other: the table as it is written, and what is said of it."""

import base64
import csv
import hashlib
import json
from collections.abc import Mapping, Sequence
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
    experiment: str,
    method: str,
    accuracy: float,
    *,
    seed: int = 1,
    budget: int = 0,
    n_examples: int = 0,
    facts: Mapping[str, float] | None = None,
) -> MethodCell:
    k = round(N * accuracy)
    answers = "1" * k + "0" * (N - k)
    tokens = 20.0 if method in {"shortest", "pairs-tops"} else 30.0
    return MethodCell(
        *(experiment, method, "pocket-xs", seed, budget, "math-oe", 1.0),
        *(tokens, 2.5e9, answers, n_examples, facts or {}),
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
            own = {name: getattr(one, name) for name in MethodCell.__slots__ if name != "facts"}
            counts = {"n": len(one.answers), "n_correct": one.answers.count("1")}
            text = base64.b64encode(octets).decode("ascii")
            lines.writerow({**own, **counts, "corpus": "math", "answers": text})
    digest = hashlib.sha256((folder / "methods.csv").read_bytes()).hexdigest()
    runs = {run_id(one): {"begins_sha256": "ab", **one.facts} for one in cells}
    document = {"kind": "pocket-methods", "schema_version": 1, "sha256": digest, "runs": runs}
    document |= manifest
    (folder / "methods.json").write_text(json.dumps(document), encoding="utf-8")
    return folder


def run_id(one: MethodCell) -> str:
    budget = f".{one.budget}" if one.budget else ""
    return f"{one.experiment}.{one.size}.{one.method}{budget}.seed{one.seed}"


def finding(cells: Sequence[MethodCell], name: str) -> Finding:
    (found,) = [one for one in method_findings(cells) if one.key == f"methods/{name}"]
    return found


def test_a_table_comes_back_as_it_was_measured(tmp_path: Path) -> None:
    cells = [
        cell("tops", "shortest", 0.5, n_examples=7, facts={"differing": 0.75}),
        cell("grpo", "grpo", 0.255, budget=96, facts={"signal": 0.5}),
    ]
    assert load_methods(write(tmp_path / "t", cells)) == tuple(cells)


def test_a_table_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactTooNewError, match="schema 2"):
        load_methods(write(tmp_path / "t", [], schema_version=2))


@pytest.mark.parametrize("damage", ["csv", "json", "kind", "bits", "absent", "runs"])
def test_a_damaged_table_is_refused(tmp_path: Path, damage: str) -> None:
    folder = write(tmp_path / "t", [cell("tops", "shortest", 0.5)])
    table, manifest = folder / "methods.csv", folder / "methods.json"
    if damage == "csv":
        table.write_text(table.read_text(encoding="utf-8") + "x\n", encoding="utf-8")
    elif damage == "json":
        manifest.write_text("{", encoding="utf-8")
    elif damage == "kind":
        write(folder, [], kind="other")
    elif damage == "runs":
        write(folder, [cell("tops", "shortest", 0.5)], runs={})
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
    [tokens] = [one for one in found.verdict if one.startswith("Answers of")]
    assert tokens == "Answers of `pairs-tops` are shorter than those of `pairs-length` in 1 of 1."


@pytest.mark.parametrize("is_shipped", [True, False])
def test_each_method_is_compared_with_its_start(is_shipped: bool) -> None:
    seeds = (1, 2)
    cells = [cell("tops", "start", 0.5, seed=seed) for seed in ((0,) if is_shipped else seeds)]
    for seed in seeds:
        cells += [cell("tops", "shortest", 0.8, seed=seed), cell("tops", "random", 0.4, seed=seed)]
    found = finding(cells, "tops")
    [row] = found.rows
    shown = dict(zip([one.name for one in found.columns], row.measures, strict=True))
    gain, loss = shown["shortest minus start"], shown["random minus start"]
    assert gain is not None
    assert loss is not None
    assert (gain.estimate, loss.estimate) == pytest.approx((0.3, -0.1))
    assert gain.low is not None
    assert gain.low > 0
    assert "`shortest` is more accurate in 1 of 1 comparisons and less in 0." in found.verdict[1]
    assert "`random` is more accurate in 0 of 1 comparisons and less in 1." in found.verdict[2]
    tokens = shown["tokens, start"]
    assert tokens is not None
    assert tokens.estimate == 30.0


def test_without_the_start_of_every_seed_nothing_is_said_of_it() -> None:
    cells = [cell("grpo", "start", 0.2, seed=1)]
    for seed in (1, 2):
        cells += [cell("grpo", method, 0.5, seed=seed) for method in ("distillation", "grpo")]
    found = finding(cells, "grpo")
    [row] = found.rows
    shown = dict(zip([one.name for one in found.columns], row.measures, strict=True))
    assert [shown[one] for one in ("start", "distillation minus start")] == [None, None]
    assert not [one for one in found.verdict if "Against its start" in one]


def test_what_the_runs_told_is_said() -> None:
    spread = {"differing": 0.25, "mean_right_tokens": 40.0, "mean_shortest_tokens": 38.5}
    cells = [cell("grpo", "start", 0.2, seed=seed, facts=spread) for seed in (1, 2)]
    for seed in (1, 2):
        told = {"signal": 0.5 + seed / 10, "reward_first": 0.25, "reward_last": 0.5}
        cells += [
            cell("grpo", "distillation", 0.5, seed=seed, budget=96),
            cell("grpo", "grpo", 0.5, seed=seed, budget=96, facts=told),
        ]
        pairs = {**spread, "mean_chosen_tokens": 30.0, "mean_rejected_tokens": 60.0 + seed}
        for method in ("pairs-tops", "pairs-length"):
            cells.append(cell("dpo", method, 0.5, seed=seed, n_examples=100 + seed, facts=pairs))
    grpo, dpo = (" ".join(finding(cells, one).verdict) for one in ("grpo", "dpo"))
    assert "Making a start took 2.5G FLOPs." in grpo
    assert "0.600 to 0.700 of those that it sampled" in grpo
    assert "from 0.250 in the first quarter of steps to 0.500 in the last" in grpo
    for text in (grpo, dpo):
        assert "differ in length for 0.250 of the questions" in text
    assert "`pairs-tops` found 101 to 102 pairs: 30.0 tokens chosen, 61.0 to 62.0" in dpo


def test_an_experiment_that_was_not_run_is_said_to_be_so() -> None:
    found = method_findings([cell("tops", "shortest", 0.5)])
    assert [one.rows for one in found] == [(), (), ()]
    assert all(one.verdict[0].startswith("Not measured") for one in found)
