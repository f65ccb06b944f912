from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advisor import recommend
from advisor._recipe import Order
from advisor.cost import InferBudget, TrainBudget
from advisor.evidence import own_evidence, own_pairs
from calibration import Cell, Outcome, OutcomeRecord
from policies import InvalidInputError, ModelSize, UnknownNameError
from tests.advisor.verdict.asking import (
    ask,
    cell,
    check_honest,
    codes,
    conflict_ids,
    find,
    pair,
    question,
    reason_codes,
    trained,
)

HALF, ONE_AND_A_HALF, THREE, SEVEN = 494_032_768, 1_543_714_304, 3_085_938_688, 7_615_616_512


def test_own_pair_that_contradicts_the_paper_decides_and_the_conflict_is_shown() -> None:
    assert ask("3B", "math-oe").verdict.action == "sequential"
    flipped = ask("3B", "math-oe", cells=pair(0.62, 0.5))
    assert flipped.verdict.action == "ift"
    assert flipped.verdict.confidence == "measured"
    assert "own-against-general" in conflict_ids(flipped)
    first = flipped.options[0]
    assert first.recipe.corpus == "own"
    assert first.accuracy.value == 0.62
    assert flipped.evidence[0].id == "own/mine/model/direct/ift"
    assert flipped.evidence[0].n == 1000


def test_own_pair_that_agrees_is_no_conflict() -> None:
    agreeing = ask("3B", "math-oe", cells=pair(0.4, 0.6))
    assert agreeing.verdict.action == "sequential"
    assert not [one for one in conflict_ids(agreeing) if one.startswith("own-against")]
    assert agreeing.recommended is not None
    assert agreeing.recommended.recipe.corpus == "own"


def test_few_questions_soften_the_verdict_and_ask_for_more() -> None:
    unsure = ask("3B", "math-oe", cells=pair(0.5, 0.54, n=50))
    assert "gain-not-shown" in reason_codes(unsure)
    assert "few-questions" in codes(unsure)
    assert unsure.verdict.action == "abstain" or unsure.verdict.is_leaning
    assert unsure.next_measurements[0].n_questions > 50
    sure = ask("3B", "math-oe", cells=pair(0.2, 0.9, n=50))
    assert sure.verdict.is_leaning
    assert not ask("3B", "math-oe", cells=pair(0.2, 0.9)).verdict.is_leaning


def test_own_cells_answer_for_a_task_type_of_ones_own() -> None:
    cells = pair(0.5, 0.7, task_type="contract-qa")
    assert ask("3B", "contract-qa", cells=cells).verdict.action == "reasoning"
    mixed = ask("3B", "contract-qa", cells=cells, objective="inference")
    assert mixed.verdict.action == "mixed"


def test_unknown_task_type_needs_a_format_and_close_names_are_told() -> None:
    with pytest.raises(UnknownNameError, match="math-oe") as error:
        recommend(question("3B", "maths-oe"))
    assert "--format" in error.value.hint
    answer = ask("3B", "contract-qa", answer_format="oe")
    assert answer.verdict.action == "abstain"
    assert "proxy-family" in codes(answer)


def test_own_cells_answer_outside_the_published_sizes() -> None:
    answer = ask("32B", "math-oe", cells=pair(0.5, 0.7, size=32_760_000_000))
    assert answer.verdict.action == "sequential"
    assert "outside-published-range" in codes(answer)


def test_one_mode_alone_is_no_comparison() -> None:
    answer = ask("3B", "math-oe", cells=(cell(0.7, "direct"),), corpus="general")
    assert answer.verdict.action == "sequential"
    assert "measured-incomplete" in codes(answer)
    alone = (cell(0.7, "direct", task_type="code-oe"),)
    assert ask("3B", "code-oe", cells=alone).verdict.action == "abstain"


def test_smaller_pair_moves_the_published_curve_up() -> None:
    better = ask("3B", "math-oe", cells=trained(0.15, 0.35, HALF))
    assert better.verdict.action == "sequential"
    assert find(better, "3B", "reasoning").accuracy.basis == "transferred"
    assert better.differences[0].basis == "transferred"
    worse = ask("3B", "general-oe", cells=trained(0.40, 0.10, HALF, task_type="general-oe"))
    assert worse.verdict.action in {"ift", "abstain"}
    cited = set(find(better, "3B", "ift").accuracy.cells)
    assert f"own/mine/ift-{HALF}/direct/ift" in cited
    assert "2509.22193v2/T1/general/math-oe/0.5B/ift" in cited


def test_larger_pair_is_not_carried_down() -> None:
    answer = ask("3B", "math-oe", cells=trained(0.9, 0.1, SEVEN))
    assert answer.verdict.action == "abstain"
    assert "measured-larger" in codes(answer)
    assert all(item.source != "measured" for item in answer.evidence)


def test_pairs_on_both_sides_are_interpolated_without_the_published_curve() -> None:
    cells = (*trained(0.3, 0.5, ONE_AND_A_HALF), *trained(0.5, 0.7, SEVEN))
    answer = ask("3B", "math-oe", cells=cells)
    ift = find(answer, "3B", "ift").accuracy
    assert ift.basis == "interpolated"
    assert ift.value is not None
    assert 0.3 < ift.value < 0.5
    assert all(one.startswith("own/") for one in ift.cells)


def test_smaller_pair_of_an_own_task_type_moves_the_curve_of_its_format() -> None:
    cells = trained(0.3, 0.5, HALF, task_type="contract-qa")
    answer = ask("3B", "contract-qa", cells=cells, answer_format="oe")
    assert answer.verdict.action in {"sequential", "abstain"}
    assert find(answer, "3B", "ift").accuracy.basis == "transferred"
    assert "proxy-family" in codes(answer)


def test_two_ways_of_asking_one_small_model_are_not_carried_over() -> None:
    answer = ask("3B", "math-oe", cells=pair(0.15, 0.35, size=HALF), corpus="general")
    assert find(answer, "3B", "reasoning").accuracy.basis == "measured"
    assert all(item.source != "measured" for item in answer.evidence)


def test_cells_without_a_recipe_are_called_decoding_modes() -> None:
    assert "decoding-not-training" in codes(ask("3B", "math-oe", cells=pair(0.4, 0.6)))
    assert "decoding-not-training" not in codes(
        ask("3B", "math-oe", cells=trained(0.4, 0.6, THREE))
    )


def test_trained_students_outrank_decoding_modes() -> None:
    cells = (*pair(0.9, 0.1, model="hybrid"), *trained(0.4, 0.6, THREE))
    answer = ask("3B", "math-oe", cells=cells)
    assert answer.verdict.action == "sequential"
    assert "cells-not-used" in codes(answer)


def test_measured_mixtures_are_chosen_by_their_own_figures() -> None:
    cells = (
        *trained(0.40, 0.60, THREE),
        cell(0.60, "reasoning@max", recipe="sequential@0.25", model="c"),
        cell(0.45, "reasoning@max", recipe="mixed@0.5", model="d", mean_tokens=200.0),
    )
    balanced = ask("3B", "math-oe", cells=cells)
    assert balanced.recommended is not None
    assert balanced.recommended.recipe.label == "ift_then_reasoning@0.25"
    assert balanced.recommended.accuracy.value == 0.6
    assert balanced.verdict.confidence == "measured"
    better = (*cells[:2], cell(0.55, "reasoning@max", recipe="sequential@0.25", model="c"))
    assert ask("3B", "math-oe", cells=better, objective="accuracy").verdict.action == "reasoning"


def test_doubt_among_measured_recipes_is_the_doubt_of_a_pure_pair() -> None:
    cells = (
        cell(0.50, "direct", recipe="ift", model="a", n=150),
        cell(0.51, "reasoning@max", recipe="mixed@0.25", model="b", n=150),
        cell(0.505, "reasoning@max", recipe="reasoning", model="c", n=150),
    )
    answer = ask("3B", "math-oe", cells=cells)
    assert answer.verdict.action == "abstain"
    assert answer.verdict.expected_regret is not None
    assert answer.verdict.expected_regret > 0.01
    assert "--recipe reasoning" in " ".join(answer.next_measurements[0].commands)
    near = (
        cell(0.45, "direct", recipe="ift", model="a", n=200),
        cell(0.60, "reasoning@max", recipe="mixed@0.25", model="b", n=200),
        cell(0.605, "reasoning@max", recipe="reasoning", model="c", n=200),
    )
    leaning = ask("3B", "math-oe", cells=near).verdict
    assert leaning.action == "mixed"
    assert leaning.is_leaning
    assert leaning.expected_regret is not None
    assert leaning.expected_regret > 0.01


@pytest.mark.parametrize("objective", [None, "accuracy", "training", "inference"])
@pytest.mark.parametrize(
    ("recipe", "accuracy", "best"),
    [
        ("mixed@0.25", 0.30, "ift"),
        ("mixed@0.75", 0.60, "mixed@0.75"),
        ("reasoning_then_ift@0.5", 0.80, "ift"),
    ],
)
def test_no_recipe_is_chosen_while_reasoning_alone_is_not_measured(
    objective: Any, recipe: str, accuracy: float, best: str
) -> None:
    cells = (
        cell(0.40, "direct", recipe="ift", model="a"),
        cell(accuracy, "reasoning@max", recipe=recipe, model="b"),
    )
    answer = ask("3B", "math-oe", cells=cells, objective=objective)
    assert answer.verdict.action == "abstain"
    assert "reasoning-unknown" in reason_codes(answer)
    fallback = answer.option(answer.verdict.fallback)
    assert fallback is not None
    assert fallback.recipe.label == best
    assert "--recipe reasoning" in answer.next_measurements[0].commands[0]
    # What it costs to train reasoning alone is over this budget, so that nothing hangs on it.
    budget = TrainBudget.parse(f"{1.01 * fallback.train_flops:.4g}")
    cheap = ask("3B", "math-oe", cells=cells, train_budget=budget, objective=objective)
    assert "reasoning-unknown" not in reason_codes(cheap)


def test_order_of_cells_does_not_matter() -> None:
    cells = (
        cell(0.40, "direct", recipe="ift", model="a"),
        cell(0.45, "direct", recipe="ift", model="a"),
        cell(0.44, "reasoning@max", recipe="reasoning", model="b"),
        cell(0.60, "reasoning@max", recipe="reasoning", model="b"),
    )
    assert ask("3B", "math-oe", cells=cells) == ask("3B", "math-oe", cells=cells[::-1])


@pytest.mark.parametrize("objective", [None, "accuracy", "training", "inference"])
def test_reasoning_then_ift_is_listed_but_never_recommended(objective: Any) -> None:
    last = cell(0.80, "reasoning@max", recipe="reasoning_then_ift@0.5", model="b")
    answer = ask("3B", "math-oe", cells=(*trained(0.4, 0.3, THREE), last), objective=objective)
    assert answer.verdict.action == "ift"
    listed = [o for o in answer.options if o.recipe.order is Order.REASONING_THEN_IFT]
    assert len(listed) == 1
    assert "never recommended" in " ".join(listed[0].notes)


def test_own_larger_model_on_direct_answers_can_win() -> None:
    flops = {"ift": 1e12, "reasoning": 9e12}
    cells = tuple(
        cell(
            one.accuracy,
            one.policy,
            size=one.size,
            model=one.model,
            recipe=one.recipe,
            mean_flops=flops[one.recipe] * (2 if one.size == SEVEN else 1),
        )
        for one in (*trained(0.4, 0.6, THREE), *trained(0.65, 0.7, SEVEN))
    )
    assert ask("3B", "math-oe", cells=cells).verdict.action == "sequential"
    assert ask("3B", "math-oe", cells=cells, max_size="8B").verdict.action == "scale_ift"


def test_several_tasks_count_equally_and_only_where_both_modes_answered() -> None:
    cells = (
        *pair(0.4, 0.6, task="a", n=1000),
        *pair(0.6, 0.6, task="b", n=200),
        cell(0.99, "direct", task="c"),
    )
    own = own_evidence(cells, "math-oe", ModelSize.parse("3B"))
    assert own.tasks == ("a", "b")
    ift, reasoning = own.arms
    assert ift.accuracy.value == pytest.approx(0.5)
    assert reasoning.accuracy.value == pytest.approx(0.6)


def test_unusable_cells_are_counted_or_skipped() -> None:
    cells = (
        *pair(0.4, 0.6),
        cell(0.5, "sc(n=5)/reasoning@1024"),
        cell(0.5, "reasoning@256"),
        cell(0.9, "direct", size=None),
        cell(0.9, "direct", task_type="general-mc"),
    )
    own = own_evidence(cells, "math-oe", ModelSize.parse("3B"))
    assert [arm.policy for arm in own.arms] == ["direct", "reasoning@max"]
    assert own.n_unused == 2
    assert own.n_unsized == 1
    assert own.arms[1].n_policies == 2


def test_pairs_are_found_per_size_and_only_of_trained_students() -> None:
    cells = (*trained(0.1, 0.2, HALF), *trained(0.3, 0.4, THREE), *pair(0.5, 0.6, size=SEVEN))
    assert [found.size.n_params for found in own_pairs(cells, "math-oe")] == [HALF, THREE]


@pytest.mark.parametrize("accuracy", [1.2, -0.1, 55.4])
def test_impossible_accuracies_are_refused_by_name(accuracy: float) -> None:
    good = cell(0.5, "direct")
    bad = replace(good, accuracy=accuracy)
    with pytest.raises(InvalidInputError, match=r"mine, model, direct.*not in \[0, 1\]"):
        recommend(question("3B", "math-oe"), cells=[bad])


CELLS = st.builds(
    cell,
    accuracy=st.floats(0, 1),
    policy=st.sampled_from(["direct", "reasoning@max", "reasoning@64", "cot", "not a policy"]),
    task_type=st.sampled_from(["math-oe", "general-mc"]),
    size=st.sampled_from([None, HALF, THREE, 3_000_000_000, SEVEN]),
    recipe=st.sampled_from(
        ["", "ift", "reasoning", "mixed@0.25", "sequential@0.5", "reasoning_then_ift@0.5", "x"]
    ),
    n=st.integers(1, 2000),
    task=st.sampled_from(["a", "b"]),
    model=st.sampled_from(["m", "n"]),
)


@settings(max_examples=40, deadline=None)
@given(
    cells=st.lists(CELLS, max_size=12),
    task_type=st.sampled_from(["math-oe", "general-mc"]),
    objective=st.sampled_from([None, "accuracy", "training", "inference"]),
    corpus=st.sampled_from([None, "general", "own"]),
)
def test_any_cells_give_an_honest_answer(
    cells: list[Cell], task_type: str, objective: Any, corpus: Any
) -> None:
    request = question("3B", task_type, objective=objective, corpus=corpus)
    answer = recommend(request, cells=cells)
    check_honest(answer, own=True)
    assert recommend(request, cells=cells) == answer


def test_many_recipes_of_ones_own_and_no_direct_answers_still_get_a_page() -> None:
    cells = tuple(
        cell(0.5, "reasoning@max", recipe=f"mixed@{ratio / 100:g}", model=f"m{ratio}")
        for ratio in range(1, 40)
    )
    answer = ask("3B", "math-oe", cells=cells, corpus="own")
    assert answer.verdict.action == "abstain"
    assert answer.verdict.fallback is not None


@pytest.mark.parametrize(
    "changes", [{"n_correct": 900}, {"ci_low": 0.6, "ci_high": 0.7}, {"n_correct": 2000}]
)
def test_cells_that_contradict_themselves_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match="mine, model, direct"):
        recommend(question("3B", "math-oe"), cells=[replace(cell(0.5, "direct"), **changes)])


def test_own_gain_on_multiple_choice_outranks_the_rule_about_other_corpora() -> None:
    for gain, action in ((-0.1, "ift"), (0.1, "sequential"), (0.25, "sequential")):
        cells = trained(0.60, 0.60 + gain, THREE, task_type="general-mc")
        assert ask("3B", "general-mc", cells=cells).verdict.action == action
    carried = trained(0.40, 0.60, HALF, task_type="general-mc")
    assert ask("3B", "general-mc", cells=carried).verdict.action == "sequential"


def test_measured_recipes_that_fit_a_budget_are_chosen_among() -> None:
    cells = (
        cell(0.40, "direct", recipe="ift", model="a", mean_tokens=300.0),
        cell(0.60, "reasoning@max", recipe="mixed@0.25", model="b", mean_tokens=400.0),
        cell(0.70, "reasoning@max", recipe="reasoning", model="c", mean_tokens=5000.0),
    )
    answer = ask("3B", "math-oe", cells=cells, infer_budget=InferBudget.parse("500 tokens"))
    assert answer.recommended is not None
    assert answer.recommended.recipe.label == "mixed@0.25"
    none = ask("3B", "math-oe", cells=cells, infer_budget=InferBudget.parse("100 tokens"))
    assert none.verdict.action == "abstain"


def test_measured_direct_answers_over_budget_are_not_recommended() -> None:
    cells = (
        cell(0.40, "direct", recipe="ift", model="a", mean_tokens=900.0),
        cell(0.80, "reasoning@max", recipe="reasoning_then_ift@0.5", model="b"),
    )
    answer = ask("3B", "math-oe", cells=cells, infer_budget=InferBudget.parse("500 tokens"))
    assert answer.verdict.action == "abstain"


def test_own_cells_without_flops_are_priced_by_their_tokens() -> None:
    answer = ask(
        "3B", "math-oe", cells=trained(0.40, 0.38, THREE), infer_budget=InferBudget.parse("1e14")
    )
    assert answer.verdict.action == "ift"
    option = find(answer, "3B", "ift")
    assert option.inference_basis == "lengths"
    assert option.answer_tokens == 60


def test_one_own_cell_without_its_pair_does_not_make_the_corpus_ones_own() -> None:
    alone = (cell(0.4, "direct", recipe="ift"),)
    assert ask("3B", "math-oe", cells=alone).verdict.action == "sequential"


def answers(model: str, policy: str, right: list[bool]) -> list[OutcomeRecord]:
    return [
        OutcomeRecord(
            question_id=f"q{index}",
            group=f"q{index}",
            task="mine",
            task_type="math-oe",
            prompt="?",
            model=model,
            size=THREE,
            policy=policy,
            outcome=Outcome.CORRECT if is_right else Outcome.WRONG,
            prompt_tokens=10,
            completion_tokens=60,
            flops=None,
            seconds=None,
        )
        for index, is_right in enumerate(right)
    ]


def test_answers_to_the_same_questions_are_compared_one_by_one() -> None:
    # Both arms agree on nearly every question: unpaired intervals cannot tell them apart.
    ift = [index % 2 == 0 for index in range(400)]
    reasoning = [is_right or index % 20 == 1 for index, is_right in enumerate(ift)]
    cells = (
        cell(0.50, "direct", recipe="ift", model="a", n=400),
        cell(0.55, "reasoning@max", recipe="reasoning", model="b", n=400),
    )
    records = [*answers("a", "direct", ift), *answers("b", "reasoning@max", reasoning)]
    request = question("3B", "math-oe")
    unpaired = recommend(request, cells=cells)
    paired = recommend(request, cells=cells, records=records)
    check_honest(paired, own=True)
    assert not unpaired.differences[0].is_shown
    assert paired.differences[0].is_shown
    assert paired.differences[0].value == pytest.approx(0.05)
    assert "question by question" in paired.verdict.reasons[0].text


def test_nothing_is_proposed_to_be_trained_that_no_budget_allows() -> None:
    cells = (
        cell(0.40, "direct", recipe="ift", model="a"),
        cell(0.60, "reasoning@max", recipe="mixed@0.75", model="b"),
    )
    answer = ask("3B", "math-oe", cells=cells, train_budget=TrainBudget.parse("1e15"))
    assert answer.verdict.action == "abstain"
    assert "reasoning-unknown" not in reason_codes(answer)
    asked = " ".join(one.text for one in answer.next_measurements)
    assert "reasoning alone" not in asked
