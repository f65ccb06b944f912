from itertools import product
from typing import Any

import pytest

from advisor import PublishedEvidence, recommend
from advisor.cost import InferBudget, TrainBudget
from tests.advisor.verdict.asking import (
    BETWEEN,
    OUTSIDE,
    PRINTED,
    TABLE,
    TASK_TYPES,
    ask,
    codes,
    conflict_ids,
    find,
    question,
    reason_codes,
)

# What the evidence supports where the size is fixed and nothing else is said: reasoning where the
# gains of both published corpora, at equal odds, speak for it; direct answers on general multiple
# choice; and no verdict where the corpus decides, which was not said.
EXPECTED: dict[str, dict[str, str]] = {
    "general-mc": dict.fromkeys((*PRINTED, *BETWEEN), "ift"),
    "general-oe": {**dict.fromkeys((*PRINTED, *BETWEEN), "abstain"), "14B": "sequential"},
    "math-mc": {**dict.fromkeys((*PRINTED, *BETWEEN), "sequential"), "0.5B": "ift"},
    "math-oe": {**dict.fromkeys((*PRINTED, *BETWEEN), "sequential"), "0.5B": "abstain"},
}
EXPECTED["math-mc"]["1B"] = EXPECTED["math-oe"]["1B"] = "abstain"


@pytest.mark.parametrize(("size", "task_type"), list(product((*PRINTED, *BETWEEN), TASK_TYPES)))
def test_verdict_is_the_expected_one(size: str, task_type: str) -> None:
    answer = ask(size, task_type)
    assert answer.verdict.action == EXPECTED[task_type][size]
    if answer.recommended is not None:
        assert str(answer.recommended.size) == size
        assert answer.recommended.recipe.corpus == "general"


@pytest.mark.parametrize(
    ("size", "task_type", "corpus"),
    list(product(PRINTED, TASK_TYPES, ("general", "math-centric"))),
)
def test_printed_sizes_have_exactly_the_printed_figures(
    size: str, task_type: str, corpus: Any
) -> None:
    answer = ask(size, task_type, corpus=corpus)
    for recipe in ("ift", "reasoning"):
        accuracy = find(answer, size, recipe).accuracy
        row = TABLE.find(corpus, task_type, question(size, task_type).size, recipe)  # pyright: ignore[reportArgumentType] - never any
        assert accuracy.value == row.accuracy
        assert accuracy.basis == "measured"
        assert accuracy.cells == (row.id,)


@pytest.mark.parametrize(("size", "task_type"), list(product(OUTSIDE, TASK_TYPES)))
def test_outside_the_published_sizes_it_abstains_without_a_number(
    size: str, task_type: str
) -> None:
    answer = ask(size, task_type)
    assert answer.verdict.action == "abstain"
    assert "outside-published-range" in codes(answer)
    assert all(option.accuracy.value is None for option in answer.options)
    assert all(option.inference_flops is None for option in answer.options)
    assert answer.next_measurements[0].commands[0].startswith("advisor calibrate ")


@pytest.mark.parametrize("corpus", ["own", "code"])
@pytest.mark.parametrize(("size", "task_type"), list(product(PRINTED, TASK_TYPES)))
def test_prior_of_another_corpus_alone_never_decides(
    size: str, task_type: str, corpus: Any
) -> None:
    answer = ask(size, task_type, corpus=corpus)
    assert answer.verdict.action == "abstain"
    assert all(option.accuracy.value is None for option in answer.options)
    assert answer.verdict.fallback is not None


def test_where_the_corpus_decides_and_was_not_said_there_is_no_verdict() -> None:
    open_ended = ask("1.5B", "general-oe")
    assert "corpora" in conflict_ids(open_ended)
    assert reason_codes(open_ended)[-2:] == ["corpora-disagree", "fallback"]
    assert open_ended.verdict.action == "abstain"
    turned = {change.arguments: change.action for change in open_ended.changes}
    assert turned["--corpus general"] == "sequential"
    assert turned["--corpus math"] == "ift"
    said = ask("1.5B", "general-oe", corpus="general")
    assert not said.verdict.is_leaning
    assert "corpora-disagree" not in reason_codes(said)
    assert "corpora" in conflict_ids(said)
    assert "corpora" not in conflict_ids(ask("3B", "math-oe"))


def test_answering_the_corpus_settles_an_abstention() -> None:
    assert ask("0.5B", "math-oe").verdict.action == "abstain"
    general = ask("0.5B", "math-oe", corpus="general").verdict
    assert general.action == "sequential"
    assert general.is_leaning
    assert ask("0.5B", "math-oe", corpus="math").verdict.action == "ift"


def test_math_is_another_name_of_the_math_centric_corpus() -> None:
    by_alias, by_name = (
        ask("3B", "math-oe", corpus="math"),
        ask("3B", "math-oe", corpus="math-centric"),
    )
    assert by_alias == by_name


@pytest.mark.parametrize(
    ("size", "text"), [("0.5B", "-23.6"), ("1.5B", "-12.5"), ("3B", "-11.2"), ("14B", "-1.6")]
)
def test_general_accuracy_loss_quotes_the_printed_difference(size: str, text: str) -> None:
    answer = ask(size, "math-oe", corpus="math", objective="accuracy")
    found = [warning for warning in answer.warnings if warning.code == "general-accuracy-loss"]
    if size == "0.5B":  # direct answers are advised there: nothing is lost
        assert not found
        return
    assert f"{text} points on general-oe at {size}" in found[0].text
    cited = f"2509.22193v2/T1/math-centric/general-oe/{size}/reasoning"
    assert cited in {item.id for item in answer.evidence}


def test_true_parameter_count_is_read_as_the_printed_student() -> None:
    answer = ask("3085938688", "math-oe")
    assert "nominal-size" in codes(answer)
    assert answer.options[0].accuracy.value == 0.399
    assert ask("3.21B", "math-oe").options[0].accuracy.basis == "interpolated"


def test_math_oe_at_3b_depends_on_what_matters() -> None:
    assert ask("3B", "math-oe").verdict.action == "sequential"
    assert ask("3B", "math-oe", objective="training").verdict.action == "sequential"
    assert ask("3B", "math-oe", objective="inference").verdict.action == "mixed"
    accuracy = ask("3B", "math-oe", objective="accuracy")
    assert accuracy.verdict.action == "reasoning"
    assert accuracy.verdict.confidence == "measured"
    assert accuracy.recommended is not None
    assert accuracy.recommended.accuracy.value == 0.554


def test_larger_ift_is_listed_beyond_the_cap_and_taken_within_it() -> None:
    # 7B IFT 45.0 against 43.7 for 1.5B reasoning, general corpus; the paper: 1.6x cheaper to train
    capped = ask("1.5B", "math-oe", corpus="general")
    assert capped.verdict.action == "sequential"
    assert find(capped, "7B", "ift").why_not == ("larger than 1.5B",)
    allowed = ask("1.5B", "math-oe", corpus="general", max_size="7B")
    assert allowed.verdict.action == "scale_ift"
    assert allowed.recommended is not None
    assert allowed.recommended.accuracy.value == 0.45


def test_tie_is_not_enough_to_scale() -> None:
    # general corpus: 14B IFT 53.6 against 55.4 for 3B reasoning
    answer = ask("3B", "math-oe", corpus="general", max_size="14B")
    assert answer.verdict.action == "sequential"
    assert "larger-ift-ties" in reason_codes(answer)
    difference = next(
        one for one in answer.differences if one.second == find(answer, "14B", "ift").id
    )
    assert difference.value == pytest.approx(0.018)
    assert not difference.is_shown


def test_general_multiple_choice_stays_with_direct_answers_unless_accuracy_is_all() -> None:
    by_rule = ask("7B", "general-mc").verdict
    assert by_rule.action == "ift"
    assert by_rule.confidence == "rule"
    assert by_rule.expected_regret == pytest.approx(0.059, abs=0.001)
    assert "+5.1 points" in " ".join(reason.text for reason in by_rule.reasons)
    assert "multiple-choice-rule" in reason_codes(ask("7B", "general-mc"))
    assert ask("7B", "general-mc", objective="accuracy").verdict.action == "reasoning"
    scaled = ask("3B", "general-mc", corpus="general", max_size="7B")
    assert scaled.verdict.action == "scale_ift"
    assert scaled.recommended is not None
    assert scaled.recommended.accuracy.value == 0.791


def test_training_budget_rules_options_out_and_is_named() -> None:
    answer = ask("3B", "math-oe", train_budget=TrainBudget.parse("5e18"))
    assert answer.verdict.action == "ift"
    assert "over-budget" in reason_codes(answer)
    assert find(answer, "3B", "reasoning").why_not
    nothing = ask("3B", "math-oe", train_budget=TrainBudget.parse("1e18"))
    assert nothing.verdict.action == "abstain"
    assert "nothing-fits" in reason_codes(nothing)
    assert nothing.verdict.fallback is None
    hours = ask("3B", "math-oe", train_budget=TrainBudget.parse("4h"))
    assert hours.verdict.action == "ift"
    money = ask("3B", "math-oe", train_budget=TrainBudget.parse("$40"), gpu_price=3.0)
    assert money.verdict.action == "sequential"
    assert (
        ask("3B", "math-oe", train_budget=TrainBudget.parse("$20"), gpu_price=3.0).verdict.action
        == "ift"
    )


def test_tight_inference_budget_leaves_the_mixture_that_answers_shortly() -> None:
    # 3B direct answers cost 7.5e12, reasoning 6.2e13 by the printed fits
    assert ask("3B", "math-oe", infer_budget=InferBudget.parse("1e13")).verdict.action == "mixed"
    assert ask("3B", "math-oe", infer_budget=InferBudget.parse("1e14")).verdict.action == (
        "sequential"
    )
    assert ask("3B", "math-oe", infer_budget=InferBudget.parse("1e12")).verdict.action == "abstain"
    tokens = ask("3B", "math-oe", infer_budget=InferBudget.parse("2000 tokens"))
    assert tokens.verdict.action == "mixed"


def test_traffic_decides_between_serving_and_training() -> None:
    few = ask("3B", "math-oe", objective="total", queries_per_day=1.0)
    many = ask("3B", "math-oe", objective="total", queries_per_day=1e6)
    assert few.verdict.action == "sequential"
    assert many.verdict.action == "mixed"
    option = find(many, "3B", "reasoning")
    assert option.total_flops is not None
    assert option.inference_flops is not None
    year = option.train_flops + 365e6 * option.inference_flops
    assert option.total_flops == pytest.approx(year, rel=1e-3)


def test_any_size_takes_the_most_accurate_that_fits() -> None:
    free = ask("any", "math-oe")
    assert free.recommended is not None
    assert str(free.recommended.size) == "14B"
    assert free.verdict.action == "sequential"
    capped = ask("any", "math-oe", max_size="7B")
    assert capped.recommended is not None
    assert str(capped.recommended.size) == "7B"
    cheap = ask("any", "math-oe", infer_budget=InferBudget.parse("3e13"))
    fixed = ask("14B", "math-oe", infer_budget=InferBudget.parse("3e13"))
    assert cheap.verdict.action == fixed.verdict.action == "mixed"
    assert cheap.recommended is not None
    assert fixed.recommended is not None
    assert cheap.recommended.recipe == fixed.recommended.recipe
    assert reason_codes(cheap)[0] == "size-choice"
    scaled = ask("any", "general-mc", corpus="general", train_budget=TrainBudget.parse("1e19"))
    assert scaled.verdict.action == "ift"
    assert scaled.recommended is not None
    assert scaled.recommended.accuracy.value == 0.791
    assert ask("any", "math-oe", corpus="own").verdict.action == "abstain"


def test_no_ift_above_the_largest_measured_is_said() -> None:
    answer = ask("14B", "math-oe")
    assert "no-larger-ift-measured" in reason_codes(answer)


def test_evidence_is_a_value_that_can_be_given() -> None:
    request = question("3B", "math-oe")
    shipped = PublishedEvidence.shipped()
    assert recommend(request, evidence=shipped) == recommend(request)
    without_fits = recommend(request, evidence=PublishedEvidence(shipped.table, ()))
    assert all(option.inference_flops is None for option in without_fits.options)


def test_known_lengths_replace_the_printed_fits() -> None:
    answer = ask("3B", "math-oe", answer_tokens=200.0, trace_ratio=8.0)
    reasoning = find(answer, "3B", "reasoning")
    assert reasoning.inference_basis == "lengths"
    assert reasoning.answer_tokens == 1600
    assert "weak-inference-fit" not in codes(answer)
    fitted = find(ask("3B", "math-oe"), "3B", "reasoning")
    assert fitted.inference_basis == "published-fit"
    assert fitted.inference_flops == pytest.approx(6.221e13, rel=1e-3)


def test_measured_trace_length_is_quoted_in_the_warning() -> None:
    answer = ask("3B", "math-oe", trace_p99_tokens=12_345, trace_source="traces.jsonl")
    text = next(warning.text for warning in answer.warnings if warning.code == "truncation")
    assert "12,345" in text
