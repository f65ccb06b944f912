"""Claims, conflicts, training settings, and contested figures that must never become evidence."""

import csv
import math
from pathlib import Path

import pytest

from calibration.published import (
    Claim,
    find_cell,
    find_evidence,
    load_claims,
    load_conflicts,
    load_contested,
    load_distillation_gains,
    load_evidence,
    load_inference_fits,
    load_learning_rates,
    load_methods,
    load_published,
    load_published_table,
    load_tops_results,
    load_tops_stages,
    published_tables,
)
from calibration.published import _cells as cells
from calibration.published import _claims as claims_module
from policies import ArtifactCorruptError, InvalidInputError, ModelSize

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared" / "tables"
EVIDENCE = [entry.name for entry in published_tables() if entry.grade != "contested"]
QWEN_PARAMETERS = {"1.5B": 1.543714304e9, "3B": 3.085938688e9, "7B": 7.615616512e9}


def claim(key: str) -> Claim:
    return next(one for one in load_claims() if one.key == key)


# Claims


def test_ranges_are_those_of_the_text() -> None:
    ratio = claim("trace-length-ratio")
    assert (ratio.low, ratio.high, ratio.grade) == (5, 20, "printed")
    assert ratio.id == "2509.22193v2/claims/trace-length-ratio"
    assert ratio.source == "arXiv 2509.22193v2, abstract, section 1, Figure 1"
    sequential = claim("sequential-ratio")
    assert (sequential.low, sequential.high, sequential.grade) == (0.25, 0.5, "rule")
    assert claim("mixed-phase-transition").high is None
    assert claim("early-stopping-on-length").low is None
    assert claim("early-stopping-on-length").to_json()["grade"] == "rule"


@pytest.mark.parametrize("name", ["scale_or_reason_claims", "other_recipe_claims"])
def test_every_bound_of_a_range_stands_in_its_text(name: str) -> None:
    for one in load_claims(name):
        for bound in filter(None, (one.low, one.high)):
            words = f"{one.claim} {one.value}"
            assert f"{bound:g}" in words or f"{bound * 100:g}" in words, one.id


@pytest.mark.parametrize("name", ["scale_or_reason_claims", "other_recipe_claims"])
def test_no_rule_has_an_accuracy_or_a_range_without_unit(name: str) -> None:
    found = load_claims(name)
    assert any(one.grade == "rule" for one in found)
    for one in found:
        assert not (one.grade == "rule" and "accuracy" in one.unit), one.id
        assert (one.low is None and one.high is None) or one.unit, one.id


def test_a_rule_with_an_accuracy_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    row = find_cell("2509.22193v2/claims/sequential-ratio").row
    entry = find_cell(row.id).entry
    text = (ROOT / "calibration" / "published" / entry.file).read_text(encoding="utf-8")
    changed = text.replace("share of reasoning rows,rule", "accuracy in percent,rule", 1)
    assert changed != text
    loaded = cells.LoadedTable(entry, cells.parse_rows(entry, changed.encode()))

    def changed_table(name: str) -> cells.LoadedTable:
        assert name == entry.name
        return loaded

    monkeypatch.setattr(claims_module, "load_evidence", changed_table)
    with pytest.raises(ArtifactCorruptError, match="is a rule, yet it has an accuracy"):
        load_claims.__wrapped__()


def test_the_share_of_gains_recomputes_from_the_printed_accuracies() -> None:
    table = load_published_table("scale_or_reason_table1")
    rows = {(r.corpus, r.task_type, r.size, r.recipe): r.accuracy for r in table.rows}
    gains = [
        rows[corpus, task, size, "reasoning"] > ift
        for (corpus, task, size, recipe), ift in rows.items()
        if recipe == "ift"
    ]
    share = claim("share-reasoning-wins-at-equal-size")
    assert sum(gains) / len(gains) == share.low == share.high == 0.7


# Conflicts


def test_conflicts_name_both_sides_with_source_grade_and_meaning() -> None:
    conflicts = load_conflicts()
    assert len({one.id for one in conflicts}) == len(conflicts) == 14
    for one in conflicts:
        assert one.topics
        assert one.about
        assert one.meaning
        assert one.first.claim != one.second.claim
        for side in (one.first, one.second):
            assert side.source
            assert side.grade in {"printed", "rule", "third-party", "derived"}


@pytest.mark.parametrize(
    "key",
    [
        *("long-only-at-3b", "short-mix-on-math", "math-oe-14b-ift", "order-with-ratio"),
        *("order-of-modes", "distillation-margin", "forgetting-by-method"),
    ],
)
def test_known_conflicts_are_there(key: str) -> None:
    assert key in {one.key for one in load_conflicts()}


def test_figures_in_conflicts_are_those_of_the_cells_they_name() -> None:
    compared = 0
    for one in load_conflicts():
        for side in (one.first, one.second):
            for cell in map(find_evidence, side.cells):
                if not isinstance(cell.value, float):
                    continue
                printed = cell.row.printed[cell.column.name] if cell.column else ""
                assert printed in side.claim or f"{cell.value:.0f}" in side.claim, (one.id, cell.id)
                compared += 1
    assert compared >= 12


def test_a_side_that_is_a_rule_states_no_percentage_of_right_answers() -> None:
    for one in load_conflicts():
        for side in (one.first, one.second):
            if side.grade == "rule":
                assert not any(char.isdigit() for char in side.claim), one.id


def test_implied_multipliers_of_the_conflict_recompute() -> None:
    # IFT at 7B costs 1/c of reasoning at N with traces m times as long: c = N m / N_7B.
    for key, size, expected in (
        ("math-oe-7b-ift-vs-1.5b-reasoning", "1.5B", 7.9),
        ("general-mc-7b-ift-vs-3b-reasoning", "3B", 12.3),
    ):
        ratio = claim(key).low
        assert ratio is not None
        implied = ratio * QWEN_PARAMETERS["7B"] / QWEN_PARAMETERS[size]
        assert round(implied, 1) == expected
        conflict = next(one for one in load_conflicts() if one.key == "trace-multiplier")
        assert f"{expected} times" in f"{conflict.first.claim} {conflict.second.claim}"


# Settings and results of training


def test_learning_rates_are_those_of_table_2() -> None:
    rates = load_learning_rates()
    assert len(rates) == 8
    three = rates["Qwen2.5-3B"]
    assert (three.reasoning_lr, three.ift_lr) == (7e-6, 5e-6)
    assert (rates["Qwen2.5-14B"].reasoning_lr, rates["Qwen2.5-14B"].ift_lr) == (3e-6, 1e-6)
    for one in rates.values():
        assert 0 < one.ift_lr < one.reasoning_lr < 1e-4
        assert find_cell(f"{one.id}/ift").value == one.ift_lr
        assert one.source == "arXiv 2509.22193v2, Table 2"
    with pytest.raises(TypeError):
        rates["Qwen2.5-3B"] = three  # type: ignore[index] - what is shipped is read only


def test_methods_of_training_are_told_from_decoding() -> None:
    assert [one.key for one in load_methods()] == [
        *("self-backtracking", "tops", "grpo", "r1-four-stages", "r1-distillation"),
        *("kimi-k1.5-rl", "kimi-long2short"),
    ]
    every = load_methods(None)
    assert len(every) == 27
    assert {one.use for one in every} == {
        *("training", "decoding", "decoding with a component", "decoding by the vendor"),
        "neither",
    }
    assert all(one.algorithm and one.source for one in every)
    budget = next(one for one in load_methods("decoding") if one.key == "budget-forcing")
    assert budget.grade == "third-party"  # Its best figures are of a table read elsewhere.
    assert load_methods("cooking") == ()


def test_tops_results_are_printed_with_their_spread() -> None:
    results = {one.id: one for one in load_tops_results()}
    assert len(results) == 92
    aime = results["2502.18080/T3/Qwen2.5-32B-TOPS/default/AIME2024"]
    assert (aime.accuracy, aime.mean_tokens, aime.accuracy_std) == (0.4333, 7260.26, 0.0236)
    shortest = results["2502.18080/T3/Qwen2.5-32B-TOPS/default/GSM8K"]
    random = results["2502.18080/T3/Qwen2.5-32B-Random/default/GSM8K"]
    assert (shortest.mean_tokens, random.mean_tokens) == (412.24, 938.45)
    low = results["2502.18080/T2/Qwen2.5-32B-Tag/low/GSM8K"]
    assert (low.accuracy, low.mean_tokens, low.accuracy_std) == (0.9553, None, None)
    prompted = results["2502.18080/T8/QwQ-32B/high/AIME2024"]
    assert prompted.note == "prompted, max_seq_len 32K"
    assert prompted.source == "arXiv 2502.18080 (NeurIPS 2025), Table 8"


def test_tops_stages_have_their_settings_and_no_beta() -> None:
    stages = {one.key: one for one in load_tops_stages()}
    dpo = stages["iter-dpo"]
    assert (dpo.learning_rate, dpo.global_batch, dpo.n_epochs) == (5e-7, 32, 3)
    assert (stages["self-improvement"].global_batch, stages["self-improvement"].n_epochs) == (96, 2)
    assert stages["evaluation"].learning_rate is None
    assert "beta not found" in dpo.data


def test_distillation_is_ahead_of_rl_alone_wherever_both_are_printed() -> None:
    gains = load_distillation_gains()
    assert len(gains) == 7
    assert all(one.gain > 0 for one in gains)
    aime = gains[0]
    assert (aime.benchmark, aime.distilled, aime.rl_only) == ("aime24_pass1", 0.726, 0.47)
    averages = [one for one in gains if one.benchmark == "average"]
    assert [(one.distilled, one.rl_only) for one in averages] == [
        (0.7155, 0.5845),
        (0.6071, 0.5891),
    ]
    assert {one.grade for one in averages} == {"third-party"}
    for one in gains:
        for cell_id in one.ids:
            assert find_evidence(cell_id).row.grade == one.grade


# Second sources: what can be computed from other tables must agree


def test_derived_flops_recompute_from_the_printed_fits() -> None:
    fits = {(fit.task_type, fit.recipe): fit for fit in load_inference_fits()}
    for row in load_evidence("scale_or_reason_fig14_fits_derived").rows:
        size = ModelSize.parse(row.text("size"))
        family = row.text("family").lower()
        ift, reasoning = (fits[family, "ift"], fits[family, "reasoning"])
        assert row.number("ift_flops_from_fit") == pytest.approx(ift.flops(size), rel=1e-3)
        ratio = reasoning.flops(size) / ift.flops(size)
        assert row.number("ratio") == pytest.approx(ratio, rel=1e-3)


def test_ratios_of_flops_conventions_recompute() -> None:
    for row in load_evidence("flops_conventions").rows:
        exact = row.number("exact_flops") or math.nan
        for name in ("paper", "vllm"):
            value = row.number(f"{name}_flops") or math.nan
            assert row.number(f"{name}_over_exact") == pytest.approx(value / exact, abs=6e-4)


def test_printed_gains_over_cot_recompute() -> None:
    for row in load_evidence("tts_table5_math500").rows:
        cot, best = row.number("cot"), row.number("compute_optimal_tts")
        assert cot is not None
        assert best is not None
        assert row.number("perf_gain_pct") == pytest.approx(100 * (best / cot - 1), abs=0.11)


def test_two_tables_of_one_paper_agree_on_plain_decoding() -> None:
    names = {"QwQ-32B-Preview": "QwQ"}
    for row in load_evidence("tip_table3").rows:
        if row.text("benchmark") == "AIME2024" and row.text("decoding") == "base":
            model = names.get(row.text("model"), row.text("model"))
            averaged = find_evidence(f"2501.18585/T4/{model}/averaged/acc_4").value
            assert averaged == pytest.approx(row.number("pass1"), abs=0.2)


def test_two_papers_agree_on_the_same_figure() -> None:
    assert find_evidence("2502.06703/T3/QwQ-32B-Preview/math500").value == 90.6
    assert find_evidence("2501.12599/T2/QwQ-32B-Preview/math500").value == 90.6
    assert find_evidence("2502.06703/T3/R1-Distill-Qwen-7B/aime24").value == 83.3


def test_recorded_aggregates_are_consistent() -> None:
    sources = {row.text("dataset") for row in load_evidence("recorded_outcome_sources").rows}
    rows = load_evidence("measured_outcomes_aggregates").rows
    assert sources <= {row.text("dataset") for row in rows}
    for row in rows:
        n_rows, n_questions = row.number("n_rows"), row.number("n_questions")
        assert n_rows is not None
        assert n_questions is not None
        assert n_rows >= n_questions > 0
        size, tokens, flops = (row.number(c) for c in ("model_size_b", "mean_tokens", "flops_2nt"))
        if size and tokens and flops:
            assert flops == pytest.approx(2e9 * size * tokens, rel=1e-3)


def test_routing_records_keep_the_oracle_on_top() -> None:
    for row in load_evidence("router_signal_check").rows:
        oracle = row.number("acc_oracle")
        assert oracle is not None
        for column in ("acc_direct", "acc_reason", "acc_half_by_text", "acc_text_positive"):
            value = row.number(column)
            assert value is not None
            assert value <= oracle


# Contested figures


def test_contested_figures_are_shown_and_never_evidence() -> None:
    assert len(load_contested()) == 36
    assert {row.grade for row in load_published("contested_figures").rows} == {"contested"}
    with pytest.raises(InvalidInputError, match="no source prints it") as caught:
        load_evidence("contested_figures")
    assert caught.value.code == "contested-figure"
    assert find_cell("contested/general-oe-0.5b").row.grade == "contested"
    with pytest.raises(InvalidInputError, match=r"contested/general-oe-0\.5b"):
        find_evidence("contested/general-oe-0.5b")
    with pytest.raises(InvalidInputError):
        find_evidence("contested/general-oe-0.5b/claimed")


@pytest.mark.parametrize("name", EVIDENCE)
def test_no_table_of_evidence_holds_a_contested_row_or_an_accuracy_of_a_rule(name: str) -> None:
    loaded = load_evidence(name)
    accuracies = [column for column in loaded.entry.columns if column.type == "accuracy"]
    for row in loaded.rows:
        assert row.grade != "contested"
        assert row.grade != "rule" or not any(row.printed[one.name] for one in accuracies)


def test_one_contested_row_is_enough_to_refuse_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = find_cell("2509.22193v2/claims/judges").entry
    text = (ROOT / "calibration" / "published" / entry.file).read_text(encoding="utf-8")
    content = text.replace("printed,section 3.2", "contested,section 3.2", 1).encode()
    loaded = cells.LoadedTable(entry, cells.parse_rows(entry, content))

    def changed_table(name: str) -> cells.LoadedTable:
        assert name == entry.name
        return loaded

    monkeypatch.setattr(cells, "load_published", changed_table)
    with pytest.raises(InvalidInputError, match="output-length-ratio-same-size"):
        load_evidence(entry.name)


def test_no_refuted_number_is_shipped_at_the_place_it_was_claimed_for() -> None:
    pairs = [(one.id, *pair) for one in load_contested() for pair in one.refuted]
    assert len(pairs) >= 40
    for contested_id, cell_id, claimed in pairs:
        cell = find_evidence(cell_id)
        held = cell.value
        assert held is not None, cell_id
        if isinstance(claimed, str):
            assert held != claimed, contested_id
        else:
            assert isinstance(held, float)
            # One unit of the last printed digit of an accuracy; a rounding would be no refutation.
            assert abs(held - claimed) > (0.1 if abs(claimed) > 2 else 0.01), contested_id


def test_every_accuracy_claimed_for_a_family_is_refuted_at_its_cells() -> None:
    refuted = {cell for one in load_contested() for cell, _ in one.refuted}
    for cell in (
        *("general-oe/0.5B/reasoning", "general-oe/1.5B/reasoning", "general-oe/3B/reasoning"),
        *("general-oe/14B/ift", "general-oe/14B/reasoning", "math-oe/1.5B/reasoning"),
        *("math-oe/3B/ift", "math-oe/3B/reasoning"),
    ):
        for corpus in ("general", "math-centric"):
            assert f"2509.22193v2/T1/{corpus}/{cell}" in refuted


def test_every_collected_disagreement_is_listed() -> None:
    files = [
        path for path in SHARED.glob("*.csv") if "blog" in path.name or "disagree" in path.name
    ]
    if not files:
        pytest.skip(f"{SHARED} is not there: nothing to compare the list with")
    records = [
        record
        for path in files
        for record in csv.DictReader(path.read_text(encoding="utf-8").splitlines())
    ]
    contested = [one for one in records if one["verdict"] != "confirmed"]
    # One more was found in a third-party text about TOPS.
    assert len(load_contested()) == len(contested) + 1


def test_contested_figures_are_loaded_only_to_be_shown() -> None:
    for path in (ROOT / "advisor").rglob("*.py"):
        if "cli" not in path.relative_to(ROOT).parts:
            assert "contested" not in path.read_text(encoding="utf-8"), path
