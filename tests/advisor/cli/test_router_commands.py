"""`advisor fit`, `evaluate` and `ask` on a run of the real pocket model."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]


@pytest.fixture
def fitted(router_folder: Path, tmp_path: Path) -> Path:
    """Return a router folder of the test's own."""
    return Path(shutil.copytree(router_folder, tmp_path / "router"))


def test_fit_describes_the_router(advisor: Run, measured_run: Path, tmp_path: Path) -> None:
    document = advisor("fit", measured_run, "--out", tmp_path / "router", "--json").json()
    assert document["schema_version"] == 1
    assert document["arms"] == ["pocket-m:direct", "pocket-m:reasoning@max"]
    assert (document["n_questions"], document["n_fitted"]) == (480, 480)
    assert sum(document["learners"].values()) == pytest.approx(1.0)
    (chosen,) = (each for each in document["contenders"] if each["is_chosen"])
    assert chosen["weights"].keys() >= document["learners"].keys()
    assert len(document["contenders"]) > 3
    assert document["calibration"] in {"identity", "affine", "sigmoid", "isotonic"}
    assert document["guarantee"] is None
    assert (Path(document["router"]) / "manifest.json").is_file()


def test_fit_tells_in_words_what_was_learned(
    advisor: Run, measured_run: Path, fitted: Path
) -> None:
    result = advisor("fit", measured_run, "--out", fitted, "--overwrite")
    assert result.code == 0, result.err
    words = [
        "fitted on 480 questions",
        "compared by nested cross-validation",
        "p is a blend: ",
        "calibration out of fold: ",
        "objective: one point of accuracy is worth ",
        "cascade: ",
    ]
    for each in words:
        assert each in result.out


@pytest.mark.parametrize(
    ("options", "objective"),
    [
        (["--max-mean-cost", "20"], {"max_mean_cost": 20.0, "unit": "tokens"}),
        (["--max-cost-per-1000", "200e9", "--unit", "flops"], {"max_mean_cost": 2e8}),
        (["--lambda", "0", "--max-seconds", "9"], {"tradeoff": 0.0, "max_seconds": 9.0}),
    ],
)
def test_an_objective_is_kept_with_the_router(
    advisor: Run, measured_run: Path, tmp_path: Path, options: list[str], objective: dict[str, Any]
) -> None:
    result = advisor("fit", measured_run, "--out", tmp_path / "router", "--json", *options)
    assert result.code == 0, result.err
    assert result.json()["objective"].items() >= objective.items()


def test_prices_are_kept_with_the_router(advisor: Run, measured_run: Path, tmp_path: Path) -> None:
    prices = tmp_path / "prices.toml"
    prices.write_text(
        """[prices."pocket-m"]
input_usd_per_million = 1.0
output_usd_per_million = 4.0
source = "made up"
date = 2026-01-31
""",
        encoding="utf-8",
    )
    out = tmp_path / "router"
    result = advisor("fit", measured_run, "--out", out, "--unit", "usd", "--price", prices)
    assert result.code == 0, result.err
    assert "USD" in result.out
    options = ("--decide-only", "--max-cost-per-1000", 1.0, "--unit", "usd", "--json")
    decision = advisor("ask", "--router", out, "Compute mod ten: 7+5*3", *options).json()[
        "decision"
    ]
    assert decision["objective"] == {"max_mean_cost": 0.001, "unit": "usd", "is_strict": False}
    for candidate in decision["candidates"]:
        # At least the generated tokens, and some of the prompt.
        assert 4e-6 * candidate["tokens"] < candidate["cost"] < 4e-6 * candidate["tokens"] + 1e-4


def test_fit_refuses_to_replace_a_router_unasked(
    advisor: Run, measured_run: Path, fitted: Path
) -> None:
    refused = advisor("fit", measured_run, "--out", fitted)
    assert refused.code == 3
    assert "overwrite" in refused.err
    assert advisor("fit", measured_run, "--out", fitted, "--overwrite").code == 0


def test_fit_without_a_run_says_how_to_make_one(advisor: Run, tmp_path: Path) -> None:
    result = advisor("fit", tmp_path / "nothing", "--out", tmp_path / "router")
    assert result.code == 3
    assert "advisor calibrate" in result.err


def test_evaluate_compares_all_choices_on_held_out_questions(
    advisor: Run, measured_run: Path
) -> None:
    document = advisor("evaluate", measured_run, "--json").json()
    rows = {row["name"]: row for row in document["rows"]}
    assert rows.keys() >= {"pocket-m:direct", "pocket-m:reasoning@max", "router", "oracle"}
    for name, row in rows.items():
        assert 0 <= row["accuracy"] <= 1
        assert row["mean_tokens"] > 0
        # What two calls take in FLOPs is not modelled.
        assert (row["mean_flops"] or 0) > 0 or "cascade" in name
    best_fixed = max(rows[name]["accuracy"] for name in rows if name.startswith("pocket-m:"))
    assert rows["oracle"]["accuracy"] >= best_fixed


def test_a_flipped_byte_in_a_router_is_found(advisor: Run, fitted: Path) -> None:
    member = max(
        (path for path in fitted.rglob("*") if path.is_file() and path.name != "manifest.json"),
        key=lambda path: path.stat().st_size,
    )
    content = bytearray(member.read_bytes())
    content[len(content) // 2] ^= 1
    member.write_bytes(content)
    result = advisor("ask", "--router", fitted, "7+5")
    assert result.code == 3
    assert "error[artifact-corrupt]" in result.err
    assert member.name in result.err


def test_a_router_of_a_newer_version_is_refused(advisor: Run, fitted: Path) -> None:
    manifest = fitted / "manifest.json"
    document = json.loads(manifest.read_text())
    document["schema_version"] = 999
    manifest.write_text(json.dumps(document))
    result = advisor("ask", "--router", fitted, "7+5")
    assert result.code == 3
    assert "error[artifact-too-new]" in result.err


def test_a_missing_router_is_one_line(advisor: Run, tmp_path: Path) -> None:
    result = advisor("ask", "--router", tmp_path / "none", "7+5")
    assert result.code == 3
    assert result.out == ""
