"""`advisor calibrate` with budgets from one trace, ceilings, races and grading again."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]
Arguments = Callable[..., list[str]]

BUDGETS = ("--budgets", "0,8,16,24,32,40,48,64,max")


def test_nine_budgets_cost_about_a_quarter_of_nine_runs(
    advisor: Run, calibrate_arguments: Arguments, tmp_path: Path
) -> None:
    arguments = calibrate_arguments(tmp_path / "run", policies="reasoning", limit=25)
    document = advisor(*arguments, *BUDGETS, "--json").json()
    ledger, samples = document["ledger"], document["samples"]
    assert samples == {
        "planned": 900, "reused": 0, "generated": 900, "error": 0, "replayed": 800,
    }  # fmt: skip
    assert ledger["measurement_tokens"] <= 0.3 * ledger["native_tokens"]
    assert ledger["deployment_tokens"] == ledger["native_tokens"]
    by_hand = sum(cell["mean_tokens"] * cell["n"] for cell in document["cells"])
    assert by_hand == pytest.approx(ledger["native_tokens"])
    again = advisor(*arguments, *BUDGETS, "--json").json()
    assert again["samples"]["reused"] == 900
    assert again["samples"]["generated"] == again["samples"]["replayed"] == 0
    assert (again["ledger"], again["cells"]) == (ledger, document["cells"])


def test_budgets_apply_to_policies_without_one(
    advisor: Run, calibrate_arguments: Arguments, tmp_path: Path
) -> None:
    arguments = calibrate_arguments(
        tmp_path / "run", policies="direct,reasoning", tasks="pocket-math-oe", limit=4
    )
    document = advisor(*arguments, "--budgets", "4,max", "--no-replay", "--json").json()
    policies = [cell["policy"] for cell in document["cells"]]
    assert policies == ["direct", "reasoning@4", "reasoning@max"]
    ledger = document["ledger"]
    assert ledger["measurement_tokens"] == ledger["native_tokens"]


@pytest.mark.parametrize(
    ("policies", "budgets"),
    [("reasoning", "8,many"), ("reasoning", ""), ("direct", "8"), ("reasoning@8", "16")],
)
def test_budgets_that_make_no_sense_are_refused(
    advisor: Run, calibrate_arguments: Arguments, tmp_path: Path, policies: str, budgets: str
) -> None:
    arguments = calibrate_arguments(tmp_path / "run", policies=policies)
    result = advisor(*arguments, "--budgets", budgets)
    assert result.code == 2
    assert "error[invalid-budgets]" in result.err
    assert not (tmp_path / "run").exists()


def test_the_dry_run_tells_what_traces_save(
    advisor: Run, calibrate_arguments: Arguments, tmp_path: Path
) -> None:
    arguments = calibrate_arguments(tmp_path / "run", policies="reasoning")
    plan = advisor(*arguments, *BUDGETS, "--dry-run", "--json").json()["plan"]
    assert plan["n_requests"] == 9 * 160
    assert plan["n_replayed"] == 8 * 160
    assert plan["max_completion_tokens"] < plan["max_native_tokens"]


def test_the_check_of_replays_is_a_verdict(
    advisor: Run, calibrate_arguments: Arguments, tmp_path: Path
) -> None:
    arguments = calibrate_arguments(
        tmp_path / "run", policies="reasoning", limit=50, model="pocket-xs"
    )
    result = advisor(*arguments, "--budgets", "4,16,max", "--check-replay", "--json")
    document = result.json()
    assert (result.code, document["is_passed"]) == (0, True)
    assert [check["n_identical"] for check in document["checks"]] == [200, 200]
    assert not (tmp_path / "run").exists()


def test_a_check_of_too_few_questions_is_refused(
    advisor: Run, calibrate_arguments: Arguments, tmp_path: Path
) -> None:
    arguments = calibrate_arguments(tmp_path / "run", policies="reasoning", limit=5)
    result = advisor(*arguments, "--budgets", "4,max", "--check-replay")
    assert result.code == 2
    assert "error[too-few-questions]" in result.err


def test_a_ceiling_ends_the_run_before_it_is_reached_and_a_higher_one_goes_on(
    advisor: Run, calibrate_arguments: Arguments, tmp_path: Path
) -> None:
    arguments = calibrate_arguments(tmp_path / "run", tasks="pocket-math-oe", limit=20)
    result = advisor(*arguments, "--max-total-tokens", 2000, "--json")
    ledger = result.json()["ledger"]
    spent = ledger["measurement_tokens"] + ledger["measurement_prompt_tokens"]
    assert result.code == 6
    assert spent <= 2000
    assert "the ceiling of 2,000 tokens" in result.err
    document = advisor(*arguments, "--json").json()
    assert document["samples"]["reused"] > 0
    assert {cell["n"] for cell in document["cells"]} == {20}


PRICES = """
[prices."pocket-m"]
input_usd_per_million = 1.0
output_usd_per_million = 4.0
source = "made up for this test"
date = 2026-01-31
"""


def test_money_is_counted_at_the_given_price_and_limited(
    advisor: Run, calibrate_arguments: Arguments, tmp_path: Path
) -> None:
    prices = tmp_path / "prices.toml"
    prices.write_text(PRICES)
    arguments = calibrate_arguments(tmp_path / "run", tasks="pocket-math-oe", limit=10)
    document = advisor(*arguments, "--price", prices, "--json").json()
    for cell in document["cells"]:
        usd = (cell["mean_prompt_tokens"] + 4 * cell["mean_tokens"]) / 1e6
        assert cell["mean_usd"] == pytest.approx(usd)
    table = json.loads((tmp_path / "run" / "table.json").read_text())
    assert table["provenance"]["arms"][0]["price"]["output_usd_per_million"] == 4.0
    other = calibrate_arguments(tmp_path / "other", tasks="pocket-math-oe", limit=10)
    limited = advisor(*other, "--price", prices, "--max-usd", 0.003, "--json")
    assert limited.code == 6
    assert 0 < limited.json()["ledger"]["measurement_usd"] <= 0.003
    assert advisor(*other, "--max-usd", 1).code == 2


def test_a_race_asks_less_and_says_why_arms_stopped(
    advisor: Run, calibrate_arguments: Arguments, tmp_path: Path
) -> None:
    arguments = calibrate_arguments(
        tmp_path / "run", tasks="pocket-math-oe", limit=200, policies="direct,reasoning@max"
    )
    document = advisor(*arguments, "--race", "--json").json()
    race = document["races"]["pocket-math-oe"]["pocket-m"]
    assert race["ranking"] == [["pocket-m:reasoning@max", "pocket-m:direct"]]
    assert {arm["stop_reason"] for arm in race["arms"]} == {"settled"}
    assert document["samples"]["planned"] < 400
    assert {cell["interval"] for cell in document["cells"]} == {"anytime"}


def test_a_finished_run_is_graded_again_without_asking(
    advisor: Run, calibrate_arguments: Arguments, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    before = advisor(*calibrate_arguments(out, limit=10), "--json").json()
    again = advisor("calibrate", "--rescore", out, "--json").json()
    assert again["cells"] == before["cells"]
    assert sum(again["graded"].values()) == 80
    strict = advisor("calibrate", "--rescore", out, "--grader", "number", "--json").json()
    # The pocket models' letters and names are no numbers.
    assert {c["n_correct"] for c in strict["cells"] if "general" in c["task"]} == {0}
    assert advisor("calibrate", "--rescore", tmp_path / "none").code == 3


def test_no_resume_refuses_a_run_that_is_there(
    advisor: Run, calibrate_arguments: Arguments, tmp_path: Path
) -> None:
    arguments = calibrate_arguments(tmp_path / "run", tasks="pocket-math-oe", limit=3)
    assert advisor(*arguments, "--no-resume").code == 0
    result = advisor(*arguments, "--no-resume")
    assert result.code == 3
    assert "error[run-exists]" in result.err


def test_what_is_missing_is_named(advisor: Run) -> None:
    result = advisor("calibrate", "--model", "pocket-m")
    assert result.code == 2
    assert "--tasks must be given" in result.err


def test_a_repaired_run_goes_on(
    advisor: Run, calibrate_arguments: Arguments, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    arguments = calibrate_arguments(out, limit=20)
    before = advisor(*arguments, "--json").json()
    path = out / "run.sqlite"
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 4096] = bytes(4096)
    path.write_bytes(data)
    repair = advisor("tables", "repair", out, "--json").json()
    assert Path(repair["original"]).is_file()
    after = advisor(*arguments, "--json").json()
    assert after["samples"]["reused"] == repair["n_saved"]
    counts = ("n", "n_correct", "mean_tokens")
    assert [[c[k] for k in counts] for c in after["cells"]] == [
        [c[k] for k in counts] for c in before["cells"]
    ]
